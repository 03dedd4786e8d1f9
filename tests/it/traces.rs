//! A job's way as one trace, seen in a collector.

use std::collections::BTreeMap;

use lookup_worker::sandbox::Kind;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    collector::{Collector, Span},
    road::{Road, SOON, Served, config},
    worker::Worker,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PRODUCER: &str = "00f067aa0ba902b7";

fn traceparent(sampled: bool) -> String {
    format!(
        "00-{TRACE}-{PRODUCER}-{}",
        if sampled { "01" } else { "00" }
    )
}

fn job(phone: &str) -> Job {
    Job::json(&json!({"query": {"phone": phone}}))
}

fn of_kind(spans: &[Span], kind: SpanKind) -> Vec<&Span> {
    spans.iter().filter(|span| span.kind == kind).collect()
}

/// Exactly these attributes, beside the broker's address.
#[track_caller]
fn assert_attributes(span: &Span, expected: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> = expected
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let without_port = span
        .attributes
        .iter()
        .filter(|(key, _)| *key != "server.port");
    let shown: BTreeMap<String, String> = without_port
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    assert_eq!(shown, expected, "{span:#?}");
}

#[tokio::test]
async fn job_requests_and_result_are_one_trace_which_the_result_carries_on() {
    let (vhost, collector) = (Broker::shared().vhost(), Collector::start().await);
    let mut road = Road::open(&vhost.url(), &collector.config("")).await;
    road.sandbox
        .fault(
            Kind::Antsomi,
            "84907089782",
            json!({"status": 503}),
            Some(1),
        )
        .await;
    let asked = job("84907089782")
        .id("j-1")
        .header("traceparent", &traceparent(true))
        .header("tracestate", "us=7");
    road.client
        .publish("lookup.jobs", "antsomi.interactive", asked)
        .await;
    let result = road.client.take("lookup.results", 1, SOON).await.remove(0);
    // The last spans are sent before the worker ends.
    road.worker.sigterm();
    assert!(road.worker.wait_exit().await.success());

    let spans = collector.spans();
    assert!(
        spans.len() == 4 && spans.iter().all(|span| span.trace == TRACE),
        "{spans:#?}"
    );
    let [process, first, second, publish] = spans.as_slice() else {
        panic!("{spans:#?}")
    };
    let destination = "lookup.jobs:antsomi.interactive:lookup.jobs.antsomi.interactive";
    assert_eq!(
        (process.kind, process.name.as_str()),
        (SpanKind::Consumer, &*format!("process {destination}"))
    );
    assert_eq!(
        (
            process.parent.as_str(),
            process.links.as_slice(),
            process.failed
        ),
        (PRODUCER, &[PRODUCER.into()][..], false)
    );
    assert_attributes(
        process,
        &[
            ("messaging.system", "rabbitmq"),
            ("messaging.operation.name", "process"),
            ("messaging.operation.type", "process"),
            ("messaging.destination.name", destination),
            (
                "messaging.rabbitmq.destination.routing_key",
                "antsomi.interactive",
            ),
            ("messaging.message.id", "j-1"),
            ("server.address", "127.0.0.1"),
            ("lookup.provider", "antsomi"),
            ("lookup.outcome", "found"),
        ],
    );
    for (request, status) in [(first, "503"), (second, "200")] {
        assert_eq!(
            (request.kind, request.name.as_str()),
            (SpanKind::Client, "GET")
        );
        assert_eq!(
            (&request.parent, request.failed),
            (&process.id, status == "503")
        );
        let mut expected = vec![
            ("http.request.method", "GET"),
            ("http.response.status_code", status),
            ("server.address", "127.0.0.1"),
            ("lookup.provider", "antsomi"),
        ];
        expected.push(if status == "503" {
            ("error.type", "503")
        } else {
            ("http.request.resend_count", "1")
        });
        assert_attributes(request, &expected);
    }
    assert_eq!(
        (publish.kind, publish.name.as_str()),
        (SpanKind::Producer, "publish lookup.results:antsomi.found")
    );
    assert_eq!((&publish.parent, publish.failed), (&process.id, false));
    assert_attributes(
        publish,
        &[
            ("messaging.system", "rabbitmq"),
            ("messaging.operation.name", "publish"),
            ("messaging.operation.type", "send"),
            ("messaging.destination.name", "lookup.results:antsomi.found"),
            (
                "messaging.rabbitmq.destination.routing_key",
                "antsomi.found",
            ),
            ("messaging.message.id", result.id().unwrap()),
            ("server.address", "127.0.0.1"),
            ("lookup.job.id", "j-1"),
        ],
    );
    assert_eq!(
        result.header("traceparent").unwrap(),
        format!("00-{TRACE}-{}-01", publish.id)
    );
    assert_eq!(result.header("tracestate").as_deref(), Some("us=7"));
    let seen = road.sandbox.requests(Kind::Antsomi).await;
    assert!(
        seen.iter()
            .all(|request| request["headers"].get("traceparent").is_none()),
        "not told unless asked for"
    );
}

