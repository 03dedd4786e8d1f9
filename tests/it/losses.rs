//! Whatever dies, and whenever, every job is answered. Each test counts every job.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use crate::{
    amqp::{Client, Job, Received},
    broker::Broker,
    road::Road,
};

/// The bound of a whole run, on a slow machine.
const LONG: Duration = Duration::from_secs(120);

/// A number of its own for each job; the sandbox has a customer of the same id.
fn phone(job: u32) -> String {
    format!("8491{job:07}")
}

async fn publish(client: &Client, jobs: u32) {
    let job = |n: u32| Job::json(&json!({"query": {"phone": phone(n)}, "context": {"n": n}})).id(&format!("j-{n}"));
    client.publish_all("lookup.jobs", "antsomi", (0..jobs).map(job)).await;
}

/// What became of `jobs` jobs: every one is answered, rightly, and repeats bear the same message id.
fn check(results: &[Received], jobs: u32) -> Counted {
    let mut ids: BTreeMap<String, &str> = BTreeMap::new();
    let mut repeated = 0;
    for result in results {
        let shown = result.json();
        let n = u32::try_from(shown["context"]["n"].as_u64().expect("the context")).unwrap();
        assert_eq!(shown["job_id"], format!("j-{n}"));
        assert_eq!(shown["customers"][0]["customer_id"], phone(n).as_str(), "the right customer: {shown}");
        let id = result.id().expect("a message id");
        match ids.insert(format!("j-{n}"), id) {
            None => {}
            Some(first) => {
                assert_eq!(first, id, "a repeat can be told");
                repeated += 1;
            }
        }
    }
    let lost = jobs as usize - ids.len();
    assert_eq!(lost, 0, "of {jobs} jobs");
    Counted { repeated }
}

struct Counted {
    repeated: usize,
}

/// Takes results until every job has one; whoever repeats is taken too.
async fn all_results(client: &Client, jobs: u32) -> Vec<Received> {
    let mut results = client.take("lookup.results", jobs as usize, LONG).await;
    let distinct = |results: &[Received]| {
        results
            .iter()
            .map(|result| result.id().unwrap_or_default().to_owned())
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    while distinct(&results) < jobs as usize {
        let more = client.take_up_to("lookup.results", 1, LONG).await;
        assert!(!more.is_empty(), "{} of {jobs} jobs are answered", distinct(&results));
        results.extend(more);
    }
    results
}

#[tokio::test]
async fn ten_thousand_jobs_are_ten_thousand_right_results() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    publish(&road.client, 10_000).await;
    let results = all_results(&road.client, 10_000).await;
    assert_eq!(check(&results, 10_000).repeated, 0);
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
    assert_eq!(road.client.depth("lookup.jobs.antsomi.bulk").await, Some(0));
}

#[tokio::test]
async fn kill_9_of_the_worker_in_the_middle_loses_no_job() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    road.sandbox.fault(lookup_worker::sandbox::Kind::Antsomi, "8491", json!({"latency": "20ms"}), None).await;
    publish(&road.client, 2_000).await;
    for done in [300, 900, 1_500] {
        road.client.wait_for_at_least("lookup.results", done, LONG).await;
        road.worker.kill9();
        road.worker.start_again();
    }
    let results = all_results(&road.client, 2_000).await;
    check(&results, 2_000);
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
}

#[tokio::test]
async fn a_broker_that_is_stopped_and_started_in_the_middle_loses_no_job() {
    let broker = Broker::start();
    let road = Road::open(&broker.url(), "").await;
    road.sandbox.fault(lookup_worker::sandbox::Kind::Antsomi, "8491", json!({"latency": "20ms"}), None).await;
    publish(&road.client, 2_000).await;
    road.client.wait_for_at_least("lookup.results", 500, LONG).await;
    let worker = road.worker.pid();
    broker.stop();
    broker.start_again();
    let client = Client::connect(&broker.url()).await;
    let results = all_results(&client, 2_000).await;
    check(&results, 2_000);
    assert_eq!(road.worker.pid(), worker, "the worker was never restarted");
    assert_eq!(road.worker.get("/readyz").await.unwrap().0, 200);
}

#[tokio::test]
async fn sigterm_finishes_what_is_in_flight_and_repeats_nothing() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    road.sandbox.fault(lookup_worker::sandbox::Kind::Antsomi, "8491", json!({"latency": "30ms"}), None).await;
    publish(&road.client, 2_000).await;
    for done in [200, 800, 1_400] {
        road.client.wait_for_at_least("lookup.results", done, LONG).await;
        road.worker.sigterm();
        assert_eq!(road.worker.wait_exit().await.code(), Some(0));
        road.worker.start_again();
    }
    let results = all_results(&road.client, 2_000).await;
    assert_eq!(check(&results, 2_000).repeated, 0);
}

#[tokio::test]
async fn a_consumer_that_the_broker_cancels_is_started_again() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    road.client.delete_queue("lookup.jobs.antsomi.bulk").await;
    let log = async {
        while !road.worker.log().contains("starting it again") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while road.client.depth("lookup.jobs.antsomi.bulk").await.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, log).await.expect("the consumer is back");
    let result = road.ask("antsomi.bulk", &json!({"query": {"phone": "84907089782"}})).await.json();
    assert_eq!(result["status"], "found");
}
