//! What requesters and their tools really send: codings, marks, nulls, numbers as floats, words for numbers.

use lookup_worker::schema;
use serde_json::{Value, json};

use crate::{
    amqp::Job,
    broker::Broker,
    commands::Call,
    road::{self, Road, Served},
};

const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03";
const ZLIB: &[u8] = b"\x78\x9c\xab\x56";
const PICKLE: &[u8] = b"\x80\x05\x95\x0b\0\0\0\0\0\0\0}\x94.";

fn message(result: &Value) -> &str {
    assert_eq!(result["error"]["kind"], "invalid_job", "{result}");
    result["error"]["message"].as_str().expect("a message")
}

#[tokio::test]
async fn a_coding_is_named_and_a_byte_order_mark_is_skipped() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let body = br#"{"query":{"phone":"84907089782"},"context":{"n":1}}"#;
    let utf_16: Vec<u8> = String::from_utf8_lossy(body)
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let marked = [b"\xef\xbb\xbf".as_slice(), body].concat();
    let coded = |body: &[u8], coding: &str| {
        Job::new(body).with(|it| it.with_content_encoding(coding.into()))
    };
    let cases = [
        ("bom", Job::new(marked), "found"),
        ("identity", coded(body, "identity"), "found"),
        ("utf-8", coded(body, "UTF-8"), "found"),
        ("gzip", coded(GZIP, "gzip"), "`content_encoding`"),
        ("deflate", coded(ZLIB, "deflate"), "got `deflate`"),
        ("plain", coded(body, "gzip"), "got `gzip`"),
        (
            "kombu",
            coded(ZLIB, "utf-8").header("compression", "application/x-gzip"),
            "`compression`: expected no such header, got `application/x-gzip`",
        ),
        ("zlib", Job::new(ZLIB), "zlib"),
        ("gzip-untold", Job::new(GZIP), "got gzip"),
        ("utf-16", Job::new(utf_16), "UTF-16"),
        ("pickle", Job::new(PICKLE), "pickle"),
        ("latin-1", Job::new(*b"{\"id\":\"M\xfcller\"}"), "UTF-8"),
    ];
    for (id, job, _) in &cases {
        let job = job.clone().id(id);
        road.client.publish("lookup.jobs", "antsomi", job).await;
    }
    let results = road.results(cases.len()).await;
    for (id, _, expected) in &cases {
        let result = &results[*id];
        if *expected == "found" {
            assert_eq!(result["status"], "found", "{id}: {result}");
        } else {
            assert!(message(result).contains(expected), "{id}: {result}");
        }
    }
    assert_eq!(results["plain"]["context"], json!({"n": 1}));
}

#[tokio::test]
async fn only_a_sound_trace_context_is_passed_on() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let sound = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (id, trace) in [
        ("sound", sound),
        (
            "zero",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ),
        (
            "capitals",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
        ),
        ("words", "whatever"),
    ] {
        let job = Job::json(&json!({"query": {"phone": "84907089782"}}))
            .id(id)
            .header("traceparent", trace)
            .header("tracestate", "a=b");
        road.client.publish("lookup.jobs", "antsomi", job).await;
    }
    for result in road.client.take("lookup.results", 4, road::SOON).await {
        let (trace, state) = (result.header("traceparent"), result.header("tracestate"));
        if result.json()["job_id"] == "sound" {
            assert_eq!(
                (trace.as_deref(), state.as_deref()),
                (Some(sound), Some("a=b"))
            );
        } else {
            assert_eq!((trace, state), (None, None), "{}", result.json());
        }
    }
}

