//! A quota in several ledgers, one on each node of a cluster: it holds as it does in one, and a node that is away costs
//! its share, never the provider.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    amqp::{Client, Received},
    broker::Broker,
    cluster::Cluster,
    commands::Call,
    nodes,
    quota::{Fleet, LONG, REQUESTS, WINDOW, largest, quota},
    worker::Worker,
};

const LEDGERS: usize = 3;
/// Requests of a window: the first that come after a change were permitted before it.
#[allow(clippy::cast_possible_truncation, reason = "twenty")]
const A_WINDOW: usize = REQUESTS as usize;

/// As a worker's configuration has it.
fn several(urls: &[String]) -> String {
    format!("urls = {urls:?}\nquota_ledgers = {}", urls.len())
}

/// A broker alone, by as many addresses as there are ledgers.
fn alone(url: &str) -> String {
    several(&vec![url.to_owned(); LEDGERS])
}

fn ledger(number: usize) -> String {
    format!("lookup.quota.antsomi.{number}")
}

#[tokio::test]
async fn three_workers_keep_a_quota_in_three_ledgers_and_use_most_of_it() {
    let (vhost, window) = (Broker::shared().vhost(), Duration::from_secs(8));
    let url = vhost.url();
    let quota = quota(window, ", reserve = 0.0");
    let mut fleet = Fleet::start_at(&alone(&url), &url, 3, window, &quota).await;
    fleet.publish("bulk", 300).await;
    fleet.wait_for_lookups(2 * REQUESTS).await;
    let begun = Instant::now();
    fleet.wait_for_lookups(4 * REQUESTS).await;
    let used = 2.0 * window.as_secs_f64() / begun.elapsed().as_secs_f64();
    fleet.assert_quota_kept().await;
    // A busy machine costs some. Nine tenths and more are measured by hand.
    assert!(used >= 0.75, "{used:.3} of the quota was used");
    for number in 1..=LEDGERS {
        let counted = fleet.client.depth(&ledger(number)).await;
        assert!(
            matches!(counted, Some(4..=7)),
            "{number}: {counted:?} of a third"
        );
    }
    assert_eq!(fleet.client.depth("lookup.quota.antsomi").await, Some(1));
}

#[tokio::test]
async fn a_quota_that_is_smaller_than_its_ledgers_are_many_is_kept_and_used() {
    let vhost = Broker::shared().vhost();
    let url = vhost.url();
    let small = "[{ requests = 2, per = \"4s\" }, { requests = 4, per = \"8s\" }]";
    let mut fleet = Fleet::start_at(&alone(&url), &url, 2, WINDOW, small).await;
    fleet.publish("interactive", 30).await;
    fleet.wait_for_lookups(6).await;
    fleet.assert_at_most(2).await;
    assert_eq!(
        fleet.client.depth(&ledger(3)).await,
        Some(0),
        "{}",
        fleet.logs()
    );
}

#[tokio::test]
async fn one_ledger_makes_way_for_several_once_it_counts_nothing_and_takes_no_place_of_theirs() {
    let vhost = Broker::shared().vhost();
    let url = vhost.url();
    // So few jobs in bulk are held by one worker that it cannot keep all from the other.
    let quota = quota(WINDOW, ", reserve = 0.0 }\nconcurrency = 10 # {");
    let one = format!("url = \"{url}\"");
    let mut fleet = Fleet::start_at(&one, &url, 1, WINDOW, &quota).await;
    // The ledger is in use for as long as these take.
    fleet.publish("interactive", 80).await;
    fleet.wait_for_lookups(5).await;
    let several = fleet.config_at(&alone(&url), &quota);
    fleet.workers.push(Worker::start(&several));
    assert_eq!(fleet.workers[1].wait_exit().await.code(), Some(1));
    let log = fleet.workers[1].log();
    assert!(log.contains("counts this quota in one ledger"), "{log}");

    // The other goes on: beside it, no window holds more.
    fleet.wait_for_lookups(80).await;
    fleet
        .client
        .wait_for_depth("lookup.quota.antsomi", 0, LONG)
        .await;
    fleet.workers[1].start_again();
    fleet.workers[1].wait_ready().await;
    fleet.publish("bulk", 80).await;
    // It holds some of them, and gets no permission for any.
    fleet.wait_for_lookups(80 + 3 * REQUESTS / 2).await;
    fleet.assert_quota_kept().await;

    // What it has in hand is the others'; and it does not come back, be the ledgers ever so empty.
    fleet.workers[0].kill9();
    fleet.wait_for_lookups(160).await;
    for number in 1..=LEDGERS {
        fleet.client.wait_for_depth(&ledger(number), 0, LONG).await;
    }
    fleet.workers[0].start_again();
    assert_eq!(fleet.workers[0].wait_exit().await.code(), Some(1));
    let log = fleet.workers[0].log();
    assert!(log.contains("amqp.quota_ledgers"), "{log}");
    fleet.assert_quota_kept().await;
}

