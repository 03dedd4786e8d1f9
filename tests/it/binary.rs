//! A producer's text that is no UTF-8 costs its own job the way, and nobody else's.

use std::net::Ipv4Addr;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    commands::Call,
    road::{Road, SOON},
};

/// What a client writes who cannot write bytes, and what arrives in its stead.
const WRITTEN: &[u8] = b"~~binary~~";
const ARRIVES: &[u8] = b"\xff\xfe\xc3binary";

/// A client of this virtual host whose [`WRITTEN`] arrives as [`ARRIVES`].
async fn binary_client(broker: &Broker, vhost: &str) -> Client {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (port, broker_port) = (listener.local_addr().unwrap().port(), broker.port());
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let broker = TcpStream::connect((Ipv4Addr::LOCALHOST, broker_port));
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_broker, mut to_broker) = broker.await.unwrap().into_split();
        tokio::spawn(async move { copy(&mut from_broker, &mut to_client).await });
        let mut piece = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_client.read(&mut piece).await {
            let piece = &mut piece[..read];
            for at in 0..read.saturating_sub(WRITTEN.len()) {
                if piece[at..].starts_with(WRITTEN) {
                    piece[at..at + ARRIVES.len()].copy_from_slice(ARRIVES);
                }
            }
            to_broker.write_all(piece).await.unwrap();
        }
    });
    let vhost = vhost.rsplit('/').next().unwrap();
    Client::connect(&format!("amqp://guest:guest@127.0.0.1:{port}/{vhost}")).await
}

fn written() -> &'static str {
    std::str::from_utf8(WRITTEN).unwrap()
}

fn job() -> Job {
    Job::json(&json!({"query": {"phone": "84907089782"}}))
}

async fn dead(url: &str, arguments: &[&str]) -> String {
    let call = Call::new(arguments).env("LOOKUP__AMQP__URL", url);
    call.run().await.expect(0).out
}

#[tokio::test]
async fn binary_ids_are_answered_and_dead_lettered_and_nobody_else_notices() {
    let (broker, vhost) = (Broker::shared(), Broker::shared().vhost());
    let road = Road::open(&vhost.url(), "").await;
    let client = binary_client(broker, &vhost.url()).await;
    let binary = [
        (
            "antsomi.interactive",
            job().correlation_id(written()).id("one"),
        ),
        ("antsomi.interactive", job().id(written())),
        ("antsomi.bulk", job().reply_to(written()).id("three")),
    ];
    for (key, job) in binary {
        client.publish("lookup.jobs", key, job).await;
    }
    client
        .publish("lookup.jobs", written(), job().id("no such key"))
        .await;
    for n in 0..20 {
        let body = json!({"query": {"customer_id": "12345"}});
        road.publish("omeda", &format!("well-{n}"), &body).await;
    }
    let results = road.results(24).await;
    let of = |status: &str| {
        let error = |result: &&serde_json::Value| result["error"]["kind"] == status;
        results.values().filter(error).count()
    };
    assert_eq!(
        (of("invalid_job"), of("unknown_provider")),
        (3, 1),
        "{results:?}"
    );
    let problem = results["one"]["error"]["message"].as_str().unwrap();
    assert!(
        problem.contains("correlation_id") && problem.contains("UTF-8"),
        "{problem}"
    );
    let log = road.worker.log();
    assert!(!log.contains("the broker is gone"), "{log}");

    // As one that the broker itself has put there.
    client.publish("lookup.dead", "", job().id(written())).await;
    road.client.wait_for_depth("lookup.dead", 5, SOON).await;
    let url = vhost.url();
    assert!(dead(&url, &["dead", "list"]).await.contains("invalid_job"));
    assert!(dead(&url, &["dead", "show", "--all"]).await.contains("one"));
    dead(&url, &["dead", "drop", "--error", "invalid_job"]).await;
    road.client.wait_for_depth("lookup.dead", 2, SOON).await;
    dead(&url, &["dead", "drop", "--all"]).await;
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
}
