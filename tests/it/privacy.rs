//! Private by construction: tokens, numbers, addresses and names are planted wherever somebody else writes, and
//! looked for in everything that comes out, at level trace.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    amqp::{Client, Job, Received},
    broker::Broker,
    collector::Collector,
    commands::Call,
    road::SOON,
    worker::Worker,
};

const PHONE: &str = "84907089782";
const EMAIL: &str = "ada.lovelace@example.com";
const NAME: &str = "Ada Lovelace";

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A part of each of them, and of every secret, however it is written; in lower case.
const PLANTED: [&str; 4] = ["907089782", "907 089 782", "lovelace", "hunter2"];

/// The secret of one key, in clear and as `client:secret` in Base64.
fn secret(of: &str) -> String {
    format!("hunter2-{of}")
}

/// Nothing of what was planted is in there.
#[track_caller]
fn assert_private(what: &str, text: &str) {
    let lower = text.to_lowercase();
    for planted in PLANTED
        .into_iter()
        .map(str::to_owned)
        .chain(["client:hunter2-egain", "client:hunter2-plume"].map(base64))
    {
        let Some(at) = lower.find(&planted.to_lowercase()) else {
            continue;
        };
        let from = lower.floor_char_boundary(at.saturating_sub(300));
        let to = lower.ceil_char_boundary((at + 100).min(lower.len()));
        panic!("{what} tells {planted}: …{}…", &lower[from..to]);
    }
}

fn base64(text: &str) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
    BASE64_STANDARD_NO_PAD.encode(text)
}

