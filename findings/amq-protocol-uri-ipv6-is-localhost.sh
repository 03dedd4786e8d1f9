#!/bin/sh
# A broker's address whose host is an IPv6 literal, as RFC 3986 has it, is parsed without an error, and its host becomes
# "localhost": so a client connects to another machine than the one that was named, or to none. A host that is a name or
# an IPv4 address is kept.
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
amq-protocol-uri = "=10.6.3"
TOML

cat >"$folder/src/main.rs" <<'RUST'
use amq_protocol_uri::AMQPUri;

fn main() {
    let host = |address: &str| address.parse::<AMQPUri>().unwrap().authority.host;
    let found = [
        host("amqp://broker.example:5672"),
        host("amqp://192.0.2.7:5672"),
        host("amqp://[2001:db8::7]:5672"),
    ];
    println!("{found:?}");
    std::process::exit(i32::from(found != ["broker.example", "192.0.2.7", "localhost"]));
}
RUST

echo "amq-protocol-uri 10.6.3"
cd "$folder"
cargo run --quiet
