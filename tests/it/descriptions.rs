//! The committed descriptions of the messages, and the examples in them.

mod agreement; // the schema of jobs and the worker say the same
mod generated; // classes made of the schemas, by other people's tools

use lapin::{
    ExchangeKind,
    options::ExchangeDeclareOptions,
    types::{AMQPValue, FieldTable},
};
use lookup_worker::schema;
use serde_json::Value;

use crate::{amqp::Client, broker::Broker, road::Road};

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
        ("provider.schema.json", "provider", schema::provider()),
        ("config.schema.json", "config", schema::config()),
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

#[test]
fn every_definition_speaks_for_itself_and_no_null_is_promised_in_vain() {
    for (root, schema) in [
        ("LookupJob", schema::job()),
        ("LookupResult", schema::result()),
    ] {
        assert_eq!(schema["title"], root);
        for (name, definition) in schema["$defs"].as_object().expect("definitions") {
            assert_eq!(definition["title"], name.as_str());
            assert!(
                !name.ends_with(|c: char| c.is_ascii_digit()),
                "{name} is numbered"
            );
        }
    }
    let mut result = schema::result();
    for any in ["context", "raw"] {
        assert_eq!(
            result["properties"][any]["not"],
            serde_json::json!({"type": "null"})
        );
        result["properties"][any] = Value::Bool(true);
    }
    assert!(!result.to_string().contains("null"), "{result}");
}

#[tokio::test]
async fn an_exchange_is_declared_as_its_description_says_and_not_otherwise() {
    let vhost = Broker::shared().vhost();
    Road::open(&vhost.url(), "").await;
    let client = Client::connect(&vhost.url()).await;
    let document = schema::asyncapi("lookup");
    for channel in ["jobs", "resultsExchange"] {
        let channel = &document["channels"][channel];
        let described = channel["description"].as_str().expect("a description");
        let (_, rest) = described
            .split_once("`alternate-exchange` = `")
            .expect(described);
        let (alternate, _) = rest.split_once('`').expect(described);
        let exchange = &channel["bindings"]["amqp"]["exchange"];
        let name = exchange["name"].as_str().expect("a name");
        let declare = async |arguments: FieldTable| {
            let options = ExchangeDeclareOptions {
                durable: true,
                ..ExchangeDeclareOptions::default()
            };
            let channel = client.new_channel().await;
            let declared =
                channel.exchange_declare(name.into(), ExchangeKind::Topic, options, arguments);
            declared.await.is_ok()
        };
        let mut arguments = FieldTable::default();
        arguments.insert(
            "alternate-exchange".into(),
            AMQPValue::LongString(alternate.into()),
        );
        assert!(declare(arguments).await, "{name} as described");
        assert!(
            !declare(FieldTable::default()).await,
            "{name} as its bindings alone say"
        );
    }
}
