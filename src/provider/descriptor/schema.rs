//! How the jobs of a described provider are described to tools.

use serde_json::{Map, Value, json};

use super::{Descriptor, Tie, request::Request, shape::Type, value::Rule};
use crate::provider::criterion::{all_given, none_given};

impl Descriptor {
    /// JSON Schema of a job's `query`.
    #[must_use]
    pub fn query_schema(&self) -> Value {
        let mut schema = self.object(0..self.criteria);
        let all_of = |slots: &[usize]| {
            let of_query = slots.iter().filter(|slot| **slot < self.criteria);
            let names: Vec<&str> = of_query.map(|slot| self.rules[*slot].name()).collect();
            all_given(&names)
        };
        schema["anyOf"] = self.need.iter().map(|set| all_of(set)).collect();
        // Without what one of the requests needs there is none to send.
        let needs = self.requests.iter().map(Request::needs);
        if needs.clone().all(|needs| !needs.is_empty()) {
            let any: Vec<Value> = needs.map(all_of).collect();
            schema["allOf"] = json!([{ "anyOf": any }]);
        }
        schema
    }

    /// JSON Schema of a job's `options`.
    #[must_use]
    pub fn options_schema(&self) -> Value {
        let mut schema = self.object(self.criteria..self.rules.len());
        schema["properties"]["raw"] = json!({
            "type": ["boolean", "null"],
            "description": "Add the provider's payload verbatim to the result.",
        });
        schema
    }

    /// An object with the members that these rules are for.
    fn object(&self, slots: std::ops::Range<usize>) -> Value {
        let rules = self.rules[slots.clone()].iter();
        let members: Map<String, Value> = rules
            .map(|rule| (rule.name().to_owned(), rule.schema()))
            .collect();
        let mut schema =
            json!({"type": "object", "properties": members, "additionalProperties": false});
        let ties = self.ties.iter().filter(|tie| slots.contains(&tie.slot));
        let unfit: Vec<Value> = ties.map(|tie| self.unfit(tie)).collect();
        if !unfit.is_empty() {
            schema["not"] = json!({ "anyOf": unfit });
        }
        schema
    }

    /// What does not keep to a tie.
    fn unfit(&self, tie: &Tie) -> Value {
        let other = [self.rules[tie.other].name()];
        let broken = if tie.together {
            none_given(&other)
        } else {
            all_given(&other)
        };
        json!({"allOf": [all_given(&[self.rules[tie.slot].name()]), broken]})
    }
}

impl Rule {
    fn schema(&self) -> Value {
        let types = match self.kind {
            Type::String => vec!["string"],
            Type::Id => vec!["string", "integer"],
            Type::Integer => vec!["integer"],
            Type::Boolean => vec!["boolean"],
            Type::Array => vec!["array"],
            Type::Object => vec!["object"],
        };
        let types = [types, vec!["null"]].concat();
        let mut schema = json!({ "type": types });
        if let Some(default) = &self.default {
            schema["default"] = serde_json::from_str(&default.json()).unwrap_or_default();
        }
        if let Some(least) = self.least() {
            schema["minimum"] = least.into();
        }
        if self.must_be_filled {
            let filled = [
                (Type::String, "pattern", json!(r"\S")),
                (Type::Id, "pattern", json!(r"\S")),
                (Type::Array, "minItems", json!(1)),
                (Type::Object, "minProperties", json!(1)),
            ];
            let filled = filled.into_iter().filter(|(kind, ..)| *kind == self.kind);
            filled.for_each(|(_, key, value)| schema[key] = value);
        }
        if let Some(pattern) = self.pattern().filter(|pattern| is_known(pattern)) {
            schema["allOf"] = json!([{ "pattern": format!("^(?:{pattern})$") }]);
        }
        schema
    }
}

/// Whether other tools' regular expressions have all that is in it; the rest is left to the worker.
fn is_known(pattern: &str) -> bool {
    let without_groups = pattern.replace("(?:", "(");
    !["(?", "[[:", r"\p", r"\A", r"\z"]
        .iter()
        .any(|special| without_groups.contains(special))
}
