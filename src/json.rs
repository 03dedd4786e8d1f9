//! JSON in: errors that name the place and what was expected there, and never the value that came.
//!
//! Jobs and answers hold telephone numbers and names, and serde's own messages quote them.

use std::fmt::{self, Write};

use serde::Deserialize;
use serde_path_to_error::Track;

use self::objects::Objects;

mod absent; // members that are null
mod depth; // how deep a text is nested
mod node; // one value of an answer, read with patience
mod number; // numbers to their last digit
mod objects; // a struct is read from an object alone
mod scan; // the parts of an array or an object
mod text; // what is forgiven in a text

pub use absent::without_nulls;
pub use depth::depth;
pub use node::{Members, Node};
pub use number::whole;
pub use text::{is_page, text};

/// Where and why a text is not what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The field, as `query.phone`; empty where it is the text as a whole.
    pub path: String,
    /// What was expected, and of what type that was which came.
    pub problem: String,
}

impl Malformed {
    /// A problem of one field.
    #[must_use]
    pub fn at(path: &str, problem: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            problem: problem.into(),
        }
    }

    /// The same, one level further in.
    #[must_use]
    pub fn below(self, parent: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        Self {
            path: format!("{parent}{dot}{}", self.path),
            problem: self.problem,
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.problem),
            path => write!(f, "`{path}`: {}", self.problem),
        }
    }
}

/// Reads `text` as a `T`.
///
/// # Errors
/// The place and the expectation.
pub fn read<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, Malformed> {
    // The path costs time to keep, so it is looked for only once it is known to be needed.
    read_fast(text).map_or_else(|| read_slowly(text), Ok)
}

/// None for anything that is wrong. Strings are not looked at one by one whether they are UTF-8.
fn read_fast<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Option<T> {
    let mut deserializer = serde_json::Deserializer::from_str(std::str::from_utf8(text).ok()?);
    let value = T::deserialize(Objects(&mut deserializer)).ok()?;
    deserializer.end().ok().map(|()| value)
}

fn read_slowly<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, Malformed> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let mut track = Track::new();
    let value = T::deserialize(Objects(serde_path_to_error::Deserializer::new(
        &mut deserializer,
        &mut track,
    )));
    let value = value.map_err(|error| Malformed {
        path: place_of(&error, &track.path()),
        problem: problem_of(&error),
    })?;
    deserializer
        .end()
        .map_err(|error| Malformed::at("", problem_of(&error)))?;
    Ok(value)
}

/// Whether `text` is a well-formed JSON object or array.
#[must_use]
pub fn is_container(text: &[u8]) -> bool {
    self::text(text).is_ok_and(|text| Node::parse(&text).is_ok_and(Node::is_container))
}

/// Whether the text is JSON, whatever it holds.
///
/// # Errors
/// Where it is none, with the place.
pub fn check(text: &[u8]) -> Result<(), Malformed> {
    Node::parse(&self::text(text)?).map(drop)
}

/// The field; none where the text is no JSON, since the problem then tells line and column.
fn place_of(error: &serde_json::Error, path: &serde_path_to_error::Path) -> String {
    if error.is_data() {
        path_of(path)
    } else {
        String::new()
    }
}

fn path_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => _ = write!(text, "[{index}]"),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name(key));
            }
            Segment::Unknown => {}
        }
    }
    text
}

/// A field's name is shown where it can be one; a key that could hold somebody's data is not.
pub(crate) fn name(key: &str) -> &str {
    let identifier = key.len() <= 64
        && key.starts_with(|c: char| c.is_ascii_alphabetic() || "_$".contains(c))
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_$-".contains(c));
    if identifier { key } else { "…" }
}

