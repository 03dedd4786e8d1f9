//! Records that always fail are their own affair: nobody else waits for them, and their callers are answered.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    road::{SOON, by_job},
    scripted::{Scripted, answer, found},
    waits::{plume, wait_for_readyz},
    worker::Worker,
};

const KEYS: &str =
    "token = \"t\"\nconcurrency = 16\nbreaker = { failures = 10, cooldown = \"1s\" }";

/// A provider at which the records whose ids begin with `bad` always fail.
async fn provider() -> Scripted {
    Scripted::start(|_, head| {
        if head.contains("/search/bad") {
            answer("500 Internal Server Error", "", "{}")
        } else {
            found()
        }
    })
    .await
}

fn job(id: &str, record: &str) -> Job {
    Job::json(&json!({"query": {"account_id": record}})).id(id)
}

/// How long 998 good jobs in bulk take, with so many bad ones among them, and each of 50 calls meanwhile, the fastest
/// first; the results of the bad ones.
async fn run(bad: usize) -> (Duration, Vec<Duration>, BTreeMap<String, Value>) {
    let vhost = Broker::shared().vhost();
    let server = provider().await;
    let mut worker = Worker::start(&plume(&vhost.url(), &server.base, KEYS));
    worker.wait_ready().await;
    let client = Client::connect(&vhost.url()).await;
    client.declare_queue("good").await;
    client.declare_queue("calls").await;
    let begun = Instant::now();
    for n in 0..bad {
        let id = format!("bad-{n}");
        client
            .publish("lookup.jobs", "plume.bulk", job(&id, &id))
            .await;
    }
    let good = (0..998).map(|n| job(&format!("g-{n}"), &format!("acc-{n}")).reply_to("good"));
    client.publish_all("lookup.jobs", "plume.bulk", good).await;
    let mut calls = Vec::new();
    for n in 0..50 {
        let (id, asked) = (format!("c-{n}"), Instant::now());
        let call = job(&id, &format!("call-{n}")).reply_to("calls");
        client
            .publish("lookup.jobs", "plume.interactive", call)
            .await;
        client.take("calls", 1, SOON).await;
        calls.push(asked.elapsed());
    }
    calls.sort_unstable();
    client.take("good", 998, 2 * SOON).await;
    let took = begun.elapsed();
    let ended = by_job(client.take("lookup.results", bad, SOON).await);
    // Nor does anything open once they are alone.
    let open = worker
        .metric("lookup_circuit_open{provider=\"plume\"}")
        .await;
    assert!(open < 1.0);
    assert!(!worker.log().contains("jobs stay in their queues"));
    (took, calls, ended)
}

#[tokio::test]
async fn with_two_records_that_always_fail_the_others_are_answered_as_soon_as_without() {
    let (without, calls_without, _) = run(0).await;
    let (with, calls, bad) = run(2).await;
    println!(
        "998 jobs: {without:?} without, {with:?} with bad records; calls: median {:?} and {:?}, slowest of 50 {:?} and {:?}",
        calls_without[25], calls[25], calls_without[49], calls[49]
    );
    for result in bad.values() {
        assert_eq!(result["error"]["kind"], "provider_error", "{result}");
        assert_eq!(result["attempts"], 4, "as many as it has: {result}");
    }
    // An open circuit would cost a cooldown of a second and more; a busy machine costs less.
    assert!(with < without * 2 + Duration::from_millis(500));
    assert!(calls[49] < Duration::from_secs(1), "{calls:?}");
}

#[tokio::test]
async fn a_job_that_alone_fails_is_answered_after_its_attempts_also_as_the_probe() {
    let vhost = Broker::shared().vhost();
    let server = Scripted::start(|_, _| answer("500 Internal Server Error", "", "{}")).await;
    let keys = "token = \"t\"\nbreaker = { failures = 3, cooldown = \"300ms\" }";
    let mut worker = Worker::start(&plume(&vhost.url(), &server.base, keys));
    worker.wait_ready().await;
    let client = Client::connect(&vhost.url()).await;
    // Three different ones open it; in the end one is alone in its queue.
    for n in 0..3 {
        let id = format!("bad-{n}");
        client
            .publish("lookup.jobs", "plume.interactive", job(&id, &id))
            .await;
    }
    let results = by_job(client.take("lookup.results", 3, SOON).await);
    for result in results.values() {
        assert_eq!(result["error"]["kind"], "provider_error", "{result}");
        let attempts = result["attempts"].as_u64().expect("a number");
        assert!((4..=8).contains(&attempts), "{result}");
    }
    assert_eq!(client.depth("lookup.dead").await, Some(3));

    // Then it waits for a job, says so, and the next one closes it.
    wait_for_readyz(&worker, "plume: half-open, will be tried with the next job").await;
    let metric = async |name: &str| {
        let series = format!("{name}{{provider=\"plume\"}}");
        worker.metric(&series).await > 0.5
    };
    assert!(metric("lookup_circuit_half_open").await);
    assert!(!metric("lookup_circuit_open").await);
    let (_, status) = worker.get("/status.json").await.expect("a status");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["providers"]["plume"]["state"], "half_open");
    server.say(|_, _| found());
    client
        .publish("lookup.jobs", "plume.interactive", job("good", "acc-1"))
        .await;
    let result = client.take("lookup.results", 1, SOON).await[0].json();
    assert_eq!(result["status"], "found");
    wait_for_readyz(&worker, "ready\n").await;
    assert!(!metric("lookup_circuit_half_open").await);
}

#[tokio::test]
async fn omedas_pending_deactivation_says_nothing_of_the_provider() {
    let vhost = Broker::shared().vhost();
    let server = Scripted::start(|_, _| {
        let body = r#"{"Errors":[{"Error":"OmedaCustomerId 22 is pending deactivation. Please try again later."}]}"#;
        answer("404 Not Found", "Content-Type: application/json\r\n", body)
    })
    .await;
    let config = plume(&vhost.url(), &server.base, KEYS).replace(
        "kind = \"plume\"",
        "kind = \"omeda\"\nbrand = \"FOO\"\napp_id = \"a\"",
    );
    let config = config.replace("token = \"t\"\n", "");
    let mut worker = Worker::start(&config);
    worker.wait_ready().await;
    let client = Client::connect(&vhost.url()).await;
    for n in 1..=20 {
        let body = json!({"query": {"customer_id": n}});
        let job = Job::json(&body).id(&format!("p-{n}"));
        client.publish("lookup.jobs", "plume.bulk", job).await;
    }
    let results = by_job(client.take("lookup.results", 20, SOON).await);
    for result in results.values() {
        assert_eq!(result["error"]["kind"], "provider_error", "{result}");
        assert_eq!(result["attempts"], 4, "{result}");
    }
    assert!(!worker.log().contains("circuit open"), "{}", worker.log());
}
