//! What the values of eGain's parameters may be, as its document lists them.

use std::borrow::Cow;

use jiff::{Timestamp, civil};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::json::Malformed;

/// A date, perhaps with a time and a zone.
macro_rules! date {
    () => {
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9:.]+(?:[Zz]|[+\-][0-9:]+)?)?"
    };
}

/// `$attribute`, beside `custom.NAME`.
pub const ATTRIBUTES: [&str; 11] = [
    "all",
    "role",
    "pin",
    "industry",
    "marketSegment",
    "entitlements",
    "level",
    "preferredAgent",
    "howReferred",
    "created",
    "createdBy",
];

/// `$sort`, beside `custom.NAME`.
pub const SORTS: [&str; 3] = ["id", "type", "customerName"];

/// `Accept-Language`.
pub const LANGUAGES: [&str; 15] = [
    "en-US", "es-ES", "fr-FR", "it-IT", "de-DE", "nl-NL", "pt-BR", "pt-PT", "da-DK", "ru-RU",
    "fr-CA", "zh-CN", "ja-JP", "ko-KR", "sv-SE",
];

/// [`LANGUAGES`] for tools.
pub struct Language;

impl JsonSchema for Language {
    fn schema_name() -> Cow<'static, str> {
        "EgainLanguage".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": LANGUAGES})
    }
}

/// [`date_range`] for tools, which cannot tell the 30th of February.
pub const DATE_RANGE: &str = concat!(
    r"^\s*\[(?:\s*",
    date!(),
    r"\s*,\s*(?:",
    date!(),
    r")?\s*|\s*,\s*",
    date!(),
    r"\s*)\]\s*$"
);

/// [`one_of`] for tools.
pub fn pattern_of(known: &[&str]) -> String {
    format!(r"^(?:{}|custom\.[^,]*[^\s,][^,]*)$", known.join("|"))
}

/// One of the attributes' names.
pub fn one_of(name: &str, known: &[&str], field: &str) -> Result<(), Malformed> {
    let custom = |name: &str| !name.trim().is_empty() && !name.contains(',');
    if known.contains(&name) || name.strip_prefix("custom.").is_some_and(custom) {
        return Ok(());
    }
    Err(Malformed::at(
        field,
        format!("expected one of {}, custom.NAME", known.join(", ")),
    ))
}

/// One or more of them.
pub fn all_of(names: &[String], known: &[&str], field: &str) -> Result<(), Malformed> {
    if names.is_empty() {
        return Err(Malformed::at(
            field,
            "expected at least one attribute, got an empty array",
        ));
    }
    names
        .iter()
        .enumerate()
        .try_for_each(|(at, name)| one_of(name, known, &format!("{field}[{at}]")))
}

/// A language of the document.
pub fn language(name: &str, field: &str) -> Result<(), Malformed> {
    if LANGUAGES.contains(&name) {
        return Ok(());
    }
    Err(Malformed::at(
        field,
        format!("expected one of {}", LANGUAGES.join(", ")),
    ))
}

/// `[start,end]`, `[start,]` or `[,end]`.
pub fn date_range(text: &str, field: &str) -> Result<(), Malformed> {
    let inner = text
        .trim()
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match inner
        .and_then(|inner| inner.split_once(','))
        .map(|(start, end)| (start.trim(), end.trim()))
    {
        Some((start, end))
            if (start, end) != ("", "") && is_date_or_open(start) && is_date_or_open(end) =>
        {
            Ok(())
        }
        _ => Err(Malformed::at(
            field,
            "expected [start,end], [start,] or [,end] of dates in UTC, as 2026-01-31T00:00:00Z",
        )),
    }
}

fn is_date_or_open(text: &str) -> bool {
    // Of what can be read as a date, what eGain may know: no week dates, no names of zones.
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"TtZz:.+- ".contains(&byte))
        && text.as_bytes().get(4) == Some(&b'-')
        && text.as_bytes().get(7) == Some(&b'-');
    text.is_empty() || (plain && is_date(text))
}

fn is_date(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok()
        || text.parse::<civil::DateTime>().is_ok()
        || text.parse::<civil::Date>().is_ok()
}
