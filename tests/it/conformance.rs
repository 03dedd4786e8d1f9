//! The kinds held against their documents: one suite for all of them, the cases are files.

mod bad_input;
mod case;
mod classes;
mod invariants;
mod oddities;
mod properties;
pub mod target;

use case::Case;

/// The documents' requests, responses and traps, each a file under `tests/fixtures/KIND/`.
#[test]
fn every_kind_does_what_its_document_says() {
    let mut wrong = Vec::new();
    for kind in target::KINDS {
        let cases = Case::all(kind);
        assert!(
            cases.len() >= 40,
            "{kind} has {} cases, expected at least 40",
            cases.len()
        );
        for case in cases {
            if let Err(difference) = case.check() {
                wrong.push(format!(
                    "{}: {}\n{difference}",
                    case.path.display(),
                    case.name
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases differ:\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

/// The fixtures of a kind that its descriptor among the examples does not pass, by their files' names, and in what; and
/// how many there are.
pub fn differing(kind: &str) -> (usize, Vec<(String, String)>) {
    let cases = Case::all(kind);
    let differs = |case: &Case| {
        let difference = case.check_described().err()?;
        let name = case.path.file_stem()?.to_string_lossy().into_owned();
        Some((name, difference))
    };
    (cases.len(), cases.iter().filter_map(differs).collect())
}

#[test]
fn the_names_of_the_cases_are_unique() {
    for kind in target::KINDS {
        let mut names: Vec<String> = Case::all(kind).into_iter().map(|case| case.name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "{kind}");
    }
}
