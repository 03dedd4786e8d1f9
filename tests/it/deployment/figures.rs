//! Dashboard and rules name metrics that there are.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use lookup_worker::sandbox::{CountForm, Kind};
use serde_json::{Value, json};

use super::file;
use crate::{
    amqp::Client,
    broker::Broker,
    keeper::{Node, free_ports},
    road::{Road, SOON, Served, config},
    worker::Worker,
};

/// The words of a text that begin so, each once; recorded series (`level:name:rate`) are none.
fn words(text: &str, beginning: &str) -> BTreeSet<String> {
    let of_a_name = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    let words = text.split(|letter| !of_a_name(letter));
    words
        .filter(|word| word.starts_with(beginning) && !word.contains(':'))
        .map(str::to_owned)
        .collect()
}

/// Everything that dashboard and rules name.
fn named(beginning: &str) -> BTreeSet<String> {
    let mut named = words(&file("deploy/prometheus/rules.yml"), beginning);
    let dashboard: Value =
        serde_json::from_str(&file("deploy/grafana/lookup-worker.json")).expect("JSON");
    let mut expressions = Vec::new();
    collect(&dashboard, &mut expressions);
    assert!(expressions.len() > 20, "{expressions:?}");
    named.extend(
        expressions
            .iter()
            .flat_map(|expression| words(expression, beginning)),
    );
    named
}

/// The dashboard's queries and its variables' definitions.
fn collect(value: &Value, expressions: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "expr" || key == "definition" => {
                        expressions.push(text.clone());
                    }
                    other => collect(other, expressions),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, expressions)),
        _ => {}
    }
}

/// The names of the series in a page of metrics.
fn series(page: &str) -> BTreeSet<String> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect()
}

fn missing(named: &BTreeSet<String>, page: &str) -> Vec<String> {
    named.difference(&series(page)).cloned().collect()
}

#[tokio::test]
async fn every_metric_of_ours_that_dashboard_and_rules_name_is_exposed() {
    let vhost = Broker::shared().vhost();
    // One says how many requests are left.
    let sandbox = Served::with(|options| {
        let limit = "2000/1h".parse().expect("a limit");
        options.rate_limits = [(Kind::Plume, limit)].into();
        options.count = Some(CountForm::Seconds);
    })
    .await;
    let mut worker = Worker::start(&config(&vhost.url(), &sandbox, ""));
    worker.wait_ready().await;
    let client = Client::connect(&vhost.url()).await;
    let road = Road {
        client,
        worker,
        sandbox,
    };
    let fault = json!({"status": 503});
    road.sandbox
        .fault(Kind::Omeda, "/12345/", fault, Some(1))
        .await;
    // Found at the second attempt; no job.
    road.publish(
        "plume",
        "again",
        &json!({"query": {"account_id": "5f8d0d55b54764421b7156d9"}}),
    )
    .await;
    road.publish("omeda", "later", &json!({"query": {"customer_id": 12345}}))
        .await;
    road.publish("omeda", "none", &json!({"query": {}})).await;
    road.results(3).await;
    let named = named("lookup_");
    assert!(named.len() >= 14, "{named:?}");
    let shown = async {
        // Queues are looked at a moment after the start.
        while !missing(&named, &road.worker.metrics().await).is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    if tokio::time::timeout(SOON, shown).await.is_err() {
        let page = road.worker.metrics().await;
        panic!("{:?} missing in\n{page}", missing(&named, &page));
    }
}

#[tokio::test]
async fn every_metric_of_the_broker_that_dashboard_and_rules_name_is_exposed() {
    let [port] = free_ports();
    let settings = format!("prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {port}");
    let broker = Broker::launch(Node {
        settings,
        ..Node::alone()
    });
    broker.wait_ready();
    broker.enable_plugin("rabbitmq_prometheus");
    let client = Client::connect(&broker.url()).await;
    client.declare_queue("lookup.dead").await;
    let named = named("rabbitmq_");
    assert!(named.len() >= 2, "{named:?}");
    // The path and the family that deploy/prometheus/prometheus.yml asks for.
    let scrape = file("deploy/prometheus/prometheus.yml");
    assert!(scrape.contains("/metrics/detailed") && scrape.contains("queue_coarse_metrics"));
    let url = format!("http://127.0.0.1:{port}/metrics/detailed?family=queue_coarse_metrics");
    // The broker counts every few seconds.
    let mut page = String::new();
    for _ in 0..600 {
        page = reqwest::get(&url)
            .await
            .expect("the broker")
            .text()
            .await
            .expect("its answer");
        if missing(&named, &page).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?} missing in\n{page}", missing(&named, &page));
}

/// Prometheus' own view of names, units and help texts.
#[tokio::test]
#[ignore = "needs promtool: deploy/test"]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    road.publish("omeda", "none", &json!({"query": {}})).await;
    road.results(1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("metrics");
    fs::write(&path, road.worker.metrics().await).expect("a file in our folder");
    let page = fs::File::open(&path).expect("a file in our folder");
    let output = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(page)
        .output();
    let output = output.expect("promtool");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}
