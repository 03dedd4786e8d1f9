//! Readers of single values. Each says what it expected; the key is added by the loader.

use std::{fmt, net::SocketAddr, time::Duration};

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IntoDeserializer, SeqAccess, Unexpected, Visitor},
};
use url::Url;

/// The longest step of a delay queue: RabbitMQ takes back what is unacknowledged for 30 minutes.
const LONGEST_STEP: Duration = Duration::from_secs(25 * 60);

/// One delay queue: its wait, and the text that names it (`PREFIX.delay.30s`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// As it was written in the configuration.
    pub name: String,
    /// How long the queue holds a job.
    pub wait: Duration,
}

impl Step {
    /// A step known to be well-formed: the defaults.
    pub(super) fn of(text: &str) -> Self {
        Self {
            name: text.into(),
            wait: humantime::parse_duration(text).expect("a duration"),
        }
    }
}

/// A text such as `250ms`, `30s`, `5m`.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text)
}

fn parse_duration<E: Error>(text: &str) -> Result<Duration, E> {
    let duration = humantime::parse_duration(text).ok();
    duration
        .filter(|_| !is_of_the_calendar(text))
        .ok_or_else(|| {
            E::invalid_value(
                Unexpected::Str(text),
                &"a duration such as \"250ms\", \"30s\" or \"5m\"",
            )
        })
}

/// Whether a duration is given in months or years, of which none is as long as the next; `1M` is most often meant to be
/// a minute.
fn is_of_the_calendar(text: &str) -> bool {
    text.split(|c: char| !c.is_alphabetic())
        .any(|unit| unit == "M" || unit.starts_with("mo") || unit.starts_with('y'))
}

/// A duration longer than nothing.
pub fn positive_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let duration = duration(deserializer)?;
    if duration.is_zero() {
        return Err(D::Error::invalid_value(
            Unexpected::Str("0s"),
            &"a duration longer than zero",
        ));
    }
    Ok(duration)
}

/// The steps of the delay queues, sorted, each once.
pub fn steps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Step>, D::Error> {
    let mut steps = Vec::new();
    for text in strings(deserializer)? {
        let name: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let wait = parse_duration(&name)?;
        if wait.is_zero() || wait > LONGEST_STEP {
            return Err(D::Error::invalid_value(
                Unexpected::Str(&text),
                &"a step longer than zero and of at most 25 minutes (RabbitMQ takes back what is held for 30)",
            ));
        }
        steps.push(Step { name, wait });
    }
    steps.sort_by_key(|step| step.wait);
    if steps.is_empty() {
        return Err(D::Error::invalid_length(0, &"at least one step"));
    }
    if steps.windows(2).any(|pair| pair[0].wait == pair[1].wait) {
        return Err(D::Error::custom("the same step twice; expected each once"));
    }
    Ok(steps)
}

/// As [`duration`], where it may be left out.
pub fn duration_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// As [`positive_duration`], where it may be left out.
pub fn positive_duration_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    positive_duration(deserializer).map(Some)
}

/// A count: an integer of at least 0, or a text that is one, as variables are. A number with a fraction is none.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Count;
    impl Visitor<'_> for Count {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("an integer of at least 0")
        }

        fn visit_u64<E: Error>(self, count: u64) -> Result<u64, E> {
            Ok(count)
        }

        fn visit_i64<E: Error>(self, count: i64) -> Result<u64, E> {
            u64::try_from(count).map_err(|_| E::invalid_value(Unexpected::Signed(count), &self))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            let count = text.trim().parse();
            count.map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_any(Count)
}

/// A count that is no larger than its type.
fn fitting<T: TryFrom<u64> + fmt::Display, E: Error>(count: u64, largest: T) -> Result<T, E> {
    T::try_from(count).map_err(|_| {
        let expected = format!("an integer of at most {largest}");
        E::invalid_value(Unexpected::Unsigned(count), &expected.as_str())
    })
}

/// As [`count`], where it may be left out.
pub fn count_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    fitting(count(deserializer)?, u32::MAX).map(Some)
}

/// As [`positive_u32`], where it may be left out.
pub fn positive_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    positive_u32(deserializer).map(Some)
}

macro_rules! positive {
    ($name:ident, $type:ty) => {
        /// A count of at least 1.
        pub fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
            match count(deserializer)? {
                0 => Err(D::Error::invalid_value(
                    Unexpected::Unsigned(0),
                    &"an integer of at least 1",
                )),
                count => fitting(count, <$type>::MAX),
            }
        }
    };
}
positive!(positive_u32, u32);
positive!(positive_usize, usize);
positive!(concurrency, u16);

