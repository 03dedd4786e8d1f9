//! The provider's own count: what its answers say is left lowers what the fleet spends, and nothing else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use lookup_worker::sandbox::{CountForm, Kind};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    road::{SOON, Served, config},
    scripted::{Scripted, answer},
    waits::{plume, wait_for_readyz},
    worker::Worker,
};

const KEYS: &str = "token = \"t\"\nquota = { requests = 1000, per = \"1m\" }";

/// A worker of plume at this address; with `keys` besides.
fn toml(url: &str, base: &str, keys: &str) -> String {
    let config = plume(url, base, &format!("{KEYS}\n{keys}"));
    config.replacen("quota = \"none\"\n", "", 1)
}

/// A customer, with these headers.
fn found(headers: &str) -> Vec<u8> {
    let body = r#"[{"id":"p1","accountId":"acc-1","name":"Ann","locations":[{"id":"l1"}]}]"#;
    let headers = format!("Content-Type: application/json\r\n{headers}");
    answer("200 OK", &headers, body)
}

/// Jobs that are asked one by one: equal ones would share a request.
async fn publish(client: &Client, lane: &str, jobs: std::ops::Range<u32>) {
    let job = |n: u32| {
        let query = json!({"query": {"account_id": format!("acc-{n}")}});
        Job::json(&query).id(&format!("j-{n}"))
    };
    let key = format!("plume.{lane}");
    client.publish_all("lookup.jobs", &key, jobs.map(job)).await;
}

async fn workers(count: usize, toml: &str) -> Vec<Worker> {
    let mut workers: Vec<_> = (0..count).map(|_| Worker::start(toml)).collect();
    for worker in &mut workers {
        worker.wait_ready().await;
    }
    workers
}

#[tokio::test]
async fn where_none_is_left_every_worker_waits_for_the_windows_end_and_says_so() {
    let vhost = Broker::shared().vhost();
    let server = Scripted::start(|number, _| match number {
        0 => {
            found("X-RateLimit-Limit: 1000\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 6\r\n")
        }
        _ => found(""),
    })
    .await;
    let fleet = workers(2, &toml(&vhost.url(), &server.base, "")).await;
    let client = Client::connect(&vhost.url()).await;
    publish(&client, "interactive", 0..1).await;
    client.wait_for_depth("lookup.results", 1, SOON).await;
    // Whoever did not ask has heard of it: a word goes ten times a second.
    tokio::time::sleep(Duration::from_millis(500)).await;
    publish(&client, "interactive", 1..9).await;
    let said = async |worker: &Worker| wait_for_readyz(worker, "its own count holds us back").await;
    tokio::join!(said(&fleet[0]), said(&fleet[1]));
    let holds = "lookup_quota_provider_holds{provider=\"plume\"}";
    let told = fleet[0].metric(holds).await + fleet[1].metric(holds).await;
    assert!((told - 2.0).abs() < f64::EPSILON);
    let (_, status) = fleet[0].get("/status.json").await.expect("an answer");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let shown = &status["providers"]["plume"];
    assert_eq!(shown["state"], "ready", "{status}");
    assert!(shown["quota"]["held"]["trouble"].is_string(), "{status}");
    client.wait_for_depth("lookup.results", 9, SOON).await;
    let wait = server.pauses()[0];
    let bounds = Duration::from_millis(5900)..Duration::from_secs(12);
    assert!(bounds.contains(&wait), "{wait:?}");
    assert_eq!(server.asked().len(), 9, "one each, and none was refused");
}

#[tokio::test]
async fn headers_are_named_by_the_configuration_or_passed_over() {
    let vhost = Broker::shared().vhost();
    let both = "X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 60\r\nX-Left: 0\r\nX-Ends: 3\r\n";
    let server = Scripted::start(move |number, _| match number {
        0 => found(both),
        _ => found(""),
    })
    .await;
    let own = "count = { remaining = \"X-Left\", reset = \"X-Ends\", as = \"seconds\" }";
    let named = workers(1, &toml(&vhost.url(), &server.base, own)).await;
    let client = Client::connect(&vhost.url()).await;
    publish(&client, "interactive", 0..1).await;
    client.wait_for_depth("lookup.results", 1, SOON).await;
    publish(&client, "interactive", 1..2).await;
    client.wait_for_depth("lookup.results", 2, SOON).await;
    let wait = server.pauses()[0];
    let bounds = Duration::from_millis(2900)..Duration::from_secs(15);
    assert!(bounds.contains(&wait), "{wait:?}\n{}", named[0].log());
    drop(named);

    let none = workers(1, &toml(&vhost.url(), &server.base, "count = \"none\"")).await;
    server.say(move |_, _| found(both));
    publish(&client, "interactive", 2..6).await;
    client.wait_for_depth("lookup.results", 6, SOON).await;
    let (_, text) = none[0].get("/readyz").await.expect("an answer");
    assert_eq!(text, "ready\n");
}

