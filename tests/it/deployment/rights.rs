//! The users of `deploy/rabbitmq/definitions.json` can do what they are for, and not more.

use futures_util::StreamExt;
use lapin::{
    options::{BasicConsumeOptions, BasicPublishOptions},
    types::FieldTable,
};
use serde_json::{Value, json};

use super::file;
use crate::{
    amqp::{Client, Job},
    broker::Broker,
    commands::Call,
    road::{SOON, Served, config},
    worker::Worker,
};

const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// A node of its own with the definitions and passwords.
fn broker() -> Broker {
    let broker = Broker::start();
    broker.import_definitions(&file("deploy/rabbitmq/definitions.json"));
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

/// By direct reply-to, for which a requester needs no right of its own.
async fn ask_directly(requester: &Client, key: &str, body: &Value) -> Value {
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let channel = requester.new_channel().await;
    let consume = channel.basic_consume(REPLY_TO.into(), "".into(), options, FieldTable::default());
    let mut replies = consume.await.expect("a consumer");
    let properties = lapin::BasicProperties::default().with_reply_to(REPLY_TO.into());
    let (options, body) = (BasicPublishOptions::default(), body.to_string());
    let publish = channel.basic_publish(
        "lookup.jobs".into(),
        key.into(),
        options,
        body.as_bytes(),
        properties,
    );
    publish.await.expect("a publish");
    let reply = tokio::time::timeout(SOON, replies.next()).await;
    let reply = reply.expect("a reply in time").expect("a reply");
    serde_json::from_slice(&reply.expect("a reply").data).expect("JSON")
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

    for user in [
        "lookup-requester",
        "lookup-worker",
        "lookup-worker-declared",
    ] {
        let ran = Call::new(&["send"])
            .env("LOOKUP__AMQP__URL", &url(broker, user))
            .input(r#"{"id":"sent","provider":"omeda","query":{"customer_id":12345}}"#)
            .run()
            .await
            .expect(0);
        assert_eq!(ran.lines()[0]["status"], "found", "{user}: {ran:?}");
    }
    let ran = Call::new(&["send", "--no-wait"])
        .env("LOOKUP__AMQP__URL", &url(broker, "lookup-requester"))
        .input(r#"{"id":"sent","provider":"omeda","query":{"customer_id":12345}}"#);
    ran.run().await.expect(0);
    assert_eq!(
        ask_directly(requester, "omeda", &sync).await["status"],
        "found"
    );

    requester
        .publish("lookup.jobs", "nobody", Job::json(&sync).id("stranger"))
        .await;
    let admin = Client::connect(&url(broker, "lookup-worker")).await;
    let results = crate::road::by_job(admin.take("lookup.results", 2, SOON).await);
    assert_eq!(results["sent"]["status"], "found");
    assert_eq!(results["stranger"]["error"]["kind"], "unknown_provider");
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
