//! The providers' dates, as results hold them: RFC 3339 where the zone is known, else local time without one.
//!
//! A date that cannot be read is left out: the customer is worth more than the day that it changed. So is one with a
//! year of two digits, which may be of any century, and one whose zone is a word other than UTC and GMT.

use jiff::{
    Timestamp,
    civil::{DateTime, Time},
    fmt::temporal::Pieces,
    tz::Offset,
};

use crate::json::Node;

/// An earlier year is none of four digits.
const FIRST_YEAR: i16 = 1000;

/// Fewer milliseconds since 1970 are more likely seconds: these are those of 1973.
const LEAST_MILLISECONDS: i64 = 100_000_000_000;

/// What Gson writes, month first, by the words that there are; and ISO 8601 with a space before its zone.
const FORMS: [&str; 8] = [
    "%b %d %Y %I:%M:%S %p",
    "%b %d %Y %H:%M:%S",
    "%b %d %Y %I:%M %p",
    "%b %d %Y %H:%M",
    "%b %d %Y",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
];

/// A date as text in any of the forms that the documents show, or in milliseconds since 1970.
#[must_use]
pub fn of(date: Node) -> Option<String> {
    match date.number() {
        Some(milliseconds) => from_milliseconds(milliseconds),
        None => read(&date.text()?),
    }
}

/// `2015-03-08 21:23:34`, RFC 3339, or `May 2, 2024 4:15:42 PM`, which newer Java writes with another comma and with
/// U+202F before PM; each with a zone or without. A day alone begins at midnight.
#[must_use]
pub fn read(text: &str) -> Option<String> {
    iso(text.trim()).or_else(|| worded(text))
}

fn from_milliseconds(milliseconds: i64) -> Option<String> {
    if milliseconds < LEAST_MILLISECONDS {
        return None;
    }
    let moment = Timestamp::from_millisecond(milliseconds).ok()?;
    Some(moment.to_string())
}

/// RFC 3339, with a zone or without; a day alone begins at midnight.
pub fn iso(text: &str) -> Option<String> {
    let pieces = Pieces::parse(text).ok()?;
    let time = pieces.time().unwrap_or(Time::midnight());
    let offset = pieces.to_numeric_offset();
    if offset.is_some() && is_rfc_3339(text) {
        return Some(text.to_owned());
    }
    written(pieces.date().to_datetime(time), offset)
}

/// Whether the provider writes it as results do: then it stays as it is.
fn is_rfc_3339(text: &str) -> bool {
    let numeric = |zone: &[u8]| matches!(zone, [b'+' | b'-', _, _, b':', _, _]);
    let (bytes, has) = (text.as_bytes(), |at: usize, byte| {
        text.as_bytes().get(at) == Some(&byte)
    });
    text.is_ascii()
        && has(4, b'-')
        && has(10, b'T')
        && has(16, b':')
        && (bytes.ends_with(b"Z") || bytes.last_chunk::<6>().is_some_and(|zone| numeric(zone)))
}

fn worded(text: &str) -> Option<String> {
    let mut words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty())
        .collect();
    let zone = words.last().and_then(|word| zone(word));
    if zone.is_some() {
        words.pop();
    }
    let plain = words.join(" ");
    let moment = FORMS
        .iter()
        .find_map(|form| DateTime::strptime(form, &plain).ok())?;
    written(moment, zone)
}

