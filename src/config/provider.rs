//! The plain parts of `[providers.NAME]`. The table as a whole is read where the kinds are known.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::value;

/// How a phone number is written into the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PhoneFormat {
    /// Digits alone, as the kinds' documents write it.
    #[default]
    Digits,
    /// As it stands in the job.
    AsIs,
}

/// Which version of HTTP is spoken (`providers.NAME.http`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum HttpVersion {
    /// What both sides agree on by ALPN; without TLS HTTP/1.1.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1.
    #[serde(rename = "1.1")]
    One,
    /// HTTP/2, also without TLS.
    #[serde(rename = "2")]
    Two,
}

/// When a failing provider is left in peace.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// Failures in a row that open the circuit.
    #[serde(deserialize_with = "value::positive_u32")]
    pub failures: u32,
    /// Time from one probe to the next.
    #[serde(deserialize_with = "value::positive_duration")]
    pub cooldown: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 10,
            cooldown: Duration::from_secs(30),
        }
    }
}

/// Remembered answers; off by default.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// How long a found customer is remembered; zero is off.
    #[serde(deserialize_with = "value::duration")]
    pub ttl: Duration,
    /// How long 'no such customer' is remembered; zero is off.
    #[serde(deserialize_with = "value::duration")]
    pub not_found_ttl: Duration,
    /// Most answers remembered.
    #[serde(deserialize_with = "value::positive_usize")]
    pub capacity: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            ttl: Duration::ZERO,
            not_found_ttl: Duration::ZERO,
            capacity: 10_000,
        }
    }
}

/// Lookups that may share one request (kind antsomi).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Batch {
    /// Most lookups in one request; 1 is off.
    #[serde(deserialize_with = "value::positive_usize")]
    pub max_size: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self { max_size: 25 }
    }
}
