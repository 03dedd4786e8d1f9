//! What a shell completes: commands and flags, and values that only the configuration knows.
//!
//! The script that `completions` prints asks the program itself, at each press of the key, with a variable set.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use clap::CommandFactory;
use clap_complete::{
    ArgValueCandidates, ArgValueCompleter, CompleteEnv, CompletionCandidate, env::Shells,
};

use super::Cli;
use crate::failure::ErrorKind;

/// Set by the scripts.
const VARIABLE: &str = "LOOKUP_WORKER_COMPLETE";

/// Answers a shell that asks, and ends; else does nothing.
pub(super) fn answer() {
    CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .complete();
}

/// The script of a shell; none for one that is not known.
pub(super) fn script(shell: &str) -> Option<Vec<u8>> {
    let mut script = Vec::new();
    let name = "lookup-worker";
    Shells::builtins()
        .completer(shell)?
        .write_registration(VARIABLE, name, name, name, &mut script)
        .ok()?;
    Some(script)
}

/// Completes the names of the configured providers.
pub(super) fn providers() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let begun = begun.to_string_lossy();
        configured()
            .into_iter()
            .filter(|name| name.starts_with(&*begun))
            .map(CompletionCandidate::new)
            .collect()
    })
}

/// Completes the classes of failure.
pub(super) fn errors() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let kinds = ErrorKind::ALL.iter();
        kinds
            .map(|kind| CompletionCandidate::new(kind.as_str()))
            .collect()
    })
}

/// The names below `[providers]`, as far as they can be read: whatever else is wrong with the file.
fn configured() -> Vec<String> {
    let named = file(env::args_os()).or_else(|| env::var_os("LOOKUP_CONFIG").map(PathBuf::from));
    let Ok(Some(path)) = crate::config::find(named) else {
        return Vec::new();
    };
    let source = config::File::from(path).format(config::FileFormat::Toml);
    let read = config::Config::builder().add_source(source).build();
    let mut names: Vec<String> = read
        .and_then(|file| file.get_table("providers"))
        .map(|providers| providers.into_keys().collect())
        .unwrap_or_default();
    names.sort();
    names
}

/// The configuration that the command line, as far as it is written, names.
fn file(words: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    let mut words = words.skip_while(|word| word != "--config" && !is_joined(word));
    let word = words.next()?;
    match word.to_string_lossy().strip_prefix("--config=") {
        Some(path) => Some(path.into()),
        None => words.next().map(PathBuf::from),
    }
}

fn is_joined(word: &OsStr) -> bool {
    word.to_string_lossy().starts_with("--config=")
}
