//! Whatever dies, and whenever, every job is answered. Each test counts every job.

use std::time::{Duration, Instant};

use lookup_worker::sandbox::Kind;
use serde_json::json;

use crate::{
    amqp::Client,
    broker::{Broker, accepts_connections},
    road::Road,
    tally::{JOBS, LONG, Load, RESULTS, Tally},
};

/// Jobs that are there when something happens.
const ENOUGH: u32 = 600;

/// Lookups take some time, so that whatever happens meets jobs in every stage of their way.
pub async fn take_time(road: &Road, latency: &str) {
    road.sandbox
        .fault(Kind::Antsomi, "8491", json!({ "latency": latency }), None)
        .await;
}

/// A moment that nobody chose.
pub async fn some_moment(at_most: Duration) {
    tokio::time::sleep(at_most.mul_f64(rand::random())).await;
}

/// `kill -9` of the worker so many times, at random moments: at work most often, now and then at its start.
pub async fn kills(times: u32) -> Tally {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    take_time(&road, "20ms").await;
    let mut load = Load::default();
    for n in 1..=times {
        load.keep_up(&road.client, ENOUGH).await;
        if n % 5 != 0 {
            road.worker.wait_ready().await;
        }
        some_moment(Duration::from_millis(700)).await;
        road.worker.kill9();
        road.worker.start_again();
    }
    load.tally(&road.client).await
}

/// The broker killed and stopped in turns, so many times, while the worker works. For each: how long it took from
/// when the broker accepts connections to the first result after it.
pub async fn restarts(times: u32) -> (Tally, Vec<Duration>) {
    let broker = Broker::start();
    let mut road = Road::open(&broker.url(), "").await;
    broker.write_down();
    // So slow that jobs are left at each restart: without any there would be no result afterwards.
    take_time(&road, "100ms").await;
    let (mut load, mut pauses) = (Load::default(), Vec::new());
    let worker = road.worker.pid();
    for n in 0..times {
        // Now and then the next one comes while the worker is not yet at all of its queues.
        if n % 5 != 4 {
            road.worker.wait_ready().await;
        }
        load.keep_up(&Client::connect(&broker.url()).await, 4 * ENOUGH)
            .await;
        some_moment(Duration::from_millis(500)).await;
        if n % 2 == 0 {
            broker.kill();
        } else {
            broker.stop();
        }
        broker.order_start();
        pauses.push(first_result(&road, &broker).await);
    }
    let tally = load.tally(&Client::connect(&broker.url()).await).await;
    assert_eq!(road.worker.pid(), worker, "the worker was never restarted");
    (tally, pauses)
}

/// Of a broker that is on its way up: the time from its first connection to the first result.
async fn first_result(road: &Road, broker: &Broker) -> Duration {
    let results = async || road.worker.metric("lookup_results_total").await;
    let waited = async {
        // What was confirmed before the broker ended may be counted a little later: so it is looked at again.
        let mut before = results().await;
        while !accepts_connections(&broker.url()).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
            before = results().await;
        }
        let accepted = Instant::now();
        while results().await <= before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        accepted.elapsed()
    };
    let Ok(took) = tokio::time::timeout(LONG, waited).await else {
        let left = Client::connect(&broker.url()).await.depth(JOBS).await;
        panic!(
            "no result, {left:?} jobs left:\n{}\n{}",
            road.worker.metrics().await,
            road.worker.log()
        )
    };
    took
}

#[tokio::test]
async fn ten_thousand_jobs_are_ten_thousand_right_results() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let tally = Load::of(&road.client, 10_000)
        .await
        .tally(&road.client)
        .await;
    tally.assert_all_answered();
    assert_eq!(tally.repeated, 0);
    assert_eq!(road.client.depth(JOBS).await, Some(0));
}

#[tokio::test]
async fn kill_9_of_the_worker_at_random_moments_loses_no_job() {
    kills(5).await.assert_all_answered();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_one_that_is_stopped_in_the_middle_lose_no_job() {
    let (tally, _) = restarts(2).await;
    tally.assert_all_answered();
}

#[tokio::test]
async fn sigterm_finishes_what_is_in_flight_and_repeats_nothing() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    take_time(&road, "30ms").await;
    let load = Load::of(&road.client, 2_000).await;
    for done in [200, 800, 1_400] {
        road.client.wait_for_at_least(RESULTS, done, LONG).await;
        road.worker.sigterm();
        assert_eq!(road.worker.wait_exit().await.code(), Some(0));
        road.worker.start_again();
    }
    let tally = load.tally(&road.client).await;
    tally.assert_all_answered();
    assert_eq!(tally.repeated, 0);
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
        while road
            .client
            .depth("lookup.jobs.antsomi.bulk")
            .await
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, log)
        .await
        .expect("the consumer is back");
    let result = road
        .ask("antsomi.bulk", &json!({"query": {"phone": "84907089782"}}))
        .await
        .json();
    assert_eq!(result["status"], "found");
}

#[tokio::test]
async fn kill_9_while_jobs_are_parked_loses_none() {
    let vhost = Broker::shared().vhost();
    let patient = "kind = \"antsomi\"\nbreaker = { failures = 1000000, cooldown = \"1s\" }";
    let mut road = Road::open_with(&vhost.url(), |config| {
        config.replace("kind = \"antsomi\"", patient)
    })
    .await;
    let come_later = json!({"status": 503, "retry_after": 3});
    road.sandbox
        .fault(Kind::Antsomi, "8491", come_later, Some(400))
        .await;
    let load = Load::of(&road.client, 300).await;
    // Some die on the way into the delay queues, some there, some on the way out.
    for _ in 0..6 {
        road.worker.wait_ready().await;
        some_moment(Duration::from_millis(1_000)).await;
        road.worker.kill9();
        road.worker.start_again();
    }
    load.tally(&road.client).await.assert_all_answered();
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn death_at_each_point_of_a_jobs_way_loses_none() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    road.worker.kill9();
    let load = Load::of(&road.client, 400).await;
    for point in ["taken", "looked_up", "replaced", "acknowledged"] {
        for nth in [1, 40] {
            road.worker.start_to_fail(&format!("{point}:kill:{nth}"));
            assert!(
                !road.worker.wait_exit().await.success(),
                "it dies at {point}"
            );
        }
    }
    road.worker.start_again();
    load.tally(&road.client).await.assert_all_answered();
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_panic_in_one_jobs_way_is_answered_and_the_others_go_on() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    road.worker.kill9();
    Load::of(&road.client, 50).await;
    road.worker.start_to_fail("looked_up:panic:20");
    let results = road.client.take(RESULTS, 50, LONG).await;
    let failed: Vec<_> = results
        .iter()
        .filter(|result| result.json()["status"] == "failed")
        .collect();
    assert_eq!(failed.len(), 1, "49 jobs go on");
    assert_eq!(failed[0].json()["error"]["kind"], "internal");
    let letter = road.client.take("lookup.dead", 1, LONG).await.remove(0);
    assert_eq!(letter.header("x-lookup-error").as_deref(), Some("internal"));
    assert!((road.worker.metric("lookup_panics_total").await - 1.0).abs() < f64::EPSILON);
    assert!(
        !road.worker.log().contains("as the failpoint"),
        "a panic's message is not shown"
    );
}
