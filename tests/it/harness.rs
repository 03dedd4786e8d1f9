//! The harness itself: what the other tests rely on.

use std::{process::Command, time::Duration};

use rustix::process::test_kill_process;
use serde_json::json;

use crate::{
    amqp::{Client, Job},
    broker::{Broker, unique},
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
async fn a_broker_can_be_killed_frozen_and_stopped_and_keeps_what_is_durable() {
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

    broker.freeze();
    assert!(!broker.accepts_connections());
    broker.thaw();
    broker.wait_ready();
    broker.stop_app();
    assert!(!broker.accepts_connections());
    broker.start_app();
    broker.stop();
    broker.start_again();

    let node = broker.pid();
    drop(broker);
    assert!(test_kill_process(node).is_err(), "dropped, it is gone");
}

#[test]
fn a_dropped_process_is_gone() {
    let mut process = Process::start(Command::new("sleep").arg("600"));
    let pid = process.pid();
    assert!(process.ended().is_none());
    drop(process);
    assert!(test_kill_process(pid).is_err());
}
