//! What was given, key by key: so a later reading can be told apart from it. Values are never shown.

use std::collections::{BTreeMap, BTreeSet};

use config::{Map, Value, ValueKind};
use secrecy::{ExposeSecret, SecretString};

/// Every key that was given, by its full path (`providers.antsomi.token`, `lookups.caller.steps[0].provider`), and its
/// value. A secret that stood in a file is under its own key.
#[derive(Debug, Clone, Default)]
pub struct Given(BTreeMap<String, SecretString>);

impl Given {
    pub(crate) fn of(root: &Map<String, Value>) -> Self {
        let mut given = Self::default();
        given.add("", root);
        given
    }

    fn add(&mut self, path: &str, table: &Map<String, Value>) {
        for (key, value) in table {
            self.add_value(format!("{path}{key}"), value);
        }
    }

    /// A table is told key by key, also in a list: its keys come in no order.
    fn add_value(&mut self, key: String, value: &Value) {
        match &value.kind {
            ValueKind::Table(inner) => self.add(&format!("{key}."), inner),
            ValueKind::Array(values) if values.iter().any(is_of_several) => {
                for (number, value) in values.iter().enumerate() {
                    self.add_value(format!("{key}[{number}]"), value);
                }
            }
            _ => _ = self.0.insert(key, value.to_string().into()),
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

fn is_of_several(value: &Value) -> bool {
    matches!(value.kind, ValueKind::Table(_) | ValueKind::Array(_))
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
    fn a_table_in_a_list_is_told_key_by_key_whatever_the_order_of_its_keys() {
        let steps = |second: &str| {
            given(&format!(
                "[[l.steps]]\na = 1\nb = 2\nc = 3\nd = {{ e = 4, f = [{{ g = 5, h = 6 }}] }}\n[[l.steps]]\n{second}"
            ))
        };
        let before = steps("x = 1");
        for _ in 0..20 {
            assert!(before.changed(&steps("x = 1")).is_empty());
        }
        let changed = before.changed(&steps("x = 2\ny = 3\n[[l.steps]]\nz = 4"));
        assert_eq!(
            changed.iter().collect::<Vec<_>>(),
            ["l.steps[1].x", "l.steps[1].y", "l.steps[2].z"]
        );
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
