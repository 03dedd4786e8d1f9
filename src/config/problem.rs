//! What the readers of TOML and of serde say, in our own words: by key, in one line, without a secret.

use std::collections::BTreeSet;

use config::ConfigError as Library;
use serde::{
    Deserialize, Deserializer,
    de::{Visitor, value::Error as Stop},
};

/// The key below the one that was read, where it can be told, and what is wrong with it.
pub(super) fn of_value(error: &Library) -> (Option<&str>, String) {
    match error {
        Library::At { error, .. } => of_value(error),
        // The library counts from its own root; our path leads to the table around the key already.
        Library::NotFound(key) => (key.rsplit('.').next(), "missing key".into()),
        Library::Type {
            unexpected,
            expected,
            ..
        } => (None, format!("got {unexpected}, expected {expected}")),
        other => (None, of_message(&other.to_string())),
    }
}

fn of_message(message: &str) -> String {
    // A text in the place of a table may be a secret: its type alone is shown.
    if let Some((came, _)) = message.split_once(", expected struct ") {
        let came = came.trim_start_matches("invalid type: ");
        return format!(
            "got {}, expected a table",
            came.split(' ').next().unwrap_or_default()
        );
    }
    message
        .replace("unknown field", "unknown key")
        .replace("unknown variant", "unknown value")
}

/// A syntax error, in one line. The parser quotes the line that is wrong, which may hold a secret; it is left out.
pub(super) fn of_syntax(error: &Library) -> String {
    let text = error.to_string();
    let quoted = |line: &&str| {
        line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit())
            .starts_with('|')
    };
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !quoted(line));
    lines.collect::<Vec<_>>().join("; ")
}

/// The keys of a table that a type does not know, by their full paths, and those that it knows.
#[derive(Debug)]
pub(crate) struct Unknown {
    pub keys: BTreeSet<String>,
    pub known: &'static [&'static str],
}

/// The names of the fields of `T`.
pub(super) fn fields_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    /// Holds the names that a type asks for.
    struct Asked<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Asked<'_> {
        type Error = Stop;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _name: &'static str,
            fields: &'static [&'static str],
            _visitor: V,
        ) -> Result<V::Value, Stop> {
            *self.0 = fields;
            Err(serde::de::Error::custom("asked"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Stop> {
            Err(serde::de::Error::custom("no struct"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut fields: &[&str] = &[];
    let _ = T::deserialize(Asked(&mut fields));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_type_are_known_without_a_value() {
        assert_eq!(
            fields_of::<crate::config::LogSettings>(),
            ["format", "level"]
        );
    }

    #[test]
    fn a_line_of_the_file_is_not_quoted() {
        let error = Library::Message(
            "TOML parse error at line 3, column 9\n  |\n3 | token=x\n  |   ^\nwhy\n".into(),
        );
        assert_eq!(
            of_syntax(&error),
            "TOML parse error at line 3, column 9; why"
        );
    }
}
