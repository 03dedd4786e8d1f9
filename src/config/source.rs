//! Where keys come from: a file, and the environment over it.

use std::{collections::BTreeSet, fs, path::Path};

use config::{Config, Environment, File, FileFormat, Map, Source, Value, ValueKind};

use super::{ConfigError, Given, environment, problem, secret::SecretFiles};

/// Every key that was given.
pub(crate) struct Sources {
    /// The sections.
    pub root: Map<String, Value>,
    /// The files that secrets stood in.
    pub files: SecretFiles,
}

impl Sources {
    /// Reads `file`, where one is given, and the environment over it.
    ///
    /// # Errors
    /// Where one of them, or the file of a secret, cannot be read.
    pub fn read(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut own_files = SecretFiles::default();
        let variables = variables(&mut own_files)?;
        let over = Given::of(&variables).keys();
        let mut files = SecretFiles::default();
        let mut root = match file {
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|error| {
                    let path = path.display();
                    ConfigError::of_source(format!("the file {path} cannot be read: {error}"))
                })?;
                let source = File::from_str(&text, FileFormat::Toml);
                let read = table(source, &mut files, &over);
                read.map_err(|problem| of_file(path, &text, problem))?
            }
            None => Map::new(),
        };
        files.put_over(own_files, &over);
        put_over("", &mut root, variables)?;
        Ok(Self { root, files })
    }
}

/// What the environment gives; of secrets in files, the files too.
fn variables(files: &mut SecretFiles) -> Result<Map<String, Value>, ConfigError> {
    let environment = Environment::with_prefix("LOOKUP")
        .prefix_separator("__")
        .separator("__")
        .source(Some(environment::variables()?));
    table(environment, files, &BTreeSet::new()).map_err(|problem| match problem {
        Unread::Syntax(error) => ConfigError::of_source(problem::of_syntax(&error)),
        Unread::Secret(problem) => problem,
    })
}

/// Why a source gives no keys.
enum Unread {
    Syntax(config::ConfigError),
    Secret(ConfigError),
}

fn of_file(path: &Path, text: &str, problem: Unread) -> ConfigError {
    match problem {
        Unread::Syntax(error) => {
            let problem = problem::of_syntax(&error);
            let key = problem::key_that_stands_twice(&problem, text);
            ConfigError::of_source(format!("{}: {problem}{key}", path.display()))
        }
        Unread::Secret(problem) => problem,
    }
}

/// One source's keys, each `KEY_file` replaced by what the file holds, unless another source is laid `over` that key.
fn table(
    source: impl Source + Send + Sync + 'static,
    files: &mut SecretFiles,
    over: &BTreeSet<String>,
) -> Result<Map<String, Value>, Unread> {
    let read = Config::builder().add_source(source).build();
    let read = read.map_err(Unread::Syntax)?;
    let mut table = read.cache.into_table().map_err(Unread::Syntax)?;
    files.read("", &mut table, over).map_err(Unread::Secret)?;
    Ok(table)
}

/// Keys that say the same in two ways: who gives one of them over the other means it instead.
const ALTERNATIVES: [[&str; 2]; 2] = [["url", "urls"], ["token", "oauth"]];

/// Lays one source over another, key by key.
///
/// # Errors
/// Where the upper one has keys below a list of the lower one, as of a quota's windows: all of the list would go for them.
fn put_over(
    path: &str,
    base: &mut Map<String, Value>,
    over: Map<String, Value>,
) -> Result<(), ConfigError> {
    for [one, other] in ALTERNATIVES {
        for (given, left) in [(one, other), (other, one)] {
            if over.contains_key(given) && !over.contains_key(left) {
                base.remove(left);
            }
        }
    }
    for (key, value) in over {
        let path = format!("{path}{key}");
        match (base.get_mut(&key).map(|value| &mut value.kind), value.kind) {
            (Some(ValueKind::Table(base)), ValueKind::Table(over)) => {
                put_over(&format!("{path}."), base, over)?;
            }
            (Some(ValueKind::Array(_)), ValueKind::Table(over)) => {
                let below = over
                    .keys()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ");
                let problem = format!(
                    "the file has a list here, of which the environment cannot change {below} alone; change the file"
                );
                return Err(ConfigError::at(&path, problem));
            }
            (_, kind) => _ = base.insert(key, Value::new(None, kind)),
        }
    }
    Ok(())
}
