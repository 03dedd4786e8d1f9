//! Dead letters by the command line: looked at, sent back, thrown away, and never lost.

use std::{collections::BTreeSet, time::Duration};

use lapin::types::{AMQPValue, DecimalValue, FieldTable};
use lookup_worker::sandbox::Kind;
use serde_json::{Value, json};

use crate::{
    amqp::{Client, Job, Received},
    broker::{Broker, Vhost},
    commands::{Call, Guarded, Ran},
    road::{Road, SOON},
    tally::LONG,
};

async fn dead(vhost: &Vhost<'_>, arguments: &[&str]) -> Ran {
    Call::new(&["dead"])
        .arguments(arguments)
        .env("LOOKUP__AMQP__URL", &vhost.url())
        .run()
        .await
}

/// A dead letter as a worker writes it.
fn letter(id: &str, error: &str, phone: &str) -> Job {
    let body = json!({"query": {"phone": phone}, "context": {"who": "Ada"}});
    Job::json(&body)
        .id(id)
        .header("x-lookup-error", error)
        .header("x-lookup-routing-key", "antsomi.interactive")
}

async fn bury(client: &Client, letter: Job) {
    client.publish("lookup.dead", "", letter).await;
}

/// The ids of what lies there, in its order.
async fn ids(client: &Client) -> Vec<String> {
    let depth = client.depth("lookup.dead").await.unwrap();
    let letters = client
        .take("lookup.dead", depth.try_into().unwrap(), SOON)
        .await;
    letters
        .iter()
        .map(|letter| letter.id().unwrap_or_default().to_owned())
        .collect()
}

/// What the listing counts, as (provider, error, count).
fn counted(ran: &Ran) -> Vec<(Value, Value, Value)> {
    ran.lines()
        .into_iter()
        .map(|mut line| {
            (
                line["provider"].take(),
                line["error"].take(),
                line["count"].take(),
            )
        })
        .collect()
}

#[tokio::test]
async fn what_workers_and_broker_bury_is_listed_by_provider_and_error_without_a_value() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    assert_eq!(
        dead(&vhost, &["list"]).await.expect(0).out,
        "no dead letters\n"
    );
    let query = |phone: &str| json!({"query": {"phone": phone}});
    road.publish("antsomi", "one", &query("84900000500")).await;
    road.publish("antsomi.interactive", "two", &query("84900000500"))
        .await;
    road.publish(
        "kapture",
        "three",
        &json!({"query": {"fax": "84907089782"}}),
    )
    .await;
    road.publish("nobody", "four", &query("84907089782")).await;
    let gone = Job::json(&query("84907089782"))
        .id("five")
        .reply_to("no-such-queue");
    road.client.publish("lookup.jobs", "antsomi", gone).await;
    road.client.wait_for_depth("lookup.dead", 5, SOON).await;
    // What the broker buries itself: nobody takes this job in time.
    road.worker.sigterm();
    assert!(road.worker.wait_exit().await.success());
    let expiring = Job::json(&query("84907089782"))
        .id("six")
        .expiration(Duration::from_millis(1));
    road.client
        .publish("lookup.jobs", "omeda.bulk", expiring)
        .await;
    road.client.wait_for_depth("lookup.dead", 6, SOON).await;

    let groups = [
        (Value::Null, Value::Null, json!(0)),
        (json!("antsomi"), json!("provider_error"), json!(2)),
        (json!("antsomi"), json!("undeliverable_result"), json!(1)),
        (json!("kapture"), json!("invalid_job"), json!(1)),
        (json!("nobody"), json!("unknown_provider"), json!(1)),
        (json!("omeda"), json!("expired"), json!(1)),
    ];
    let ran = dead(&vhost, &["list", "--json"]).await.expect(0);
    assert_eq!(counted(&ran), groups[1..]);
    assert!(
        ran.lines()
            .iter()
            .all(|line| line["oldest"].is_string() && line["newest"].is_string()),
        "{ran:?}"
    );
    let ran = dead(&vhost, &["list"]).await.expect(0);
    assert!(
        ran.out
            .lines()
            .any(|line| line.contains("provider_error") && line.contains(" 2 ")),
        "{ran:?}"
    );
    assert!(!ran.out.contains("849"), "{ran:?}");
    let ran = dead(
        &vhost,
        &[
            "list",
            "--json",
            "--provider",
            "antsomi",
            "--error",
            "provider_error",
        ],
    )
    .await
    .expect(0);
    assert_eq!(counted(&ran), groups[1..2]);
    assert_eq!(
        road.client.depth("lookup.dead").await,
        Some(6),
        "looking takes nothing away"
    );

    // The worker is back, and the expired job goes to where it was on its way to.
    let ran = dead(&vhost, &["replay", "--error", "expired", "--json"])
        .await
        .expect(0);
    assert_eq!(ran.lines()[0]["belongs_to"], "jobs, routing key omeda.bulk");
    road.client
        .wait_for_depth("lookup.jobs.omeda.bulk", 1, SOON)
        .await;
}

