//! What is frozen holds everything and answers nothing, and later goes on as if nothing had been.

use std::time::{Duration, Instant};

use lookup_worker::sandbox::Kind;
use serde_json::json;

use crate::{
    amqp::Client,
    broker::{Broker, Vhost},
    commands::Call,
    losses::{some_moment, take_time},
    road::{Road, config},
    tally::{LONG, Load, Tally},
};

/// Jobs that are there at each freeze.
const ENOUGH: u32 = 600;

/// The broker frozen so many times for so long, at random moments.
pub async fn broker_for(times: u32, length: Duration) -> Tally {
    let broker = Broker::start();
    let mut road = Road::open(&broker.url(), "").await;
    take_time(&road, "20ms").await;
    let mut load = Load::default();
    for _ in 0..times {
        load.keep_up(&Client::connect(&broker.url()).await, ENOUGH)
            .await;
        some_moment(Duration::from_millis(500)).await;
        broker.freeze();
        tokio::time::sleep(length).await;
        broker.thaw();
        broker.wait_ready();
        road.worker.wait_ready().await;
    }
    load.tally(&Client::connect(&broker.url()).await).await
}

/// The worker frozen so many times for so long, at random moments.
pub async fn worker_for(times: u32, length: Duration) -> Tally {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    take_time(&road, "20ms").await;
    let mut load = Load::default();
    for _ in 0..times {
        load.keep_up(&Client::connect(&vhost.url()).await, ENOUGH)
            .await;
        some_moment(Duration::from_millis(500)).await;
        road.worker.sigstop();
        tokio::time::sleep(length).await;
        road.worker.sigcont();
        road.worker.wait_ready().await;
    }
    load.tally(&Client::connect(&vhost.url()).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_frozen_for_some_seconds_loses_no_job() {
    broker_for(2, Duration::from_secs(3))
        .await
        .assert_all_answered();
}

#[tokio::test]
async fn a_worker_that_is_frozen_for_some_seconds_loses_no_job() {
    worker_for(2, Duration::from_secs(2))
        .await
        .assert_all_answered();
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_while_its_broker_is_frozen_ends_and_its_jobs_are_done_by_the_next()
 {
    let broker = Broker::start();
    let mut road = Road::open_with(&broker.url(), |config| {
        config + "\n[worker]\nshutdown_grace = \"2s\"\n"
    })
    .await;
    take_time(&road, "20ms").await;
    let load = Load::of(&road.client, ENOUGH).await;
    broker.freeze();
    road.worker.sigterm();
    let begun = Instant::now();
    // Each of its calls on the broker has a bound; without them it would wait for ever.
    assert_eq!(
        road.worker.wait_exit().await.code(),
        Some(0),
        "{}",
        road.worker.log()
    );
    assert!(begun.elapsed() < LONG);
    broker.thaw();
    broker.wait_ready();
    road.worker.start_again();
    load.tally(&Client::connect(&broker.url()).await)
        .await
        .assert_all_answered();
}

#[tokio::test]
async fn a_provider_that_answers_nothing_for_a_while_costs_waiting_and_no_job() {
    let vhost = Broker::shared().vhost();
    let short = "kind = \"antsomi\"\ntimeout = \"300ms\"\nconcurrency = 4\n\
        breaker = { failures = 3, cooldown = \"200ms\" }";
    let road = Road::open_with(&vhost.url(), |config| {
        config.replace("kind = \"antsomi\"", short)
    })
    .await;
    road.sandbox
        .fault(Kind::Antsomi, "8491", json!({"hang": true}), None)
        .await;
    let load = Load::of(&road.client, 60).await;
    // Many more requests than a job has attempts.
    let asked = async || {
        road.sandbox.stats(Kind::Antsomi).await["requests"]
            .as_u64()
            .expect("a number")
    };
    let probes = async {
        while asked().await < 20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, probes).await.expect("probes");
    assert!(
        road.worker.metric("lookup_results_total").await < f64::EPSILON,
        "all wait"
    );
    road.sandbox.clear_faults(Kind::Antsomi).await;
    load.tally(&road.client).await.assert_all_answered();
}

/// So long each look at a queue that says nothing is waited for.
const AWAY: Duration = Duration::from_secs(3);

/// One queue of each provider.
fn pauses() -> Vec<String> {
    let kinds = Kind::ALL.iter();
    kinds
        .map(|kind| format!("lookup.pause.{}", kind.name()))
        .collect()
}

/// Queues that say nothing, as those of RabbitMQ 4 do while their node is away; a virtual host with one of them cannot
/// be deleted.
struct Deaf<'a> {
    vhost: &'a Vhost<'a>,
    queues: Vec<String>,
}

impl<'a> Deaf<'a> {
    fn make(vhost: &'a Vhost<'a>, queues: Vec<String>) -> Self {
        vhost.tell_leaders("suspend", &queues);
        Self { vhost, queues }
    }
}

impl Drop for Deaf<'_> {
    fn drop(&mut self) {
        self.vhost.tell_leaders("resume", &self.queues);
    }
}

/// How long a worker takes to start while these say nothing.
async fn start(road: &mut Road, deaf: Deaf<'_>) -> Duration {
    road.worker.kill9();
    let begun = Instant::now();
    road.worker.start_again();
    road.worker.wait_ready().await;
    let took = begun.elapsed();
    drop(deaf);
    took
}

#[tokio::test]
async fn queues_of_pauses_that_say_nothing_are_waited_for_together_and_not_one_after_the_other() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    // Once to declare it and once to look at it.
    let took = start(&mut road, Deaf::make(&vhost, pauses())).await;
    assert!(took < 5 * AWAY, "{took:?}\n{}", road.worker.log());
}

