//! Jobs that were published to a provider's queue itself, as many clients do: jobs of that provider and lane.

use lookup_worker::sandbox::Kind;
use serde_json::json;

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    commands::Call,
    road::{Road, SOON},
};

/// By the default exchange.
async fn to_queue(client: &Client, queue: &str, job: Job) {
    client.publish("", queue, job).await;
}

#[tokio::test]
async fn a_job_in_a_providers_queue_itself_is_answered_parked_and_counted_as_one_of_its_lane() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let query =
        json!({"query": {"customer_id": 12345}, "provider": "omeda", "lane": "interactive"});
    let job = Job::json(&query).id("direct");
    to_queue(&road.client, "lookup.jobs.omeda.interactive", job).await;
    let result = road.client.take("lookup.results", 1, SOON).await.remove(0);
    assert_eq!(result.routing_key, "omeda.found");
    assert_eq!(result.json()["provider"], "omeda");

    // Its way by a delay queue, and back.
    let fault = json!({"status": 503, "retry_after": 3});
    road.sandbox
        .fault(Kind::Omeda, "/12345/", fault, Some(1))
        .await;
    let query = json!({"query": {"customer_id": 12345}, "lane": "bulk"});
    to_queue(
        &road.client,
        "lookup.jobs.omeda.bulk",
        Job::json(&query).id("parked"),
    )
    .await;
    let result = &road.results(1).await["parked"];
    assert_eq!(
        (&result["status"], &result["attempts"], &result["provider"]),
        (&json!("found"), &json!(2), &json!("omeda")),
        "{}",
        road.worker.log()
    );
    for lane in ["interactive", "bulk"] {
        let received = format!("lookup_jobs_received_total{{lane=\"{lane}\",provider=\"omeda\"}}");
        assert!(
            road.worker.metric(&received).await >= 1.0,
            "{lane}: {}",
            road.worker.metrics().await
        );
    }
}

#[tokio::test]
async fn its_dead_letter_is_listed_under_its_provider_and_goes_back_to_its_lane() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    road.sandbox
        .fault(Kind::Omeda, "/12345/", json!({"status": 503}), None)
        .await;
    let query = json!({"query": {"customer_id": 12345}});
    to_queue(
        &road.client,
        "lookup.jobs.omeda.interactive",
        Job::json(&query).id("given-up"),
    )
    .await;
    road.client.wait_for_depth("lookup.dead", 1, SOON).await;
    assert_eq!(
        road.results(1).await["given-up"]["error"]["kind"],
        "provider_error"
    );

    // And one that the broker buried by itself, before a worker saw it.
    let mut road = road;
    road.worker.sigterm();
    road.worker.wait_exit().await;
    let short = Job::json(&query)
        .id("expired")
        .expiration(std::time::Duration::from_millis(1));
    to_queue(&road.client, "lookup.jobs.omeda.bulk", short).await;
    road.client.wait_for_depth("lookup.dead", 2, SOON).await;

    let dead = |arguments: &[&str]| {
        Call::new(&["dead"])
            .arguments(arguments)
            .env("LOOKUP__AMQP__URL", &vhost.url())
            .run()
    };
    let listed = dead(&["list", "--provider", "omeda", "--json"])
        .await
        .expect(0)
        .lines();
    let errors: Vec<_> = listed.iter().map(|line| line["error"].clone()).collect();
    assert_eq!(errors, ["expired", "provider_error"], "{listed:?}");
    road.sandbox.clear_faults(Kind::Omeda).await;
    dead(&["replay", "--provider", "omeda"]).await.expect(0);
    assert_eq!(
        road.client.depth("lookup.jobs.omeda.interactive").await,
        Some(1)
    );
    assert_eq!(road.client.depth("lookup.jobs.omeda.bulk").await, Some(1));
    road.worker.start_again();
    let results = road.results(2).await;
    for id in ["given-up", "expired"] {
        assert_eq!(results[id]["status"], "found", "{results:?}");
    }
}

#[tokio::test]
async fn a_routing_key_that_names_nobody_is_told_to_count_though_the_body_names_a_provider() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let named = json!({"provider": "omeda", "query": {"customer_id": 12345}});
    to_queue(
        &road.client,
        "lookup.unrouted",
        Job::json(&named).id("by-name"),
    )
    .await;
    road.client
        .publish("lookup.jobs", "", Job::json(&named).id("empty-key"))
        .await;
    let results = road.results(2).await;
    let message = results["empty-key"]["error"]["message"]
        .as_str()
        .expect("a message");
    assert!(
        message.contains("routing key") && message.contains("counts"),
        "{message}"
    );
    assert_eq!(results["by-name"]["error"]["kind"], "unknown_provider");
}
