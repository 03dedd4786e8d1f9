//! `lookup-worker`: consumes customer-lookup jobs from RabbitMQ, asks the provider, publishes the results.
//!
//! The map, in the order in which a job flows. One job's whole way is `worker::journey`. Who may import whom is in
//! `docs/architecture.md`, under "The floors".

pub mod config; // the sections of the configuration, one struct a concern, and how they are read
pub mod settings; // the whole of it

pub mod broker; // alone names the client library: session, topology, deliveries, confirmed publishes
mod failpoint; // where a test can let a job's way end; nothing in a release
pub mod message; // names of queues, exchanges and headers
pub mod worker; // the loop around it all; `journey`: one job's whole way

pub mod job; // delivery -> job, or why it is none
pub mod json; // JSON in: errors that name the place and never the value
pub mod lane; // interactive or bulk
pub mod lease; // how long a delivery is ours
pub mod slots; // the turns of those who work on jobs, lent while a job waits

pub mod lookups; // several providers asked in one job

pub mod engine; // one provider at work: a lookup with all its attempts
pub mod http; // the one client that calls the providers
pub mod policy; // the decisions, pure
pub mod provider; // the closed set of kinds; one file a kind, pure
pub mod quota; // leave for each request, waited for in line
pub mod tokens; // what lets a request in: asked for, remembered, asked for anew

pub mod backlog; // how much waits for a provider, and how long it will take

pub mod customer; // the one normalised record
pub mod dead_letter; // what it is called, and whom it asks for
pub mod failure; // why there is no answer: the classes of contract §5
pub mod outcome; // what an answer came to
pub mod result; // the message that answers a job

pub mod clock; // time that no suspend stops

pub mod tls; // whom to trust, and as whom to come

pub mod cli; // the commands, one file each
pub mod embedded; // lookups without a broker
pub mod schema; // descriptions of the messages
pub mod telemetry; // logs, metrics, /livez /readyz /metrics, systemd

pub mod sandbox; // the five APIs as their documents say, with faults on request

pub mod guide; // docs/: architecture, from your program, failures, operations, upgrades
