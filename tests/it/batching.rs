//! Many lookups out of few requests: batches while the quota is used up, one request for equal lookups.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use lookup_worker::sandbox::Kind;
use serde_json::{Value, json};

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    commands::Call,
    road::{Road, SOON, Served, by_job, config},
    worker::Worker,
};

/// Bound of what takes some windows.
const LONG: Duration = Duration::from_mins(2);

fn phone(n: usize) -> String {
    format!("8491{n:07}")
}

fn job(n: usize) -> Job {
    Job::json(&json!({"query": {"phone": phone(n)}})).id(&n.to_string())
}

/// How many numbers each request asked for.
async fn sizes(sandbox: &Served) -> Vec<usize> {
    sandbox
        .targets(Kind::Antsomi)
        .await
        .iter()
        .map(|target| target.matches("phone_number").count())
        .collect()
}

/// One worker with a backlog of lookups, all of different numbers, before a quota.
struct Backlog {
    config: String,
    sandbox: Served,
    client: Client,
    worker: Worker,
    requests: u32,
}

impl Backlog {
    async fn of(jobs: usize, requests: u32, window: Duration, url: &str, keys: &str) -> Self {
        let sandbox = Served::with(|options| options.window = Some(window)).await;
        let quota = format!(
            "quota = {{ requests = {requests}, per = \"{}s\", reserve = 0.0 }}",
            window.as_secs()
        );
        let config =
            config(url, &sandbox, "").replace("quota = \"none\"", &format!("{quota}\n{keys}"));
        let mut worker = Worker::start(&config);
        worker.wait_ready().await;
        let client = Client::connect(url).await;
        client
            .publish_all("lookup.jobs", "antsomi.bulk", (0..jobs).map(job))
            .await;
        Self {
            config,
            sandbox,
            client,
            worker,
            requests,
        }
    }

    async fn lookups(&self) -> u32 {
        let lookups = self.sandbox.stats(Kind::Antsomi).await["lookups"]
            .as_u64()
            .expect("a number");
        u32::try_from(lookups).expect("not that many")
    }