/// serde's message without the value that it quotes.
fn problem_of(error: &serde_json::Error) -> String {
    let whole = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = whole.strip_suffix(&place).unwrap_or(&whole);
    if !error.is_data() {
        return format!("expected JSON: {text}{place}");
    }
    if let Some(rest) = text
        .strip_prefix("invalid type: ")
        .or_else(|| text.strip_prefix("invalid value: "))
        && let Some((came, expected)) = rest.rsplit_once(", expected ")
    {
        return format!("expected {}, got {}", in_words(expected), type_of(came));
    }
    for (prefix, word) in [("unknown field `", "field"), ("unknown variant `", "value")] {
        if let Some((key, expected)) = text
            .strip_prefix(prefix)
            .and_then(|rest| rest.rsplit_once("`, "))
        {
            // The key may itself hold backquotes and commas: take what stands before the first.
            let (key, expected) = match text.find("`, expected ") {
                Some(at) => (&text[prefix.len()..at], &text[at + 3..]),
                None => (key, expected),
            };
            let shown = if word == "field" { name(key) } else { "…" };
            return format!("unknown {word} `{shown}`, {expected}");
        }
    }
    if text.starts_with("missing field `")
        || text.starts_with("duplicate field `")
        || text.starts_with("invalid length ")
    {
        return text.to_owned();
    }
    match text.strip_prefix(OWN_WORDS) {
        Some(own) => own.to_owned(),
        None => "expected another value".into(),
    }
}

/// Marks a message of our own, which holds no value, among serde's.
const OWN_WORDS: &str = "\u{1}";

/// An error of our own for a `Deserialize` implementation; `problem` must not hold the value.
pub fn refuse<E: serde::de::Error>(problem: impl fmt::Display) -> E {
    E::custom(format_args!("{OWN_WORDS}{problem}"))
}

/// The expectation in JSON's terms where serde gives it in Rust's.
fn in_words(expected: &str) -> &str {
    match expected {
        "a map" => "an object",
        "a sequence" => "an array",
        "u8" | "u16" | "u32" | "u64" | "usize" => "an integer of at least 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "an integer",
        _ if expected.starts_with("struct ") => "an object",
        _ => expected,
    }
}

fn type_of(came: &str) -> &str {
    let words = [
        "string",
        "integer",
        "floating point",
        "boolean",
        "null",
        "sequence",
        "map",
        "unit",
        "byte array",
    ];
    match words.into_iter().find(|word| came.starts_with(word)) {
        Some("sequence") => "an array",
        Some("map") => "an object",
        Some("unit") => "null",
        Some("boolean") => "a boolean",
        Some("string") => "a string",
        Some("integer") => "an integer",
        Some("floating point") => "a number",
        Some(word) => word,
        None => "another value",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "it is read for its errors alone")]
    struct Sample {
        count: u32,
        #[serde(default)]
        word: Option<Word>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        Hello,
    }

    fn problem(text: &str) -> String {
        read::<Sample>(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_problem_names_the_field_and_the_expectation_and_never_the_value() {
        assert_eq!(
            problem(r#"{"count":"+84 907"}"#),
            "`count`: expected an integer of at least 0, got a string"
        );
        assert_eq!(
            problem(r#"{"count":[1]}"#),
            "`count`: expected an integer of at least 0, got an array"
        );
        assert_eq!(
            problem(r#"{"count":-1}"#),
            "`count`: expected an integer of at least 0, got an integer"
        );
        assert_eq!(
            problem(r#"{"count":1,"word":"Ann, expected nothing"}"#),
            "`word`: unknown value `…`, expected `hello`"
        );
        assert_eq!(
            problem(r#"{"count":1,"size":2}"#),
            "`size`: unknown field `size`, expected `count` or `word`"
        );
        assert_eq!(
            problem(r#"{"count":1,"+84907":2}"#),
            "`…`: unknown field `…`, expected `count` or `word`"
        );
        assert_eq!(problem("{}"), "missing field `count`");
        assert_eq!(problem("[]"), "expected an object, got an array");
        assert_eq!(problem("7"), "expected an object, got an integer");
        assert_eq!(
            problem(r#"{"count":}"#),
            "expected JSON: expected value at line 1 column 10"
        );
        assert_eq!(
            problem(r#"{"count":1} {}"#),
            "expected JSON: trailing characters at line 1 column 13"
        );
    }
}
