//! What a job says for one criterion or option: checked by the descriptor's type, format and pattern.

use regex::Regex;
use serde_json::value::RawValue;

use super::shape::{Criterion, Format, Type};
use crate::{
    config::PhoneFormat,
    json::{self, Malformed},
    provider::phone,
};

/// A value, as it goes into a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of a string.
    Text(String),
    /// Of any other type: its JSON.
    Json(String),
}

impl Value {
    /// As it stands in a path, a parameter or a header.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Json(text) => text,
        }
    }

    /// As it stands in JSON.
    pub fn json(&self) -> String {
        match self {
            Self::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
            Self::Json(json) => json.clone(),
        }
    }
}

/// A criterion or an option, ready to check what jobs say.
#[derive(Debug)]
pub struct Rule {
    /// As `query.phone`.
    pub path: String,
    pub kind: Type,
    pub default: Option<Value>,
    /// A blank one would match nobody, or everybody.
    pub must_be_filled: bool,
    format: Option<Format>,
    pattern: Option<(String, Regex)>,
    minimum: Option<i64>,
}

impl Rule {
    /// From the descriptor; `group` is `query` or `options`.
    ///
    /// # Errors
    /// The key below the criterion's own, and what was expected there.
    pub fn new(group: &str, name: &str, shape: &Criterion) -> Result<Self, (&'static str, String)> {
        let takes = |kinds: &[Type]| kinds.contains(&shape.kind);
        if shape.format.is_some() && !takes(&[Type::String]) {
            return Err(("format", "expected a criterion of type string".into()));
        }
        if shape.pattern.is_some() && (shape.format.is_some() || !takes(&[Type::String, Type::Id]))
        {
            let expected = "expected a criterion of type string or id without a format";
            return Err(("pattern", expected.into()));
        }
        if shape.minimum.is_some() && !takes(&[Type::Integer]) {
            return Err(("minimum", "expected a criterion of type integer".into()));
        }
        if shape.default.is_some() && group == "query" {
            let expected =
                "only an option has a default: a criterion that no job gave would be looked for";
            return Err(("default", expected.into()));
        }
        let mut rule = Self {
            kind: shape.kind,
            format: shape.format,
            pattern: shape.pattern.as_deref().map(anchored).transpose()?,
            minimum: shape.minimum,
            ..Self::any(group, name)
        };
        rule.default = shape
            .default
            .as_ref()
            .map(|default| rule.default(default))
            .transpose()?;
        Ok(rule)
    }

    /// Its name, without the group.
    pub fn name(&self) -> &str {
        self.path.split_once('.').map_or("", |(_, name)| name)
    }

    /// The pattern, as it stands in the descriptor.
    pub fn pattern(&self) -> Option<&str> {
        self.pattern.as_ref().map(|(text, _)| text.as_str())
    }

    /// Whether it may be a text of any kind, with marks that mean something where it goes.
    pub fn is_any_text(&self) -> bool {
        let is_number = matches!(self.format, Some(Format::Digits | Format::E164));
        matches!(self.kind, Type::String | Type::Id) && !is_number && self.pattern.is_none()
    }

    /// The least that it may be: an id is no negative number.
    pub fn least(&self) -> Option<i64> {
        self.minimum.or((self.kind == Type::Id).then_some(0))
    }

    /// In the place of one that cannot be compiled, so that what names it is no mistake of its own.
    pub fn any(group: &str, name: &str) -> Self {
        Self {
            path: format!("{group}.{name}"),
            kind: Type::String,
            default: None,
            must_be_filled: group == "query",
            format: None,
            pattern: None,
            minimum: None,
        }
    }

