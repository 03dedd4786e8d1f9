//! The committed descriptions of the messages, and the examples in them.

use lookup_worker::schema;
use serde_json::Value;

fn committed(name: &str) -> Value {
    let path = format!("{}/docs/schemas/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).expect("JSON")
}

fn validator(schema: &Value) -> jsonschema::Validator {
    jsonschema::draft202012::new(schema).unwrap_or_else(|error| panic!("{error}: {schema}"))
}

#[test]
fn the_committed_descriptions_are_current() {
    for (file, what, now) in [
        ("job.schema.json", "job", schema::job()),
        ("result.schema.json", "result", schema::result()),
        ("asyncapi.json", "asyncapi", schema::asyncapi("lookup")),
    ] {
        let renew = format!("cargo run -- schema {what} > docs/schemas/{file}");
        assert!(
            committed(file) == now,
            "docs/schemas/{file} is not what the program says; renew it: {renew}"
        );
    }
}

#[test]
fn every_example_is_as_its_message_is_described() {
    let document = schema::asyncapi("lookup");
    let mut count = 0;
    for (name, message) in document["components"]["messages"]
        .as_object()
        .expect("messages")
    {
        // References count from the root of the document.
        let mut payload = message["payload"]["schema"].clone();
        payload["components"] = document["components"].clone();
        let (payload, headers) = (validator(&payload), validator(&message["headers"]));
        for example in message["examples"].as_array().expect("examples") {
            count += 1;
            for (part, schema) in [("payload", &payload), ("headers", &headers)] {
                let problem = schema
                    .validate(&example[part])
                    .err()
                    .map(|error| error.to_string());
                assert_eq!(problem, None, "{name}, {}, {part}", example["name"]);
            }
        }
    }
    assert!(count >= 6, "{count} examples");
}

#[test]
fn the_job_examples_are_jobs_and_the_result_example_is_no_job() {
    let document = schema::asyncapi("lookup");
    let messages = &document["components"]["messages"];
    let job = validator(&schema::job());
    for example in messages["job"]["examples"].as_array().expect("examples") {
        assert!(job.is_valid(&example["payload"]), "{example}");
    }
    assert!(!job.is_valid(&messages["result"]["examples"][0]["payload"]));
}

#[test]
fn every_exchange_and_queue_of_the_document_is_one_of_the_contract() {
    let document = schema::asyncapi("mine");
    let mut bound = Vec::new();
    for channel in document["channels"].as_object().expect("channels").values() {
        let binding = &channel["bindings"]["amqp"];
        let kind = binding["is"]
            .as_str()
            .map(|is| if is == "queue" { "queue" } else { "exchange" });
        bound.extend(kind.map(|kind| binding[kind]["name"].as_str().expect("a name").to_owned()));
    }
    bound.sort();
    // As docs/contract.md has them, and as tests on a broker find them there.
    let expected = [
        "mine.dead",
        "mine.dead",
        "mine.jobs",
        "mine.jobs.{provider}.{lane}",
        "mine.results",
        "mine.results",
        "mine.unrouted",
    ];
    assert_eq!(bound, expected);
}