#[tokio::test]
async fn providers_are_told_of_the_trace_where_that_is_asked_for() {
    let (vhost, collector) = (Broker::shared().vhost(), Collector::start().await);
    let road = Road::open(&vhost.url(), &collector.config("propagate = true")).await;
    let asked = job("84907089782")
        .id("j-1")
        .header("traceparent", &traceparent(true));
    road.client.publish("lookup.jobs", "antsomi", asked).await;
    let spans = collector.wait_for(3).await;
    let request = of_kind(&spans, SpanKind::Client)[0];
    let seen = &road.sandbox.requests(Kind::Antsomi).await[0]["headers"];
    assert_eq!(seen["traceparent"], format!("00-{TRACE}-{}-01", request.id));
}

#[tokio::test]
async fn a_request_shared_by_several_jobs_is_one_span_to_which_each_of_them_leads() {
    let (vhost, collector) = (Broker::shared().vhost(), Collector::start().await);
    let road = Road::open(&vhost.url(), &collector.config("")).await;
    road.sandbox
        .fault(Kind::Antsomi, "", json!({"latency": "3s"}), None)
        .await;
    for id in ["j-1", "j-2", "j-3"] {
        road.client
            .publish("lookup.jobs", "antsomi", job("84907089782").id(id))
            .await;
    }
    road.results(3).await;
    let spans = collector.wait_for(7).await;
    let requests = of_kind(&spans, SpanKind::Client);
    assert_eq!(requests.len(), 1, "{spans:#?}");
    for process in of_kind(&spans, SpanKind::Consumer) {
        let leads = requests[0].parent == process.id || process.links.contains(&requests[0].id);
        assert!(leads, "{process:#?} {:#?}", requests[0]);
    }
}

