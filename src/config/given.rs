//! What was given, key by key: so a later reading can be told apart from it. Values are never shown.

use std::collections::{BTreeMap, BTreeSet};

use config::{Map, Value, ValueKind};
use secrecy::{ExposeSecret, SecretString};

/// Every key that was given, by its full path (`providers.antsomi.token`), and its value. A secret that stood in a
/// file is under its own key.
#[derive(Debug, Clone, Default)]
pub struct Given(BTreeMap<String, SecretString>);

impl Given {
    pub(super) fn of(root: &Map<String, Value>) -> Self {
        let mut given = Self::default();
        given.add("", root);
        given
    }

    fn add(&mut self, path: &str, table: &Map<String, Value>) {
        for (key, value) in table {
            let key = format!("{path}{key}");
            match &value.kind {
                ValueKind::Table(inner) => self.add(&format!("{key}."), inner),
                _ => _ = self.0.insert(key, value.to_string().into()),
            }
        }
    }

    /// Every key.
    pub(super) fn keys(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }

    /// The keys that came, went or have another value in `later`.
    #[must_use]
    pub fn changed(&self, later: &Self) -> BTreeSet<String> {
        let value = |given: &Self, key: &str| {
            given
                .0
                .get(key)
                .map(|value| value.expose_secret().to_owned())
        };
        let keys = self.0.keys().chain(later.0.keys());
        keys.filter(|key| value(self, key) != value(later, key))
            .cloned()
            .collect()
    }

    /// Takes these keys over as they stand in `later`.
    pub fn take_over<'a>(&mut self, later: &Self, keys: impl IntoIterator<Item = &'a String>) {
        for key in keys {
            match later.0.get(key) {
                Some(value) => _ = self.0.insert(key.clone(), value.clone()),
                None => _ = self.0.remove(key),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use config::{Config, File, FileFormat};

    use super::*;

    fn given(toml: &str) -> Given {
        let read = Config::builder()
            .add_source(File::from_str(toml, FileFormat::Toml))
            .build()
            .unwrap();
        Given::of(&read.cache.into_table().unwrap())
    }

    #[test]
    fn what_came_went_or_changed_is_named_by_its_key_and_the_rest_is_not() {
        let before =
            given("[a]\nsame = 1\nwent = 2\nlist = ['x', 'y']\n[a.inner]\nchanged = 'hunter2'");
        let after =
            given("[a]\nsame = 1\nlist = ['x']\ncame = true\n[a.inner]\nchanged = 'hunter3'");
        let changed = before.changed(&after);
        assert_eq!(
            changed.iter().collect::<Vec<_>>(),
            ["a.came", "a.inner.changed", "a.list", "a.went"]
        );
        assert!(!format!("{before:?}").contains("hunter"));

        let mut now = before.clone();
        now.take_over(&after, &["a.inner.changed".to_owned(), "a.went".to_owned()]);
        assert_eq!(
            now.changed(&after).iter().collect::<Vec<_>>(),
            ["a.came", "a.list"]
        );
    }
}
