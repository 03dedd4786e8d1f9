//! `run`, `check` and `send`: the commands that need a broker, with one and without.

use std::net::TcpListener;

use serde_json::json;

use super::Call;
use crate::{
    broker::Broker,
    road::{Road, SOON, Served, config},
    worker::Worker,
};

/// Nobody listens there.
const NOWHERE: &str = "amqp://127.0.0.1:1";

#[tokio::test]
async fn run_waits_for_a_broker_that_is_down_says_so_and_stops_at_once_when_told() {
    let sandbox = Served::start().await;
    let mut worker = Worker::start(&config(NOWHERE, &sandbox, ""));
    let told = async {
        loop {
            if let Some((503, reason)) = worker.get("/readyz").await
                && reason.contains("127.0.0.1:1")
            {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, told)
        .await
        .expect("the reason at /readyz");
    assert_eq!(worker.get("/livez").await.unwrap().0, 200);
    let begun = std::time::Instant::now();
    worker.sigterm();
    assert_eq!(worker.wait_exit().await.code(), Some(0), "{}", worker.log());
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(5),
        "promptly"
    );
}

#[tokio::test]
async fn logs_in_json_have_numbers_as_numbers() {
    let sandbox = Served::start().await;
    let worker = Worker::start(&config(NOWHERE, &sandbox, "[log]\nformat = \"json\""));
    worker.wait_for_log("no broker; trying again", 2).await;
    let log = worker.log();
    let mut lines = log.lines();
    let line = lines.find(|line| line.contains("trying again"));
    let line: serde_json::Value = serde_json::from_str(line.expect("a line")).expect("JSON");
    assert!(
        line["wait_ms"].is_u64() && line["level"] == "WARN",
        "{line}"
    );
}

#[tokio::test]
async fn run_stops_at_sigint_as_at_sigterm() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    road.worker.sigint();
    assert_eq!(
        road.worker.wait_exit().await.code(),
        Some(0),
        "{}",
        road.worker.log()
    );
}

#[tokio::test]
async fn a_taken_port_is_named_by_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let sandbox = Served::start().await;
    let call = Call::new(&["run"])
        .config(&config(NOWHERE, &sandbox, ""))
        .env("LOOKUP__HTTP__LISTEN", &address);
    let ran = call.run().await.expect(1);
    assert!(
        ran.err.contains("http.listen") && ran.err.contains(&address),
        "{ran:?}"
    );
}

#[tokio::test]
async fn check_tells_of_everything_in_a_line_for_each() {
    let vhost = Broker::shared().vhost();
    let sandbox = Served::start().await;
    let toml = config(&vhost.url(), &sandbox, "");
    let ran = Call::new(&["check"]).config(&toml).run().await.expect(0);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 9 + 3 * 5, "{ran:?}");
    assert!(lines.iter().all(|line| line.starts_with("ok  ")), "{ran:?}");
    let parts = [
        "configuration",
        "broker",
        "topology",
        "holds",
        "replies",
        "dead letters",
        "rights",
        "alarms",
        "worker",
    ];
    let of_providers = [
        "backlog plume",
        "provider antsomi",
        "provider plume",
        "credentials egain",
    ];
    for part in parts.into_iter().chain(of_providers) {
        let of_part = |line: &&&str| line[6..].split("  ").next() == Some(part);
        assert_eq!(lines.iter().filter(of_part).count(), 1, "{part}: {ran:?}");
    }
    let json = Call::new(&["check", "--json"])
        .config(&toml)
        .run()
        .await
        .expect(0)
        .lines();
    assert_eq!(json.len(), lines.len());
    for (json, text) in json.iter().zip(&lines) {
        assert!(
            json["ok"] == true && text.contains(json["check"].as_str().unwrap()),
            "{json} {text}"
        );
    }
    // Plume alone has a quota there.
    assert!(
        ran.out
            .contains(" 0 jobs wait, 0s at one request each; 2000 requests per 5m"),
        "{ran:?}"
    );
    assert_eq!(ran.out.matches(" 0 jobs wait\n").count(), 4, "{ran:?}");
}

#[tokio::test]
async fn check_fails_where_broker_or_provider_is_out_of_reach_and_tells_of_the_rest() {
    let sandbox = Served::start().await;
    let lost = "[providers.lost]\nkind = \"kapture\"\nbase_url = \"http://127.0.0.1:1\"\ntoken = \"hunter2\"\n";
    let ran = Call::new(&["check"])
        .config(&config("amqp://guest:hunter2@127.0.0.1:1", &sandbox, lost))
        .run()
        .await;
    let ran = ran.expect(1);
    let failed: Vec<&str> = ran
        .out
        .lines()
        .filter(|line| line.starts_with("FAIL"))
        .collect();
    assert!(
        matches!(failed.as_slice(), [broker, provider]
        if broker.contains("broker") && broker.contains("127.0.0.1:1") && provider.contains("provider lost")),
        "{ran:?}"
    );
    assert_eq!(
        ran.out
            .lines()
            .filter(|line| line.starts_with("ok    provider "))
            .count(),
        5,
        "{ran:?}"
    );
    assert!(!format!("{ran:?}").contains("hunter2"));
}

