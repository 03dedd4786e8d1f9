//! One field of a result: from the nodes of its path to a text, a date, a truth or a number.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::{
    Timestamp,
    civil::DateTime,
    fmt::strtime::{self, BrokenDownTime},
};
use regex::Regex;
use serde_json::Value;

use super::{
    condition::equal, document, mistakes::Mistakes, path::Path, shape::FieldShape, value::regex,
};
use crate::{json, provider::date};

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// An id or a telephone number: a number is written in full, one with a fraction is none.
    Id,
    Text,
    Date,
    Truth,
    Integer,
}

/// A field, compiled.
#[derive(Debug)]
pub struct Field {
    holds: Holds,
    /// Of several those that have a value are put together.
    paths: Vec<Path>,
    with: String,
    moment: Moment,
    map: Option<BTreeMap<String, String>>,
    equals: Option<toml::Value>,
    pattern: Option<Regex>,
}

/// How a date is written.
#[derive(Debug)]
enum Moment {
    Rfc3339,
    EpochSeconds,
    EpochMilliseconds,
    Pattern(String),
}

impl Field {
    /// Compiles the field at `key`.
    pub fn new(key: &str, holds: Holds, shape: &FieldShape, mistakes: &mut Mistakes) -> Self {
        for (name, given, fits) in [
            ("format", shape.format.is_some(), holds == Holds::Date),
            ("equals", shape.equals.is_some(), holds == Holds::Truth),
            ("map", shape.map.is_some(), holds == Holds::Text),
            (
                "pattern",
                shape.pattern.is_some(),
                matches!(holds, Holds::Text | Holds::Id | Holds::Integer),
            ),
            ("with", shape.with.is_some(), shape.join.is_some()),
        ] {
            if given && !fits {
                let problem = match name {
                    "with" => "expected `join` beside it",
                    _ => whose(name),
                };
                mistakes.add(&format!("{key}.{name}"), problem);
            }
        }
        let moment = match shape.format.as_deref() {
            Some(format) => mistakes.note(&format!("{key}.format"), Moment::parse(format)),
            None => None,
        };
        let pattern = match shape.pattern.as_deref() {
            Some(pattern) => mistakes.note(&format!("{key}.pattern"), with_a_group(pattern)),
            None => None,
        };
        Self {
            holds,
            paths: paths(key, shape, mistakes),
            with: shape.with.clone().unwrap_or_default(),
            moment: moment.unwrap_or(Moment::Rfc3339),
            map: shape.map.clone(),
            equals: shape.equals.clone(),
            pattern,
        }
    }

    /// The words of an answer that it names itself.
    pub fn words(&self) -> impl Iterator<Item = String> {
        let equals = self.equals.iter().filter_map(toml::Value::as_str);
        let codes = self.map.iter().flat_map(BTreeMap::keys);
        equals.map(str::to_owned).chain(codes.cloned())
    }

    /// As text; none where there is nothing that can be read.
    pub fn text(&self, node: &Value) -> Option<String> {
        let texts: Vec<String> = self
            .paths
            .iter()
            .filter_map(|path| path.nodes(node).find_map(|value| self.scalar(value)))
            .collect();
        let text = texts.join(&self.with);
        let text = match &self.pattern {
            Some(pattern) => pattern.captures(&text)?.get(1)?.as_str().to_owned(),
            None => text,
        };
        let text = match &self.map {
            Some(map) => map.get(&text)?.clone(),
            None => text,
        };
        (!text.is_empty()).then_some(text)
    }

    fn scalar(&self, value: &Value) -> Option<String> {
        if let Some(number) = document::number(value) {
            let whole = json::whole(&number).map(Cow::into_owned);
            let as_text = self.holds == Holds::Text && self.map.is_none();
            return whole.or_else(|| as_text.then(|| number.into_owned()));
        }
        match value {
            Value::String(text) => {
                let text = text.trim();
                // Of which something was lost, that is nobody's id.
                let broken = self.holds == Holds::Id && text.contains('\u{fffd}');
                (!text.is_empty() && !broken).then(|| text.to_owned())
            }
            Value::Bool(truth) if self.map.is_some() => Some(truth.to_string()),
            _ => None,
        }
    }

