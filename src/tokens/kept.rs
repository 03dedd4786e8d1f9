//! A refresh token that took another's place, where a restart finds it: a file of two lines, the configured token and
//! the one that goes for it now. Nobody but the worker's user may read it. Where another one is configured, what was
//! kept is of the past.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use crate::config::Secret;

/// What only its owner may read and write.
const OF_THE_OWNER: u32 = 0o600;

/// What goes for `configured` now.
pub fn read(file: &Path, configured: &str) -> Option<Secret> {
    let text = fs::read_to_string(file).ok()?;
    let (first, second) = text.split_once('\n')?;
    let current = second.trim_end_matches('\n');
    (first == configured && !current.is_empty()).then(|| Secret::from(current))
}

/// Keeps what goes for `configured` now. Where it cannot be kept, the log says so: the next start would come with a
/// token that is void.
pub fn write(file: &Path, configured: &str, current: &str) {
    if let Err(error) = replace(file, &format!("{configured}\n{current}\n")) {
        tracing::error!(
            file = %file.display(),
            %error,
            "the refresh token was replaced and cannot be kept: the next start needs a new one"
        );
    }
}

/// The whole file at once, so that a crash leaves the old one or the new one.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let mut new = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(OF_THE_OWNER)
        .open(&name)?;
    new.set_permissions(Permissions::from_mode(OF_THE_OWNER))?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(&name, file)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn what_was_kept_goes_for_the_token_that_it_replaced_alone_and_is_the_owners() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("crm.refresh-token");
        assert!(read(&file, "first").is_none());
        write(&file, "first", "second");
        write(&file, "first", "third");
        let kept = read(&file, "first").unwrap();
        assert_eq!(kept.expose_secret(), "third");
        assert!(read(&file, "another").is_none());
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
