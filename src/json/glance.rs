//! A glance at a text: whether it surely passes the check that it would be given otherwise.

use smallvec::SmallVec;

/// Levels of nesting that are read.
const DEEPEST: usize = 127;

/// Keys of one object that are compared with each other.
const MOST_KEYS: usize = 64;

/// So many digits are a number within the range of an `f64`.
const MOST_DIGITS: usize = 300;

/// Whether in `text`, if that is JSON at all, no object has a key twice, nothing is nested too deep, no number is too
/// large, and no string holds half of a pair of surrogates. No means that it must be looked at more closely: it is
/// said of an escape in a key, a number with an exponent and an object with many keys as well.
pub(super) fn is_surely_sound(text: &[u8]) -> bool {
    let mut keys = SmallVec::<[&[u8]; 16]>::new();
    // For each object and array that is open, how many keys stood before its own.
    let mut open = SmallVec::<[usize; 16]>::new();
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => {
                let Some(string) = string(rest) else {
                    return false;
                };
                rest = string.after.trim_ascii_start();
                if rest.first() != Some(&b':') {
                    continue;
                }
                let first = open.last().copied().unwrap_or_default();
                if string.escapes
                    || keys.len() - first == MOST_KEYS
                    || keys[first..].contains(&string.text)
                {
                    return false;
                }
                keys.push(string.text);
            }
            b'{' | b'[' if open.len() == DEEPEST => return false,
            b'{' | b'[' => open.push(keys.len()),
            b'}' | b']' => {
                let Some(before) = open.pop() else {
                    return false;
                };
                keys.truncate(before);
            }
            b'0'..=b'9' => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                rest = &rest[digits..];
                if digits > MOST_DIGITS || matches!(rest.first(), Some(b'e' | b'E')) {
                    return false;
                }
            }
            _ => {}
        }
    }
    true
}

/// A string without its quotation marks, and what stands behind it.
struct Quoted<'a> {
    text: &'a [u8],
    escapes: bool,
    after: &'a [u8],
}

fn string(rest: &[u8]) -> Option<Quoted<'_>> {
    let (mut at, mut escapes) = (0, false);
    loop {
        at += rest[at..]
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\'))?;
        if rest[at] == b'"' {
            return Some(Quoted {
                text: &rest[..at],
                escapes,
                after: &rest[at + 1..],
            });
        }
        if matches!(rest.get(at + 1..at + 3)?, [b'u', b'd' | b'D']) {
            return None;
        }
        (at, escapes) = (at + 2, true);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;
    use crate::json::check;

    #[test]
    fn most_texts_need_no_closer_look() {
        for sure in [
            r#"{"code": 200, "data": {"entries": [{"id": {"value": "1"}}, {"id": {"value": "2"}}], "meta": {"total": 1}}}"#,
            r#"[{"a":"says \"a\": 1"},{"a":"","b":{"a":[]}}]"#,
            r#"{"a":"\u0110\/\\","b":"a"}"#,
            "\"a\"",
            "7",
        ] {
            assert!(
                is_surely_sound(sure.as_bytes()) && check(sure.as_bytes()).is_ok(),
                "{sure}"
            );
        }
    }

    #[test]
    fn many_keys_are_not_compared_with_each_other() {
        let keys = |many: usize| {
            (0..many)
                .map(|key| format!("\"{key}\":0"))
                .collect::<Vec<_>>()
                .join(",")
        };
        let object = |many| format!("[{{{}}}]", keys(many));
        assert!(
            is_surely_sound(object(MOST_KEYS).as_bytes())
                && !is_surely_sound(object(MOST_KEYS + 1).as_bytes())
        );
    }

    #[test]
    fn whatever_the_check_refuses_needs_one() {
        let deep = "[".repeat(128) + &"]".repeat(128);
        for wrong in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"b":{"c":"}{","a":0},"a":2}"#,
            r#"{"a":{"b":1 , "b" : 2}}"#,
            r#"[[{"a":[{"b":"\\"}],"a":0}]]"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":"\ud83d"}"#,
            r#"{"a":[-1e999]}"#,
            r#"{"a":1.5E+999}"#,
            &"9".repeat(400),
            &deep,
        ] {
            assert!(
                check(wrong.as_bytes()).is_err() && !is_surely_sound(wrong.as_bytes()),
                "{wrong}"
            );
        }
    }

    /// JSON with few different keys, many of them twice.
    fn json() -> impl Strategy<Value = String> {
        let key = prop::sample::select(vec!["a", "b", "ab", "", "\\u0061", "\\\\", ":", "}"]);
        let scalar = prop::sample::select(vec![
            "1",
            "-0.5e3",
            "1e999",
            "null",
            "\"\"",
            "\"a\"",
            "\"\\\"\"",
            "\":{\"",
            "\"\\ud800\"",
            "\"\\u00e9\"",
        ]);
        let space = prop::sample::select(vec!["", " ", "\n"]);
        scalar
            .prop_map(str::to_owned)
            .prop_recursive(5, 40, 6, move |inner| {
                let entry = (key.clone(), space.clone(), inner.clone());
                let entry = entry
                    .prop_map(|(key, space, value)| format!("\"{key}\"{space}:{space}{value}"));
                prop_oneof![
                    prop::collection::vec(inner, 0..4)
                        .prop_map(|items| format!("[{}]", items.join(","))),
                    prop::collection::vec(entry, 0..4)
                        .prop_map(|entries| format!("{{{}}}", entries.join(","))),
                ]
            })
    }

    proptest! {
        #[test]
        fn what_is_json_and_surely_sound_passes_the_check(text in json()) {
            let is_json = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert!(!(is_json && is_surely_sound(text.as_bytes())) || check(text.as_bytes()).is_ok(), "{}", text);
        }
    }
}
