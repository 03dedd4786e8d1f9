//! The harness itself: what the other tests rely on.

use std::{process::Command, time::Duration};

use rustix::process::test_kill_process;
use serde_json::json;

use crate::{
    amqp::{Client, Job},
    broker::{Broker, unique},
    cluster::Cluster,
    worker::Process,
};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_message_goes_through_the_shared_broker() {
    let vhost = Broker::shared().vhost();
    let client = Client::connect(&vhost.url()).await;
    client.declare_queue("replies").await;

    let jobs = (0..50).map(|n| {
        Job::json(&json!({ "n": n }))
            .id(&n.to_string())
            .header("x-test", "yes")
    });
    client.publish_all("", "replies", jobs).await;
    client
        .publish(
            "",
            "replies",
            Job::new("no JSON").correlation_id("c-1").reply_to("nobody"),
        )
        .await;
    client.wait_for_depth("replies", 51, SOON).await;

    let first = client.take("replies", 50, SOON).await;
    assert_eq!(first[7].json(), json!({ "n": 7 }));
    assert_eq!(
        (first[7].id(), first[7].header("x-test").as_deref()),
        (Some("7"), Some("yes"))
    );
    let last = client.take("replies", 1, SOON).await;
    assert_eq!(
        (last[0].correlation_id(), last[0].redelivered),
        (Some("c-1"), false)
    );
    assert_eq!(client.depth("replies").await, Some(0));
}

#[tokio::test]
async fn tests_on_the_shared_broker_do_not_see_each_other() {
    let (one, other) = (Broker::shared().vhost(), Broker::shared().vhost());
    let queue = unique("queue");
    Client::connect(&one.url())
        .await
        .declare_queue(&queue)
        .await;
    assert_eq!(
        Client::connect(&other.url()).await.depth(&queue).await,
        None
    );
}

#[tokio::test]
async fn a_durable_message_survives_kill_9_of_the_broker() {
    let broker = Broker::start();
    let client = Client::connect(&broker.url()).await;
    client.declare_queue("kept").await;
    client.publish("", "kept", Job::new("{}").id("j-1")).await;

    broker.write_down();
    let before = broker.pid();
    broker.kill();
    assert!(!broker.accepts_connections());
    broker.start_again();
    assert_ne!(broker.pid(), before);

    let kept = Client::connect(&broker.url())
        .await
        .take("kept", 1, SOON)
        .await;
    assert_eq!(kept[0].id(), Some("j-1"));
}

#[tokio::test]
async fn a_frozen_broker_answers_after_the_thaw() {
    let broker = Broker::start();
    broker.freeze();
    assert!(!broker.accepts_connections());
    broker.thaw();
    broker.wait_ready();
    broker.stop_app();
    assert!(!broker.accepts_connections());
    broker.start_app();
    broker.stop();
    broker.start_again();
}

#[test]
fn a_dropped_broker_leaves_no_process() {
    let broker = Broker::start();
    let node = broker.pid();
    drop(broker);
    assert!(test_kill_process(node).is_err());
}

#[test]
fn a_dropped_process_is_gone() {
    let mut process = Process::start(Command::new("sleep").arg("600"));
    let pid = process.pid();
    assert!(process.ended().is_none());
    drop(process);
    assert!(test_kill_process(pid).is_err());
}

#[tokio::test]
async fn a_cluster_keeps_a_quorum_queue_when_a_node_is_killed() {
    let cluster = Cluster::start(3);
    let client = Client::connect(&cluster.node(0).url()).await;
    let mut quorum = lapin::types::FieldTable::default();
    quorum.insert(
        "x-queue-type".into(),
        lapin::types::AMQPValue::LongString("quorum".into()),
    );
    client.declare_queue_with("kept", quorum).await;
    client.publish("", "kept", Job::new("{}").id("j-1")).await;

    cluster.kill(0);
    let survivor = Client::connect(&cluster.node(1).url()).await;
    assert_eq!(survivor.take("kept", 1, SOON).await[0].id(), Some("j-1"));
    cluster.start_again(0);
    assert_eq!(cluster.urls().len(), 3);
}
