//! How a provider stands is told alike by the page, `/readyz`, `check`, metrics and the log: the table of
//! `docs/operations.md`, a row a state.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    amqp::{Client, Job},
    broker::{Broker, Vhost},
    commands::Call,
    road::SOON,
    scripted::{Scripted, answer, found},
    waits::{plume, wait_for_readyz},
    worker::Worker,
};

const KEYS: &str =
    "token = \"t\"\nbreaker = { failures = 3, cooldown = \"5m\" }\nauth_failure_limit = 3";

const NO_QUOTA: &str = "\"none\"";

/// What is told of plume and of the worker at one moment.
#[derive(Debug)]
struct Told {
    /// The page's word.
    state: String,
    ready: bool,
    /// What the page says of it.
    provider: Value,
    backlog_seconds: u64,
    /// What `/readyz` answers.
    code: u16,
    readyz: String,
    /// The lines of `check` that ask for somebody, or are to be known.
    failing: BTreeSet<String>,
    noted: BTreeSet<String>,
    check: Vec<Value>,
    /// The metrics that are not 0.
    raised: BTreeSet<&'static str>,
    log: String,
}

const METRICS: [&str; 6] = [
    "lookup_circuit_open",
    "lookup_circuit_half_open",
    "lookup_paused",
    "lookup_backlog_seconds",
    "lookup_quota_calls_wait",
    "lookup_quota_provider_holds",
];

impl Told {
    async fn by(worker: &Worker, toml: &str) -> Self {
        let (_, status) = worker.get("/status.json").await.expect("a status");
        let status: Value = serde_json::from_str(&status).expect("JSON");
        let provider = &status["providers"]["plume"];
        let (code, readyz) = worker.get("/readyz").await.expect("an answer");
        let listen = format!("127.0.0.1:{}", worker.http_port());
        let call = Call::new(&["check", "--json"]).config(toml);
        let check = call
            .env("LOOKUP__HTTP__LISTEN", &listen)
            .run()
            .await
            .lines();
        let lines = |ok: bool| {
            let such = |line: &&Value| line["ok"] == ok && line["advice"].is_string();
            let name = |line: &Value| line["check"].as_str().expect("a name").to_owned();
            check.iter().filter(such).map(name).collect()
        };
        let metrics = worker.metrics().await;
        let is_raised = |name: &&str| {
            let series = format!("{name}{{provider=\"plume\"}} ");
            let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
            value.is_some_and(|value| value != "0")
        };
        Self {
            state: provider["state"].as_str().expect("a state").to_owned(),
            ready: status["ready"] == true,
            provider: provider.clone(),
            backlog_seconds: provider["backlog_seconds"].as_u64().unwrap_or_default(),
            code,
            readyz,
            failing: lines(false),
            noted: lines(true),
            raised: METRICS.into_iter().filter(is_raised).collect(),
            check,
            log: worker.log(),
        }
    }

    /// That the page has this word, `/readyz` this line, and that these lines of `check` and these metrics are raised.
    fn is(&self, state: &str, readyz: &str, failing: &[&str], raised: &[&str]) {
        assert_eq!(self.state, state, "{self:?}");
        assert!(self.readyz.contains(readyz), "{readyz}: {self:?}");
        let failing: BTreeSet<_> = failing.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(self.failing, failing, "{self:?}");
        assert_eq!(self.raised, raised.iter().copied().collect(), "{self:?}");
    }

    fn message(&self, check: &str) -> &str {
        self.word(check, "message")
    }

    /// What is to be done with the dead letters.
    fn letters(&self) -> &str {
        self.word("dead letters", "advice")
    }

    fn word(&self, check: &str, key: &str) -> &str {
        let line = self.check.iter().find(|line| line["check"] == check);
        line.and_then(|line| line[key].as_str())
            .unwrap_or_else(|| panic!("{check}: {self:?}"))
    }

    /// Since when the provider is not well.
    fn since(&self) -> Option<Timestamp> {
        self.provider["since"].as_str()?.parse().ok()
    }
}

struct Place<'a> {
    vhost: Vhost<'a>,
    server: Scripted,
    worker: Worker,
    client: Client,
    toml: String,
}

