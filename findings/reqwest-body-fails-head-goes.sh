#!/bin/sh
# A request whose body fails before it yields a byte: over HTTP/1.1 reqwest (hyper) sends nothing of it, over HTTP/2 the
# server sees its head, and then a reset. So a body cannot hold a request back over HTTP/2.
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
bytes = "=1.12.1"
h2 = "=0.4.20"
http-body = "=1.0.1"
hyper = { version = "=1.12.0", features = ["http1", "http2", "client"] }
reqwest = { version = "=0.13.5", default-features = false, features = ["http2"] }
tokio = { version = "=1.54.1", features = ["rt", "net", "io-util", "macros", "time"] }
TOML

cat >"$folder/src/main.rs" <<'RUST'
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Says that it holds a byte, and fails when that is asked for.
struct Fails;

impl Body for Fails {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(Some(Err(io::Error::other("not now"))))
    }

    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(1)
    }
}

/// What a server reads of such a request, until the client closes or is silent.
async fn seen(client: reqwest::Client, http2: bool) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        if http2 {
            // An empty SETTINGS frame.
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        }
        let (mut all, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(Ok(read @ 1..)) =
            tokio::time::timeout(Duration::from_secs(3), stream.read(&mut piece)).await
        {
            all.extend_from_slice(&piece[..read]);
        }
        all
    };
    let request = client.post(url).body(reqwest::Body::wrap(Fails)).send();
    let (all, answer) = tokio::join!(server, request);
    assert!(answer.is_err());
    all
}

/// The types of the frames behind the preface.
fn frames(mut bytes: &[u8]) -> Vec<u8> {
    bytes = &bytes[24..];
    let mut types = Vec::new();
    while bytes.len() >= 9 {
        let length = usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
        types.push(bytes[3]);
        bytes = &bytes[9 + length..];
    }
    types
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let one = seen(reqwest::Client::builder().http1_only().build().unwrap(), false).await;
    println!("HTTP/1.1: {} bytes", one.len());
    let two = seen(reqwest::Client::builder().http2_prior_knowledge().build().unwrap(), true).await;
    let types = frames(&two);
    println!("HTTP/2: frames of the types {types:?} (1 is HEADERS, 3 is RST_STREAM)");
    let as_described = one.is_empty() && types.contains(&1) && types.contains(&3);
    std::process::exit(i32::from(!as_described));
}
RUST

echo "reqwest 0.13.5, hyper 1.12.0, h2 0.4.20"
cd "$folder"
cargo run --quiet
