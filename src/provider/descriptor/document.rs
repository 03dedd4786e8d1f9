//! An answer's body as the tree that paths walk. The tree holds numbers as doubles and 64-bit integers; one that fits
//! in neither stands there as a text with a mark before it, so that its digits survive.

use std::borrow::Cow;

use serde_json::{Number, Value};

use crate::json::{self, Malformed, Node};

/// Stands before the digits of a number; no text of a provider begins with a NUL by chance.
const MARK: &str = "\0#";

/// Numbers of fewer digits are exact.
const MANY: usize = 16;

/// Reads a body.
///
/// # Errors
/// Where it is no JSON, with the place.
pub fn parse(body: &[u8]) -> Result<Value, Malformed> {
    let text = json::text(body)?;
    if !has_many_digits(&text)
        && let Ok(value) = serde_json::from_str(&text)
    {
        return Ok(value);
    }
    Node::parse(&text)?;
    json::read(marked(&text).as_bytes())
}

/// The text of a number in the tree, to its last digit.
pub fn number(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::String(text) => text.strip_prefix(MARK).map(Cow::Borrowed),
        _ => None,
    }
}

fn has_many_digits(text: &str) -> bool {
    let mut run = 0;
    text.bytes().any(|byte| {
        run = if byte.is_ascii_digit() || byte == b'.' {
            run + 1
        } else {
            0
        };
        run >= MANY
    })
}

/// The text, with a mark for each number that the tree cannot hold.
fn marked(text: &str) -> String {
    let mut marked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        marked.push_str(before);
        let is_text = from.starts_with('"');
        let end = if is_text {
            end_of_text(from)
        } else {
            end_of_number(from)
        };
        let (token, after) = from.split_at(end);
        if is_text || is_held(token) {
            marked.push_str(token);
        } else {
            marked.extend(["\"\\u0000#", token, "\""]);
        }
        rest = after;
    }
    marked.push_str(rest);
    marked
}

fn end_of_text(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

fn end_of_number(text: &str) -> usize {
    let part = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    text.bytes()
        .position(|byte| !part(byte))
        .unwrap_or(text.len())
}

fn is_held(number: &str) -> bool {
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    match number.parse::<Number>() {
        Ok(held) => digits < MANY || held.to_string() == number,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_keeps_its_digits_and_texts_stay_as_they_are() {
        let long = "123456789012345678901234567890";
        let body = format!(
            r#"{{"a":[{long},-{long},1.5,1e999,0.1234567890123456789,18446744073709551615],"b\"7":"{long} \" 1e999","c":true}}"#
        );
        let tree = parse(body.as_bytes()).unwrap();
        let numbers: Vec<_> = tree["a"].as_array().unwrap().iter().map(number).collect();
        let expected = [
            long,
            "-123456789012345678901234567890",
            "1.5",
            "1e999",
            "0.1234567890123456789",
            "18446744073709551615",
        ];
        let expected = expected.map(|text| Some(Cow::Borrowed(text)));
        assert_eq!(numbers, expected);
        assert_eq!(tree["b\"7"], format!("{long} \" 1e999"));
        assert!(tree["a"][5].is_u64() && tree["c"] == true);
    }

    #[test]
    fn what_is_no_json_is_told() {
        for body in ["", "{", "[1", "nul", "\"\\", "--1", &"9".repeat(30)[..0]] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
