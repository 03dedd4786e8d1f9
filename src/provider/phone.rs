//! Telephone numbers as the kinds' documents write them: digits alone (contract §3).

use crate::{config::PhoneFormat, json::Malformed};

/// What people put between digits: separators, brackets, and marks that word processors add unseen.
fn separates(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '-' | '.' | '/' | '(' | ')' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The number as it goes to the provider.
///
/// # Errors
/// Where nothing is left, or what is left would be somebody else's number: letters, a `+` in the middle.
pub fn written(phone: &str, format: PhoneFormat, field: &str) -> Result<String, Malformed> {
    let refuse = |problem: &str| Err(Malformed::at(field, problem));
    if phone.trim().is_empty() {
        return refuse("expected a telephone number, got an empty string");
    }
    if format == PhoneFormat::AsIs {
        return Ok(phone.to_owned());
    }
    let mut digits = String::with_capacity(phone.len());
    for c in phone.chars() {
        match c {
            '0'..='9' => digits.push(c),
            '+' if digits.is_empty() => {}
            c if separates(c) => {}
            _ => {
                return refuse(
                    "expected a telephone number: digits, with '+' before and separators between them",
                );
            }
        }
    }
    if digits.is_empty() {
        return refuse("expected a telephone number with at least one digit");
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_go_and_digits_stay() {
        for phone in [
            "+84 907 089 782",
            "84907089782",
            "+84-907.089/782",
            "(+84) 907 089 782",
            "\u{202a}+84\u{a0}907\u{2011}089782\u{202c}",
        ] {
            assert_eq!(
                written(phone, PhoneFormat::Digits, "query.phone").unwrap(),
                "84907089782",
                "{phone:?}"
            );
        }
    }

    #[test]
    fn what_would_be_another_number_is_refused() {
        for phone in [
            "",
            "  ",
            "+",
            "call me",
            "1-800-FLOWERS",
            "84+907",
            "84907 ext 5",
            "84907;ext=5",
            "٠١٢٣",
        ] {
            let refusal = written(phone, PhoneFormat::Digits, "query.phone").unwrap_err();
            assert!(
                refusal
                    .to_string()
                    .starts_with("`query.phone`: expected a telephone number"),
                "{phone:?}: {refusal}"
            );
        }
    }

    #[test]
    fn as_is_leaves_all_but_the_empty_as_it_is() {
        assert_eq!(
            written("+84 907 x5", PhoneFormat::AsIs, "query.phone").unwrap(),
            "+84 907 x5"
        );
        assert!(written(" ", PhoneFormat::AsIs, "query.phone").is_err());
    }
}
