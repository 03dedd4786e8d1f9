//! What an answer says of how many requests are left: the headers that are usual, and others by name. Pure.
//!
//! Usual are `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers, structured fields of RFC 9651;
//! the form of draft 7 too), and the older `X-RateLimit-Remaining`, `-Limit` and `-Reset` in what spellings there are.
//! What cannot be read says nothing; a negative number is none either, since some write it for "without a limit".

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use sfv::{BareItem, Dictionary, List, ListEntry, Parameters, Parser};

use super::{class::until, wait};
use crate::{
    config::{Count, CountKeys, ResetForm},
    policy::quota::count::Said,
};

/// The older headers, by what they begin with.
const PREFIXES: [&str; 3] = ["x-ratelimit", "x-rate-limit", "ratelimit"];

/// Gateways that count several windows name each, as `X-RateLimit-Remaining-Minute`.
const WINDOWS: [(&str, u64); 4] = [
    ("second", 1),
    ("minute", 60),
    ("hour", 3600),
    ("day", 86400),
];

/// A number that is as large is no number of seconds from now, but a moment since 1970; and a larger one in
/// milliseconds.
const A_MOMENT: f64 = 1e9;
const IN_MILLISECONDS: f64 = 1e11;

/// Names are the provider's text.
const LONGEST_NAME: usize = 64;

/// Every window that the answer speaks of. `described` are the descriptor's own.
#[must_use]
pub fn said(
    headers: &HeaderMap,
    count: &Count,
    described: &[CountKeys],
    now: Timestamp,
) -> Vec<Said> {
    let named = match count {
        Count::None => return Vec::new(),
        Count::Named(named) => named.as_slice(),
        Count::Usual => described,
    };
    if !named.is_empty() {
        let said = named.iter();
        return said
            .filter_map(|keys| by_name(headers, keys, now))
            .collect();
    }
    // Most answers say nothing of it, and every answer is asked.
    let speaks = |name: &HeaderName| {
        PREFIXES
            .iter()
            .any(|prefix| name.as_str().starts_with(prefix))
    };
    if !headers.keys().any(speaks) {
        return Vec::new();
    }
    let structured = structured(headers);
    if !structured.is_empty() {
        return structured;
    }
    let prefixes = PREFIXES.iter();
    let mut said = prefixes.map(|prefix| older(headers, prefix, now));
    said.find(|said| !said.is_empty()).unwrap_or_default()
}

fn by_name(headers: &HeaderMap, keys: &CountKeys, now: Timestamp) -> Option<Said> {
    let number = |name: &String| whole(text(headers, name)?);
    let reset = keys.reset.as_ref();
    Some(Said {
        window: keys.remaining.clone(),
        remaining: number(&keys.remaining)?,
        limit: keys.limit.as_ref().and_then(number),
        reset: reset.and_then(|name| end(text(headers, name)?, keys.form, headers, now)),
        length: keys.per,
    })
}

/// `X-RateLimit-Remaining` and its company, for one window or for several.
fn older(headers: &HeaderMap, prefix: &str, now: Timestamp) -> Vec<Said> {
    let get = |what: &str, suffix: &str| text(headers, &format!("{prefix}-{what}{suffix}"));
    let of = |suffix: &str, length: Option<u64>| {
        let after = || {
            end(
                get("reset-after", suffix)?,
                ResetForm::Seconds,
                headers,
                now,
            )
        };
        let at = || end(get("reset", suffix)?, ResetForm::Any, headers, now);
        Some(Said {
            window: format!("{prefix}{suffix}"),
            remaining: whole(get("remaining", suffix)?)?,
            limit: get("limit", suffix).and_then(whole),
            reset: after().or_else(at),
            length: length.map(Duration::from_secs),
        })
    };
    let windows = WINDOWS.iter();
    let windows = windows.filter_map(|(name, seconds)| of(&format!("-{name}"), Some(*seconds)));
    of("", None).into_iter().chain(windows).collect()
}