#[tokio::test]
async fn so_are_the_ledgers_of_several_quotas() {
    const QUOTA: &str = "quota = { requests = 50, per = \"5s\" }";
    let vhost = Broker::shared().vhost();
    let with_quotas = |config: String| {
        let config = config.replace("quota = \"none\"", QUOTA);
        let others = ["omeda", "kapture", "egain"];
        others.iter().fold(config, |config, kind| {
            let table = format!("[providers.{kind}]");
            config.replace(&table, &format!("{table}\n{QUOTA}"))
        })
    };
    let mut road = Road::open_with(&vhost.url(), with_quotas).await;
    let ledgers = ["antsomi", "omeda", "kapture", "egain"]
        .map(|name| ["", ".bulk", ".spread"].map(|which| format!("lookup.quota.{name}{which}")));
    // Once to look for it and once to declare it.
    let took = start(&mut road, Deaf::make(&vhost, ledgers.concat())).await;
    assert!(took < 5 * AWAY, "{took:?}\n{}", road.worker.log());
}

#[tokio::test]
async fn check_waits_for_what_says_nothing_together_and_names_it() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let toml = config(&vhost.url(), &road.sandbox, "");
    let deaf = Deaf::make(&vhost, pauses());
    let begun = Instant::now();
    let checked = Call::new(&["check", "--json"]).config(&toml).run().await;
    let took = begun.elapsed();
    drop(deaf);
    let lines = checked.expect(1).lines();
    // Once whether it is there, and once for what waits.
    assert!(took < 5 * AWAY, "{took:?} for {lines:#?}");
    let told = |check: &str| {
        let line = lines.iter().find(|line| line["check"] == check);
        line.unwrap_or_else(|| panic!("no {check} in {lines:#?}"))
    };
    let topology = told("topology");
    let message = topology["message"].as_str().expect("a message");
    assert_eq!(topology["ok"], false);
    assert!(message.starts_with("5 queues say nothing"), "{message}");
    assert!(message.contains("lookup.pause.antsomi"), "{message}");
    for kind in Kind::ALL {
        assert_eq!(told(&format!("backlog {}", kind.name()))["ok"], true);
    }
}
