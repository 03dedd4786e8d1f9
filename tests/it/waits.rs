//! How long a provider asks to be left alone, by whatever clock and in whatever form; and pauses by hand.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    commands::Call,
    road::{SOON, by_job},
    scripted::{Scripted, answer, found},
    worker::Worker,
};

/// A worker's configuration: plume at this address, without a quota.
pub fn plume(url: &str, base: &str, keys: &str) -> String {
    format!(
        "[amqp]\nurl = \"{url}\"\n[retry]\ninitial_delay = \"5ms\"\nmax_delay = \"50ms\"\nmax_attempts = 4\n\
         delays = [\"1s\", \"5s\", \"10m\"]\n[providers.plume]\nkind = \"plume\"\nbase_url = \"{base}\"\n\
         quota = \"none\"\n{keys}\n"
    )
}

const TOKEN: &str = "token = \"t\"";

pub fn lookup() -> Value {
    json!({"query": {"account_id": "acc-1"}})
}

async fn started(config: &str) -> Worker {
    let mut worker = Worker::start(config);
    worker.wait_ready().await;
    worker
}

/// Returns when `/readyz` says this of a provider.
pub async fn wait_for_readyz(worker: &Worker, said: &str) {
    let waited = async {
        while !worker
            .get("/readyz")
            .await
            .is_some_and(|(_, text)| text.contains(said))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let within = tokio::time::timeout(SOON, waited).await;
    assert!(within.is_ok(), "{said}: {}", worker.log());
}

fn limited(headers: &str) -> Vec<u8> {
    let body = r#"{"message":"slow down"}"#;
    answer("429 Too Many Requests", headers, body)
}

fn date(after: i64, form: &str) -> String {
    let then = Timestamp::now() + SignedDuration::from_secs(after);
    jiff::fmt::strtime::format(form, then).expect("a date")
}

/// `lookup` at a provider whose first answer is this; how long it waited before it asked again, and what it said.
async fn waited(first: Vec<u8>, keys: &str) -> (Duration, String) {
    let server = Scripted::start(move |number, _| match number {
        0 => first.clone(),
        _ => found(),
    })
    .await;
    let config = plume(
        "amqp://127.0.0.1",
        &server.base,
        &format!("{TOKEN}\n{keys}"),
    );
    let query = r#"{"account_id":"acc-1"}"#;
    let call = Call::new(&["lookup", "plume", "--query", query]).config(&config);
    let ran = call.run().await.expect(0);
    (server.pauses()[0], ran.err)
}

#[tokio::test]
async fn retry_after_is_obeyed_in_every_form_that_servers_and_proxies_write() {
    let two = Duration::from_secs(2)..Duration::from_secs(15);
    let gmt = |after| date(after, "%a, %d %b %Y %H:%M:%S GMT");
    let by_clock = |ahead| {
        let (now, then) = (gmt(ahead), gmt(ahead + 3));
        format!("Date: {now}\r\nRetry-After: {then}\r\n")
    };
    // Each is written when it is sent: a date does not wait.
    let forms: [&dyn Fn() -> String; 8] = [
        &|| "Retry-After: 2, 2\r\n".to_owned(),
        &|| "Retry-After: 2\r\nRetry-After: 3\r\n".to_owned(),
        &|| "Retry-After: soon\r\nRetry-After: 1.2\r\n".to_owned(),
        &|| format!("Retry-After: {}\r\n", gmt(4)),
        &|| {
            let zoned = date(4, "%a, %d %b %Y %H:%M:%S +0000");
            format!("Retry-After: {zoned}\r\n")
        },
        &|| format!("Retry-After: {}\r\n", date(4, "%Y-%m-%dT%H:%M:%SZ")),
        &|| by_clock(3600),
        &|| by_clock(-3600),
    ];
    for form in forms {
        let headers = form();
        let (wait, said) = waited(limited(&headers), "").await;
        assert!(two.contains(&wait), "{headers}: {wait:?}\n{said}");
    }
}

#[tokio::test]
async fn a_retry_after_that_is_no_wait_is_passed_over_and_said_once() {
    let (wait, said) = waited(limited("Retry-After: 2s\r\n"), "").await;
    assert!(wait < Duration::from_secs(2), "{wait:?}");
    assert_eq!(said.matches("Retry-After is no wait").count(), 1, "{said}");
}

#[tokio::test]
async fn an_absurd_wait_counts_as_max_pause_and_the_warning_gives_the_value() {
    let epoch = Timestamp::now().as_second();
    for value in [
        epoch.to_string(),
        format!("{epoch}000"),
        "9".repeat(40),
        "Fri, 31 Dec 9999 23:59:59 GMT".to_owned(),
    ] {
        for status in ["429 Too Many Requests", "503 Service Unavailable"] {
            let first = answer(status, &format!("Retry-After: {value}\r\n"), "{}");
            let (wait, said) = waited(first, "max_pause = \"2s\"").await;
            let bounds = Duration::from_secs(2)..Duration::from_secs(15);
            assert!(bounds.contains(&wait), "{value}: {wait:?}");
            assert!(said.contains(&value), "{value}: {said}");
        }
    }
}

#[tokio::test]
async fn whoever_waits_before_a_terminal_is_told() {
    let (_, said) = waited(limited("Retry-After: 3\r\n"), "").await;
    assert!(said.contains("waiting 3s for the next attempt"), "{said}");
}

#[tokio::test]
async fn an_absurd_pause_ends_by_itself_at_all_workers_and_a_restart_tells_its_true_end() {
    let vhost = Broker::shared().vhost();
    let server = Scripted::start(|number, _| match number {
        0 => limited(&format!(
            "Retry-After: {}\r\n",
            Timestamp::now().as_second() + 2
        )),
        _ => found(),
    })
    .await;
    let keys = format!("{TOKEN}\nmax_pause = \"15s\"");
    let config = plume(&vhost.url(), &server.base, &keys);
    let mut worker = started(&config).await;
    let client = Client::connect(&vhost.url()).await;
    let begun = Timestamp::now();
    for n in 0..5 {
        let job = Job::json(&lookup()).id(&format!("j-{n}"));
        client.publish("lookup.jobs", "plume.bulk", job).await;
    }
    wait_for_readyz(&worker, "plume: paused until about").await;
    client.wait_for_depth("lookup.pause.plume", 1, SOON).await;
    worker.kill9();
    let worker = started(&config).await;
    wait_for_readyz(&worker, "plume: paused until about").await;
    let (_, text) = worker.get("/readyz").await.expect("an answer");
    let (_, end) = text.split_once("until about ").expect("an end");
    let end: Timestamp = end[..20].parse().expect("a time");
    let lasts = end.duration_since(begun).as_secs();
    assert!((13..=17).contains(&lasts), "{lasts} s: {text}");

    let check = Call::new(&["check"]).config(&config).run().await;
    let line = check
        .out
        .lines()
        .find(|line| line.contains("pause plume"))
        .unwrap_or_else(|| panic!("{check:?}"));
    assert!(
        line.contains("until about") && line.contains("429") && line.contains("resume plume"),
        "{line}"
    );

    let results = by_job(client.take("lookup.results", 5, 3 * SOON).await);
    assert!(
        results.values().all(|result| result["status"] == "found"),
        "{results:?}"
    );
    assert!(server.pauses()[0] >= Duration::from_secs(14));
}

/// Parks a job for three seconds by a clock that is so far ahead.
async fn park(client: &Client, id: &str, ahead_ms: i64, received_ms: i64, body: Value) {
    let at = Timestamp::now().as_millisecond() + ahead_ms;
    let number = |name: &str, value: i64| (name.to_owned(), value.to_string());
    let headers = [
        number("x-lookup-parked-at", at),
        number("x-lookup-due-at", at + 3000),
        number("x-lookup-received-at", received_ms),
        number("x-lookup-attempts", 1),
    ];
    let job = headers.iter().fold(
        Job::json(&body)
            .id(id)
            .header("x-lookup-routing-key", "plume.bulk"),
        |job, (name, value)| job.number_header(name, value),
    );
    client.publish("", "lookup.delay.5s", job).await;
}

#[tokio::test]
async fn a_job_that_was_parked_by_a_wrong_clock_waits_as_long_as_it_was_parked_for() {
    let vhost = Broker::shared().vhost();
    let server = Scripted::start(|_, _| found()).await;
    let config = plume(&vhost.url(), &server.base, TOKEN);
    let _worker = started(&config).await;
    let client = Client::connect(&vhost.url()).await;
    for ahead in [0, 3_600_000, -3_600_000] {
        let (begun, now) = (Instant::now(), Timestamp::now().as_millisecond());
        let mut body = lookup();
        body["deadline_ms"] = 60_000.into();
        park(&client, "own", ahead, now + ahead - 500, body.clone()).await;
        // Received by a clock an hour behind: nobody would have parked it.
        park(&client, "another's", ahead, now - 3_600_000, body).await;
        let results = by_job(client.take("lookup.results", 2, SOON).await);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(2900), "{ahead}: {took:?}");
        for result in results.values() {
            assert_eq!(result["status"], "found", "{ahead}: {result}");
            assert_eq!(result["attempts"], 2);
            let duration = result["duration_ms"].as_u64().expect("a time");
            assert!((2900..60_000).contains(&duration), "{ahead}: {result}");
        }
    }
}

