//! Descriptions of the messages that tools read, made from the types that read and write them.

mod asyncapi;
mod configuration;
mod messages;
mod shape;

use std::collections::BTreeSet;

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

pub use asyncapi::asyncapi;
pub use configuration::{config, provider};

use crate::{
    job::Body,
    provider::{Adapter, Description},
    result::LookupResult,
};

/// JSON Schema 2020-12 of a job's body: of one of the kinds' jobs, since which it is only the provider's name tells.
#[must_use]
pub fn job() -> Value {
    let mut generator = generator();
    let body = generator.root_schema_for::<Body>().to_value();
    let kinds = Adapter::descriptions(&mut generator);
    let mut definitions = generator.take_definitions(true);
    definitions.remove("Body");
    let names = |part: fn(&Description) -> &str| -> BTreeSet<String> {
        let members = kinds.iter().map(|kind| &definitions[part(kind)]);
        members
            .filter_map(|definition| definition["properties"].as_object())
            .flat_map(Map::keys)
            .cloned()
            .collect()
    };
    let (criteria, options) = (names(query_of), names(options_of));
    for kind in &kinds {
        shape::admit_nulls(&mut definitions[query_of(kind)], &criteria);
        shape::admit_nulls(&mut definitions[options_of(kind)], &options);
    }
    let jobs: Vec<Value> = kinds
        .iter()
        .map(|kind| {
            let name = job_of(kind);
            definitions.insert(name.clone(), of_kind(&body, kind));
            reference(&name)
        })
        .collect();
    let mut schema = json!({
        "$schema": body["$schema"],
        "title": "LookupJob",
        "description": body["description"],
        "anyOf": jobs,
        "$defs": definitions,
    });
    shape::finish(&mut schema);
    schema
}

/// JSON Schema 2020-12 of a result.
#[must_use]
pub fn result() -> Value {
    let mut generator = generator();
    let mut schema = generator.root_schema_for::<LookupResult>().to_value();
    shape::without_nulls(&mut schema);
    shape::finish(&mut schema);
    schema
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

fn query_of(kind: &Description) -> &str {
    name_in(&kind.query)
}

fn options_of(kind: &Description) -> &str {
    name_in(&kind.options)
}

/// The definition's name, as in `AntsomiQuery`.
fn name_in(schema: &schemars::Schema) -> &str {
    let reference = schema.get("$ref").and_then(Value::as_str);
    let name = reference.and_then(|path| path.rsplit('/').next());
    name.expect("query and options of a kind are definitions")
}

/// As in `AntsomiJob`.
fn job_of(kind: &Description) -> String {
    query_of(kind).replace("Query", "Job")
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

/// A job of a kind.
fn of_kind(body: &Value, kind: &Description) -> Value {
    let mut job = body.clone();
    for key in ["$schema", "$defs"] {
        job.as_object_mut().map(|job| job.remove(key));
    }
    job["title"] = job_of(kind).into();
    job["description"] = format!("A job for a provider of the kind {}.", kind.kind).into();
    job["properties"]["query"] = with_text(&body["properties"]["query"], reference(query_of(kind)));
    let options = json!({"anyOf": [reference(options_of(kind)), {"type": "null"}]});
    job["properties"]["options"] = with_text(&body["properties"]["options"], options);
    if let Some(unfit) = &kind.unfit {
        job["not"] = unfit.clone();
    }
    job
}

fn with_text(described: &Value, mut schema: Value) -> Value {
    schema["description"] = described["description"].clone();
    schema
}
