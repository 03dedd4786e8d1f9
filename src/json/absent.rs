//! Members that are null, taken as absent.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer, Serializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::node::Key;

/// The object without those of its members that are null and whose names are `known`; anything else as it is.
/// Members of its members stay.
#[must_use]
pub fn without_nulls(object: &RawValue, known: impl Fn(&str) -> bool) -> Cow<'_, RawValue> {
    let text = object.get();
    // Few jobs have any.
    if !text.contains("null") {
        return Cow::Borrowed(object);
    }
    let Ok(Members(mut members)) = serde_json::from_str(text) else {
        return Cow::Borrowed(object);
    };
    members.retain(|(name, value)| value.get() != "null" || !known(name));
    let mut kept = Vec::with_capacity(text.len());
    let mut serializer = serde_json::Serializer::new(&mut kept);
    let written = serializer
        .collect_map(members)
        .ok()
        .and_then(|()| serde_json::from_slice(&kept).ok());
    written.map_or(Cow::Borrowed(object), Cow::Owned)
}

/// An object's members in their order. One that is there twice is nobody's object, and is left to those who refuse it.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected;

        impl<'de> Visitor<'de> for Expected {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let (mut members, mut names) = (Vec::new(), HashSet::new());
                while let Some((Key(name), value)) = entries.next_entry()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom("a name twice"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_are_null_go_where_they_are_known_and_nothing_else_does() {
        for (before, after) in [
            (r#"{"a":null,"b":1}"#, r#"{"b":1}"#),
            (r#"{"a": null , "b": [null] }"#, r#"{"b":[null]}"#),
            (r#"{"b":{"a":null}}"#, r#"{"b":{"a":null}}"#),
            (r#"{"c":null,"a":null}"#, r#"{"c":null}"#),
            (r#"{"a":"null"}"#, r#"{"a":"null"}"#),
            (r#"{"a":null,"a":1}"#, r#"{"a":null,"a":1}"#),
            ("null", "null"),
            ("[null]", "[null]"),
        ] {
            let object: &RawValue = serde_json::from_str(before).unwrap();
            let kept = without_nulls(object, |name| name != "c");
            assert_eq!(kept.get(), after, "{before}");
        }
    }
}
