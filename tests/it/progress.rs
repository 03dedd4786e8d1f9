//! Connected is not enough: a consumer that is given nothing is found. And not too much is held at once.

use std::{fs, time::Duration};

use crate::{
    amqp::Job,
    broker::Broker,
    road::{Road, SOON},
};

#[cfg(feature = "failpoints")]
async fn silent_road(url: &str, times: &str) -> Road {
    let mut road = Road::open(url, "").await;
    road.worker.kill9();
    let silent = format!("silent:lookup.jobs.antsomi.bulk:{times}");
    road.worker
        .start_with(&[("FAILPOINT", &silent), ("FAILPOINT_LOOK_MS", "50")]);
    road.worker.wait_ready().await;
    road
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_consumer_that_is_silent_is_mended_by_a_new_session() {
    let vhost = Broker::shared().vhost();
    let road = silent_road(&vhost.url(), "2").await;
    let result = road
        .ask(
            "antsomi",
            &serde_json::json!({"query": {"phone": "84907089782"}}),
        )
        .await
        .json();
    assert_eq!(result["status"], "found");
    let log = road.worker.log();
    assert!(
        log.contains(
            "1 jobs lie ready in lookup.jobs.antsomi.bulk, and its consumer is given none"
        ),
        "{log}"
    );
    assert_eq!(
        road.worker.get("/livez").await.unwrap(),
        (200, "live\n".into())
    );
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn where_new_sessions_do_not_help_livez_fails() {
    let vhost = Broker::shared().vhost();
    let road = silent_road(&vhost.url(), "1000").await;
    // An idle queue is no lack of progress.
    let other = road
        .ask(
            "antsomi.interactive",
            &serde_json::json!({"query": {"phone": "84907089782"}}),
        )
        .await;
    assert_eq!(other.json()["status"], "found");
    assert_eq!(road.worker.get("/livez").await.unwrap().0, 200);
    road.publish(
        "antsomi",
        "waits",
        &serde_json::json!({"query": {"phone": "84907089782"}}),
    )
    .await;
    let fails = async {
        loop {
            match road.worker.get("/livez").await {
                Some((503, text)) => break text,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let text = tokio::time::timeout(SOON, fails)
        .await
        .expect("/livez fails");
    assert!(text.contains("lookup.jobs.antsomi.bulk"), "{text}");
}

#[tokio::test]
async fn what_is_held_is_bounded_in_bytes_too() {
    const MIB: usize = 1024 * 1024;
    let vhost = Broker::shared().vhost();
    let road = Road::open_with(&vhost.url(), |config| {
        config.replace("\"1s\", \"2s\"", "\"1s\", \"20m\"")
    })
    .await;
    // Parked jobs are held for a while, up to a thousand of them, in as many bytes as 128 usual ones may have, once it
    // is seen how large they are.
    let now = jiff::Timestamp::now().as_millisecond();
    let (parked, due) = (now.to_string(), (now + 3_600_000).to_string());
    let large = |n: u32| {
        let job = Job::new(vec![b' '; 5 * MIB]).id(&format!("large-{n}"));
        job.header("x-lookup-routing-key", "antsomi")
            .number_header("x-lookup-parked-at", &parked)
            .number_header("x-lookup-due-at", &due)
    };
    let held = async || {
        road.worker
            .metric("lookup_unsettled_bytes{queue=\"lookup.delay.20m\"}")
            .await
    };
    let at_least = async |mebibytes: f64| {
        while held().await < mebibytes * MIB as f64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    road.client
        .publish_all("", "lookup.delay.20m", (0..1).map(large))
        .await;
    tokio::time::timeout(SOON, at_least(5.0))
        .await
        .expect("it holds the first");
    road.client
        .publish_all("", "lookup.delay.20m", (1..40).map(large))
        .await;
    tokio::time::timeout(SOON, at_least(32.0))
        .await
        .expect("it holds what it may");
    // All else would come at once, if it came.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (held, waiting) = (
        held().await / MIB as f64,
        road.client.depth("lookup.delay.20m").await.unwrap(),
    );
    assert!(
        held <= 40.0 && waiting >= 32,
        "{held} MiB are held, {waiting} messages wait"
    );
    let status = fs::read_to_string(format!(
        "/proc/{}/status",
        road.worker.pid().as_raw_nonzero()
    ))
    .unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak = peak
        .split_whitespace()
        .next()
        .unwrap()
        .parse::<usize>()
        .unwrap()
        / 1024;
    assert!(peak < 150, "{peak} MiB");
}
