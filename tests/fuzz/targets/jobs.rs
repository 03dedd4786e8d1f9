//! Job messages: the first byte chooses the kind, the rest is the body.

#![no_main]

#[path = "../../it/conformance/target.rs"]
#[allow(dead_code, reason = "shared with the other targets")]
mod target;

use jiff::Timestamp;
use lookup_worker::job::{Envelope, Job};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [choice, body @ ..] = data else { return };
    let kind = target::KINDS[usize::from(*choice) % target::KINDS.len()];
    let envelope = Envelope { routing_key: "it.bulk".into(), ..Envelope::default() };
    let adapter = target::plain(kind);
    let ticket = match Job::read(&envelope, body, 4096, Some(&adapter), Timestamp::UNIX_EPOCH) {
        Ok(job) => job.ticket,
        Err(not_a_job) => {
            // What is wrong is said, without a word of what came.
            assert!(!not_a_job.failure.message.is_empty() && not_a_job.failure.said.is_none());
            not_a_job.ticket
        }
    };
    assert!((1..=255).contains(&ticket.id.len()), "every job has an id that AMQP carries");
    assert!(ticket.context.is_none_or(|context| context.get() != "null"));
});
