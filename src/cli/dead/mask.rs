//! Bodies and headers for eyes that need not see whom they speak of.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::message::header;

/// Stands for a value.
pub(super) const HIDDEN: &str = "***";

/// Of a body that is larger, the size alone is shown.
const LONGEST_SHOWN: usize = 64 * 1024;

/// What says how a job was to be done and how it ended, and nothing of whom it was about: ids, words, times, counts.
const IDS: [&str; 2] = ["id", "job_id"];
const WORDS: [&str; 5] = ["provider", "lane", "status", "kind", "answered_by"];
const TIMES: [&str; 2] = ["deadline", "completed_at"];
const COUNTS: [&str; 3] = ["deadline_ms", "attempts", "duration_ms"];
/// What else says how a step of a lookup went.
const WORDS_OF_STEP: [&str; 2] = ["reason", "error"];

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
    let shown = |name: &str, value: &Value| match name {
        header::ROUTING_KEY => value.as_str().is_some_and(is_key),
        header::TRACEPARENT => value
            .as_str()
            .is_some_and(|text| text.bytes().all(|c| b"0123456789abcdef-".contains(&c))),
        header::MESSAGE => value.is_string(),
        name if name.starts_with("x-lookup-") => {
            value.is_number() || value.as_str().is_some_and(is_name)
        }
        name => matches!(name, "x-delivery-count" | "x-acquired-count") && value.is_number(),
    };
    let masked = |(name, value): (&String, &Value)| {
        (
            masked_name(name.clone()),
            if shown(name, value) {
                value.clone()
            } else {
                HIDDEN.into()
            },
        )
    };
    headers.iter().map(masked).collect()
}

/// Whether it can be the name of a provider, a field, a class: anything may stand in its place, a phone number too.
pub(super) fn is_name(text: &str) -> bool {
    let legal = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    !text.is_empty() && text.len() <= 64 && legal && !text.bytes().all(|c| c.is_ascii_digit())
}

/// Whether it can be a routing key or a queue's name, likewise.
pub(super) fn is_key(text: &str) -> bool {
    text.split('.').all(is_name)
}

fn size(bytes: &[u8], why: &str) -> Value {
    format!("({} bytes, {why})", bytes.len()).into()
}

fn top(fields: Map<String, Value>) -> Map<String, Value> {
    let field = |(name, value): (String, Value)| {
        let shown = match name.as_str() {
            plain if is_plain(plain, &value) => value,
            // Its names are the sender's or the provider's own, and may tell as much as its values.
            "context" | "raw" => HIDDEN.into(),
            "error" => error(value),
            "steps" => steps(value),
            _ => masked(value),
        };
        (name, shown)
    };
    fields
        .into_iter()
        .map(field)
        .map(|(name, value)| (masked_name(name), value))
        .collect()
}

fn is_plain(name: &str, value: &Value) -> bool {
    let text = value.as_str();
    IDS.contains(&name) && (value.is_string() || value.is_number())
        || WORDS.contains(&name) && text.is_some_and(is_name)
        || TIMES.contains(&name) && text.is_some_and(|text| text.parse::<Timestamp>().is_ok())
        || COUNTS.contains(&name) && value.is_number()
}

fn masked_name(name: String) -> String {
    if is_name(&name) { name } else { HIDDEN.into() }
}

/// How each step of a lookup went.
fn steps(value: Value) -> Value {
    let field = |(name, value): (String, Value)| {
        let is_word = WORDS_OF_STEP.contains(&&*name) && value.as_str().is_some_and(is_name);
        if is_word || is_plain(&name, &value) {
            return (name, value);
        }
        (masked_name(name), masked(value))
    };
    let step = |value: Value| match value {
        Value::Object(fields) => Value::Object(fields.into_iter().map(field).collect()),
        other => masked(other),
    };
    match value {
        Value::Array(values) => values.into_iter().map(step).collect(),
        other => masked(other),
    }
}

/// The message of an error may hold the provider's words.
fn error(value: Value) -> Value {
    let Value::Object(fields) = value else {
        return masked(value);
    };
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
        Value::Object(fields) => {
            let fields = fields
                .into_iter()
                .map(|(name, value)| (masked_name(name), masked(value)));
            Value::Object(fields.collect())
        }
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
        assert_eq!(
            shown["query"],
            json!({"phone": ["***"], "customer_id": "***"})
        );
        assert_eq!(
            (&shown["id"], &shown["options"]),
            (&json!("j-1"), &json!({"raw": true}))
        );
        assert!(!shown.to_string().contains("849"), "{shown}");
        let result = json!({"error": {"kind": "rejected", "message": "849?", "http_status": 400}});
        assert_eq!(
            body(result.to_string().as_bytes())["error"]["message"],
            "***"
        );
    }

    #[test]
    fn how_a_lookup_s_steps_went_is_shown_and_whom_they_found_is_not() {
        let steps = json!([
            {"provider": "crm", "status": "failed", "error": "forbidden", "attempts": 2, "duration_ms": 7, "cached": false},
            {"provider": "erp", "status": "skipped", "reason": "no_value", "attempts": 0, "duration_ms": 0, "cached": false},
        ]);
        let result = json!({
            "answered_by": "crm", "incomplete": true, "steps": steps,
            "customers": [{"customer_id": "849", "name": "Ada", "source": "849"}],
        });
        let shown = body(result.to_string().as_bytes());
        assert_eq!(
            (&shown["steps"], &shown["answered_by"]),
            (&steps, &json!("crm"))
        );
        assert!(
            !shown.to_string().contains("849") && !shown.to_string().contains("Ada"),
            "{shown}"
        );

        let strange = json!({"steps": [{"provider": "849", "reason": "Ada L", "error": {"kind": "849"}, "phone": "849"}, "849"]});
        let shown = body(strange.to_string().as_bytes()).to_string();
        assert!(!shown.contains("849") && !shown.contains("Ada"), "{shown}");
    }

    #[test]
    fn what_cannot_be_masked_is_counted() {
        for (bytes, said) in [
            (b"849".repeat(30_000).as_slice(), "90000 bytes"),
            (b"{849", "4 bytes"),
            (b"", "0 bytes"),
        ] {
            let shown = body(bytes).to_string();
            assert!(shown.contains(said) && !shown.contains("849"), "{shown}");
        }
        assert_eq!(body(b"849"), "***");
    }

    #[test]
    fn a_name_that_can_be_none_is_a_value() {
        let job = json!({"query": {"849": 1, "a@b": {"Ada L": 2}, "phone": 3}, "a b": 1, "provider": "a@b", "deadline": "Ada"});
        let shown = body(job.to_string().as_bytes());
        assert_eq!(
            shown["query"],
            json!({"***": {"***": "***"}, "phone": "***"})
        );
        assert_eq!(
            (&shown["provider"], &shown["deadline"]),
            (&json!("***"), &json!("***"))
        );
        let sent = json!({"x-lookup-routing-key": "849", "traceparent": "Ada", "x-lookup-error": "timeout", "a@b": 1});
        let counts = json!({"x-delivery-count": 2, "x-acquired-count": 3});
        assert_eq!(Value::Object(headers(counts.as_object().unwrap())), counts);
        let shown = headers(sent.as_object().unwrap());
        assert_eq!(
            Value::Object(shown),
            json!({"x-lookup-routing-key": "***", "traceparent": "***", "x-lookup-error": "timeout", "***": "***"})
        );
    }
}
