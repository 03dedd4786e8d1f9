//! An engine at work on the sandbox, with a ledger that grants when it is told to.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fs,
    future::pending,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::future::{LocalBoxFuture, join_all};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    task::{JoinHandle, LocalSet, spawn_local},
};

use super::*;
use crate::{
    failure::{ErrorKind, Failure},
    job::Envelope,
    lane::Lane,
    policy::quota::{Decision, Permission},
    quota::Ledger,
    sandbox::{Kind, Options, Sandbox},
    settings,
    telemetry::traces::Span,
};

/// Bound of what takes no time on an idle machine.
const SOON: Duration = Duration::from_secs(30);

/// Holds who asks until it is told to grant.
#[derive(Default)]
struct Turnstile {
    asks: RefCell<[VecDeque<oneshot::Sender<Decision>>; 2]>,
}

impl Ledger for Turnstile {
    fn ask(self: Rc<Self>, lane: Lane, _waiting: usize) -> LocalBoxFuture<'static, Decision> {
        let (decision, decided) = oneshot::channel();
        self.asks.borrow_mut()[lane as usize].push_back(decision);
        Box::pin(async move { decided.await.unwrap_or(Decision::Gone) })
    }
}

impl Turnstile {
    /// Those who ask now and have not given up.
    fn asking(&self, lane: Lane) -> usize {
        self.asks
            .borrow()
            .get(lane as usize)
            .into_iter()
            .flatten()
            .filter(|ask| !ask.is_closed())
            .count()
    }

    /// Returns when so many ask, and no more.
    async fn wait_for(&self, lane: Lane, count: usize) {
        let begun = Instant::now();
        while self.asking(lane) != count {
            assert!(begun.elapsed() < SOON, "{} ask", self.asking(lane));
            settle().await;
        }
        settle().await;
        assert_eq!(self.asking(lane), count);
    }

    /// Lets one through; waits until somebody asks.
    async fn grant(&self, lane: Lane) {
        loop {
            let ask = self.asks.borrow_mut()[lane as usize].pop_front();
            match ask.map(|ask| ask.send(Decision::Granted(Permission::UNLIMITED))) {
                Some(Ok(())) => return,
                Some(Err(_)) => {}
                None => settle().await,
            }
        }
    }

    /// Lets everybody through from now on.
    fn open(self: &Rc<Self>) {
        let turnstile = Rc::clone(self);
        spawn_local(async move {
            loop {
                for lane in Lane::ALL {
                    if turnstile.asking(lane) > 0 {
                        turnstile.grant(lane).await;
                    }
                }
                settle().await;
            }
        });
    }
}

/// Lets whatever can go on go on.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
}

struct Bench {
    engine: Rc<Engine>,
    ledger: Rc<Turnstile>,
    base: String,
    ids: Cell<u32>,
}

type Answered = JoinHandle<(Conclusion, u32)>;

impl Bench {
    async fn start(keys: &str) -> Self {
        let mut options = Options::default();
        options.ports.values_mut().for_each(|port| *port = 0);
        let sandbox = Sandbox::bind(&options).await.expect("free ports");
        let base = sandbox.base_url(Kind::Antsomi).expect("its port");
        tokio::spawn(sandbox.serve(pending()));
        let file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
        let text = format!(
            "[retry]\ninitial_delay = \"1ms\"\nmax_delay = \"5ms\"\nmax_attempts = 4\n[providers.a]\n\
             kind = \"antsomi\"\nbase_url = \"{base}\"\ntoken = \"sandbox-antsomi-token\"\n{keys}\n"
        );
        fs::write(file.path(), text).expect("a file of ours");
        let settings = settings::load(Some(file.path()))
            .expect("a configuration")
            .providers
            .remove("a")
            .expect("it");
        let engine = Engine::new(settings, &Metrics::new()).expect("an engine");
        let ledger = Rc::new(Turnstile::default());
        engine
            .quota
            .count_at(Some(Rc::clone(&ledger) as Rc<dyn Ledger>), Vec::new());
        Self {
            engine,
            ledger,
            base,
            ids: Cell::default(),
        }
    }

    fn ask(&self, lane: Lane, body: Value) -> Answered {
        self.ids.set(self.ids.get() + 1);
        let envelope = Envelope {
            routing_key: format!("a.{lane}"),
            message_id: Some(self.ids.get().to_string()),
            ..Envelope::default()
        };
        let (adapter, body) = (self.engine.adapter(), body.to_string());
        let job = Job::read(
            &envelope,
            body.as_bytes(),
            1 << 20,
            Some(adapter),
            Timestamp::now(),
        )
        .expect("a job");
        let engine = Rc::clone(&self.engine);
        spawn_local(async move { engine.lookup(&job, &Span::default(), Waiting::Here).await })
    }

