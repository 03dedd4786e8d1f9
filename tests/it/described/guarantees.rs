//! What every kind of provider is promised goes for a described one: quota, circuit, cache, waits in the broker.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::{CRM, TOKEN, ada, crm};
use crate::{
    amqp::{Client, Job},
    broker::{Broker, Vhost},
    road::{SOON, by_job},
    scripted::{Scripted, answer},
    worker::Worker,
};

/// A worker with the described provider, and a client of its broker.
struct Running {
    worker: Worker,
    client: Client,
    _vhost: Vhost<'static>,
    _folder: TempDir,
}

impl Running {
    /// With these keys of `[providers.crm]`.
    async fn start(server: &Scripted, keys: &str) -> Self {
        let vhost = Broker::shared().vhost();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("crm.toml");
        std::fs::write(&file, CRM).unwrap();
        let config = crm(&vhost.url(), &server.base, &format!("{TOKEN}\n{keys}"))
            .replace("\"crm.toml\"", &format!("\"{}\"", file.display()))
            .replace("max_attempts = 4", "max_attempts = 100")
            .replace(
                "[retry]",
                "[retry]\nin_process_limit = \"100ms\"\ndelays = [\"1s\", \"5s\"]",
            );
        let mut worker = Worker::start(&config);
        worker.wait_ready().await;
        Self {
            worker,
            client: Client::connect(&vhost.url()).await,
            _vhost: vhost,
            _folder: folder,
        }
    }

    async fn publish(&self, id: &str, phone: &str) {
        let job = Job::json(&json!({"query": {"phone": phone}})).id(id);
        self.client
            .publish("lookup.jobs", "crm.interactive", job)
            .await;
    }

    async fn found(&self, count: usize) {
        let results = self.client.take("lookup.results", count, SOON).await;
        for (id, result) in by_job(results) {
            assert_eq!(result["status"], "found", "{id}: {result}");
        }
    }
}

#[tokio::test]
async fn a_described_provider_is_asked_no_more_often_than_its_quota_allows() {
    let server = Scripted::start(|_, _| ada()).await;
    let running = Running::start(&server, "quota = { requests = 3, per = \"1s\" }").await;
    for number in 0..7 {
        running
            .publish(&format!("j-{number}"), &format!("1408555010{number}"))
            .await;
    }
    running.found(7).await;
    let asked = server.asked();
    assert_eq!(asked.len(), 7);
    for four in asked.windows(4) {
        assert!(four[3] - four[0] >= Duration::from_millis(990), "{asked:?}");
    }
}

#[tokio::test]
async fn a_described_provider_that_keeps_failing_is_left_alone_and_its_jobs_wait() {
    let server = Scripted::start(|_, _| answer("503 Service Unavailable", "", "{}")).await;
    let breaker = "breaker = { failures = 3, cooldown = \"300ms\" }";
    let running = Running::start(&server, breaker).await;
    for number in 0..6 {
        running
            .publish(&format!("j-{number}"), &format!("1408555010{number}"))
            .await;
    }
    running.worker.wait_for_log("circuit", 1).await;
    let (_, ready) = running.worker.get("/readyz").await.unwrap();
    assert!(ready.contains("provider crm: circuit open"), "{ready}");
    server.say(|_, _| ada());
    running.found(6).await;
}

#[tokio::test]
async fn equal_jobs_for_a_described_provider_with_a_cache_are_one_request() {
    let server = Scripted::start(|_, _| ada()).await;
    let running = Running::start(&server, "cache = { ttl = \"1m\" }").await;
    running.publish("j-1", "+1 408 555 0100").await;
    running.found(1).await;
    running.publish("j-2", "14085550100").await;
    running.found(1).await;
    assert_eq!(server.asked().len(), 1);
    running.publish("j-3", "14085550101").await;
    running.found(1).await;
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_wait_that_the_descriptor_reads_is_spent_in_the_broker_and_outlives_the_worker() {
    let server = Scripted::start(|number, _| match number {
        0 => {
            let reset = jiff::Timestamp::now().as_second() + 3;
            let headers = format!("X-RateLimit-Reset: {reset}\r\n");
            answer("429 Too Many Requests", &headers, "{}")
        }
        _ => ada(),
    })
    .await;
    let mut running = Running::start(&server, "").await;
    running.publish("j-1", "14085550100").await;
    let parked = async {
        let metric = async |name: &str, labels: &str| {
            let series = format!("{name}{{provider=\"crm\"{labels}}}");
            running.worker.metric(&series).await
        };
        let retried = ",reason=\"rate_limited\"";
        while metric("lookup_retries_total", retried).await < 1.0
            || metric("lookup_jobs_in_flight", "").await > 0.0
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, parked)
        .await
        .expect("it is parked");
    running.worker.kill9();
    running.worker.start_again();
    let result = running
        .client
        .take("lookup.results", 1, SOON)
        .await
        .remove(0)
        .json();
    assert_eq!(result["status"], "found", "{result}");
    assert_eq!(result["attempts"], 2, "{result}");
    let pause = server.pauses()[0];
    assert!(pause >= Duration::from_millis(1900), "{pause:?}");
}