#[tokio::test]
async fn show_masks_values_unless_they_are_asked_for() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let secret = letter("j-1", "timeout", "84907089782")
        .header("x-caller", "Ada")
        .header("x-lookup-message", "why")
        .reply_to("849-answers")
        .correlation_id("Ada-1");
    bury(&road.client, secret).await;
    bury(&road.client, letter("j-2", "timeout", "84911111111")).await;
    for format in [
        &["show", "--id", "j-1"] as &[&str],
        &["show", "--id", "j-1", "--json"],
    ] {
        let ran = dead(&vhost, format).await.expect(0);
        for shown in [
            "j-1",
            "timeout",
            "why",
            "antsomi.interactive",
            "query",
            "phone",
            "x-caller",
        ] {
            assert!(ran.out.contains(shown), "{shown} in {ran:?}");
        }
        assert!(
            !ran.out.contains("849") && !ran.out.contains("Ada") && !ran.out.contains("j-2"),
            "{ran:?}"
        );
    }
    let ran = dead(&vhost, &["show", "--id", "j-1", "--reveal", "--json"])
        .await
        .expect(0);
    assert_eq!(ran.lines()[0]["body"]["query"]["phone"], "84907089782");
    assert_eq!(ran.lines()[0]["headers"]["x-caller"], "Ada");
    assert_eq!(ran.lines()[0]["sender"]["reply_to"], "849-answers");
    assert_eq!(ran.lines()[0]["sender"]["correlation_id"], "Ada-1");
    assert_eq!(ids(&road.client).await, ["j-1", "j-2"]);
}

#[tokio::test]
async fn a_replayed_job_whose_provider_recovered_is_answered_with_attempts_anew() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    road.sandbox
        .fault(
            Kind::Antsomi,
            "84911000500",
            json!({"status": 500}),
            Some(4),
        )
        .await;
    road.publish(
        "antsomi.interactive",
        "j-1",
        &json!({"query": {"phone": "84911000500"}, "context": 7}),
    )
    .await;
    assert_eq!(road.results(1).await["j-1"]["status"], "failed");
    road.client.wait_for_depth("lookup.dead", 1, SOON).await;

    let ran = dead(&vhost, &["replay", "--all", "--dry-run"])
        .await
        .expect(0);
    assert_eq!(ran.out, "1 dead letters would be sent back\n");
    assert_eq!(
        road.client.depth("lookup.dead").await,
        Some(1),
        "a dry run changes nothing"
    );
    assert_eq!(road.client.depth("lookup.results").await, Some(0));

    let chosen = [
        "replay",
        "--provider",
        "antsomi",
        "--error",
        "provider_error",
    ];
    assert_eq!(
        dead(&vhost, &chosen).await.expect(0).out,
        "1 dead letters sent back\n"
    );
    let result = road.results(1).await.remove("j-1").unwrap();
    assert_eq!(
        (&result["status"], &result["attempts"], &result["context"]),
        (&json!("found"), &json!(1), &json!(7))
    );
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
}

