//! What a job's criteria and options may be, whatever the kind (contract §3).
//!
//! Each type refuses by itself what it cannot be, so that the refusal names its field, and describes itself in the
//! schema just so.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, Visitor},
};
use serde_json::{Map, Value, json};

use crate::json;

/// The largest integer that a float holds together with all that are smaller. A larger one that went through a
/// float may be another number than it was.
const LARGEST_EXACT: u64 = (1 << 53) - 1;

/// The integer that a float stands for.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is whole and within bounds"
)]
fn whole(number: f64) -> Option<u64> {
    let exact = number.fract() == 0.0 && (0.0..=LARGEST_EXACT as f64).contains(&number);
    exact.then_some(number as u64)
}

/// A text that is not blank: a blank criterion would match nobody, or everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text(String);

impl Text {
    /// As it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn filled<E: Error>(text: String) -> Result<Self, E> {
        if text.trim().is_empty() {
            let problem = "expected a string that is not blank, got a blank one";
            return Err(json::refuse(problem));
        }
        Ok(Self(text))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::filled(String::deserialize(deserializer)?)
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": r"\S"})
    }
}

/// An integer of at least `LEAST`, which a job may also write as `5000.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole<const LEAST: u64>(u64);

impl<const LEAST: u64> Whole<LEAST> {
    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl<'de, const LEAST: u64> Deserialize<'de> for Whole<LEAST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected<const LEAST: u64>;

        impl<const LEAST: u64> Visitor<'_> for Expected<LEAST> {
            type Value = Whole<LEAST>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "an integer of at least {LEAST}")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                if number < LEAST {
                    return Err(json::refuse(format_args!(
                        "expected an integer of at least {LEAST}"
                    )));
                }
                if number > LARGEST_EXACT {
                    return Err(json::refuse(format_args!(
                        "expected an integer of at most {LARGEST_EXACT}"
                    )));
                }
                Ok(Whole(number))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                match whole(number) {
                    Some(number) => self.visit_u64(number),
                    None => Err(E::invalid_type(serde::de::Unexpected::Float(number), &self)),
                }
            }
        }

        deserializer.deserialize_u64(Expected)
    }
}

impl<const LEAST: u64> JsonSchema for Whole<LEAST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("IntegerFrom{LEAST}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "format": "int64", "minimum": LEAST, "maximum": LARGEST_EXACT})
    }
}

/// An id, which a job may give as a string or as an integer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Id {
    /// As `12345`.
    Number(u64),
    /// As `"12345"`.
    Text(Text),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text.as_str()),
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected;

        impl Visitor<'_> for Expected {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string or an integer of at least 0")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Id, E> {
                Ok(Id::Number(number))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Id, E> {
                let whole = whole(number).map(Id::Number);
                whole.ok_or_else(|| E::invalid_type(serde::de::Unexpected::Float(number), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
                Text::filled(text.to_owned()).map(Id::Text)
            }
        }

        deserializer.deserialize_any(Expected)
    }
}

impl JsonSchema for Id {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Id".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "pattern": r"\S", "minimum": 0, "maximum": u64::MAX})
    }
}

/// The schema of an object in which none of these members is given: each is absent or null. Its opposite, `not`,
/// asks for one at least.
#[must_use]
pub fn none_given(names: &[&str]) -> Value {
    let members: Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), json!({"type": "null"})))
        .collect();
    json!({ "properties": members })
}

/// The schema of an object in which all of these members are given.
#[must_use]
pub fn all_given(names: &[&str]) -> Value {
    let members: Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), json!({"not": {"type": "null"}})))
        .collect();
    json!({ "required": names, "properties": members })
}
