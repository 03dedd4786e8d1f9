//! Jobs and results over the broker, as the contract has them, kind antsomi first.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::{
    options::{BasicConsumeOptions, BasicPublishOptions},
    types::FieldTable,
};
use serde_json::{Value, json};

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    road::{Road, SOON, Served, config},
    worker::Worker,
};

fn error(result: &Value) -> (&str, Option<u64>, bool) {
    let error = &result["error"];
    (
        error["kind"].as_str().unwrap_or_default(),
        error["http_status"].as_u64(),
        error["retryable"] == true,
    )
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn a_job_is_answered_with_its_customer_its_context_and_the_properties_of_a_result() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let body = r#"{"query":{"phone":"+84 907 089 782"},"context":{"call_id":"c-42","n":1.100000000000000000001}}"#;
    let job = Job::new(body)
        .id("j-1")
        .correlation_id("c-1")
        .header("traceparent", TRACE);
    road.client.publish("lookup.jobs", "antsomi", job).await;

    let result = road.client.take("lookup.results", 1, SOON).await.remove(0);
    let text = String::from_utf8(result.body.clone()).unwrap();
    let shown = result.json();
    assert_eq!(shown["job_id"], "j-1");
    assert_eq!(shown["status"], "found");
    let customer = json!([{"customer_id": "84907089782", "phones": [{"number": "84907089782"}]}]);
    assert_eq!(shown["customers"], customer);
    assert_eq!(shown["page"], json!({"total": 1}));
    assert_eq!(shown["attempts"], 1);
    assert!(
        text.contains(r#""context":{"call_id":"c-42","n":1.100000000000000000001}"#),
        "{text}"
    );
    assert!(
        shown.get("error").is_none() && shown.get("raw").is_none(),
        "{text}"
    );

    assert_eq!(result.routing_key, "antsomi.found");
    assert_eq!(result.correlation_id(), Some("c-1"));
    assert_eq!(result.header("x-lookup-status").as_deref(), Some("found"));
    assert_eq!(result.header("traceparent").as_deref(), Some(TRACE));
    let properties = &result.properties;
    assert_eq!(
        properties.kind().as_ref().unwrap().as_str(),
        "lookup.result.v1"
    );
    assert_eq!(
        properties.app_id().as_ref().unwrap().as_str(),
        "lookup-worker"
    );
    assert_eq!(
        properties.content_type().as_ref().unwrap().as_str(),
        "application/json"
    );
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert!(properties.timestamp().is_some());
    assert!(result.id().is_some_and(|id| id != "j-1"));
}

#[tokio::test]
async fn each_class_of_answer_becomes_its_result() {
    let vhost = Broker::shared().vhost();
    // So many failures in a row would open the circuit, and what is left would wait for its probes.
    let road = Road::open_with(&vhost.url(), |config| {
        config.replace(
            "quota = \"none\"",
            "quota = \"none\"\nbreaker = { failures = 1000 }",
        )
    })
    .await;
    let faults = [
        (
            "84911000400",
            json!({"status": 400}),
            ("rejected", Some(400), false),
        ),
        (
            "84911000401",
            json!({"status": 401}),
            ("unauthorized", Some(401), false),
        ),
        (
            "84911000403",
            json!({"status": 403}),
            ("forbidden", Some(403), false),
        ),
        (
            "84911000404",
            json!({"status": 404}),
            ("endpoint_not_found", Some(404), false),
        ),
        (
            "84911000408",
            json!({"status": 408}),
            ("timeout", Some(408), true),
        ),
        (
            "84911000422",
            json!({"status": 422}),
            ("rejected", Some(422), false),
        ),
        (
            "84911000429",
            json!({"status": 429}),
            ("rate_limited", Some(429), true),
        ),
        (
            "84911000500",
            json!({"status": 500}),
            ("provider_error", Some(500), true),
        ),
        (
            "84911000302",
            json!({"status": 302}),
            ("bad_response", Some(302), false),
        ),
        (
            "84911000204",
            json!({"status": 204}),
            ("bad_response", Some(204), false),
        ),
        (
            "84911000001",
            json!({"reset": true}),
            ("connection", None, true),
        ),
        (
            "84911000002",
            json!({"truncate": true}),
            ("connection", None, true),
        ),
        (
            "84911000003",
            json!({"html": true}),
            ("bad_response", Some(200), false),
        ),
    ];
    for (phone, fault, _) in &faults {
        road.sandbox
            .fault(
                lookup_worker::sandbox::Kind::Antsomi,
                phone,
                fault.clone(),
                None,
            )
            .await;
        road.publish(
            "antsomi.interactive",
            phone,
            &json!({"query": {"phone": phone}}),
        )
        .await;
    }
    road.publish(
        "antsomi",
        "none",
        &json!({"query": {"phone": "84900000404"}}),
    )
    .await;
    let results = road.results(faults.len() + 1).await;
    for (phone, _, expected) in &faults {
        let result = &results[*phone];
        assert_eq!(&error(result), expected, "{result}");
        // One more where a reused connection broke before the first byte: the request was made again at once.
        let (least, most) = match expected {
            ("connection", ..) => (4, 8),
            (.., true) => (4, 4),
            _ => (1, 1),
        };
        let attempts = result["attempts"].as_u64().expect("a number");
        assert!((least..=most).contains(&attempts), "{result}");
    }
    assert_eq!(
        (&results["none"]["status"], results["none"].get("error")),
        (&json!("not_found"), None)
    );

    // What may do better later lies in the dead-letter queue too, and so does a refusal; what the provider itself says
    // of the request does not.
    let is_letter = |expected: &(&str, Option<u64>, bool)| expected.2 || expected.0 != "rejected";
    let letters = faults
        .iter()
        .filter(|(_, _, expected)| is_letter(expected))
        .count();
    let dead = road.client.take("lookup.dead", letters, SOON).await;
    for letter in &dead {
        let (_, _, expected) = faults
            .iter()
            .find(|(phone, ..)| letter.id() == Some(phone))
            .expect("one of them");
        assert_eq!(letter.header("x-lookup-error").as_deref(), Some(expected.0));
        let told = &results[letter.id().expect("an id")]["attempts"];
        assert_eq!(letter.header("x-lookup-attempts"), Some(told.to_string()));
        assert_eq!(
            letter.header("x-lookup-routing-key").as_deref(),
            Some("antsomi.interactive")
        );
        assert!(letter.header("x-lookup-message").is_some());
        assert!(
            letter.json()["query"]["phone"].is_string(),
            "the original message"
        );
    }
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
}

#[tokio::test]
async fn a_fault_that_clears_costs_attempts_and_no_more() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let result = road
        .ask("antsomi.bulk", &json!({"query": {"phone": "84900000429"}}))
        .await
        .json();
    assert_eq!(
        (&result["status"], &result["attempts"]),
        (&json!("found"), &json!(3)),
        "{result}"
    );
}

