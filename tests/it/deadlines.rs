//! A call's deadline holds while its provider is dark, is left alone, or is out of quota.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use lapin::{
    options::{BasicAckOptions, BasicConsumeOptions},
    types::FieldTable,
};
use lookup_worker::sandbox::Kind;
use serde_json::{Value, json};

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    road::{SOON, Served, config},
    waits::wait_for_readyz,
    worker::Worker,
};

/// Every call of a test.
const CALLS: u32 = 500;

/// Why nothing can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    Dark,
    Paused,
    OutOfQuota,
}

impl Obstacle {
    fn keys(self) -> &'static str {
        match self {
            Self::Dark | Self::Paused => {
                "quota = \"none\"\nbreaker = { failures = 3, cooldown = \"5m\" }"
            }
            Self::OutOfQuota => {
                "quota = { requests = 5, per = \"5m\", reserve = 0.0 }\nbatch = { max_size = 1 }"
            }
        }
    }

    /// What the provider answers, if it is asked.
    fn fault(self) -> Option<Value> {
        match self {
            Self::Dark => Some(json!({"status": 503})),
            Self::Paused => Some(json!({"status": 429, "retry_after": 120})),
            Self::OutOfQuota => None,
        }
    }

    /// So many jobs bring it about.
    fn heralds(self) -> u32 {
        match self {
            Self::Dark => 12,
            Self::Paused => 1,
            Self::OutOfQuota => 5,
        }
    }

    async fn is_there(self, worker: &Worker, sandbox: &Served) -> bool {
        match self {
            Self::Dark | Self::Paused => worker
                .get("/readyz")
                .await
                .is_some_and(|(_, text)| text.contains("provider antsomi")),
            Self::OutOfQuota => sandbox.stats(Kind::Antsomi).await["requests"] == 5,
        }
    }
}

struct Late {
    /// As the requester sees it.
    by: Vec<Duration>,
    /// As the worker reckons, from the receipt.
    within: Vec<i64>,
    requests: u64,
}

impl Late {
    /// The latest but for one in so many.
    fn of_the_latest(&self, one_in: usize) -> Duration {
        self.by[self.by.len() - 1 - self.by.len() / one_in]
    }
}

fn deadline_of(call: u32) -> Duration {
    Duration::from_millis(500 + u64::from(call) * 4500 / u64::from(CALLS))
}

