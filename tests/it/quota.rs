//! A quota holds in every window, as the sandbox counts it, whatever befalls workers and broker; and it is used.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use lapin::{
    Confirmation,
    types::{AMQPValue, FieldTable},
};
use lookup_worker::{
    config::{QuotaLimit, QuotaScope},
    policy::quota::Terms,
    sandbox::Kind,
};
use serde_json::json;

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    commands::Call,
    road::{Served, config},
    worker::Worker,
};

/// Requests of every quota here, in a window of which the tests choose the length.
pub const REQUESTS: u64 = 20;
pub const WINDOW: Duration = Duration::from_secs(4);
/// Bound of what takes some windows.
pub const LONG: Duration = Duration::from_mins(1);
/// Of a worker that is killed and one that is frozen, but for every sixteenth.
const LONGEST_ROUND: Duration = Duration::from_secs(5);

pub fn quota(window: Duration, more: &str) -> String {
    format!(
        "{{ requests = {REQUESTS}, per = \"{}s\"{more} }}",
        window.as_secs()
    )
}

/// Whether a test that needs the broker back within a window could show anything.
pub(crate) enum Premise {
    Held,
    Late,
}

/// Plays with a window that is doubled as long as this machine took longer than it to start a broker again.
pub(crate) async fn within_a_window(first: Duration, play: impl AsyncFn(Duration) -> Premise) {
    let mut window = first;
    while let Premise::Late = play(window).await {
        window *= 2;
        assert!(
            window <= 8 * first,
            "the broker came back too late to show anything, each time"
        );
    }
}

/// Some workers of one broker, and a sandbox that counts in windows of the quota's length.
pub struct Fleet {
    pub sandbox: Served,
    pub client: Client,
    pub workers: Vec<Worker>,
    published: u32,
    window: Duration,
    stalls: Stalls,
    /// Where the broker is, as each worker's configuration says it.
    broker: String,
}

/// One address, as a configuration has it.
pub(crate) fn broker_at(url: &str) -> String {
    format!("url = \"{url}\"")
}

/// How long this process, and with it the sandbox that counts, did nothing for want of a processor: lookups that
/// arrive meanwhile are counted late.
struct Stalls(Arc<AtomicU64>);

impl Stalls {
    fn watch() -> Self {
        let longest = Arc::<AtomicU64>::default();
        let watched = Arc::downgrade(&longest);
        thread::spawn(move || {
            let mut last = Instant::now();
            while let Some(longest) = watched.upgrade() {
                longest.fetch_max(
                    last.elapsed().as_millis().try_into().unwrap_or(u64::MAX),
                    Ordering::Relaxed,
                );
                last = Instant::now();
                thread::sleep(Duration::from_millis(10));
            }
        });
        Self(longest)
    }