#[tokio::test]
async fn each_replay_is_counted() {
    let vhost = Broker::shared().vhost();
    // An open circuit would keep the job in its queue.
    let road = Road::open(
        &vhost.url(),
        "[providers.antsomi.breaker]\nfailures = 1000\n",
    )
    .await;
    road.publish(
        "antsomi",
        "j-1",
        &json!({"query": {"phone": "84900000500"}}),
    )
    .await;
    for replays in 0..3u64 {
        road.client.wait_for_depth("lookup.dead", 1, SOON).await;
        let shown = &dead(&vhost, &["show", "--all", "--json"])
            .await
            .expect(0)
            .lines()[0];
        assert_eq!(
            (&shown["replays"], &shown["attempts"]),
            (&json!(replays), &json!(4)),
            "{shown}"
        );
        dead(&vhost, &["replay", "--id", "j-1"]).await.expect(0);
        // Once more it fails and is buried; its answer tells that it did.
        road.results(1).await;
    }
    road.client.wait_for_depth("lookup.dead", 1, SOON).await;
    let letter = road.client.take("lookup.dead", 1, SOON).await.remove(0);
    assert_eq!(letter.header("x-lookup-replays").as_deref(), Some("3"));
}

#[tokio::test]
async fn requesters_mistakes_are_told_apart_in_header_metric_list_and_drop() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    let phone = |phone: &str| json!({"query": {"phone": phone}});
    road.publish("antsomi", "field", &json!({"query": {"fone": "1"}}))
        .await;
    road.publish("antsome", "name", &phone("84907089782")).await;
    road.publish("antsomi", "ours", &phone("84900000403")).await;
    road.client.wait_for_depth("lookup.dead", 3, SOON).await;
    let metrics = road.worker.metrics().await;
    for sample in [
        "lookup_dead_letters_asking_total{asks_for=\"nobody\",provider=\"antsomi\"} 1",
        "lookup_dead_letters_asking_total{asks_for=\"nobody\",provider=\"unknown\"} 1",
        "lookup_dead_letters_asking_total{asks_for=\"person\",provider=\"antsomi\"} 1",
        "lookup_dead_letters_asking_total{asks_for=\"person\",provider=\"plume\"} 0",
    ] {
        assert!(metrics.contains(sample), "{sample} in\n{metrics}");
    }
    road.worker.sigterm();
    assert!(road.worker.wait_exit().await.success());
    // What an answer came too late for asks for nobody either.
    bury(&road.client, letter("late", "too_late_result", "1")).await;
    let ran = dead(&vhost, &["list"]).await.expect(0);
    let last = ran.out.lines().last().expect("a line");
    assert_eq!(
        last,
        "once the credentials are mended: lookup-worker dead replay --provider antsomi --error forbidden"
    );
    for line in ran.out.lines().skip(1) {
        let nobody = !line.contains("forbidden");
        assert_eq!(line.contains("nobody"), nobody, "{line}");
    }
    let ran = dead(&vhost, &["show", "--id", "ours", "--json"])
        .await
        .expect(0);
    assert_eq!(ran.lines()[0]["asks_for"], "person");
    let ran = dead(&vhost, &["drop", "--answered"]).await.expect(0);
    assert_eq!(ran.out, "3 dead letters dropped\n");
    let left = road.client.take("lookup.dead", 1, SOON).await.remove(0);
    assert_eq!(left.id(), Some("ours"));
    assert_eq!(left.header("x-lookup-asks-for").as_deref(), Some("person"));
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
}

