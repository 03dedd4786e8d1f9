//! Jobs and answers of the descriptors among the examples: a byte that chooses one, a value, a NUL, a status as one
//! byte, a body. Whatever the value, it stands in its place: the path has as many segments as the descriptor's,
//! parameters and headers have its names, the body its members.

#![no_main]

use std::{fs, path::Path, sync::LazyLock};

use bytes::Bytes;
use lookup_worker::provider::descriptor::Descriptor;
use serde_json::{Value, json, value::RawValue};

/// Each example, and for each of its tests the query and its shape.
static EXAMPLES: LazyLock<Vec<(Descriptor, Vec<(Value, Shape)>)>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/providers");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = |file| {
        let descriptor = Descriptor::parse(&fs::read_to_string(file).unwrap()).unwrap();
        let queries = descriptor.tests.iter().filter_map(|(_, test)| {
            let query = serde_json::to_value(&test.query).ok()?;
            Some((query.clone(), shape(&descriptor, &query)?))
        });
        let queries = queries.collect();
        (descriptor, queries)
    };
    files.into_iter().map(read).collect()
});

/// What no value changes: host, segments, names of parameters and headers, the body's members.
type Shape = (String, usize, Vec<String>, Vec<String>, Value);

fn shape(descriptor: &Descriptor, query: &Value) -> Option<Shape> {
    let query = RawValue::from_string(query.to_string()).ok()?;
    let request = descriptor.request("https://provider.invalid/base", &query, None).ok()?.request;
    let uri = request.uri();
    let parameters = uri.query().unwrap_or_default().split('&');
    let parameters = parameters.map(|pair| pair.split('=').next().unwrap().to_owned());
    let headers = request.headers().keys().map(ToString::to_string);
    let body = serde_json::from_slice(request.body()).unwrap_or_default();
    assert!(!uri.path().split('/').any(|segment| matches!(segment, "." | "..")));
    Some((
        uri.authority().unwrap().to_string(),
        uri.path().split('/').count(),
        parameters.collect(),
        headers.collect(),
        without_values(body),
    ))
}

fn without_values(json: Value) -> Value {
    match json {
        Value::Array(items) => items.into_iter().map(without_values).collect(),
        Value::Object(members) => members.into_iter().map(|(name, value)| (name, without_values(value))).collect(),
        _ => Value::Null,
    }
}

/// The query with every text replaced.
fn with(query: &Value, text: &str) -> Value {
    let members = query.as_object().unwrap().iter();
    let replaced = members.map(|(name, value)| match value {
        Value::String(_) => (name.clone(), json!(text)),
        other => (name.clone(), other.clone()),
    });
    Value::Object(replaced.collect())
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((chosen, data)) = data.split_first() else { return };
    let (value, answer) = match data.iter().position(|byte| *byte == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[][..]),
    };
    let (descriptor, queries) = &EXAMPLES[usize::from(*chosen) % EXAMPLES.len()];
    let value = String::from_utf8_lossy(value);
    for (query, expected) in queries {
        if let Some(came) = shape(descriptor, &with(query, &value)) {
            assert_eq!(&came, expected);
        }
    }
    let Some((status, body)) = answer.split_first() else { return };
    let response = http::Response::builder()
        .status(200 + u16::from(*status))
        .body(Bytes::copy_from_slice(body))
        .unwrap();
    let _ = descriptor.read(&Vec::new(), &response, jiff::Timestamp::UNIX_EPOCH);
});
