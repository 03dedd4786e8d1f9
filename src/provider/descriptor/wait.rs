//! How long an answer asks to be left alone, besides `Retry-After`.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use jiff::{Timestamp, tz::Offset};
use serde_json::Value;

use super::{
    document,
    mistakes::Mistakes,
    path::Path,
    shape::{WaitForm, WaitShape},
};
use crate::provider::{class, wait};

/// `[wait]`, compiled.
#[derive(Debug)]
pub struct Wait {
    place: Place,
    form: WaitForm,
}

#[derive(Debug)]
enum Place {
    Header(HeaderName),
    Body(Path),
}

impl Wait {
    /// Compiles the section.
    pub fn new(shape: &WaitShape, mistakes: &mut Mistakes) -> Option<Self> {
        let place = match (&shape.header, &shape.body) {
            (Some(name), None) => {
                let name = HeaderName::try_from(name.as_str());
                let name = name.map_err(|_| "expected the name of an HTTP header");
                mistakes.note("wait.header", name).map(Place::Header)?
            }
            (None, Some(path)) => mistakes
                .note("wait.body", Path::parse(path))
                .map(Place::Body)?,
            _ => {
                mistakes.add("wait", "expected exactly one of header and body");
                return None;
            }
        };
        Some(Self {
            place,
            form: shape.form,
        })
    }

    /// What an answer says.
    pub fn read(
        &self,
        headers: &HeaderMap,
        body: Option<&Value>,
        now: Timestamp,
    ) -> Option<Duration> {
        match &self.place {
            Place::Header(name) => headers
                .get_all(name)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .find_map(|text| self.form.read(text, now)),
            Place::Body(path) => path
                .nodes(body?)
                .find_map(|node| match document::number(node) {
                    None => self.form.read(node.as_str()?, now),
                    Some(number) => self.form.read(&number, now),
                }),
        }
    }
}

impl WaitForm {
    fn read(self, text: &str, now: Timestamp) -> Option<Duration> {
        let text = text.trim();
        let number = || text.parse::<f64>().ok().filter(|number| *number >= 0.0);
        let moment = match self {
            Self::Seconds => return Duration::try_from_secs_f64(number()?.ceil()).ok(),
            Self::EpochS => moment(number()?)?,
            Self::EpochMs => moment(number()? / 1000.0)?,
            Self::Date => wait::date_of(text).or_else(|| in_utc(text))?,
        };
        Some(class::until(moment, now))
    }
}

/// A date without a zone: of an API's own header the provider's clock is the likelier, and that is UTC.
fn in_utc(text: &str) -> Option<Timestamp> {
    Offset::UTC.to_timestamp(text.parse().ok()?).ok()
}

fn moment(seconds: f64) -> Option<Timestamp> {
    let since_1970 = Duration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(since_1970.try_into().ok()?).ok()
}
