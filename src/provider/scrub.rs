//! A payload without the members that must never leave the worker; every other byte of it stays.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// `text`, which is JSON and not nested deep, without the members named in `secrets`, at any depth and in any case.
#[must_use]
pub fn without(text: &str, secrets: &[&str]) -> Option<Box<RawValue>> {
    let mut copy = Copy {
        text,
        at: 0,
        out: String::new(),
        secrets,
    };
    copy.space();
    copy.value()?;
    RawValue::from_string(copy.out).ok()
}

/// Copies well-formed JSON token by token. Whoever meets what is not well-formed gives up with none.
struct Copy<'a> {
    text: &'a str,
    at: usize,
    out: String,
    secrets: &'a [&'a str],
}

impl<'a> Copy<'a> {
    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Copies up to `end`, and gives what was copied.
    fn take(&mut self, end: usize) -> Option<&'a str> {
        let token = self.text.get(self.at..end)?;
        self.out.push_str(token);
        self.at = end;
        Some(token)
    }

    /// Copies up to the first byte that `is_end`.
    fn until(&mut self, is_end: impl Fn(u8) -> bool) -> Option<&'a str> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let length = rest
            .iter()
            .position(|byte| is_end(*byte))
            .unwrap_or(rest.len());
        self.take(self.at + length)
    }

    fn space(&mut self) -> Option<&'a str> {
        self.until(|byte| !byte.is_ascii_whitespace())
    }

    fn value(&mut self) -> Option<()> {
        match self.next()? {
            b'{' => self.items(b'}', Self::member),
            b'[' => self.items(b']', |copy| copy.value().map(|()| true)),
            b'"' => self.string().map(|_| ()),
            _ => self.until(|byte| b",]} \t\r\n".contains(&byte)).map(|_| ()),
        }
    }

    /// An object or an array: each item says whether it is kept.
    fn items(&mut self, close: u8, item: impl Fn(&mut Self) -> Option<bool>) -> Option<()> {
        self.take(self.at + 1)?;
        self.space()?;
        let mut kept = 0;
        while self.next()? != close {
            let mark = self.out.len();
            if self.next()? == b',' {
                self.at += 1;
            }
            if kept > 0 {
                self.out.push(',');
            }
            self.space()?;
            let keep = item(self)?;
            self.space()?;
            if keep {
                kept += 1;
            } else {
                self.out.truncate(mark);
            }
        }
        self.take(self.at + 1).map(|_| ())
    }

    fn member(&mut self) -> Option<bool> {
        let key: Cow<str> = serde_json::from_str(self.string()?).ok()?;
        self.space()?;
        self.take(self.at + 1)?;
        self.space()?;
        self.value()?;
        Some(
            !self
                .secrets
                .iter()
                .any(|secret| key.eq_ignore_ascii_case(secret)),
        )
    }

    fn string(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        while *bytes.get(end)? != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        self.take(end + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubbed(text: &str) -> String {
        without(text, &["pin", "secretAnswer"])
            .unwrap()
            .get()
            .to_owned()
    }

    #[test]
    fn secrets_go_at_any_depth_and_everything_else_stays_to_the_byte() {
        assert_eq!(scrubbed(r#"{"id":1.10,"pin":"1234"}"#), r#"{"id":1.10}"#);
        assert_eq!(
            scrubbed(r#"{"pin":{"a":[1,2]},"id":"pin"}"#),
            r#"{"id":"pin"}"#
        );
        assert_eq!(
            scrubbed(r#"{ "a" : [ {"PIN":1} , {"secretanswer":"}\"{","b":-0e1} ] }"#),
            r#"{ "a" : [ {} , {"b":-0e1} ] }"#
        );
        assert_eq!(
            scrubbed(r#"{"\u0070in":1,"secretAnswer":2,"c":"\\"}"#),
            r#"{"c":"\\"}"#
        );
        assert_eq!(scrubbed("[]"), "[]");
        assert_eq!(scrubbed(" true "), "true");
    }

    #[test]
    fn a_secret_that_stands_twice_goes_twice() {
        assert_eq!(scrubbed(r#"{"pin":1,"id":2,"pin":3}"#), r#"{"id":2}"#);
    }

    #[test]
    fn what_is_no_json_gives_nothing() {
        for text in ["", "{", "\"", r#"{"pin"}"#, "{]"] {
            assert!(without(text, &["pin"]).is_none(), "{text}");
        }
    }
}
