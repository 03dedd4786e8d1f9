//! Where keys come from: a file, and the environment over it.

use std::{collections::BTreeSet, fs, path::Path};

use config::{Config, Environment, File, FileFormat, Map, Source, Value, ValueKind};

use super::{ConfigError, Given, environment, mistake::Mistakes, problem, secret::SecretFiles};

/// Every key that was given.
pub(crate) struct Sources {
    /// The sections.
    pub root: Map<String, Value>,
    /// The files that secrets stood in.
    pub files: SecretFiles,
    /// Of secrets that could not be read.
    pub mistakes: Mistakes,
}

impl Sources {
    /// Reads `file`, where one is given, and the environment over it.
    ///
    /// # Errors
    /// Where one of them cannot be read.
    pub fn read(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut own_files = SecretFiles::default();
        let mut mistakes = Mistakes::default();
        let variables = variables(&mut own_files, &mut mistakes)?;
        let over = Given::of(&variables).keys();
        let mut files = SecretFiles::default();
        let mut root = match file {
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|error| {
                    let path = path.display();
                    ConfigError::of_source(format!("the file {path} cannot be read: {error}"))
                })?;
                let source = File::from_str(&text, FileFormat::Toml);
                let read = table(source, &mut files, &over, &mut mistakes);
                read.map_err(|error| of_file(path, &text, &error))?
            }
            None => Map::new(),
        };
        files.put_over(own_files, &over);
        put_over("", &mut root, variables)?;
        Ok(Self {
            root,
            files,
            mistakes,
        })
    }
}

/// What the environment gives; of secrets in files, the files too.
fn variables(
    files: &mut SecretFiles,
    mistakes: &mut Mistakes,
) -> Result<Map<String, Value>, ConfigError> {
    let environment = Environment::with_prefix("LOOKUP")
        .prefix_separator("__")
        .separator("__")
        .source(Some(environment::variables()?));
    let read = table(environment, files, &BTreeSet::new(), mistakes);
    read.map_err(|error| ConfigError::of_source(problem::of_syntax(&error)))
}

/// Why a file gives no keys.
fn of_file(path: &Path, text: &str, error: &config::ConfigError) -> ConfigError {
    let problem = problem::of_syntax(error);
    let key = problem::key_that_stands_twice(&problem, text);
    ConfigError::of_source(format!("{}: {problem}{key}", path.display()))
}

/// One source's keys, each `KEY_file` replaced by what the file holds, unless another source is laid `over` that key.
fn table(
    source: impl Source + Send + Sync + 'static,
    files: &mut SecretFiles,
    over: &BTreeSet<String>,
    mistakes: &mut Mistakes,
) -> Result<Map<String, Value>, config::ConfigError> {
    let read = Config::builder().add_source(source).build()?;
    let mut table = read.cache.into_table()?;
    files.read("", &mut table, over, mistakes);
    Ok(table)
}

/// Keys that say the same in two ways: who gives one of them over the other means it instead.
const ALTERNATIVES: [[&str; 2]; 2] = [["url", "urls"], ["token", "oauth"]];

/// Lays one source over another, key by key.
///
/// # Errors
/// Where the upper one has keys below a list of the lower one, as of a quota's windows: all of the list would go for
/// them.
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
