//! What people expect of any program: mistakes are told by their name and code, and nothing where there is nothing.

use std::{io::Read, process::Stdio};

use serde_json::json;

use super::Call;
use crate::{
    broker::Broker,
    road::{Road, SOON, Served, config},
    worker::program,
};

#[test]
fn a_reader_that_has_enough_is_no_news() {
    // More than a pipe holds.
    let mut command = program();
    let command = command
        .args(["schema", "asyncapi"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the built program");
    let mut out = child.stdout.take().expect("a pipe");
    out.read_exact(&mut [0; 10]).expect("its first words");
    drop(out);
    let ended = child.wait_with_output().expect("its end");
    assert_eq!(
        (
            ended.status.code(),
            String::from_utf8_lossy(&ended.stderr).as_ref()
        ),
        (Some(1), "")
    );
}

#[tokio::test]
async fn a_query_that_is_no_json_is_refused_and_not_repeated() {
    let sandbox = Served::start().await;
    let toml = config("amqp://127.0.0.1:1", &sandbox, "");
    for (argument, arguments) in [
        (
            "--query",
            &["lookup", "antsomi", "--query", "84907089782x"][..],
        ),
        (
            "--options",
            &[
                "lookup",
                "antsomi",
                "--query",
                "{}",
                "--options",
                "Ada 84907089782",
            ],
        ),
    ] {
        let ran = Call::new(arguments).config(&toml).run().await.expect(2);
        assert!(
            ran.err.contains(&format!("{argument}: expected JSON")) && !ran.err.contains("8490"),
            "{ran:?}"
        );
    }
}

#[tokio::test]
async fn flags_of_the_sandbox_that_do_not_fit_together_are_a_mistake_in_the_command_line() {
    for flags in [
        &["--status-rate", "3"][..],
        &["--print-config", "--antsomi-port", "0"],
    ] {
        let ran = Call::new(&[&["sandbox"], flags].concat())
            .run()
            .await
            .expect(2);
        assert!(
            ran.err.contains("expected") || ran.err.contains("--write-config"),
            "{ran:?}"
        );
    }
}

#[tokio::test]
async fn jobs_that_nobody_answers_and_files_that_are_none_are_told_by_their_name() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    road.worker.sigterm();
    assert!(road.worker.wait_exit().await.success());
    let toml = config(&vhost.url(), &road.sandbox, "");
    let call = Call::new(&["send", "."]).config(&toml);
    let ran = call.run().await.expect(1);
    assert!(ran.err.contains(".: Is a directory"), "{ran:?}");
    let line = json!({"provider": "omeda", "query": {"customer_id": 12345}}).to_string();
    let ran = Call::new(&["send", "--timeout", "1s"])
        .config(&toml)
        .input(line)
        .run()
        .await
        .expect(1);
    assert!(
        ran.err.contains("1 of 1 jobs are not answered") && ran.err.contains("lookup-worker check"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_choice_that_no_dead_letter_fits_is_told_apart_from_none_at_all() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let toml = config(&vhost.url(), &road.sandbox, "");
    let says =
        async |arguments: &[&str]| Call::new(arguments).config(&toml).run().await.expect(0).out;
    assert_eq!(says(&["dead", "list"]).await, "no dead letters\n");
    assert_eq!(says(&["dead", "show", "--all"]).await, "no dead letters\n");
    road.publish("omeda", "no-job", &json!({"query": {}})).await;
    road.client.wait_for_depth("lookup.dead", 1, SOON).await;
    assert_eq!(
        says(&["dead", "list", "--provider", "plume"]).await,
        "no such dead letters\n"
    );
    assert_eq!(
        says(&["dead", "show", "--id", "another"]).await,
        "no such dead letters\n"
    );
    assert_eq!(
        says(&["dead", "show", "--id", "another", "--json"]).await,
        ""
    );
}
