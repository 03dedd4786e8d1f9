//! A lookup's jobs over the broker: queues of its own name, steps that are left out, waits that take along what was
//! said.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Cast;
use crate::{
    amqp::{Client, Job},
    broker::{Broker, Vhost},
    commands::Call,
    road::SOON,
    worker::Worker,
};

pub(crate) const RESULTS: &str = "lookup.results";

/// A step of every lookup here, asked by the account's id.
fn step(lookup: &str, provider: &str) -> String {
    format!(
        "[[lookups.{lookup}.steps]]\nprovider = \"{provider}\"\nquery = {{ account_id = \"{{query.account_id}}\" }}\n"
    )
}

pub(crate) fn lookup(name: &str, mode: &str, providers: &[&str]) -> String {
    let steps: String = providers
        .iter()
        .map(|provider| step(name, provider))
        .collect();
    format!(
        "[lookups.{name}]\nmode = \"{mode}\"\ncriteria = [\"account_id\"]\ndeadline = \"3s\"\n{steps}"
    )
}

pub(super) fn job() -> Value {
    json!({"query": {"account_id": "acc-1"}})
}

/// With the broker, and fast retries.
fn whole(url: &str, config: &str) -> String {
    format!(
        "[amqp]\nurl = \"{url}\"\n[retry]\ninitial_delay = \"5ms\"\nmax_delay = \"50ms\"\nmax_attempts = 2\n\
         delays = [\"1s\", \"5s\", \"1m\"]\n{config}"
    )
}

/// A worker on a virtual host of its own.
pub(super) struct Road {
    vhost: Vhost<'static>,
    pub client: Client,
    pub worker: Worker,
}

impl Road {
    pub async fn open(config: &str) -> Self {
        let vhost = Broker::shared().vhost();
        let url = vhost.url();
        let mut worker = Worker::start(&whole(&url, config));
        worker.wait_ready().await;
        let client = Client::connect(&url).await;
        Self {
            vhost,
            client,
            worker,
        }
    }

    pub async fn ask(&self, key: &str, id: &str, body: &Value) -> Value {
        self.publish(key, id, body).await;
        self.client.take(RESULTS, 1, SOON).await.remove(0).json()
    }

    fn config_of(&self, config: &str) -> String {
        whole(&self.url(), config)
    }

    pub fn url(&self) -> String {
        self.vhost.url()
    }

    pub async fn publish(&self, key: &str, id: &str, body: &Value) {
        let job = Job::json(body).id(id);
        self.client.publish("lookup.jobs", key, job).await;
    }
}

pub(crate) fn statuses(result: &Value) -> Vec<String> {
    let steps = result["steps"].as_array().expect("steps");
    let word = |step: &Value| {
        let why = step["reason"].as_str().or_else(|| step["error"].as_str());
        let status = step["status"].as_str().expect("a status");
        why.map_or_else(|| status.to_owned(), |why| format!("{status} {why}"))
    };
    steps.iter().map(word).collect()
}

#[tokio::test]
async fn a_lookup_has_queues_lanes_and_metrics_of_its_own_name() {
    let cast = Cast::start().await;
    let config = cast.provider("a", "none", "")
        + &cast.provider("b", "found", "")
        + &lookup("caller", "first", &["a", "b"]);
    let road = Road::open(&config).await;
    for (key, lane) in [
        ("caller", "bulk"),
        ("caller.bulk", "bulk"),
        ("caller.interactive", "interactive"),
    ] {
        let result = road.ask(key, key, &job()).await;
        assert_eq!(result["status"], "found", "{result:#}");
        assert_eq!(result["provider"], "caller");
        assert_eq!(result["answered_by"], "b");
        assert_eq!(result["customers"][0]["source"], "b");
        assert_eq!(result["attempts"], 2);
        assert_eq!(statuses(&result), ["not_found", "found"]);
        let received = format!("lookup_jobs_received_total{{lane=\"{lane}\",provider=\"caller\"}}");
        assert!(road.worker.metric(&received).await >= 1.0);
    }
    for (provider, status) in [("a", "not_found"), ("b", "found")] {
        let series = format!(
            "lookup_step_results_total{{lookup=\"caller\",provider=\"{provider}\",status=\"{status}\"}}"
        );
        assert!((road.worker.metric(&series).await - 3.0).abs() < 0.1);
    }
    for lane in ["interactive", "bulk"] {
        let queue = format!("lookup.jobs.caller.{lane}");
        assert_eq!(road.client.depth(&queue).await, Some(0), "{queue}");
    }
}