    fn default(&self, default: &toml::Value) -> Result<Value, (&'static str, String)> {
        let json =
            serde_json::to_string(default).map_err(|error| ("default", error.to_string()))?;
        let raw = RawValue::from_string(json).map_err(|error| ("default", error.to_string()))?;
        match self.read(&raw) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(("default", "expected a value".into())),
            Err(problem) => Err(("default", problem.problem)),
        }
    }

    /// What a job says; null is as absent.
    ///
    /// # Errors
    /// What was expected.
    pub fn read(&self, raw: &RawValue) -> Result<Option<Value>, Malformed> {
        let json = raw.get();
        if json == "null" {
            return Ok(None);
        }
        let refuse = |expected: &str| {
            let came = came(json);
            Err(Malformed::at(
                &self.path,
                format!("expected {expected}, got {came}"),
            ))
        };
        match (self.kind, json.as_bytes().first()) {
            (Type::String | Type::Id, Some(b'"')) => match serde_json::from_str(json) {
                Ok(text) => self.text(text).map(Value::Text),
                Err(_) => refuse("a string of whole characters"),
            },
            (Type::Id, Some(b'0'..=b'9')) => match json::whole(json) {
                Some(number) => self.text(number.into_owned()).map(Value::Text),
                None => refuse(self.kind.in_words()),
            },
            (Type::Integer, Some(b'-' | b'0'..=b'9')) => match json::whole(json) {
                Some(number) if self.is_too_small(&number) => {
                    let least = self.minimum.unwrap_or_default();
                    return Err(Malformed::at(
                        &self.path,
                        format!("expected an integer of at least {least}"),
                    ));
                }
                Some(number) => Ok(Value::Json(number.into_owned())),
                None => refuse("an integer"),
            },
            (Type::Array | Type::Object, Some(b'[' | b'{'))
                if self.must_be_filled && holds_nothing(json) =>
            {
                refuse(&format!("{} that is not empty", self.kind.in_words()))
            }
            (Type::Boolean, Some(b't' | b'f'))
            | (Type::Array, Some(b'['))
            | (Type::Object, Some(b'{')) => Ok(Value::Json(json.to_owned())),
            (kind, _) => refuse(kind.in_words()),
        }
        .map(Some)
    }

    /// One that is beyond 64 bits is so to the side of its sign.
    fn is_too_small(&self, number: &str) -> bool {
        self.minimum.is_some_and(|least| {
            number
                .parse::<i64>()
                .map_or(number.starts_with('-'), |number| number < least)
        })
    }

    fn text(&self, text: String) -> Result<String, Malformed> {
        if self.must_be_filled && text.trim().is_empty() {
            let expected = "expected a string that is not blank, got a blank one";
            return Err(Malformed::at(&self.path, expected));
        }
        match self.format {
            Some(Format::Digits) => phone::written(&text, PhoneFormat::Digits, &self.path),
            Some(Format::E164) if !text.trim_start().starts_with('+') => {
                let expected =
                    "expected a telephone number that begins with '+' and the country's code";
                Err(Malformed::at(&self.path, expected))
            }
            Some(Format::E164) => phone::written(&text, PhoneFormat::Digits, &self.path)
                .map(|digits| format!("+{digits}")),
            Some(Format::AsIs) | None => match &self.pattern {
                Some((_, pattern)) if !pattern.is_match(&text) => Err(Malformed::at(
                    &self.path,
                    "expected a text that the provider's pattern matches, got another",
                )),
                _ => Ok(text),
            },
        }
    }
}

/// The pattern as it stands, and anchored.
fn anchored(pattern: &str) -> Result<(String, Regex), (&'static str, String)> {
    let anchored = regex(&format!("^(?:{pattern})$")).map_err(|problem| ("pattern", problem))?;
    Ok((pattern.to_owned(), anchored))
}

/// A regular expression, bounded in size.
pub fn regex(pattern: &str) -> Result<Regex, String> {
    let built = regex::RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build();
    built.map_err(|error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        format!(
            "expected a regular expression: {}",
            last.trim_start_matches("error: ")
        )
    })
}

impl Type {
    fn in_words(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Id => "a string or an integer of at least 0",
            Self::Integer => "an integer",
            Self::Boolean => "a boolean",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// Whether an array or object is empty.
fn holds_nothing(json: &str) -> bool {
    json[1..json.len() - 1].trim_ascii().is_empty()
}

fn came(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        _ if json.contains(['.', 'e', 'E']) => "a number that is no integer",
        _ => "an integer",
    }
}
