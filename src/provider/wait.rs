//! How long a provider asks to be left alone: `Retry-After` (RFC 9110 §10.2.3), as real servers and the proxies
//! before them write it. Pure; what is too long is bounded by whoever obeys.

use std::time::Duration;

use http::{
    HeaderMap, HeaderValue,
    header::{DATE, RETRY_AFTER},
};
use jiff::{
    Timestamp,
    civil::DateTime,
    fmt::{strtime, temporal::Pieces},
    tz::Offset,
};

use super::class::until;

/// What `Retry-After` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked<'a> {
    /// There is none.
    Nothing,
    /// For this long, by these words: a number or a date, and so nothing private.
    Wait(Duration, &'a str),
    /// Something that is no wait. It is the provider's text, and may hold anything.
    Unreadable,
}

impl Asked<'_> {
    /// The wait, where there is one.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Wait(wait, _) => Some(*wait),
            Self::Nothing | Self::Unreadable => None,
        }
    }
}

/// The first wait that can be read, of several headers or of a list that a proxy made of them. A date is reckoned
/// against the clock that wrote it: see [`clock`].
#[must_use]
pub fn asked(headers: &HeaderMap, now: Timestamp) -> Asked<'_> {
    let mut asked = Asked::Nothing;
    for value in headers.get_all(RETRY_AFTER) {
        let text = value.to_str().unwrap_or("?");
        match parts(text).find_map(|part| Some((wait(part, headers, now)?, part))) {
            Some((wait, part)) => return Asked::Wait(wait, part),
            None if text.trim().is_empty() => {}
            None => asked = Asked::Unreadable,
        }
    }
    asked
}

/// The time by the clock of whoever answered, which its dates are reckoned against: the answer's own `Date`, else
/// our `now`.
#[must_use]
pub fn clock(headers: &HeaderMap, now: Timestamp) -> Timestamp {
    let date = headers.get(DATE).map(HeaderValue::to_str);
    date.and_then(|text| date_of(text.ok()?.trim()))
        .unwrap_or(now)
}

/// Whatever may be one value of a list: a part between commas, or two of them, since most dates hold one.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let commas = text.match_indices(',').map(|(at, _)| at);
    let mut ends: Vec<usize> = commas.chain([text.len()]).collect();
    ends.truncate(32);
    let begins: Vec<usize> = std::iter::once(0)
        .chain(ends.iter().map(|end| end + 1))
        .collect();
    let pairs = (0..ends.len()).flat_map(|at| [(at, at), (at, at + 1)]);
    let spans: Vec<_> = pairs
        .filter_map(|(from, to)| Some((begins[from], *ends.get(to)?)))
        .collect();
    spans
        .into_iter()
        .map(move |(from, to)| text[from..to].trim())
}

fn wait(text: &str, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    seconds(text).or_else(|| date_of(text).map(|then| until(then, clock(headers, now))))
}

/// Whole seconds or a fraction, rounded up; more than can be counted is the longest wait.
fn seconds(text: &str) -> Option<Duration> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let seconds: f64 = text.parse().ok()?;
    Some(Duration::try_from_secs_f64(seconds.ceil()).unwrap_or(Duration::MAX))
}

/// The three forms of RFC 9110 §5.6.7, the same with a numeric zone, and RFC 3339.
pub(super) fn date_of(text: &str) -> Option<Timestamp> {
    if let Ok(pieces) = Pieces::parse(text)
        && let (Some(time), Some(offset)) = (pieces.time(), pieces.to_numeric_offset())
    {
        return Some(moment(pieces.date().to_datetime(time), offset));
    }
    // The day of the week adds nothing, and need not be right.
    let day = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let rest = day.trim_start_matches([',', ' ']);
    if let Ok(parsed) = strtime::parse("%b %e %H:%M:%S %Y", rest) {
        return Some(moment(parsed.to_datetime().ok()?, Offset::UTC));
    }
    let (local, zone) = rest.rsplit_once(' ')?;
    let zone = match zone.to_ascii_uppercase().as_str() {
        "GMT" | "UTC" | "UT" | "Z" => "+0000".to_owned(),
        _ => zone.replace(':', ""),
    };
    let text = format!("{local} {zone}");
    ["%d %b %Y %H:%M:%S %z", "%d-%b-%y %H:%M:%S %z"]
        .iter()
        .find_map(|form| {
            let parsed = strtime::parse(form, &text).ok()?;
            Some(moment(parsed.to_datetime().ok()?, parsed.offset()?))
        })
}

