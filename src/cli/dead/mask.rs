//! Bodies and headers for eyes that need not see whom they speak of.

use serde_json::{Map, Value};

/// Stands for a value.
const HIDDEN: &str = "***";

/// Of a body that is larger, the size alone is shown.
const LONGEST_SHOWN: usize = 64 * 1024;

/// What says how a job was to be done and how it ended, and nothing of whom it was about.
const PLAIN: [&str; 11] = [
    "id",
    "job_id",
    "provider",
    "lane",
    "status",
    "deadline",
    "deadline_ms",
    "attempts",
    "duration_ms",
    "completed_at",
    "kind",
];

/// The body as JSON, its values masked.
pub(super) fn body(bytes: &[u8]) -> Value {
    if bytes.len() > LONGEST_SHOWN {
        return size(bytes, "too large to be shown masked");
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Value::Object(top(fields)),
        Ok(other) => masked(other),
        Err(_) => size(bytes, "no JSON"),
    }
}

/// The body as it is.
pub(super) fn revealed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}

/// The headers; those that are neither ours nor the broker's are the sender's, and masked.
pub(super) fn headers(headers: &Map<String, Value>) -> Map<String, Value> {
    let known = |name: &str| name.starts_with("x-lookup-") || matches!(name, "traceparent" | "x-delivery-count");
    let masked = |(name, value): (&String, &Value)| match known(name) {
        true => (name.clone(), value.clone()),
        false => (name.clone(), HIDDEN.into()),
    };
    headers.iter().map(masked).collect()
}

fn size(bytes: &[u8], why: &str) -> Value {
    format!("({} bytes, {why})", bytes.len()).into()
}

fn top(fields: Map<String, Value>) -> Map<String, Value> {
    let field = |(name, value): (String, Value)| {
        let shown = match name.as_str() {
            plain if PLAIN.contains(&plain) && !value.is_object() && !value.is_array() => value,
            // Its names are the sender's or the provider's own, and may tell as much as its values.
            "context" | "raw" => HIDDEN.into(),
            "error" => error(value),
            _ => masked(value),
        };
        (name, shown)
    };
    fields.into_iter().map(field).collect()
}

/// The message of an error may hold the provider's words.
fn error(value: Value) -> Value {
    let Value::Object(fields) = value else { return masked(value) };
    let plain = |name: &str| matches!(name, "kind" | "http_status" | "retryable");
    let field = |(name, value): (String, Value)| {
        let shown = if plain(&name) { value } else { masked(value) };
        (name, shown)
    };
    Value::Object(fields.into_iter().map(field).collect())
}

fn masked(value: Value) -> Value {
    match value {
        Value::String(_) | Value::Number(_) => HIDDEN.into(),
        Value::Array(items) => items.into_iter().map(masked).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, masked(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_shape_stays_and_the_values_go() {
        let job = json!({
            "id": "j-1", "provider": "a", "query": {"phone": ["849"], "customer_id": 5}, "options": {"raw": true},
            "context": {"849": 1}, "lane": {"phone": "849"}
        });
        let shown = body(job.to_string().as_bytes());
        assert_eq!(shown["query"], json!({"phone": ["***"], "customer_id": "***"}));
        assert_eq!((&shown["id"], &shown["options"]), (&json!("j-1"), &json!({"raw": true})));
        assert!(!shown.to_string().contains("849"), "{shown}");
        let result = json!({"error": {"kind": "rejected", "message": "849?", "http_status": 400}});
        assert_eq!(body(result.to_string().as_bytes())["error"]["message"], "***");
    }

    #[test]
    fn what_cannot_be_masked_is_counted() {
        for (bytes, said) in [(b"849".repeat(30_000).as_slice(), "90000 bytes"), (b"{849", "4 bytes"), (b"", "0 bytes")]
        {
            let shown = body(bytes).to_string();
            assert!(shown.contains(said) && !shown.contains("849"), "{shown}");
        }
        assert_eq!(body(b"849"), "***");
    }
}
