//! The providers' dates, as results hold them: RFC 3339 where the zone is known, else local time without one.
//!
//! A date that cannot be read is left out: the customer is worth more than the day that it changed.

use jiff::{Timestamp, civil::DateTime};

/// `2015-03-08 21:23:34`, which tells no zone.
#[must_use]
pub fn local(text: &str) -> Option<String> {
    let text = text.trim();
    let parsed = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"]
        .iter()
        .find_map(|form| DateTime::strptime(form, text).ok());
    parsed.map(|moment| moment.to_string())
}

/// RFC 3339, as the provider writes it; a text without a zone is taken as local time.
#[must_use]
pub fn zoned(text: &str) -> Option<String> {
    let text = text.trim();
    let Ok(moment) = text.parse::<Timestamp>() else {
        return local(text);
    };
    let verbatim = text
        .chars()
        .all(|c| c.is_ascii_digit() || "-:.+TZ".contains(c))
        && text.contains('T');
    Some(if verbatim {
        text.to_owned()
    } else {
        moment.to_string()
    })
}

/// The text that Gson writes: `May 2, 2024 4:15:42 PM`; on newer Java with another comma, and with U+202F
/// before PM. It tells no zone.
#[must_use]
pub fn gson(text: &str) -> Option<String> {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty())
        .collect();
    let plain = words.join(" ");
    let parsed = ["%b %d %Y %I:%M:%S %p", "%b %d %Y %H:%M:%S"]
        .iter()
        .find_map(|form| DateTime::strptime(form, &plain).ok());
    parsed
        .map(|moment| moment.to_string())
        .or_else(|| local(text))
}

/// Year, month from 0 as Java's calendar counts, day, hour, minute, second.
#[must_use]
pub fn from_parts([year, month, day, hour, minute, second]: [i64; 6]) -> Option<String> {
    let small = |part: i64| i8::try_from(part).ok();
    let moment = DateTime::new(
        year.try_into().ok()?,
        small(month.checked_add(1)?)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        0,
    );
    moment.ok().map(|moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_without_a_zone_stays_local() {
        assert_eq!(
            local("2015-03-08 21:23:34").as_deref(),
            Some("2015-03-08T21:23:34")
        );
        for text in ["", "yesterday", "2015-02-30 00:00:00", "2015-03-08"] {
            assert_eq!(local(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_date_with_a_zone_stays_as_it_is() {
        assert_eq!(
            zoned("2021-10-25T14:53:31.000Z").as_deref(),
            Some("2021-10-25T14:53:31.000Z")
        );
        assert_eq!(
            zoned("2021-10-25T14:53:31+02:00").as_deref(),
            Some("2021-10-25T14:53:31+02:00")
        );
        assert_eq!(
            zoned("2021-10-25 14:53:31Z").as_deref(),
            Some("2021-10-25T14:53:31Z")
        );
        assert_eq!(
            zoned("2021-10-25T14:53:31").as_deref(),
            Some("2021-10-25T14:53:31")
        );
        assert_eq!(zoned("soon"), None);
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
                gson(text).as_deref(),
                Some("2024-05-02T16:15:42"),
                "{text:?}"
            );
        }
        assert_eq!(
            gson("May 2, 2024 12:00:00 AM").as_deref(),
            Some("2024-05-02T00:00:00")
        );
        assert_eq!(gson("Mai 2, 2024 4:15:42 PM"), None);
    }

    #[test]
    fn months_count_from_zero() {
        assert_eq!(
            from_parts([2024, 4, 2, 16, 15, 42]).as_deref(),
            Some("2024-05-02T16:15:42")
        );
        assert_eq!(
            from_parts([2024, 0, 31, 0, 0, 0]).as_deref(),
            Some("2024-01-31T00:00:00")
        );
        assert_eq!(
            from_parts([2024, 11, 31, 23, 59, 59]).as_deref(),
            Some("2024-12-31T23:59:59")
        );
        assert_eq!(from_parts([2024, 12, 1, 0, 0, 0]), None);
        assert_eq!(from_parts([i64::MAX; 6]), None);
    }
}
