//! Secrets, and the files that they may stand in: `KEY_file` for `KEY`.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use config::{Map, Value, ValueKind};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de::Error};

use super::{ConfigError, mistake::Mistakes};

/// The keys whose value may stand in a file of its own.
pub(crate) const KEYS: [&str; 7] = [
    "url",
    "token",
    "app_id",
    "password",
    "client_secret",
    "refresh_token",
    "headers",
];

/// A secret that can be sent: not empty, and no line of a header can end in it.
#[derive(Debug, Clone)]
pub struct Secret {
    text: SecretString,
    /// Where it was read from, if it stood in a file of its own.
    file: Option<PathBuf>,
}

impl Secret {
    /// The secret of the same file as it stands there now, where that is another one. A file that is gone or holds
    /// nothing that can be sent has none: it may just be replaced.
    #[must_use]
    pub fn read_again(&self) -> Option<Self> {
        let file = self.file.as_ref()?;
        let text = contents(file).ok().filter(|text| can_be_sent(text))?;
        (text != self.expose_secret()).then(|| Self {
            text: text.into(),
            file: Some(file.clone()),
        })
    }

    /// It was read from this file.
    pub(super) fn stood_in(&mut self, file: Option<&PathBuf>) {
        self.file = file.cloned();
    }
}

impl ExposeSecret<str> for Secret {
    fn expose_secret(&self) -> &str {
        self.text.expose_secret()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self {
            text: text.into(),
            file: None,
        }
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": "string", "minLength": 1})
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if can_be_sent(&text) {
            return Ok(Self::from(text.as_str()));
        }
        Err(D::Error::custom(
            "expected at least one character, and no control characters such as line breaks",
        ))
    }
}

fn can_be_sent(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// The file's text, without the line's end that editors add.
fn contents(file: &Path) -> std::io::Result<String> {
    let text = fs::read_to_string(file)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The secrets that stood in files, by their full keys (`providers.antsomi.token`).
#[derive(Debug, Default)]
pub(crate) struct SecretFiles(BTreeMap<String, PathBuf>);

impl SecretFiles {
    /// The file of a key.
    pub fn get(&self, key: &str) -> Option<&PathBuf> {
        self.0.get(key)
    }

    /// Those of another source over these: what it gives itself, `keys`, no longer stands in a file of these.
    pub fn put_over(&mut self, over: Self, keys: &BTreeSet<String>) {
        self.0.retain(|key, _| !keys.contains(key));
        self.0.extend(over.0);
    }

    /// Puts each file's text in the place of its `KEY_file`; a file that nobody needs, since its key is given `over`
    /// it, is not looked at. What cannot be read is noted, and something in its place, so that the rest can be told of
    /// too.
    pub fn read(
        &mut self,
        path: &str,
        table: &mut Map<String, Value>,
        over: &BTreeSet<String>,
        mistakes: &mut Mistakes,
    ) {
        for key in KEYS {
            let file_key = format!("{key}_file");
            let Some(value) = table.remove(&file_key) else {
                continue;
            };
            if over.contains(&format!("{path}{key}")) {
                continue;
            }
            let full = format!("{path}{file_key}");
            if table.contains_key(key) {
                let problem = format_args!("`{path}{key}` is given too; expected one of them");
                mistakes.add(&full, problem);
                continue;
            }
            let text = match mistakes.note(text_of(&full, value)) {
                Some((file, text)) => {
                    self.0.insert(format!("{path}{key}"), file);
                    text
                }
                None => unread(key).to_owned(),
            };
            table.insert(key.into(), Value::from(text));
        }
        for (key, value) in table.iter_mut() {
            if let ValueKind::Table(inner) = &mut value.kind {
                self.read(&format!("{path}{key}."), inner, over, mistakes);
            }
        }
    }
}

/// The file that a key names, and what it holds.
fn text_of(key: &str, value: Value) -> Result<(PathBuf, String), ConfigError> {
    let file = value.into_string();
    let file = file.map_err(|_| ConfigError::at(key, "expected a file's path"))?;
    let file = PathBuf::from(file);
    match contents(&file) {
        Ok(text) => Ok((file, text)),
        Err(error) => {
            let problem = format_args!("{} cannot be read: {error}", file.display());
            Err(ConfigError::at(key, problem))
        }
    }
}

/// Stands for a secret that could not be read; in itself it is no mistake.
fn unread(key: &str) -> &'static str {
    match key {
        "url" => "amqps://unread",
        "headers" => "unread=unread",
        _ => "unread",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_again_from_its_file_where_another_one_stands_there() {
        let file =
            std::env::temp_dir().join(format!("lookup-worker-secret-{}", std::process::id()));
        let mut secret = Secret::from("before");
        assert!(secret.read_again().is_none(), "it stood in no file");
        secret.stood_in(Some(&file));
        assert!(secret.read_again().is_none(), "the file is gone");
        for nothing_new in ["before\n", "", "two\nlines\n"] {
            fs::write(&file, nothing_new).unwrap();
            assert!(secret.read_again().is_none(), "{nothing_new:?}");
        }
        fs::write(&file, "after\r\n").unwrap();
        let after = secret.read_again().unwrap();
        assert_eq!(after.expose_secret(), "after");
        assert!(after.read_again().is_none());
        fs::remove_file(&file).unwrap();
    }
}
