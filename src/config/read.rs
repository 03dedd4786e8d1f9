//! From what stands in a source to a typed section; every mistake is told by its key.

use std::collections::BTreeSet;

use config::{Map, Value, ValueKind};
use serde::de::DeserializeOwned;

use super::{
    ConfigError,
    mistake::Mistakes,
    problem::{self, Unknown},
};

/// A section. A key that is wrong is noted and left out, so that the next one can be told too.
pub(crate) fn section<T: DeserializeOwned + Default>(
    root: &mut Map<String, Value>,
    name: &str,
    mistakes: &mut Mistakes,
) -> T {
    let Some(value) = root.remove(name) else {
        return T::default();
    };
    read_all(name, value, mistakes).0.unwrap_or_default()
}

/// The value as a `T`, as far as it can be read without the keys that are wrong, which are noted; and those that `T`
/// does not know.
pub(crate) fn read_all<T: DeserializeOwned>(
    path: &str,
    mut value: Value,
    mistakes: &mut Mistakes,
) -> (Option<T>, Unknown) {
    let mut wrong = BTreeSet::new();
    loop {
        let (read, unknown) = read::<T>(path, value.clone());
        let error = match read {
            Ok(read) => return (Some(read), unknown),
            Err(error) => error,
        };
        let key = error.key_in(path).unwrap_or_default().to_owned();
        let left_out = match &mut value.kind {
            ValueKind::Table(table) => table.remove(&key).is_some(),
            _ => false,
        };
        // That it is missing now is no second mistake.
        if !wrong.contains(&key) {
            mistakes.note::<()>(Err(error));
        }
        if !left_out {
            return (None, unknown);
        }
        wrong.insert(key);
    }
}

/// The value as a `T`, and the keys that `T` does not know.
pub(crate) fn read<T: DeserializeOwned>(
    path: &str,
    value: Value,
) -> (Result<T, ConfigError>, Unknown) {
    let mut unknown = Unknown {
        keys: BTreeSet::new(),
        known: problem::fields_of::<T>(),
    };
    let mut note = |ignored: serde_ignored::Path| {
        unknown.keys.insert(format!("{path}.{ignored}"));
    };
    let value =
        serde_path_to_error::deserialize(serde_ignored::Deserializer::new(value, &mut note));
    let value = value.map_err(|error| {
        let inner = error.path().to_string();
        let key = if inner == "." {
            path.to_owned()
        } else {
            format!("{path}.{inner}")
        };
        match problem::of_value(error.inner()) {
            (Some(below), problem) => ConfigError::at(&format!("{key}.{below}"), problem),
            (None, problem) => ConfigError::at(&key, problem),
        }
    });
    (value, unknown)
}

/// What may stand in routing keys as a name.
pub(crate) fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(legal)
}

/// The names of the tables in a table.
pub(crate) fn names_in(value: Option<&Value>) -> BTreeSet<String> {
    match value.map(|value| &value.kind) {
        Some(ValueKind::Table(table)) => table.keys().cloned().collect(),
        _ => BTreeSet::new(),
    }
}
