//! The users of `deploy/rabbitmq/definitions.json` can do what they are for, and not more.

use serde_json::json;

use super::file;
use crate::{
    amqp::{Client, Job},
    broker::Broker,
    road::{SOON, Served, config},
    worker::Worker,
};

/// A node of its own with the definitions and passwords.
fn broker() -> Broker {
    let broker = Broker::start();
    let definitions = format!(
        "{}/deploy/rabbitmq/definitions.json",
        env!("CARGO_MANIFEST_DIR")
    );
    broker.rabbitmqctl(&["import_definitions", &definitions]);
    for user in [
        "lookup-worker",
        "lookup-worker-declared",
        "lookup-requester",
    ] {
        assert!(
            broker
                .try_rabbitmqctl(&["authenticate_user", user, ""])
                .is_err(),
            "{user} has an empty password"
        );
        broker.rabbitmqctl(&["change_password", user, "for-a-test"]);
    }
    broker
}

fn url(broker: &Broker, user: &str) -> String {
    format!(
        "amqp://{user}:for-a-test@127.0.0.1:{}/lookup",
        broker.port()
    )
}

/// Everything that a worker does on the broker: with quota, a job parked, a reply, a result, a dead letter.
async fn does_its_work(
    broker: &Broker,
    mut worker: Worker,
    sandbox: &Served,
    requester: &Client,
    round: &str,
) {
    worker.wait_ready().await;
    let replies = format!("lookup.replies.{round}");
    requester.declare_queue(&replies).await;
    let call = json!({"query": {"phone": "84907089782"}});
    requester
        .publish(
            "lookup.jobs",
            "antsomi.interactive",
            Job::json(&call).id("call").reply_to(&replies),
        )
        .await;
    assert_eq!(
        requester.take(&replies, 1, SOON).await[0].json()["status"],
        "found",
        "{}",
        worker.log()
    );

    let fault = json!({"status": 503, "retry_after": 3});
    sandbox
        .fault(
            lookup_worker::sandbox::Kind::Omeda,
            "/12345/",
            fault,
            Some(1),
        )
        .await;
    let sync = json!({"query": {"customer_id": 12345}});
    requester
        .publish(
            "lookup.jobs",
            "omeda",
            Job::json(&sync).id("parked").reply_to(&replies),
        )
        .await;
    let parked = requester.take(&replies, 1, SOON).await[0].json();
    assert_eq!(
        (&parked["status"], &parked["attempts"]),
        (&json!("found"), &json!(2)),
        "{}",
        worker.log()
    );

    requester
        .publish("lookup.jobs", "nobody", Job::json(&sync).id("stranger"))
        .await;
    let admin = Client::connect(&url(broker, "lookup-worker")).await;
    assert_eq!(
        admin.take("lookup.results", 1, SOON).await[0].json()["error"]["kind"],
        "unknown_provider"
    );
    assert_eq!(admin.take("lookup.dead", 1, SOON).await.len(), 1);
    worker.sigterm();
    assert!(worker.wait_exit().await.success(), "{}", worker.log());
    assert!(!worker.log().contains("ACCESS_REFUSED"), "{}", worker.log());
}

#[tokio::test]
async fn a_worker_needs_no_more_rights_than_it_is_given_declaring_or_not() {
    let (broker, sandbox) = (broker(), Served::start().await);
    let with_quota = |user: &str| {
        let config = config(&url(&broker, user), &sandbox, "");
        config.replace(
            "quota = \"none\"",
            "quota = { requests = 50, per = \"5s\" }",
        )
    };
    let requester = Client::connect(&url(&broker, "lookup-requester")).await;
    let worker = Worker::start(&with_quota("lookup-worker"));
    does_its_work(&broker, worker, &sandbox, &requester, "declaring").await;

    let declared =
        with_quota("lookup-worker-declared").replace("[amqp]\n", "[amqp]\ndeclare = false\n");
    does_its_work(
        &broker,
        Worker::start(&declared),
        &sandbox,
        &requester,
        "declared",
    )
    .await;
}

#[tokio::test]
async fn a_worker_that_may_not_declare_is_told_which_right_is_missing() {
    let (broker, sandbox) = (broker(), Served::start().await);
    let mut worker = Worker::start(&config(
        &url(&broker, "lookup-worker-declared"),
        &sandbox,
        "",
    ));
    assert_eq!(worker.wait_exit().await.code(), Some(1));
    let log = worker.log();
    assert!(
        log.contains("lookup.dead")
            && log.contains("ACCESS_REFUSED")
            && log.contains("the right to it"),
        "{log}"
    );
}

#[test]
fn no_user_is_defined_with_a_password() {
    let definitions: serde_json::Value =
        serde_json::from_str(&file("deploy/rabbitmq/definitions.json")).expect("JSON");
    for user in definitions["users"].as_array().expect("users") {
        assert_eq!(user["password_hash"], "", "{user}");
        assert!(user.get("password").is_none(), "{user}");
    }
}
