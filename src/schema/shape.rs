//! The shape that makes schemas good to generate classes from: names that speak, plain enumerations, no null beyond
//! what is meant.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Titles for all definitions, enumerations in one piece, no defaults that say nothing.
pub(super) fn finish(schema: &mut Value) {
    if let Some(definitions) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        for (name, definition) in definitions {
            definition["title"] = name.as_str().into();
        }
    }
    each(schema, &mut |schema| {
        schema.retain(|key, value| key != "default" || !(value.is_null() || *value == json!([])));
        enumerate(schema);
    });
}

/// Lets null stand for whatever is not given, and for the members that another kind has.
pub(super) fn admit_nulls(object: &mut Value, names: &BTreeSet<String>) {
    let required = object["required"].as_array().cloned().unwrap_or_default();
    let Some(members) = object["properties"].as_object_mut() else {
        return;
    };
    for name in names {
        match members.get_mut(name) {
            Some(_) if required.contains(&json!(name)) => {}
            Some(member) => admit_null(member),
            None => {
                let absent = json!({"$comment": "Of another kind.", "type": "null"});
                members.insert(name.clone(), absent);
            }
        }
    }
}

/// What stands there as one type may be null, too. An optional member is so already.
fn admit_null(member: &mut Value) {
    if let Some(of) = member["type"].as_str() {
        member["type"] = json!([of, "null"]);
    }
}

/// What never comes as null does not say that it does.
pub(super) fn without_nulls(schema: &mut Value) {
    each(schema, &mut |schema| {
        if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
            types.retain(|of| of != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                schema.insert("type".into(), only);
            }
        }
        let Some(Value::Array(mut choices)) = schema.remove("anyOf") else {
            return;
        };
        choices.retain(|choice| choice["type"] != "null");
        match choices.as_slice() {
            [Value::Object(only)] => schema.extend(only.clone()),
            _ => _ = schema.insert("anyOf".into(), choices.into()),
        }
    });
}

/// One `enum` instead of a constant for each variant: their descriptions go into its own.
fn enumerate(schema: &mut Map<String, Value>) {
    let Some(variants) = schema.get("oneOf").and_then(Value::as_array) else {
        return;
    };
    let names: Option<Vec<Value>> = variants
        .iter()
        .map(|variant| variant.get("const").cloned())
        .collect();
    let Some(names) = names else { return };
    let lines = variants.iter().filter_map(|variant| {
        Some(format!(
            "`{}`: {}",
            variant["const"].as_str()?,
            variant["description"].as_str()?
        ))
    });
    let own = schema
        .get("description")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let description = own.into_iter().chain(lines).collect::<Vec<_>>().join("\n");
    schema.remove("oneOf");
    schema.insert("type".into(), "string".into());
    schema.insert("enum".into(), names.into());
    schema.insert("description".into(), description.into());
}

/// Every schema in it, itself first.
pub(super) fn each(schema: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    let Value::Object(members) = schema else {
        return;
    };
    change(members);
    for (key, value) in members {
        match (key.as_str(), value) {
            ("properties" | "$defs", Value::Object(schemas)) => {
                for schema in schemas.values_mut() {
                    each(schema, change);
                }
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(schemas)) => {
                for schema in schemas {
                    each(schema, change);
                }
            }
            // What stands in a `not` is no description.
            ("items" | "additionalProperties", schema) => each(schema, change),
            _ => {}
        }
    }
}