/// `RateLimit: "minute";r=50;t=30`, and what `RateLimit-Policy: "minute";q=100;w=60` says of each.
fn structured(headers: &HeaderMap) -> Vec<Said> {
    let Some(text) = joined(headers, "ratelimit") else {
        return Vec::new();
    };
    let policies = joined(headers, "ratelimit-policy");
    let policies = policies.and_then(|text| Parser::new(&text).parse::<List>().ok());
    let policies = policies.unwrap_or_default();
    let Ok(list) = Parser::new(&text).parse::<List>() else {
        return of_draft_7(&text).into_iter().collect();
    };
    let said = list.iter();
    said.filter_map(|entry| of_policy(entry, &policies))
        .collect()
}

fn of_policy(entry: &ListEntry, policies: &List) -> Option<Said> {
    let (name, said) = named(entry)?;
    let same = |policy: &&ListEntry| named(policy).is_some_and(|(other, _)| other == name);
    let policy = policies.iter().find(same).and_then(named);
    let of_policy = |key: &str| parameter(policy?.1, key);
    let unit = policy.and_then(|(_, parameters)| parameters.get("qu"));
    // Bytes and connections are counted elsewhere.
    if unit.is_some_and(|unit| words(unit) != Some("requests")) {
        return None;
    }
    // Whose it is may be private, and is nobody's business but the provider's.
    let partition = said.get("pk").map(|key| {
        let mut hasher = DefaultHasher::new();
        format!("{key:?}").hash(&mut hasher);
        format!("#{:x}", hasher.finish())
    });
    Some(Said {
        window: short(name) + partition.as_deref().unwrap_or_default(),
        remaining: parameter(said, "r")?,
        limit: of_policy("q"),
        reset: parameter(said, "t").map(|seconds| Duration::from_secs(seconds.into())),
        length: of_policy("w").map(|seconds| Duration::from_secs(seconds.into())),
    })
}

/// `RateLimit: limit=100, remaining=50, reset=30`.
fn of_draft_7(text: &str) -> Option<Said> {
    let fields = Parser::new(text).parse::<Dictionary>().ok()?;
    let number = |key: &str| match fields.get(key)? {
        ListEntry::Item(item) => integer(&item.bare_item),
        ListEntry::InnerList(_) => None,
    };
    Some(Said {
        window: "ratelimit".into(),
        remaining: number("remaining")?,
        limit: number("limit"),
        reset: number("reset").map(|seconds| Duration::from_secs(seconds.into())),
        length: None,
    })
}

fn named(entry: &ListEntry) -> Option<(&str, &Parameters)> {
    match entry {
        ListEntry::Item(item) => Some((words(&item.bare_item)?, &item.params)),
        ListEntry::InnerList(_) => None,
    }
}

/// The drafts before wrote tokens, these write strings.
fn words(item: &BareItem) -> Option<&str> {
    match item {
        BareItem::String(text) => Some(text.as_str()),
        BareItem::Token(token) => Some(token.as_str()),
        _ => None,
    }
}

fn parameter(parameters: &Parameters, key: &str) -> Option<u32> {
    integer(parameters.get(key)?)
}

fn integer(item: &BareItem) -> Option<u32> {
    match item {
        BareItem::Integer(number) => u32::try_from(i64::from(*number)).ok(),
        _ => None,
    }
}

/// A header's text; of several the first.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Several headers of one name are one list.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let parts: Vec<_> = headers
        .get_all(name)
        .iter()
        .filter_map(|part| part.to_str().ok())
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A number, or the first of a list, of which the rest says how it came about (`100, 100;w=60`). A part of a request is
/// none.
fn whole(text: &str) -> Option<u32> {
    let first = text.split([',', ';']).next()?.trim();
    let number: f64 = first.parse().ok()?;
    let is_sound = number.is_finite() && number >= 0.0;
    // What no 32 bits hold is as good as no limit.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is neither negative nor larger"
    )]
    (is_sound && number <= f64::from(u32::MAX)).then_some(number as u32)
}

