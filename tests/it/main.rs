//! The integration tests, as one binary: real RabbitMQ, real HTTP, the real program.
//!
//! First the parts that tests stand on, then the tests, one module a subject.

#![allow(dead_code, reason = "the parts offer what a test may need, used yet or not")]

mod amqp; // a test's own AMQP client
mod broker; // a private RabbitMQ node
mod cluster; // three of them that know each other
mod keeper; // how such a node is run, and ended whatever happens
mod road; // a worker, a sandbox and a broker, joined
mod worker; // the built program, running

mod conformance; // the five kinds, held against their documents; no I/O
mod harness; // the parts above do what tests rely on
mod sandbox; // the sandbox answers as the documents say

mod commands; // the command line, through the built program
mod contract; // jobs and results, as the contract has them
mod dead; // dead letters, looked at, sent back and thrown away
mod deployment; // what is deployed beside the program goes with it
mod descriptions; // what is committed for tools is what the program says
mod examples; // they do what they show
mod hostile; // providers that answer what no document lists
mod losses; // whatever dies, every job is answered
mod providers_down; // a provider's bad hour costs waiting, not jobs
mod quota;
mod readme; // what the README says is so // never one request too many, and hardly one too few
