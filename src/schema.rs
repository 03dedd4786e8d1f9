//! Descriptions of the messages that tools read, made from the types that read and write them.

mod asyncapi;
mod messages;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

pub use asyncapi::asyncapi;

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
