//! `providers.NAME.quota`: what a provider allows.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer,
    de::{
        Error, MapAccess, SeqAccess, Unexpected, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

use super::value;
use crate::json::Malformed;

/// The key `quota`: left out, `"none"`, a table, or an array of tables: one for each window.
#[derive(Debug, Clone, Default)]
pub enum Quota {
    /// The kind's own default.
    #[default]
    OfKind,
    /// No limit.
    None,
    /// As the table says; what it leaves out is the kind's own.
    Given(QuotaKeys),
    /// Several windows; nothing is left out.
    Windows(Vec<QuotaKeys>),
}

/// The table of `quota`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaKeys {
    #[serde(deserialize_with = "value::count_option")]
    requests: Option<u32>,
    #[serde(deserialize_with = "value::positive_duration_option")]
    per: Option<Duration>,
    #[serde(deserialize_with = "value::share")]
    reserve: f64,
    #[serde(deserialize_with = "value::word")]
    scope: QuotaScope,
}

impl Default for QuotaKeys {
    fn default() -> Self {
        Self {
            requests: None,
            per: None,
            reserve: 0.1,
            scope: QuotaScope::default(),
        }
    }
}

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuotaScope {
    /// Those of all workers of the broker.
    #[default]
    Broker,
    /// This worker's alone.
    Worker,
}

/// At most `requests` in every window of `per` (contract §7).
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaLimit {
    /// Requests in a window.
    pub requests: u32,
    /// Length of the window.
    pub per: Duration,
    /// Share of them that bulk jobs leave to interactive ones.
    pub reserve: f64,
    /// Whose requests are counted together.
    pub scope: QuotaScope,
}

impl Quota {
    /// The limits, that of the shortest window first; `of_kind` is the kind's own (requests, window).
    pub(crate) fn limits(
        self,
        of_kind: Option<(u32, Duration)>,
    ) -> Result<Vec<QuotaLimit>, Malformed> {
        match self {
            Self::None => Ok(Vec::new()),
            Self::OfKind if of_kind.is_none() => Ok(Vec::new()),
            Self::OfKind => Ok(vec![QuotaKeys::default().limit("quota", of_kind)?]),
            Self::Given(keys) => Ok(vec![keys.limit("quota", of_kind)?]),
            Self::Windows(windows) => windows_of(windows),
        }
    }
}

/// Each by itself, and all of them together.
fn windows_of(windows: Vec<QuotaKeys>) -> Result<Vec<QuotaLimit>, Malformed> {
    let limits = windows.into_iter().enumerate();
    let limits = limits.map(|(at, keys)| keys.limit(&format!("quota[{at}]"), None));
    let mut limits = limits.collect::<Result<Vec<_>, _>>()?;
    limits.sort_by_key(|limit| limit.per);
    let at = |problem: &str| Err(Malformed::at("quota", problem));
    if limits.is_empty() {
        return at("got an empty array, expected a window such as { requests = 10, per = \"1s\" }");
    }
    for two in limits.windows(2) {
        if two[0].per == two[1].per {
            return at("got two windows of one length, expected one of each");
        }
        if two[0].scope != two[1].scope {
            return at("got windows of two scopes, expected one scope for all of them");
        }
    }
    Ok(limits)
}

impl QuotaKeys {
    fn limit(self, path: &str, of_kind: Option<(u32, Duration)>) -> Result<QuotaLimit, Malformed> {
        let missing = |key: &str| {
            Malformed::at(
                &format!("{path}.{key}"),
                match of_kind {
                    None if path != "quota" => "missing key; each window of several says it",
                    _ => "missing key; this kind has no quota of its own to take it from",
                },
            )
        };
        let requests = self
            .requests
            .or(of_kind.map(|(requests, _)| requests))
            .ok_or_else(|| missing("requests"))?;
        let per = self
            .per
            .or(of_kind.map(|(_, per)| per))
            .ok_or_else(|| missing("per"))?;
        if requests == 0 {
            let expected = "got 0, expected an integer of at least 1, or quota = \"none\"";
            return Err(Malformed::at(&format!("{path}.requests"), expected));
        }
        Ok(QuotaLimit {
            requests,
            per,
            reserve: self.reserve,
            scope: self.scope,
        })
    }
}

impl JsonSchema for Quota {
    fn schema_name() -> Cow<'static, str> {
        "Quota".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let keys = generator.subschema_for::<QuotaKeys>();
        schemars::json_schema!({"anyOf": [
            {"type": "string", "const": "none"},
            keys,
            {"type": "array", "minItems": 1, "items": keys},
        ]})
    }
}

impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NoneOrTable;
        impl<'de> Visitor<'de> for NoneOrTable {
            type Value = Quota;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(
                    "\"none\", a table such as { requests = 200, per = \"1m\" }, or an array of such tables",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Quota, E> {
                match text {
                    "none" => Ok(Quota::None),
                    other => Err(E::invalid_value(Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Quota, A::Error> {
                QuotaKeys::deserialize(MapAccessDeserializer::new(map)).map(Quota::Given)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, windows: A) -> Result<Quota, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(windows)).map(Quota::Windows)
            }
        }
        deserializer.deserialize_any(NoneOrTable)
    }
}
