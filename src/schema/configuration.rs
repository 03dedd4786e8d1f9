//! The schemas of what stands in files: the configuration, and descriptors of providers. Made from the types that read
//! them.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::shape;
use crate::{
    config::{self, RetrySettings, SECRETS},
    lookups::settings::LookupKeys,
    provider::{Adapter, descriptor, settings::CommonKeys},
};

/// As `250ms`, `1h 30m`.
const DURATION: &str = r"^\s*(?:[0-9]+\s*[a-zA-Z]+\s*)+$";

/// JSON Schema 2020-12 of a descriptor.
#[must_use]
pub fn provider() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let schema = generator.into_root_schema_for::<descriptor::shape::Descriptor>();
    let mut schema = schema.to_value();
    finish(&mut schema);
    schema
}

/// JSON Schema 2020-12 of a configuration.
#[must_use]
pub fn config() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let sections = json!({
        "amqp": generator.subschema_for::<config::AmqpSettings>(),
        "worker": generator.subschema_for::<config::WorkerSettings>(),
        "http": generator.subschema_for::<config::HttpSettings>(),
        "log": generator.subschema_for::<config::LogSettings>(),
        "traces": generator.subschema_for::<config::TracesSettings>(),
        "retry": generator.subschema_for::<RetrySettings>(),
        "reply": generator.subschema_for::<config::ReplySettings>(),
        "providers": {
            "description": "The providers, by name.",
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z0-9_-]{1,64}$"},
            "additionalProperties": {"oneOf": kinds(&mut generator)},
        },
        "lookups": {
            "description": "Several providers asked in one job, by name; none of the names is a provider's.",
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z0-9_-]{1,64}$"},
            "additionalProperties": generator.subschema_for::<LookupKeys>(),
        },
    });
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration",
        "description": "The configuration of lookup-worker.",
        "type": "object",
        "properties": sections,
        "additionalProperties": false,
        "$defs": generator.take_definitions(true),
    });
    with_files(&mut schema);
    finish(&mut schema);
    schema
}

/// The table of a provider, for each kind.
fn kinds(generator: &mut SchemaGenerator) -> Vec<Value> {
    let common = <CommonKeys as schemars::JsonSchema>::json_schema(generator).to_value();
    let retry = generator.subschema_for::<RetrySettings>().to_value();
    let kinds = Adapter::settings(generator);
    let table = |(kind, own): (&str, schemars::Schema)| {
        let own = own.to_value();
        let mut properties = members(&common);
        properties.extend(members(&own));
        properties.insert("kind".into(), json!({"type": "string", "const": kind}));
        properties.insert("retry".into(), retry.clone());
        let required: Vec<Value> = [&common, &own]
            .iter()
            .filter_map(|schema| schema["required"].as_array())
            .flatten()
            .cloned()
            .collect();
        json!({
            "title": format!("A provider of kind {kind}"),
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    };
    kinds.into_iter().map(table).collect()
}

fn members(schema: &Value) -> Map<String, Value> {
    schema["properties"]
        .as_object()
        .cloned()
        .unwrap_or_default()
}

/// Each secret KEY may stand in a file that `KEY_file` names.
fn with_files(schema: &mut Value) {
    shape::each(schema, &mut |schema| {
        let mut instead = Vec::new();
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            for key in SECRETS
                .iter()
                .filter(|key| properties.contains_key(**key))
                .copied()
                .collect::<Vec<_>>()
            {
                let file =
                    json!({"type": "string", "description": format!("A file that holds `{key}`.")});
                properties.insert(format!("{key}_file"), file);
                instead.push(key);
            }
        }
        let Some(Value::Array(required)) = schema.get_mut("required") else {
            return;
        };
        let secret = |key: &Value| instead.iter().any(|secret| key == secret);
        let (either, rest): (Vec<_>, Vec<_>) = required.drain(..).partition(secret);
        *required = rest;
        let either: Vec<Value> = either
            .iter()
            .filter_map(Value::as_str)
            .map(|key| json!({"oneOf": [{"required": [key]}, {"required": [format!("{key}_file")]}]}))
            .collect();
        if !either.is_empty() {
            schema.insert("allOf".into(), either.into());
        }
    });
}

/// Durations are texts here, and nothing is ever null in TOML.
fn finish(schema: &mut Value) {
    if let Some(duration) = schema.pointer_mut("/$defs/Duration") {
        *duration = json!({"type": "string", "pattern": DURATION, "description": "As \"250ms\", \"30s\", \"5m\"."});
    }
    shape::without_nulls(schema);
    shape::finish(schema);
}