    fn longest(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl Fleet {
    pub(crate) async fn start(url: &str, workers: usize, window: Duration, quota: &str) -> Self {
        Self::start_at(&broker_at(url), url, workers, window, quota).await
    }

    /// Workers whose broker is there; a client has one address of it.
    pub async fn start_at(
        broker: &str,
        url: &str,
        workers: usize,
        window: Duration,
        quota: &str,
    ) -> Self {
        let sandbox = Served::with(|options| options.window = Some(window)).await;
        let client = Client::connect(url).await;
        let mut fleet = Self {
            workers: Vec::new(),
            client,
            sandbox,
            published: 0,
            window,
            stalls: Stalls::watch(),
            broker: broker.to_owned(),
        };
        for _ in 0..workers {
            fleet.workers.push(Worker::start(&fleet.config(quota)));
        }
        for worker in &mut fleet.workers {
            worker.wait_ready().await;
        }
        fleet
    }

    pub fn config(&self, quota: &str) -> String {
        self.config_at(&self.broker, quota)
    }

    pub fn config_at(&self, broker: &str, quota: &str) -> String {
        // One lookup is one request here.
        let keys = format!("batch = {{ max_size = 1 }}\nquota = {quota}");
        config("", &self.sandbox, "")
            .replace("url = \"\"", broker)
            .replace("quota = \"none\"", &keys)
    }

    pub async fn publish(&mut self, lane: &str, jobs: u32) {
        let job = |n: u32| {
            Job::json(&json!({"query": {"phone": format!("8491{n:07}")}})).id(&format!("j-{n}"))
        };
        let jobs = self.published..self.published + jobs;
        self.published = jobs.end;
        self.client
            .publish_all("lookup.jobs", &format!("antsomi.{lane}"), jobs.map(job))
            .await;
    }

    async fn kill_one_and_freeze_another(&mut self, round: u32, more: &mut impl FnMut(u32)) {
        let [killed, frozen] = [round as usize % 3, (round as usize + 1) % 3];
        self.workers[frozen].sigstop();
        self.workers[killed].kill9();
        more(round);
        self.workers[killed].start_again();
        self.workers[killed].wait_ready().await;
        let frozen_ms = if round % 16 == 15 {
            21_000..23_000
        } else {
            50..2_500
        };
        tokio::time::sleep(Duration::from_millis(rand::random_range(frozen_ms))).await;
        self.workers[frozen].sigcont();
        tokio::time::sleep(Duration::from_millis(rand::random_range(10..1_000))).await;
    }

    /// Gives a worker another quota; how many lookups there were when it counted, for sure.
    pub async fn change_quota(&mut self, worker: usize, quota: &str) -> usize {
        let config = self.config(quota);
        let worker = &self.workers[worker];
        let applied = "applied=\"providers.antsomi.quota";
        let times = worker.log().matches(applied).count();
        worker.configure(&config);
        worker.sighup();
        worker.wait_for_log(applied, times + 1).await;
        self.lookups().await
    }

    /// In turns one is killed and started again, and one is frozen for a moment.
    async fn lose_one(&mut self, round: usize) {
        let worker = round / 2 % self.workers.len();
        if round.is_multiple_of(2) {
            self.workers[worker].kill9();
            self.workers[worker].start_again();
        } else {
            self.workers[worker].sigstop();
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            self.workers[worker].sigcont();
        }
    }

    /// When the provider saw each request, in milliseconds, the first first.
    pub async fn arrivals(&self) -> Vec<u64> {
        let requests = self.sandbox.requests(Kind::Antsomi).await;
        let at = requests
            .iter()
            .filter_map(|request| request["at_ms"].as_u64());
        let mut at: Vec<_> = at.collect();
        at.sort_unstable();
        at
    }

    /// How many the provider saw.
    pub async fn lookups(&self) -> usize {
        self.arrivals().await.len()
    }

    async fn stats(&self) -> (u64, u64) {
        let stats = self.sandbox.stats(Kind::Antsomi).await;
        let number = |key: &str| stats[key].as_u64().expect("a number");
        (number("lookups"), number("largest_window"))
    }

    /// Returns when the provider has seen so many lookups.
    pub async fn wait_for_lookups(&self, count: u64) {
        let begun = Instant::now();
        while self.stats().await.0 < count {
            assert!(
                begun.elapsed() < LONG + self.window,
                "{} of {count} lookups\n{}",
                self.stats().await.0,
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn assert_quota_kept(&self) {
        self.assert_at_most(REQUESTS).await;
    }

    pub async fn assert_at_most(&self, requests: u64) {
        let (lookups, largest) = self.stats().await;
        if largest > requests {
            let arrivals = self.arrivals().await;
            let stall = self.stalls.longest();
            panic!(
                "{largest} lookups in one window, of {lookups}; the test itself stood still for {stall:?} at most, \
                 the last came at {arrivals:?} ms\n{}",
                self.logs()
            );
        }
    }

    pub fn logs(&self) -> String {
        self.workers
            .iter()
            .map(|worker| worker.log() + "\n---\n")
            .collect()
    }
}

#[tokio::test]
async fn three_workers_together_keep_a_quota_and_use_most_of_it() {
    let (vhost, window) = (Broker::shared().vhost(), Duration::from_secs(8));
    let mut fleet = Fleet::start(&vhost.url(), 3, window, &quota(window, ", reserve = 0.0")).await;
    fleet.publish("bulk", 300).await;
    // While the first window fills, bulk is careful; what counts is the pace from then on.
    fleet.wait_for_lookups(2 * REQUESTS).await;
    let begun = Instant::now();
    fleet.wait_for_lookups(4 * REQUESTS).await;
    let used = 2.0 * window.as_secs_f64() / begun.elapsed().as_secs_f64();
    fleet.assert_quota_kept().await;
    // A busy machine costs some. Nine tenths and more are measured by hand, below.
    assert!(used >= 0.75, "{used:.3} of the quota was used");
    let results = fleet.client.take("lookup.results", 80, LONG).await;
    assert!(
        results
            .iter()
            .all(|result| result.json()["status"] == "found")
    );
}

#[tokio::test]
async fn workers_that_are_killed_and_frozen_and_thawed_never_send_one_request_too_many() {
    let vhost = Broker::shared().vhost();
    kills_and_freezes(&vhost.url(), 0.0, 10, |_| {}).await;
}

#[tokio::test]
#[ignore = "takes four minutes"]
async fn a_hundred_kills_and_freezes_bring_not_one_request_too_many_and_leave_nine_tenths_in_use() {
    let vhost = Broker::shared().vhost();
    let used = kills_and_freezes(&vhost.url(), 0.0, 50, |_| {}).await;
    assert!(used >= 0.9, "{used:.3} of the quota was used");
}

#[tokio::test]
#[ignore = "takes four minutes"]
async fn nor_do_they_where_calls_have_their_reserve_and_bulk_a_ledger_of_its_own() {
    let vhost = Broker::shared().vhost();
    let used = kills_and_freezes(&vhost.url(), 0.1, 50, |_| {}).await;
    assert!(used >= 0.9, "{used:.3} of the quota was used");
}

#[tokio::test]
#[ignore = "takes three minutes"]
async fn with_a_broker_that_is_killed_and_stopped_among_them_neither() {
    let broker = Broker::start();
    let used = kills_and_freezes(&broker.url(), 0.0, 24, |round| match round % 6 {
        2 => {
            broker.kill();
            broker.start_again();
        }
        5 => {
            broker.stop();
            broker.start_again();
        }
        _ => {}
    })
    .await;
    println!("that is, of the whole time; without a broker nothing is sent");
    assert!(used >= 0.3, "{used:.3} of the quota was used");
}

/// In each round one of three workers is killed and started again, and another is frozen meanwhile and longer, for more
/// than the ledger remembers in every sixteenth. So there is always one that is well. Returns the part of the quota
/// that was used, once the first window was full.
///
/// Permissions come back as they were taken, after the time that the ledger remembers them. So the stretch that counts
/// is that long, some times over; the rounds go on until then.
async fn kills_and_freezes(url: &str, reserve: f64, rounds: u32, mut more: impl FnMut(u32)) -> f64 {
    let (requests, window) = (200, Duration::from_secs(20));
    let quota = format!("{{ requests = {requests}, per = \"20s\", reserve = {reserve:?} }}");
    let limit = QuotaLimit {
        requests,
        per: window,
        reserve,
        scope: QuotaScope::Broker,
    };
    let remembered = Terms::of(&limit).ttl;
    let requests = u64::from(requests);
    let mut fleet = Fleet::start(url, 3, window, &quota).await;
    fleet.publish("bulk", 10_000).await;
    let calls = (reserve > 0.0).then(|| tokio::spawn(calls_all_the_time(url.to_owned())));
    // While the first window fills, bulk is careful.
    fleet.wait_for_lookups(requests).await;
    let begun = Instant::now();
    let mut done = 0;
    let end = loop {
        fleet.kill_one_and_freeze_another(done, &mut more).await;
        done += 1;
        let times = begun.elapsed().div_duration_f64(remembered).ceil();
        let end = begun + remembered.mul_f64(times);
        if done >= rounds && end.saturating_duration_since(Instant::now()) < LONGEST_ROUND {
            break end;
        }
    };
    tokio::time::sleep_until(end.into()).await;
    let (time, (lookups, largest)) = (begun.elapsed(), fleet.stats().await);
    let used = (lookups - requests) as f64 / (requests as f64 * time.div_duration_f64(window));
    println!(
        "{done} kills and {done} freezes in {time:.1?}: {lookups} requests, at most {largest} of {requests} in a \
         window, {used:.3} of the quota used; the test itself stood still for {:?} at most",
        fleet.stalls.longest()
    );
    fleet.assert_at_most(requests).await;
    // And it goes on, thawed and killed workers alike.
    fleet.wait_for_lookups(lookups + requests).await;
    fleet.assert_at_most(requests).await;
    if let Some(calls) = calls {
        calls.abort();
    }
    used
}

/// More of them than the reserve is for, so that none of it is left unused.
async fn calls_all_the_time(url: String) {
    let client = Client::connect(&url).await;
    for n in 0.. {
        let call =
            Job::json(&json!({"query": {"phone": format!("8492{n:07}")}})).id(&format!("c-{n}"));
        client
            .publish("lookup.jobs", "antsomi.interactive", call)
            .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn a_full_ledger_is_as_full_after_kill_9_of_its_node() {
    within_a_window(Duration::from_secs(18), async |window| {
        let broker = Broker::start();
        let client = Client::connect(&broker.url()).await;
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(20));
        let milliseconds = i64::try_from(window.as_millis()).expect("a short window");
        arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(milliseconds));
        arguments.insert(
            "x-overflow".into(),
            AMQPValue::LongString("reject-publish".into()),
        );
        client.declare_queue_with("ledger", arguments).await;
        broker.write_down();
        client
            .publish_all("", "ledger", (0..20).map(|_| Job::new("")))
            .await;
        let begun = Instant::now();
        broker.kill();
        broker.start_again();
        let client = Client::connect(&broker.url()).await;
        if begun.elapsed() + Duration::from_secs(3) > window {
            return Premise::Late;
        }
        assert_eq!(client.depth("ledger").await, Some(20));
        let refused = client
            .try_publish("", "ledger", Job::new(""))
            .await
            .expect("an answer");
        assert!(matches!(refused, Confirmation::Nack(_)), "{refused:?}");
        client.wait_for_depth("ledger", 0, window + LONG).await;
        assert!(
            begun.elapsed() + Duration::from_secs(1) >= window,
            "each message keeps its time"
        );
        Premise::Held
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_is_stopped_and_started_has_forgotten_no_permission() {
    within_a_window(Duration::from_secs(30), async |window| {
        let broker = Broker::start();
        let mut fleet =
            Fleet::start(&broker.url(), 2, window, &quota(window, ", reserve = 0.0")).await;
        fleet.publish("interactive", 200).await;
        fleet.wait_for_lookups(REQUESTS).await;
        let begun = Instant::now();
        broker.stop();
        broker.start_again();
        for worker in &mut fleet.workers {
            worker.wait_ready().await;
        }
        if begun.elapsed() >= window {
            return Premise::Late;
        }
        fleet.assert_quota_kept().await;
        fleet.wait_for_lookups(2 * REQUESTS).await;
        fleet.assert_quota_kept().await;
        Premise::Held
    })
    .await;
}

#[tokio::test]
async fn a_call_is_answered_at_once_while_bulk_jobs_fill_every_slot_and_their_share() {
    let vhost = Broker::shared().vhost();
    let mut fleet = Fleet::start(
        &vhost.url(),
        2,
        WINDOW,
        &quota(WINDOW, "}\nconcurrency = 2 # {"),
    )
    .await;
    fleet.publish("bulk", 300).await;
    for window in 0..3 {
        fleet.wait_for_lookups(window * 19 + 18).await;
        fleet.client.purge("lookup.results").await;
        let call = Job::json(&json!({"query": {"phone": "84907089782"}}))
            .id("the-call")
            .reply_to("calls");
        fleet.client.declare_queue("calls").await;
        let begun = Instant::now();
        fleet
            .client
            .publish("lookup.jobs", "antsomi.interactive", call)
            .await;
        let answer = fleet.client.take("calls", 1, LONG).await.remove(0);
        assert_eq!(answer.json()["status"], "found");
        assert!(
            begun.elapsed() < Duration::from_millis(1_500),
            "answered after {:?}",
            begun.elapsed()
        );
        // On a busy machine two calls may come into one window.
        let largest = fleet.stats().await.1;
        assert!(
            largest <= 18 + (window + 1),
            "bulk left the reserve: {largest}"
        );
    }
    let metrics = fleet.workers[0].metrics().await;
    assert!(
        metrics.contains("lookup_quota_limit{provider=\"antsomi\"} 20"),
        "{metrics}"
    );
    let begun = Instant::now();
    while fleet.workers[0]
        .metric("lookup_quota_waiting{lane=\"bulk\",provider=\"antsomi\"}")
        .await
        < 1.0
    {
        assert!(
            begun.elapsed() < LONG,
            "{}",
            fleet.workers[0].metrics().await
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        fleet.workers[0]
            .metric("lookup_quota_permissions_total{lane=\"bulk\"")
            .await
            >= 1.0
    );
}

#[tokio::test]
async fn a_job_whose_deadline_comes_while_it_waits_is_answered_at_once_and_was_no_attempt() {
    let vhost = Broker::shared().vhost();
    let mut fleet = Fleet::start(
        &vhost.url(),
        1,
        Duration::from_hours(1),
        &quota(Duration::from_hours(1), ""),
    )
    .await;
    fleet.publish("interactive", 20).await;
    fleet.client.take("lookup.results", 20, LONG).await;
    let begun = Instant::now();
    let late =
        Job::json(&json!({"query": {"phone": "84907089782"}, "deadline_ms": 500})).id("late");
    fleet
        .client
        .publish("lookup.jobs", "antsomi.interactive", late)
        .await;
    let result = fleet
        .client
        .take("lookup.results", 1, LONG)
        .await
        .remove(0)
        .json();
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        (&result["error"]["kind"], &result["attempts"]),
        (&json!("deadline_exceeded"), &json!(0))
    );
    assert_eq!(fleet.stats().await.0, 20);

    // Nor does a job that waits hold up a stop: it goes back to its queue.
    fleet.publish("interactive", 10).await;
    while fleet.workers[0]
        .metric("lookup_quota_waiting{lane=\"interactive\",provider=\"antsomi\"}")
        .await
        < 10.0
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let begun = Instant::now();
    fleet.workers[0].sigterm();
    assert!(fleet.workers[0].wait_exit().await.success());
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    fleet
        .client
        .wait_for_depth("lookup.jobs.antsomi.interactive", 10, LONG)
        .await;
}

#[tokio::test]
async fn a_changed_quota_is_refused_while_the_old_one_counts_and_taken_up_afterwards() {
    let vhost = Broker::shared().vhost();
    let mut fleet = Fleet::start(&vhost.url(), 1, WINDOW, &quota(WINDOW, "")).await;
    fleet.publish("bulk", 5).await;
    fleet.wait_for_lookups(5).await;
    fleet.workers.clear();
    let other = fleet.config("{ requests = 10, per = \"4s\" }");
    let mut worker = Worker::start(&other);
    assert_eq!(worker.wait_exit().await.code(), Some(1));
    let log = worker.log();
    assert!(
        log.contains("lookup.quota.antsomi") && log.contains("x-max-length"),
        "{log}"
    );

    fleet
        .client
        .wait_for_depth("lookup.quota.antsomi", 0, LONG)
        .await;
    fleet
        .client
        .wait_for_depth("lookup.quota.antsomi.bulk", 0, LONG)
        .await;
    worker.start_again();
    worker.wait_ready().await;
    fleet.publish("bulk", 5).await;
    fleet.wait_for_lookups(10).await;
}

#[tokio::test]
async fn a_lower_quota_at_sighup_counts_from_then_on_also_for_a_worker_that_was_not_told() {
    let vhost = Broker::shared().vhost();
    let mut fleet = Fleet::start(&vhost.url(), 2, WINDOW, &quota(WINDOW, "")).await;
    fleet.publish("interactive", 400).await;
    fleet.wait_for_lookups(REQUESTS + 1).await;
    let told = fleet
        .change_quota(0, "{ requests = 10, per = \"4s\" }")
        .await;
    fleet.workers[0]
        .wait_for_log("the new one counts alone", 1)
        .await;
    let alone = fleet.lookups().await;
    fleet.wait_for_lookups(alone as u64 + 20).await;
    let arrivals = fleet.arrivals().await;
    assert!(largest(&arrivals) <= 20, "{arrivals:?}");
    assert!(largest(&arrivals[told..]) <= 10, "{told} of {arrivals:?}");
    // One that is started with the old quota says what to do.
    fleet.workers[1].kill9();
    fleet.workers[1].start_again();
    assert_eq!(fleet.workers[1].wait_exit().await.code(), Some(1));
    assert!(
        fleet.workers[1].log().contains("SIGHUP"),
        "{}",
        fleet.logs()
    );
}

#[tokio::test]
async fn a_higher_quota_at_sighup_is_used_a_window_later_and_no_window_exceeds_it() {
    let vhost = Broker::shared().vhost();
    let mut fleet = Fleet::start(&vhost.url(), 2, WINDOW, &quota(WINDOW, "")).await;
    fleet.publish("interactive", 600).await;
    fleet.wait_for_lookups(REQUESTS + 1).await;
    let told = fleet.lookups().await;
    for worker in [0, 1] {
        fleet
            .change_quota(worker, "{ requests = 40, per = \"4s\" }")
            .await;
    }
    fleet.workers[0]
        .wait_for_log("the new one counts alone", 1)
        .await;
    let alone = fleet.lookups().await;
    fleet.wait_for_lookups(alone as u64 + 80).await;
    let arrivals = fleet.arrivals().await;
    // Nobody was told before the last of these, so for a window from there on both quotas are counted.
    let both = arrivals[told - 1] + 1_000 * WINDOW.as_secs();
    let until = arrivals.partition_point(|at| *at < both);
    assert!(largest(&arrivals[..until]) <= 20, "{until} of {arrivals:?}");
    assert!(largest(&arrivals) <= 40, "{arrivals:?}");
    assert!(largest(&arrivals) > 30, "it is used: {arrivals:?}");
    // Both count it, also after a restart, and it can be changed again.
    fleet.workers[1]
        .wait_for_log("the new one counts alone", 1)
        .await;
    fleet.workers[1].kill9();
    fleet.workers[1].start_again();
    fleet.workers[1].wait_ready().await;
    fleet.change_quota(0, &quota(WINDOW, "")).await;
}

/// Most in any window.
pub fn largest(arrivals: &[u64]) -> usize {
    let window = 1_000 * WINDOW.as_secs();
    let from = |n: usize| {
        let within = |at: &&u64| **at < arrivals[n] + window;
        arrivals[n..].iter().take_while(within).count()
    };
    (0..arrivals.len()).map(from).max().unwrap_or(0)
}

#[tokio::test]
async fn while_its_ledger_is_missing_nothing_is_sent_and_what_was_counted_is_not_forgotten() {
    let vhost = Broker::shared().vhost();
    let mut fleet = Fleet::start(&vhost.url(), 2, WINDOW, &quota(WINDOW, ", reserve = 0.0")).await;
    fleet.publish("interactive", 15).await;
    fleet.wait_for_lookups(15).await;
    fleet.client.delete_queue("lookup.quota.antsomi").await;
    fleet.publish("interactive", 100).await;
    fleet.wait_for_lookups(2 * REQUESTS).await;
    fleet.assert_quota_kept().await;
    assert!(
        fleet.logs().contains("a quota's ledger is missing"),
        "{}",
        fleet.logs()
    );
}

#[tokio::test]
async fn a_quota_of_each_worker_alone_is_as_strict_and_asks_nothing_of_the_broker() {
    let vhost = Broker::shared().vhost();
    let mut fleet = Fleet::start(
        &vhost.url(),
        1,
        WINDOW,
        &quota(WINDOW, ", scope = \"worker\""),
    )
    .await;
    fleet.publish("interactive", 200).await;
    fleet.publish("bulk", 200).await;
    fleet.wait_for_lookups(2 * REQUESTS + 1).await;
    fleet.assert_quota_kept().await;
    assert_eq!(fleet.client.depth("lookup.quota.antsomi").await, None);
}

#[tokio::test]
async fn of_several_windows_each_holds_for_all_workers_whoever_of_them_dies() {
    let (vhost, window) = (Broker::shared().vhost(), Duration::from_secs(2));
    let windows = "[{ requests = 30, per = \"1h\" }, { requests = 10, per = \"2s\" }]";
    let mut fleet = Fleet::start(&vhost.url(), 3, window, windows).await;
    fleet.publish("bulk", 60).await;
    // Nine tenths of the longer window are bulk's.
    fleet.wait_for_lookups(27).await;
    fleet.workers[0].kill9();
    fleet.workers[0].start_again();
    fleet.workers[0].wait_ready().await;
    fleet.publish("interactive", 5).await;
    let ledger = "lookup.quota.antsomi.1h";
    fleet.client.wait_for_depth(ledger, 30, LONG).await;
    // Time in which the shorter window alone would let twenty through.
    tokio::time::sleep(2 * window).await;
    let (lookups, _) = fleet.stats().await;
    // A permission is lost whose worker was killed, or that grew void while the shorter window gave none.
    assert!((25..=30).contains(&lookups), "{lookups}");
    assert_eq!(fleet.client.depth(ledger).await, Some(30));
    fleet.assert_at_most(10).await;
}

#[tokio::test]
async fn of_several_windows_of_one_worker_alone_each_holds() {
    let (vhost, window) = (Broker::shared().vhost(), Duration::from_secs(2));
    let windows = "[{ requests = 10, per = \"2s\", scope = \"worker\" }, \
                   { requests = 20, per = \"1h\", scope = \"worker\", reserve = 0.0 }]";
    let mut fleet = Fleet::start(&vhost.url(), 1, window, windows).await;
    fleet.publish("bulk", 40).await;
    fleet.wait_for_lookups(20).await;
    // Time in which the shorter window alone would let twenty through.
    tokio::time::sleep(2 * window).await;
    assert_eq!(fleet.stats().await.0, 20);
    fleet.assert_at_most(10).await;
}

#[tokio::test]
async fn metrics_and_check_tell_of_quota_use_and_backlog() {
    let vhost = Broker::shared().vhost();
    let hour = Duration::from_hours(1);
    let mut fleet = Fleet::start(
        &vhost.url(),
        1,
        hour,
        &quota(hour, "}\nconcurrency = 10 # {"),
    )
    .await;
    // Bulk's share, as few at once as an idle provider is asked for; then a backlog.
    for few in [9, 18] {
        fleet.publish("bulk", 9).await;
        fleet.wait_for_lookups(few).await;
    }
    fleet.publish("bulk", 200).await;
    let told = async |series: &str| fleet.workers[0].metric(series).await;
    let begun = Instant::now();
    let all = async || {
        told("lookup_jobs_queued{lane=\"bulk\",provider=\"antsomi\"}").await
            + told("lookup_jobs_in_flight{provider=\"antsomi\"}").await
    };
    while (all().await - 200.0).abs() > 0.5 {
        assert!(
            begun.elapsed() < LONG,
            "{}",
            fleet.workers[0].metrics().await
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!((told("lookup_quota_used").await - 18.0).abs() < f64::EPSILON);
    // 200 jobs at 18 requests an hour. How many of them are in the worker's hands is told by its concurrency: up to 10
    // more, while the quota lets it have fewer.
    let hours = async |worker: &Worker| worker.metric("lookup_backlog_seconds").await / 3600.0;
    let alone = hours(&fleet.workers[0]).await;
    assert!((199.0 / 18.0..=211.0 / 18.0).contains(&alone), "{alone} h");

    let config = fleet.config(&quota(hour, "}\nconcurrency = 10 # {"));
    let checked = Call::new(&["check"])
        .config(&config)
        .run()
        .await
        .expect(0)
        .out;
    assert!(checked.contains(" jobs wait, 11h"), "{checked}");
    assert!(
        checked.contains("at one request each; 20 requests per 1h, 18 used now"),
        "{checked}"
    );

    // Where several go as one request, they take a part of that.
    let config = config.replace("max_size = 1", "max_size = 5");
    let checked = Call::new(&["check"])
        .config(&config)
        .run()
        .await
        .expect(0)
        .out;
    assert!(
        checked.contains(" jobs wait, 2h ") && checked.contains("at 5 in each request;"),
        "{checked}"
    );
    let mut worker = Worker::start(&config);
    worker.wait_ready().await;
    let begun = Instant::now();
    while (hours(&worker).await - alone / 5.0).abs() > 0.3 {
        assert!(begun.elapsed() < LONG, "{}", worker.metrics().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn twenty_jobs_in_bulk_at_an_idle_provider_go_at_once() {
    for workers in [1, 3] {
        let (vhost, window) = (Broker::shared().vhost(), Duration::from_mins(1));
        let quota = "{ requests = 200, per = \"1m\" }";
        let mut fleet = Fleet::start(&vhost.url(), workers, window, quota).await;
        fleet.publish("bulk", 20).await;
        fleet.wait_for_lookups(20).await;
        let took = span(&fleet.arrivals().await);
        // Spread over the window they would take six seconds.
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}

#[tokio::test]
async fn a_backlog_in_bulk_is_spread_over_the_window_whatever_workers_there_are() {
    let (vhost, window) = (Broker::shared().vhost(), Duration::from_secs(10));
    let quota = "{ requests = 50, per = \"10s\", reserve = 0.0 }";
    let mut fleet = Fleet::start(&vhost.url(), 3, window, quota).await;
    fleet.publish("bulk", 2_000).await;
    fleet.wait_for_lookups(100).await;
    let arrivals = fleet.arrivals().await;
    // Some go before a worker sees how many there are. A tenth of the quota would be even, with as much care as there
    // is; a rush would be all of it.
    for (n, first) in arrivals.iter().enumerate() {
        let within = |at: &&u64| **at < first + 1_000;
        let rush = arrivals[n..].iter().take_while(within).count();
        assert!(rush <= 25, "{rush} in a second: {arrivals:?}");
    }
    fleet.assert_at_most(50).await;
}

/// From the first to the last.
fn span(arrivals: &[u64]) -> Duration {
    let ends = arrivals.first().zip(arrivals.last());
    Duration::from_millis(ends.map_or(0, |(first, last)| last - first))
}

#[tokio::test]
#[ignore = "measures, for eight minutes; run it alone"]
async fn how_long_calls_at_a_third_of_the_quota_wait_at_one_worker() {
    for (requests, per) in [(50, 10), (200, 60)] {
        let fleet = Beside::new(requests, per, 1, 1.0 / 3.0);
        fleet.measure(false).await;
    }
}

#[tokio::test]
#[ignore = "measures, for eight minutes; run it alone"]
async fn how_long_calls_at_a_third_of_the_quota_wait_at_three_workers() {
    for (requests, per) in [(50, 10), (200, 60)] {
        let fleet = Beside::new(requests, per, 3, 1.0 / 3.0);
        fleet.measure(false).await;
    }
}

#[tokio::test]
#[ignore = "measures, for eight minutes; run it alone"]
async fn how_long_calls_at_a_third_of_the_quota_wait_where_workers_are_killed_and_frozen() {
    for (requests, per) in [(50, 10), (200, 60)] {
        let fleet = Beside::new(requests, per, 3, 1.0 / 3.0);
        fleet.measure(true).await;
    }
}

#[tokio::test]
#[ignore = "measures, for ten minutes; run it alone"]
async fn how_long_calls_at_nine_tenths_of_the_quota_wait_beside_a_backlog() {
    for (requests, per) in [(50, 10), (200, 60)] {
        Beside::new(requests, per, 3, 0.9).measure(false).await;
    }
}

/// Calls at random moments beside 20,000 jobs in bulk.
struct Beside {
    requests: u64,
    per: Duration,
    workers: usize,
    /// Calls, as a part of the quota.
    demand: f64,
}

impl Beside {
    fn new(requests: u64, per: u64, workers: usize, demand: f64) -> Self {
        let per = Duration::from_secs(per);
        Self {
            requests,
            per,
            workers,
            demand,
        }
    }

    /// With `losses`, a worker is killed or frozen every five seconds.
    async fn measure(&self, losses: bool) {
        let vhost = Broker::shared().vhost();
        let quota = format!(
            "{{ requests = {}, per = \"{}s\" }}",
            self.requests,
            self.per.as_secs()
        );
        let mut fleet = Fleet::start(&vhost.url(), self.workers, self.per, &quota).await;
        fleet.publish("bulk", 20_000).await;
        fleet.client.declare_queue("calls").await;
        let windows = if self.per > Duration::from_secs(30) {
            5
        } else {
            15
        };
        let mean = self.per.div_f64(self.requests as f64 * self.demand);
        let calling = tokio::spawn(random_calls(vhost.url(), mean, self.per * windows));
        tokio::time::sleep(self.per).await;
        let (begun, (before, _)) = (Instant::now(), fleet.stats().await);
        let end = begun + self.per * (windows - 1);
        for round in 0.. {
            let next = Instant::now() + Duration::from_secs(5);
            if next > end {
                break;
            }
            if losses {
                fleet.lose_one(round).await;
            }
            tokio::time::sleep_until(next.into()).await;
        }
        tokio::time::sleep_until(end.into()).await;
        let (lookups, largest) = fleet.stats().await;
        let passed = begun.elapsed().div_duration_f64(self.per);
        let used = (lookups - before) as f64 / (self.requests as f64 * passed);
        let waits = calling.await.expect("the calls");
        let settled = waits[waits.len() * 2 / windows as usize..].to_vec();
        let (mut waits, mut settled) = (waits, settled);
        settled.sort_unstable();
        waits.sort_unstable();
        let interval = self.per.div_f64(self.requests as f64);
        let at = |waits: &[Duration], percent: usize| {
            waits[(waits.len() - 1) * percent / 100].div_duration_f64(interval)
        };
        println!(
            "{} per {:?}, {} workers, calls {:.2}, losses {losses}: {} calls took p50 {:.2}, p99 {:.2} (from the third \
             window on {:.2}), at most {:.2} mean intervals; {used:.3} used, {largest} in a window; stood still {:?}",
            self.requests,
            self.per,
            self.workers,
            self.demand,
            waits.len(),
            at(&waits, 50),
            at(&waits, 99),
            at(&settled, 99),
            at(&waits, 100),
            fleet.stalls.longest()
        );
        fleet.assert_at_most(self.requests).await;
    }
}

/// From publishing each call to its answer. An equal lookup would share a request, so each asks for another.
async fn random_calls(url: String, mean: Duration, long: Duration) -> Vec<Duration> {
    let client = Client::connect(&url).await;
    let options = lapin::options::BasicConsumeOptions {
        no_ack: true,
        ..Default::default()
    };
    let consume =
        client
            .channel()
            .basic_consume("calls".into(), "".into(), options, FieldTable::default());
    let mut answers = consume.await.expect("a consumer");
    let begun = Instant::now();
    let (mut published, mut waits) = (Vec::new(), Vec::new());
    let mut next = begun;
    while begun.elapsed() < long || waits.len() < published.len() {
        tokio::select! {
            () = tokio::time::sleep_until(next.into()), if begun.elapsed() < long => {
                let n = published.len();
                let query = json!({"query": {"phone": format!("8493{n:07}")}});
                let call = Job::json(&query).id(&n.to_string()).reply_to("calls");
                published.push(Instant::now());
                client.publish("lookup.jobs", "antsomi.interactive", call).await;
                next += mean.mul_f64(-rand::random_range(f64::MIN_POSITIVE..1.0f64).ln());
            }
            answer = futures_util::StreamExt::next(&mut answers) => {
                let answer = answer.expect("a consumer").expect("an answer");
                let id = answer.properties.correlation_id().as_ref().expect("an id");
                let call: usize = id.as_str().parse().expect("a number");
                waits.push(published[call].elapsed());
            }
        }
    }
    waits
}

/// Interactive jobs beside a backlog against those in an idle system; the reserve is enough for them.
#[tokio::test]
#[ignore = "measures, for four minutes; run it alone"]
async fn how_long_calls_take_beside_a_backlog() {
    let window = Duration::from_secs(5);
    let quota = "{ requests = 400, per = \"5s\" }";
    for round in 1..=3 {
        let vhost = Broker::shared().vhost();
        let mut fleet = Fleet::start(&vhost.url(), 2, window, quota).await;
        fleet.client.declare_queue("calls").await;
        let idle = calls(&fleet.client).await;
        fleet.publish("bulk", 20_000).await;
        fleet.wait_for_lookups(800).await;
        let beside = calls(&fleet.client).await;
        let ratio = beside.1.as_secs_f64() / idle.1.as_secs_f64();
        println!(
            "round {round}: p50, p99 of calls {idle:.1?} idle, {beside:.1?} beside 20,000 jobs: {ratio:.2} at p99"
        );
        println!(
            "  largest window {} of 400, {:?} stood still",
            fleet.stats().await.1,
            fleet.stalls.longest()
        );
        fleet.assert_at_most(400).await;
    }
}

/// Median and 99th percentile of 200 calls, one after the other.
async fn calls(client: &Client) -> (Duration, Duration) {
    let options = lapin::options::BasicConsumeOptions {
        no_ack: true,
        ..Default::default()
    };
    let consume =
        client
            .channel()
            .basic_consume("calls".into(), "".into(), options, FieldTable::default());
    let mut answers = consume.await.expect("a consumer");
    let mut times = Vec::new();
    for n in 0..200 {
        let job = Job::json(&json!({"query": {"phone": "84907089782"}}))
            .id(&format!("c-{n}"))
            .reply_to("calls");
        let begun = Instant::now();
        client
            .publish("lookup.jobs", "antsomi.interactive", job)
            .await;
        tokio::time::timeout(LONG, futures_util::StreamExt::next(&mut answers))
            .await
            .expect("an answer");
        times.push(begun.elapsed());
        // Eight a second: what the reserve allows.
        tokio::time::sleep(Duration::from_millis(135)).await;
    }
    times.sort_unstable();
    let cancel = client
        .channel()
        .basic_cancel(answers.tag(), lapin::options::BasicCancelOptions::default());
    cancel.await.expect("a cancel");
    (times[99], times[197])
}
