//! `schema`, and what the command line says of itself.

use serde_json::{Value, json};

use super::Call;

async fn schema(what: &str) -> Value {
    let ran = Call::new(&["schema", what]).run().await.expect(0);
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

fn validator(schema: &Value) -> jsonschema::Validator {
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    jsonschema::draft202012::meta::validate(schema).expect("a schema");
    jsonschema::draft202012::new(schema).expect("a schema")
}

#[tokio::test]
async fn the_schema_of_jobs_accepts_the_contracts_job_and_refuses_what_is_none() {
    let schema = validator(&schema("job").await);
    for job in [
        json!({
            "query": {"phone": "+84 907 089 782"}, "options": {"raw": true},
            "deadline": "2026-11-21T10:15:30Z", "context": {"call_id": "c-42"}
        }),
        json!({"query": {"phone": ["1", "2"]}, "options": {"operator": "not_matches"}}),
        json!({"query": {"customer_id": 12345}, "provider": "omeda", "lane": "bulk", "id": "j-1"}),
        json!({"query": {"email": "a@b.c", "phone": "1"}, "deadline_ms": 500, "options": null, "context": null}),
        json!({"query": {"custom": [{"object": "customer", "name": "n", "value": "v"}]}, "options": {"language": "en-US"}}),
        json!({"query": {"account_id": "a"}, "options": {"exact_match": false}}),
    ] {
        assert!(
            schema.is_valid(&job),
            "{job}: {:?}",
            schema.validate(&job).err()
        );
    }
    for none in [
        json!({}),
        json!([]),
        json!({"query": {"phone": "1"}, "queries": 1}),
        json!({"query": {"fax": "1"}}),
        json!({"query": {"phone": 1}}),
        json!({"query": {"phone": "1"}, "lane": "fast"}),
        json!({"query": {"phone": "1"}, "deadline_ms": -1}),
        json!({"query": {"phone": "1"}, "options": {"nope": 1}}),
        json!({"query": {"phone": "1"}, "options": {"page": 0}}),
    ] {
        assert!(!schema.is_valid(&none), "{none}");
    }
}

#[tokio::test]
async fn the_schema_of_results_accepts_the_contracts_result() {
    let schema = validator(&schema("result").await);
    let found = json!({
        "job_id": "j-1", "provider": "antsomi", "status": "found",
        "customers": [{"customer_id": "84907089782", "phones": [{"number": "84907089782"}]}],
        "page": {"total": 1}, "attempts": 1, "duration_ms": 12, "completed_at": "2026-11-21T10:15:29.512Z",
        "context": {"call_id": "c-42"}
    });
    let failed = json!({
        "job_id": "j-1", "provider": "antsomi", "status": "failed", "attempts": 8, "duration_ms": 12,
        "error": {"kind": "rate_limited", "message": "m", "http_status": 429, "retryable": true},
        "completed_at": "2026-11-21T10:15:29.512Z"
    });
    for result in [&found, &failed] {
        assert!(
            schema.is_valid(result),
            "{result}: {:?}",
            schema.validate(result).err()
        );
    }
    let mut wrong = found;
    wrong["status"] = json!("perhaps");
    assert!(!schema.is_valid(&wrong));
}

#[tokio::test]
async fn the_asyncapi_document_refers_to_what_it_holds() {
    let document = schema("asyncapi").await;
    assert_eq!(document["asyncapi"], "3.0.0");
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a reference inside");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let ran = Call::new(&["schema", "asyncapi", "--prefix", "mine"])
        .run()
        .await
        .expect(0);
    assert!(ran.out.contains("mine.jobs") && !ran.out.contains("lookup.jobs"));
    Call::new(&["schema", "poem"]).run().await.expect(2);
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(
                fields
                    .get("$ref")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[tokio::test]
async fn the_command_line_tells_of_itself_and_refuses_what_it_does_not_know() {
    let ran = Call::new(&["--help"]).run().await.expect(0);
    for command in [
        "run", "check", "lookup", "pipe", "send", "dead", "sandbox", "schema",
    ] {
        assert!(
            ran.out
                .lines()
                .any(|line| line.trim_start().starts_with(command)),
            "{command} in {}",
            ran.out
        );
    }
    assert!(ran.out.contains("Exit codes"), "{}", ran.out);
    let ran = Call::new(&["--version"]).run().await.expect(0);
    assert_eq!(
        ran.out,
        concat!("lookup-worker ", env!("CARGO_PKG_VERSION"), "\n")
    );
    for wrong in [
        &["juggle"] as &[&str],
        &[],
        &["run", "--nope"],
        &["lookup"],
        &["dead"],
    ] {
        let ran = Call::new(wrong).run().await.expect(2);
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{ran:?}");
    }
}
