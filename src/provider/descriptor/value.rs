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
    must_be_filled: bool,
    format: Option<Format>,
    pattern: Option<Regex>,
}

impl Rule {
    /// From the descriptor; `group` is `query` or `options`.
    ///
    /// # Errors
    /// The key below the criterion's own, and what was expected there.
    pub fn new(group: &str, name: &str, shape: &Criterion) -> Result<Self, (&'static str, String)> {
        if shape.kind != Type::String && shape.format.is_some() {
            return Err(("format", "expected a criterion of type string".into()));
        }
        if shape.pattern.is_some() && (shape.kind != Type::String || shape.format.is_some()) {
            let expected = "expected a criterion of type string without a format";
            return Err(("pattern", expected.into()));
        }
        if shape.default.is_some() && group == "query" {
            let expected =
                "only an option has a default: a criterion that no job gave would be looked for";
            return Err(("default", expected.into()));
        }
        let mut rule = Self {
            path: format!("{group}.{name}"),
            kind: shape.kind,
            default: None,
            must_be_filled: group == "query",
            format: shape.format,
            pattern: shape.pattern.as_deref().map(anchored).transpose()?,
        };
        rule.default = shape
            .default
            .as_ref()
            .map(|default| rule.default(default))
            .transpose()?;
        Ok(rule)
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
            (Type::String, Some(b'"')) => match serde_json::from_str(json) {
                Ok(text) => self.text(text).map(Value::Text),
                Err(_) => refuse("a string of whole characters"),
            },
            (Type::Integer, Some(b'-' | b'0'..=b'9')) => match json::whole(json) {
                Some(number) => Ok(Value::Json(number.into_owned())),
                None => refuse("an integer"),
            },
            (Type::Boolean, Some(b't' | b'f'))
            | (Type::Array, Some(b'['))
            | (Type::Object, Some(b'{')) => Ok(Value::Json(json.to_owned())),
            (kind, _) => refuse(kind.in_words()),
        }
        .map(Some)
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
                Some(pattern) if !pattern.is_match(&text) => Err(Malformed::at(
                    &self.path,
                    "expected a text that the provider's pattern matches, got another",
                )),
                _ => Ok(text),
            },
        }
    }
}

fn anchored(pattern: &str) -> Result<Regex, (&'static str, String)> {
    regex(&format!("^(?:{pattern})$")).map_err(|problem| ("pattern", problem))
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
            Self::Integer => "an integer",
            Self::Boolean => "a boolean",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
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
