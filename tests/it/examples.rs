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
    road::{Road, SOON},
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

/// The program is gone while its jobs are answered, and takes its results afterwards.
async fn syncs(program: impl Fn() -> Command) {
    let vhost = Broker::shared().vhost();
    let url = vhost.url();
    let started = |arguments: [&str; 2]| {
        let mut command = program();
        command.args(arguments).env("AMQP_URL", &url);
        command
    };
    let mut early = started(["publish", "omeda"]);
    early
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut early = early.spawn().expect("a program");
    std::io::Write::write_all(&mut early.stdin.take().expect("a pipe"), ASKED.as_bytes())
        .expect("a line");
    let early = spawn_blocking(move || early.wait_with_output());
    let early = early.await.expect("no panic").expect("its output");
    assert!(
        !early.status.success(),
        "no worker has declared the exchange"
    );
    let said = String::from_utf8_lossy(&early.stderr);
    assert!(said.contains("lookup.jobs"), "{said}");

    let road = Road::open(&url, "").await;
    let queries = [ASKED, "{\"customer_id\": 12346}"].join("\n");
    assert!(
        run(&mut started(["publish", "omeda"]), &queries)
            .await
            .is_empty()
    );
    road.client
        .wait_for_depth("crm-sync.results", 2, SOON)
        .await;
    let results = run(&mut started(["results", "2"]), "").await;
    assert!(
        results.iter().all(|result| result["provider"] == "omeda"),
        "{results:?}"
    );
    assert_eq!(road.client.depth("crm-sync.results").await, Some(0));
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
}

#[tokio::test]
#[ignore = "needs packages of Python: deploy/test"]
async fn the_python_example_syncs_by_a_queue_of_its_own() {
    syncs(|| python("python/sync.py")).await;
}

#[tokio::test]
#[ignore = "needs packages of Node.js: deploy/test"]
async fn the_node_example_syncs_by_a_queue_of_its_own() {
    syncs(|| node("node/sync.js")).await;
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

const CALLER: &str = "[lookups.caller]\nmode = \"first\"\ncriteria = [\"phone\"]\ndeadline = \"3s\"\nsteps = [\n\
    { provider = \"kapture\", query = { phone = \"{query.phone}\" }, wanted = [\"name\"] },\n\
    { provider = \"antsomi\", query = { phone = \"{query.phone}\" } },\n]\n\
    [lookups.half]\nmode = \"first\"\ncriteria = [\"phone\", \"email\"]\nsteps = [\n\
    { provider = \"antsomi\", query = { phone = \"{query.phone}\" } },\n\
    { provider = \"plume\", query = { email = \"{query.email}\" } },\n]\n";

/// What is shown to whoever takes the call.
async fn shows(program: impl Fn() -> Command, url: &str) {
    for (lookup, phone, shown) in [
        ("caller", "+84 907 089 782", "Load (kapture)"),
        (
            "caller",
            "84900000404",
            "a new caller: nobody knows the number\n",
        ),
        ("caller", "84900000403", "cannot be told"),
        (
            "half",
            "84900000404",
            "nobody who could be asked knows the number; plume had nothing to ask by",
        ),
    ] {
        let mut command = program();
        command
            .args([phone, lookup])
            .env("AMQP_URL", url)
            .stderr(Stdio::inherit());
        let output = spawn_blocking(move || command.output());
        let output = output.await.expect("no panic").expect("a program");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(text.contains(shown), "{phone}: {shown} in {text}");
    }
}

#[tokio::test]
#[ignore = "needs packages of Python: deploy/test"]
async fn the_python_example_shows_who_is_calling() {
    let vhost = Broker::shared().vhost();
    let _road = Road::open(&vhost.url(), CALLER).await;
    shows(|| python("python/who_is_calling.py"), &vhost.url()).await;
}

#[tokio::test]
#[ignore = "needs packages of Node.js: deploy/test"]
async fn the_node_example_shows_who_is_calling() {
    let vhost = Broker::shared().vhost();
    let _road = Road::open(&vhost.url(), CALLER).await;
    shows(|| node("node/who-is-calling.js"), &vhost.url()).await;
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
