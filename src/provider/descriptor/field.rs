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
    condition::equal,
    document,
    mistakes::Mistakes,
    path::Path,
    shape::{FieldShape, FieldTable},
    template::{Slots, Template, Values},
    value::regex,
};
use crate::{json, provider::date};

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// An id or a telephone number: a number is written in full, one with a fraction is none.
    Id,
    Text,
    /// What a provider says for people: of several nodes all.
    Words,
    Date,
    Truth,
    Integer,
}

/// Where a field is read: a node of an answer, and what the job asked for.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    pub node: &'a Value,
    pub asked: &'a Values,
}

impl<'a> At<'a> {
    /// At another node of the same answer.
    pub fn node(self, node: &'a Value) -> Self {
        Self { node, ..self }
    }
}

/// A field, compiled.
#[derive(Debug)]
pub struct Field {
    holds: Holds,
    source: Source,
    before: String,
    /// Of a date; the first that fits.
    moments: Vec<Moment>,
    map: Option<BTreeMap<String, String>>,
    equals: Option<toml::Value>,
    pattern: Option<Regex>,
    /// The slot of what stands in where the answer has nothing.
    or: Option<usize>,
}

/// Where a field's value stands.
#[derive(Debug)]
enum Source {
    /// At the first of these that has one.
    First(Vec<Path>),
    /// At each of these, put together.
    Join(Vec<Field>, String),
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
    pub fn new(
        key: &str,
        holds: Holds,
        shape: &FieldShape,
        slots: &Slots,
        mistakes: &mut Mistakes,
    ) -> Self {
        let shape = &shape.0;
        misplaced(key, holds, shape, mistakes);
        let moments = shape.format.iter().flat_map(|formats| &formats.0);
        let moments = moments
            .filter_map(|format| mistakes.note(&format!("{key}.format"), Moment::parse(format)));
        let mut moments: Vec<Moment> = moments.collect();
        if shape.format.is_none() {
            moments.push(Moment::Rfc3339);
        }
        let pattern = shape.pattern.as_deref();
        let pattern = pattern
            .and_then(|pattern| mistakes.note(&format!("{key}.pattern"), with_a_group(pattern)));
        let or = shape.or.as_deref();
        let or = or.and_then(|or| mistakes.note(&format!("{key}.or"), whole(or, slots)));
        Self {
            holds,
            source: Source::new(key, holds, shape, slots, mistakes),
            before: shape.before.clone().unwrap_or_default(),
            moments,
            map: shape.map.clone(),
            equals: shape.equals.clone(),
            pattern,
            or,
        }
    }

    /// The words of an answer that it names itself.
    pub fn words(&self) -> impl Iterator<Item = String> {
        let equals = self.equals.iter().filter_map(toml::Value::as_str);
        let codes = self.map.iter().flat_map(BTreeMap::keys);
        equals.map(str::to_owned).chain(codes.cloned())
    }

    /// As text; none where there is nothing that can be read.
    pub fn text(&self, at: At) -> Option<String> {
        let asked = || Some(at.asked.get(self.or?)?.as_ref()?.text().to_owned());
        self.told(at).or_else(asked)
    }

    /// What the answer itself says.
    fn told(&self, at: At) -> Option<String> {
        let text = match &self.source {
            Source::First(paths) => paths.iter().find_map(|path| self.at(path, at.node))?,
            Source::Join(fields, with) => {
                let texts: Vec<String> = fields.iter().filter_map(|field| field.text(at)).collect();
                texts.join(with)
            }
        };
        let text = match &self.pattern {
            Some(pattern) => pattern.captures(&text)?.get(1)?.as_str().to_owned(),
            None => text,
        };
        let text = match &self.map {
            // A code may be a number in another form, as 2.3E2.
            Some(map) => map
                .get(&text)
                .or_else(|| map.get(&*json::whole(&text)?))?
                .clone(),
            None => text,
        };
        (!text.is_empty()).then(|| format!("{}{text}", self.before))
    }

    /// What one path leads to.
    fn at(&self, path: &Path, node: &Value) -> Option<String> {
        let mut texts = path.nodes(node).filter_map(|value| self.scalar(value));
        if self.holds != Holds::Words {
            return texts.next();
        }
        let all: Vec<String> = texts.collect();
        (!all.is_empty()).then(|| all.join(" "))
    }