#[tokio::test]
async fn drop_takes_the_chosen_and_leaves_the_others_in_their_order() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    for n in 0..9 {
        let error = if n % 3 == 0 { "invalid_job" } else { "timeout" };
        bury(&road.client, letter(&format!("j-{n}"), error, "1")).await;
    }
    let ran = dead(
        &vhost,
        &["drop", "--error", "invalid_job", "--dry-run", "--json"],
    )
    .await
    .expect(0);
    assert_eq!(
        ran.lines()
            .iter()
            .filter(|line| line["action"] == "would_drop")
            .count(),
        3,
        "{ran:?}"
    );
    dead(&vhost, &["drop", "--id", "j-1", "--id", "j-2"])
        .await
        .expect(0);
    let ran = dead(&vhost, &["drop", "--error", "invalid_job"])
        .await
        .expect(0);
    assert_eq!(ran.out, "3 dead letters dropped\n");
    for _ in 0..30 {
        // More often than a broker's own limit of deliveries.
        dead(&vhost, &["list"]).await.expect(0);
    }
    assert_eq!(ids(&road.client).await, ["j-4", "j-5", "j-7", "j-8"]);
}

#[tokio::test]
async fn a_result_returns_to_its_reply_queue_or_to_the_results() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let job = Job::json(&json!({"query": {"phone": "84907089782"}}))
        .id("j-1")
        .correlation_id("c-1")
        .reply_to("replies");
    road.client.publish("lookup.jobs", "antsomi", job).await;
    road.client.wait_for_depth("lookup.dead", 1, SOON).await;
    let ran = dead(&vhost, &["replay", "--id", "j-1"]).await.expect(1);
    assert!(
        ran.err.contains("1 dead letters stay") && ran.err.contains("queue is not there"),
        "{ran:?}"
    );
    assert_eq!(road.client.depth("lookup.dead").await, Some(1));

    road.client.declare_queue("replies").await;
    dead(&vhost, &["replay", "--id", "j-1"]).await.expect(0);
    let result = road.client.take("replies", 1, SOON).await.remove(0);
    assert_eq!(
        (result.json()["status"].as_str(), result.correlation_id()),
        (Some("found"), Some("c-1"))
    );
    assert_eq!(result.header("x-lookup-status").as_deref(), Some("found"));
    assert_eq!(
        (
            result.header("x-lookup-error"),
            result.header("x-lookup-replays").as_deref()
        ),
        (None, Some("1"))
    );

    // As one that had no route: without our headers, under its own routing key.
    let lost = Job::json(&json!({"job_id": "j-2", "provider": "antsomi", "status": "found"}));
    let lost = lost.with(|properties| properties.with_type("lookup.result.v1".into()));
    road.client
        .publish("lookup.dead", "antsomi.found", lost)
        .await;
    let ran = dead(&vhost, &["list", "--json"]).await.expect(0);
    assert_eq!(
        counted(&ran),
        [(json!("antsomi"), json!("undeliverable_result"), json!(1))]
    );
    dead(&vhost, &["replay", "--id", "j-2"]).await.expect(0);
    let result = road.client.take("lookup.results", 1, SOON).await.remove(0);
    assert_eq!(
        (result.routing_key.as_str(), &result.json()["job_id"]),
        ("antsomi.found", &json!("j-2"))
    );
}

#[tokio::test]
async fn letters_of_any_kind_are_looked_at_and_none_is_in_the_way() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let huge = vec![b'x'; 2_000_000];
    let strange: [&[u8]; 4] = [b"", b"\xff\xfe", b"[[[[", &huge];
    for body in strange {
        bury(&road.client, Job::new(body)).await;
    }
    bury(
        &road.client,
        letter("\u{1b}[2J", "\u{1b}]0;title\u{7}", "1").header("x-lookup-attempts", "many"),
    )
    .await;
    let ran = dead(&vhost, &["list"]).await.expect(0);
    assert!(
        !ran.out.contains('\u{1b}') && ran.out.contains("(none)"),
        "{ran:?}"
    );
    let ran = dead(&vhost, &["show", "--all"]).await.expect(0);
    assert!(
        !ran.out.contains('\u{1b}') && ran.out.len() < 100_000 && ran.out.contains("2000000 bytes")
    );
    dead(&vhost, &["show", "--all", "--reveal", "--json"])
        .await
        .expect(0);
    assert_eq!(road.client.depth("lookup.dead").await, Some(5));
    dead(&vhost, &["drop", "--all"]).await.expect(0);
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
}

