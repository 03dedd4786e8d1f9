//! Numbers that stand for ids and telephone numbers: written in full, to their last digit.

/// More digits than this are no id.
const LONGEST: i64 = 40;

/// The integer that a JSON number is, without exponent and fraction: `1.91121684E8` is `191121684`. None where it is
/// no whole number.
pub fn whole(number: &str) -> Option<String> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (number, 0),
    };
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if exponent == 0 && fraction.is_empty() {
        return Some(format!("{sign}{whole}"));
    }
    let digits = format!("{whole}{fraction}");
    // Where the point stands, counted from the first digit.
    let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?;
    if point > LONGEST {
        return None;
    }
    let point = usize::try_from(point).unwrap_or(0);
    let (before, after) = digits.split_at(point.min(digits.len()));
    if after.bytes().any(|digit| digit != b'0') {
        return None;
    }
    let padded = format!("{before:0<point$}");
    let digits = match padded.trim_start_matches('0') {
        "" => return Some("0".into()),
        digits => digits,
    };
    Some(format!("{sign}{digits}"))
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn a_whole_number_is_written_in_full_however_it_came() {
        for (came, expected) in [
            ("7", "7"),
            ("1.91121684E8", "191121684"),
            ("8.4907089782E10", "84907089782"),
            ("84907089782.0", "84907089782"),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
            ("-5000.0", "-5000"),
            ("120e-1", "12"),
            ("0.0", "0"),
            ("0e9", "0"),
            ("5e3", "5000"),
        ] {
            assert_eq!(whole(came).as_deref(), Some(expected), "{came}");
        }
    }

    #[test]
    fn what_is_no_whole_number_is_none() {
        for came in ["1.5", "1e-1", "1e400", "12.30e0", "1e99999999999999999999"] {
            assert_eq!(whole(came), None, "{came}");
        }
    }
}
