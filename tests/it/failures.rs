//! The tables of failures and of the provider's word name the tests that hold them; the first names all of them.
#![cfg(feature = "failpoints")]

use std::{collections::BTreeSet, env, process::Command};

const TABLES: [&str; 2] = [
    include_str!("../../docs/failures.md"),
    include_str!("../../docs/providers-word.md"),
];

/// Modules all of whose tests stand in the table.
const ALL_OF: [&str; 5] = ["alarm::", "cuts::", "frozen::", "losses::", "nodes::"];

/// The tests of this binary, as `module::name`.
fn tests(arguments: &[&str]) -> BTreeSet<String> {
    let own = env::current_exe().expect("this binary");
    let output = Command::new(own)
        .arg("--list")
        .args(arguments)
        .output()
        .expect("a list");
    let listed = String::from_utf8(output.stdout).expect("text");
    listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect()
}

/// What stands in the table in backticks and is a test's name.
fn named() -> BTreeSet<String> {
    let quoted = TABLES.map(|table| table.split('`').skip(1).step_by(2));
    quoted
        .into_iter()
        .flatten()
        .filter(|text| text.contains("::"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_test_that_the_table_names_exists_and_runs_in_ci() {
    let (there, by_hand) = (tests(&[]), tests(&["--ignored"]));
    let missing: Vec<_> = named()
        .into_iter()
        .filter(|name| !there.contains(name) || by_hand.contains(name))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(named().len() > 20);
}

#[test]
fn every_test_of_a_failure_stands_in_the_table() {
    let (named, by_hand) = (named(), tests(&["--ignored"]));
    let left_out: Vec<_> = tests(&[])
        .into_iter()
        .filter(|name| ALL_OF.iter().any(|module| name.starts_with(module)))
        .filter(|name| !named.contains(name) && !by_hand.contains(name))
        .collect();
    assert!(left_out.is_empty(), "{left_out:#?}");
}