#[tokio::test]
async fn what_is_no_job_is_answered_and_dead_lettered_and_names_the_field() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(
        &vhost.url(),
        "[reply]\nallow = [\"replies-*\", \"amq.rabbitmq.reply-to\"]",
    )
    .await;
    let big = format!(
        r#"{{"query":{{"phone":"1"}},"context":"{}"}}"#,
        "x".repeat(64 * 1024)
    );
    let huge = format!(
        r#"{{"query":{{"phone":"1"}},"options":"{}"}}"#,
        "x".repeat(256 * 1024)
    );
    let deep = format!(
        r#"{{"query":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let cases: Vec<(&str, &str, &[u8])> = vec![
        ("antsomi", "expected JSON", b"not JSON"),
        ("antsomi", "expected JSON", b""),
        ("antsomi", "expected JSON", b"{\"query\":{\"phone\":\"1\"}"),
        ("antsomi", "missing field `query`", b"{}"),
        ("antsomi", "expected", b"[]"),
        ("antsomi", "", b"\xff\xfe"),
        ("antsomi", "`queries`", br#"{"queries":{"phone":"1"}}"#),
        (
            "antsomi",
            "`query.phone`",
            br#"{"query":{"phone":84907089782}}"#,
        ),
        ("antsomi", "`query.phone`", br#"{"query":{}}"#),
        (
            "antsomi",
            "`query.email`",
            br#"{"query":{"email":"a@b.c"}}"#,
        ),
        (
            "antsomi",
            "`query.phone`",
            br#"{"query":{"phone":"call me"}}"#,
        ),
        ("antsomi", "`query.phone`", br#"{"query":{"phone":[]}}"#),
        (
            "antsomi",
            "`query.phone`",
            br#"{"query":{"phone":["1"]},"options":{"operator":"equals"}}"#,
        ),
        (
            "antsomi",
            "`query.phone`",
            br#"{"query":{"phone":"1"},"options":{"operator":"exists"}}"#,
        ),
        (
            "antsomi",
            "`options.operator`",
            br#"{"query":{"phone":"1"},"options":{"operator":"like"}}"#,
        ),
        (
            "antsomi",
            "`options.page`",
            br#"{"query":{"phone":"1"},"options":{"page":0}}"#,
        ),
        (
            "antsomi",
            "`options.limit`",
            br#"{"query":{"phone":"1"},"options":{"limit":"5"}}"#,
        ),
        (
            "antsomi",
            "`options.raw`",
            br#"{"query":{"phone":"1"},"options":{"raw":1}}"#,
        ),
        (
            "antsomi",
            "`deadline`",
            br#"{"query":{"phone":"1"},"deadline":"tomorrow"}"#,
        ),
        (
            "antsomi",
            "`deadline_ms`",
            br#"{"query":{"phone":"1"},"deadline_ms":-5}"#,
        ),
        (
            "antsomi",
            "`provider`",
            br#"{"query":{"phone":"1"},"provider":"omeda"}"#,
        ),
        (
            "antsomi.bulk",
            "`lane`",
            br#"{"query":{"phone":"1"},"lane":"interactive"}"#,
        ),
        (
            "antsomi.urgent",
            "`routing key`",
            br#"{"query":{"phone":"1"}}"#,
        ),
        ("antsomi", "`context`", big.as_bytes()),
        ("antsomi", "at most 262144 bytes", huge.as_bytes()),
        ("antsomi", "`query`", deep.as_bytes()),
    ];
    for (at, (key, _, body)) in cases.iter().enumerate() {
        road.client
            .publish("lookup.jobs", key, Job::new(*body).id(&at.to_string()))
            .await;
    }
    for (id, queue) in [
        ("own", "lookup.jobs.antsomi.bulk"),
        ("forbidden", "elsewhere"),
    ] {
        let job = Job::json(&json!({"query": {"phone": "1"}}))
            .id(id)
            .reply_to(queue);
        road.client.publish("lookup.jobs", "antsomi", job).await;
    }
    let count = cases.len() + 2;
    let results = road.results(count).await;
    for (at, (_, names, _)) in cases.iter().enumerate() {
        let result = &results[&at.to_string()];
        assert_eq!(error(result), ("invalid_job", None, false), "{result}");
        assert!(
            result["error"]["message"].as_str().unwrap().contains(names),
            "{names} in {result}"
        );
        assert_eq!(result["attempts"], 0);
    }
    for id in ["own", "forbidden"] {
        assert!(
            results[id]["error"]["message"]
                .as_str()
                .unwrap()
                .contains("`reply_to`"),
            "{}",
            results[id]
        );
    }
    let dead = road.client.take("lookup.dead", count, SOON).await;
    assert!(
        dead.iter()
            .all(|letter| letter.header("x-lookup-error").as_deref() == Some("invalid_job"))
    );
}

#[tokio::test]
async fn a_job_for_nobody_is_answered_as_such() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let result = road
        .ask("nobody.bulk", &json!({"query": {"phone": "1"}}))
        .await;
    assert_eq!(error(&result.json()), ("unknown_provider", None, false));
    assert_eq!(result.routing_key, "nobody.failed");
    let letter = road.client.take("lookup.dead", 1, SOON).await.remove(0);
    assert_eq!(
        letter.header("x-lookup-error").as_deref(),
        Some("unknown_provider")
    );
}

#[tokio::test]
async fn an_id_in_the_body_or_none_at_all_is_enough() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    for body in [
        json!({"id": "from-the-body", "query": {"phone": "84900000404"}}),
        json!({"query": {"phone": "84907089782"}}),
    ] {
        road.client
            .publish("lookup.jobs", "antsomi", Job::json(&body))
            .await;
    }
    for result in road.client.take("lookup.results", 2, SOON).await {
        let id = result.json()["job_id"].as_str().unwrap().to_owned();
        assert_eq!(
            result.correlation_id(),
            Some(id.as_str()),
            "the id is echoed"
        );
        assert_eq!(
            result.json()["status"] == "not_found",
            id == "from-the-body"
        );
        assert!(!id.is_empty());
    }
}