    fn scalar(&self, value: &Value) -> Option<String> {
        if let Some(number) = document::number(value) {
            let whole = json::whole(&number).map(Cow::into_owned);
            let as_text = matches!(self.holds, Holds::Text | Holds::Words) && self.map.is_none();
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
    pub fn date(&self, at: At) -> Option<String> {
        let text = match self.text(at) {
            Some(text) => text,
            // A fraction of a second is no id, and a moment all the same.
            None => self
                .nodes(at.node)
                .find_map(|value| Some(value.as_f64()?.trunc().to_string()))?,
        };
        self.moments.iter().find_map(|moment| moment.read(&text))
    }

    /// As a truth: `true`, `"true"` and 1 are one; what `equals` names, where it stands.
    pub fn truth(&self, at: At) -> Option<bool> {
        if let Some(expected) = &self.equals {
            let mut nodes = self
                .nodes(at.node)
                .filter(|value| !value.is_null())
                .peekable();
            nodes.peek()?;
            return Some(nodes.any(|value| equal(expected, value)));
        }
        self.nodes(at.node).find_map(|value| match value {
            Value::Bool(truth) => Some(*truth),
            Value::String(text) if text.eq_ignore_ascii_case("true") || text == "1" => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") || text == "0" => Some(false),
            Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
            Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
            _ => None,
        })
    }

    /// As an integer.
    pub fn integer<T: std::str::FromStr>(&self, at: At) -> Option<T> {
        json::whole(&self.text(at)?)?.parse().ok()
    }

    /// The nodes of its own paths.
    fn nodes<'a>(&'a self, node: &'a Value) -> impl Iterator<Item = &'a Value> {
        let paths: &[Path] = match &self.source {
            Source::First(paths) => paths,
            Source::Join(..) => &[],
        };
        paths.iter().flat_map(|path| path.nodes(node))
    }
}

impl Source {
    fn new(
        key: &str,
        holds: Holds,
        shape: &FieldTable,
        slots: &Slots,
        mistakes: &mut Mistakes,
    ) -> Self {
        match (&shape.path, &shape.join) {
            (Some(paths), None) if !paths.0.is_empty() => {
                let paths = paths.0.iter();
                Self::First(
                    paths
                        .filter_map(|path| mistakes.note(key, Path::parse(path)))
                        .collect(),
                )
            }
            (None, Some(join)) if !join.is_empty() => {
                let part = |(number, part)| {
                    let key = format!("{key}.join[{number}]");
                    Field::new(&key, holds, part, slots, mistakes)
                };
                let parts = join.iter().enumerate().map(part).collect();
                Self::Join(parts, shape.with.clone().unwrap_or_default())
            }
            both => {
                let problem = match both {
                    (Some(_), Some(_)) => "`path` and `join` are both given; expected one of them",
                    _ => "expected a path, as \"$.id\", or a table with `path` or `join`",
                };
                mistakes.add(key, problem);
                Self::First(Vec::new())
            }
        }
    }
}

/// Tells the keys that such a field cannot have.
fn misplaced(key: &str, holds: Holds, shape: &FieldTable, mistakes: &mut Mistakes) {
    let is_text = matches!(holds, Holds::Text | Holds::Words);
    for (name, given, fits) in [
        ("format", shape.format.is_some(), holds == Holds::Date),
        ("equals", shape.equals.is_some(), holds == Holds::Truth),
        ("map", shape.map.is_some(), is_text),
        ("join", shape.join.is_some(), holds != Holds::Truth),
        (
            "before",
            shape.before.is_some(),
            is_text || holds == Holds::Id,
        ),
        (
            "or",
            shape.or.is_some(),
            matches!(holds, Holds::Id | Holds::Text),
        ),
        (
            "pattern",
            shape.pattern.is_some(),
            is_text || matches!(holds, Holds::Id | Holds::Integer),
        ),
        ("with", shape.with.is_some(), shape.join.is_some()),
    ] {
        if given && !fits {
            mistakes.add(&format!("{key}.{name}"), whose(name));
        }
    }
}

/// The slot of a text that is one placeholder alone.
fn whole(text: &str, slots: &Slots) -> Result<usize, String> {
    let template = Template::parse(text, slots)?;
    template
        .whole()
        .ok_or_else(|| "expected one placeholder alone, as \"{query.id}\"".into())
}

/// What alone has such a key.
fn whose(key: &str) -> &'static str {
    match key {
        "format" => "only a date has a format",
        "equals" => "only a truth, as `primary`, has equals",
        "map" => "only a text has a map",
        "join" => "a truth is one value; expected `path`",
        "before" => "only a text or an id has something before it",
        "or" => "only a text or an id may be what the job asked for",
        "with" => "expected `join` beside it",
        _ => "only a text, an id or a number has a pattern",
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
                let local = time
                    .to_datetime()
                    .or_else(|_| time.to_date().map(DateTime::from));
                match local {
                    Ok(local) => date::written(local, time.offset()),
                    // Of `%s` alone.
                    Err(_) => Some(time.to_timestamp().ok()?.to_string()),
                }
            }
        }
    }
}
