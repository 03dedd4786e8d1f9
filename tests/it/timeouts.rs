//! A consumer timeout shorter than a job waits: nothing is asked or answered twice for it, and the queue moves.
//!
//! RabbitMQ up to 4.2 closes the channel of whoever acknowledges too late; from 4.3 on it cancels the consumer, unless
//! that asked for a timeout of its own.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use lookup_worker::sandbox::Kind;
use serde_json::json;

use crate::{
    amqp::{Client, Job, Received},
    broker::Broker,
    keeper::Node,
    road::{Served, config},
    worker::Worker,
};

/// The bound of a run, beside what its quota takes.
const LONG: Duration = Duration::from_mins(1);

/// Where a job may be on its way.
const WAYS: [&str; 6] = [
    "jobs.antsomi.interactive",
    "jobs.antsomi.bulk",
    "suspect.antsomi.interactive",
    "suspect.antsomi",
    "delay.1s",
    "delay.2s",
];

/// A node that takes back what is held longer than this.
fn impatient(timeout: Duration) -> Broker {
    let broker = Broker::launch(Node::alone());
    broker.wait_ready();
    let milliseconds = timeout.as_millis();
    broker.evaluate(&format!(
        "application:set_env(rabbit, consumer_timeout, {milliseconds}),
        application:set_env(rabbit, channel_tick_interval, {}).",
        milliseconds / 10
    ));
    broker
}

/// Some workers of one broker with such a quota, and jobs of one lane.
struct Run {
    broker: Broker,
    client: Client,
    sandbox: Served,
    workers: Vec<Worker>,
    jobs: u32,
}

impl Run {
    async fn begin(timeout: Duration, workers: usize, keys: &str) -> Self {
        let (broker, sandbox) = (impatient(timeout), Served::start().await);
        let config = config(&broker.url(), &sandbox, "").replace(
            "quota = \"none\"",
            &format!("batch = {{ max_size = 1 }}\n{keys}"),
        );
        let mut workers: Vec<_> = (0..workers).map(|_| Worker::start(&config)).collect();
        for worker in &mut workers {
            worker.wait_ready().await;
        }
        let client = Client::connect(&broker.url()).await;
        Self {
            broker,
            client,
            sandbox,
            workers,
            jobs: 0,
        }
    }

    async fn publish(&mut self, lane: &str, jobs: u32) {
        let job = |n: u32| {
            Job::json(&json!({"query": {"phone": format!("8491{n:07}")}})).id(&format!("j-{n}"))
        };
        let jobs = self.jobs..self.jobs + jobs;
        self.jobs = jobs.end;
        self.client
            .publish_all("lookup.jobs", &format!("antsomi.{lane}"), jobs.map(job))
            .await;
    }

