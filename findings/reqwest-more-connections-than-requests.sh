#!/bin/sh
# reqwest (hyper-util's pool) over HTTP/1.1: with never more than 64 requests in flight, one after the other by each of 64
# tasks, more than 64 connections are made where a connection takes longer to make than an answer to come. A request
# that finds no idle connection begins one, is served by another that became idle meanwhile, and the one begun is
# finished and kept all the same. With TLS each costs a handshake.
#
# Seen with reqwest 0.13.5 and hyper-util 0.1.21: 81 connections for 64 requests in flight; 14 for 8.
#
# Needs cargo and the network. Works in a temporary folder. Exit code 0: seen as described; 1: it has changed.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"

cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
hyper-util = "=0.1.21"
reqwest = { version = "=0.13.5", default-features = false }
tokio = { version = "=1.54.1", features = ["rt", "net", "io-util", "macros", "time"] }
TOML

cat >"$folder/src/main.rs" <<'RUST'
use std::{
    net::SocketAddr,
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        Arc,
    },
    time::Duration,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const IN_FLIGHT: usize = 64;
const EACH: usize = 30;

/// What a handshake costs: a connection takes longer than an answer.
struct Slow(SocketAddr);

impl Resolve for Slow {
    fn resolve(&self, _: Name) -> Resolving {
        let address = self.0;
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok(Box::new(std::iter::once(address)) as Addrs)
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Relaxed);
            tokio::spawn(async move {
                let mut head = [0; 4096];
                // Each request is small and comes in one piece.
                while let Ok(1..) = stream.read(&mut head).await {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(answer).await.unwrap();
                }
            });
        }
    });
    let resolver = Arc::new(Slow(address));
    let client = reqwest::Client::builder().dns_resolver(resolver).build().unwrap();
    let url = format!("http://provider.test:{}/", address.port());
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (client, url) = (client.clone(), url.clone());
            tokio::spawn(async move {
                for _ in 0..EACH {
                    let answer = client.get(&url).send().await.unwrap();
                    assert_eq!(answer.text().await.unwrap(), "ok");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let accepted = accepted.load(Relaxed);
    println!("{IN_FLIGHT} requests in flight, {} in all, {accepted} connections", IN_FLIGHT * EACH);
    assert!(accepted > IN_FLIGHT + 4, "it has changed");
}
RUST

cd "$folder"
cargo run --quiet
