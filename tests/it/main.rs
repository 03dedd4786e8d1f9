//! The integration tests, as one binary: real RabbitMQ, real HTTP, the real program.
//!
//! First the parts that tests stand on, then the tests, one module a subject.

#![allow(
    dead_code,
    reason = "the parts offer what a test may need, used yet or not"
)]
#![allow(
    clippy::too_many_lines,
    reason = "a table of cases is as long as it has cases"
)]

mod amqp; // a test's own AMQP client
mod broker; // a private RabbitMQ node
mod browser; // Chromium, where there is one
mod cluster; // three of them that know each other
mod collector; // where spans go
mod keeper; // how such a node is run, and ended whatever happens
mod proxy; // between worker and broker, to cut what passes
mod road; // a worker, a sandbox and a broker, joined
mod scripted; // a provider that answers as it is told
mod tally; // what became of every job
mod worker; // the built program, running

mod batching; // many lookups out of few requests
mod binary; // text that is no UTF-8
mod conformance; // the five kinds, held against their documents; no I/O
mod harness; // the parts above do what tests rely on
mod sandbox; // the sandbox answers as the documents say

mod addressed; // jobs to a queue itself
mod alarm; // a broker that takes no publishes
mod bad_records; // what fails alone is its own affair
mod commands; // the command line, through the built program
mod contract; // jobs and results, as the contract has them
mod count; // what the provider says is left
mod cures; // what `check` advises, done
mod cuts; // connections cut in the middle
mod dead; // dead letters, looked at, sent back and thrown away
mod deadlines; // a call hears at its deadline, whatever stands in its way

mod deployment; // what is deployed beside the program goes with it
mod described; // providers that a file describes
mod descriptions; // what is committed for tools is what the program says
mod doctor; // `check`: what is not well is told, with what mends it
mod documents; // they lead somewhere and leave nothing out
mod examples; // they do what they show
mod explain; // where a job is, whoever has it
mod failures; // the table of docs/failures.md names its tests
mod findings; // what broker and library really do
mod frozen; // what answers nothing, and later goes on
mod hostile; // providers that answer what no document lists
mod http2; // a provider that speaks HTTP/2, and breaks off in every way
mod layers; // who may import whom
mod ledgers; // a quota in several ledgers, of which a node takes along one
mod lookups; // several providers asked in one job
mod losses; // whatever dies, every job is answered
mod mutations; // what a descriptor's own tests notice
mod nodes; // a cluster of which a node dies
mod page; // what people see at `/`
mod poison; // jobs that end the process, and their neighbours
mod privacy; // nothing private in what comes out
mod progress; // connected is not enough; and not too much at once
mod providers_down; // a provider's bad hour costs waiting, not jobs
mod quota; // never one request too many, and hardly one too few
mod readme; // what the README says is so
mod refusals; // what says nothing of the customer uses up no backlog
mod renewal; // SIGHUP: new secrets without losing a job
mod requests; // what requesters and their tools really send
mod reuse; // connections that are used again, and those that never come about
mod sizes; // results that no broker takes
mod soak; // the fault tests at scale, by hand
mod states; // page, /readyz, check, metrics and log, in each state
mod timeouts; // a consumer timeout shorter than a job waits
mod tls; // own authorities and client certificates, to broker and provider
mod traces; // a job's way as one trace, seen in a collector
mod waits; // how long a provider is left alone
