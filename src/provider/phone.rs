//! Telephone numbers as the kinds' documents write them: digits alone (contract §3).
//!
//! What would become nobody's number, or somebody else's, is refused: the provider would say that there is no such
//! customer, or find another. [`Number`]'s schema says the same in patterns; a property test holds both together.

mod pattern; // the same rules for tools

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::{config::PhoneFormat, json::Malformed};

/// Most digits of a number (ITU-T E.164, 6.2.1).
const MOST_DIGITS: usize = 15;

/// Digits that hardly anything but a whole number has: seven before a break and seven behind it are two numbers.
const WHOLE_NUMBER: usize = 7;

/// Italy's numbers keep their zero behind the country code.
const ITALY: &str = "39";

/// What telephone systems write where they have no number, or may not tell it; parts of it in small letters.
const HIDDEN: [&str; 19] = [
    "anonym",
    "blocked",
    "desconocido",
    "hidden",
    "inconnu",
    "masqu",
    "nocallerid",
    "notavailable",
    "oculto",
    "outofarea",
    "priv",
    "restricted",
    "suppressed",
    "unavailable",
    "unbekannt",
    "undisclosed",
    "unknown",
    "unterdr",
    "withheld",
];

/// A telephone number as a job gives it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Number(String);

impl Number {
    /// As [`written`].
    ///
    /// # Errors
    /// Where it is none.
    pub fn written(&self, format: PhoneFormat, field: &str) -> Result<String, Malformed> {
        written(&self.0, format, field)
    }
}

impl From<String> for Number {
    fn from(number: String) -> Self {
        Self(number)
    }
}

impl JsonSchema for Number {
    fn schema_name() -> Cow<'static, str> {
        "TelephoneNumber".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        pattern::schema()
    }
}

/// What people put between digits: separators, brackets, and marks that word processors add unseen.
fn separates(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '-' | '.' | '/' | '(' | ')' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The number as it goes to the provider.
///
/// # Errors
/// Where nothing is left, or what is left would be nobody's number or somebody else's.
pub fn written(phone: &str, format: PhoneFormat, field: &str) -> Result<String, Malformed> {
    let refuse = |problem: &str| Malformed::at(field, problem);
    if phone.trim().is_empty() {
        return Err(refuse("expected a telephone number, got an empty string"));
    }
    if format == PhoneFormat::AsIs {
        return Ok(phone.to_owned());
    }
    let digits = digits(phone).map_err(refuse)?;
    if digits.is_empty() {
        return Err(refuse(
            "expected a telephone number with at least one digit",
        ));
    }
    if is_fraction(phone) {
        return Err(refuse(
            "expected a telephone number, got one with a fraction: it went through a number of a spreadsheet or a \
             table; read that column as text",
        ));
    }
    if are_two(phone) {
        return Err(refuse("expected one telephone number, got two in one"));
    }
    if digits.len() > MOST_DIGITS {
        return Err(Malformed::at(
            field,
            format!(
                "expected a telephone number of at most {MOST_DIGITS} digits, got {}",
                digits.len()
            ),
        ));
    }
    Ok(digits)
}

/// Whether both may be the same number in two notations: with and without country code, prefix, trunk zero, or the
/// fraction that a float leaves. Two short ones must be alike but for zeros before them.
#[must_use]
pub fn may_be_one(one: &str, other: &str) -> bool {
    let (one, other) = (significant(one), significant(other));
    let is_end_of = |short: &str, long: &str| short.len() >= WHOLE_NUMBER && long.ends_with(short);
    one == other || is_end_of(&one, &other) || is_end_of(&other, &one)
}

/// The digits that tell numbers apart, without zeros before them.
fn significant(phone: &str) -> String {
    let phone = phone.trim();
    let whole = phone
        .split_once('.')
        .filter(|(_, part)| part.bytes().all(|byte| byte == b'0'));
    let phone = whole.map_or(phone, |(whole, _)| whole);
    let phone = phone.replacen("(0)", "", usize::from(!phone.starts_with("(0)")));
    let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
    digits.trim_start_matches('0').to_owned()
}

/// The digits, without a trunk zero in brackets.
fn digits(phone: &str) -> Result<String, &'static str> {
    let mut digits = String::with_capacity(phone.len());
    let (mut plus, mut trunk) = (false, false);
    let mut rest = phone;
    while let Some(c) = rest.chars().next() {
        if let Some(behind) = behind_bracketed_zero(rest).filter(|_| !digits.is_empty()) {
            if trunk || !is_country_code(&digits) {
                return Err("expected '(0)' behind a country code alone, as in +44 (0)20");
            }
            if !behind.contains(|c: char| c.is_ascii_digit()) {
                return Err("expected a telephone number behind '(0)', got nothing");
            }
            trunk = true;
            if digits.trim_start_matches("00") == ITALY {
                digits.push('0');
            }
            rest = behind;
            continue;
        }
        match c {
            '0'..='9' => digits.push(c),
            '+' if digits.is_empty() && !plus => plus = true,
            c if separates(c) => {}
            _ => return Err(of_no_number(phone)),
        }
        rest = &rest[c.len_utf8()..];
    }
    Ok(digits)
}