/// Answers that speak of a person, and of the token that let the request in, wherever an answer can.
fn answers() -> Vec<String> {
    let words = format!(
        "{NAME} <{EMAIL}> +84 907 089 782 {PHONE} {}",
        secret("echoed")
    );
    let json = json!({
        words.as_str(): words, "code": words, "status": words, "message": words, "error": words, "data": words,
        "error_description": words, "Errors": [{"Error": words, words.as_str(): words}], "Customer Details": words,
        "developerMessage": words, "userMessage": words, "details": [{"message": words}], "customer": words,
    });
    let of = |head: &str, body: &str| {
        format!(
            "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let mut answers: Vec<String> = [400, 401, 403, 404, 406, 408, 422, 429, 500, 503]
        .into_iter()
        .map(|status| of(&format!("{status} {words}"), &json.to_string()))
        .collect();
    answers.extend([
        of("200 OK", &json.to_string()),
        of("200 OK", &words),
        of("200 OK", &format!("{{\"code\":200,\"data\":{{\"entries\":[{{\"{words}\":\"{words}\"}}],\"{words}\":1}}}}")),
        of("200 OK", &format!("{{\"code\":500,\"message\":\"429 {words}\"}}")),
        of("200 OK", &format!("[{{\"{words}\":\"{words}\"}},\"{words}\"]")),
        of("404 Not Found", &words),
        of(&format!("302 Found\r\nLocation: http://127.0.0.1:1/{PHONE}?name={EMAIL}"), ""),
        of(&format!("429 Too Many\r\nRetry-After: {EMAIL}"), ""),
        of(&format!("200 OK\r\nContent-Encoding: {EMAIL}"), "{}"),
        of(&format!("200 OK\r\n{words}"), "{}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {PHONE}\r\n\r\n{words}"),
        format!("{words}\r\n\r\n"),
        String::new(),
    ]);
    answers
}

/// A provider that gives one of these answers after the other, and tokens at `/token`.
async fn talkative() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let next = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let next = Arc::clone(&next);
            tokio::spawn(async move {
                let mut head = vec![0; 16 * 1024];
                let length = stream.read(&mut head).await.unwrap_or(0);
                let asked = String::from_utf8_lossy(&head[..length]).into_owned();
                let answer = if asked.starts_with("POST /token") {
                    let token = json!({"access_token": secret("token"), "token_type": "Bearer", "expires_in": 3600});
                    let token = token.to_string();
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{token}",
                        token.len()
                    )
                } else {
                    let answers = answers();
                    answers[next.fetch_add(1, Ordering::SeqCst) % answers.len()].clone()
                };
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    base
}

/// Every kind at `base`, a secret of each sort; the provider `locked` is refused its token, `away` cannot be reached.
fn config(url: &str, base: &str, more: &str) -> String {
    let oauth = |of: &str, path: &str| {
        format!(
            "oauth = {{ token_url = \"{base}{path}\", client_id = \"client\", client_secret = \"{}\" }}",
            secret(of)
        )
    };
    let token = |of: &str| format!("token = \"{}\"", secret(of));
    let providers = [
        (
            "antsomi",
            "antsomi",
            token("antsomi") + "\nquota = \"none\"",
        ),
        (
            "omeda",
            "omeda",
            format!("brand = \"FOO\"\napp_id = \"{}\"", secret("omeda")),
        ),
        ("kapture", "kapture", token("kapture")),
        ("egain", "egain", oauth("egain", "/token")),
        (
            "plume",
            "plume",
            oauth("plume", "/token") + "\nquota = \"none\"",
        ),
        ("locked", "egain", oauth("locked", "/locked")),
    ];
    let mut text = format!(
        "[amqp]\nurl = \"{url}\"\n[retry]\nmax_attempts = 1\n[log]\nlevel = \"trace\"\n{more}\n"
    );
    for (name, kind, keys) in providers {
        let keys =
            format!("kind = \"{kind}\"\nauth_failure_limit = 100000\ntimeout = \"5s\"\n{keys}");
        let _ = write!(
            text,
            "[providers.{name}]\nbase_url = \"{base}\"\n{keys}\nbreaker.failures = 100000\n"
        );
    }
    text + &format!(
        "[providers.away]\nkind = \"antsomi\"\nbase_url = \"http://127.0.0.1:1\"\n{}\nbreaker.failures = 100000\n",
        token("away")
    )
}

/// Jobs that are none or ask for somebody, each provider's own.
fn jobs() -> Vec<(String, Job)> {
    let queries = [
        ("antsomi", json!({"phone": PHONE})),
        ("omeda", json!({"customer_id": PHONE})),
        ("kapture", json!({"email": EMAIL, "phone": PHONE})),
        ("egain", json!({"phone": PHONE, "email": EMAIL})),
        ("plume", json!({"name": NAME, "email": EMAIL})),
        ("locked", json!({"phone": PHONE})),
        ("away", json!({"phone": PHONE})),
    ];
    let mut jobs = Vec::new();
    for (provider, query) in queries {
        // Each answer for each kind; equal questions would share one.
        for n in 0..answers().len() {
            let query = match provider {
                "omeda" => json!({"customer_id": format!("{PHONE}{n}")}),
                "plume" => json!({"name": format!("{NAME} {n}"), "email": EMAIL}),
                "kapture" | "egain" => json!({"phone": format!("{PHONE}{n}"), "email": EMAIL}),
                _ => json!({"phone": format!("{PHONE}{n}")}),
            };
            let body = json!({"query": query, "context": {NAME: [EMAIL, PHONE]}, "options": {"raw": true}});
            jobs.push((provider.to_owned(), Job::json(&body)));
        }
        let bodies = [
            json!({"query": {PHONE: EMAIL}}),
            json!({"query": [NAME]}),
            json!({"query": NAME}),
            json!({"query": {"phone": {EMAIL: NAME}, "customer_id": {EMAIL: NAME}, "email": [EMAIL]}}),
            json!({"query": {"phone": NAME, "customer_id": EMAIL, "account_id": EMAIL, "email": PHONE}}),
            json!({"query": query, "options": {NAME: EMAIL}}),
            json!({"query": query, "options": {"raw": NAME, "limit": EMAIL, "operator": NAME, "extra": PHONE}}),
            json!({"query": query, EMAIL: PHONE}),
            json!({"query": query, "deadline": NAME}),
            json!({"query": query, "deadline_ms": EMAIL}),
            json!({"query": query, "lane": EMAIL}),
            json!({"query": query, "provider": EMAIL}),
            json!(NAME),
            json!([EMAIL]),
        ];
        jobs.extend(
            bodies
                .iter()
                .map(|body| (provider.to_owned(), Job::json(body))),
        );
        let broken = [
            format!("{{\"query\": {EMAIL}"),
            NAME.into(),
            format!("{{\"query\":{{}},\"query\":\"{PHONE}\"}}"),
        ];
        jobs.extend(
            broken
                .into_iter()
                .map(|body| (provider.to_owned(), Job::new(body))),
        );
    }
    let asked = |n: usize| Job::json(&json!({"query": {"phone": format!("{PHONE}9{n}")}}));
    jobs.extend([
        (PHONE.to_owned(), asked(0)),
        (format!("{EMAIL}.bulk"), asked(1)),
        (format!("antsomi.{NAME}"), asked(2)),
        (
            "antsomi".into(),
            asked(4).reply_to(&format!("lookup.jobs.{NAME}")),
        ),
        ("antsomi".into(), asked(5).correlation_id(EMAIL)),
        (
            "antsomi".into(),
            asked(6).with(|it| it.with_type(NAME.into()).with_app_id(EMAIL.into())),
        ),
        (
            "antsomi".into(),
            asked(7)
                .header("traceparent", NAME)
                .header("x-caller", EMAIL),
        ),
        (
            "antsomi".into(),
            asked(8)
                .header("x-lookup-attempts", PHONE)
                .header("x-lookup-caller", NAME),
        ),
        (
            "antsomi".into(),
            asked(9)
                .header("x-lookup-error", NAME)
                .header("x-lookup-message", EMAIL),
        ),
        (
            format!("{PHONE}.interactive"),
            asked(10)
                .correlation_id(PHONE)
                .header(EMAIL, PHONE)
                .header(PHONE, NAME),
        ),
        (
            format!("{NAME}.{EMAIL}"),
            Job::new(NAME).correlation_id(EMAIL),
        ),
        (
            format!("antsomi.{PHONE}"),
            asked(11).header("x-lookup-routing-key", EMAIL),
        ),
        (
            "antsomi".into(),
            asked(12).with(|it| {
                it.with_content_type(NAME.into())
                    .with_content_encoding(EMAIL.into())
            }),
        ),
        // It is none. A well-formed one goes along as it came: whoever writes it must keep it free of people.
        (
            "antsomi".into(),
            asked(13)
                .header("traceparent", TRACEPARENT)
                .header("tracestate", &format!("{NAME} {EMAIL}")),
        ),
    ]);
    jobs
}

/// Jobs whose results are dead letters, since nobody is where they are to go.
fn undeliverable() -> Vec<(String, Job)> {
    let asked = |n: usize| Job::json(&json!({"query": {"phone": format!("{PHONE}7{n}")}}));
    let mut jobs = vec![
        ("antsomi".to_owned(), asked(0).reply_to(EMAIL)),
        (
            PHONE.to_owned(),
            asked(1).reply_to(PHONE).correlation_id(NAME),
        ),
        (
            "antsomi".into(),
            asked(2).reply_to(&format!("amq.rabbitmq.reply-to.{NAME}")),
        ),
    ];
    jobs.push((
        format!("{EMAIL}.bulk"),
        Job::new(NAME).reply_to(&format!("{NAME}.{PHONE}")),
    ));
    jobs
}

/// Our own words among a dead letter's headers. The routing key is the job's own, and needed to send it back; so is
/// what the sender wrote in headers of ours that mean nothing there.
fn own_headers(letter: &Received) -> String {
    let names = [
        "x-lookup-error",
        "x-lookup-asks-for",
        "x-lookup-message",
        "x-lookup-attempts",
        "x-lookup-died-at",
        "x-lookup-status",
    ];
    let own = names.map(|name| (name, letter.header(name).unwrap_or_default()));
    format!("{:?}", BTreeMap::from(own))
}

async fn nothing_private_comes_out(format: &str) {
    let (vhost, collector, base) = (
        Broker::shared().vhost(),
        Collector::start().await,
        talkative().await,
    );
    let traces = collector.config(&format!(
        "headers = \"authorization=Bearer {}\"\n",
        secret("collector")
    ));
    let config = config(
        &vhost.url(),
        &base,
        &format!("format = \"{format}\"\n{traces}"),
    );
    // Where it is built with failpoints, it panics at one job with words of a person.
    let failpoint = [("FAILPOINT", &*format!("looked_up:panic of {NAME}:id=job-0"))];
    let mut worker = Worker::start_under(&config, &failpoint);
    worker.wait_ready().await;
    let client = Client::connect(&vhost.url()).await;
    let (jobs, undeliverable) = (jobs(), undeliverable());
    let (count, lost) = (jobs.len(), undeliverable.len());
    for (n, (key, job)) in jobs.into_iter().chain(undeliverable).enumerate() {
        client
            .publish("lookup.jobs", &key, job.id(&format!("job-{n}")))
            .await;
    }
    let results = client.take_up_to("lookup.results", count, SOON * 3).await;
    assert_eq!(results.len(), count, "{}", worker.log());
    worker
        .wait_for_log("the result is in the dead-letter queue", lost)
        .await;
    for result in &results {
        let text = String::from_utf8_lossy(&result.body).to_lowercase();
        for of in [
            "antsomi", "omeda", "kapture", "egain", "plume", "locked", "away", "token",
        ] {
            assert!(
                !text.contains(&secret(of)),
                "a result tells the secret of {of}: {text}"
            );
        }
    }
    // Where none was asked: the words are ours alone.
    for result in results
        .iter()
        .map(Received::json)
        .filter(|result| result["attempts"] == 0)
    {
        assert_private("an error", &result["error"].to_string());
    }
    let kinds: Vec<Value> = results
        .iter()
        .map(|result| result.json()["error"]["kind"].clone())
        .collect();
    for kind in [
        "invalid_job",
        "bad_response",
        "rejected",
        "unauthorized",
        "connection",
        "unknown_provider",
    ] {
        assert!(
            kinds.contains(&json!(kind)),
            "{kind} is among what happened"
        );
    }
    for page in ["/metrics", "/readyz", "/livez", "/", "/status.json"] {
        assert_private(page, &worker.get(page).await.unwrap().1);
    }
    let call = |arguments: &[&str]| Call::new(arguments).config(&config).run();
    for arguments in [
        &["check"][..],
        &["check", "--json"],
        &["dead", "list"],
        &["dead", "list", "--json"],
        &["dead", "show", "--all"],
        &["dead", "show", "--all", "--json"],
    ] {
        let ran = call(arguments).await;
        assert!(!ran.out.is_empty(), "{arguments:?}: {ran:?}");
        assert_private(&arguments.join(" "), &format!("{}{}", ran.out, ran.err));
    }
    let letters = client.depth("lookup.dead").await.unwrap();
    for letter in client
        .take("lookup.dead", letters.try_into().unwrap(), SOON)
        .await
    {
        assert_private("a dead letter's headers", &own_headers(&letter));
    }
    worker.sigterm();
    assert!(worker.wait_exit().await.success());
    let log = worker.log();
    assert!(log.matches("a job failed").count() > count / 2, "{log}");
    assert!(cfg!(not(feature = "failpoints")) || log.contains("something panicked"));
    assert_private("standard error", &log);
    assert!(collector.spans().len() > count);
    assert_private("a span", &format!("{:?}", collector.batches()));
}

#[tokio::test]
async fn nothing_private_comes_out_with_logs_as_text() {
    nothing_private_comes_out("text").await;
}

#[tokio::test]
async fn nothing_private_comes_out_with_logs_as_json() {
    nothing_private_comes_out("json").await;
}

#[tokio::test]
async fn a_broker_that_refuses_or_is_away_is_told_of_without_the_password() {
    let vhost = Broker::shared().vhost();
    let refused = vhost
        .url()
        .replace("guest:guest", &format!("lookup:{}", secret("broker")));
    for url in [
        refused,
        format!("amqp://lookup:{}@127.0.0.1:1/%2f", secret("broker")),
    ] {
        let config = config(&url, "http://127.0.0.1:1", "");
        let worker = Worker::start(&config);
        worker.wait_for_log("no broker", 2).await;
        assert_private("/readyz", &worker.get("/readyz").await.unwrap().1);
        assert_private("standard error", &worker.log());
        for command in [&["check"][..], &["dead", "list"]] {
            let ran = Call::new(command).config(&config).run().await;
            assert!(ran.code != 0);
            assert_private(&command.join(" "), &format!("{}{}", ran.out, ran.err));
        }
    }
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_without_its_secrets() {
    let it = secret("it");
    let provider = |keys: &str| {
        format!("[providers.it]\nkind = \"antsomi\"\nbase_url = \"https://a.b\"\n{keys}\n")
    };
    let wrong = [
        format!("[amqp]\nurl = \"http://u:{it}@host\""),
        format!("[amqp]\nurl = \"u:{it}@host\""),
        format!("[amqp]\nurls = \"amqp://ok,u:{it}@host\""),
        format!("[amqp]\nurl = [\"{it}\"]"),
        format!("amqp = \"{it}\""),
        provider(&format!("token = [\"{it}\"]")),
        provider(&format!("token = {{ it = \"{it}\" }}")),
        provider(&format!("token = \"{it}\\n\"")),
        provider(&format!("token = \"{it}\"\ntoken_file = \"/nowhere\"")),
        provider(&format!("token = \"{it}\"\noauth = \"{it}\"")),
        provider(&format!(
            "oauth = {{ token_url = \"https://u:{it}@\", client_id = \"c\", client_secret = \"{it}\" }}"
        )),
        provider(&format!("token = \"{it}\"\nunknown = \"{it}\"")),
        provider(&format!("token = \"{it}")),
        provider("token = \"t\"").replace("https://a.b", &format!("http://u:{it}@a.b")),
        provider("token = \"t\"").replace("https://a.b", &format!("https://u:{it}@")),
        provider("token = \"t\"").replace("https://a.b", &format!("https://a.b?token={it}")),
        provider("token = \"t\"").replace("\"https://a.b\"", &format!("[\"{it}\"]")),
        format!(
            "{}[traces]\nendpoint = \"http://a.b\"\nheaders = \"authorization={it}\"",
            provider("token = \"t\"")
        ),
        format!(
            "{}[traces]\nendpoint = \"http://127.0.0.1\"\nheaders = \"{it}\"",
            provider("token = \"t\"")
        ),
        format!(
            "{}[traces]\nheaders = {{ authorization = \"{it}\" }}",
            provider("token = \"t\"")
        ),
        format!(
            "{}[traces]\nendpoint = \"u:{it}@host\"",
            provider("token = \"t\"")
        ),
    ];
    for toml in wrong {
        let ran = Call::new(&["check"]).config(&toml).run().await;
        assert_eq!(ran.code, 2, "{toml}: {ran:?}");
        assert_private(&toml.replace(&it, "it"), &format!("{}{}", ran.out, ran.err));
    }
}
