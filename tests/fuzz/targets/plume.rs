//! Answers of kind plume: the first byte chooses the status, the rest is the body.

#![no_main]

#[path = "../../it/conformance/invariants.rs"]
#[allow(dead_code, reason = "shared with the other targets")]
mod invariants;
#[path = "../../it/conformance/target.rs"]
#[allow(dead_code, reason = "shared with the other targets")]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let [choice, body @ ..] = data {
        let status = match choice {
            0..=199 => 200,
            200..=219 => 404,
            220..=239 => 400,
            rest => 190 + u16::from(*rest), // 430..=445
        };
        invariants::hold_of_answer("plume", status, body);
    }
});