/// How late each call is answered under this obstacle, sorted.
async fn lateness(obstacle: Obstacle, workers: usize) -> Late {
    let vhost = Broker::shared().vhost();
    let sandbox = Served::start().await;
    let config = config(&vhost.url(), &sandbox, "").replace("quota = \"none\"", obstacle.keys());
    let mut workers: Vec<_> = (0..workers).map(|_| Worker::start(&config)).collect();
    for worker in &mut workers {
        worker.wait_ready().await;
    }
    if let Some(fault) = obstacle.fault() {
        sandbox.fault(Kind::Antsomi, "8491", fault, None).await;
    }
    let client = Client::connect(&vhost.url()).await;
    client.declare_queue("replies").await;
    let phone = |n: u32| json!({"phone": format!("8491{n:07}")});
    let herald = |n: u32| Job::json(&json!({"query": phone(1000 + n)})).id(&format!("herald-{n}"));
    let everywhere = async {
        let mut heralds = 0..;
        for worker in &workers {
            // Each finds out by itself that a provider is dark.
            while !obstacle.is_there(worker, &sandbox).await {
                if heralds.start < obstacle.heralds() || obstacle == Obstacle::Dark {
                    let job = herald(heralds.next().unwrap());
                    client.publish("lookup.jobs", "antsomi.bulk", job).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::time::timeout(SOON, everywhere)
        .await
        .expect("the obstacle");

    let channel = client.new_channel().await;
    let consume = channel.basic_consume(
        "replies".into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut replies = consume.await.expect("a consumer");
    let mut sent = BTreeMap::new();
    let before = sandbox.stats(Kind::Antsomi).await["requests"]
        .as_u64()
        .unwrap();
    let mut confirms = Vec::new();
    for n in 0..CALLS {
        let deadline_ms = u64::try_from(deadline_of(n).as_millis()).unwrap();
        let job = Job::json(&json!({"query": phone(n), "deadline_ms": deadline_ms}));
        let job = job.id(&n.to_string()).reply_to("replies");
        sent.insert(n, Instant::now());
        confirms.push(
            client
                .send("lookup.jobs", "antsomi.interactive", &job)
                .await,
        );
    }
    let (mut by, mut within) = (Vec::new(), Vec::new());
    while by.len() < CALLS as usize {
        let reply = tokio::time::timeout(SOON, replies.next());
        let Ok(Some(Ok(reply))) = reply.await else {
            panic!(
                "{} of {CALLS} calls are answered under {obstacle:?}",
                by.len()
            );
        };
        let result: Value = serde_json::from_slice(&reply.data).expect("JSON");
        assert_eq!(result["error"]["kind"], "deadline_exceeded", "{result}");
        let call: u32 = result["job_id"].as_str().unwrap().parse().unwrap();
        let took = sent.remove(&call).expect("one answer").elapsed();
        assert!(took >= deadline_of(call), "{call} after {took:?}");
        by.push(took.saturating_sub(deadline_of(call)));
        let deadline_ms = i64::try_from(deadline_of(call).as_millis()).unwrap();
        within.push(result["duration_ms"].as_i64().unwrap() - deadline_ms);
        reply.ack(BasicAckOptions::default()).await.expect("an ack");
    }
    by.sort();
    within.sort_unstable();
    let after = sandbox.stats(Kind::Antsomi).await["requests"]
        .as_u64()
        .unwrap();
    Late {
        by,
        within,
        requests: after - before,
    }
}

/// What stands in the way lasts for minutes, so this is soon on any machine; [`how_late_calls_are_answered`] measures.
const SLOW_MACHINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_call_hears_at_its_deadline_while_its_provider_is_dark() {
    let late = lateness(Obstacle::Dark, 3).await;
    assert!(
        late.of_the_latest(usize::MAX) < SLOW_MACHINE,
        "{:?}",
        late.by.last()
    );
    assert_eq!(late.requests, 0);
}

#[tokio::test]
async fn a_call_hears_at_its_deadline_while_its_provider_is_left_alone() {
    let late = lateness(Obstacle::Paused, 1).await;
    assert!(
        late.of_the_latest(usize::MAX) < SLOW_MACHINE,
        "{:?}",
        late.by.last()
    );
    assert_eq!(late.requests, 0);
}

#[tokio::test]
async fn a_call_hears_at_its_deadline_while_there_is_no_quota() {
    let late = lateness(Obstacle::OutOfQuota, 1).await;
    assert!(
        late.of_the_latest(usize::MAX) < SLOW_MACHINE,
        "{:?}",
        late.by.last()
    );
    assert_eq!(late.requests, 0);
}

/// The broker has every call until it is answered: who holds it may die.
#[tokio::test]
async fn a_worker_that_is_killed_while_it_holds_calls_loses_none() {
    const HELD: u32 = 100;
    let vhost = Broker::shared().vhost();
    let sandbox = Served::start().await;
    let keys = Obstacle::Dark.keys();
    let config = config(&vhost.url(), &sandbox, "").replace("quota = \"none\"", keys);
    let mut worker = Worker::start(&config);
    worker.wait_ready().await;
    let fault = Obstacle::Dark.fault().expect("it is dark");
    sandbox.fault(Kind::Antsomi, "8491", fault, None).await;
    let client = Client::connect(&vhost.url()).await;
    client.declare_queue("replies").await;
    let call = |n: u32, deadline_ms: u32| {
        let query = json!({"phone": format!("8491{n:07}")});
        let job = Job::json(&json!({"query": query, "deadline_ms": deadline_ms}));
        job.id(&n.to_string()).reply_to("replies")
    };
    let heralds = (1000..1012).map(|n| call(n, 60_000).reply_to("heralds"));
    client.declare_queue("heralds").await;
    client
        .publish_all("lookup.jobs", "antsomi.bulk", heralds)
        .await;
    wait_for_readyz(&worker, "antsomi: circuit open").await;

    // Half of them have long, half are answered while another worker holds them.
    let calls = (0..HELD).map(|n| call(n, if n % 2 == 0 { 600_000 } else { 5_000 }));
    client
        .publish_all("lookup.jobs", "antsomi.interactive", calls)
        .await;
    client
        .wait_for_depth("lookup.jobs.antsomi.interactive", 0, SOON)
        .await;
    worker.kill9();
    client
        .wait_for_at_least("lookup.jobs.antsomi.interactive", HELD / 2, SOON)
        .await;
    sandbox.clear_faults(Kind::Antsomi).await;
    worker.start_again();
    let mut answered = BTreeMap::<String, Value>::new();
    while answered.len() < HELD as usize {
        let result = client.take("replies", 1, SOON).await[0].json();
        let id = result["job_id"].as_str().expect("an id").to_owned();
        answered.insert(id, result["status"].clone());
    }
    let found = answered
        .values()
        .filter(|status| **status == "found")
        .count();
    assert!(found >= HELD as usize / 2, "{answered:?}");
}

#[tokio::test]
#[ignore = "a measurement, by hand"]
async fn how_late_calls_are_answered() {
    for obstacle in [Obstacle::Dark, Obstacle::Paused, Obstacle::OutOfQuota] {
        for workers in [1, 3] {
            let late = lateness(obstacle, workers).await;
            let [median, most, all] = [2, 500, usize::MAX].map(|one_in| late.of_the_latest(one_in));
            println!(
                "{obstacle:?}, {workers} workers: median {median:?}, 499 of 500 {most:?}, latest {all:?}; by the worker's clock {} and {} ms; {} requests",
                late.within[250], late.within[499], late.requests
            );
        }
    }
}
