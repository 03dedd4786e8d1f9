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
        Library::NotFound(key) => (key.rsplit(['.', ']']).next(), "missing key".into()),
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

/// Where a syntax error says that a key stands twice: which, and where it stands again.
pub(super) fn key_that_stands_twice(problem: &str, text: &str) -> String {
    key_at_fault(problem, text).map_or_else(String::new, |key| {
        format!(" `{key}`; expected each key once")
    })
}

/// The parser tells line and column, and not the key. What stands there up to the next sign is the key's last part;
/// its table is told by the header above.
fn key_at_fault(problem: &str, text: &str) -> Option<String> {
    let place = problem.strip_suffix("; duplicate key")?;
    let (line, column) = place.rsplit_once("line ")?.1.split_once(", column ")?;
    let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
    let before = text.lines().take(line.checked_sub(1)?);
    let table = before.filter_map(header).last().unwrap_or_default();
    let rest = text
        .lines()
        .nth(line - 1)?
        .chars()
        .skip(column.checked_sub(1)?);
    let key: String = rest
        .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '"' | '\''))
        .collect();
    let key = key.trim_matches(['"', '\'']);
    let is_header = text.lines().nth(line - 1).and_then(header).is_some();
    Some(match table {
        "" => key.to_owned(),
        _ if is_header => key.to_owned(),
        table => format!("{table}.{key}"),
    })
}

/// The table that a line opens.
fn header(line: &str) -> Option<&str> {
    let inner = line.trim().strip_prefix('[')?;
    let (name, _) = inner.trim_start_matches('[').split_once(']')?;
    Some(name.trim())
}

/// The keys of a table that a type does not know, by their full paths, and those that it knows.
#[derive(Debug, Default)]
pub(crate) struct Unknown {
    pub keys: BTreeSet<String>,
    pub known: &'static [&'static str],
}

/// The names of the fields of `T`.
pub(crate) fn fields_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
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
    fn a_key_that_stands_twice_is_named_with_its_table() {
        let text = "a = 1\na = 2\n[b.c]\nd = 'x'\n \"e\" = { f = 1, f = 2 }\n[b.c]\n";
        for (place, expected) in [
            ("line 2, column 1", " `a`; expected each key once"),
            ("line 4, column 1", " `b.c.d`; expected each key once"),
            ("line 5, column 17", " `b.c.f`; expected each key once"),
            ("line 6, column 4", " `c`; expected each key once"),
            ("line 99, column 1", ""),
        ] {
            let problem = format!("TOML parse error at {place}; duplicate key");
            assert_eq!(key_that_stands_twice(&problem, text), expected, "{place}");
        }
        assert_eq!(
            key_that_stands_twice("TOML parse error at line 1, column 1; why", text),
            ""
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
