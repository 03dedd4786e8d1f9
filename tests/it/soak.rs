//! The fault tests at scale, by hand: `deploy/soak`. Each prints a line that tells what became of every job.

use std::{env, time::Duration};

use lookup_worker::sandbox::Kind;
use serde_json::json;

use crate::{
    amqp::Job,
    broker::Broker,
    cuts, frozen, losses, nodes,
    road::Road,
    tally::{LONG, Load, Tally},
};

/// `SCALE=0.1` is a tenth of everything, for a try.
fn scaled(count: u32) -> u32 {
    let scale = env::var("SCALE").map_or(1.0, |scale| {
        scale.parse::<f64>().expect("SCALE is a number")
    });
    let scaled = (f64::from(count) * scale).ceil();
    (1..1_000_000)
        .find(|n| f64::from(*n) >= scaled)
        .expect("a count")
}

/// What became of every job, in one line of the table; none is lost, and none given up.
fn row(what: &str, times: u32, tally: Tally) {
    let Tally {
        jobs,
        answered,
        repeated,
        dead,
        lost,
    } = tally;
    println!("\n{what:<44} {times:>6} {jobs:>8} {answered:>9} {repeated:>9} {dead:>5} {lost:>5}");
    tally.assert_all_answered();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; deploy/soak"]
async fn a_worker_killed_a_hundred_times() {
    let times = scaled(100);
    row("kill -9 of the worker", times, losses::kills(times).await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; deploy/soak"]
async fn a_broker_restarted_twenty_times() {
    let times = scaled(20);
    let (tally, mut pauses) = losses::restarts(times).await;
    row("broker killed and stopped, in turns", times, tally);
    pauses.sort_unstable();
    let seconds: Vec<_> = pauses.iter().map(Duration::as_secs_f64).collect();
    println!(
        "    first result after the broker is back, s: {seconds:.2?}, median {:.2}",
        seconds[seconds.len() / 2]
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; deploy/soak"]
async fn a_node_of_a_cluster_lost_ten_times() {
    let times = scaled(10);
    row(
        "node of a cluster killed",
        times,
        nodes::losses(times).await,
    );
    let jobs = scaled(1000);
    row(
        "leader of a delay queue killed, jobs parked",
        1,
        nodes::parked(jobs).await,
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; deploy/soak"]
async fn connections_cut_a_hundred_times() {
    let times = scaled(10);
    row(
        "connection cut at each of 6 points",
        6 * times,
        cuts::at_each_point(times).await,
    );
    let times = scaled(100);
    row(
        "connections cut at random moments",
        times,
        cuts::at_random(times).await,
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; deploy/soak"]
async fn a_broker_frozen_for_less_and_for_more_than_its_heartbeats() {
    let times = scaled(5);
    row(
        "broker frozen for 5 s",
        times,
        frozen::broker_for(times, Duration::from_secs(5)).await,
    );
    let times = scaled(2);
    row(
        "broker frozen for 25 s",
        times,
        frozen::broker_for(times, Duration::from_secs(25)).await,
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; deploy/soak"]
async fn a_worker_frozen_for_less_and_for_more_than_its_heartbeats() {
    let times = scaled(5);
    row(
        "worker frozen for 5 s",
        times,
        frozen::worker_for(times, Duration::from_secs(5)).await,
    );
    let times = scaled(2);
    row(
        "worker frozen for 25 s",
        times,
        frozen::worker_for(times, Duration::from_secs(25)).await,
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two minutes; deploy/soak"]
async fn a_provider_that_is_dark_for_half_a_minute_takes_nothing_from_the_other_one() {
    let vhost = Broker::shared().vhost();
    // What bounds each is its slots and its answer's time, not this machine.
    let road = Road::open_with(&vhost.url(), |config| {
        let dark =
            "concurrency = 8\ntimeout = \"2s\"\nbreaker = { failures = 10, cooldown = \"5s\" }";
        config
            .replace("kind = \"antsomi\"", &format!("kind = \"antsomi\"\n{dark}"))
            .replace("kind = \"omeda\"", "kind = \"omeda\"\nconcurrency = 8")
    })
    .await;
    losses::take_time(&road, "40ms").await;
    road.sandbox
        .fault(Kind::Omeda, "12345", json!({"latency": "40ms"}), None)
        .await;
    let half = Duration::from_secs_f64(f64::from(scaled(300)) / 10.0);
    let jobs = scaled(300) * 50;
    let job =
        |n: u32| Job::json(&json!({"query": {"customer_id": 12345}})).id(&format!("omeda-{n}"));
    road.client
        .publish_for_sure("lookup.jobs", "omeda", (0..jobs).map(job))
        .await;
    // Of antsomi, fewer than are done before the light goes out and after it is back.
    let load = Load::of(&road.client, jobs).await;

    tokio::time::sleep(Duration::from_secs(2)).await;
    let light = done_in(&road, half).await;
    road.sandbox.clear_faults(Kind::Antsomi).await;
    road.sandbox
        .fault(Kind::Antsomi, "8491", json!({"hang": true}), None)
        .await;
    let dark = done_in(&road, half).await;
    road.sandbox.clear_faults(Kind::Antsomi).await;
    println!(
        "\nomeda: {light} jobs in {half:?} with antsomi well, {dark} with it dark: ratio {:.3}",
        dark / light
    );

    wait_for_all(&road, f64::from(2 * jobs)).await;
    let (answered, failed) = (
        results_of(&road, "antsomi", "found").await,
        results_of(&road, "antsomi", "failed").await,
    );
    println!(
        "antsomi: {} jobs, {answered} found, {failed} failed",
        load.jobs()
    );
    assert!(
        failed < f64::EPSILON,
        "none of the dark one's jobs is used up"
    );
    assert!(
        dark / light > 0.9,
        "{dark} jobs while the other was dark, {light} before"
    );
}

/// Results of a provider with this status.
async fn results_of(road: &Road, provider: &str, status: &str) -> f64 {
    let metrics = road.worker.metrics().await;
    let wanted = metrics.lines().filter(|line| {
        line.starts_with("lookup_results_total")
            && line.contains(&format!("provider=\"{provider}\""))
            && line.contains(&format!("status=\"{status}\""))
    });
    wanted
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Jobs of omeda that are done in this time.
async fn done_in(road: &Road, time: Duration) -> f64 {
    let before = results_of(road, "omeda", "found").await;
    tokio::time::sleep(time).await;
    results_of(road, "omeda", "found").await - before
}

async fn wait_for_all(road: &Road, results: f64) {
    let all = async {
        while road.worker.metric("lookup_results_total").await < results {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(3 * LONG, all)
        .await
        .expect("all results");
}
