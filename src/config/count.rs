//! `providers.NAME.count`: where a provider's answers say how many requests are left.

use std::{borrow::Cow, fmt, time::Duration};

use http::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer,
    de::{
        Error, MapAccess, SeqAccess, Unexpected, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

use super::value;

/// The key `count`: left out, `"none"`, a table, or an array of tables: one for each window.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Count {
    /// What the descriptor names, else the headers that are usual.
    #[default]
    Usual,
    /// The provider's count is passed over.
    None,
    /// These headers and no others.
    Named(Vec<CountKeys>),
}

/// The headers of one window.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountKeys {
    /// The header that says how many requests are left.
    #[serde(deserialize_with = "header")]
    pub remaining: String,
    /// The header that says how many there are in a window.
    #[serde(default, deserialize_with = "header_option")]
    pub limit: Option<String>,
    /// The header that says when the window ends.
    #[serde(default, deserialize_with = "header_option")]
    pub reset: Option<String>,
    /// How that is written.
    #[serde(default, rename = "as")]
    pub form: ResetForm,
    /// How long the window is, where no header says when it ends.
    #[serde(default, deserialize_with = "value::positive_duration_option")]
    #[schemars(with = "Option<String>")]
    pub per: Option<Duration>,
}

/// How the end of a window is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResetForm {
    /// As its size tells: seconds from now, a moment in seconds or milliseconds since 1970, or a date.
    #[default]
    Any,
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Milliseconds,
    /// A moment, in seconds since 1970.
    EpochS,
    /// A moment, in milliseconds since 1970.
    EpochMs,
    /// A date, in any form that `Retry-After` may have.
    Date,
}

fn header<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let name = HeaderName::try_from(text.as_str());
    let name = name.map_err(|_| {
        D::Error::custom("expected the name of an HTTP header, such as X-RateLimit-Remaining")
    })?;
    Ok(name.as_str().to_owned())
}

fn header_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    header(deserializer).map(Some)
}

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let keys = generator.subschema_for::<CountKeys>();
        schemars::json_schema!({"anyOf": [
            {"type": "string", "const": "none"},
            keys,
            {"type": "array", "minItems": 1, "items": keys},
        ]})
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NoneOrTable;
        impl<'de> Visitor<'de> for NoneOrTable {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(
                    "\"none\", a table such as { remaining = \"X-Calls-Left\", reset = \"X-Calls-Reset\" }, or an array \
                     of such tables",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Count, E> {
                match text {
                    "none" => Ok(Count::None),
                    other => Err(E::invalid_value(Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Count, A::Error> {
                let keys = CountKeys::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Count::Named(vec![keys]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, windows: A) -> Result<Count, A::Error> {
                let windows: Vec<_> = Vec::deserialize(SeqAccessDeserializer::new(windows))?;
                if windows.is_empty() {
                    return Err(A::Error::invalid_length(0, &self));
                }
                Ok(Count::Named(windows))
            }
        }
        deserializer.deserialize_any(NoneOrTable)
    }
}