#[tokio::test]
async fn a_context_that_few_could_read_is_refused_and_not_returned() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    for (id, depth) in [("deep", 64), ("deeper", 65), ("abyss", 20_000)] {
        let context = "[".repeat(depth) + &"]".repeat(depth);
        let job = Job::new(format!(
            r#"{{"query":{{"phone":"84907089782"}},"context":{context}}}"#
        ));
        road.client
            .publish("lookup.jobs", "antsomi", job.id(id))
            .await;
    }
    // With another mistake before it.
    let context = "[".repeat(65) + &"]".repeat(65);
    let job = Job::new(format!(r#"{{"queries":1,"context":{context}}}"#)).id("both");
    road.client.publish("lookup.jobs", "antsomi", job).await;
    let results = road.results(4).await;
    assert_eq!(results["deep"]["status"], "found");
    assert!(results["deep"]["context"].is_array());
    for id in ["deeper", "abyss"] {
        assert!(message(&results[id]).starts_with("`context`: expected at most 64 levels"));
        assert!(results[id].get("context").is_none());
    }
    assert!(results["both"].get("context").is_none());
}

/// Every criterion and option that there is.
fn all(part: &str) -> Value {
    let schema = schema::job();
    let members = schema["$defs"][format!("Antsomi{part}")]["properties"].clone();
    let names = members.as_object().expect("properties").keys();
    names.map(|name| (name.clone(), Value::Null)).collect()
}

#[tokio::test]
async fn null_is_as_absent_whoever_has_the_field() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let queries = [
        ("antsomi", json!({"phone": "84907089782"})),
        ("omeda", json!({"customer_id": 12345})),
        ("kapture", json!({"customer_id": "191121684"})),
        ("egain", json!({"phone": "14082343456102"})),
        ("plume", json!({"account_id": "acc-1001"})),
    ];
    for (provider, query) in &queries {
        let mut nulls = all("Query");
        for (name, value) in query.as_object().expect("an object") {
            nulls[name] = value.clone();
        }
        let body = json!({
            "query": nulls, "options": all("Options"), "id": null, "provider": null, "lane": null,
            "deadline": null, "deadline_ms": 5000.0, "context": null,
        });
        road.publish(provider, provider, &body).await;
    }
    // What no kind has is a mistake, null or not.
    for (id, body) in [
        ("query", json!({"query": {"phone": "1", "fone": null}})),
        (
            "options",
            json!({"query": {"phone": "1"}, "options": {"speed": null}}),
        ),
        ("body", json!({"query": {"phone": "1"}, "call_id": null})),
        ("other", json!({"query": {"phone": "1", "email": "a@b.c"}})),
        ("nothing", json!({"query": {"phone": null}})),
    ] {
        road.publish("antsomi", id, &body).await;
    }
    let results = road.results(queries.len() + 5).await;
    for (provider, _) in &queries {
        assert_eq!(
            results[*provider]["status"], "found",
            "{}",
            results[*provider]
        );
        assert!(results[*provider].get("raw").is_none());
    }
    for (id, field) in [
        ("query", "`query.fone`"),
        ("options", "`options.speed`"),
        ("body", "`call_id`"),
        ("other", "`query.email`"),
        ("nothing", "`query.phone`"),
    ] {
        assert!(message(&results[id]).starts_with(field), "{}", results[id]);
    }
}

#[tokio::test]
async fn nobodys_number_is_refused_before_any_request_and_a_hidden_caller_is_told() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let refused = [
        ("84907089782.0", "a fraction"),
        ("84907089782 / 84907089783", "two in one"),
        (
            "9999999999999999999999999999999999999999",
            "at most 15 digits, got 40",
        ),
        ("anonymous", "a hidden caller"),
        ("Restricted", "a hidden caller"),
        ("Unavailable", "a hidden caller"),
        ("Withheld", "a hidden caller"),
    ];
    for (phone, _) in refused {
        road.publish(
            "antsomi.interactive",
            phone,
            &json!({"query": {"phone": phone}}),
        )
        .await;
    }
    let results = road.results(refused.len()).await;
    for (phone, expected) in refused {
        let said = message(&results[phone]);
        assert!(
            said.starts_with("`query.phone`: ") && said.contains(expected),
            "{said}"
        );
    }
    assert!(
        road.sandbox
            .targets(lookup_worker::sandbox::Kind::Antsomi)
            .await
            .is_empty()
    );
    road.publish(
        "antsomi",
        "trunk",
        &json!({"query": {"phone": "+84 (0)907 089 782"}}),
    )
    .await;
    assert_eq!(road.results(1).await["trunk"]["status"], "found");
    let [target] = &road
        .sandbox
        .targets(lookup_worker::sandbox::Kind::Antsomi)
        .await[..]
    else {
        panic!("one request");
    };
    assert!(target.contains("phone_number=84907089782"), "{target}");
}

#[tokio::test]
async fn the_first_line_keeps_its_id_behind_a_byte_order_mark() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let line =
        "\u{feff}{\"id\":\"first\",\"provider\":\"omeda\",\"query\":{\"customer_id\":12345}}\r\n";
    let config = road::config(&vhost.url(), &road.sandbox, "");
    for command in ["pipe", "send"] {
        let ran = Call::new(&[command])
            .config(&config)
            .input(line)
            .run()
            .await
            .expect(0);
        let result = &ran.lines()[0];
        assert_eq!(
            (&result["job_id"], &result["status"]),
            (&json!("first"), &json!("found")),
            "{command}: {result}"
        );
    }
}

#[tokio::test]
async fn pipe_and_lookup_refuse_what_the_worker_refuses() {
    let sandbox = Served::start().await;
    let config = road::config("amqp://127.0.0.1:1/", &sandbox, "");
    let ran = Call::new(&[
        "lookup",
        "antsomi",
        "--query",
        r#"{"phone":"84907089782.0"}"#,
    ])
    .config(&config)
    .run()
    .await
    .expect(2);
    assert!(message(&ran.lines()[0]).contains("a fraction"), "{ran:?}");
    let ran = Call::new(&[
        "lookup",
        "antsomi",
        "--query",
        r#"{"phone":"+44 (0)20 7946 0018","email":null}"#,
    ])
    .config(&config)
    .run()
    .await
    .expect(0);
    assert_eq!(ran.lines()[0]["provider"], "antsomi");
}
