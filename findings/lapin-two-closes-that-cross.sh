#!/bin/sh
# A channel that is dropped while the broker owes an answer on it, and that the broker closes by itself a little later: the
# two channel.close cross, the broker answers the client's with close-ok, and lapin takes that for an error of the whole
# connection. AMQP 0-9-1 lets closes cross. RabbitMQ 4 does so a minute after it was asked for a classic queue whose
# node is away; here a server of some lines plays its part.
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
lapin = { version = "=4.12.3", default-features = false, features = ["tokio"] }
tokio = { version = "=1.54.1", features = ["rt", "net", "io-util", "macros", "time"] }
TOML

cat >"$folder/src/main.rs" <<'RUST'
use std::time::Duration;

use lapin::{options::QueueDeclareOptions, types::FieldTable, Connection, ConnectionProperties};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

async fn say(stream: &mut TcpStream, channel: [u8; 2], class: u8, method: u8, arguments: &[u8]) {
    let mut frame = vec![1, channel[0], channel[1]];
    frame.extend_from_slice(&(4 + arguments.len() as u32).to_be_bytes());
    frame.extend_from_slice(&[0, class, 0, method]);
    frame.extend_from_slice(arguments);
    frame.push(0xCE);
    let _ = stream.write_all(&frame).await;
}

/// A broker that answers no declaration, and closes its channel when the client does.
async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 8]).await?;
    let start = b"\x00\x09\0\0\0\0\0\0\0\x05PLAIN\0\0\0\x05en_US";
    say(&mut stream, [0, 0], 10, 10, start).await;
    loop {
        let mut head = [0; 7];
        stream.read_exact(&mut head).await?;
        let channel = [head[1], head[2]];
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        let mut payload = vec![0; size + 1];
        stream.read_exact(&mut payload).await?;
        if head[0] != 1 {
            continue;
        }
        match (payload[1], payload[3]) {
            (10, 11) => say(&mut stream, channel, 10, 30, &[7, 255, 0, 2, 0, 0, 0, 0]).await,
            (10, 40) => say(&mut stream, channel, 10, 41, &[0]).await,
            (20, 10) => say(&mut stream, channel, 20, 11, &[0; 4]).await,
            (20, 40) => {
                println!("the client closes the channel; so does the broker, and says close-ok to the client's");
                say(&mut stream, channel, 20, 40, b"\x01\x94\x04away\0\x32\0\x0a").await;
                say(&mut stream, channel, 20, 41, &[]).await;
            }
            _ => {}
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = serve(stream).await;
    });
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let declare =
        channel.queue_declare("q".into(), QueueDeclareOptions::default(), FieldTable::default());
    assert!(timeout(Duration::from_millis(200), declare).await.is_err());
    drop(channel);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let another = timeout(Duration::from_secs(5), connection.create_channel()).await.unwrap();
    let another = another.map(|_| "open").map_err(|error| error.to_string());
    println!("the connection is open: {}; another channel: {another:?}", connection.status().connected());
    std::process::exit(i32::from(connection.status().connected()));
}
RUST

echo "lapin 4.12.3"
cd "$folder"
cargo run --quiet
