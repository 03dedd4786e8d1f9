//! What every kind asks of a job's criteria.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json::{self, Malformed};

/// The criterion, where it is given. A blank one is refused: it would match nobody, or everybody.
///
/// # Errors
/// Where it is blank.
pub fn filled<'a>(
    criterion: Option<&'a String>,
    field: &str,
) -> Result<Option<&'a str>, Malformed> {
    match criterion {
        Some(text) if text.trim().is_empty() => Err(Malformed::at(
            field,
            "expected a string that is not blank, got a blank one",
        )),
        other => Ok(other.map(String::as_str)),
    }
}

/// An id, which a job may give as a string or as an integer.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum Id {
    /// As `12345`.
    Number(u64),
    /// As `"12345"`.
    Text(String),
}

impl Id {
    /// The id as text, where it is given.
    ///
    /// # Errors
    /// Where it is blank.
    pub fn filled(id: Option<&Self>, field: &str) -> Result<Option<String>, Malformed> {
        match id {
            Some(Self::Text(text)) => Ok(filled(Some(text), field)?.map(str::to_owned)),
            other => Ok(other.map(Self::to_string)),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let id = match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str(raw).ok().map(Self::Text),
            _ => serde_json::from_str(raw).ok().map(Self::Number),
        };
        id.ok_or_else(|| json::refuse("expected a string or an integer of at least 0"))
    }
}
