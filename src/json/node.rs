//! One value of an answer, read as far as somebody asks, and with patience.
//!
//! Nothing is required of what nobody asks for, beyond the syntax. Of what is asked for, whoever asks decides what must
//! be there: the methods give none for what cannot be read, and [`Node::expected`] says so of what a customer cannot
//! be without.

use std::{borrow::Cow, fmt};

use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::{Malformed, number, problem_of, scan::Parts};

/// A value in a text that is known to be JSON, or nothing, where a member is absent.
#[derive(Clone, Copy, Default)]
pub struct Node<'a>(&'a str);

/// In the place of a member whose key stands more than once: what it says is not certain.
const TWICE: Node = Node("\0");

/// What an id is.
const ID: &str = "a string that is not blank, or a whole number";

impl<'a> Node<'a> {
    /// The value that `text` is.
    ///
    /// # Errors
    /// Where it is no JSON, with the place.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        serde_json::from_str(text)
            .map(Self::of)
            .map_err(|error| Malformed::at("", problem_of(&error)))
    }

    fn of(raw: &'a RawValue) -> Self {
        Self(raw.get())
    }

    fn first(self) -> Option<u8> {
        self.0.as_bytes().first().copied()
    }

    /// Whether it is absent, null, a blank string, or an object or array that holds nothing.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        match self.first() {
            None | Some(b'n') => true,
            Some(b'"') => self.text().is_none(),
            Some(b'{' | b'[') => self.0[1..self.0.len() - 1].trim_ascii().is_empty(),
            _ => false,
        }
    }

    /// Whether it is an object or an array.
    #[must_use]
    pub fn is_container(self) -> bool {
        matches!(self.first(), Some(b'{' | b'['))
    }

    /// This one, or the other where this is nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self.is_nothing() { other } else { self }
    }

    /// The text of a string without white space around it, or of a number; of a whole number all digits. None if
    /// nothing is left, and of any other type.
    #[must_use]
    pub fn text(self) -> Option<String> {
        match self.first()? {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => {
                Some(number::whole(self.0).map_or_else(|| self.0.to_owned(), Cow::into_owned))
            }
            _ => None,
        }
    }

    /// As [`Node::text`], of what must be exact to be of any use: none of a number with a fraction, of one that a
    /// double may have changed, and of a text of which something was lost.
    #[must_use]
    pub fn id(self) -> Option<String> {
        match self.first()? {
            b'"' => self.string().filter(|text| !text.contains('\u{fffd}')),
            b'-' | b'0'..=b'9' => number::whole(self.0).map(Cow::into_owned),
            _ => None,
        }
    }

    /// The id that a customer cannot be without.
    ///
    /// # Errors
    /// Where it is none, with its place.
    pub fn required_id(self, path: &str) -> Result<String, Malformed> {
        self.id().ok_or_else(|| self.expected(path, ID))
    }

    /// The integer that it is, or that stands in the string.
    #[must_use]
    pub fn number(self) -> Option<i64> {
        let text = self.text()?;
        number::whole(&text)?.parse().ok()
    }

    /// `true`, `"true"` and 1; `false`, `"false"` and 0.
    #[must_use]
    pub fn flag(self) -> Option<bool> {
        match self.first()? {
            b't' => Some(true),
            b'f' => Some(false),
            _ => {
                let text = self.text()?.to_ascii_lowercase();
                match text.as_str() {
                    "true" | "1" => Some(true),
                    "false" | "0" => Some(false),
                    _ => None,
                }
            }
        }
    }

    /// The members of an object; of any other type, as of one without members.
    #[must_use]
    pub fn members(self) -> Members<'a> {
        if self.first() == Some(b'{') {
            Members::of(Parts::of(self.0))
        } else {
            Members::default()
        }
    }

    /// The members of what must be an object.
    ///
    /// # Errors
    /// Where it is none, with its place.
    pub fn object(self, path: &str) -> Result<Members<'a>, Malformed> {
        if self.first() == Some(b'{') {
            Ok(self.members())
        } else {
            Err(self.expected(path, "an object"))
        }
    }

    /// One member of an object.
    #[must_use]
    pub fn get(self, name: &str) -> Node<'a> {
        self.members().get(name)
    }

    /// The values of an array; an object is an array of one, anything else an empty one.
    #[must_use]
    pub fn list(self) -> Vec<Node<'a>> {
        match self.first() {
            Some(b'[') => self.values(),
            Some(b'{') => vec![self],
            _ => Vec::new(),
        }
    }

    /// The values of what must be an array.
    ///
    /// # Errors
    /// Where it is none, with its place.
    pub fn array(self, path: &str) -> Result<Vec<Node<'a>>, Malformed> {
        if self.first() == Some(b'[') {
            Ok(self.values())
        } else {
            Err(self.expected(path, "an array"))
        }
    }

    fn values(self) -> Vec<Node<'a>> {
        Parts::of(self.0).map(Self).collect()
    }

    /// The string, which holds no half of a character; what stands in it without escapes is not copied twice.
    fn string(self) -> Option<String> {
        let text = plain(self.0)?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Another value than was expected here; tells the type that came and never the value.
    #[must_use]
    pub fn expected(self, path: &str, what: &str) -> Malformed {
        Malformed::at(
            path,
            match self.type_name() {
                None => format!("missing; expected {what}"),
                Some(came) => format!("expected {what}, got {came}"),
            },
        )
    }

    fn type_name(self) -> Option<&'static str> {
        Some(match self.first()? {
            b'{' => "an object",
            b'[' => "an array",
            b'"' => "a string",
            b't' | b'f' => "a boolean",
            b'n' => "null",
            _ if self.0 == TWICE.0 => "it twice",
            _ if self.0.contains(['.', 'e', 'E']) => "a number",
            _ => "an integer",
        })
    }
}