#[tokio::test]
async fn send_prints_a_result_for_each_line() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let toml = config(&vhost.url(), &road.sandbox, "");
    let lines = [
        r#"{"id":"one","provider":"antsomi","query":{"phone":"84907089782"}}"#,
        r#"{"id":"two","provider":"omeda","lane":"interactive","query":{"customer_id":12345}}"#,
        r#"{"id":"three","provider":"nobody","query":{}}"#,
        "no JSON",
        r#"{"id":"four","provider":"plume","query":{"account_id":"84900000404"}}"#,
    ];
    let ran = Call::new(&["send"])
        .config(&toml)
        .input(lines.join("\n"))
        .run()
        .await
        .expect(0);
    let results = ran.lines();
    assert_eq!(results.len(), 5, "{ran:?}");
    for (id, status) in [
        ("one", "found"),
        ("two", "found"),
        ("three", "failed"),
        ("four", "not_found"),
    ] {
        assert!(
            results
                .iter()
                .any(|result| result["job_id"] == id && result["status"] == status),
            "{id}: {ran:?}"
        );
    }

    let call = Call::new(&["send", "jobs.jsonl"])
        .file("jobs.jsonl", lines[0])
        .config(&toml);
    assert_eq!(call.run().await.expect(0).lines()[0]["status"], "found");
    let call = Call::new(&["send", "--no-wait"])
        .config(&toml)
        .input(lines[0]);
    assert_eq!(call.run().await.expect(0).out, "");
    assert_eq!(road.results(1).await["one"]["status"], json!("found"));
    Call::new(&["send"]).config(&toml).run().await.expect(0);
    let ran = Call::new(&["send", "no-such-file"])
        .config(&toml)
        .run()
        .await
        .expect(2);
    assert!(ran.err.contains("no-such-file"), "{ran:?}");
}

#[tokio::test]
async fn a_byte_order_mark_before_the_first_line_costs_no_job_its_id() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let toml = config(&vhost.url(), &road.sandbox, "");
    let line = "\u{FEFF}{\"id\":\"one\",\"provider\":\"antsomi\",\"query\":{\"phone\":\"84907089782\"}}\r\n";
    for command in ["send", "pipe"] {
        let call = Call::new(&[command]).config(&toml).input(line);
        let results = call.run().await.expect(0).lines();
        assert_eq!(results[0]["job_id"], "one", "{results:?}");
        assert_eq!(results[0]["status"], "found", "{results:?}");
    }
}

#[tokio::test]
async fn send_gives_up_and_tells_which_lines_were_not_answered() {
    let vhost = Broker::shared().vhost();
    let sandbox = Served::start().await;
    let toml = config(&vhost.url(), &sandbox, "");
    let line = r#"{"provider":"antsomi","query":{"phone":"84907089782"}}"#;
    let ran = Call::new(&["send", "--timeout", "500ms"])
        .config(&toml)
        .input(line)
        .run()
        .await
        .expect(1);
    // Only a worker declares what jobs are published to.
    assert!(
        ran.err.contains("there is no exchange lookup.jobs"),
        "{ran:?}"
    );
    let mut worker = Worker::start(&toml);
    worker.wait_ready().await;
    worker.kill9();
    let ran = Call::new(&["send", "--timeout", "500ms"])
        .config(&toml)
        .input(line)
        .run()
        .await
        .expect(1);
    assert!(ran.err.contains("1 of 1 jobs are not answered"), "{ran:?}");
    // A worker of this configuration would refuse each of its jobs, and say so to somebody else.
    let strict = format!("{toml}\n[reply]\nallow = [\"r.*\", \"amq.rabbitmq.reply-to\"]\n");
    let ran = Call::new(&["send"]).config(&strict).input(line);
    let ran = ran.run().await.expect(2);
    assert!(
        ran.err.contains("`reply.allow`") && ran.err.contains("\"lookup.replies.*\""),
        "{ran:?}"
    );

    let ran = Call::new(&["send"])
        .config(&config(NOWHERE, &sandbox, ""))
        .input(line)
        .run()
        .await
        .expect(1);
    assert!(ran.err.contains("127.0.0.1:1"), "{ran:?}");
}