/// `Z`, `UTC`, `GMT`, `+0530`, `+05:30`, `GMT+5`.
fn zone(word: &str) -> Option<Offset> {
    let behind = ["UTC", "GMT", "Z"]
        .iter()
        .find_map(|name| word.strip_prefix(name));
    let (sign, digits) = match behind.unwrap_or(word).split_at_checked(1) {
        None if behind.is_some() => return Some(Offset::UTC),
        Some(("+", digits)) => (1, digits.replace(':', "")),
        Some(("-", digits)) => (-1, digits.replace(':', "")),
        _ => return None,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = match digits.len() {
        1 | 2 if behind.is_some() => (digits.as_str(), "0"),
        4 => digits.split_at(2),
        _ => return None,
    };
    let minutes = hours.parse::<i32>().ok()? * 60 + minutes.parse::<i32>().ok()?;
    Offset::from_seconds(sign * minutes * 60).ok()
}

/// As results hold it; none where the year is one of two digits.
pub fn written(moment: DateTime, zone: Option<Offset>) -> Option<String> {
    if moment.year() < FIRST_YEAR {
        return None;
    }
    Some(match zone {
        None => moment.to_string(),
        Some(Offset::UTC) => Offset::UTC.to_timestamp(moment).ok()?.to_string(),
        Some(zone) => zone
            .to_timestamp(moment)
            .ok()?
            .display_with_offset(zone)
            .to_string(),
    })
}

/// Year, month from 1, day, hour, minute, second.
#[must_use]
pub fn from_parts([year, month, day, hour, minute, second]: [i64; 6]) -> Option<String> {
    let small = |part: i64| i8::try_from(part).ok();
    let moment = DateTime::new(
        year.try_into().ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        0,
    );
    written(moment.ok()?, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_without_a_zone_stays_local() {
        for (text, expected) in [
            ("2015-03-08 21:23:34", "2015-03-08T21:23:34"),
            ("2021-10-25T14:53:31", "2021-10-25T14:53:31"),
            (" 2021-10-25 14:53:31.5 ", "2021-10-25T14:53:31.5"),
            ("2015-03-08", "2015-03-08T00:00:00"),
            ("May 2, 2024", "2024-05-02T00:00:00"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text:?}");
        }
        for text in ["", "yesterday", "2015-02-30 00:00:00", "24", "20"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_date_as_results_write_it_stays_as_it_is() {
        for text in ["2021-10-25T14:53:31.000Z", "2021-10-25T14:53:31+02:00"] {
            assert_eq!(read(text).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_zone_in_any_form_is_kept() {
        for (text, expected) in [
            ("2021-10-25 14:53:31Z", "2021-10-25T14:53:31Z"),
            ("2021-10-25T14:53:31+0530", "2021-10-25T14:53:31+05:30"),
            ("2021-10-25 14:53:31 +0530", "2021-10-25T14:53:31+05:30"),
            ("2021-10-25 14:53:31 UTC", "2021-10-25T14:53:31Z"),
            (
                "May 2, 2024 4:15:42 PM GMT+05:30",
                "2024-05-02T16:15:42+05:30",
            ),
            ("May 2, 2024 4:15:42 PM GMT", "2024-05-02T16:15:42Z"),
            ("May 2, 2024 16:15:42 -0800", "2024-05-02T16:15:42-08:00"),
            ("May 2, 2024, 4:15 PM UTC-5", "2024-05-02T16:15:00-05:00"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text:?}");
        }
        for text in [
            "May 2, 2024 4:15:42 PM IST",
            "May 2, 2024 4:15:42 PM +5",
            "soon Z",
            "+",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_form_of_gson_is_the_same_moment() {
        for text in [
            "May 2, 2024 4:15:42 PM",
            "May 2, 2024, 4:15:42 PM",
            "May 2, 2024, 4:15:42\u{202f}PM",
            "May 2, 2024 4:15:42\u{a0}PM",
            "May 02, 2024 04:15:42 PM",
            "May 2, 2024 16:15:42",
            "2024-05-02 16:15:42",
        ] {
            assert_eq!(
                read(text).as_deref(),
                Some("2024-05-02T16:15:42"),
                "{text:?}"
            );
        }
        assert_eq!(
            read("May 2, 2024 12:00:00 AM").as_deref(),
            Some("2024-05-02T00:00:00")
        );
        assert_eq!(read("Mai 2, 2024 4:15:42 PM"), None);
    }

    #[test]
    fn a_year_of_two_digits_is_no_year() {
        for text in [
            "May 2, 24 4:15:42 PM",
            "May 2, 24",
            "24-05-02 16:15:42",
            "5/2/24 4:15 PM",
            "0024-05-02T16:15:42",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(from_parts([24, 5, 2, 16, 15, 42]), None);
    }

    #[test]
    fn milliseconds_since_1970_are_a_moment_and_seconds_are_none() {
        let of = |text: &str| of(Node::parse(text).unwrap());
        assert_eq!(of("1714666542000").as_deref(), Some("2024-05-02T16:15:42Z"));
        assert_eq!(
            of(r#""1714666542123""#).as_deref(),
            Some("2024-05-02T16:15:42.123Z")
        );
        assert_eq!(
            of("1.714666542E12").as_deref(),
            Some("2024-05-02T16:15:42Z")
        );
        for none in [
            "1714666542",
            "0",
            "-1",
            "99999999999999999",
            "1.5",
            "true",
            "[]",
            "null",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn parts_that_are_no_date_are_none() {
        assert_eq!(
            from_parts([2024, 5, 2, 16, 15, 42]).as_deref(),
            Some("2024-05-02T16:15:42")
        );
        assert_eq!(from_parts([2024, 13, 1, 0, 0, 0]), None);
        assert_eq!(from_parts([i64::MAX; 6]), None);
    }
}
