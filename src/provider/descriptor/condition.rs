//! What an answer must say for a class to go for it.

use http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::{document, mistakes::Mistakes, path::Path, shape::ConditionShape};
use crate::json;

/// A condition, compiled.
#[derive(Debug)]
pub struct Condition {
    place: Place,
    asks: Asks,
}

#[derive(Debug, PartialEq)]
enum Place {
    Body(Path),
    Header(HeaderName),
}

#[derive(Debug, PartialEq)]
enum Asks {
    Equals(toml::Value),
    Contains(String),
    Exists(bool),
}

impl Condition {
    /// Compiles the condition at `key`.
    pub fn new(key: &str, shape: &ConditionShape, mistakes: &mut Mistakes) -> Option<Self> {
        let place = match (&shape.path, &shape.header) {
            (Some(path), None) => mistakes
                .note(&format!("{key}.path"), Path::parse(path))
                .map(Place::Body),
            (None, Some(name)) => {
                let name = HeaderName::try_from(name.as_str());
                let name = name.map_err(|_| "expected the name of an HTTP header");
                mistakes
                    .note(&format!("{key}.header"), name)
                    .map(Place::Header)
            }
            _ => {
                mistakes.add(key, "expected exactly one of path and header");
                None
            }
        };
        let asks = match (&shape.equals, &shape.contains, shape.exists) {
            (Some(value), None, None) => Some(Asks::Equals(value.clone())),
            (None, Some(text), None) => Some(Asks::Contains(text.clone())),
            (None, None, Some(exists)) => Some(Asks::Exists(exists)),
            _ => {
                mistakes.add(key, "expected exactly one of equals, contains and exists");
                None
            }
        };
        Some(Self {
            place: place?,
            asks: asks?,
        })
    }

    /// The text that it looks for.
    pub fn word(&self) -> Option<String> {
        match &self.asks {
            Asks::Equals(toml::Value::String(text)) | Asks::Contains(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// Whether every answer that says this says the other, too.
    pub fn implies(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (own, other_place) if own == other_place => self.asks.implies(&other.asks),
            // What stands in a body stands in JSON.
            (Place::Body(_), Place::Body(root)) => {
                root.is_root()
                    && other.asks == Asks::Exists(true)
                    && self.asks != Asks::Exists(false)
            }
            _ => false,
        }
    }

    /// Whether every answer says one of these.
    pub fn are_all<'a>(conditions: impl Iterator<Item = &'a Self> + Clone) -> bool {
        let of = |exists: bool| {
            let one = move |condition: &&'a Self| condition.asks == Asks::Exists(exists);
            conditions.clone().filter(one)
        };
        of(true).any(|there| of(false).any(|absent| there.place == absent.place))
    }

    /// Whether the answer says it; of several nodes one is enough.
    pub fn holds(&self, headers: &HeaderMap, body: Option<&Value>) -> bool {
        match &self.place {
            Place::Body(path) => {
                let nodes = body.into_iter().flat_map(|body| path.nodes(body));
                self.asks.any(nodes)
            }
            Place::Header(name) => {
                let texts: Vec<Value> = headers
                    .get_all(name)
                    .iter()
                    .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().into())
                    .collect();
                self.asks.any(texts.iter())
            }
        }
    }
}

impl Asks {
    /// Of the same place: whether this says the other, too.
    fn implies(&self, other: &Self) -> bool {
        let text = match self {
            Self::Equals(toml::Value::String(text)) | Self::Contains(text) => Some(text),
            _ => None,
        };
        match other {
            Self::Exists(true) => *self != Self::Exists(false),
            Self::Contains(part) => text.is_some_and(|text| text.contains(part)),
            other => self == other,
        }
    }

    fn any<'a>(&self, mut nodes: impl Iterator<Item = &'a Value>) -> bool {
        match self {
            Self::Equals(expected) => nodes.any(|node| equal(expected, node)),
            Self::Contains(part) => nodes.any(|node| match node {
                Value::String(text) => text.contains(part),
                _ => false,
            }),
            Self::Exists(exists) => nodes.next().is_some() == *exists,
        }
    }
}

/// Whether both are the same, type and all; numbers are compared by their value.
pub fn equal(expected: &toml::Value, came: &Value) -> bool {
    match (expected, came) {
        (toml::Value::String(expected), Value::String(came)) => expected == came,
        (toml::Value::Boolean(expected), Value::Bool(came)) => expected == came,
        (toml::Value::Integer(expected), number) => {
            let number = document::number(number);
            let whole = number.as_deref().and_then(json::whole);
            whole.as_deref() == Some(&expected.to_string())
        }
        (toml::Value::Float(expected), Value::Number(came)) => came.as_f64() == Some(*expected),
        (toml::Value::Array(expected), Value::Array(came)) => {
            expected.len() == came.len()
                && expected
                    .iter()
                    .zip(came)
                    .all(|(expected, came)| equal(expected, came))
        }
        (toml::Value::Table(expected), Value::Object(came)) => {
            expected.len() == came.len()
                && expected.iter().all(|(name, expected)| {
                    came.get(name).is_some_and(|came| equal(expected, came))
                })
        }
        _ => false,
    }
}
