//! A provider's bad hour costs waiting, not jobs, and slows nobody else's.

use std::time::Duration;

use lookup_worker::sandbox::Kind;
use serde_json::json;

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    road::{Road, SOON, Served, config},
    waits::plume,
    worker::Worker,
};

const BREAKER: &str = "breaker = { failures = 3, cooldown = \"300ms\" }\nauth_failure_limit = 5";

fn omeda(customer: &str) -> serde_json::Value {
    json!({"query": {"customer_id": customer}})
}

/// Returns when `/readyz` says so.
async fn wait_for_readyz(worker: &Worker, fits: impl Fn(&str) -> bool) {
    let waited = async {
        while !worker
            .get("/readyz")
            .await
            .is_some_and(|(_, text)| fits(&text))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, waited)
        .await
        .expect("the state to change");
}

async fn road_with_breaker(url: &str) -> Road {
    Road::open_with(url, |config| {
        config.replace(
            "kind = \"antsomi\"",
            &format!("kind = \"antsomi\"\n{BREAKER}"),
        )
    })
    .await
}

#[tokio::test]
async fn while_a_provider_is_dark_its_jobs_wait_in_their_queue_and_none_is_used_up() {
    let vhost = Broker::shared().vhost();
    let road = road_with_breaker(&vhost.url()).await;
    road.sandbox
        .fault(Kind::Antsomi, "8491", json!({"status": 503}), None)
        .await;
    // At once: the first alone would be used up by what one job alone meets.
    let dark =
        |n| Job::json(&json!({"query": {"phone": format!("8491{n:07}")}})).id(&format!("dark-{n}"));
    road.client
        .publish_all("lookup.jobs", "antsomi.bulk", (0..40).map(dark))
        .await;
    wait_for_readyz(&road.worker, |text| {
        text.starts_with("ready") && text.contains("provider antsomi: circuit open")
    })
    .await;
    assert!(
        (road
            .worker
            .metric("lookup_circuit_open{provider=\"antsomi\"}")
            .await
            - 1.0)
            .abs()
            < f64::EPSILON
    );

    // The other provider goes on as if nothing were.
    for n in 0..20 {
        road.publish("omeda", &format!("well-{n}"), &omeda("12345"))
            .await;
    }
    let results = road.results(20).await;
    assert!(
        results
            .iter()
            .all(|(id, result)| id.starts_with("well-") && result["status"] == "found"),
        "{results:?}"
    );

    // Probes alone are spent, many more than a job has attempts, and the jobs are in the queue, not in memory.
    let spent = async || {
        road.sandbox.stats(Kind::Antsomi).await["requests"]
            .as_u64()
            .unwrap()
    };
    let before = spent().await;
    let probes = async {
        while spent().await < before + 6 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, probes).await.expect("probes");
    assert!(road.client.depth("lookup.jobs.antsomi.bulk").await.unwrap() >= 39);

    road.sandbox.clear_faults(Kind::Antsomi).await;
    let results = road.results(40).await;
    assert!(
        results.values().all(|result| result["status"] == "found"),
        "{results:?}"
    );
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
    wait_for_readyz(&road.worker, |text| text == "ready\n").await;
}

