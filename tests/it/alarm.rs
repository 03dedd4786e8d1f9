//! A broker that is short of memory takes no publishes: the worker pauses, and loses nothing.

use std::time::Duration;

use serde_json::json;

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    road::{Road, SOON},
};

/// The alarm is raised and cleared by its threshold.
fn alarm(broker: &Broker, raised: bool) {
    let threshold = if raised { "1MB" } else { "2GB" };
    broker.rabbitmqctl(&["set_vm_memory_high_watermark", "absolute", threshold]);
}

/// Returns when `/readyz` answers so.
async fn readyz(road: &Road, status: u16, part: &str) {
    let waited = async {
        while road
            .worker
            .get("/readyz")
            .await
            .is_none_or(|(got, text)| got != status || !text.contains(part))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, waited)
        .await
        .unwrap_or_else(|_| panic!("/readyz {status}\n{}", road.worker.log()));
}

/// A road with jobs in the queue, and a worker that comes up during an alarm: its first result lets it know.
async fn blocked_road(broker: &Broker, jobs: u32) -> Road {
    let mut road = Road::open_with(&broker.url(), |config| {
        let config = config.replace("kind = \"antsomi\"", "kind = \"antsomi\"\nconcurrency = 16");
        config + "\n[worker]\nshutdown_grace = \"2s\"\n"
    })
    .await;
    road.worker.sigterm();
    assert!(road.worker.wait_exit().await.success());
    let job = |n: u32| {
        Job::json(&json!({"query": {"phone": format!("8491{n:07}")}})).id(&format!("j-{n}"))
    };
    road.client
        .publish_all("lookup.jobs", "antsomi", (0..jobs).map(job))
        .await;
    alarm(broker, true);
    road.worker.start_again();
    readyz(&road, 503, "alarm of its memory or disk").await;
    road
}

#[tokio::test]
async fn while_the_broker_takes_no_publishes_jobs_stay_in_their_queue_and_then_go_on() {
    const JOBS: u32 = 600;
    let broker = Broker::start();
    let road = blocked_road(&broker, JOBS).await;
    assert_eq!(road.worker.get("/livez").await.unwrap().0, 200);
    // What is not answered is in the queue, but for what was in flight.
    let client = Client::connect(&broker.url()).await;
    let still = async || client.depth("lookup.jobs.antsomi.bulk").await.unwrap();
    let answered = client.depth("lookup.results").await.unwrap();
    client
        .wait_for_at_least("lookup.jobs.antsomi.bulk", JOBS - answered - 2 * 16, SOON)
        .await;
    let before = still().await;
    let requests = async || {
        road.sandbox
            .stats(lookup_worker::sandbox::Kind::Antsomi)
            .await["requests"]
            .clone()
    };
    let asked = requests().await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(
        (still().await, requests().await),
        (before, asked),
        "nothing is begun meanwhile"
    );

    alarm(&broker, false);
    readyz(&road, 200, "ready").await;
    client.wait_for_depth("lookup.results", JOBS, SOON).await;
    assert_eq!(client.depth("lookup.dead").await, Some(0));
    assert!(
        (road.worker.metric("lookup_broker_connects_total").await - 1.0).abs() < f64::EPSILON,
        "one session"
    );
    let asked = requests().await.as_u64().unwrap();
    assert_eq!(asked, u64::from(JOBS), "none was asked twice");
}

#[tokio::test]
async fn a_stop_while_the_broker_takes_no_publishes_ends_in_time_and_loses_no_job() {
    const JOBS: u32 = 300;
    let broker = Broker::start();
    let mut road = blocked_road(&broker, JOBS).await;
    let begun = std::time::Instant::now();
    road.worker.sigterm();
    assert!(road.worker.wait_exit().await.success());
    // The grace of 2 s, and the closing of the channels.
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    alarm(&broker, false);
    road.worker.start_again();
    let client = Client::connect(&broker.url()).await;
    let mut jobs = std::collections::BTreeSet::new();
    while jobs.len() < JOBS as usize {
        let more = client
            .take_up_to("lookup.results", JOBS as usize - jobs.len(), SOON)
            .await;
        assert!(
            !more.is_empty(),
            "{} of {JOBS} jobs are answered",
            jobs.len()
        );
        jobs.extend(
            more.iter()
                .map(|result| result.json()["job_id"].to_string()),
        );
    }
    assert_eq!(client.depth("lookup.dead").await, Some(0));
}
