//! Ledgers of quotas in a cluster: a node that is away costs what it counted, never the provider.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{cluster, home};
use crate::{
    amqp::{Client, Received},
    cluster::Cluster,
    ledgers::{A_WINDOW, LEDGERS, ledger, several},
    quota::{Fleet, LONG, Premise, REQUESTS, WINDOW, broker_at, largest, quota, within_a_window},
    worker::Worker,
};

/// Workers of a cluster, and a ledger on each of its nodes.
async fn fleet_of(cluster: &Cluster, vhost: &str, window: Duration, quota: &str) -> Fleet {
    let urls = cluster.urls_of(vhost);
    let fleet = Fleet::start_at(&several(&urls), &urls[0], 2, window, quota).await;
    for number in 1..=LEDGERS {
        fleet.client.wait_for_depth(&ledger(number), 0, LONG).await;
        let node = home(cluster, vhost, &ledger(number));
        assert_eq!(node, number - 1, "each node has one");
    }
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_costs_its_share_and_never_the_provider() {
    let cluster = cluster().await;
    let vhost = cluster.node(0).vhost();
    let quota = quota(WINDOW, ", reserve = 0.0");
    let mut fleet = fleet_of(&cluster, vhost.name(), WINDOW, &quota).await;
    fleet.publish("interactive", 500).await;
    fleet.wait_for_lookups(REQUESTS).await;
    cluster.kill(2);
    let before = fleet.lookups().await as u64;
    // Two of three thirds in each window are left.
    fleet.wait_for_lookups(before + 2 * REQUESTS).await;
    cluster.mend();
    let back = fleet.lookups().await;
    fleet.wait_for_lookups(back as u64 + 3 * REQUESTS).await;
    let arrivals = fleet.arrivals().await;
    fleet.assert_quota_kept().await;
    let largest = largest(&arrivals[back + A_WINDOW..]);
    assert!(
        largest > 2 * A_WINDOW / 3 + 1,
        "its share is used again: {arrivals:?}\n{}",
        fleet.logs()
    );
}

/// The longest time in which nothing came, in milliseconds.
fn longest_gap(arrivals: &[u64]) -> u64 {
    let gaps = arrivals.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or(0)
}

/// What a rolling restart did to a quota.
#[derive(Debug)]
struct Rolled {
    requests: usize,
    took: Duration,
    /// Of the quota, over the whole.
    used: f64,
    /// The longest time without a request.
    gap: Duration,
    restarts: Vec<Duration>,
    logs: String,
}

/// Each node is stopped and started in its turn, beside a backlog. Every job is answered, and no window holds too many.
async fn roll(ledgers: usize, window: Duration) -> Rolled {
    // A backlog for so long as a restart may take.
    const AHEAD: u32 = 150;
    let cluster = cluster().await;
    let vhost = cluster.node(0).vhost();
    let urls = cluster.urls_of(vhost.name());
    let broker = format!("urls = {urls:?}\nquota_ledgers = {ledgers}");
    let quota = quota(window, ", reserve = 0.0");
    let mut fleet = Fleet::start_at(&broker, &urls[0], 2, window, &quota).await;
    let mut jobs = AHEAD;
    fleet.publish("bulk", jobs).await;
    fleet.wait_for_lookups(REQUESTS).await;
    let mut restarts = Vec::new();
    for (node, url) in urls.iter().enumerate() {
        let sent = u32::try_from(fleet.lookups().await).expect("few");
        let more = (sent + AHEAD).saturating_sub(jobs);
        // The client before lost its node.
        fleet.client = Client::connect(url).await;
        fleet.publish("bulk", more).await;
        jobs += more;
        let begun = Instant::now();
        cluster.node(node).stop();
        cluster.mend();
        restarts.push(begun.elapsed());
        let back = fleet.lookups().await as u64;
        fleet.wait_for_lookups(back + REQUESTS).await;
    }
    let arrivals = fleet.arrivals().await;
    let took = Duration::from_millis(arrivals[arrivals.len() - 1] - arrivals[0]);

    let client = Client::connect(&urls[0]).await;
    let mut found = BTreeSet::new();
    // Some may be answered twice.
    while found.len() < jobs as usize {
        let missing = jobs as usize - found.len();
        let results = client.take("lookup.results", missing, 2 * LONG).await;
        for result in results.iter().map(Received::json) {
            assert_eq!(result["status"], "found", "{result}");
            found.insert(result["job_id"].to_string());
        }
    }
    fleet.assert_quota_kept().await;
    Rolled {
        requests: arrivals.len(),
        took,
        used: arrivals.len() as f64 / (took.div_duration_f64(window) * REQUESTS as f64),
        gap: Duration::from_millis(longest_gap(&arrivals)),
        restarts,
        logs: fleet.logs(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_three_nodes_costs_shares_of_a_quota_and_no_job() {
    let window = Duration::from_secs(6);
    let rolled = roll(LEDGERS, window).await;
    // A window may be used up in its first moment; a busy machine adds its own.
    assert!(rolled.gap <= window * 3 / 2, "{rolled:?}");
    assert!(rolled.used >= 0.6, "{rolled:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, for three minutes; run it alone"]
async fn what_a_rolling_restart_costs_in_one_ledger_and_in_three() {
    for ledgers in [1, LEDGERS] {
        let Rolled {
            requests,
            took,
            used,
            gap,
            restarts,
            ..
        } = roll(ledgers, Duration::from_secs(6)).await;
        println!(
            "{ledgers} ledgers: {requests} requests in {took:.1?}, {used:.2} of the quota, nothing for {gap:.1?} at \
             most; the restarts took {restarts:.1?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_away_with_its_node_gives_nothing_and_counts_on_once_it_is_back() {
    within_a_window(Duration::from_secs(40), async |window| {
        let cluster = cluster().await;
        let vhost = cluster.node(0).vhost();
        // A ledger lives where it is declared, on the node that this worker is connected to.
        let [home, other, _] = &cluster.urls_of(vhost.name())[..] else {
            panic!("three nodes")
        };
        let limit = quota(window, ", reserve = 0.0");
        let mut fleet = Fleet::start(home, 1, window, &limit).await;
        fleet.publish("interactive", 200).await;
        fleet.wait_for_lookups(REQUESTS).await;
        let begun = Instant::now();
        let config = fleet.config_at(&broker_at(other), &limit);
        fleet.workers = vec![Worker::start(&config)];
        fleet.workers[0].wait_ready().await;
        cluster.kill(0);
        // One that starts now has a broker and no ledger.
        fleet.workers.push(Worker::start(&config));
        fleet.workers[1].wait_ready().await;
        cluster.mend();
        if begun.elapsed() >= window {
            return Premise::Late;
        }
        fleet.assert_quota_kept().await;
        fleet.client = Client::connect(other).await;
        fleet.wait_for_lookups(2 * REQUESTS).await;
        fleet.assert_quota_kept().await;
        Premise::Held
    })
    .await;
}