#[tokio::test]
async fn a_provider_that_hangs_is_noticed_where_all_deadlines_are_shorter_than_its_timeout() {
    let vhost = Broker::shared().vhost();
    // Connections are made, and nobody reads what comes by them.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let base = format!("http://{}", silent.local_addr().expect("its address"));
    let keys = "token = \"t\"\nbreaker = { failures = 3, cooldown = \"5m\" }";
    let mut worker = Worker::start(&plume(&vhost.url(), &base, keys));
    worker.wait_ready().await;
    let client = Client::connect(&vhost.url()).await;
    for n in 0..4 {
        let call = json!({"query": {"account_id": format!("acc-{n}")}, "deadline_ms": 1500});
        let call = Job::json(&call).id(&format!("call-{n}"));
        client
            .publish("lookup.jobs", "plume.interactive", call)
            .await;
    }
    for result in client.take("lookup.results", 4, SOON).await {
        assert_eq!(result.json()["error"]["kind"], "deadline_exceeded");
    }
    wait_for_readyz(&worker, |text| {
        text.contains("plume: circuit open") && text.contains("(last: timeout)")
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_stops_sends_no_more_probes_and_takes_no_more_jobs_for_them() {
    for quota in [
        "quota = \"none\"",
        "quota = { requests = 1000, per = \"1m\" }",
    ] {
        let vhost = Broker::shared().vhost();
        let mut road = Road::open_with(&vhost.url(), |config| {
            config.replacen("quota = \"none\"", &format!("{quota}\n{BREAKER}"), 1)
        })
        .await;
        road.sandbox
            .fault(Kind::Antsomi, "8491", json!({"status": 503}), None)
            .await;
        for n in 0..20 {
            road.publish(
                "antsomi",
                &format!("dark-{n}"),
                &json!({"query": {"phone": format!("8491{n:07}")}}),
            )
            .await;
        }
        wait_for_readyz(&road.worker, |text| {
            text.contains("provider antsomi: circuit open")
        })
        .await;
        // A job of another provider takes its time, and the stop waits for it.
        road.sandbox
            .fault(Kind::Omeda, "12345", json!({"latency": "4s"}), Some(1))
            .await;
        road.publish("omeda", "slow", &omeda("12345")).await;
        while road.sandbox.stats(Kind::Omeda).await["requests"] != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        road.worker.sigterm();
        wait_for_readyz(&road.worker, |text| text.contains("stopping")).await;
        let (first, mut last) = (road.worker.metrics().await, None);
        while let Some((_, metrics)) = road.worker.get("/metrics").await {
            last = Some(metrics);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(road.worker.wait_exit().await.success());
        let taken = jobs_taken(&last.expect("metrics in the stop")) - jobs_taken(&first);
        // One may have been on its way.
        assert!(
            taken <= 1,
            "{taken} more jobs were taken to probe with, with {quota}"
        );
        assert_eq!(road.results(1).await["slow"]["status"], "found");
        road.client
            .wait_for_depth("lookup.jobs.antsomi.bulk", 20, SOON)
            .await;
        assert_eq!(road.client.depth("lookup.suspect.antsomi").await, Some(0));
    }
}

/// By a worker with these metrics, for antsomi.
fn jobs_taken(metrics: &str) -> u32 {
    let of_antsomi =
        |line: &&str| line.starts_with("lookup_jobs_received_total") && line.contains("antsomi");
    metrics
        .lines()
        .filter(of_antsomi)
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok())
        .sum()
}

#[tokio::test]
async fn credentials_that_stopped_working_use_up_no_more_jobs_than_the_limit() {
    let vhost = Broker::shared().vhost();
    let road = Road::open_with(&vhost.url(), |config| {
        config.replace(
            "kind = \"antsomi\"",
            &format!("kind = \"antsomi\"\nconcurrency = 1\n{BREAKER}"),
        )
    })
    .await;
    road.sandbox
        .fault(Kind::Antsomi, "8491", json!({"status": 403}), None)
        .await;
    for n in 0..30 {
        road.publish(
            "antsomi",
            &format!("refused-{n}"),
            &json!({"query": {"phone": format!("8491{n:07}")}}),
        )
        .await;
    }
    wait_for_readyz(&road.worker, |text| {
        text.contains("refusing the credentials")
    })
    .await;
    let refused = road.results(5).await;
    assert!(
        refused
            .values()
            .all(|result| result["error"]["kind"] == "forbidden"),
        "{refused:?}"
    );
    road.sandbox.clear_faults(Kind::Antsomi).await;
    let rest = road.results(25).await;
    assert!(
        rest.values().all(|result| result["status"] == "found"),
        "{rest:?}"
    );
}

#[tokio::test]
async fn omedas_500_is_never_repeated_quickly() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    road.sandbox
        .fault(Kind::Omeda, "12345", json!({"status": 500}), Some(1))
        .await;
    let begun = std::time::Instant::now();
    let result = road.ask("omeda", &omeda("12345")).await.json();
    assert_eq!(
        (&result["status"], &result["attempts"]),
        (&json!("found"), &json!(2)),
        "{result}"
    );
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "it waited for the first delay step"
    );
}

/// Jobs for antsomi, of which one is answered 429 with `Retry-After` in the middle.
struct Limited {
    sandbox: Served,
    client: Client,
    config: String,
}

/// Longest from an answer of 429 until the last worker heard of it, on a busy machine.
const HEARD: u64 = 1_500;

impl Limited {
    /// Lookups that take a while, few at once.
    async fn open(url: &str) -> Self {
        let sandbox =
            Served::with(|options| options.rates.latency = Duration::from_millis(100)).await;
        let config = config(url, &sandbox, "")
            .replace("quota = \"none\"", "quota = \"none\"\nconcurrency = 8");
        Self {
            client: Client::connect(url).await,
            sandbox,
            config,
        }
    }

    async fn worker(&self) -> Worker {
        let mut worker = Worker::start(&self.config);
        worker.wait_ready().await;
        worker
    }

    /// So many jobs; one of the first is refused.
    async fn publish(&self, jobs: u32, retry_after: u64) {
        let fault = json!({"status": 429, "retry_after": retry_after});
        self.sandbox
            .fault(Kind::Antsomi, "84910000020", fault, Some(1))
            .await;
        let job = |n| {
            Job::json(&json!({"query": {"phone": format!("8491{n:07}")}})).id(&format!("j-{n}"))
        };
        self.client
            .publish_all("lookup.jobs", "antsomi.bulk", (0..jobs).map(job))
            .await;
    }

    /// When each lookup came, in milliseconds from the refused one.
    async fn times(&self) -> Vec<i64> {
        let entries = self.sandbox.requests(Kind::Antsomi).await;
        let refused = entries
            .iter()
            .find(|entry| entry["answer"] == "429")
            .expect("a refused one");
        let at = |entry: &serde_json::Value| entry["at_ms"].as_i64().expect("a time");
        entries
            .iter()
            .map(|entry| at(entry) - at(refused))
            .collect()
    }

    /// Nobody asked anything from when all had heard until the provider's time was over.
    async fn assert_left_alone(&self, retry_after: u64) {
        let times = self.times().await;
        let silence = i64::try_from(HEARD).unwrap()..i64::try_from(retry_after * 1000).unwrap();
        let early: Vec<_> = times
            .iter()
            .filter(|time| silence.contains(*time))
            .collect();
        assert!(early.is_empty(), "lookups at {early:?} ms in {silence:?}");
        assert!(times.iter().any(|time| *time >= silence.end), "it went on");
    }

    async fn assert_all_found(&self, jobs: usize) {
        let results = self.client.take("lookup.results", jobs, 3 * SOON).await;
        assert!(
            results
                .iter()
                .all(|result| result.json()["status"] == "found")
        );
        assert_eq!(self.client.depth("lookup.dead").await, Some(0));
    }
}

#[tokio::test]
async fn a_429_with_retry_after_lets_the_whole_fleet_leave_the_provider_alone_until_then() {
    let vhost = Broker::shared().vhost();
    let limited = Limited::open(&vhost.url()).await;
    let workers = [limited.worker().await, limited.worker().await];
    limited.publish(300, 10).await;
    for worker in &workers {
        wait_for_readyz(worker, |text| {
            text.starts_with("ready") && text.contains("antsomi: paused until")
        })
        .await;
        assert!(worker.metric("lookup_paused{provider=\"antsomi\"}").await >= 1.0);
        assert!(
            worker
                .metric("lookup_circuit_open{provider=\"antsomi\"}")
                .await
                < 1.0,
            "it is no failure"
        );
    }
    // Jobs wait in their queue, not in memory; and one that starts now asks nothing either.
    limited
        .client
        .wait_for_at_least("lookup.jobs.antsomi.bulk", 200, SOON)
        .await;
    let late = limited.worker().await;
    wait_for_readyz(&late, |text| text.contains("antsomi: paused until")).await;
    assert_eq!(limited.client.depth("lookup.pause.antsomi").await, Some(1));

    limited.assert_all_found(300).await;
    limited.assert_left_alone(10).await;
    for worker in workers.iter().chain([&late]) {
        wait_for_readyz(worker, |text| text == "ready\n").await;
        assert!(worker.metric("lookup_paused{provider=\"antsomi\"}").await < 1.0);
    }
    limited
        .client
        .wait_for_depth("lookup.pause.antsomi", 0, SOON)
        .await;
}

#[tokio::test]
async fn a_pause_is_not_forgotten_with_kill_9_of_the_broker() {
    let broker = Broker::start();
    let limited = Limited::open(&broker.url()).await;
    let worker = limited.worker().await;
    broker.write_down();
    limited.publish(100, 40).await;
    wait_for_readyz(&worker, |text| text.contains("antsomi: paused until")).await;
    limited
        .client
        .wait_for_depth("lookup.pause.antsomi", 1, SOON)
        .await;
    broker.kill();
    drop(worker);
    broker.start_again();
    // It was not there when the provider said so.
    let worker = limited.worker().await;
    wait_for_readyz(&worker, |text| text.contains("antsomi: paused until")).await;
    let limited = Limited {
        client: Client::connect(&broker.url()).await,
        ..limited
    };
    limited.assert_all_found(100).await;
    limited.assert_left_alone(40).await;
}

#[tokio::test]
async fn a_short_pause_is_waited_for_in_the_worker_and_a_429_without_retry_after_is_none() {
    let vhost = Broker::shared().vhost();
    let limited = Limited::open(&vhost.url()).await;
    let workers = [limited.worker().await, limited.worker().await];
    limited.publish(100, 2).await;
    limited
        .sandbox
        .fault(
            Kind::Antsomi,
            "84910000090",
            json!({"status": 429}),
            Some(1),
        )
        .await;
    limited.assert_all_found(100).await;
    limited.assert_left_alone(2).await;
    for worker in &workers {
        assert!(
            !worker.log().contains("jobs stay in their queues"),
            "{}",
            worker.log()
        );
    }
    let pauses = limited.client.depth("lookup.pause.antsomi").await;
    assert!(pauses <= Some(1), "{pauses:?}");
}