    /// Returns when the provider has seen so many requests.
    async fn wait_for_requests(&self, count: u32) {
        let begun = Instant::now();
        while self.lookups().await < count {
            assert!(
                begun.elapsed() < 5 * LONG,
                "{} of {count} requests\n{}",
                self.lookups().await,
                self.worker.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Phones answered a minute, and phones a request, over so many windows after the first, whose permissions are
    /// all there at once.
    async fn rates(&self, windows: u32) -> (f64, f64) {
        self.wait_for_requests(self.requests).await;
        let (begun, before, first) = (Instant::now(), self.answered().await, self.lookups().await);
        self.wait_for_requests((windows + 1) * self.requests).await;
        let (minutes, requests) = (
            begun.elapsed().as_secs_f64() / 60.0,
            self.lookups().await - first,
        );
        let phones = f64::from(self.answered().await - before);
        (phones / minutes, phones / f64::from(requests))
    }

    async fn answered(&self) -> u32 {
        self.client
            .depth("lookup.results")
            .await
            .expect("the queue")
    }

    /// That each was answered with the customer of its own number.
    async fn assert_own_answers(&self, jobs: usize) {
        let results = by_job(self.client.take("lookup.results", jobs, 5 * LONG).await);
        assert_eq!(results.len(), jobs, "some twice");
        for (id, result) in results {
            let phone = phone(id.parse().expect("our id"));
            let own = json!([{ "customer_id": phone, "phones": [{ "number": phone }] }]);
            assert_eq!(
                (&result["customers"], &result["page"]),
                (&own, &json!({ "total": 1 })),
                "{result}"
            );
            assert_eq!(result["attempts"], 1, "{result}");
        }
        let largest = self.sandbox.stats(Kind::Antsomi).await["largest_window"]
            .as_u64()
            .expect("a number");
        assert!(
            largest <= self.requests.into(),
            "{largest} requests in one window"
        );
    }
}

#[tokio::test]
async fn a_backlog_before_a_quota_goes_in_full_batches_and_each_job_has_its_own_answer() {
    let vhost = Broker::shared().vhost();
    let backlog = Backlog::of(1_250, 20, Duration::from_secs(6), &vhost.url(), "").await;
    let (_, phones) = backlog.rates(1).await;
    println!("{phones:.1} phones a request");
    assert!(
        phones >= 20.0,
        "{phones:.1} phones a request: {:?}",
        sizes(&backlog.sandbox).await
    );
    backlog.assert_own_answers(1_250).await;
    assert!(
        backlog
            .worker
            .metric("lookup_batched_total{provider=\"antsomi\"}")
            .await
            >= 1_000.0
    );
}

#[tokio::test]
async fn a_bad_number_in_a_batch_fails_alone() {
    let vhost = Broker::shared().vhost();
    let backlog = Backlog::of(
        0,
        100,
        Duration::from_secs(5),
        &vhost.url(),
        "breaker = { failures = 1000 }",
    )
    .await;
    let spoilt: BTreeMap<&str, &str> = [
        ("84900000422", "rejected"),
        ("84900000606", "endpoint_not_found"),
        ("84900000500", "provider_error"),
        ("84900000403", "forbidden"),
        ("84900000404", "nobody"),
    ]
    .into();
    let bad = spoilt
        .keys()
        .map(|phone| Job::json(&json!({"query": {"phone": phone}})).id(phone));
    let mut jobs: Vec<Job> = (0..120).map(job).collect();
    jobs.splice(60..60, bad);
    backlog
        .client
        .publish_all("lookup.jobs", "antsomi.bulk", jobs)
        .await;
    let results = by_job(backlog.client.take("lookup.results", 125, LONG).await);
    for (id, result) in results {
        match spoilt.get(&*id) {
            Some(&"nobody") => assert_eq!(result["status"], "not_found", "{result}"),
            Some(kind) => assert_eq!(result["error"]["kind"], *kind, "{result}"),
            None => assert_eq!(
                result["customers"][0]["customer_id"],
                phone(id.parse().unwrap()),
                "{result}"
            ),
        }
    }
}

#[tokio::test]
async fn equal_lookups_in_a_batch_that_is_refused_are_asked_again_and_answered() {
    let vhost = Broker::shared().vhost();
    let quota = "quota = { requests = 4, per = \"1s\", reserve = 0.0 }";
    let road = Road::open_with(&vhost.url(), |config| {
        config.replace("quota = \"none\"", quota)
    })
    .await;
    road.sandbox
        .fault(
            Kind::Antsomi,
            "operator=matches",
            json!({"status": 400}),
            None,
        )
        .await;
    let twice =
        (0..16).map(|n| Job::json(&json!({"query": {"phone": phone(n / 2)}})).id(&n.to_string()));
    road.client
        .publish_all("lookup.jobs", "antsomi.bulk", twice)
        .await;
    let results = road.results(16).await;
    assert!(
        results.values().all(|result| result["status"] == "found"),
        "{results:?}"
    );
}

#[tokio::test]
async fn a_call_does_not_wait_for_a_batch_to_fill_nor_does_anybody_while_there_is_quota() {
    let vhost = Broker::shared().vhost();
    let backlog = Backlog::of(0, 40, Duration::from_hours(1), &vhost.url(), "").await;
    for lane in ["interactive", "bulk"] {
        let begun = Instant::now();
        for n in 0..5 {
            backlog
                .client
                .publish("lookup.jobs", &format!("antsomi.{lane}"), job(n))
                .await;
            backlog.client.take("lookup.results", 1, SOON).await;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{lane}: {:?}",
            begun.elapsed()
        );
    }
    assert_eq!(sizes(&backlog.sandbox).await, [1; 10]);
}

#[tokio::test]
async fn a_hundred_equal_jobs_at_once_are_one_request_of_each_kind() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    for (kind, name, query) in [
        (Kind::Antsomi, "antsomi", json!({"phone": "84907089782"})),
        (Kind::Kapture, "kapture", json!({"phone": "9380491326"})),
    ] {
        road.sandbox
            .fault(kind, "", json!({"latency": "3s"}), None)
            .await;
        let jobs =
            (0..100).map(|n| Job::json(&json!({ "query": query })).id(&format!("{name}-{n}")));
        road.client
            .publish_all("lookup.jobs", &format!("{name}.bulk"), jobs)
            .await;
        let results = road.results(100).await;
        let as_one = |result: &Value| result["status"] == "found" && result["attempts"] == 1;
        assert!(results.values().all(as_one), "{results:?}");
        assert_eq!(road.sandbox.stats(kind).await["lookups"], 1, "{name}");
        let series =
            format!("lookup_provider_requests_total{{outcome=\"found\",provider=\"{name}\"}}");
        assert!(
            (road.worker.metric(&series).await - 1.0).abs() < 0.1,
            "the request is counted once"
        );
        let series = format!("lookup_coalesced_total{{provider=\"{name}\"}}");
        assert!((road.worker.metric(&series).await - 99.0).abs() < 0.1);
    }
}

#[tokio::test]
#[ignore = "measures; takes a minute, or with LOOKUP_BENCH=full nine, and is to run alone"]
async fn how_many_phones_come_out_of_a_quota() {
    let full = std::env::var_os("LOOKUP_BENCH").is_some_and(|value| value == "full");
    let (requests, window, windows) = if full {
        (200, Duration::from_mins(1), 3)
    } else {
        (20, Duration::from_secs(6), 4)
    };
    for (keys, jobs) in [
        ("", 30 * requests * (windows + 2)),
        ("batch = { max_size = 1 }", requests * (windows + 3)),
    ] {
        let vhost = Broker::shared().vhost();
        let jobs = jobs as usize;
        let backlog = Backlog::of(jobs, requests, window, &vhost.url(), keys).await;
        let begun = Instant::now();
        let (a_minute, a_request) = backlog.rates(windows).await;
        println!(
            "{requests} requests in {window:?}, {keys:?}: {a_minute:.0} phones a minute, {a_request:.2} a request"
        );
        println!(
            "  {} answers in the first {:?}",
            backlog.answered().await,
            begun.elapsed()
        );
        println!(
            "  numbers in each of the last requests: {:?}",
            sizes(&backlog.sandbox).await
        );
        let void = backlog.worker.metric("lookup_quota_void_total").await;
        println!("  permissions that came to nothing: {void}");
        let answered = backlog.answered().await as usize;
        backlog.assert_own_answers(answered).await;
    }
}

/// One by one they would take 200 requests within three seconds, and the others would wait for the window's end.
#[tokio::test]
async fn calls_that_come_faster_than_the_quota_lasts_go_in_batches_before_it_is_used_up() {
    const CALLS: usize = 300;
    let (vhost, window) = (Broker::shared().vhost(), Duration::from_mins(1));
    let sandbox = Served::with(|options| options.window = Some(window)).await;
    let quota = "quota = { requests = 200, per = \"1m\" }";
    let config = config(&vhost.url(), &sandbox, "").replace("quota = \"none\"", quota);
    let mut worker = Worker::start(&config);
    worker.wait_ready().await;
    let client = Client::connect(&vhost.url()).await;
    let begun = Instant::now();
    for n in 0..CALLS {
        client
            .publish("lookup.jobs", "antsomi.interactive", job(n))
            .await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let published = begun.elapsed();
    let results = by_job(client.take("lookup.results", CALLS, LONG).await);
    let later = begun.elapsed().saturating_sub(published);
    let longest = results
        .values()
        .filter_map(|result| result["duration_ms"].as_u64())
        .max();
    let sizes = sizes(&sandbox).await;
    println!("{} requests, the longest call {longest:?} ms", sizes.len());
    assert!(later < window / 4, "{later:?} after the last: {sizes:?}");
    assert!(sizes.len() < 150, "{sizes:?}");
}

/// What waits for quota is in the worker's hands, and no less waiting for it.
#[tokio::test]
async fn what_waits_for_quota_is_counted_as_waiting() {
    let vhost = Broker::shared().vhost();
    let keys = "batch = { max_size = 1 }";
    let backlog = Backlog::of(80, 20, Duration::from_mins(1), &vhost.url(), keys).await;
    let told = async |name: &str| {
        let series = format!("{name}{{provider=\"antsomi\"}}");
        backlog.worker.metric(&series).await
    };
    let held = "lookup_jobs_waiting{lane=\"bulk\",provider=\"antsomi\"}";
    let begun = Instant::now();
    while backlog.worker.metric(held).await < 40.0 || told("lookup_backlog_seconds").await < 100.0 {
        assert!(begun.elapsed() < SOON, "{}", backlog.worker.metrics().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let queued = "lookup_jobs_queued{lane=\"bulk\",provider=\"antsomi\"}";
    assert!(
        backlog.worker.metric(queued).await < 0.5,
        "the worker holds all of them"
    );
    let (_, text) = backlog.worker.get("/status.json").await.expect("an answer");
    let status: Value = serde_json::from_str(&text).expect("JSON");
    let antsomi = &status["providers"]["antsomi"];
    assert!(antsomi["held"]["bulk"].as_u64() >= Some(40), "{antsomi}");
    assert!(
        antsomi["backlog_seconds"].as_u64() >= Some(100),
        "{antsomi}"
    );
    let listen = format!("127.0.0.1:{}", backlog.worker.http_port());
    let check = Call::new(&["check"])
        .config(&backlog.config)
        .env("LOOKUP__HTTP__LISTEN", &listen)
        .run()
        .await
        .expect(0);
    let line = check
        .out
        .lines()
        .find(|line| line.contains("backlog antsomi"));
    let line = line.expect("a line of the backlog");
    let waiting = line
        .split_whitespace()
        .find_map(|word| word.parse::<u32>().ok());
    assert!((40..=80).contains(&waiting.unwrap_or(0)), "{line}");
    assert!(
        line.contains("m at one request each") || line.contains("s at one request each"),
        "{line}"
    );
}
