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
    lookups::settings::LookupSettings,
    provider::{Adapter, Description, criterion::all_given},
    result::LookupResult,
    settings::Settings,
};

/// Version of the AMQP binding.
const BINDING: &str = "0.3.0";

/// JSON Schema 2020-12 of a job's body: of one of the kinds' jobs, since which it is only the provider's name tells.
#[must_use]
pub fn job() -> Value {
    jobs(|_| true, Vec::new())
}

/// The same for a configuration: for its providers' kinds, for those that a descriptor describes, and for its lookups.
#[must_use]
pub fn job_for(settings: &Settings) -> Value {
    let adapters = || settings.providers.iter();
    let described = adapters().filter_map(|(name, provider)| {
        let (descriptor, _) = provider.adapter.described()?;
        let (query, options) = (descriptor.query_schema(), descriptor.options_schema());
        Some(JobType::own("Described", name, query, options))
    });
    let lookups = settings.lookups.values().map(JobType::lookup);
    let is_used = |kind: &str| adapters().any(|(_, provider)| provider.adapter.kind() == kind);
    jobs(is_used, described.chain(lookups).collect())
}

/// Jobs of the kinds that are used, and of other types.
fn jobs(is_used: impl Fn(&str) -> bool, others: Vec<JobType>) -> Value {
    let mut generator = generator();
    let body = generator.root_schema_for::<Body>().to_value();
    let kinds = Adapter::descriptions(&mut generator);
    let used = kinds.into_iter().filter(|kind| is_used(kind.kind));
    let types: Vec<JobType> = used.map(JobType::of).chain(others).collect();
    let mut definitions = generator.take_definitions(true);
    definitions.remove("Body");
    for of in &types {
        for (name, schema) in &of.own {
            definitions.insert(name.clone(), schema.clone());
        }
    }
    let names = |part: fn(&JobType) -> &str| -> BTreeSet<String> {
        let members = types.iter().map(|of| &definitions[part(of)]);
        members
            .filter_map(|definition| definition["properties"].as_object())
            .flat_map(Map::keys)
            .cloned()
            .collect()
    };
    let (criteria, options) = (names(|of| &of.query), names(|of| &of.options));
    for of in &types {
        shape::admit_nulls(&mut definitions[&of.query], &criteria);
        shape::admit_nulls(&mut definitions[&of.options], &options);
    }
    let jobs: Vec<Value> = types
        .iter()
        .map(|of| {
            definitions.insert(of.name.clone(), of.job(&body));
            reference(&of.name)
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

/// One of the types of jobs, by the names of definitions.
struct JobType {
    /// As `AntsomiJob`.
    name: String,
    /// Whose jobs these are, in words.
    of: String,
    query: String,
    options: String,
    /// The jobs of which query and options do not go together.
    unfit: Option<Value>,
    /// Definitions that no type of Rust makes.
    own: Vec<(String, Value)>,
}

impl JobType {
    fn of(kind: Description) -> Self {
        let query = name_in(&kind.query).to_owned();
        Self {
            name: query.replace("Query", "Job"),
            of: format!("a provider of the kind {}", kind.kind),
            options: name_in(&kind.options).to_owned(),
            unfit: kind.unfit,
            own: Vec::new(),
            query,
        }
    }

    /// Of a lookup: what a value may be, its steps' providers say.
    fn lookup(lookup: &LookupSettings) -> Self {
        let criteria = lookup.criteria.iter().map(String::as_str);
        let members: Map<String, Value> = criteria
            .clone()
            .map(|name| (name.to_owned(), json!({})))
            .collect();
        let one: Vec<Value> = criteria.map(|name| all_given(&[name])).collect();
        let query = json!({
            "type": "object", "properties": members, "additionalProperties": false, "anyOf": one,
        });
        let raw = json!({"type": ["boolean", "null"]});
        let options = json!({
            "type": "object", "properties": {"raw": raw}, "additionalProperties": false,
        });
        Self::own("Lookup", &lookup.name, query, options)
    }

    /// Of what has this name in the configuration; `prefix` keeps its definitions apart from those of the kinds.
    fn own(prefix: &str, of: &str, query: Value, options: Value) -> Self {
        let words = of.split(['-', '_']).filter(|word| !word.is_empty());
        let speaking: String = words
            .map(|word| word[..1].to_ascii_uppercase() + &word[1..])
            .collect();
        let name = |part: &str| format!("{prefix}{speaking}{part}");
        Self {
            name: name("Job"),
            of: format!("`{of}`"),
            query: name("Query"),
            options: name("Options"),
            unfit: None,
            own: vec![(name("Query"), query), (name("Options"), options)],
        }
    }

    fn job(&self, body: &Value) -> Value {
        let mut job = body.clone();
        for key in ["$schema", "$defs"] {
            job.as_object_mut().map(|job| job.remove(key));
        }
        job["title"] = self.name.as_str().into();
        job["description"] = format!("A job for {}.", self.of).into();
        job["properties"]["query"] =
            with_text(&body["properties"]["query"], reference(&self.query));
        let options = json!({"anyOf": [reference(&self.options), {"type": "null"}]});
        job["properties"]["options"] = with_text(&body["properties"]["options"], options);
        if let Some(unfit) = &self.unfit {
            job["not"] = unfit.clone();
        }
        job
    }
}

/// The definition's name, as in `AntsomiQuery`.
fn name_in(schema: &schemars::Schema) -> &str {
    let reference = schema.get("$ref").and_then(Value::as_str);
    let name = reference.and_then(|path| path.rsplit('/').next());
    name.expect("query and options of a kind are definitions")
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

fn with_text(described: &Value, mut schema: Value) -> Value {
    schema["description"] = described["description"].clone();
    schema
}
