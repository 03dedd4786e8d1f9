//! The variables `LOOKUP__SECTION__KEY`.

use std::{collections::HashMap, env, ffi::OsString};

use super::ConfigError;

/// What each of them begins with.
const PREFIX: &str = "lookup__";

/// Those of the environment, as text.
///
/// # Errors
/// The name of a variable whose value is no text: the value may be a secret and is not shown.
pub(super) fn variables() -> Result<HashMap<String, String>, ConfigError> {
    env::vars_os().filter_map(variable).collect()
}

/// One of ours; nothing for any other. A name that is no text is nobody's.
fn variable((name, value): (OsString, OsString)) -> Option<Result<(String, String), ConfigError>> {
    let name = name.into_string().ok()?;
    if !name.to_lowercase().starts_with(PREFIX) {
        return None;
    }
    Some(match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(ConfigError::at(
            &name,
            "this environment variable is not UTF-8; expected text",
        )),
    })
}