/// As [`concurrency`], where it may be left out.
pub fn concurrency_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u16>, D::Error> {
    concurrency(deserializer).map(Some)
}

/// A factor of at least 1.
pub fn multiplier<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let factor = f64::deserialize(deserializer)?;
    if factor.is_finite() && factor >= 1.0 {
        return Ok(factor);
    }
    Err(D::Error::invalid_value(
        Unexpected::Float(factor),
        &"a number of at least 1",
    ))
}

/// A share from 0 up to, but not including, 1.
pub fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(deserializer)?;
    if (0.0..1.0).contains(&share) {
        return Ok(share);
    }
    Err(D::Error::invalid_value(
        Unexpected::Float(share),
        &"a number from 0 to below 1",
    ))
}

/// A share from 0 to 1.
pub fn ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let ratio = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&ratio) {
        return Ok(ratio);
    }
    Err(D::Error::invalid_value(
        Unexpected::Float(ratio),
        &"a number from 0 to 1",
    ))
}

/// One of the words that a type knows, in any case: variables are often written large.
pub fn word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    T::deserialize(text.to_lowercase().into_deserializer())
}

/// As [`word`], where it may be left out.
pub fn word_option<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    word(deserializer).map(Some)
}

/// A list of the words that a type knows.
pub fn words<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let words = strings(deserializer)?.into_iter();
    words
        .map(|word| T::deserialize(word.to_lowercase().into_deserializer()))
        .collect()
}

/// As [`words`], where it may be left out.
pub fn words_option<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    words(deserializer).map(Some)
}

/// `HOST:PORT`.
pub fn socket_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::invalid_value(
            Unexpected::Str(&text),
            &"an address and port such as \"127.0.0.1:9464\"",
        )
    })
}

/// The first part of names on the broker.
pub fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let legal = !text.is_empty()
        && text.len() <= 64
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && !text.starts_with("amq.");
    if legal {
        return Ok(text);
    }
    let expected = "1 to 64 letters, digits, '.', '_' or '-', not beginning with 'amq.'";
    Err(D::Error::invalid_value(Unexpected::Str(&text), &expected))
}

/// The address of a provider or of its token endpoint.
pub fn web_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    match Url::parse(&text) {
        Ok(url) if url.has_host() => Ok(url),
        // What stands before an '@' is most often a password.
        _ if text.contains('@') => Err(D::Error::custom(
            "expected an address such as \"https://api.example.com\"",
        )),
        _ => Err(D::Error::invalid_value(
            Unexpected::Str(&text),
            &"an address such as \"https://api.example.com\"",
        )),
    }
}

/// As [`web_address`], where it may be left out.
pub fn web_address_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Url>, D::Error> {
    web_address(deserializer).map(Some)
}

/// Headers, `NAME=VALUE` with commas between them; none is shown.
pub fn headers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(HeaderName, HeaderValue)>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let mut value = HeaderValue::try_from(value.trim()).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(name.trim()).ok()?, value))
    };
    let pairs = text
        .split(',')
        .filter(|text| !text.trim().is_empty())
        .map(pair);
    let expected = "expected headers such as \"authorization=Bearer abc,x-tenant=7\"";
    pairs
        .collect::<Option<_>>()
        .ok_or_else(|| D::Error::custom(expected))
}

fn broker_address<E: Error>(text: String) -> Result<SecretString, E> {
    // The text itself holds a password and is not shown.
    match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "amqp" | "amqps") && url.host_str().is_some() => {
            Ok(text.into())
        }
        Ok(url) => Err(E::custom(format_args!(
            "expected an address such as \"amqp://user:password@host:5672/%2f\", its scheme is {:?}",
            url.scheme()
        ))),
        Err(error) => Err(E::custom(format_args!(
            "expected an address such as \"amqp://user:password@host:5672/%2f\": {error}"
        ))),
    }
}

/// One broker address.
pub fn broker_address_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SecretString>, D::Error> {
    broker_address(String::deserialize(deserializer)?).map(Some)
}

/// Several broker addresses.
pub fn broker_addresses<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SecretString>, D::Error> {
    let texts = strings(deserializer)?;
    if texts.is_empty() {
        return Err(D::Error::invalid_length(0, &"at least one broker address"));
    }
    texts.into_iter().map(broker_address).collect()
}

/// A list of texts; from the environment, one text with commas.
pub fn strings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct List;
    impl<'de> Visitor<'de> for List {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a list of strings (in the environment: separated by commas)")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                list.push(item);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_any(List)
}
