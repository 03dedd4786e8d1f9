//! A quota in several ledgers: it holds as it does in one. What a node takes along that is away: `nodes::ledgers`.

use std::time::{Duration, Instant};

use crate::{
    broker::Broker,
    commands::Call,
    quota::{Fleet, LONG, REQUESTS, WINDOW, largest, quota},
    worker::Worker,
};

pub(crate) const LEDGERS: usize = 3;
/// Requests of a window: the first that come after a change were permitted before it.
#[allow(clippy::cast_possible_truncation, reason = "twenty")]
pub(crate) const A_WINDOW: usize = REQUESTS as usize;

/// As a worker's configuration has it.
pub(crate) fn several(urls: &[String]) -> String {
    format!("urls = {urls:?}\nquota_ledgers = {}", urls.len())
}

/// A broker alone, by as many addresses as there are ledgers.
fn alone(url: &str) -> String {
    several(&vec![url.to_owned(); LEDGERS])
}

pub(crate) fn ledger(number: usize) -> String {
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
