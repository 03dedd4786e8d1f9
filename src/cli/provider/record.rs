//! A real request and its answer as a test of the descriptor, with other values in the place of personal ones.
//!
//! Every text and every long number is replaced by one of the same shape, the same by the same, so that the test still
//! says what came of what. What stays is what the API says of itself: short numbers, truths, dates' shape, and the
//! words that the descriptor itself names.

use std::{collections::HashMap, fmt::Write};

use bytes::Bytes;
use http::Response;
use jiff::{Timestamp, fmt::temporal::Pieces};
use serde_json::{Map, Number, Value, json, value::RawValue};

use super::written::{quoted, toml_of};
use crate::{json::Malformed, provider::descriptor::Descriptor, result::LookupResult};

/// A number of fewer digits is a count or a code.
const LONG: usize = 4;

/// The test, as it stands in a descriptor.
///
/// # Errors
/// Where the replaced values are no job any more.
pub fn test(
    descriptor: &Descriptor,
    query: &RawValue,
    options: Option<&RawValue>,
    response: &Response<Bytes>,
) -> Result<String, Malformed> {
    let mut others = Others {
        kept: descriptor.words(),
        known: HashMap::new(),
    };
    let query = others.of(parsed(query));
    let options = options.map(parsed);
    let body = match serde_json::from_slice(response.body()) {
        Ok(body) => others.of(body).to_string(),
        Err(_) => String::new(),
    };
    let raw = |value: &Value| {
        RawValue::from_string(value.to_string())
            .map_err(|_| Malformed::at("query", "expected JSON"))
    };
    let raw_options = options.as_ref().map(raw).transpose()?;
    let asked = descriptor.request(
        "https://provider.invalid",
        &raw(&query)?,
        raw_options.as_deref(),
    )?;
    let replaced = replaced(response, &body);
    let outcome = descriptor.read(&asked.values, &replaced, Timestamp::UNIX_EPOCH);
    let result = LookupResult::new(
        String::new(),
        String::new(),
        outcome,
        1,
        Timestamp::UNIX_EPOCH,
    );
    let mut text = format!(
        "[[tests]]\nname = {}\nquery = {}\n",
        quoted(&format!(
            "as it was answered: HTTP {}",
            response.status().as_u16()
        )),
        toml_of(&query)
    );
    if let Some(options) = &options {
        let _ = writeln!(text, "options = {}", toml_of(options));
    }
    let _ = writeln!(text, "request = {}", toml_of(&asked_for(&asked.request)));
    let _ = writeln!(
        text,
        "answer = {{ status = {}, body = {} }}",
        response.status().as_u16(),
        quoted(&body)
    );
    let _ = writeln!(text, "result = {}", toml_of(&expected(&result)));
    Ok(text)
}

fn parsed(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

fn replaced(response: &Response<Bytes>, body: &str) -> Response<Bytes> {
    let mut replaced = Response::new(Bytes::from(body.to_owned()));
    *replaced.status_mut() = response.status();
    replaced
}

/// A request, as a test expects it.
pub fn asked_for(request: &http::Request<Bytes>) -> Value {
    let mut asked = json!({"method": request.method().as_str(), "path": request.uri().path()});
    let mut query = Map::new();
    for (name, value) in
        url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
    {
        match query.get_mut(&*name) {
            None => _ = query.insert(name.into_owned(), Value::from(&*value)),
            Some(Value::Array(several)) => several.push(Value::from(&*value)),
            Some(one) => *one = json!([one.take(), &*value]),
        }
    }
    if !query.is_empty() {
        asked["query"] = query.into();
    }
    let own = request.headers().iter();
    let own = own.filter(|(name, _)| *name != http::header::CONTENT_TYPE);
    let headers: Map<String, Value> = own
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into(),
            )
        })
        .collect();
    if !headers.is_empty() {
        asked["headers"] = headers.into();
    }
    if let Ok(body) = serde_json::from_slice::<Value>(request.body()) {
        asked["body"] = body;
    }
    asked
}

/// What the result must hold: nothing of time and place.
fn expected(result: &LookupResult) -> Value {
    let result = serde_json::to_value(result).unwrap_or_default();
    let mut expected = json!({"status": result["status"]});
    for part in ["customers", "page"] {
        if !result[part].is_null() && result[part] != json!([]) {
            expected[part] = result[part].clone();
        }
    }
    if result["error"].is_object() {
        expected["error"] = json!({"kind": result["error"]["kind"]});
    }
    expected
}

/// Other values for those that came.
struct Others {
    /// Texts that stay.
    kept: Vec<String>,
    known: HashMap<String, String>,
}

impl Others {
    fn of(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Number(number) => self.number(number),
            Value::Array(items) => items.into_iter().map(|item| self.of(item)).collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(name, member)| (name, self.of(member)))
                .collect(),
            plain => plain,
        }
    }

    fn number(&mut self, number: Number) -> Value {
        let text = number.to_string();
        if text.bytes().filter(u8::is_ascii_digit).count() < LONG {
            return number.into();
        }
        let other = self.other(&text);
        other
            .parse::<Number>()
            .map_or(Value::from(1000), Value::Number)
    }

    fn text(&mut self, text: String) -> String {
        let stays = text.len() < 2 || self.kept.contains(&text);
        if stays { text } else { self.other(&text) }
    }

    /// Of the same shape, and the same for the same. Digits alone decide for what holds many, so that a number is
    /// replaced alike however it is written.
    fn other(&mut self, text: &str) -> String {
        if let Some(date) = of_a_date(text) {
            return date;
        }
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let key = if digits.len() >= 7 {
            digits
        } else {
            text.to_owned()
        };
        let next = self.known.len();
        let word = self
            .known
            .entry(key)
            .or_insert_with(|| format!("{:04}", 1000 + next))
            .clone();
        let mut signs = word.chars().cycle();
        text.chars()
            .map(|c| match (c, signs.clone().next()) {
                ('0'..='9', _) => {
                    // Never 0: a number must not begin with it.
                    match signs.next() {
                        Some('0') | None => '5',
                        Some(digit) => digit,
                    }
                }
                (c, _) if c.is_uppercase() => 'X',
                (c, _) if c.is_alphabetic() => 'x',
                (c, _) => c,
            })
            .collect()
    }
}

/// Another date in the same form, where it is one of ISO 8601's with hyphens.
fn of_a_date(text: &str) -> Option<String> {
    Pieces::parse(text.trim()).ok()?;
    if text.trim().as_bytes().get(4) != Some(&b'-') {
        return None;
    }
    let mut digits = "20260102030405".chars();
    let other = |c: char| match c {
        '0'..='9' => digits.next().unwrap_or('0'),
        sign => sign,
    };
    Some(text.chars().map(other).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_stays_a_date_in_its_form() {
        for (text, expected) in [
            ("2024-05-06T07:08:09Z", Some("2026-01-02T03:04:05Z")),
            ("2024-05-06 07:08:09", Some("2026-01-02 03:04:05")),
            ("2024-05-06", Some("2026-01-02")),
            (
                "2024-05-06T07:08:09.123+05:30",
                Some("2026-01-02T03:04:05.000+00:00"),
            ),
            ("20240506", None),
            ("+14085550100", None),
            ("Ada", None),
        ] {
            assert_eq!(of_a_date(text).as_deref(), expected, "{text}");
        }
    }
}