#[tokio::test]
async fn what_no_step_takes_is_no_job_and_options_are_raw_alone() {
    let cast = Cast::start().await;
    let config = cast.provider("a", "found", "") + &lookup("caller", "first", &["a"]);
    let road = Road::open(&config).await;
    for (number, (body, named)) in [
        (json!({"query": {}}), "query"),
        (json!({"query": {"account_id": null}}), "query"),
        (json!({"query": []}), "query"),
        (json!({"query": {"phone": "1"}}), "query.phone"),
        (json!({"query": {"account_id": "null"}}), "query.account_id"),
        (json!({"query": {"account_id": 7}}), "query.account_id"),
        (
            json!({"query": {"account_id": "a"}, "options": {"exact_match": true}}),
            "options.exact_match",
        ),
        (
            json!({"query": {"account_id": "a"}, "options": {"raw": 1}}),
            "options.raw",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let result = road.ask("caller", &number.to_string(), &body).await;
        assert_eq!(result["error"]["kind"], "invalid_job", "{body}: {result:#}");
        let message = result["error"]["message"].as_str().expect("a message");
        assert!(message.contains(named), "{named}: {message}");
    }
    let letters = road.client.depth("lookup.dead").await;
    assert_eq!(letters, Some(8), "what is no job is a dead letter too");
    assert_eq!(cast.requests_of("a"), 0);
    let raw = json!({"query": {"account_id": "a"}, "options": {"raw": true}});
    let result = road.ask("caller", "raw", &raw).await;
    assert_eq!(result["raw"]["a"][0]["id"], "c-1", "{result:#}");
}

/// Why the first provider cannot be asked.
struct Obstacle {
    part: &'static str,
    keys: &'static str,
    /// Jobs of its own that bring it about.
    heralds: usize,
    told: &'static str,
}

#[tokio::test]
async fn a_call_whose_first_provider_is_paused_dark_or_out_of_quota_is_answered_by_the_second_at_once()
 {
    for Obstacle {
        part,
        keys,
        heralds,
        told,
    } in [
        Obstacle {
            part: "429",
            keys: "quota = \"none\"",
            heralds: 1,
            told: "skipped paused",
        },
        Obstacle {
            part: "503",
            keys: "quota = \"none\"\nbreaker = { failures = 3, cooldown = \"5m\" }",
            heralds: 6,
            told: "skipped circuit_open",
        },
        Obstacle {
            part: "found",
            keys: "quota = { requests = 1, per = \"10m\" }",
            heralds: 1,
            told: "skipped quota",
        },
        Obstacle {
            part: "found",
            keys: "quota = { requests = 1, per = \"10m\", scope = \"worker\" }",
            heralds: 1,
            told: "skipped quota",
        },
    ] {
        let cast = Cast::start().await;
        let config = cast.provider("a", part, keys)
            + &cast.provider("b", "found", "quota = \"none\"")
            + &lookup("caller", "first", &["a", "b"])
            + &lookup("alone", "first", &["a"]);
        let road = Road::open(&config).await;
        for n in 0..heralds {
            let body = json!({"query": {"account_id": format!("herald-{n}")}, "deadline_ms": 2000});
            road.publish("a.interactive", &format!("h{n}"), &body).await;
        }
        if part == "found" {
            road.client.take(RESULTS, 1, SOON).await;
        } else {
            let trouble = async {
                while !road
                    .worker
                    .get("/readyz")
                    .await
                    .is_some_and(|(_, text)| text.contains("provider a"))
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(SOON, trouble).await.expect(told);
            // What was brought about is answered by its own deadline.
            road.client.take(RESULTS, heralds, SOON).await;
        }
        let alone = road.ask("b.interactive", "b", &job()).await["duration_ms"]
            .as_u64()
            .expect("ms");
        // A busy machine may keep one of them waiting.
        let mut least = u64::MAX;
        for n in 0..5 {
            let result = road
                .ask("caller.interactive", &format!("call-{n}"), &job())
                .await;
            assert_eq!(statuses(&result), [told, "found"], "{result:#}");
            assert_eq!(result["incomplete"], true, "{result:#}");
            least = least.min(result["duration_ms"].as_u64().expect("ms"));
        }
        assert!(least <= alone + 50, "{told}: {least} ms, alone {alone} ms");
        let failed = road.ask("alone.interactive", "alone", &job()).await;
        assert_eq!(failed["error"]["kind"], "provider_error", "{failed:#}");
        assert_eq!(failed["error"]["retryable"], true);
        let letter = road.client.take("lookup.dead", 1, SOON).await.remove(0);
        assert_eq!(
            letter.header("x-lookup-error").as_deref(),
            Some("provider_error")
        );
    }
}

/// Returns when `/readyz` says something of the provider `a`, or nothing any more.
async fn wait_for_trouble(road: &Road, is_told: bool) {
    let waited = async {
        loop {
            let (_, text) = road.worker.get("/readyz").await.unwrap_or_default();
            if text.contains("provider a") == is_told {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(SOON, waited).await;
    assert!(waited.is_ok(), "{}", road.worker.log());
}

#[tokio::test]
async fn a_bulk_job_waits_for_a_provider_but_not_beyond_its_deadline() {
    for (part, keys, error) in [
        ("429", "quota = \"none\"", "rate_limited"),
        (
            "503",
            "quota = \"none\"\nbreaker = { failures = 3, cooldown = \"5m\" }",
            "provider_error",
        ),
        (
            "found",
            "quota = { requests = 1, per = \"10m\" }",
            "rate_limited",
        ),
    ] {
        let cast = Cast::start().await;
        let config = cast.provider("a", part, keys)
            + &cast.provider("b", "found", "quota = \"none\"")
            + &lookup("caller", "first", &["a", "b"]);
        let road = Road::open(&config).await;
        let heralds = if part == "503" { 6 } else { 1 };
        for n in 0..heralds {
            let body = json!({"query": {"account_id": format!("herald-{n}")}, "deadline_ms": 2000});
            road.publish("a.interactive", &format!("h{n}"), &body).await;
        }
        if part != "found" {
            wait_for_trouble(&road, true).await;
        }
        road.client.take(RESULTS, heralds, SOON).await;
        let timed = json!({"query": {"account_id": "acc-1"}, "deadline_ms": 3000});
        let result = road.ask("caller.bulk", "timed", &timed).await;
        let failed = format!("failed {error}");
        assert_eq!(statuses(&result), [&*failed, "found"], "{result:#}");
        assert!(
            result["duration_ms"].as_u64().expect("ms") < 1500,
            "{result:#}"
        );
        // Without a deadline it waits.
        road.publish("caller.bulk", "patient", &job()).await;
        let none = road
            .client
            .take_up_to(RESULTS, 1, Duration::from_secs(2))
            .await;
        assert!(none.is_empty(), "{:#}", none[0].json());
    }
}

#[tokio::test]
async fn a_bulk_job_does_not_wait_in_vain_for_a_quota_that_another_worker_used() {
    let cast = Cast::start().await;
    let config = cast.provider("a", "found", "quota = { requests = 1, per = \"60s\" }")
        + &cast.provider("b", "found", "quota = \"none\"")
        + &lookup("caller", "first", &["a", "b"])
        + &lookup("all", "merge", &["a", "b"]);
    let mut road = Road::open(&config).await;
    road.ask("a.interactive", "herald", &job()).await;
    // Its successor knows nothing of what it used.
    road.worker.sigterm();
    road.worker.wait_exit().await;
    road.worker.start_again();
    road.worker.wait_ready().await;
    let body = json!({"query": {"account_id": "acc-1"}, "deadline_ms": 3000});
    for key in ["caller.bulk", "all.bulk"] {
        let result = road.ask(key, key, &body).await;
        assert_eq!(
            statuses(&result),
            ["failed rate_limited", "found"],
            "{result:#}"
        );
        assert!(
            result["duration_ms"].as_u64().expect("ms") < 1500,
            "{result:#}"
        );
    }
}

#[tokio::test]
async fn a_half_open_circuit_takes_a_step_as_its_probe() {
    let cast = Cast::start().await;
    let keys = "quota = \"none\"\nbreaker = { failures = 3, cooldown = \"1s\" }";
    let config = cast.provider("a", "recovers", keys)
        + &cast.provider("b", "none", "quota = \"none\"")
        + &lookup("caller", "first", &["a", "b"]);
    let road = Road::open(&config).await;
    for n in 0..3 {
        let body = json!({"query": {"account_id": format!("herald-{n}")}, "deadline_ms": 500});
        road.publish("a.interactive", &format!("h{n}"), &body).await;
    }
    road.client.take(RESULTS, 3, SOON).await;
    wait_for_trouble(&road, true).await;
    let dark = road.ask("caller.interactive", "dark", &job()).await;
    assert_eq!(statuses(&dark), ["skipped circuit_open", "not_found"]);
    let half_open = async {
        while road
            .worker
            .metric("lookup_circuit_half_open{provider=\"a\"}")
            .await
            < 1.0
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, half_open)
        .await
        .expect("half-open");
    cast.recover();
    let result = road.ask("caller.interactive", "probe", &job()).await;
    assert_eq!(statuses(&result), ["found"], "{result:#}");
    wait_for_trouble(&road, false).await;
}

#[tokio::test]
async fn the_answer_is_on_its_way_before_the_deadline_with_what_is_known() {
    let cast = Cast::start().await;
    let config = cast.provider("a", "lacking", "")
        + &cast.provider("b", "slow", "")
        + &cast.provider("c", "found", "")
        + &lookup("caller", "first", &["a", "b", "c"]).replacen(
            "}\n",
            "}\nwanted = [\"name\"]\n",
            1,
        )
        + &lookup("slow", "merge", &["b", "c"]);
    let road = Road::open(&config).await;
    let body = json!({"query": {"account_id": "acc-1"}, "deadline_ms": 200});
    let result = road.ask("caller.bulk", "first", &body).await;
    assert_eq!(
        statuses(&result),
        ["found", "failed deadline_exceeded", "skipped deadline"],
        "{result:#}"
    );
    assert_eq!(
        (&result["status"], &result["answered_by"]),
        (&json!("found"), &json!("a"))
    );
    assert_eq!(result["incomplete"], true);
    assert!(
        result["duration_ms"].as_u64().expect("ms") <= 200,
        "{result:#}"
    );

    let over = json!({"query": {"account_id": "acc-1"}, "deadline": "2020-01-01T00:00:00Z"});
    let late = road.ask("caller.interactive", "late", &over).await;
    assert_eq!(late["error"]["kind"], "deadline_exceeded", "{late:#}");
    assert_eq!(late["attempts"], 0);
}

#[tokio::test]
async fn of_a_race_the_first_wins_and_within_prefer_for_the_earliest_in_the_order() {
    let cast = Cast::start().await;
    let config = cast.provider("a", "found", "")
        + &cast.provider("b", "found", "")
        + &lookup("preferred", "race", &["a", "b"])
            .replace("race\"", "race\"\nprefer_for = \"5s\"");
    let road = Road::open(&config).await;
    for n in 0..5 {
        let result = road.ask("preferred", &n.to_string(), &job()).await;
        assert_eq!(result["answered_by"], "a", "{result:#}");
        assert_eq!(statuses(&result), ["found"], "the loser is not told of");
        assert!(result["incomplete"].is_null() && result["attempts"] == 1);
    }
}

#[tokio::test]
async fn a_chain_asks_for_as_many_customers_as_fan_out_says_a_row_each() {
    let cast = Cast::start().await;
    let chain = |name: &str, more: &str| {
        format!(
            "[lookups.{name}]\nmode = \"chain\"\ncriteria = [\"account_id\"]\n{more}\n{}[[lookups.{name}.steps]]\n\
             provider = \"b\"\nquery = {{ account_id = \"{{customer.customer_id}}\" }}\n",
            step(name, "a")
        )
    };
    let config = cast.provider("a", "two", "")
        + &cast.provider("b", "found", "")
        + &chain("one", "")
        + &chain("more", "fan_out = 5");
    let road = Road::open(&config).await;
    for (key, rows) in [("one", 2), ("more", 3)] {
        let result = road.ask(key, key, &job()).await;
        assert_eq!(statuses(&result), vec!["found"; rows], "{result:#}");
        let customers = result["customers"].as_array().expect("customers");
        assert_eq!(customers.len(), 2, "nobody is lost: {result:#}");
        assert!(result["incomplete"].is_null(), "{result:#}");
        assert_eq!(
            customers[0]["name"], "Ann of a",
            "the first step's field wins"
        );
        assert_eq!(customers[0]["locations"], json!([{"id": "a"}, {"id": "b"}]));
        assert_eq!(customers[1]["name"], "Ben");
        assert_eq!(
            customers[1]["locations"].is_array(),
            rows == 3,
            "{result:#}"
        );
    }
}

/// A bulk job that has heard of `a`, and waits in the broker for `b`.
async fn parked(road: &Road) {
    road.publish("caller.bulk", "parked", &job()).await;
    let held = "lookup_unsettled_bytes{queue=\"lookup.delay.5s";
    let parked = async {
        while road.worker.metric(held).await < 1.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, parked)
        .await
        .expect("it is parked");
}

fn two_of_which_the_second_is_away(cast: &Cast) -> String {
    // The second asks to be left alone for a minute: bulk waits for it, in the broker.
    cast.provider("a", "lacking", "quota = \"none\"")
        + &cast.provider("b", "later", "quota = \"none\"")
        + &lookup("caller", "first", &["a", "b"]).replacen("}\n", "}\nwanted = [\"name\"]\n", 1)
}

#[tokio::test]
async fn a_step_whose_answer_was_parked_is_not_asked_again_after_a_kill() {
    let cast = Cast::start().await;
    let mut road = Road::open(&two_of_which_the_second_is_away(&cast)).await;
    parked(&road).await;
    assert_eq!(cast.requests_of("a"), 1);
    for _ in 0..3 {
        road.worker.kill9();
        road.worker.start_again();
        road.worker.wait_ready().await;
    }
    let result = road.client.take(RESULTS, 1, SOON).await.remove(0).json();
    assert_eq!(statuses(&result), ["found", "found"], "{result:#}");
    assert_eq!(result["answered_by"], "b", "{result:#}");
    assert_eq!(
        cast.requests_of("a"),
        1,
        "what was parked was not asked again"
    );
    assert_eq!(result["steps"][1]["attempts"], 2, "{result:#}");
    assert_eq!(result["attempts"], 3, "{result:#}");
    drop(road.vhost);
}

#[tokio::test]
async fn what_a_step_said_is_no_other_step_s_answer_where_the_configuration_was_changed_meanwhile()
{
    let cast = Cast::start().await;
    let providers = cast.provider("a", "none", "quota = \"none\"")
        + &cast.provider("b", "later", "quota = \"none\"")
        + &cast.provider("c", "found", "quota = \"none\"");
    let before = lookup("caller", "first", &["a", "b"]);
    for (number, after) in [
        lookup("caller", "first", &["c", "a", "b"]),
        lookup("caller", "first", &["c", "b"]),
        lookup("caller", "first", &["c"]),
        before
            .replace("account_id = \"{query", "name = \"{query")
            .replace("\"a\"", "\"c\""),
    ]
    .into_iter()
    .enumerate()
    {
        let cast_again = Cast::start().await;
        let providers = cast_again.like(&cast, &providers);
        let mut road = Road::open(&(providers.clone() + &before)).await;
        parked(&road).await;
        road.worker.sigterm();
        road.worker.wait_exit().await;
        road.worker
            .configure(&road.config_of(&(providers + &after)));
        road.worker.start_again();
        let result = road.client.take(RESULTS, 1, SOON).await.remove(0).json();
        assert_eq!(result["answered_by"], "c", "{number}: {result:#}");
        assert_eq!(statuses(&result), ["found"], "{number}: {result:#}");
    }
}

#[tokio::test]
async fn of_two_steps_that_wait_each_is_asked_again_when_it_is_due_and_not_before() {
    let cast = Cast::start().await;
    let config = cast.provider("a", "later", "quota = \"none\"")
        + &cast.provider("b", "much-later", "quota = \"none\"")
        + &lookup("all", "merge", &["a", "b"]);
    let road = Road::open(&config).await;
    let result = road.ask("all.bulk", "both", &job()).await;
    assert_eq!(statuses(&result), ["found", "found"], "{result:#}");
    assert_eq!(result["attempts"], 4, "{result:#}");
    let (first, second) = (cast.pause_of("a"), cast.pause_of("b"));
    assert!(first >= Duration::from_secs(3), "{first:?}");
    assert!(
        second >= Duration::from_secs(6),
        "Retry-After is obeyed: {second:?}"
    );
}

/// So many jobs of two steps, each with a quota of so many requests in two seconds.
async fn assert_both_quotas_hold(jobs: usize, requests: [usize; 2]) {
    const PER: Duration = Duration::from_secs(2);
    let cast = Cast::start().await;
    let of = |requests| {
        format!("quota = {{ requests = {requests}, per = \"2s\" }}\ncache = {{ ttl = \"0s\" }}")
    };
    let config = cast.provider("a", "none", &of(requests[0]))
        + &cast.provider("b", "found", &of(requests[1]))
        + &lookup("caller", "first", &["a", "b"]);
    let road = Road::open(&config).await;
    let job = |n| {
        let body = json!({"query": {"account_id": format!("acc-{n}")}});
        Job::json(&body).id(&format!("j{n}"))
    };
    let all = (0..jobs).map(job);
    road.client
        .publish_for_sure("lookup.jobs", "caller.bulk", all)
        .await;
    let begun = Instant::now();
    let bound = Duration::from_secs(jobs as u64 / 20).max(3 * SOON);
    for result in road.client.take(RESULTS, jobs, bound).await {
        let result = result.json();
        assert_eq!(statuses(&result), ["not_found", "found"], "{result:#}");
    }
    let took = begun.elapsed();
    for (provider, requests) in [("a", requests[0]), ("b", requests[1])] {
        let asked = cast.times_of(provider);
        assert_eq!(asked.len(), jobs);
        let least = asked
            .windows(requests + 1)
            .map(|window| window[requests] - window[0])
            .min();
        let least = least.expect("more jobs than the quota allows at once");
        let used = jobs as f64 / (requests as f64 * took.div_duration_f64(PER));
        println!(
            "{jobs} jobs in {took:.1?}: {provider} had {} requests in {least:.3?} at least, {used:.2} of its quota used",
            requests + 1
        );
        assert!(least >= PER, "{provider}: too many in {least:?}");
    }
}

#[tokio::test]
async fn a_backlog_of_two_steps_holds_the_quota_of_both() {
    assert_both_quotas_hold(60, [20, 20]).await;
}

#[tokio::test]
#[ignore = "half a minute; `cargo test --test it -- --ignored ten_thousand_jobs_of_two_steps --nocapture`"]
async fn ten_thousand_jobs_of_two_steps_hold_the_quota_of_both() {
    assert_both_quotas_hold(10_000, [1000, 800]).await;
}

#[tokio::test]
async fn a_call_does_not_wait_for_a_silent_provider_as_long_as_it_has_time_for_all() {
    // One server answers one request after the other.
    let (cast, silent, tardy) = (
        Cast::start().await,
        Cast::start().await,
        Cast::start().await,
    );
    let config = silent.provider("silent", "silent", "quota = \"none\"")
        + &tardy.provider("tardy", "tardy", "quota = \"none\"")
        + &cast.provider("none", "none", "quota = \"none\"")
        + &cast.provider("b", "found", "quota = \"none\"")
        + &lookup("one", "first", &["silent", "b"])
        + &lookup("two", "first", &["tardy", "none"]);
    let road = Road::open(&config).await;
    let mut body = job();
    body["deadline_ms"] = 3500.into();
    let result = road.ask("one.interactive", "one", &body).await;
    let told = ["failed deadline_exceeded", "found"];
    assert_eq!(statuses(&result), told, "{result:#}");
    assert_eq!(result["answered_by"], "b", "{result:#}");
    assert_eq!(result["incomplete"], true, "{result:#}");
    // One that is slow is answered by, where nobody after it finds anybody.
    let result = road.ask("two.interactive", "two", &body).await;
    assert_eq!(statuses(&result), ["found", "not_found"], "{result:#}");
    assert_eq!(result["answered_by"], "tardy", "{result:#}");
    assert!(result["incomplete"].is_null(), "{result:#}");
}

#[tokio::test]
async fn a_step_of_a_chain_may_use_what_any_step_before_it_found() {
    let cast = Cast::start().await;
    let step = |provider: &str, query: &str| {
        format!("[[lookups.known.steps]]\nprovider = \"{provider}\"\nquery = {{ {query} }}\n")
    };
    let config = cast.provider("a", "found", "quota = \"none\"")
        + &cast.provider("b", "lacking", "quota = \"none\"")
        + &cast.provider("c", "found", "quota = \"none\"")
        + "[lookups.known]\nmode = \"chain\"\ncriteria = [\"account_id\"]\n"
        + &step("a", "account_id = \"{query.account_id}\"")
        + &step("b", "account_id = \"{customer.account_id}\"")
        + &step("c", "name = \"{customer.name}\"");
    let road = Road::open(&config).await;
    let result = road.ask("known.bulk", "known", &job()).await;
    assert_eq!(statuses(&result), ["found", "found", "found"], "{result:#}");
}

#[tokio::test]
async fn nothing_of_what_was_said_stands_in_a_header_or_a_dead_letter() {
    let cast = Cast::start().await;
    let mut road = Road::open(&two_of_which_the_second_is_away(&cast)).await;
    parked(&road).await;
    road.worker.kill9();
    let message = road.client.take("lookup.delay.5s", 1, SOON).await.remove(0);
    let tail = message.header("x-lookup-tail").expect("a length");
    let length: usize = tail
        .strip_prefix("1:")
        .expect("a version")
        .parse()
        .expect("a length");
    let body = job().to_string();
    assert_eq!(message.body.len(), body.len() + length);
    assert!(message.body.starts_with(body.as_bytes()));
    let headers = format!("{:?}", message.properties);
    assert!(
        !headers.contains("c-1") && !headers.contains("acc-1"),
        "{headers}"
    );
    assert!(!road.worker.log().contains("acc-1"));
}

#[tokio::test]
async fn what_a_later_version_wrote_is_put_back_whole() {
    let cast = Cast::start().await;
    let config = cast.provider("a", "found", "") + &lookup("caller", "first", &["a"]);
    let mut road = Road::open(&config).await;
    let body = job().to_string() + "something of tomorrow";
    let message = Job::new(body.clone())
        .id("tomorrow")
        .header("x-lookup-tail", "2:21");
    road.client
        .publish("lookup.jobs", "caller.bulk", message)
        .await;
    road.worker.wait_for_log("a later version wrote", 1).await;
    road.worker.sigterm();
    road.worker.wait_exit().await;
    let message = road.client.take("lookup.delay.1m", 1, SOON).await.remove(0);
    assert_eq!(message.body, body.as_bytes());
    assert_eq!(message.header("x-lookup-tail").as_deref(), Some("2:21"));
    assert_eq!(cast.requests_of("a"), 0);
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn death_at_each_point_of_a_job_of_two_steps_loses_none() {
    let cast = Cast::start().await;
    let config = cast.provider("a", "none", "quota = \"none\"")
        + &cast.provider("b", "found", "quota = \"none\"")
        + &lookup("caller", "first", &["a", "b"]);
    let mut road = Road::open(&config).await;
    road.worker.kill9();
    for n in 0..200 {
        let body = json!({"query": {"account_id": format!("acc-{n}")}});
        road.publish("caller.bulk", &format!("j{n}"), &body).await;
    }
    for point in ["taken", "stepped", "looked_up", "replaced", "acknowledged"] {
        for nth in [1, 31] {
            road.worker.start_to_fail(&format!("{point}:kill:{nth}"));
            assert!(
                !road.worker.wait_exit().await.success(),
                "it dies at {point}"
            );
        }
    }
    road.worker.start_again();
    let mut results = std::collections::BTreeMap::new();
    let end = Instant::now() + SOON;
    while results.len() < 200 && Instant::now() < end {
        for result in road
            .client
            .take_up_to(RESULTS, 200, Duration::from_millis(500))
            .await
        {
            let id = result.properties.message_id().clone();
            let result = result.json();
            let job = result["job_id"].as_str().expect("an id").to_owned();
            assert_eq!(statuses(&result), ["not_found", "found"], "{result:#}");
            let before = results.insert(job.clone(), id.clone());
            assert!(
                before.is_none_or(|before| before == id),
                "{job}: repeats bear one id"
            );
        }
    }
    assert_eq!(results.len(), 200);
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_between_the_steps_loses_no_job() {
    let cast = Cast::start().await;
    let broker = Broker::start();
    let url = broker.url();
    let mut worker = Worker::start(&format!(
        "[amqp]\nurl = \"{url}\"\n{}{}{}",
        cast.provider("a", "none", "quota = \"none\"\nconcurrency = 4"),
        cast.provider("b", "found", "quota = { requests = 60, per = \"1s\" }"),
        lookup("caller", "first", &["a", "b"])
    ));
    worker.wait_ready().await;
    let client = Client::connect(&url).await;
    for n in 0..150 {
        let body = json!({"query": {"account_id": format!("acc-{n}")}});
        let job = Job::json(&body).id(&format!("j{n}"));
        client.publish("lookup.jobs", "caller.bulk", job).await;
    }
    client.wait_for_at_least(RESULTS, 20, SOON).await;
    broker.write_down();
    broker.kill();
    broker.start_again();
    worker.wait_ready().await;
    let client = Client::connect(&url).await;
    let mut answered = std::collections::BTreeSet::new();
    let end = Instant::now() + 3 * SOON;
    while answered.len() < 150 && Instant::now() < end {
        let wait = Duration::from_millis(500);
        for result in client.take_up_to(RESULTS, 200, wait).await {
            let result = result.json();
            assert_eq!(result["status"], "found", "{result:#}");
            answered.insert(result["job_id"].to_string());
        }
    }
    assert_eq!(answered.len(), 150);
    assert_eq!(client.depth("lookup.dead").await, Some(0));
}

#[tokio::test]
async fn check_tells_what_a_lookup_costs_of_each_quota() {
    let cast = Cast::start().await;
    let config = cast.provider("a", "found", "quota = { requests = 100, per = \"1m\" }")
        + &cast.provider("b", "found", "quota = \"none\"")
        + &lookup("caller", "race", &["a", "b"]);
    let road = Road::open(&config).await;
    let url = road.vhost.url();
    let call = Call::new(&["check"]).config(&format!("[amqp]\nurl = \"{url}\"\n{config}"));
    let ran = call.run().await.expect(0);
    let line = ran
        .out
        .lines()
        .find(|line| line.contains("lookup caller"))
        .unwrap_or_else(|| panic!("{ran:?}"));
    for part in [
        "race",
        "a",
        "b",
        "1 request each of a (100 per 1m) and of b (no quota)",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