impl Place<'_> {
    async fn with(
        keys: &str,
        quota: &str,
        answers: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let vhost = Broker::shared().vhost();
        let server = Scripted::start(answers).await;
        let toml = plume(&vhost.url(), &server.base, keys).replace("\"none\"", quota);
        let mut worker = Worker::start(&toml);
        worker.wait_ready().await;
        let client = Client::connect(&vhost.url()).await;
        Self {
            vhost,
            server,
            worker,
            client,
            toml,
        }
    }

    async fn publish(&self, lane: &str, jobs: usize) {
        self.publish_with(lane, jobs, &json!({})).await;
    }

    /// Jobs with these members besides.
    async fn publish_with(&self, lane: &str, jobs: usize, members: &Value) {
        let job = |n| {
            let mut body = members.clone();
            body["query"] = json!({"account_id": format!("acc-{n}")});
            Job::json(&body).id(&format!("{lane}-{n}"))
        };
        let key = format!("plume.{lane}");
        self.client
            .publish_all("lookup.jobs", &key, (0..jobs).map(job))
            .await;
    }

    async fn told(&self) -> Told {
        Told::by(&self.worker, &self.toml).await
    }

    /// Returns once enough is told; and told again, since page, `/readyz` and `check` are asked one after the other, and
    /// those that were asked first may not have known yet.
    async fn until(&self, enough: impl Fn(&Told) -> bool) -> Told {
        let told = async {
            loop {
                if enough(&self.told().await) {
                    let told = self.told().await;
                    if enough(&told) {
                        return told;
                    }
                }
            }
        };
        let within = tokio::time::timeout(SOON, told).await;
        if let Ok(told) = within {
            return told;
        }
        panic!("{:?} on {}", self.told().await, self.vhost.url())
    }
}

#[tokio::test]
async fn well_and_its_jobs_wait_for_quota() {
    let place = Place::with(KEYS, NO_QUOTA, |_, _| found()).await;
    let told = place.told().await;
    told.is("ready", "ready\n", &[], &[]);
    assert_eq!((told.ready, told.code), (true, 200));

    let place = Place::with(KEYS, "{ requests = 5, per = \"5m\" }", |_, _| found()).await;
    place.publish("bulk", 30).await;
    let told = place.until(|told| told.backlog_seconds > 60).await;
    told.is("ready", "ready\n", &[], &["lookup_backlog_seconds"]);
    assert!(
        !told.message("backlog plume").starts_with("0 jobs"),
        "{told:?}"
    );
    assert!(!told.readyz.contains("plume"), "{told:?}");
    assert!(place.server.asked().len() <= 5);
}

#[tokio::test]
async fn calls_come_faster_than_the_quota_lasts() {
    let line = "plume: calls wait for the quota: p99 ";
    let quota = "{ requests = 1, per = \"1s\" }";
    let place = Place::with(KEYS, quota, |_, _| found()).await;
    place.publish("interactive", 40).await;
    let told = place.until(|told| told.raised.len() == 2).await;
    let raised = ["lookup_backlog_seconds", "lookup_quota_calls_wait"];
    told.is("ready", line, &["calls plume"], &raised);
    let message = told.message("calls plume");
    assert!(message.contains("raise quota, or "), "{told:?}");
    assert!(told.log.contains("calls wait for the quota"), "{told:?}");
    assert_eq!((told.ready, told.code), (true, 200), "{told:?}");

    // Where each has a deadline none waits long, and all the same most are not answered.
    let place = Place::with(KEYS, "{ requests = 5, per = \"5m\" }", |_, _| found()).await;
    let soon = json!({"deadline_ms": 400});
    place.publish_with("interactive", 30, &soon).await;
    let told = place
        .until(|told| told.failing.contains("calls plume"))
        .await;
    assert!(told.readyz.contains(line), "{told:?}");
    assert!(
        told.readyz.contains(" missed their deadline; raise quota"),
        "{told:?}"
    );
}