/// Shows the type alone: values are somebody's.
impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.type_name().unwrap_or("nothing"))
    }
}

/// The members of one object.
#[derive(Debug, Default)]
pub struct Members<'a>(SmallVec<[(Cow<'a, str>, Node<'a>); USUAL]>);

/// Few objects have more members.
const USUAL: usize = 12;

impl<'a> Members<'a> {
    fn of(mut parts: Parts<'a>) -> Self {
        let mut members = Self::default();
        while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
            if let Some(key) = plain(key) {
                members.0.push((key, Node(value)));
            }
        }
        members
    }

    /// The member of this name; nothing that can be read where there are several.
    #[must_use]
    pub fn get(&self, name: &str) -> Node<'a> {
        let mut same = self.0.iter().filter(|(key, _)| key == name);
        match (same.next(), same.next()) {
            (Some((_, value)), None) => *value,
            (None, _) => Node::default(),
            (Some(_), Some(_)) => TWICE,
        }
    }
}

/// What a string holds; borrowed where it stands there as it is.
fn plain(string: &str) -> Option<Cow<'_, str>> {
    match string.strip_prefix('"')?.strip_suffix('"')? {
        plain if !plain.contains('\\') => Some(plain.into()),
        _ => serde_json::from_str::<String>(string).ok().map(Cow::from),
    }
}

/// A key, borrowed from the text wherever it stands there as it is: serde's own reading of a `Cow` copies it.
#[derive(Deserialize)]
pub(super) struct Key<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node<'_> {
        Node::parse(text).unwrap()
    }

    #[test]
    fn a_text_is_a_string_or_a_number() {
        assert_eq!(node(r#"" Đ\u00e0o ""#).text().as_deref(), Some("Đào"));
        assert_eq!(node("1.50").text().as_deref(), Some("1.50"));
        assert_eq!(node("1.91121684E8").text().as_deref(), Some("191121684"));
        for none in [r#"" ""#, "null", "true", "[]", r#"{"value":"1"}"#] {
            assert_eq!(node(none).text(), None, "{none}");
        }
        assert_eq!(Node::default().text(), None);
    }

    #[test]
    fn an_id_is_exact_or_none() {
        assert_eq!(
            node("12345678901234567890").id().as_deref(),
            Some("12345678901234567890")
        );
        assert_eq!(node(r#""1.5""#).id().as_deref(), Some("1.5"));
        for none in ["1.5", "1e300", r#""a\ufffd""#, "false"] {
            assert_eq!(node(none).id(), None, "{none}");
        }
    }

    #[test]
    fn a_flag_may_be_a_word_or_a_digit() {
        for (text, expected) in [
            ("true", Some(true)),
            (r#""True""#, Some(true)),
            ("1", Some(true)),
            ("false", Some(false)),
            (r#""0""#, Some(false)),
            ("0.0", Some(false)),
            ("2", None),
            (r#""yes""#, None),
            ("null", None),
            ("[]", None),
        ] {
            assert_eq!(node(text).flag(), expected, "{text}");
        }
    }

    #[test]
    fn an_object_is_an_array_of_one_and_anything_else_an_empty_one() {
        assert_eq!(node(r#"[1,{"a":[]},null]"#).list().len(), 3);
        assert_eq!(node(r#"{"a":7}"#).list()[0].get("a").number(), Some(7));
        for none in ["null", r#""""#, "1e999", "true"] {
            assert!(node(none).list().is_empty(), "{none}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_tells_nothing_and_the_others_do() {
        let both = node(r#"{"id":1,"\u0069d":1,"name":"Ann"}"#);
        assert_eq!(both.get("name").text().as_deref(), Some("Ann"));
        assert!(both.get("id").id().is_none() && !both.get("id").is_nothing());
        assert_eq!(
            both.get("id").required_id("id").unwrap_err().to_string(),
            "`id`: expected a string that is not blank, or a whole number, got it twice"
        );
    }

    #[test]
    fn what_nobody_asks_for_may_be_anything_that_is_json() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let odd = format!(r#"{{"x":{deep},"x":-1e999,"y":"","id":"p1"}}"#);
        assert_eq!(node(&odd).get("id").text().as_deref(), Some("p1"));
        assert!(Node::parse(r#"{"x":01}"#).is_err());
    }

    #[test]
    fn nothing_of_a_value_is_shown() {
        assert_eq!(
            format!("{:?}", node(r#"{"a":"Ann"}"#).members())
                .matches("Ann")
                .count(),
            0
        );
        assert_eq!(
            node(r#""Ann""#).expected("a", "an array").to_string(),
            "`a`: expected an array, got a string"
        );
    }
}
