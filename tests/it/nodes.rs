//! Three nodes, of which one dies: what it held, the others have, and what only it held is waited for.

mod ledgers; // of quotas
mod lookups; // several providers asked in one job

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::LazyLock,
    time::{Duration, Instant},
};

use lapin::types::{AMQPValue, FieldTable};
use lookup_worker::sandbox::Kind;
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    amqp::{Client, Job, Received},
    broker::Vhost,
    cluster::Cluster,
    commands::Call,
    cures::run_by,
    keeper::version,
    losses::{some_moment, take_time},
    road::Road,
    tally::{JOBS, LONG, Load, Tally},
};

/// Jobs that are there when a node dies.
const ENOUGH: u32 = 1_000;

/// The cluster of these tests, whole; they have it one after the other.
pub async fn cluster() -> MutexGuard<'static, Cluster> {
    static CLUSTER: LazyLock<Mutex<Cluster>> = LazyLock::new(|| Mutex::new(Cluster::start(3)));
    let cluster = CLUSTER.lock().await;
    cluster.mend();
    cluster
}

/// A worker that knows all nodes, on a virtual host of its own.
struct Fleet<'a> {
    cluster: &'a Cluster,
    vhost: Vhost<'a>,
    road: Road,
    config: String,
}

impl<'a> Fleet<'a> {
    async fn open(cluster: &'a Cluster, change: impl FnOnce(String) -> String) -> Self {
        Self::open_in(cluster, cluster.node(0).vhost(), change).await
    }

    /// In a virtual host in which something is already.
    async fn open_in(
        cluster: &'a Cluster,
        vhost: Vhost<'a>,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let urls = cluster.urls_of(vhost.name());
        let mut changed = String::new();
        let road = Road::open_with(&vhost.url(), |config| {
            let (one, all) = (
                format!("url = \"{}\"", vhost.url()),
                format!("urls = {urls:?}"),
            );
            assert!(config.contains(&one));
            changed = change(config.replace(&one, &all));
            changed.clone()
        })
        .await;
        Self {
            cluster,
            vhost,
            road,
            config: changed,
        }
    }

    /// A client of a node that is not this one.
    async fn client_beside(&self, node: usize) -> Client {
        let other = (node + 1) % self.cluster.urls().len();
        Client::connect(&self.cluster.urls_of(self.vhost.name())[other]).await
    }

    /// As [`home`].
    fn leader(&self, queue: &str) -> usize {
        home(self.cluster, self.vhost.name(), queue)
    }

    /// The node that the worker consumes from.
    fn worker_node(&self) -> usize {
        let listed = self.cluster.node(0).rabbitmqctl(&[
            "list_consumers",
            "--vhost",
            self.vhost.name(),
            "queue_name",
            "channel_pid",
        ]);
        self.cluster.named_in(row(&listed, JOBS))
    }

    /// Results that were confirmed, since the worker's start.
    async fn results(&self) -> f64 {
        self.road.worker.metric("lookup_results_total").await
    }

    /// Returns when there are so many results.
    async fn wait_for_results(&self, count: f64) {
        let enough = async {
            while self.results().await < count {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(LONG, enough).await;
        assert!(
            waited.is_ok(),
            "no more results:\n{}",
            self.road.worker.log()
        );
    }
}

/// The node that leads a queue; of a classic queue, the one it lives on.
fn home(cluster: &Cluster, vhost: &str, queue: &str) -> usize {
    let list = ["list_queues", "--vhost", vhost, "name", "pid"];
    cluster.named_in(row(&cluster.node(0).rabbitmqctl(&list), queue))
}

/// The row of a table that RabbitMQ printed, by its first column.
fn row<'a>(listed: &'a str, name: &str) -> &'a str {
    let mut rows = listed.lines();
    rows.find(|line| line.split_whitespace().next() == Some(name))
        .unwrap_or_else(|| panic!("no {name}:\n{listed}"))
}