    /// Waits for the results of all jobs, and for what may come behind them; each job with all its results.
    async fn results(&self, within: Duration) -> BTreeMap<String, usize> {
        let (give_up, jobs) = (Instant::now() + within, self.jobs);
        loop {
            let answered = self.client.depth("lookup.results").await.unwrap_or(0);
            if answered >= jobs && self.waiting().await == 0 && self.held().await == 0.0 {
                break;
            }
            assert!(
                Instant::now() < give_up,
                "{answered} of {jobs} results after {within:?}\n{}",
                self.workers[0].log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let lying = self.client.depth("lookup.results").await.unwrap() as usize;
        let results = self.client.take("lookup.results", lying, LONG).await;
        let mut by_job = BTreeMap::new();
        for result in results.iter().map(Received::json) {
            *by_job.entry(result["job_id"].to_string()).or_default() += 1;
        }
        by_job
    }

    /// Jobs that lie in queues.
    async fn waiting(&self) -> u32 {
        let mut waiting = 0;
        for queue in WAYS {
            waiting += self
                .client
                .depth(&format!("lookup.{queue}"))
                .await
                .unwrap_or(0);
        }
        waiting
    }

    /// Bytes of jobs that workers hold.
    async fn held(&self) -> f64 {
        let mut held = 0.0;
        for worker in &self.workers {
            for queue in WAYS {
                let queue = format!("lookup.{queue}");
                held += worker
                    .metric(&format!("lookup_unsettled_bytes{{queue=\"{queue}\"}}"))
                    .await;
            }
        }
        held
    }

    async fn requests(&self) -> u64 {
        self.sandbox.stats(Kind::Antsomi).await["requests"]
            .as_u64()
            .unwrap()
    }
}

fn twice(results: &BTreeMap<String, usize>) -> Vec<&String> {
    results
        .iter()
        .filter_map(|(job, count)| (*count > 1).then_some(job))
        .collect()
}

#[tokio::test]
async fn a_quota_slower_than_the_brokers_consumer_timeout_costs_no_request_twice_and_no_result() {
    for lane in ["bulk", "interactive"] {
        let quota = "quota = { requests = 2, per = \"1s\", reserve = 0.0 }";
        let mut run = Run::begin(Duration::from_secs(3), 1, quota).await;
        run.publish(lane, 24).await;
        let results = run.results(LONG).await;
        assert_eq!(twice(&results), [""; 0], "{lane}");
        assert_eq!((results.len(), run.requests().await), (24, 24), "{lane}");
    }
}

#[tokio::test]
async fn an_answer_slower_than_the_consumer_timeout_is_one_request_and_one_result() {
    let mut run = Run::begin(Duration::from_secs(2), 1, "quota = \"none\"").await;
    let slow = json!({"latency": "7s"});
    run.sandbox
        .fault(Kind::Antsomi, "84910000000", slow, Some(1))
        .await;
    run.publish("bulk", 20).await;
    let results = run.results(LONG).await;
    assert_eq!(twice(&results), [""; 0]);
    assert_eq!((results.len(), run.requests().await), (20, 20));
    assert_eq!(run.client.depth("lookup.dead").await, Some(0));
}

#[tokio::test]
async fn jobs_that_are_parked_longer_than_the_consumer_timeout_go_on_once() {
    let mut run = Run::begin(Duration::from_millis(1500), 1, "quota = \"none\"").await;
    let later = json!({"status": 503, "retry_after": 9});
    run.sandbox
        .fault(Kind::Antsomi, "8491", later, Some(5))
        .await;
    run.publish("bulk", 5).await;
    let results = run.results(LONG).await;
    assert_eq!(twice(&results), [""; 0]);
    assert_eq!((results.len(), run.requests().await), (5, 10));
}

#[tokio::test]
async fn a_kill_and_a_restart_of_the_broker_under_a_short_consumer_timeout_lose_nothing() {
    let quota = "quota = { requests = 4, per = \"1s\" }";
    let mut run = Run::begin(Duration::from_secs(3), 2, quota).await;
    run.publish("bulk", 40).await;
    run.client
        .wait_for_at_least("lookup.results", 8, LONG)
        .await;
    run.workers[0].kill9();
    run.workers[0].start_again();
    run.workers[0].wait_ready().await;
    run.client
        .wait_for_at_least("lookup.results", 16, LONG)
        .await;
    run.broker.stop();
    run.broker.start_again();
    run.client = Client::connect(&run.broker.url()).await;
    for worker in &mut run.workers {
        worker.wait_ready().await;
    }
    assert_eq!(run.results(LONG).await.len(), 40);
}

/// `TIMEOUT_S=10 QUOTA=10/5s JOBS=120 WORKERS=1 LANE=bulk cargo test -- --ignored --nocapture of_any_size`
#[tokio::test]
#[ignore = "takes as long as its quota: a measurement, by hand"]
async fn a_quota_and_a_consumer_timeout_of_any_size() {
    let told = |name: &str, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.to_owned());
    let number = |name: &str, usual: &str| told(name, usual).parse::<u32>().expect("a number");
    let quota = told("QUOTA", "10/5s");
    let (requests, per) = quota.split_once('/').expect("REQUESTS/PER");
    let (timeout, jobs) = (number("TIMEOUT_S", "10"), number("JOBS", "120"));
    let quota = format!("quota = {{ requests = {requests}, per = \"{per}\", reserve = 0.0 }}");
    let workers = number("WORKERS", "1") as usize;
    let mut run = Run::begin(Duration::from_secs(timeout.into()), workers, &quota).await;
    let begun = Instant::now();
    run.publish(&told("LANE", "bulk"), jobs).await;
    let results = run.results(Duration::from_mins(30)).await;
    println!(
        "{jobs} jobs, {} answered, {} of them twice, {} requests, {:.1} s",
        results.len(),
        twice(&results).len(),
        run.requests().await,
        begun.elapsed().as_secs_f64()
    );
    for worker in &run.workers {
        let log = worker.log();
        let told = log
            .lines()
            .filter(|line| line.contains("WARN") || line.contains("channel was closed"));
        told.for_each(|line| println!("{line}"));
    }
}
