//! A value that one provider writes as a string and the next as a number.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json;

/// A string or a number, as text; of a number every digit is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar<'a>(Cow<'a, str>);

impl Scalar<'_> {
    /// The text without white space around it; none if nothing is left.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let text = self.0.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The integer that it is.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        self.0.trim().parse().ok()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        match raw.as_bytes().first() {
            Some(b'"') if !raw.contains('\\') => Ok(Scalar(Cow::Borrowed(raw.trim_matches('"')))),
            Some(b'"') => serde_json::from_str(raw)
                .map(|text| Scalar(Cow::Owned(text)))
                .map_err(|_| json::refuse("expected a string or a number")),
            Some(b'-' | b'0'..=b'9') => Ok(Scalar(Cow::Borrowed(raw))),
            _ => Err(json::refuse(
                "expected a string or a number, got another type",
            )),
        }
    }
}