#[tokio::test]
async fn its_own_count_leaves_some_and_then_none() {
    let left = |number: usize, _: &str| {
        let left = if number == 0 { 7 } else { 0 };
        let headers = format!("X-RateLimit-Remaining: {left}\r\nX-RateLimit-Reset: 60\r\n");
        let headers = format!("Content-Type: application/json\r\n{headers}");
        answer("200 OK", &headers, "[]")
    };
    let quota = "{ requests = 1000, per = \"1m\" }";
    let place = Place::with(KEYS, quota, left).await;
    place.publish("bulk", 1).await;
    let told = place
        .until(|told| told.check.iter().any(|line| line["check"] == "count plume"))
        .await;
    told.is("ready", "ready\n", &[], &[]);
    let message = told.message("count plume");
    assert_eq!(message, "its answers say that 7 requests are left");

    place.publish("bulk", 1).await;
    place.client.wait_for_depth("lookup.results", 2, SOON).await;
    place.publish("bulk", 1).await;
    let told = place.until(|told| told.noted.contains("count plume")).await;
    let line = "plume: its own count holds us back, bulk waits: 0 left for ";
    told.is("ready", line, &[], &["lookup_quota_provider_holds"]);
    assert!(told.message("count plume").contains("0 left for "));
    assert!(told.log.contains("its own count holds us back"), "{told:?}");
}

#[tokio::test]
async fn open_by_failure_and_by_credentials() {
    let json_type = "Content-Type: application/json\r\n";
    for (status, why) in [
        ("503 Service Unavailable", "the provider keeps failing"),
        (
            "401 Unauthorized",
            "the provider keeps refusing the credentials",
        ),
    ] {
        let place = Place::with(KEYS, NO_QUOTA, move |_, _| answer(status, json_type, "{}")).await;
        place.publish("bulk", 20).await;
        wait_for_readyz(&place.worker, "circuit open").await;
        // Once the consumer is gone nobody takes what lies there.
        let told = place
            .until(|told| told.failing.contains("backlog plume"))
            .await;
        let line = format!("plume: circuit open, probes are sent: {why}");
        let failing = ["state plume", "backlog plume"];
        told.is("circuit_open", &line, &failing, &["lookup_circuit_open"]);
        assert!(told.readyz.contains(&status[..3]), "{told:?}");
        assert!(told.message("state plume").contains(why), "{told:?}");
        assert!(told.log.contains(why), "{told:?}");
        assert_eq!(told.code, 200, "other providers go on: {told:?}");
        assert!(told.since().is_some(), "{told:?}");
        for words in [&*told.readyz, told.message("state plume")] {
            assert!(words.contains("; since 20"), "{words}");
        }
    }
}

#[tokio::test]
async fn what_accuses_says_since_when_and_ends_with_the_cure() {
    let refused = |_: usize, _: &str| {
        let json_type = "Content-Type: application/json\r\n";
        answer("401 Unauthorized", json_type, "{}")
    };
    let keys = KEYS.replace("5m", "300ms");
    let place = Place::with(&keys, NO_QUOTA, refused).await;
    // Too few for the circuit.
    place.publish("interactive", 1).await;
    let told = place
        .until(|told| told.noted.contains("failing plume"))
        .await;
    told.is("ready", "ready\n", &[], &[]);
    let message = told.message("failing plume");
    assert!(message.starts_with("requests fail: unauthorized, 1 since 20"));

    place.publish("bulk", 20).await;
    let is_open = |told: &Told| told.state == "circuit_open";
    let begun = place.until(is_open).await.since();
    assert!(begun.is_some());
    // Probes fail, and it goes on.
    let asked = place.server.asked().len();
    let more = |told: &Told| is_open(told) && place.server.asked().len() > asked + 2;
    let told = place.until(more).await;
    assert_eq!(told.since(), begun);
    let run = &told.provider["failing"]["unauthorized"];
    assert!(
        run["since"].is_string() && run["count"].as_u64() > Some(3),
        "{told:?}"
    );
    let replay = "lookup-worker dead replay --provider plume --error unauthorized";
    assert!(
        !told.letters().contains(replay),
        "they would be refused again"
    );

    place.server.say(|_, _| found());
    place
        .client
        .wait_for_depth("lookup.results", 21, SOON)
        .await;
    let told = place.until(|told| told.state == "ready").await;
    told.is("ready", "ready\n", &[], &[]);
    for member in ["trouble", "since", "failing"] {
        assert!(told.provider[member].is_null(), "{member}: {told:?}");
    }
    assert_eq!(told.provider["errors"]["unauthorized"], 3, "a counter");
    assert!(told.provider["last_errors"]["unauthorized"].is_string());
    assert!(told.letters().contains(replay), "{told:?}");
    assert!(told.log.contains(replay), "{told:?}");
    let arguments: Vec<_> = replay.split(' ').skip(1).collect();
    let replayed = Call::new(&arguments).config(&place.toml).run().await;
    assert_eq!(replayed.expect(0).out, "3 dead letters sent back\n");
    place
        .client
        .wait_for_depth("lookup.results", 24, SOON)
        .await;
}