/// The last days of the year 9999 lie beyond what a timestamp holds, and are as good as its end.
fn moment(local: DateTime, offset: Offset) -> Timestamp {
    offset.to_timestamp(local).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-29 01:00:00 UTC, a Sunday.
    fn now() -> Timestamp {
        "2026-11-29T01:00:00Z".parse().unwrap()
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let value = |value: &&str| (RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        values.iter().map(value).collect()
    }

    fn seconds_of(values: &[&str]) -> Option<u64> {
        asked(&headers(values), now())
            .wait()
            .map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_are_read_and_fractions_rounded_up() {
        for (text, seconds) in [
            ("0", 0),
            (" 7 ", 7),
            ("0.001", 1),
            ("1.5", 2),
            ("2.0", 2),
            ("1795912345", 1_795_912_345),
            ("1795912345678", 1_795_912_345_678),
        ] {
            assert_eq!(seconds_of(&[text]), Some(seconds), "{text}");
        }
        let endless = "9".repeat(40);
        assert_eq!(
            asked(&headers(&[&endless]), now()).wait(),
            Some(Duration::MAX)
        );
    }

    #[test]
    fn a_date_is_read_in_every_form_and_zone() {
        for text in [
            "Sun, 29 Nov 2026 01:00:02 GMT",
            "sun, 29 nov 2026 01:00:02 gmt",
            "Mon, 29 Nov 2026 01:00:02 GMT",
            "Sunday, 29-Nov-26 01:00:02 GMT",
            "Sun Nov 29 01:00:02 2026",
            "Sun, 29 Nov 2026 01:00:02 +0000",
            "Sun, 29 Nov 2026 08:00:02 +0700",
            "Sun, 29 Nov 2026 08:00:02 +07:00",
            "Sat, 28 Nov 2026 20:00:02 -0500",
            "29 Nov 2026 01:00:02 UTC",
            "2026-11-29T01:00:02Z",
            "2026-11-29T08:00:02.000+07:00",
            "2026-11-29 01:00:02Z",
        ] {
            assert_eq!(seconds_of(&[text]), Some(2), "{text}");
        }
        assert_eq!(
            seconds_of(&["Sun Nov  1 01:00:02 2026"]),
            Some(0),
            "it is past"
        );
        for text in ["Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59Z"] {
            assert!(seconds_of(&[text]) > Some(200_000_000_000), "{text}");
        }
    }

    #[test]
    fn of_a_list_or_of_several_headers_the_first_that_can_be_read_counts() {
        for (values, seconds) in [
            (&["2, 2"][..], 2),
            (&["2", "3"], 2),
            (&["soon", "3"], 3),
            (&["soon, 3"], 3),
            (&["Sun, 29 Nov 2026 01:00:02 GMT, 5"], 2),
            (&["soon, Sun, 29 Nov 2026 01:00:02 GMT"], 2),
            (&["", "4"], 4),
        ] {
            assert_eq!(seconds_of(values), Some(seconds), "{values:?}");
        }
    }

    #[test]
    fn what_is_no_wait_is_none() {
        for text in [
            "2s",
            "-1",
            "+1",
            "1e3",
            "inf",
            "nan",
            ".",
            "1.",
            ".5",
            "soon",
            "2026-11-29T01:00:02",
            "29 Nov 2026 01:00:02",
        ] {
            let headers = headers(&[text]);
            assert_eq!(asked(&headers, now()), Asked::Unreadable, "{text}");
        }
        assert_eq!(asked(&headers(&[""]), now()), Asked::Nothing);
        assert_eq!(asked(&HeaderMap::new(), now()), Asked::Nothing);
    }

    #[test]
    fn a_date_is_reckoned_against_the_clock_that_wrote_it() {
        let mut headers = headers(&["Sun, 29 Nov 2026 02:00:03 GMT"]);
        assert_eq!(clock(&headers, now()), now(), "there is no other");
        headers.insert(
            DATE,
            HeaderValue::from_static("Sun, 29 Nov 2026 02:00:00 GMT"),
        );
        assert_eq!(asked(&headers, now()).wait(), Some(Duration::from_secs(3)));
    }
}