/// How long it is until a window ends; nothing where that is past.
fn end(text: &str, form: ResetForm, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let first = text.split([',', ';']).next().unwrap_or_default().trim();
    let number = first.parse::<f64>().ok();
    let number = number.filter(|number| number.is_finite() && *number >= 0.0);
    let clock = || wait::clock(headers, now);
    let at = |seconds: f64| {
        let since_1970 = Duration::try_from_secs_f64(seconds).ok()?;
        let then = Timestamp::from_duration(since_1970.try_into().ok()?).ok()?;
        Some(until(then, clock()))
    };
    let from_now = |seconds| Duration::try_from_secs_f64(seconds).ok();
    match (form, number) {
        (ResetForm::Seconds, number) => from_now(number?),
        (ResetForm::Milliseconds, number) => from_now(number? / 1e3),
        (ResetForm::EpochS, number) => at(number?),
        (ResetForm::EpochMs, number) => at(number? / 1e3),
        (ResetForm::Any, Some(number)) if number >= IN_MILLISECONDS => at(number / 1e3),
        (ResetForm::Any, Some(number)) if number >= A_MOMENT => at(number),
        (ResetForm::Any, Some(number)) => from_now(number),
        (ResetForm::Any | ResetForm::Date, _) => Some(until(wait::date_of(text)?, clock())),
    }
}