#[tokio::test]
async fn paused_by_its_own_word_and_by_hand() {
    let limited = |_: usize, _: &str| answer("429 Too Many Requests", "Retry-After: 120\r\n", "{}");
    let place = Place::with(KEYS, NO_QUOTA, limited).await;
    place.publish("bulk", 3).await;
    wait_for_readyz(&place.worker, "plume: paused until about").await;
    let told = place
        .until(|told| told.failing.contains("pause plume"))
        .await;
    let failing = ["state plume", "pause plume"];
    told.is(
        "paused",
        "plume: paused until about",
        &failing,
        &["lookup_paused"],
    );
    assert!(told.log.contains("429"), "{told:?}");

    let place = Place::with(KEYS, NO_QUOTA, |_, _| found()).await;
    let pause = Call::new(&["pause", "plume"]).config(&place.toml);
    pause.run().await.expect(0);
    wait_for_readyz(&place.worker, "plume: paused until it is resumed").await;
    let told = place.told().await;
    told.is(
        "paused",
        "until it is resumed",
        &failing,
        &["lookup_paused"],
    );
    assert!(told.message("pause plume").contains("by hand"), "{told:?}");
    assert!(told.log.contains("by hand"), "{told:?}");
}

#[tokio::test]
async fn half_open() {
    let keys = KEYS.replace("5m", "300ms");
    let place = Place::with(&keys, NO_QUOTA, |_, _| {
        answer("500 Internal Server Error", "", "{}")
    })
    .await;
    place.publish("interactive", 3).await;
    place.client.take("lookup.results", 3, SOON).await;
    let line = "plume: half-open, will be tried with the next job";
    wait_for_readyz(&place.worker, line).await;
    let told = place.told().await;
    told.is("half_open", line, &[], &["lookup_circuit_half_open"]);
    assert!(told.noted.contains("state plume"), "{told:?}");
    assert!(told.log.contains("keeps failing"), "{told:?}");
}

#[tokio::test]
async fn alarm_and_broker_away() {
    let broker = Broker::start();
    let server = Scripted::start(|_, _| found()).await;
    let toml = plume(&broker.url(), &server.base, KEYS);
    let mut worker = Worker::start(&toml);
    worker.wait_ready().await;
    let client = Client::connect(&broker.url()).await;
    worker.sigterm();
    assert!(worker.wait_exit().await.success());
    let job = Job::json(&json!({"query": {"account_id": "acc-1"}}));
    client.publish("lookup.jobs", "plume.bulk", job).await;
    // The broker tells of its alarm who publishes: the worker by its first result.
    broker.rabbitmqctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
    worker.start_again();
    wait_for_readyz(&worker, "alarm of its memory or disk").await;
    let told = Told::by(&worker, &toml).await;
    assert_eq!((told.ready, told.code), (false, 503), "{told:?}");
    assert!(
        told.failing
            .is_superset(&["alarms", "worker"].map(str::to_owned).into()),
        "{told:?}"
    );
    assert!(told.message("worker").contains("alarm"), "{told:?}");
    assert!(told.log.contains("alarm"), "{told:?}");

    broker.kill();
    wait_for_readyz(&worker, "no broker").await;
    let told = Told::by(&worker, &toml).await;
    assert_eq!((told.ready, told.code), (false, 503), "{told:?}");
    assert!(
        told.failing
            .is_superset(&["broker", "worker"].map(str::to_owned).into()),
        "{told:?}"
    );
    assert!(told.message("worker").contains("no broker"), "{told:?}");
    assert!(told.log.contains("no broker; trying again"), "{told:?}");
}