/// What stands behind a `(0)` with which the text begins.
fn behind_bracketed_zero(text: &str) -> Option<&str> {
    let zero = text.strip_prefix('(')?.trim_start_matches(' ');
    zero.strip_prefix('0')?
        .trim_start_matches(' ')
        .strip_prefix(')')
}

/// Up to three digits, perhaps behind the prefix 00. None begins with a zero.
fn is_country_code(digits: &str) -> bool {
    let code = digits.strip_prefix("00").unwrap_or(digits);
    (1..=3).contains(&code.len()) && !code.starts_with('0')
}

/// `84907089782.0`: a point is the only thing between the digits, and what stands behind it is no group of them. Behind
/// other separators, too, a point and one zero at the end are what a float leaves; a pair, as in `01.23.45.67.00`, is
/// not.
fn is_fraction(phone: &str) -> bool {
    let number = phone.trim_matches(separates);
    if number
        .strip_suffix(".0")
        .is_some_and(|whole| whole.ends_with(|c: char| c.is_ascii_digit()))
    {
        return true;
    }
    let number = number.strip_prefix('+').unwrap_or(number);
    let Some((whole, part)) = number.split_once('.') else {
        return false;
    };
    let are_digits =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_group = part.len() > 2 && part.bytes().any(|byte| byte != b'0');
    are_digits(whole) && are_digits(part) && !is_group
}

/// Two numbers with nothing but separators between them.
fn are_two(phone: &str) -> bool {
    let count = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
    let breaks = phone.match_indices(['/', '\t', '\n', '\r']);
    let parted = breaks
        .map(|(at, _)| phone.split_at(at))
        .any(|(before, behind)| count(before) >= WHOLE_NUMBER && count(behind) >= WHOLE_NUMBER);
    let runs = phone.split(|c: char| !c.is_ascii_digit());
    let mut lengths = runs.map(str::len).filter(|length| *length > 0);
    let mut last = lengths.next().unwrap_or_default();
    parted || lengths.any(|length| std::mem::replace(&mut last, length).min(length) >= WHOLE_NUMBER)
}

/// What to say of a text that holds more than a number.
fn of_no_number(text: &str) -> &'static str {
    let letters: String = text
        .chars()
        .filter(|c| c.is_alphabetic())
        .flat_map(char::to_lowercase)
        .collect();
    if HIDDEN.iter().any(|word| letters.contains(word)) {
        "expected a telephone number, got a word for a hidden caller: there is nobody to look up; leave such calls out"
    } else {
        "expected a telephone number: digits, with '+' before and separators between them"
    }
}

#[cfg(test)]
mod tests;