#[tokio::test]
async fn a_result_goes_where_the_job_says_and_to_the_dead_letters_if_nobody_is_there() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    road.client.declare_queue("replies").await;
    for (id, queue) in [("here", "replies"), ("gone", "no-such-queue")] {
        let job = Job::json(&json!({"query": {"phone": "84907089782"}}))
            .id(id)
            .reply_to(queue);
        road.client.publish("lookup.jobs", "antsomi", job).await;
    }
    assert_eq!(
        road.client.take("replies", 1, SOON).await[0].json()["job_id"],
        "here"
    );
    let letter = road.client.take("lookup.dead", 1, SOON).await.remove(0);
    assert_eq!(
        (
            letter.json()["job_id"].as_str(),
            letter.json()["status"].as_str()
        ),
        (Some("gone"), Some("found"))
    );
    assert_eq!(road.client.depth("lookup.results").await, Some(0));
}

#[tokio::test]
async fn a_requester_by_direct_reply_to_gets_its_answer_and_one_that_left_is_noticed() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let requester = Client::connect(&vhost.url()).await;
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let channel = requester.channel();
    let consume = channel.basic_consume(
        "amq.rabbitmq.reply-to".into(),
        "".into(),
        options,
        FieldTable::default(),
    );
    let mut replies = consume.await.unwrap();
    let ask = async |phone: &str| {
        let properties =
            lapin::BasicProperties::default().with_reply_to("amq.rabbitmq.reply-to".into());
        let body = json!({"query": {"phone": phone}}).to_string();
        let options = BasicPublishOptions::default();
        let publish = channel.basic_publish(
            "lookup.jobs".into(),
            "antsomi".into(),
            options,
            body.as_bytes(),
            properties,
        );
        publish.await.unwrap().await.unwrap();
    };
    ask("84907089782").await;
    let reply = tokio::time::timeout(SOON, replies.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&reply.data).unwrap()["status"],
        "found"
    );

    road.sandbox
        .fault(
            lookup_worker::sandbox::Kind::Antsomi,
            "84911111199",
            json!({"latency": "500ms"}),
            None,
        )
        .await;
    ask("84911111199").await;
    drop(replies);
    channel.close(200, "gone".into()).await.unwrap();
    let letter = road.client.take("lookup.dead", 1, SOON).await.remove(0);
    assert_eq!(letter.json()["status"], "found", "{}", road.worker.log());
}