/// A node killed and brought back so many times: in turns the one that the worker is connected to, and the one
/// that leads the queue of its jobs.
pub async fn losses(times: u32) -> Tally {
    let cluster = cluster().await;
    let fleet = Fleet::open(&cluster, |config| config).await;
    take_time(&fleet.road, "20ms").await;
    let mut load = Load::default();
    for n in 0..times {
        let victim = if n % 2 == 0 {
            fleet.worker_node()
        } else {
            fleet.leader(JOBS)
        };
        load.keep_up(&fleet.client_beside(victim).await, ENOUGH)
            .await;
        some_moment(Duration::from_millis(300)).await;
        cluster.kill(victim);
        load.keep_up(&fleet.client_beside(victim).await, ENOUGH)
            .await;
        fleet
            .wait_for_results(fleet.results().await + f64::from(ENOUGH) / 2.0)
            .await;
        cluster.mend();
    }
    load.tally(&fleet.client_beside(0).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_and_comes_back_loses_no_job() {
    losses(2).await.assert_all_answered();
}

/// Parks `jobs` jobs and kills the node that leads their delay queue.
pub async fn parked(jobs: u32) -> Tally {
    let cluster = cluster().await;
    let patient = |config: String| {
        config.replace(
            "kind = \"antsomi\"",
            "kind = \"antsomi\"\nbreaker = { failures = 1000000, cooldown = \"1s\" }",
        )
    };
    let fleet = Fleet::open(&cluster, patient).await;
    let come_later = json!({"status": 503, "retry_after": 6});
    fleet
        .road
        .sandbox
        .fault(Kind::Antsomi, "8491", come_later, Some(jobs))
        .await;
    let victim = fleet.leader("lookup.delay.2s");
    let load = Load::of(&fleet.client_beside(victim).await, jobs).await;
    let all_parked = async {
        while fleet.road.worker.metric("lookup_retries_total").await < f64::from(jobs) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, all_parked)
        .await
        .expect("all parked");
    assert!(
        fleet.road.worker.metric("lookup_results_total").await < f64::EPSILON,
        "all wait"
    );
    cluster.kill(victim);
    let tally = load.tally(&fleet.client_beside(victim).await).await;
    cluster.mend();
    tally
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_jobs_outlive_the_leader_of_their_delay_queue() {
    parked(300).await.assert_all_answered();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_node_of_a_quotas_ledger_is_away_nothing_is_sent_and_afterwards_it_goes_on() {
    let cluster = cluster().await;
    let limited = |config: String| {
        config.replace(
            "kind = \"omeda\"",
            "kind = \"omeda\"\nquota = { requests = 5, per = \"2s\", reserve = 0.0 }",
        )
    };
    let fleet = Fleet::open(&cluster, limited).await;
    let sent = async || {
        fleet.road.sandbox.stats(Kind::Omeda).await["lookups"]
            .as_u64()
            .expect("a number")
    };
    let home = fleet.leader("lookup.quota.omeda");
    cluster.kill(home);
    let client = fleet.client_beside(home).await;
    // It is connected again, and other providers are served; only what cannot be counted is not sent.
    // Each asks for another: equal ones would share a request.
    let job = |n: u32| {
        Job::json(&json!({"query": {"customer_id": 20_000 + n}})).id(&format!("counted-{n}"))
    };
    client
        .publish_for_sure("lookup.jobs", "omeda", (0..15).map(job))
        .await;
    Load::of(&client, 200).await;
    fleet.wait_for_results(200.0).await;
    assert_eq!(sent().await, 0, "nothing is sent that is not counted");
    cluster.mend();
    fleet.wait_for_results(215.0).await;
    assert_eq!(sent().await, 15);
}

/// Lookups at once, so few that calls wait in the worker's hands.
const AT_ONCE: &str = "kind = \"antsomi\"\nconcurrency = 4\nbatch = { max_size = 1 }";

/// RabbitMQ 4.3 keeps for a minute, unless it is told otherwise, what a consumer held whose node is gone; the rest of
/// the time is the worker's, with the cluster's elections.
const FAR_LESS_THAN_A_MINUTE: Duration = Duration::from_secs(40);

impl Fleet<'_> {
    /// Calls of which a worker holds the most when its node dies, each answered; how long after that.
    async fn time_of_held_calls(&self) -> Duration {
        const CALLS: u32 = 60;
        const HELD: f64 = 40.0;
        take_time(&self.road, "400ms").await;
        let victim = self.worker_node();
        let client = self.client_beside(victim).await;
        let job = |n: u32| json!({"query": {"phone": format!("8491{n:07}")}});
        let publish = async |calls: Range<u32>| {
            let jobs = calls.map(|n| Job::json(&job(n)).id(&format!("call-{n}")));
            client
                .publish_for_sure("lookup.jobs", "antsomi.interactive", jobs)
                .await;
        };
        // A consumer takes few before it has seen their sizes, and then makes way for another. What one holds that was
        // cancelled, RabbitMQ 3.10 and 4.0 keep until the node is back.
        publish(CALLS..CALLS + 20).await;
        client.take("lookup.results", 20, LONG).await;
        let held = "lookup_unsettled_bytes{queue=\"lookup.jobs.antsomi.interactive\"}";
        let bytes = HELD * job(0).to_string().len() as f64;
        publish(0..CALLS).await;
        let enough = async {
            while self.road.worker.metric(held).await < bytes {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LONG, enough).await.expect("so many");
        let begun = Instant::now();
        self.cluster.kill(victim);
        let mut answered = BTreeSet::new();
        while answered.len() < CALLS as usize {
            let missing = CALLS as usize - answered.len();
            // Some may be answered twice.
            let results = client.take("lookup.results", missing, LONG).await;
            for result in results.iter().map(Received::json) {
                assert_eq!(result["status"], "found", "{result}");
                answered.insert(result["job_id"].to_string());
            }
        }
        let took = begun.elapsed();
        println!("{CALLS} calls were answered {took:.1?} after their node died");
        took
    }

    /// As [`Self::time_of_held_calls`], held against the minute that RabbitMQ 4.3 keeps them by itself.
    async fn keeps_no_call_back(&self) {
        let took = self.time_of_held_calls().await;
        self.cluster.mend();
        let log = self.road.worker.log();
        assert!(took < FAR_LESS_THAN_A_MINUTE, "{took:?}\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_were_held_by_a_node_that_dies_are_not_kept_back_for_a_minute() {
    let cluster = cluster().await;
    let few = |config: String| config.replace("kind = \"antsomi\"", AT_ONCE);
    let fleet = Fleet::open(&cluster, few).await;
    fleet.keeps_no_call_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_an_earlier_version_declared_the_queues_the_printed_policy_does_the_same() {
    let cluster = cluster().await;
    let vhost = cluster.node(0).vhost();
    let client = Client::connect(&vhost.url()).await;
    let text = |text: &str| AMQPValue::LongString(text.into());
    for lane in ["interactive", "bulk"] {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), text("quorum"));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(20));
        arguments.insert("x-dead-letter-exchange".into(), text("lookup.dead"));
        arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        arguments.insert("x-overflow".into(), text("reject-publish"));
        let name = format!("lookup.jobs.antsomi.{lane}");
        client.declare_queue_with(&name, arguments).await;
    }
    let few = |config: String| config.replace("kind = \"antsomi\"", AT_ONCE);
    let fleet = Fleet::open_in(&cluster, vhost, few).await;
    let call = Call::new(&["check", "--json"]).config(&fleet.config);
    let lines = call.run().await.expect(0).lines();
    let topology: Vec<_> = lines
        .iter()
        .filter(|line| line["check"] == "topology")
        .collect();
    let [line] = topology[..] else {
        panic!("one line: {topology:?}")
    };
    // Before, there is nothing to be mended.
    assert_eq!(line["advice"].is_string(), version() >= (4, 3), "{line}");
    if let Some(advice) = line["advice"].as_str() {
        let told = line["message"].as_str().expect("a message");
        assert!(
            told.starts_with("2 queues") && told.contains("lookup.jobs.antsomi.interactive"),
            "{line}"
        );
        let command = &advice[advice.find("rabbitmqctl").expect("a command")..];
        run_by(&cluster.node(0).programs(0), command);
    }
    fleet.keeps_no_call_back().await;
}

/// RabbitMQ 4 looks for a queue whose node is away for a minute, and then closes the channel that it was asked by.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stays_away_costs_no_session_a_minute_after_it_was_looked_for() {
    const MORE_THAN_A_MINUTE: Duration = Duration::from_secs(75);
    if version() < (4, 0) {
        return;
    }
    let cluster = cluster().await;
    let fleet = Fleet::open(&cluster, |config| config).await;
    let worker = &fleet.road.worker;
    let connects = async || worker.metric("lookup_broker_connects_total").await;
    // The worker connects anew, and looks for what lives there.
    cluster.kill(fleet.worker_node());
    let anew = async {
        while connects().await < 2.0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LONG, anew)
        .await
        .expect("another node");
    let before = connects().await;
    // Nothing tells that a session was not lost.
    tokio::time::sleep(MORE_THAN_A_MINUTE).await;
    let lost = connects().await - before;
    cluster.mend();
    assert!(lost < 0.5, "{lost} sessions:\n{}", worker.log());
}
