//! Descriptions of the messages that tools read, made from the types that read and write them.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::{job::Body, provider::Adapter, result::LookupResult};

/// JSON Schema 2020-12 of a job's body.
#[must_use]
pub fn job() -> Value {
    let mut generator = generator();
    let mut schema = root::<Body>(&mut generator, "lookup-worker job");
    let (mut queries, mut options) = (Vec::new(), Vec::new());
    for (_, query, option) in Adapter::schemas(&mut generator) {
        queries.push(query.to_value());
        options.push(option.to_value());
    }
    schema["properties"]["query"] = json!({
        "description": "Whom to look for. Which of these goes is said by the provider's kind.",
        "anyOf": queries,
    });
    options.push(json!({"type": "null"}));
    schema["properties"]["options"] = json!({
        "description": "How to look. Which of these goes is said by the provider's kind.",
        "anyOf": options,
    });
    with_definitions(schema, &mut generator)
}

/// JSON Schema 2020-12 of a result.
#[must_use]
pub fn result() -> Value {
    let mut generator = generator();
    let schema = root::<LookupResult>(&mut generator, "lookup-worker result");
    with_definitions(schema, &mut generator)
}

/// An AsyncAPI 3.0 document of queues, exchanges and messages, for `prefix`.
#[must_use]
pub fn asyncapi(prefix: &str) -> Value {
    let queue = |name: String| json!({"is": "queue", "queue": {"name": name, "durable": true, "exclusive": false, "autoDelete": false}, "bindingVersion": "0.3.0"});
    let exchange = |name: String| json!({"is": "routingKey", "exchange": {"name": name, "type": "topic", "durable": true, "autoDelete": false}, "bindingVersion": "0.3.0"});
    let payload = |message: &str, mut schema: Value| {
        rebase(&mut schema, &format!("#/components/messages/{message}/payload/schema/$defs/"));
        json!({"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": schema})
    };
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "lookup-worker",
            "version": env!("CARGO_PKG_VERSION"),
            "description": env!("CARGO_PKG_DESCRIPTION"),
        },
        "defaultContentType": "application/json",
        "channels": {
            "jobs": {
                "address": "{provider}.{lane}",
                "description": "Lookup jobs. The routing key is NAME, NAME.bulk or NAME.interactive.",
                "parameters": {
                    "provider": {"description": "The provider's configured name."},
                    "lane": {"enum": ["interactive", "bulk"], "default": "bulk"},
                },
                "messages": {"job": {"$ref": "#/components/messages/job"}},
                "bindings": {"amqp": exchange(format!("{prefix}.jobs"))},
            },
            "results": {
                "address": format!("{prefix}.results"),
                "description": "Results of jobs without a reply_to; the exchange of this name routes by NAME.STATUS.",
                "messages": {"result": {"$ref": "#/components/messages/result"}},
                "bindings": {"amqp": queue(format!("{prefix}.results"))},
            },
            "replies": {
                "address": null,
                "description": "Results of jobs with a reply_to, through the default exchange.",
                "messages": {"result": {"$ref": "#/components/messages/result"}},
            },
            "dead": {
                "address": format!("{prefix}.dead"),
                "description": "What needs a person: the original message, with the reason in its headers.",
                "messages": {"job": {"$ref": "#/components/messages/job"}, "result": {"$ref": "#/components/messages/result"}},
                "bindings": {"amqp": queue(format!("{prefix}.dead"))},
            },
        },
        "operations": {
            "receiveJob": {
                "action": "receive",
                "channel": {"$ref": "#/channels/jobs"},
                "messages": [{"$ref": "#/channels/jobs/messages/job"}],
                "reply": {
                    "address": {"location": "$message.header#/replyTo"},
                    "channel": {"$ref": "#/channels/replies"},
                    "messages": [{"$ref": "#/channels/replies/messages/result"}],
                },
                "bindings": {"amqp": {"ack": true, "bindingVersion": "0.3.0"}},
            },
            "sendResult": {
                "action": "send",
                "channel": {"$ref": "#/channels/results"},
                "messages": [{"$ref": "#/channels/results/messages/result"}],
                "bindings": {"amqp": {"deliveryMode": 2, "mandatory": false, "timestamp": true, "bindingVersion": "0.3.0"}},
            },
        },
        "components": {
            "messages": {
                "job": {
                    "name": "job",
                    "contentType": "application/json",
                    "correlationId": {"location": "$message.header#/correlationId"},
                    "payload": payload("job", job()),
                },
                "result": {
                    "name": crate::result::MESSAGE_TYPE,
                    "contentType": "application/json",
                    "correlationId": {"location": "$message.header#/correlationId"},
                    "payload": payload("result", result()),
                },
            },
        },
    })
}

/// References count from the root of the document that they stand in.
fn rebase(value: &mut Value, definitions: &str) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("{definitions}{name}");
            }
            fields.values_mut().for_each(|value| rebase(value, definitions));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rebase(item, definitions)),
        _ => {}
    }
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

fn root<T: JsonSchema>(generator: &mut SchemaGenerator, title: &str) -> Value {
    let schema: Schema = generator.root_schema_for::<T>();
    let mut schema = schema.to_value();
    schema["title"] = title.into();
    schema
}

/// The definitions that the schema refers to, its own and those that were added to it.
fn with_definitions(mut schema: Value, generator: &mut SchemaGenerator) -> Value {
    let definitions = generator.take_definitions(true);
    if !definitions.is_empty() {
        schema["$defs"] = definitions.into_iter().collect();
    }
    schema
}