    /// As a date of a result: RFC 3339 where the zone is known, else local time without one.
    pub fn date(&self, node: &Value) -> Option<String> {
        let text = match self.text(node) {
            Some(text) => text,
            // A fraction of a second is no id, and a moment all the same.
            None => self
                .nodes(node)
                .find_map(|value| Some(value.as_f64()?.trunc().to_string()))?,
        };
        self.moment.read(&text)
    }

    /// As a truth: `true`, `"true"` and 1 are one; what `equals` names, where it stands.
    pub fn truth(&self, node: &Value) -> Option<bool> {
        if let Some(expected) = &self.equals {
            let mut nodes = self.nodes(node).filter(|value| !value.is_null()).peekable();
            nodes.peek()?;
            return Some(nodes.any(|value| equal(expected, value)));
        }
        self.nodes(node).find_map(|value| match value {
            Value::Bool(truth) => Some(*truth),
            Value::String(text) if text.eq_ignore_ascii_case("true") || text == "1" => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") || text == "0" => Some(false),
            Value::Number(number) if number.as_i64() == Some(1) => Some(true),
            Value::Number(number) if number.as_i64() == Some(0) => Some(false),
            _ => None,
        })
    }

    /// As an integer.
    pub fn integer<T: std::str::FromStr>(&self, node: &Value) -> Option<T> {
        self.text(node)?.parse().ok()
    }

    fn nodes<'a>(&'a self, node: &'a Value) -> impl Iterator<Item = &'a Value> {
        self.paths.iter().flat_map(|path| path.nodes(node))
    }
}

/// What alone has such a key.
fn whose(key: &str) -> &'static str {
    match key {
        "format" => "only a date has a format",
        "equals" => "only a truth, as `primary`, has equals",
        "map" => "only a text has a map",
        _ => "only a text, an id or a number has a pattern",
    }
}

fn paths(key: &str, shape: &FieldShape, mistakes: &mut Mistakes) -> Vec<Path> {
    match (&shape.path, &shape.join) {
        (Some(path), None) => mistakes.note(key, Path::parse(path)).into_iter().collect(),
        (None, Some(join)) if !join.is_empty() => join
            .iter()
            .enumerate()
            .filter_map(|(number, path)| {
                mistakes.note(&format!("{key}.join[{number}]"), Path::parse(path))
            })
            .collect(),
        (Some(_), Some(_)) => {
            mistakes.add(
                key,
                "`path` and `join` are both given; expected one of them",
            );
            Vec::new()
        }
        _ => {
            mistakes.add(
                key,
                "expected a path, as \"$.id\", or a table with `path` or `join`",
            );
            Vec::new()
        }
    }
}

fn with_a_group(pattern: &str) -> Result<Regex, String> {
    let pattern = regex(pattern)?;
    if pattern.captures_len() < 2 {
        return Err("expected a group in round brackets, which is the value".into());
    }
    Ok(pattern)
}

impl Moment {
    fn parse(format: &str) -> Result<Self, String> {
        match format {
            "rfc3339" => Ok(Self::Rfc3339),
            "epoch_s" => Ok(Self::EpochSeconds),
            "epoch_ms" => Ok(Self::EpochMilliseconds),
            pattern if pattern.contains('%') => {
                let noon = jiff::Zoned::new(Timestamp::UNIX_EPOCH, jiff::tz::TimeZone::UTC);
                strtime::format(pattern, &noon)
                    .map(|_| Self::Pattern(pattern.into()))
                    .map_err(|error| format!("expected a pattern of strftime's letters: {error}"))
            }
            other => Err(format!(
                "got {other:?}, expected rfc3339, epoch_s, epoch_ms or a pattern of strftime's letters, as \"%d/%m/%Y %H:%M\""
            )),
        }
    }

    fn read(&self, text: &str) -> Option<String> {
        match self {
            Self::Rfc3339 => date::iso(text),
            Self::EpochSeconds => {
                Some(Timestamp::from_second(text.parse().ok()?).ok()?.to_string())
            }
            Self::EpochMilliseconds => Some(
                Timestamp::from_millisecond(text.parse().ok()?)
                    .ok()?
                    .to_string(),
            ),
            Self::Pattern(pattern) => {
                let time = BrokenDownTime::parse(pattern, text.trim()).ok()?;
                if let Ok(moment) = time.to_timestamp() {
                    return Some(moment.to_string());
                }
                let local = time
                    .to_datetime()
                    .or_else(|_| time.to_date().map(DateTime::from));
                local.ok().map(|local| local.to_string())
            }
        }
    }
}
