//! Numbers that must keep their last digit: ids and telephone numbers.

use std::borrow::Cow;

/// Up to here every whole number has a double of its own (2⁵³).
const EXACT: u64 = 1 << 53;

/// Digits of the largest of them.
const MOST_DIGITS: usize = 16;

/// The integer that a JSON number is, in all its digits. One with a point or an exponent was a double on its way, as
/// `1.91121684E8`: it is none where it has a fraction, or is so large that a double cannot tell it from its neighbours.
#[must_use]
pub fn whole(number: &str) -> Option<Cow<'_, str>> {
    if !number.contains(['.', 'e', 'E']) {
        return Some(Cow::Borrowed(number));
    }
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse().ok()?),
        None => (number, 0_i32),
    };
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [before, after].concat();
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(Cow::Borrowed("0"));
    }
    let dropped = i32::try_from(digits.len() - significant.len()).ok()?;
    let zeros = exponent
        .checked_add(dropped)?
        .checked_sub(i32::try_from(after.len()).ok()?)?;
    let zeros = usize::try_from(zeros)
        .ok()
        .filter(|zeros| *zeros <= MOST_DIGITS)?;
    let value: u64 = [significant, &"0".repeat(zeros)].concat().parse().ok()?;
    (value <= EXACT).then(|| Cow::Owned(format!("{sign}{value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_written_in_full() {
        for (number, expected) in [
            ("191121684", "191121684"),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
            ("1.91121684E8", "191121684"),
            ("8.4907089782E10", "84907089782"),
            ("84907089782.0", "84907089782"),
            ("1e3", "1000"),
            ("1500e-2", "15"),
            ("-2.50e+1", "-25"),
            ("0.0", "0"),
            ("-0e9", "0"),
            ("9007199254740992.0", "9007199254740992"),
        ] {
            assert_eq!(whole(number).as_deref(), Some(expected), "{number}");
        }
    }

    #[test]
    fn a_fraction_and_what_no_double_can_tell_apart_is_none() {
        for number in [
            "1.5",
            "1.91121684E7",
            "1e-1",
            "1.0000000000000000000000001",
            "9007199254740994.0",
            "1.2345678901234567E20",
            "1e999",
            "1e99999999999",
            "-1e2147483647",
        ] {
            assert_eq!(whole(number), None, "{number}");
        }
    }
}
