//! Descriptors, jobs and answers by them: a descriptor, a NUL, a job's query, a NUL, a body.

#![no_main]

use bytes::Bytes;
use lookup_worker::provider::descriptor::Descriptor;
use serde_json::value::RawValue;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let Ok(text) = std::str::from_utf8(part()) else { return };
    let Ok(descriptor) = Descriptor::parse(text) else { return };
    let query = String::from_utf8_lossy(part()).into_owned();
    let asked = RawValue::from_string(query)
        .ok()
        .and_then(|query| descriptor.request("https://provider.invalid", &query, None).ok());
    let values = asked.map(|asked| asked.values).unwrap_or_default();
    let response = http::Response::new(Bytes::copy_from_slice(part()));
    let _ = descriptor.read(&values, &response, jiff::Timestamp::UNIX_EPOCH);
});
