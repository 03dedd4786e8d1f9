//! What holds of every job and of every answer; the property tests and the fuzz targets ask it.

use bytes::Bytes;
use http::Response;
use lookup_worker::{json, outcome::Outcome};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use super::target;

/// Reads a job's query and options: that ends in a request below the provider's address, or in a refusal.
pub fn hold_of_job(kind: &str, query: &RawValue, options: Option<&RawValue>) {
    match target::plain(kind).lookup(query, options) {
        Ok(lookup) => {
            let usual = target::plain(kind)
                .lookup(&to_raw_value(&target::query(kind)).unwrap(), None)
                .unwrap();
            assert_eq!(
                lookup.request.uri().authority(),
                usual.request.uri().authority()
            );
            assert_eq!(lookup.request.method(), usual.request.method());
        }
        Err(refused) => assert!(!refused.problem.is_empty()),
    }
}

/// Whether the member is anywhere in the value.
fn holds(value: &Value, name: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| holds(item, name)),
        Value::Object(members) => members
            .iter()
            .any(|(key, value)| key == name || holds(value, name)),
        _ => false,
    }
}

/// Whether the provider's own words can mean that there is no such customer.
fn says_none(kind: &str, status: u16, body: &[u8]) -> bool {
    let text = json::text(body).unwrap_or_default();
    let json = || serde_json::from_str::<Value>(&text).ok();
    if json().is_none() && json::check(body).is_ok() {
        // A number beyond an f64, or deeper than serde_json reads a value: what it says is not known here.
        return true;
    }
    let is_empty =
        |value: Option<&Value>| value.and_then(Value::as_array).is_some_and(Vec::is_empty);
    match (kind, status) {
        ("egain", 204) => true,
        ("omeda" | "kapture" | "plume", 404) => {
            json().is_some_and(|json| json.is_object() || json.is_array())
        }
        ("antsomi", 200) => json().is_some_and(|json| is_empty(json.pointer("/data/entries"))),
        ("egain", 200) => json().is_some_and(|json| is_empty(json.get("customer"))),
        ("plume", 200) => json().is_some_and(|json| is_empty(Some(&json))),
        ("kapture", 200) => json().is_some_and(|json| {
            let details = json
                .get("Customer Details")
                .and_then(Value::as_str)
                .unwrap_or_default();
            details.to_ascii_lowercase().contains("does not exist")
        }),
        _ => false,
    }
}

/// Reads the answer and checks what must hold of every outcome.
pub fn hold_of_answer(kind: &str, status: u16, body: &[u8]) {
    let adapter = target::plain(kind);
    let lookup = adapter
        .lookup(&to_raw_value(&target::query(kind)).unwrap(), None)
        .unwrap();
    let response = Response::builder()
        .status(status)
        .body(Bytes::copy_from_slice(body))
        .unwrap();
    match adapter.read(&lookup, &response, jiff::Timestamp::UNIX_EPOCH) {
        Outcome::Found(customers, _) => {
            assert_eq!(status, 200);
            assert!(!customers.is_empty());
            assert!(
                customers
                    .iter()
                    .all(|customer| !customer.customer_id.trim().is_empty())
            );
        }
        Outcome::NotFound(_) => assert!(
            says_none(kind, status, body),
            "the provider has not said so"
        ),
        Outcome::Failed(failure) => assert!(!failure.message.is_empty()),
    }
    if let Some(raw) = adapter.raw(body).filter(|_| kind == "egain") {
        // A number beyond an f64 is none for serde_json's own values.
        if let Ok(raw) = serde_json::from_str::<Value>(raw.get()) {
            assert!(
                !holds(&raw, "pin") && !holds(&raw, "secretAnswer"),
                "a secret is left"
            );
        }
    }
}
