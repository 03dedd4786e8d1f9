//! The examples for requesters, run as they are against a real broker, worker and sandbox.
//!
//! They need packages of Python and Node.js, which `deploy/test` puts below `target/tools`; so they are left out of a
//! plain `cargo test`.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::{
    broker::Broker,
    keeper::{Node, free_ports},
    road::Road,
};

const ASKED: &str = r#"{"customer_id": 12345}"#;

fn tool(path: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("target/tools")
        .join(path);
    assert!(
        path.exists(),
        "{} is missing; deploy/test installs it",
        path.display()
    );
    path
}

fn example(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(path)
}

fn python(path: &str) -> Command {
    let mut command = Command::new(tool("python/bin/python"));
    command
        .arg(example(path))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn node(path: &str) -> Command {
    let mut command = Command::new("node");
    command
        .arg(example(path))
        .env("NODE_PATH", tool("examples/node_modules"));
    command
}

/// What it printed, each line as JSON; it must succeed.
async fn run(command: &mut Command, input: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("input");
    std::fs::write(&path, input).expect("a file in our folder");
    let input = std::fs::File::open(path).expect("a file in our folder");
    let child = command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a program");
    // Each example gives up by itself.
    let output = spawn_blocking(move || child.wait_with_output())
        .await
        .expect("no panic")
        .expect("its output");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[tokio::test]
#[ignore = "needs packages of Python: deploy/test"]
async fn the_python_examples_ask_and_take_results() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    for program in [
        "ask.py",
        "ask_aio_pika.py",
        "ask_faststream.py",
        "ask_kombu.py",
    ] {
        answers(python(&format!("python/{program}")).env("AMQP_URL", vhost.url())).await;
    }
    takes_results(
        python("python/results.py").env("AMQP_URL", vhost.url()),
        &road,
    )
    .await;
}

#[tokio::test]
#[ignore = "needs packages of Node.js: deploy/test"]
async fn the_node_examples_ask_and_take_results() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    for program in ["ask.js", "ask-rabbitmq-client.js"] {
        answers(node(&format!("node/{program}")).env("AMQP_URL", vhost.url())).await;
    }
    takes_results(node("node/results.js").env("AMQP_URL", vhost.url()), &road).await;
}

async fn answers(command: &mut Command) {
    let answers = run(command.args(["omeda", ASKED]), "").await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(
        (
            answers[0]["status"].as_str(),
            answers[0]["provider"].as_str()
        ),
        (Some("found"), Some("omeda"))
    );
    assert_eq!(answers[0]["customers"][0]["customer_id"], "12345");
}

async fn takes_results(command: &mut Command, road: &Road) {
    let queries = [ASKED, "{\"customer_id\": 12346}"].repeat(10).join("\n");
    let results = run(command.args(["omeda", "20"]), &queries).await;
    assert_eq!(results.len(), 20);
    assert!(
        results
            .iter()
            .all(|result| result["provider"] == "omeda" && result["status"] != "failed"),
        "{results:?}"
    );
    assert_eq!(
        road.client.depth("lookup.results").await,
        Some(0),
        "all were acknowledged"
    );
}

#[tokio::test]
#[ignore = "needs curl: deploy/test"]
async fn the_shell_example_asks() {
    let [port] = free_ports();
    let settings = format!("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}");
    let node = Node {
        settings,
        ..Node::alone()
    };
    let broker = Broker::launch_with(node, "[rabbitmq_management].");
    broker.wait_ready();
    let _road = Road::open(&broker.url(), "").await;
    let mut command = Command::new("sh");
    command.arg(example("shell/ask.sh")).env(
        "RABBITMQ_API",
        format!("http://guest:guest@127.0.0.1:{port}"),
    );
    let messages = run(command.args(["omeda", ASKED]), "").await;
    let message = &messages[0][0];
    assert_eq!(
        message["properties"]["type"], "lookup.result.v1",
        "{message}"
    );
    let result: Value =
        serde_json::from_str(message["payload"].as_str().expect("text")).expect("JSON");
    assert_eq!(result["status"], "found");
}
