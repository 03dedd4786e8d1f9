//! What the values of eGain's parameters may be, as its document lists them.

use jiff::{Timestamp, civil};

use crate::json::Malformed;

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
    text.is_empty()
        || text.parse::<Timestamp>().is_ok()
        || text.parse::<civil::DateTime>().is_ok()
        || text.parse::<civil::Date>().is_ok()
}