#[tokio::test]
async fn a_failed_job_s_spans_say_so_by_its_class() {
    let (vhost, collector) = (Broker::shared().vhost(), Collector::start().await);
    let road = Road::open(&vhost.url(), &collector.config("")).await;
    road.client.declare_queue("replies-of-somebody").await;
    road.sandbox
        .fault(Kind::Antsomi, "", json!({"reset": true}), None)
        .await;
    let asked = job("84907089782").id("j-1").reply_to("replies-of-somebody");
    road.client.publish("lookup.jobs", "antsomi", asked).await;
    let asked = job("84907089782").id("j-2").reply_to("no-such-queue");
    road.client
        .publish("lookup.jobs", "strangers-name", asked)
        .await;
    // One with four requests, one with none and a result that is a dead letter, too.
    let spans = collector.wait_for(7 + 4).await;
    for (kind, class) in [
        (SpanKind::Client, "connection"),
        (SpanKind::Consumer, "connection"),
    ] {
        let failed = of_kind(&spans, kind)
            .into_iter()
            .filter(|span| span.get("lookup.provider") == "antsomi");
        assert!(
            failed.clone().count() > 0
                && failed
                    .clone()
                    .all(|span| span.failed && span.get("error.type") == class)
        );
    }
    let stranger = spans
        .iter()
        .find(|span| span.get("messaging.message.id") == "j-2")
        .expect("its span");
    assert_eq!(
        (stranger.name.as_str(), stranger.get("error.type")),
        ("process lookup.jobs", "unknown_provider")
    );
    let returned = spans
        .iter()
        .find(|span| span.get("error.type") == "returned")
        .expect("the publish");
    assert_eq!(
        (returned.name.as_str(), returned.get("lookup.job.id")),
        ("publish {reply_to}", "j-2")
    );
    let shown = format!("{:?}", collector.batches());
    assert!(
        !shown.contains("replies-of-somebody") && !shown.contains("strangers-name"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_job_that_is_parked_goes_on_in_the_same_trace_below_the_publish_that_parked_it() {
    let (vhost, collector) = (Broker::shared().vhost(), Collector::start().await);
    let road = Road::open(&vhost.url(), &collector.config("")).await;
    // Always parked; and it came with no trace.
    road.sandbox
        .fault(Kind::Omeda, "/12345/", json!({"status": 500}), Some(1))
        .await;
    road.publish("omeda", "j-1", &json!({"query": {"customer_id": 12345}}))
        .await;
    road.results(1).await;
    let spans = collector.wait_for(6).await;
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    let processed = "process lookup.jobs:omeda:lookup.jobs.omeda.bulk";
    let parked = "publish amq.default:lookup.delay.1s";
    assert_eq!(
        names,
        [
            processed,
            "GET",
            parked,
            processed,
            "GET",
            "publish lookup.results:omeda.found"
        ]
    );
    let [first, _, park, second, ..] = spans.as_slice() else {
        panic!("{spans:#?}")
    };
    assert!(
        spans.iter().all(|span| span.trace == first.trace),
        "{spans:#?}"
    );
    assert_eq!(
        (first.get("lookup.outcome"), second.get("lookup.outcome")),
        ("parked", "found")
    );
    assert_eq!(
        (&park.parent, &second.parent, second.links.as_slice()),
        (&first.id, &park.id, &[park.id.clone()][..])
    );
    assert_attributes(
        park,
        &[
            ("messaging.system", "rabbitmq"),
            ("messaging.operation.name", "publish"),
            ("messaging.operation.type", "send"),
            ("messaging.destination.name", "amq.default:lookup.delay.1s"),
            (
                "messaging.rabbitmq.destination.routing_key",
                "lookup.delay.1s",
            ),
            ("messaging.message.id", "j-1"),
            ("server.address", "127.0.0.1"),
            ("lookup.job.id", "j-1"),
        ],
    );
}

#[tokio::test]
async fn a_dead_letter_s_publish_is_a_part_of_the_trace_and_the_letter_carries_it_on() {
    let (vhost, collector) = (Broker::shared().vhost(), Collector::start().await);
    let road = Road::open(&vhost.url(), &collector.config("")).await;
    let none = Job::json(&json!({"query": {}}))
        .id("j-1")
        .header("traceparent", &traceparent(true));
    road.client
        .publish("lookup.jobs", "omeda", none.header("tracestate", "us=7"))
        .await;
    let letter = road.client.take("lookup.dead", 1, SOON).await.remove(0);
    let spans = collector.wait_for(3).await;
    let [process, bury, publish] = spans.as_slice() else {
        panic!("{spans:#?}")
    };
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    assert_eq!(
        (bury.name.as_str(), &bury.parent, &publish.parent),
        ("publish lookup.dead", &process.id, &process.id)
    );
    assert_eq!(
        (
            bury.get("messaging.message.id"),
            bury.get("lookup.job.id"),
            bury.failed
        ),
        ("j-1", "j-1", false)
    );
    assert_eq!(
        letter.header("traceparent").unwrap(),
        format!("00-{TRACE}-{}-01", bury.id)
    );
    assert_eq!(letter.header("tracestate").as_deref(), Some("us=7"));
}

#[tokio::test]
async fn a_trace_that_is_not_sampled_goes_on_unrecorded_and_a_share_of_none_begins_none() {
    let (vhost, collector) = (Broker::shared().vhost(), Collector::start().await);
    let mut road = Road::open(&vhost.url(), &collector.config("sample = 0.0")).await;
    let asked = job("84907089782")
        .id("j-1")
        .header("traceparent", &traceparent(false));
    road.client.publish("lookup.jobs", "antsomi", asked).await;
    let result = road.client.take("lookup.results", 1, SOON).await.remove(0);
    let carried = result.header("traceparent").unwrap();
    assert!(
        carried.starts_with(&format!("00-{TRACE}-")) && carried.ends_with("-00"),
        "{carried}"
    );
    road.ask("antsomi", &json!({"query": {"phone": "84907089782"}}))
        .await;
    road.worker.sigterm();
    assert!(road.worker.wait_exit().await.success());
    assert!(collector.spans().is_empty());
}

#[tokio::test]
async fn the_collector_is_let_know_who_sends_by_headers_from_a_file() {
    let (vhost, collector) = (Broker::shared().vhost(), Collector::start().await);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        secret.path(),
        "authorization=Bearer collector-secret,x-tenant=7\n",
    )
    .unwrap();
    let keys = format!(
        "headers_file = \"{}\"\nservice = \"lookups-of-test\"",
        secret.path().display()
    );
    let road = Road::open(&vhost.url(), &collector.config(&keys)).await;
    road.ask("antsomi", &json!({"query": {"phone": "84907089782"}}))
        .await;
    collector.wait_for(3).await;
    let headers = &collector.headers()[0];
    assert!(
        headers["authorization"] == "Bearer collector-secret" && headers["x-tenant"] == "7",
        "{headers:?}"
    );
    let shown = format!("{:?}", collector.batches()[0].resource_spans[0].resource);
    assert!(
        shown.contains("service.name") && shown.contains("lookups-of-test"),
        "{shown}"
    );
    assert!(!road.worker.log().contains("collector-secret"));
}

#[tokio::test]
async fn jobs_go_on_without_the_collector_and_the_end_does_not_wait_for_it() {
    let vhost = Broker::shared().vhost();
    let sandbox = Served::start().await;
    // It accepts, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let traces = format!(
        "[traces]\nendpoint = \"http://{}\"\n",
        silent.local_addr().unwrap()
    );
    let mut worker = Worker::start(&config(&vhost.url(), &sandbox, &traces));
    worker.wait_ready().await;
    let client = Client::connect(&vhost.url()).await;
    client
        .publish_all(
            "lookup.jobs",
            "antsomi",
            (0..50).map(|n| job("84907089782").id(&n.to_string())),
        )
        .await;
    client.take("lookup.results", 50, SOON).await;
    worker.sigterm();
    assert!(
        tokio::time::timeout(SOON, worker.wait_exit())
            .await
            .expect("it ends")
            .success()
    );
    assert!(
        worker.log().contains("the collector takes no spans"),
        "{}",
        worker.log()
    );
    drop(silent);
}