#[tokio::test]
async fn a_deadline_ends_the_attempts_and_an_expired_job_costs_none() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let kind = lookup_worker::sandbox::Kind::Antsomi;
    road.sandbox
        .fault(kind, "84911000777", json!({"latency": "30s"}), None)
        .await;
    road.publish(
        "antsomi",
        "slow",
        &json!({"query": {"phone": "84911000777"}, "deadline_ms": 300}),
    )
    .await;
    let past = json!({"query": {"phone": "84911000778"}, "deadline": "2020-01-01T00:00:00Z", "deadline_ms": 60000});
    road.publish("antsomi", "expired", &past).await;
    let results = road.results(2).await;
    assert_eq!(error(&results["slow"]).0, "deadline_exceeded");
    assert_eq!(
        (
            error(&results["expired"]).0,
            &results["expired"]["attempts"]
        ),
        ("deadline_exceeded", &json!(0))
    );
    assert_eq!(
        road.sandbox.stats(kind).await["requests"],
        1,
        "the expired job cost no request"
    );
    assert_eq!(
        road.client.depth("lookup.dead").await,
        Some(0),
        "it is a final answer"
    );
}

#[tokio::test]
async fn a_long_wait_is_spent_in_the_broker_and_attempts_travel_along() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    let kind = lookup_worker::sandbox::Kind::Antsomi;
    let fault = json!({"status": 503, "retry_after": 4});
    road.sandbox
        .fault(kind, "84911000503", fault, Some(1))
        .await;
    let begun = std::time::Instant::now();
    road.publish(
        "antsomi.interactive",
        "later",
        &json!({"query": {"phone": "84911000503"}}),
    )
    .await;
    // Parked, it survives the worker.
    let parked = async {
        while road.worker.metric("lookup_retries_total").await < 1.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, parked).await.expect("a retry");
    road.worker.sigterm();
    assert!(road.worker.wait_exit().await.success());
    road.worker.start_again();
    let results = road.results(1).await;
    let result = &results["later"];
    assert_eq!(
        (&result["status"], &result["attempts"]),
        (&json!("found"), &json!(2)),
        "{result}"
    );
    assert!(
        begun.elapsed() >= Duration::from_secs(4),
        "Retry-After is not undercut"
    );
    assert!(
        result["duration_ms"].as_u64().unwrap() >= 4000,
        "counted from the first receipt: {result}"
    );
}