fn short(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// 2026-11-29 01:00:00 UTC, a Sunday.
    fn now() -> Timestamp {
        "2026-11-29T01:00:00Z".parse().unwrap()
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&str, &str)| {
            let name = HeaderName::try_from(*name).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(line).collect()
    }

    /// Window, remaining, limit, seconds until its end, seconds of its length.
    type Told = (String, u32, Option<u32>, Option<u64>, Option<u64>);

    fn told_by(count: &Count, described: &[CountKeys], lines: &[(&str, &str)]) -> Vec<Told> {
        let said = said(&headers(lines), count, described, now());
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
        let told = said.into_iter().map(|said| {
            let (reset, length) = (seconds(said.reset), seconds(said.length));
            (said.window, said.remaining, said.limit, reset, length)
        });
        told.collect()
    }

    fn told(lines: &[(&str, &str)]) -> Vec<Told> {
        told_by(&Count::Usual, &[], lines)
    }

    #[test]
    fn the_older_headers_are_read_in_every_spelling() {
        for prefix in ["X-RateLimit", "X-Rate-Limit", "RateLimit"] {
            let name = |what: &str| format!("{prefix}-{what}");
            let [remaining, limit, reset] = ["Remaining", "Limit", "Reset"].map(name);
            let said = told(&[
                (&remaining, "12"),
                (&limit, "100, 100;w=60"),
                (&reset, "30"),
            ]);
            let window = prefix.to_ascii_lowercase();
            assert_eq!(said, [(window, 12, Some(100), Some(30), None)]);
        }
        let name = "x-ratelimit".to_owned();
        let alone = told(&[("X-RateLimit-Remaining", "12")]);
        assert_eq!(alone, [(name, 12, None, None, None)]);
    }

    #[test]
    fn a_window_s_end_is_read_whatever_it_is_counted_from() {
        let seconds = now().as_second() + 30;
        let date = "Sun, 29 Nov 2026 01:00:30 GMT";
        for (reset, ends) in [
            ("30", Some(30)),
            ("30.5", Some(30)),
            (&seconds.to_string(), Some(30)),
            (&format!("{seconds}.75"), Some(30)),
            (&format!("{seconds}000"), Some(30)),
            (date, Some(30)),
            ("2026-11-29T01:00:30Z", Some(30)),
            (&(seconds - 60).to_string(), Some(0)),
            ("0", Some(0)),
            ("-1", None),
            ("soon", None),
            ("", None),
            ("1e400", None),
        ] {
            let said = told(&[("X-RateLimit-Remaining", "1"), ("X-RateLimit-Reset", reset)]);
            assert_eq!(said[0].3, ends, "{reset}");
        }
        let by_its_own_clock = told(&[
            ("Date", "Sun, 29 Nov 2026 02:00:00 GMT"),
            ("X-RateLimit-Remaining", "1"),
            ("X-RateLimit-Reset", &(seconds + 3600).to_string()),
        ]);
        assert_eq!(by_its_own_clock[0].3, Some(30));
        let after = told(&[
            ("X-RateLimit-Remaining", "1"),
            ("X-RateLimit-Reset-After", "0.25"),
            ("X-RateLimit-Reset", "7"),
        ]);
        assert_eq!(after[0].3, Some(0), "the more exact of the two");
    }

    #[test]
    fn what_is_no_number_of_requests_says_nothing() {
        for remaining in ["-1", "", "many", "NaN", "inf", "1e300"] {
            assert_eq!(
                told(&[("X-RateLimit-Remaining", remaining)]),
                [],
                "{remaining}"
            );
        }
        assert_eq!(
            told(&[("X-RateLimit-Limit", "100"), ("X-RateLimit-Reset", "30")]),
            []
        );
        assert_eq!(told(&[("X-RateLimit-Remaining", "99.9")])[0].1, 99);
    }

    #[test]
    fn several_windows_of_a_gateway_are_several() {
        let said = told(&[
            ("X-RateLimit-Remaining-Minute", "3"),
            ("X-RateLimit-Limit-Minute", "5"),
            ("X-RateLimit-Remaining-Day", "400"),
        ]);
        assert_eq!(
            said,
            [
                ("x-ratelimit-minute".into(), 3, Some(5), None, Some(60)),
                ("x-ratelimit-day".into(), 400, None, None, Some(86400)),
            ]
        );
    }

    #[test]
    fn structured_fields_are_read_with_their_policies_and_go_before_the_older() {
        let said = told(&[
            (
                "RateLimit",
                r#""burst";r=5;t=1, "day";r=900;t=3600;pk=:c2VjcmV0:"#,
            ),
            ("RateLimit-Policy", r#""burst";q=10;w=1"#),
            ("RateLimit-Policy", r#""day";q=1000;w=86400;qu="requests""#),
            ("X-RateLimit-Remaining", "1"),
        ]);
        let [burst, day] = &said[..] else {
            panic!("{said:?}")
        };
        assert_eq!(*burst, ("burst".into(), 5, Some(10), Some(1), Some(1)));
        assert_eq!((day.1, day.2, day.4), (900, Some(1000), Some(86400)));
        assert!(
            day.0.starts_with("day") && day.0 != "day",
            "its own partition"
        );
        let bytes = told(&[
            ("RateLimit", r#""bytes";r=5;t=1"#),
            ("RateLimit-Policy", r#""bytes";q=10;w=1;qu="content-bytes""#),
        ]);
        assert_eq!(bytes, [], "bytes are no requests");
        let draft_7 = told(&[("RateLimit", "limit=100, remaining=50, reset=30")]);
        assert_eq!(
            draft_7,
            [("ratelimit".into(), 50, Some(100), Some(30), None)]
        );
        for broken in [
            "\"a\";r=-1",
            "\"a\"",
            "\"a\";r=1.5",
            "(1 2);r=1",
            "\"a;r=1",
            "",
        ] {
            assert_eq!(told(&[("RateLimit", broken)]), [], "{broken}");
        }
    }

    #[test]
    fn headers_that_are_named_stand_in_place_of_the_usual() {
        let keys = |remaining: &str, form, per| CountKeys {
            remaining: remaining.into(),
            limit: Some("x-calls".into()),
            reset: Some("x-calls-reset".into()),
            form,
            per,
        };
        let lines = [
            ("X-RateLimit-Remaining", "1"),
            ("X-Calls-Left", "7"),
            ("X-Calls", "10"),
            ("X-Calls-Reset", "1795914030"),
        ];
        let own = keys("x-calls-left", ResetForm::Seconds, None);
        let told = told_by(&Count::Named(vec![own.clone()]), &[], &lines);
        let window = "x-calls-left".to_owned();
        let expected = (window.clone(), 7, Some(10), Some(1_795_914_030), None);
        assert_eq!(told, std::slice::from_ref(&expected));
        assert_eq!(
            told_by(&Count::Usual, std::slice::from_ref(&own), &lines),
            [expected]
        );
        let in_milliseconds = keys("x-calls-left", ResetForm::Milliseconds, None);
        let lines = [("X-Calls-Left", "7"), ("X-Calls-Reset", "60000")];
        let told = told_by(&Count::Named(vec![in_milliseconds]), &[], &lines);
        assert_eq!(told[0].3, Some(60));
        assert_eq!(told_by(&Count::None, &[own], &lines), []);
        let missing = keys("x-none", ResetForm::Any, None);
        assert_eq!(told_by(&Count::Named(vec![missing]), &[], &lines), []);
    }
}