    /// A bulk job, or a call, for this number.
    fn phone(&self, lane: Lane, phone: &str) -> Answered {
        self.ask(lane, json!({"query": {"phone": phone}}))
    }

    fn bulk(&self, phones: impl IntoIterator<Item = String>) -> Vec<Answered> {
        phones
            .into_iter()
            .map(|phone| self.phone(Lane::Bulk, &phone))
            .collect()
    }

    /// Numbers in each request that the provider has seen.
    async fn seen(&self) -> Vec<usize> {
        let text = reqwest::get(format!("{}/_sandbox/requests", self.base))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let seen: Value = serde_json::from_str(&text).unwrap();
        let numbers = |entry: &Value| {
            entry["target"]
                .as_str()
                .unwrap()
                .matches("phone_number")
                .count()
        };
        seen["requests"]
            .as_array()
            .unwrap()
            .iter()
            .map(numbers)
            .collect()
    }

    async fn fault(&self, part: &str, fault: Value) {
        let rule = json!({ "match": part, "fault": fault }).to_string();
        let post = reqwest::Client::new()
            .post(format!("{}/_sandbox/faults", self.base))
            .body(rule);
        assert!(
            post.header("content-type", "application/json")
                .send()
                .await
                .unwrap()
                .status()
                .is_success()
        );
    }
}

fn phones(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("8491{n:07}"))
}

async fn finished(answered: Answered) -> (Conclusion, u32) {
    tokio::time::timeout(SOON, answered)
        .await
        .expect("an answer in time")
        .expect("no panic")
}

/// That each was answered with the customer of its own number alone; the attempts of each.
async fn own_answers(phones: impl Iterator<Item = String>, answered: Vec<Answered>) -> Vec<u32> {
    let mut attempts = Vec::new();
    for (phone, answered) in phones.zip(answered) {
        let (conclusion, made) = finished(answered).await;
        let Conclusion::Answered {
            outcome: Outcome::Found(customers, page),
            ..
        } = conclusion
        else {
            panic!("{phone}: {conclusion:?}");
        };
        let ids: Vec<_> = customers
            .iter()
            .map(|customer| customer.customer_id.as_str())
            .collect();
        assert_eq!(
            (ids, page.and_then(|page| page.total)),
            (vec![phone.as_str()], Some(1))
        );
        attempts.push(made);
    }
    attempts
}

fn failure(conclusion: Conclusion) -> Failure {
    match conclusion {
        Conclusion::Answered {
            outcome: Outcome::Failed(failure),
            ..
        }
        | Conclusion::Exhausted(failure) => failure,
        other => panic!("{other:?}"),
    }
}

