//! The parts of an array or an object, in a text that is known to be JSON: each as it stands there, and none read
//! twice.

/// What is left of an array or an object: its values, and before each of an object's its key.
#[derive(Debug, Clone)]
pub(super) struct Parts<'a>(&'a str);

impl<'a> Parts<'a> {
    /// Of `container`, which begins with its bracket.
    pub fn of(container: &'a str) -> Self {
        Self(container.get(1..).unwrap_or_default())
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let begin = self.0.bytes().position(|byte| !is_between(byte))?;
        let rest = &self.0[begin..];
        let (part, rest) = rest.split_at_checked(length(rest.as_bytes())?)?;
        self.0 = rest;
        Some(part)
    }
}

/// Whether it stands between parts.
fn is_between(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':')
}

/// Bytes of the part that `text` begins with; none at the closing bracket.
fn length(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'}' | b']' => None,
        b'"' => Some(string(text)),
        b'{' | b'[' => Some(container(text)),
        _ => {
            let ends = |byte: &u8| is_between(*byte) || matches!(byte, b'}' | b']');
            Some(text.iter().position(ends).unwrap_or(text.len()))
        }
    }
}

/// Of a string, with both of its quotation marks.
fn string(text: &[u8]) -> usize {
    // Most strings of an answer are shorter than what a search by vectors needs to begin.
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Of an array or an object, with both of its brackets.
fn container(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return at + 1,
            b'}' | b']' => depth -= 1,
            b'"' => {
                at += string(&text[at..]);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, value::RawValue};

    use super::*;

    #[test]
    fn each_part_is_as_it_stands_there() {
        let text =
            "{ \"a\" : [1, {\"b\":\"}\\\"]\"}],\n\"\\u0062\":-1.5e3 ,\"c\":null,\"đ\":\"\\\\\"}";
        let parts: Vec<_> = Parts::of(text).collect();
        assert_eq!(
            parts,
            [
                "\"a\"",
                "[1, {\"b\":\"}\\\"]\"}]",
                "\"\\u0062\"",
                "-1.5e3",
                "\"c\"",
                "null",
                "\"đ\"",
                "\"\\\\\""
            ]
        );
        for empty in ["{}", "[ \n]", "[", ""] {
            assert_eq!(Parts::of(empty).count(), 0, "{empty:?}");
        }
    }

    /// Any JSON.
    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            r#"[\\"{}\[\],: ]{0,8}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map(r#"[a-c\\"}]{0,4}"#, inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_parts_are_those_that_serde_finds(values in prop::collection::vec(json(), 0..5), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&values).unwrap()
            } else {
                serde_json::to_string(&values).unwrap()
            };
            let raw: Vec<&RawValue> = serde_json::from_str(&text).unwrap();
            let expected: Vec<_> = raw.into_iter().map(RawValue::get).collect();
            prop_assert_eq!(Parts::of(&text).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,40}") {
            let _ = Parts::of(&text).count();
        }
    }
}