#[tokio::test]
async fn every_object_of_the_contract_is_declared_and_a_foreign_queue_is_named_at_start() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let queues = Broker::shared().rabbitmqctl(&[
        "--vhost",
        vhost.name(),
        "-q",
        "list_queues",
        "name",
        "type",
    ]);
    for queue in [
        "jobs.antsomi.interactive",
        "jobs.antsomi.bulk",
        "unrouted",
        "delay.1s",
        "delay.2s",
        "results",
        "dead",
    ] {
        let line = queues
            .lines()
            .find(|line| line.split_whitespace().next() == Some(&format!("lookup.{queue}")));
        assert!(
            line.is_some_and(|line| line.ends_with("quorum")),
            "{queue} in\n{queues}"
        );
    }
    drop(road);

    let sandbox = Served::start().await;
    let other = config(&vhost.url(), &sandbox, "").replace("[amqp]", "[amqp]\ndelivery_limit = 7");
    let mut worker = Worker::start(&other);
    assert_eq!(worker.wait_exit().await.code(), Some(1));
    let log = worker.log();
    assert!(
        log.contains("lookup.") && log.contains("x-delivery-limit") && log.contains("'7'"),
        "{log}"
    );
}

#[tokio::test]
async fn readiness_and_metrics_tell_what_happens() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    assert_eq!(road.worker.get("/livez").await.unwrap().0, 200);
    road.ask(
        "antsomi.interactive",
        &json!({"query": {"phone": "84907089782"}}),
    )
    .await;
    road.ask("antsomi", &json!({"query": {"phone": "84900000403"}}))
        .await;
    for series in [
        r#"lookup_jobs_received_total{lane="interactive",provider="antsomi"}"#,
        r#"lookup_results_total{error="",lane="interactive",provider="antsomi",status="found"}"#,
        r#"lookup_results_total{error="forbidden",lane="bulk",provider="antsomi",status="failed"}"#,
        r#"lookup_provider_requests_total{outcome="found",provider="antsomi"}"#,
        r#"lookup_job_duration_seconds_count{lane="bulk",provider="antsomi"}"#,
    ] {
        assert!(
            (road.worker.metric(series).await - 1.0).abs() < f64::EPSILON,
            "{series}"
        );
    }
}

#[tokio::test]
async fn strange_properties_harm_neither_their_job_nor_its_neighbours() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let job = |id: &str| Job::json(&json!({"query": {"phone": "84907089782"}})).id(id);
    let publish = async |key: &str, job: Job| road.client.publish("lookup.jobs", key, job).await;
    publish(
        "antsomi",
        job("large-header").header("big", &"x".repeat(20_000)),
    )
    .await;
    publish(
        "antsomi",
        job("long-trace").header("traceparent", &"x".repeat(20_000)),
    )
    .await;
    publish(
        "antsomi",
        Job::new("no JSON")
            .id("large-and-malformed")
            .header("big", &"x".repeat(100_000)),
    )
    .await;
    let claims = json!(4_000_000_000u32).to_string();
    publish(
        "antsomi",
        job("attempts").header("x-lookup-attempts", &claims),
    )
    .await;
    publish(
        "antsomi",
        count_header(
            job("many-attempts"),
            "x-lookup-attempts",
            i64::from(u32::MAX),
        ),
    )
    .await;
    publish(
        "antsomi",
        count_header(job("spared"), "x-lookup-spared-attempts", 5),
    )
    .await;
    for n in 0..20 {
        publish(&"k".repeat(255), job(&format!("long-key-{n}"))).await;
    }
    publish("nobody", job("unknown")).await;

    let results = road.results(27).await;
    for id in [
        "large-header",
        "long-trace",
        "attempts",
        "many-attempts",
        "spared",
    ] {
        assert_eq!(results[id]["status"], "found", "{id}: {}", results[id]);
    }
    assert_eq!(error(&results["large-and-malformed"]).0, "invalid_job");
    assert_eq!(error(&results["long-key-19"]).0, "unknown_provider");
    assert_eq!(error(&results["unknown"]).0, "unknown_provider");
    assert!((road.worker.metric("lookup_broker_connects_total").await - 1.0).abs() < f64::EPSILON);
    assert!(road.worker.metric("lookup_panics_total").await < 1.0);
}