#[tokio::test]
async fn another_number_of_ledgers_is_refused_while_there_are_some() {
    let vhost = Broker::shared().vhost();
    let url = vhost.url();
    let quota = quota(WINDOW, "");
    let fleet = Fleet::start_at(&alone(&url), &url, 1, WINDOW, &quota).await;
    let two = fleet.config_at(&several(&[url.clone(), url.clone()]), &quota);
    let mut other = Worker::start(&two);
    assert_eq!(other.wait_exit().await.code(), Some(1));
    let log = other.log();
    assert!(log.contains("amqp.quota_ledgers"), "{log}");

    let check = async |config: &str| Call::new(&["check"]).config(config).run().await;
    let checked = check(&fleet.config(&quota)).await.expect(0).out;
    assert!(checked.contains("0 used now"), "{checked}");
    let one = fleet.config_at(&format!("url = \"{url}\""), &quota);
    let checked = check(&one).await.expect(1).out;
    assert!(checked.contains("amqp.quota_ledgers"), "{checked}");
}

#[tokio::test]
async fn a_lower_quota_at_sighup_counts_in_every_ledger_also_for_a_worker_that_was_not_told() {
    let vhost = Broker::shared().vhost();
    let url = vhost.url();
    let mut fleet = Fleet::start_at(&alone(&url), &url, 2, WINDOW, &quota(WINDOW, "")).await;
    fleet.publish("interactive", 400).await;
    fleet.wait_for_lookups(REQUESTS + 1).await;
    let told = fleet
        .change_quota(0, "{ requests = 2, per = \"4s\" }")
        .await;
    fleet.workers[0]
        .wait_for_log("the new one counts alone", 1)
        .await;
    let alone = fleet.lookups().await;
    fleet.wait_for_lookups(alone as u64 + 6).await;
    let arrivals = fleet.arrivals().await;
    assert!(largest(&arrivals) <= 20, "{arrivals:?}");
    assert!(largest(&arrivals[told..]) <= 2, "{told} of {arrivals:?}");
}

#[tokio::test]
async fn a_worker_that_declares_nothing_counts_in_the_ledgers_that_another_declared() {
    let vhost = Broker::shared().vhost();
    let url = vhost.url();
    let quota = quota(WINDOW, ", reserve = 0.0");
    let mut fleet = Fleet::start_at(&alone(&url), &url, 1, WINDOW, &quota).await;
    for number in 1..=LEDGERS {
        fleet.client.wait_for_depth(&ledger(number), 0, LONG).await;
    }
    let declared = fleet.config_at(&format!("declare = false\n{}", alone(&url)), &quota);
    fleet.workers.push(Worker::start(&declared));
    fleet.workers[1].wait_ready().await;
    fleet.workers[0].kill9();
    fleet.publish("interactive", 80).await;
    fleet.wait_for_lookups(2 * REQUESTS).await;
    fleet.assert_quota_kept().await;
    for number in 1..=LEDGERS {
        let counted = fleet.client.depth(&ledger(number)).await;
        assert!(counted > Some(0), "{number}: {counted:?}\n{}", fleet.logs());
    }
}

#[tokio::test]
async fn a_ledger_that_says_nothing_costs_its_share_and_keeps_nobody_waiting() {
    let vhost = Broker::shared().vhost();
    let url = vhost.url();
    let quota = quota(WINDOW, ", reserve = 0.0");
    let mut fleet = Fleet::start_at(&alone(&url), &url, 2, WINDOW, &quota).await;
    for number in 1..=LEDGERS {
        fleet.client.wait_for_depth(&ledger(number), 0, LONG).await;
    }
    fleet.publish("interactive", 300).await;
    fleet.wait_for_lookups(REQUESTS).await;
    vhost.deafen(&ledger(2));
    let deaf = fleet.lookups().await as u64;
    let begun = Instant::now();
    fleet.wait_for_lookups(deaf + 3 * REQUESTS).await;
    let took = begun.elapsed();
    assert!(
        took < 7 * WINDOW,
        "{took:?} for three windows' requests\n{}",
        fleet.logs()
    );
    vhost.let_hear(&ledger(2));
    let hears = fleet.lookups().await;
    fleet.wait_for_lookups(hears as u64 + 3 * REQUESTS).await;
    fleet.assert_quota_kept().await;
    let arrivals = fleet.arrivals().await;
    let largest = largest(&arrivals[hears + A_WINDOW..]);
    assert!(
        largest > 15,
        "its share is used again: {arrivals:?}\n{}",
        fleet.logs()
    );
}

/// The node that a queue lives on.
fn home(cluster: &Cluster, vhost: &str, queue: &str) -> usize {
    let listed = cluster
        .node(0)
        .rabbitmqctl(&["list_queues", "--vhost", vhost, "name", "pid"]);
    let row = listed
        .lines()
        .find(|line| line.split_whitespace().next() == Some(queue));
    cluster.named_in(row.unwrap_or_else(|| panic!("no {queue}:\n{listed}")))
}

/// Workers of a cluster, and a ledger on each of its nodes.
async fn fleet_of(cluster: &Cluster, vhost: &str, window: Duration, quota: &str) -> Fleet {
    let urls = cluster.urls_of(vhost);
    let fleet = Fleet::start_at(&several(&urls), &urls[0], 2, window, quota).await;
    for number in 1..=LEDGERS {
        fleet.client.wait_for_depth(&ledger(number), 0, LONG).await;
        let home = home(cluster, vhost, &ledger(number));
        assert_eq!(home, number - 1, "each node has one");
    }
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_costs_its_share_and_never_the_provider() {
    let cluster = nodes::cluster().await;
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
    let cluster = nodes::cluster().await;
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
    assert!(rolled.gap <= window, "{rolled:?}");
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
