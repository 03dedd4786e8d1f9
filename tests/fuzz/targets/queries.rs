//! Jobs of every kind: the first byte chooses the kind, then a line with the query, then the options.

#![no_main]

#[path = "../../it/conformance/invariants.rs"]
#[allow(dead_code, reason = "shared with the other targets")]
mod invariants;
#[path = "../../it/conformance/target.rs"]
#[allow(dead_code, reason = "shared with the other targets")]
mod target;

use serde_json::value::RawValue;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [choice, job @ ..] = data else { return };
    let (query, options) = match job.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&job[..at], Some(&job[at + 1..])),
        None => (job, None),
    };
    let Ok(query) = serde_json::from_slice::<&RawValue>(query) else { return };
    let options = options.and_then(|options| serde_json::from_slice::<&RawValue>(options).ok());
    let kind = target::KINDS[usize::from(*choice) % target::KINDS.len()];
    invariants::hold_of_job(kind, query, options);
});