fn count_header(job: Job, name: &str, value: i64) -> Job {
    job.with(|properties| {
        let mut headers = FieldTable::default();
        headers.insert(name.into(), lapin::types::AMQPValue::LongLongInt(value));
        properties.with_headers(headers)
    })
}

#[tokio::test]
async fn a_reply_queue_that_the_worker_may_not_write_to_costs_its_own_result_the_way_and_nothing_else()
 {
    let vhost = Broker::shared().vhost();
    let broker = Broker::shared();
    let user = crate::broker::unique("narrow");
    broker.rabbitmqctl(&["add_user", &user, "secret"]);
    broker.rabbitmqctl(&[
        "set_permissions",
        "-p",
        vhost.name(),
        &user,
        "^lookup\\..*",
        "^lookup\\..*",
        "^lookup\\..*",
    ]);
    let narrow = vhost
        .url()
        .replace("guest:guest", &format!("{user}:secret"));
    let sandbox = Served::start().await;
    let mut worker = Worker::start(&config(&narrow, &sandbox, ""));
    worker.wait_ready().await;
    let client = Client::connect(&vhost.url()).await;
    client.declare_queue("replies").await;
    let job = Job::json(&json!({"query": {"phone": "84907089782"}}))
        .id("j-1")
        .reply_to("replies");
    client.publish("lookup.jobs", "antsomi", job).await;
    let letter = client.take("lookup.dead", 1, SOON).await.remove(0);
    assert_eq!(
        (
            letter.json()["job_id"].as_str(),
            letter.json()["status"].as_str()
        ),
        (Some("j-1"), Some("found"))
    );
    assert!((worker.metric("lookup_broker_connects_total").await - 1.0).abs() < f64::EPSILON);
    broker.rabbitmqctl(&["delete_user", &user]);
}

#[tokio::test]
async fn a_letter_with_more_headers_than_a_small_frame_holds_is_buried_with_all_of_them() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    for size in [12_000, 12_250, 16_000, 16_300, 90_000] {
        let job = Job::new("no JSON")
            .id("much")
            .header("big", &"x".repeat(size));
        road.client.publish("lookup.jobs", "antsomi", job).await;
        let letters = road
            .client
            .take("lookup.dead", 1, Duration::from_secs(20))
            .await;
        assert_eq!(letters[0].header("big").map(|big| big.len()), Some(size));
    }
    assert_eq!(road.results(5).await.len(), 1, "one id");
    assert!((road.worker.metric("lookup_broker_connects_total").await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_job_with_as_much_tracestate_as_is_passed_on_is_answered_with_all_of_it() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    for size in [3_800, 4_100, 7_700, 8_192] {
        let job = Job::json(&json!({"query": {"phone": "84907089782"}})).id(&format!("j-{size}"));
        road.client
            .publish(
                "lookup.jobs",
                "antsomi",
                // A tracestate goes with its traceparent.
                job.header("traceparent", TRACE)
                    .header("tracestate", &"x".repeat(size)),
            )
            .await;
        let results = road
            .client
            .take("lookup.results", 1, Duration::from_secs(20))
            .await;
        assert_eq!(
            results[0].header("tracestate").map(|state| state.len()),
            Some(size)
        );
    }
    assert!(
        (road.worker.metric("lookup_broker_connects_total").await - 1.0).abs() < f64::EPSILON,
        "one session"
    );
}
