//! Three nodes, of which one dies: what it held, the others have, and what only it held is waited for.

use std::{sync::LazyLock, time::Duration};

use lookup_worker::sandbox::Kind;
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    amqp::{Client, Job},
    broker::Vhost,
    cluster::Cluster,
    losses::{some_moment, take_time},
    road::Road,
    tally::{JOBS, LONG, Load, Tally},
};

/// Jobs that are there when a node dies.
const ENOUGH: u32 = 1_000;

/// The cluster of these tests, whole; they have it one after the other.
async fn cluster() -> MutexGuard<'static, Cluster> {
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
}

impl<'a> Fleet<'a> {
    async fn open(cluster: &'a Cluster, change: impl FnOnce(String) -> String) -> Self {
        let vhost = cluster.node(0).vhost();
        let urls = cluster.urls_of(vhost.name());
        let road = Road::open_with(&vhost.url(), |config| {
            let (one, all) = (
                format!("url = \"{}\"", vhost.url()),
                format!("urls = {urls:?}"),
            );
            assert!(config.contains(&one));
            change(config.replace(&one, &all))
        })
        .await;
        Self {
            cluster,
            vhost,
            road,
        }
    }

    /// A client of a node that is not this one.
    async fn client_beside(&self, node: usize) -> Client {
        let other = (node + 1) % self.cluster.urls().len();
        Client::connect(&self.cluster.urls_of(self.vhost.name())[other]).await
    }

    /// The node that leads a queue; of a classic queue, the one it lives on.
    fn leader(&self, queue: &str) -> usize {
        let listed = self.list(&["list_queues", "--vhost", self.vhost.name(), "name", "pid"]);
        self.cluster.named_in(row(&listed, queue))
    }

    /// The node that the worker consumes from.
    fn worker_node(&self) -> usize {
        let listed = self.list(&[
            "list_consumers",
            "--vhost",
            self.vhost.name(),
            "queue_name",
            "channel_pid",
        ]);
        self.cluster.named_in(row(&listed, JOBS))
    }

    fn list(&self, arguments: &[&str]) -> String {
        self.cluster.node(0).rabbitmqctl(arguments)
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