#[tokio::test]
async fn a_choice_is_required_and_a_broker_or_queue_that_is_not_there_is_told() {
    let vhost = Broker::shared().vhost();
    for command in ["show", "replay", "drop"] {
        let ran = dead(&vhost, &[command]).await.expect(2);
        assert!(
            ran.err.contains("--provider") && ran.err.contains("--all"),
            "{ran:?}"
        );
        let ran = dead(&vhost, &[command, "--all", "--id", "x"])
            .await
            .expect(2);
        assert!(ran.err.contains("--all"), "{ran:?}");
    }
    let ran = dead(&vhost, &["list"]).await.expect(1);
    assert!(ran.err.contains("lookup.dead"), "{ran:?}");
    let ran = Call::new(&["dead", "list"])
        .env("LOOKUP__AMQP__URL", "amqp://127.0.0.1:1")
        .run()
        .await
        .expect(1);
    assert!(ran.err.contains("127.0.0.1:1"), "{ran:?}");
}

#[tokio::test]
async fn kill_9_in_the_middle_of_a_replay_loses_no_letter() {
    const LETTERS: u32 = 600;
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    road.worker.sigterm();
    assert!(road.worker.wait_exit().await.success());
    let all = (0..LETTERS).map(|n| letter(&format!("j-{n}"), "timeout", "84907089782"));
    road.client.publish_all("lookup.dead", "", all).await;

    let jobs = "lookup.jobs.antsomi.interactive";
    for already in [50, 250] {
        let call = Call::new(&["dead", "replay", "--all"]).env("LOOKUP__AMQP__URL", &vhost.url());
        let replay = Guarded::new(call.start());
        road.client.wait_for_at_least(jobs, already, SOON).await;
        // Dropped, it is killed.
        drop(replay);
    }
    let replayed = road.client.depth(jobs).await.unwrap();
    assert!(replayed < LETTERS, "it was killed in the middle");
    let whole = async {
        while road.client.depth(jobs).await.unwrap()
            + road.client.depth("lookup.dead").await.unwrap()
            < LETTERS
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, whole)
        .await
        .expect("the broker takes back what the killed one held");
    dead(&vhost, &["replay", "--all"]).await.expect(0);
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
    let depth = road.client.depth(jobs).await.unwrap();
    let jobs = road
        .client
        .take(jobs, depth.try_into().unwrap(), SOON)
        .await;
    let distinct: BTreeSet<_> = jobs.iter().filter_map(Received::id).collect();
    assert_eq!(distinct.len(), LETTERS as usize, "none is lost");
    assert!(depth < LETTERS + LETTERS / 2, "few are repeated: {depth}");
}

#[tokio::test]
async fn a_letter_of_a_job_without_an_id_bears_the_one_by_which_it_was_answered() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    road.client
        .publish("lookup.jobs", "omeda", Job::new("no JSON"))
        .await;
    road.client
        .publish(
            "lookup.jobs",
            "omeda",
            Job::json(&json!({"id": "in-the-body", "query": {}})),
        )
        .await;
    let results = road.client.take("lookup.results", 2, SOON).await;
    road.client.wait_for_depth("lookup.dead", 2, SOON).await;
    for result in results.iter().map(Received::json) {
        let id = result["job_id"].as_str().expect("an id");
        let shown = dead(&vhost, &["show", "--json", "--id", id])
            .await
            .expect(0)
            .lines();
        assert_eq!(
            (shown.len(), &shown[0]["error"]),
            (1, &json!("invalid_job")),
            "{result}"
        );
    }
}

