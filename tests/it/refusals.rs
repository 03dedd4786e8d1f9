//! What says nothing of the customer uses up no backlog: refusals, and a token endpoint's odd words.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    commands::Call,
    road::{SOON, by_job},
    scripted::{Scripted, answer, found, page, token},
    waits::{lookup, plume, wait_for_readyz},
    worker::Worker,
};

const BREAKER: &str = "breaker = { failures = 5, cooldown = \"500ms\" }";

fn oauth(token_base: &str) -> String {
    format!(
        "oauth = {{ token_url = \"{token_base}/token\", client_id = \"c\", client_secret = \"s\" }}"
    )
}

async fn publish(client: &Client, jobs: usize) {
    let job = |n| {
        let query = json!({"query": {"account_id": format!("acc-{n}")}});
        Job::json(&query).id(&format!("j-{n}"))
    };
    client
        .publish_all("lookup.jobs", "plume.bulk", (0..jobs).map(job))
        .await;
}

#[tokio::test]
async fn a_provider_that_refuses_everything_takes_no_more_jobs_than_the_limit_and_replay_answers_them()
 {
    const JOBS: usize = 2000;
    let json_type = "Content-Type: application/json\r\n";
    for refusal in [
        page("400 Bad Request"),
        page("200 OK"),
        page("404 Not Found"),
        answer("403 Forbidden", json_type, "{}"),
        answer("401 Unauthorized", json_type, "{}"),
    ] {
        let vhost = Broker::shared().vhost();
        let said = String::from_utf8_lossy(&refusal).into_owned();
        let server = Scripted::start(move |_, _| refusal.clone()).await;
        let config = plume(
            &vhost.url(),
            &server.base,
            &format!("token = \"t\"\n{BREAKER}"),
        );
        let mut worker = Worker::start(&config);
        worker.wait_ready().await;
        let client = Client::connect(&vhost.url()).await;
        publish(&client, JOBS).await;
        wait_for_readyz(&worker, "plume: circuit open").await;
        let refused = by_job(client.take("lookup.results", 20, SOON).await);
        for result in refused.values() {
            assert_eq!(result["status"], "failed", "{said}: {result}");
            assert_eq!(result["error"]["retryable"], false);
        }
        // Some probes more.
        let (before, begun) = (server.asked().len(), Instant::now());
        while server.asked().len() < before + 3 && begun.elapsed() < SOON {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        client.wait_for_depth("lookup.dead", 20, SOON).await;
        assert_eq!(client.depth("lookup.results").await, Some(0), "{said}");

        server.say(|_, _| found());
        client.take("lookup.results", JOBS - 20, 3 * SOON).await;
        let replay = Call::new(&["dead", "replay", "--all"]).config(&config);
        replay.run().await.expect(0);
        let replayed = by_job(client.take("lookup.results", 20, SOON).await);
        assert!(replayed.keys().eq(refused.keys()));
        assert!(replayed.values().all(|result| result["status"] == "found"));
        assert_eq!(client.depth("lookup.dead").await, Some(0));
    }
}

/// A call is not answered sooner than bulk for it, and a batch answers no more of its jobs than one after the other
/// would.
#[tokio::test]
async fn refused_credentials_cost_no_more_jobs_than_the_limit_in_either_lane_and_in_batches() {
    const JOBS: usize = 300;
    let json_type = "Content-Type: application/json\r\n";
    let antsomi = |url: &str, base: &str| {
        plume(url, base, &format!("token = \"t\"\n{BREAKER}"))
            .replace("plume", "antsomi")
            .replace("\"none\"", "{ requests = 60, per = \"1s\" }")
    };
    for (key, query) in [
        ("plume.interactive", "account_id"),
        ("plume.bulk", "account_id"),
        ("antsomi.interactive", "phone"),
        ("antsomi.bulk", "phone"),
    ] {
        let vhost = Broker::shared().vhost();
        let refusal = answer("401 Unauthorized", json_type, "{}");
        let server = Scripted::start(move |_, _| refusal.clone()).await;
        let config = if key.starts_with("plume") {
            plume(
                &vhost.url(),
                &server.base,
                &format!("token = \"t\"\n{BREAKER}"),
            )
        } else {
            antsomi(&vhost.url(), &server.base)
        };
        let mut worker = Worker::start(&config);
        worker.wait_ready().await;
        let client = Client::connect(&vhost.url()).await;
        let job = |n: usize| {
            let body = json!({"query": {query: format!("84907{n:06}")}});
            Job::json(&body).id(&format!("j-{n}"))
        };
        client
            .publish_all("lookup.jobs", key, (0..JOBS).map(job))
            .await;
        let provider = key.split('.').next().expect("a name");
        wait_for_readyz(&worker, &format!("{provider}: circuit open")).await;
        client.wait_for_depth("lookup.dead", 20, SOON).await;
        let (before, begun) = (server.asked().len(), Instant::now());
        while server.asked().len() < before + 3 && begun.elapsed() < SOON {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("{key}: {before} requests until the circuit was open");
        assert_eq!(client.depth("lookup.results").await, Some(20), "{key}");
        assert_eq!(client.depth("lookup.dead").await, Some(20), "{key}");
    }
}

#[tokio::test]
async fn what_the_provider_itself_rejects_is_an_answer_and_no_dead_letter() {
    let vhost = Broker::shared().vhost();
    let json_type = "Content-Type: application/json\r\n";
    let server =
        Scripted::start(move |_, _| answer("422 Unprocessable", json_type, r#"{"message":"no"}"#))
            .await;
    let config = plume(
        &vhost.url(),
        &server.base,
        &format!("token = \"t\"\n{BREAKER}"),
    );
    let mut worker = Worker::start(&config);
    worker.wait_ready().await;
    let client = Client::connect(&vhost.url()).await;
    publish(&client, 50).await;
    let results = by_job(client.take("lookup.results", 50, SOON).await);
    assert!(
        results
            .values()
            .all(|result| result["error"]["kind"] == "rejected")
    );
    assert_eq!(client.depth("lookup.dead").await, Some(0));
}

#[tokio::test]
async fn a_page_at_the_token_endpoint_costs_waiting_and_no_job() {
    for word in [
        page("200 OK"),
        page("404 Not Found"),
        answer("302 Found", "Location: /elsewhere\r\n", ""),
        answer("200 OK", "", ""),
        answer("405 Method Not Allowed", "", "{}"),
    ] {
        let vhost = Broker::shared().vhost();
        let tokens = Scripted::start(move |_, _| word.clone()).await;
        let server = Scripted::start(|_, _| found()).await;
        let keys = format!("{}\n{BREAKER}", oauth(&tokens.base));
        let config = plume(&vhost.url(), &server.base, &keys);
        let mut worker = Worker::start(&config);
        worker.wait_ready().await;
        let client = Client::connect(&vhost.url()).await;
        publish(&client, 500).await;
        wait_for_readyz(&worker, "plume: circuit open").await;
        let (before, begun) = (tokens.asked().len(), Instant::now());
        while tokens.asked().len() < before + 2 && begun.elapsed() < SOON {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(client.depth("lookup.results").await, Some(0));
        tokens.say(|_, _| token("tk"));
        let results = by_job(client.take("lookup.results", 500, 2 * SOON).await);
        assert!(results.values().all(|result| result["status"] == "found"));
        assert_eq!(client.depth("lookup.dead").await, Some(0));
    }
}

/// One lookup without a broker, with tokens from this endpoint.
async fn look_up(tokens: &Scripted, api: &Scripted) -> Value {
    let config = plume("amqp://127.0.0.1", &api.base, &oauth(&tokens.base));
    let query = lookup()["query"].to_string();
    let call = Call::new(&["lookup", "plume", "--query", &query]).config(&config);
    let ran = call.run().await;
    ran.lines().remove(0)
}

#[tokio::test]
async fn a_token_is_taken_from_any_2xx_and_with_an_expiry_that_nobody_can_read() {
    for (status, expiry) in [
        ("201 Created", "3600"),
        ("203 Non-Authoritative", "\"\""),
        ("200 OK", "\"Sun, 29 Nov 2026 01:00:00 GMT\""),
        ("200 OK", "\"soon\""),
        ("200 OK", "null"),
    ] {
        let body = format!(r#"{{"access_token":"tk","expires_in":{expiry}}}"#);
        let tokens = Scripted::start(move |_, _| answer(status, "", &body)).await;
        let api = Scripted::start(|_, head| {
            assert!(head.contains("Bearer tk"), "{head}");
            found()
        })
        .await;
        let result = look_up(&tokens, &api).await;
        assert_eq!(result["status"], "found", "{status}, {expiry}: {result}");
    }
}

#[tokio::test]
async fn a_client_that_the_token_endpoint_refuses_is_unauthorized_at_once() {
    for (status, body) in [
        ("401 Unauthorized", r#"{"error":"invalid_client"}"#),
        ("403 Forbidden", "{}"),
        ("400 Bad Request", r#"{"error":"unauthorized_client"}"#),
        ("200 OK", r#"{"error":"invalid_grant"}"#),
    ] {
        let tokens = Scripted::start(move |_, _| answer(status, "", body)).await;
        let api = Scripted::start(|_, _| found()).await;
        let result = look_up(&tokens, &api).await;
        assert_eq!(result["error"]["kind"], "unauthorized", "{result}");
        assert_eq!((tokens.asked().len(), api.asked().len()), (1, 0));
    }
}

#[tokio::test]
async fn a_refused_token_that_is_handed_out_again_is_asked_for_until_there_is_another() {
    let vhost = Broker::shared().vhost();
    let since = Arc::new(Mutex::new(None::<Instant>));
    // For three seconds after the API began to refuse it, the endpoint hands out the same.
    let tokens = Scripted::start({
        let since = Arc::clone(&since);
        move |_, _| {
            let stale = since.lock().unwrap();
            let is_new = stale.is_some_and(|since| since.elapsed() > Duration::from_secs(3));
            token(if is_new { "new" } else { "old" })
        }
    })
    .await;
    let api = Scripted::start({
        let since = Arc::clone(&since);
        move |_, head| {
            let stale = since.lock().unwrap().is_some();
            if stale && head.contains("Bearer old") {
                answer("401 Unauthorized", "", "{}")
            } else {
                found()
            }
        }
    })
    .await;
    let config = plume(&vhost.url(), &api.base, &oauth(&tokens.base));
    let mut worker = Worker::start(&config);
    worker.wait_ready().await;
    let client = Client::connect(&vhost.url()).await;
    publish(&client, 1).await;
    client.take("lookup.results", 1, SOON).await;
    *since.lock().unwrap() = Some(Instant::now());
    for n in 0..8 {
        let query = json!({"query": {"account_id": format!("acc-{n}")}});
        let job = Job::json(&query).id(&format!("stale-{n}"));
        client.publish("lookup.jobs", "plume.bulk", job).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    let results = by_job(client.take("lookup.results", 8, SOON).await);
    for (id, result) in &results {
        assert_eq!(result["status"], "found", "{id}: {result}");
    }
    let asked = tokens.asked().len();
    assert!(asked <= 8, "{asked} token requests");
    assert_eq!(client.depth("lookup.dead").await, Some(0));
}
