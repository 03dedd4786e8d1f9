//! Descriptors, and answers read by them: a descriptor, a NUL, a body.

#![no_main]

use bytes::Bytes;
use lookup_worker::provider::descriptor::Descriptor;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (text, body) = match data.iter().position(|byte| *byte == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &b"{}"[..]),
    };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(descriptor) = Descriptor::parse(text) else { return };
    let response = http::Response::new(Bytes::copy_from_slice(body));
    let _ = descriptor.read(&response, jiff::Timestamp::UNIX_EPOCH);
});
