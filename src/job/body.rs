//! A job's body: the fields, and what they must be beside the routing key.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Address, Lane};
use crate::{json::Malformed, provider::criterion::Whole};

/// A time with a zone, for tools: which days a month has they cannot tell.
const MOMENT: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}(?::?[0-9]{2}){0,2}(?:[.,][0-9]{1,9})?(?:[Zz]|[+\-][0-9]{2}(?::?[0-9]{2})?)(?:\[.*\])*$";

/// A job's body as it is sent. `id`, `provider` and `lane` may repeat what the message's properties and its
/// routing key say; in the lines of `pipe` and `send` they stand in their place.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Body<'a> {
    /// The job's id, where the message has no `message_id`; at most 255 bytes.
    #[serde(borrow, default)]
    #[schemars(length(min = 1, max = 255))]
    pub id: Option<Cow<'a, str>>,
    /// The provider's configured name; must agree with the routing key.
    #[serde(borrow, default)]
    pub provider: Option<Cow<'a, str>>,
    /// The lane; must agree with the routing key.
    #[serde(default)]
    pub lane: Option<Lane>,
    /// Whom to look for; see the kinds.
    #[serde(borrow)]
    #[schemars(with = "serde_json::Value")]
    pub query: &'a RawValue,
    /// How to look; see the kinds.
    #[serde(borrow, default)]
    #[schemars(with = "Option<serde_json::Value>")]
    pub options: Option<&'a RawValue>,
    /// RFC 3339: no HTTP request starts or goes on past it.
    #[serde(borrow, default)]
    #[schemars(extend("format" = "date-time", "pattern" = MOMENT))]
    pub deadline: Option<Cow<'a, str>>,
    /// The same in milliseconds from when a worker first receives the job; the earlier of both counts.
    #[serde(default)]
    pub deadline_ms: Option<Whole<0>>,
    /// Any JSON of at most 64 KiB and 64 levels, returned untouched; null is as absent.
    #[serde(borrow, default)]
    #[schemars(with = "Option<serde_json::Value>")]
    pub context: Option<&'a RawValue>,
}

impl Body<'_> {
    /// The routing key names provider and lane; a body that repeats them must say the same.
    pub(super) fn agrees(&self, address: Address) -> Result<(), Malformed> {
        let Some(lane) = address.lane else {
            let problem = "expected NAME, NAME.bulk or NAME.interactive, got another lane";
            return Err(Malformed::at("routing key", problem));
        };
        if self
            .provider
            .as_ref()
            .is_some_and(|provider| provider != address.provider)
        {
            return Err(Malformed::at(
                "provider",
                "expected the provider of the routing key, got another",
            ));
        }
        if self.lane.is_some_and(|other| other != lane) {
            return Err(Malformed::at(
                "lane",
                format!("expected {lane}, the lane of the routing key, got the other"),
            ));
        }
        Ok(())
    }

    /// The earlier of both deadlines.
    pub(super) fn deadline(&self, received: Timestamp) -> Result<Option<Timestamp>, Malformed> {
        let expected = "expected an RFC 3339 time such as \"2026-11-21T10:15:30Z\"";
        let at: Option<Timestamp> = match &self.deadline {
            Some(text) => Some(
                text.parse()
                    .map_err(|_| Malformed::at("deadline", expected))?,
            ),
            None => None,
        };
        let after = self.deadline_ms.map(|milliseconds| {
            let wait =
                SignedDuration::from_millis(milliseconds.get().try_into().unwrap_or(i64::MAX));
            received.checked_add(wait).unwrap_or(Timestamp::MAX)
        });
        Ok(match (at, after) {
            (Some(at), Some(after)) => Some(at.min(after)),
            (at, after) => at.or(after),
        })
    }
}