async fn on_one_thread(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn lookups_that_wait_go_together_and_each_has_its_own_answer() {
    on_one_thread(async {
        let bench = Bench::start("").await;
        let answered = bench.bulk(phones(60));
        // A permission for each full batch; the third may still find company.
        bench.ledger.wait_for(Lane::Bulk, 2).await;
        for _ in 0..3 {
            bench.ledger.grant(Lane::Bulk).await;
        }
        assert_eq!(own_answers(phones(60), answered).await, [1; 60]);
        let mut seen = bench.seen().await;
        seen.sort_unstable();
        assert_eq!(seen, [10, 25, 25]);
        assert_eq!(bench.engine.metrics.batched.get(), 60);
    })
    .await;
}

#[tokio::test]
async fn one_that_is_alone_goes_alone_and_so_do_those_that_must() {
    on_one_thread(async {
        let bench = Bench::start("").await;
        let alone = bench.phone(Lane::Bulk, "84907089782");
        bench.ledger.grant(Lane::Bulk).await;
        assert_eq!(finished(alone).await.1, 1);
        let bodies = [
            json!({"query": {"phone": "84912345678"}, "options": {"operator": "contains"}}),
            json!({"query": {"phone": "84912345678"}, "options": {"raw": true}}),
            json!({"query": {"phone": "84912345678"}, "options": {"page": 1}}),
            json!({"query": {"phone": "84912345678"}, "options": {"limit": 5}}),
        ];
        let answered: Vec<_> = bodies
            .into_iter()
            .map(|body| bench.ask(Lane::Bulk, body))
            .collect();
        let plain = bench.phone(Lane::Bulk, "84912345678");
        bench.ledger.open();
        for answered in answered.into_iter().chain([plain]) {
            assert_eq!(finished(answered).await.1, 1);
        }
        assert_eq!(bench.seen().await, [1; 6]);
    })
    .await;
}

#[tokio::test]
async fn a_call_waits_in_its_own_line_and_takes_bulk_along() {
    on_one_thread(async {
        let bench = Bench::start("").await;
        let answered = bench.bulk(phones(30));
        settle().await;
        let call = bench.phone(Lane::Interactive, "84907089782");
        bench.ledger.grant(Lane::Interactive).await;
        finished(call).await;
        assert_eq!(bench.seen().await, [25], "the call and 24 others");
        // Those who are left need no more permissions than before.
        bench.ledger.grant(Lane::Bulk).await;
        own_answers(phones(30), answered).await;
        assert_eq!(bench.seen().await, [25, 6]);
    })
    .await;
}

#[tokio::test]
async fn equal_lookups_share_one_request_while_it_waits_and_while_it_is_in_flight() {
    on_one_thread(async {
        let bench = Bench::start("").await;
        bench
            .fault("84910000000", json!({"latency": "300ms"}))
            .await;
        let mut answered = bench.bulk(std::iter::repeat_n("84910000000".to_owned(), 50));
        bench.ledger.wait_for(Lane::Bulk, 1).await;
        bench.ledger.grant(Lane::Bulk).await;
        settle().await;
        // Written otherwise, and by a call: it is the same request, which goes already.
        answered.push(bench.phone(Lane::Interactive, "+84 91 000 0000"));
        let same = std::iter::repeat_n("84910000000".to_owned(), 51);
        assert_eq!(own_answers(same, answered).await, [1; 51]);
        assert_eq!(bench.seen().await, [1]);
        assert_eq!(bench.engine.metrics.coalesced.get(), 50);
    })
    .await;
}

#[tokio::test]
async fn a_call_for_what_bulk_waits_for_makes_it_urgent_and_is_not_missed_when_it_leaves() {
    on_one_thread(async {
        let bench = Bench::start("").await;
        let bulk = bench.bulk(phones(2));
        settle().await;
        let call = bench.ask(
            Lane::Interactive,
            json!({"query": {"phone": "84910000000"}, "deadline_ms": 200}),
        );
        bench.ledger.wait_for(Lane::Interactive, 1).await;
        bench.ledger.wait_for(Lane::Bulk, 1).await;
        assert_eq!(
            failure(finished(call).await.0).kind,
            ErrorKind::DeadlineExceeded
        );
        settle().await;
        // Bulk goes by its own turn again.
        bench.ledger.grant(Lane::Bulk).await;
        own_answers(phones(2), bulk).await;
        assert_eq!(bench.seen().await, [2]);

        let bulk = bench.bulk(phones(1));
        settle().await;
        let call = bench.phone(Lane::Interactive, "84910000000");
        bench.ledger.grant(Lane::Interactive).await;
        own_answers(
            phones(1).chain(phones(1)),
            vec![call, bulk.into_iter().next().unwrap()],
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn one_s_deadline_ends_its_own_wait_and_no_other_s() {
    on_one_thread(async {
        let bench = Bench::start("").await;
        bench
            .fault("84910000001", json!({"latency": "800ms"}))
            .await;
        let patient = bench.bulk(phones(3));
        let hasty = bench.ask(
            Lane::Bulk,
            json!({"query": {"phone": "84910000001"}, "deadline_ms": 300}),
        );
        let begun = Instant::now();
        bench.ledger.grant(Lane::Bulk).await;
        let (conclusion, attempts) = finished(hasty).await;
        assert_eq!(
            (failure(conclusion).kind, attempts),
            (ErrorKind::DeadlineExceeded, 1)
        );
        assert!(
            begun.elapsed() < Duration::from_millis(800),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(own_answers(phones(3), patient).await, [1; 3]);
        assert_eq!(bench.seen().await, [3]);
    })
    .await;
}

#[tokio::test]
async fn what_nobody_waits_for_is_not_asked() {
    on_one_thread(async {
        let bench = Bench::start("").await;
        let hasty = |phone: String| {
            bench.ask(
                Lane::Bulk,
                json!({"query": {"phone": phone}, "deadline_ms": 100}),
            )
        };
        for answered in join_all(phones(5).map(hasty).map(finished)).await {
            assert_eq!(
                (failure(answered.0).kind, answered.1),
                (ErrorKind::DeadlineExceeded, 0)
            );
        }
        bench.ledger.wait_for(Lane::Bulk, 0).await;
        assert!(bench.seen().await.is_empty());
    })
    .await;
}

/// A number that spoils each batch that it is in, among others.
async fn poisoned(poison: &str) -> (Bench, Failure, Vec<u32>) {
    let bench = Bench::start("max_response_bytes = 100000\nbreaker = { failures = 1000 }").await;
    let others = bench.bulk(phones(30));
    let spoilt = bench.phone(Lane::Bulk, poison);
    settle().await;
    bench.ledger.open();
    let attempts = own_answers(phones(30), others).await;
    let failure = failure(finished(spoilt).await.0);
    (bench, failure, attempts)
}

#[tokio::test]
async fn one_bad_lookup_in_a_batch_fails_alone() {
    let table = [
        ("84900000400", ErrorKind::Rejected),
        ("84900000422", ErrorKind::Rejected),
        ("84900000302", ErrorKind::BadResponse),
        ("84900000605", ErrorKind::BadResponse),
        ("84900000606", ErrorKind::EndpointNotFound),
        ("84900000522", ErrorKind::Rejected),
        ("84900000500", ErrorKind::ProviderError),
        ("84900000520", ErrorKind::ProviderError),
    ];
    for (poison, kind) in table {
        on_one_thread(async {
            let (bench, failure, attempts) = poisoned(poison).await;
            assert_eq!(failure.kind, kind, "{poison}");
            assert!(
                attempts.iter().all(|attempts| *attempts <= 6),
                "{poison}: {attempts:?}"
            );
            println!("{poison}: {:?}", bench.seen().await);
        })
        .await;
    }
}

#[tokio::test]
async fn a_provider_that_takes_no_batches_is_asked_for_each_lookup_alone() {
    on_one_thread(async {
        let bench = Bench::start("quota = { requests = 10000, per = \"1m\" }").await;
        bench
            .fault("operator=matches", json!({"status": 400}))
            .await;
        for _ in 0..2 {
            let answered = bench.bulk(phones(100));
            bench.ledger.open();
            own_answers(phones(100), answered).await;
        }
        let batches = bench
            .seen()
            .await
            .into_iter()
            .filter(|numbers| *numbers > 1)
            .count();
        assert!(batches < 40, "{batches} batches in vain");
    })
    .await;
}

#[tokio::test]
async fn several_customers_of_one_number_and_none_of_another_stay_with_their_lookups() {
    on_one_thread(async {
        let bench = Bench::start("").await;
        let mut asked = bench
            .bulk(["84911111111", "84900000404", "84922222222", "84987654321"].map(str::to_owned));
        settle().await;
        bench.ledger.grant(Lane::Bulk).await;
        let mut found = BTreeMap::new();
        for (at, answered) in asked.drain(..).enumerate() {
            let Conclusion::Answered { outcome, .. } = finished(answered).await.0 else {
                panic!("{at}")
            };
            let (customers, page) = match outcome {
                Outcome::Found(customers, page) => (customers, page),
                Outcome::NotFound(page) => (Vec::new(), page),
                Outcome::Failed(failure) => panic!("{failure:?}"),
            };
            let ids: Vec<_> = customers
                .into_iter()
                .map(|customer| customer.customer_id)
                .collect();
            assert_eq!(page.and_then(|page| page.total), Some(ids.len() as u64));
            found.insert(at, ids.join(" "));
        }
        let found: Vec<_> = found.into_values().collect();
        assert_eq!(found, ["c-2001 c-2002", "", "84922222222", "c-1001"]);
        assert_eq!(bench.seen().await, [4]);
    })
    .await;
}

#[tokio::test]
async fn without_a_quota_nothing_waits_and_nothing_is_batched_but_equal_lookups_still_share() {
    on_one_thread(async {
        let bench = Bench::start("quota = \"none\"").await;
        let answered = bench.bulk(phones(20).chain(phones(20)));
        assert_eq!(
            own_answers(phones(20).chain(phones(20)), answered).await,
            [1; 40]
        );
        assert_eq!(bench.seen().await, [1; 20]);
    })
    .await;
}

#[tokio::test]
async fn what_was_found_is_remembered_where_that_is_configured_and_costs_no_attempt() {
    on_one_thread(async {
        let bench = Bench::start("quota = \"none\"\ncache = { ttl = \"1h\" }").await;
        let raw = || {
            bench.ask(
                Lane::Bulk,
                json!({"query": {"phone": "84910000000"}, "options": {"raw": true}}),
            )
        };
        assert_eq!(own_answers(phones(1), bench.bulk(phones(1))).await, [1]);
        assert_eq!(own_answers(phones(1), bench.bulk(phones(1))).await, [0]);
        for attempts in [1, 0] {
            let (conclusion, made) = finished(raw()).await;
            assert!(
                matches!(conclusion, Conclusion::Answered { raw: Some(_), .. }),
                "{conclusion:?}"
            );
            assert_eq!(made, attempts);
        }
        // Nobody is not remembered, unless that is configured too.
        for _ in 0..2 {
            assert_eq!(finished(bench.phone(Lane::Bulk, "84900000404")).await.1, 1);
        }
        assert_eq!(bench.seen().await, [1; 4]);
        assert_eq!(bench.engine.metrics.cached.get(), 2);
    })
    .await;
}