#[tokio::test]
async fn a_deadline_counts_from_the_first_receipt_also_behind_a_wait_by_a_wrong_clock() {
    let vhost = Broker::shared().vhost();
    let server = Scripted::start(|_, _| found()).await;
    let _worker = started(&plume(&vhost.url(), &server.base, TOKEN)).await;
    let client = Client::connect(&vhost.url()).await;
    for ahead in [0, 3_600_000, -3_600_000] {
        let now = Timestamp::now().as_millisecond();
        let mut body = lookup();
        // One second old, three to wait: none is left.
        body["deadline_ms"] = 4000.into();
        park(&client, "late", ahead, now + ahead - 1000, body).await;
        let result = client.take("lookup.results", 1, SOON).await[0].json();
        assert_eq!(result["error"]["kind"], "deadline_exceeded", "{result}");
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_person_pauses_and_resumes_a_provider_at_all_workers_and_those_that_start_later() {
    let vhost = Broker::shared().vhost();
    let server = Scripted::start(|_, _| found()).await;
    let config = plume(&vhost.url(), &server.base, TOKEN);
    let workers = [started(&config).await, started(&config).await];
    let client = Client::connect(&vhost.url()).await;
    let told = Call::new(&["pause", "plume"]).config(&config).run().await;
    assert!(told.expect(0).out.contains("until it is resumed"));
    let by_hand = "plume: paused until it is resumed";
    for worker in &workers {
        wait_for_readyz(worker, by_hand).await;
    }
    let late = started(&config).await;
    wait_for_readyz(&late, by_hand).await;
    for n in 0..20 {
        let job = Job::json(&lookup()).id(&format!("j-{n}"));
        client.publish("lookup.jobs", "plume.bulk", job).await;
    }
    let check = Call::new(&["check"]).config(&config).run().await;
    assert!(check.out.contains("until it is resumed"), "{check:?}");

    // The last command counts, and leaves nothing of the one before.
    let told = Call::new(&["pause", "plume", "--for", "10m"])
        .config(&config)
        .run()
        .await;
    assert!(told.expect(0).out.contains("until about"));
    for worker in workers.iter().chain([&late]) {
        wait_for_readyz(worker, "plume: paused until about").await;
    }
    client.wait_for_depth("lookup.pause.plume", 1, SOON).await;
    assert!(server.asked().is_empty());
    assert_eq!(client.depth("lookup.jobs.plume.bulk").await, Some(20));

    let told = Call::new(&["resume", "plume"]).config(&config).run().await;
    told.expect(0);
    client.take("lookup.results", 20, SOON).await;
    for worker in workers.iter().chain([&late]) {
        wait_for_readyz(worker, "ready\n").await;
    }
    let text = late.get("/readyz").await.expect("an answer").1;
    assert_eq!(text, "ready\n");
    client.wait_for_depth("lookup.pause.plume", 0, SOON).await;

    let told = Call::new(&["pause", "nobody"]).config(&config).run().await;
    assert!(told.expect(2).err.contains("expected one of plume"));
}

#[tokio::test]
async fn a_providers_own_pause_is_ended_by_hand_for_what_is_parked_too() {
    let vhost = Broker::shared().vhost();
    let server = Scripted::start(|number, _| match number {
        0 => limited("Retry-After: 500\r\n"),
        _ => found(),
    })
    .await;
    let config = plume(&vhost.url(), &server.base, TOKEN);
    let worker = started(&config).await;
    let client = Client::connect(&vhost.url()).await;
    for n in 0..3 {
        let job = Job::json(&lookup()).id(&format!("j-{n}"));
        client.publish("lookup.jobs", "plume.bulk", job).await;
    }
    wait_for_readyz(&worker, "plume: paused until about").await;
    worker
        .wait_for_log("a job waits for its next attempt", 1)
        .await;
    let told = Call::new(&["resume", "plume"]).config(&config).run().await;
    told.expect(0);
    let results = by_job(client.take("lookup.results", 3, SOON).await);
    assert!(results.values().all(|result| result["status"] == "found"));
}