#[tokio::test]
async fn a_count_that_is_wrong_is_passed_over_after_three_windows_with_a_word_in_the_log() {
    let vhost = Broker::shared().vhost();
    let server = Scripted::start(|_, _| {
        found("RateLimit: \"a\";r=0;t=1\r\nRateLimit-Policy: \"a\";q=100;w=1\r\n")
    })
    .await;
    let toml = toml(&vhost.url(), &server.base, "");
    let toml = toml.replacen("requests = 1000", "requests = 100000", 1);
    let fleet = workers(2, &toml).await;
    let client = Client::connect(&vhost.url()).await;
    let both = async {
        let said = "says again and again that no request is left";
        tokio::join!(
            fleet[0].wait_for_log(said, 1),
            fleet[1].wait_for_log(said, 1)
        );
    };
    tokio::pin!(both);
    // Whoever passes it over takes what comes; there is always more for the other.
    let mut published = 0;
    loop {
        publish(&client, "bulk", published..published + 50).await;
        published += 50;
        if timeout(Duration::from_millis(200), &mut both).await.is_ok() {
            break;
        }
    }
    client
        .wait_for_depth("lookup.results", published, SOON)
        .await;
}

#[tokio::test]
async fn the_sandbox_says_what_is_left_in_each_form() {
    for (form, header, value) in [
        (CountForm::Seconds, "x-ratelimit-remaining", "4"),
        (CountForm::Ietf, "ratelimit-policy", "\"all\";q=5;w=60"),
        (CountForm::Epoch, "x-ratelimit-limit", "5"),
    ] {
        let sandbox = Served::with(|options| {
            options.rate_limits = [(Kind::Omeda, "5/1m".parse().expect("a limit"))].into();
            (options.count, options.fixed_windows) = (Some(form), true);
        })
        .await;
        let second = Second::of(&sandbox);
        let answer = second.ask(0).await;
        let said = answer.headers()[header].to_str().expect("text");
        assert_eq!(said, value, "{answer:?}");
    }
}

/// Another client with the same token.
struct Second {
    client: reqwest::Client,
    base: String,
}

impl Second {
    fn of(sandbox: &Served) -> Self {
        let client = reqwest::Client::builder().no_proxy().build();
        Self {
            client: client.expect("a client"),
            base: sandbox.base(Kind::Omeda).to_owned(),
        }
    }

    async fn ask(&self, number: u32) -> reqwest::Response {
        let url = format!(
            "{}/webservices/rest/brand/FOO/customer/8493{number:07}/phone/*",
            self.base
        );
        let request = self.client.get(url);
        let request = request.header("x-omeda-appid", "sandbox-omeda-app-id");
        request.send().await.expect("the sandbox")
    }

    /// Asks so often a second, at random moments, until told; how many were served, and how many refused.
    async fn use_it(self, rate: f64, stop: Arc<AtomicBool>) -> (u32, u32) {
        let (mut served, mut refused, mut next) = (0, 0, Instant::now());
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep_until(next.into()).await;
            let pause = -rand::random_range(f64::MIN_POSITIVE..1.0_f64).ln() / rate;
            next += Duration::from_secs_f64(pause);
            match self.ask(served + refused).await.status().as_u16() {
                429 => refused += 1,
                _ => served += 1,
            }
        }
        (served, refused)
    }
}

/// Beside a second client: the part of our requests that are refused, and the part that we use of what it leaves.
#[tokio::test]
#[ignore = "measures, for a quarter of an hour; run it alone"]
async fn what_is_refused_and_used_beside_a_second_client() {
    for (requests, per, others, workers) in [
        (200_u32, 20_u64, 0.4, 1),
        (200, 20, 0.4, 3),
        (50, 10, 0.4, 3),
    ] {
        measure(requests, per, others, workers).await;
    }
}

async fn measure(requests: u32, per: u64, others: f64, count: usize) {
    let windows = 12;
    let (vhost, per) = (Broker::shared().vhost(), Duration::from_secs(per));
    let sandbox = Served::with(|options| {
        let limit = format!("{requests}/{}s", per.as_secs());
        options.rate_limits = [(Kind::Omeda, limit.parse().expect("a limit"))].into();
        (options.count, options.fixed_windows) = (Some(CountForm::Seconds), true);
        options.rates.latency = Duration::from_millis(20);
        options.rates.jitter = Duration::from_millis(80);
    })
    .await;
    let quota = format!(
        "quota = {{ requests = {requests}, per = \"{}s\" }}",
        per.as_secs()
    );
    let toml = config(&vhost.url(), &sandbox, "")
        .replace("[providers.omeda]", &format!("[providers.omeda]\n{quota}"));
    let fleet = workers(count, &toml).await;
    let client = Client::connect(&vhost.url()).await;
    let job = |n: u32| {
        let query = json!({"query": {"customer_id": 84_910_000_000_u64 + u64::from(n)}});
        Job::json(&query).id(&format!("j-{n}"))
    };
    let jobs = (0..requests * (windows + 2)).map(job);
    client.publish_all("lookup.jobs", "omeda.bulk", jobs).await;
    let stop = Arc::<AtomicBool>::default();
    let rate = others * f64::from(requests) / per.as_secs_f64();
    let second = tokio::spawn(Second::of(&sandbox).use_it(rate, Arc::clone(&stop)));
    tokio::time::sleep(per * windows).await;
    stop.store(true, Ordering::Relaxed);
    let (served, refused) = second.await.expect("the second client");
    let stats = sandbox.stats(Kind::Omeda).await;
    let number = |key: &str| u32::try_from(stats[key].as_u64().expect("a number")).expect("few");
    let ours = number("lookups") - served - refused;
    let ours_refused = number("rejected_by_rate_limit") - refused;
    let left = requests * windows - served;
    println!(
        "{requests} per {per:?}, {count} workers, a second client at {others}: {ours} requests of ours, {ours_refused} \
         refused; {:.3} of what was left is used; of the second client's {served} were served, {refused} refused",
        f64::from(ours - ours_refused) / f64::from(left)
    );
    drop(fleet);
}
