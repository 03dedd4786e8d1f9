//! The text of an answer, and what is forgiven in it before it is read as JSON.
//!
//! Some servers write a byte order mark first, which RFC 8259 §8.1 lets a reader skip. Some cut a string in the
//! middle of a character beyond U+FFFF, whose half is no character at all; no string type can hold it, so U+FFFD
//! stands in its place.

use std::borrow::Cow;

use super::Malformed;

/// The text that `bytes` are, without a byte order mark and without halves of characters.
///
/// # Errors
/// Where they are not UTF-8.
pub fn text(bytes: &[u8]) -> Result<Cow<'_, str>, Malformed> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Malformed::at("", "expected UTF-8, other bytes came"))?;
    Ok(whole(text.strip_prefix('\u{feff}').unwrap_or(text)))
}

/// Whether the body is a page for people, or another document in angle brackets, instead of JSON.
#[must_use]
pub fn is_page(body: &[u8]) -> bool {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    body.trim_ascii_start().first() == Some(&b'<')
}

/// `text` with `\ufffd` in the place of each escaped half of a surrogate pair that stands alone.
fn whole(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let (mut mended, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        let escape = at + found;
        at = escape
            + match (unit(bytes, escape), unit(bytes, escape + UNIT)) {
                (None, _) => 2,
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 2 * UNIT,
                (Some(0xd800..=0xdfff), _) => {
                    mended.push_str(&text[copied..escape]);
                    mended.push_str("\\ufffd");
                    copied = escape + UNIT;
                    UNIT
                }
                (Some(_), _) => UNIT,
            };
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    mended.push_str(&text[copied..]);
    Cow::Owned(mended)
}

/// Bytes of an escape such as `\u00e9`.
const UNIT: usize = 6;

/// The code unit whose escape begins at `at`.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + UNIT)?.strip_prefix(b"\\u")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_character_becomes_the_replacement_character_and_a_whole_one_stays() {
        for (given, expected) in [
            (r#""Ann \ud83d""#, r#""Ann \ufffd""#),
            (
                r#""\uDE00 \ud83d\ud83d\ude00""#,
                r#""\ufffd \ufffd\ud83d\ude00""#,
            ),
            (r#""\ud83dn\ud83d\n\udc""#, r#""\ufffdn\ufffd\n\udc""#),
        ] {
            assert_eq!(text(given.as_bytes()).unwrap(), expected);
        }
        for sound in [
            r#""\ud83d\ude00""#,
            r#""\\ud83d""#,
            r#""\u00e9\"é\é""#,
            r#""\"#,
            r#""\u"#,
            "",
        ] {
            assert!(matches!(
                text(sound.as_bytes()),
                Ok(Cow::Borrowed(same)) if same == sound
            ));
        }
    }

    #[test]
    fn one_byte_order_mark_is_skipped_and_other_bytes_are_refused() {
        assert_eq!(text("\u{feff}[]".as_bytes()).unwrap(), "[]");
        assert_eq!(text("\u{feff}\u{feff}".as_bytes()).unwrap(), "\u{feff}");
        assert_eq!(
            text(b"\"\xff\"").unwrap_err().to_string(),
            "expected UTF-8, other bytes came"
        );
    }

    #[test]
    fn a_page_is_told_by_its_first_character() {
        assert!(is_page(b"\r\n <!DOCTYPE html>") && is_page("\u{feff}<html>".as_bytes()));
        assert!(!is_page(b"{\"a\":\"<html>\"}") && !is_page(b""));
    }
}
