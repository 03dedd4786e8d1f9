//! What is deployed beside the program: it names metrics that there are, rights that suffice, configurations that are
//! understood; and systemd is told what it waits for.

mod configurations;
mod figures;
mod packaging;
mod rights;
mod systemd;

use std::fs;

/// A file of the repository.
pub fn file(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
