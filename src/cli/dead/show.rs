//! `dead show`: one letter after the other.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{
    clean,
    letter::Letter,
    mask::{self, HIDDEN},
};
use crate::cli::{Failed, print_line};

/// Prints a letter, with its values or without.
pub(super) fn print(
    letter: &Letter,
    body: &[u8],
    reveal: bool,
    as_json: bool,
) -> Result<(), Failed> {
    let (body, headers, sender) = if reveal {
        (
            mask::revealed(body),
            letter.headers.clone(),
            letter.sender.clone(),
        )
    } else {
        let hidden = |name: &String| (name.clone(), HIDDEN.into());
        let sender = letter.sender.keys().map(hidden).collect();
        (mask::body(body), mask::headers(&letter.headers), sender)
    };
    let home = letter.home.describe(reveal);
    if as_json {
        let line = json!({
            "id": letter.id, "provider": letter.provider, "error": letter.error, "asks_for": letter.asks_for().as_str(), "message": letter.message,
            "attempts": letter.attempts, "replays": letter.replays, "died_at": letter.died, "belongs_to": home,
            "sender": sender, "headers": headers, "body": body,
        });
        return Ok(print_line(line.to_string().as_bytes())?);
    }
    let provider = letter.provider.as_deref().unwrap_or("(none)");
    let mut text = format!(
        "{provider}  {}  {}\n",
        clean(&letter.error),
        clean(&letter.id)
    );
    let mut line = |name: &str, value: &str| {
        // A String takes whatever is written to it.
        let _ = writeln!(text, "  {name:<10} {}", clean(value));
    };
    line("message", letter.message.as_deref().unwrap_or("-"));
    line(
        "died",
        &letter
            .died
            .map_or_else(|| "-".into(), |time| format!("{time:.0}")),
    );
    line(
        "attempts",
        &format!("{}, sent back {} times", letter.attempts, letter.replays),
    );
    line("belongs to", &home);
    line("sender", &Value::Object(sender).to_string());
    line("headers", &Value::Object(headers).to_string());
    line("body", &body.to_string());
    Ok(print_line(text.as_bytes())?)
}
