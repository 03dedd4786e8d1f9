//! A job's body: the fields, and what they must be beside the routing key.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Address;
use crate::{json::Malformed, lane::Lane, provider::criterion::Whole};

/// A time with a zone, for tools: how many days a month has they cannot tell.
const MOMENT: &str = r"^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[Tt ](?:[01][0-9]|2[0-3])(?::?(?:[0-5][0-9]|60)){0,2}(?:[.,][0-9]+)?(?:[Zz]|[+\-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)(?:\[.*\])*$";

/// Digits of a second's fraction that count.
const FRACTION: usize = 9;

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
            Some(text) => Some(moment(text).ok_or_else(|| Malformed::at("deadline", expected))?),
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

/// A moment as RFC 3339 writes it, whatever its fraction; the end of time, which several languages write where they
/// mean that there is none, is the last that can be reckoned with.
fn moment(text: &str) -> Option<Timestamp> {
    let text = shortened(text);
    let last_year = || text.strip_prefix("9999").map(|rest| format!("9995{rest}"));
    let is_moment = |text: String| text.parse::<Timestamp>().is_ok();
    let end = || last_year().filter(|text| is_moment(text.clone()));
    text.parse().ok().or_else(|| end().map(|_| Timestamp::MAX))
}

/// Without the digits of a fraction that do not count.
fn shortened(text: &str) -> Cow<'_, str> {
    let Some((before, fraction)) = text.split_once(['.', ',']) else {
        return text.into();
    };
    let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if length <= FRACTION {
        return text.into();
    }
    format!("{before}.{}{}", &fraction[..FRACTION], &fraction[length..]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_what_rfc_3339_takes_for_one() {
        let second = 1_763_720_130;
        for (text, expected) in [
            ("2025-11-21T10:15:30Z", Some(second)),
            ("2025-11-21T10:15:30.123456789012Z", Some(second)),
            ("2025-11-21 12:15:30.5+02:00", Some(second)),
            ("9999-12-31T23:59:59Z", Some(Timestamp::MAX.as_second())),
            (
                "9999-12-31T23:59:59.9999999Z",
                Some(Timestamp::MAX.as_second()),
            ),
            ("9999-13-31T23:59:59Z", None),
            ("2025-11-21T10:15:30", None),
            ("2025-11-21T10:15:30.1234567890xZ", None),
            ("tomorrow", None),
        ] {
            assert_eq!(moment(text).map(Timestamp::as_second), expected, "{text}");
        }
    }
}
