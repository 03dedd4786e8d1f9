//! What can be made to go wrong, and how it is asked for: a header, the control route, a rate.

use std::{fmt::Display, str::FromStr, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Deserializer, de::Error as _};

/// What happens to a request instead of, or besides, its right answer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Fault {
    /// Answer with this status, in the kind's own shape.
    pub status: Option<u16>,
    /// Wait before answering.
    pub latency: Option<Duration>,
    /// Send `Retry-After` with that many seconds.
    pub retry_after: Option<u64>,
    /// How the answer breaks.
    pub damage: Option<Damage>,
}

/// How an answer breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The connection is reset (RST) without a byte of an answer.
    Reset,
    /// The body ends in its middle; its announced length stays whole.
    Truncate,
    /// No answer ever comes.
    Hang,
    /// A proxy's HTML page, with status 200 unless another was asked for.
    Html,
}

impl Fault {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        status: None,
        latency: None,
        retry_after: None,
        damage: None,
    };

    /// A status in the kind's own shape.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            ..Self::NONE
        }
    }

    /// A broken answer.
    #[must_use]
    pub const fn damage(damage: Damage) -> Self {
        Self {
            damage: Some(damage),
            ..Self::NONE
        }
    }

    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        match (key, value) {
            ("status", Some(value)) => self.status = Some(status(number(key, value)?)?),
            ("latency", Some(value)) => self.latency = Some(duration(value)?),
            ("retry-after", Some(value)) => self.retry_after = Some(number(key, value)?),
            ("reset", None) => self.damage = Some(Damage::Reset),
            ("truncate", None) => self.damage = Some(Damage::Truncate),
            ("hang", None) => self.damage = Some(Damage::Hang),
            ("html", None) => self.damage = Some(Damage::Html),
            _ => return Err(format!("{key}: expected {EXPECTED}")),
        }
        Ok(())
    }
}

const EXPECTED: &str =
    "status=503, latency=500ms, retry-after=3, reset, truncate, hang, html or count=2";

/// A fault, and how often it happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Order {
    pub fault: Fault,
    /// For ever, where there is no count.
    pub count: Option<u32>,
}

/// The header's form: `status=503;count=2`.
impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut order = Self {
            fault: Fault::NONE,
            count: None,
        };
        for part in text
            .split(';')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (key, value) = part
                .split_once('=')
                .map_or((part, None), |(key, value)| (key.trim(), Some(value)));
            match (key, value) {
                ("count", Some(value)) => order.count = Some(number(key, value.trim())?),
                (key, value) => order.fault.set(key, value.map(str::trim))?,
            }
        }
        if order.fault == Fault::NONE {
            Err(format!("got {text:?}, expected {EXPECTED}"))
        } else {
            Ok(order)
        }
    }
}

/// The control route's form: `{"status": 503, "latency": "500ms", "retry_after": 3, "reset": true}`.
impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(
            clippy::struct_excessive_bools,
            reason = "it is the form that people write"
        )]
        struct Form {
            status: Option<u16>,
            latency: Option<String>,
            retry_after: Option<u64>,
            #[serde(default)]
            reset: bool,
            #[serde(default)]
            truncate: bool,
            #[serde(default)]
            hang: bool,
            #[serde(default)]
            html: bool,
        }
        let form = Form::deserialize(deserializer)?;
        let damage = [
            (form.reset, Damage::Reset),
            (form.truncate, Damage::Truncate),
            (form.hang, Damage::Hang),
            (form.html, Damage::Html),
        ];
        Ok(Self {
            status: form
                .status
                .map(status)
                .transpose()
                .map_err(D::Error::custom)?,
            latency: form
                .latency
                .as_deref()
                .map(duration)
                .transpose()
                .map_err(D::Error::custom)?,
            retry_after: form.retry_after,
            damage: damage
                .into_iter()
                .find(|(wanted, _)| *wanted)
                .map(|(_, damage)| damage),
        })
    }
}

fn number<T: FromStr>(key: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{key}: got {value:?}, expected a number"))
}

/// A final status; 1xx would not end the exchange.
pub(super) fn status(status: u16) -> Result<u16, String> {
    if (200..=599).contains(&status) {
        Ok(status)
    } else {
        Err(format!("status: got {status}, expected 200 to 599"))
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("got {text:?}, expected a duration such as \"500ms\""))
}

/// How often something goes wrong by itself, each a share from 0 to 1 of the lookups.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    /// Answered with `status`.
    pub failing: f64,
    /// The status of those.
    pub status: u16,
    /// Connection reset.
    pub reset: f64,
    /// Body cut short.
    pub truncate: f64,
    /// Never answered.
    pub hang: f64,
    /// Waited before every answer.
    pub latency: Duration,
    /// At most that much more, evenly spread.
    pub jitter: Duration,
}

impl Rates {
    /// Shares must be shares, and together at most one.
    pub(super) fn check(&self) -> Result<(), impl Display + use<>> {
        let shares = [self.failing, self.reset, self.truncate, self.hang];
        if shares.iter().all(|share| (0.0..=1.0).contains(share))
            && shares.iter().sum::<f64>() <= 1.0
        {
            return Ok(());
        }
        Err(
            "the rates of status, reset, truncate and hang: expected 0 to 1 each, and at most 1 together",
        )
    }
}

/// Draws the faults of [`Rates`]; the same seed, the same draws.
pub(super) struct Dice {
    rates: Rates,
    random: StdRng,
}

impl Dice {
    pub fn new(rates: Rates, seed: u64) -> Self {
        Self {
            rates,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// The fault of the next lookup; [`Fault::NONE`] for most.
    pub fn roll(&mut self) -> Fault {
        let mut fault = self.pick();
        let latency = self.rates.latency + self.rates.jitter.mul_f64(self.random.random());
        fault.latency = (!latency.is_zero()).then_some(latency);
        fault
    }

    fn pick(&mut self) -> Fault {
        let mut left: f64 = self.random.random();
        let faults = [
            (self.rates.failing, Fault::status(self.rates.status)),
            (self.rates.reset, Fault::damage(Damage::Reset)),
            (self.rates.truncate, Fault::damage(Damage::Truncate)),
            (self.rates.hang, Fault::damage(Damage::Hang)),
        ];
        for (share, fault) in faults {
            if left < share {
                return fault;
            }
            left -= share;
        }
        Fault::NONE
    }
}
