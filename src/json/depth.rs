//! How deep a text of JSON is nested.

/// The deepest nesting of arrays and objects; 0 where there are none. `text` is well-formed JSON.
#[must_use]
pub fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth -= 1,
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

/// The rest of a string, with its closing quotation mark.
fn skip_string(bytes: &mut std::str::Bytes) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => _ = bytes.next(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_where_they_stand_in_no_string() {
        for (text, expected) in [
            ("1", 0),
            ("{}", 1),
            (r#"{"a":[1,{"b":2}],"c":[]}"#, 3),
            (r#""[[[""#, 0),
            (r#"["\"[",{"\\":[]}]"#, 3),
        ] {
            assert_eq!(depth(text), expected, "{text}");
        }
        let deep = "[".repeat(20_000) + &"]".repeat(20_000);
        assert_eq!(depth(&deep), 20_000);
    }
}
