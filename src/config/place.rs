//! Where the configuration's file is.

use std::path::{Path, PathBuf};

use super::{ConfigError, environment};

/// Looked for in this order, where neither the command line nor `LOOKUP_CONFIG` names a file.
pub const USUAL_FILES: [&str; 2] = [
    "lookup-worker.toml",
    "/etc/lookup-worker/lookup-worker.toml",
];

/// The file that was named, else the first of the usual ones that is there; none where there is none, and where it may
/// be that none is needed, since variables are given.
///
/// # Errors
/// Where there is no configuration at all.
pub fn find(named: Option<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
    let usual = || {
        USUAL_FILES
            .map(PathBuf::from)
            .into_iter()
            .find(|file| file.is_file())
    };
    match named.or_else(usual) {
        Some(file) => Ok(Some(file)),
        None if environment::variables()?.is_empty() => Err(ConfigError::of_source(format!(
            "none was found; expected --config FILE, the variable LOOKUP_CONFIG, {}, or variables LOOKUP__SECTION__KEY",
            USUAL_FILES.join(", ")
        ))),
        None => Ok(None),
    }
}

/// Whether the broker's address may be the default: only where a file is there, which could have named another.
///
/// # Errors
/// Where no file is there, and no variable gives the address either.
pub fn broker_is_meant(file: Option<&Path>, address_given: bool) -> Result<(), ConfigError> {
    if file.is_some() || address_given {
        return Ok(());
    }
    Err(ConfigError::at(
        "amqp.url",
        "missing: there is no configuration file, and the broker on this machine may not be the one that is meant; \
         expected --config FILE or LOOKUP__AMQP__URL",
    ))
}