#[tokio::test]
async fn the_answer_of_a_replayed_job_whose_requester_is_gone_can_go_to_the_results() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let replies = "lookup.replies.gone";
    let job = letter("j-1", "timeout", "84907089782").reply_to(replies);
    bury(&road.client, job).await;
    let lost = Job::json(&json!({"job_id": "j-2", "provider": "antsomi", "status": "found"}))
        .with(|properties| properties.with_type("lookup.result.v1".into()))
        .header("x-lookup-error", "undeliverable_result")
        .header("x-lookup-status", "found")
        .header("x-lookup-routing-key", replies);
    bury(&road.client, lost).await;
    dead(&vhost, &["replay", "--all", "--to-results"])
        .await
        .expect(0);
    let results = road.client.take("lookup.results", 2, SOON).await;
    for result in &results {
        assert_eq!(result.routing_key, "antsomi.found");
        assert_eq!(result.json()["status"], "found");
    }
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
}

#[tokio::test]
async fn a_reply_queue_that_confirms_nothing_costs_its_own_results_and_nobody_else_the_session() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let deaf = "lookup.replies.deaf";
    let mut quorum = FieldTable::default();
    quorum.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    road.client.declare_queue_with(deaf, quorum).await;
    vhost.deafen(deaf);
    let query = json!({"query": {"phone": "84907089782"}});
    let job = Job::json(&query).id("one").reply_to(deaf);
    road.client.publish("lookup.jobs", "antsomi", job).await;
    road.publish("antsomi", "two", &query).await;
    road.client.take("lookup.results", 1, SOON).await;
    road.client.wait_for_depth("lookup.dead", 1, LONG).await;
    let letter = &road.client.take("lookup.dead", 1, SOON).await[0];
    assert_eq!(
        letter.header("x-lookup-error").as_deref(),
        Some("undeliverable_result")
    );
    let problem = letter.header("x-lookup-message").unwrap_or_default();
    assert!(problem.contains("no leader"), "{letter:?}");
    let connects = road.worker.metric("lookup_broker_connects_total").await;
    assert!((connects - 1.0).abs() < f64::EPSILON, "{connects}");
    vhost.let_hear(deaf);
}

#[tokio::test]
async fn headers_of_every_kind_are_shown() {
    let vhost = Broker::shared().vhost();
    let client = Client::connect(&vhost.url()).await;
    Road::open(&vhost.url(), "").await;
    let headers = [
        (
            "price",
            AMQPValue::DecimalValue(DecimalValue {
                scale: 2,
                value: 325,
            }),
        ),
        ("text", AMQPValue::ByteArray(b"some text".to_vec().into())),
        ("bytes", AMQPValue::ByteArray(vec![0xff, 0x00, 0x0a].into())),
    ];
    let odd = letter("odd", "timeout", "84907089782");
    let odd = headers
        .into_iter()
        .fold(odd, |odd, (name, value)| odd.any_header(name, value));
    bury(&client, odd).await;
    let shown = async |arguments: &[&str]| {
        let ran = dead(&vhost, arguments).await.expect(0);
        ran.lines()[0]["headers"].clone()
    };
    let revealed = shown(&["show", "--all", "--reveal", "--json"]).await;
    assert_eq!(revealed["price"], 3.25);
    assert_eq!(revealed["text"], "some text");
    assert_eq!(revealed["bytes"], "0xff000a");
    let masked = shown(&["show", "--all", "--json"]).await;
    assert_eq!(masked["price"], "***");
    // A count of the broker's own, as 4.3 has it from the second look on.
    if let Some(count) = masked.get("x-acquired-count") {
        assert!(count.is_number(), "{masked}");
    }
}
