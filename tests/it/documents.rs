//! The documents lead somewhere, and tell of everything that they must tell of.

use std::path::Path;

use lookup_worker::failure::ErrorKind;

use crate::deployment::file;

/// Every document of the repository, by its path.
fn documents() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder);
        for entry in path.read_dir().expect("our folder") {
            let entry = entry.expect("our folder");
            let name = entry.file_name().into_string().expect("a plain name");
            let path = format!("{folder}{name}");
            if name.starts_with('.') || ["target", "node_modules"].contains(&&*name) {
                continue;
            }
            if entry.file_type().expect("a type").is_dir() {
                folders.push(path + "/");
            } else if Path::new(&name).extension().is_some_and(|it| it == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// The targets of links, inline ones (`[text](target)`) and definitions (`[text]: target`).
fn links(text: &str) -> Vec<&str> {
    let inline = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let definitions = text
        .lines()
        .filter(|line| line.starts_with('['))
        .filter_map(|line| Some(line.split_once("]: ")?.1));
    inline
        .chain(definitions)
        .map(|target| target.split(' ').next().unwrap_or(target))
        .collect()
}

/// The anchors of a document's headings, as forges and rustdoc make them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim());
    let kept = |letter: char| letter.is_alphanumeric() || letter == ' ' || letter == '-';
    headings
        .map(|heading| {
            heading
                .to_lowercase()
                .chars()
                .filter(|c| kept(*c))
                .collect::<String>()
                .replace(' ', "-")
        })
        .collect()
}

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut checked, mut astray) = (0, Vec::new());
    for document in &documents() {
        let text = file(document);
        for link in links(&text)
            .into_iter()
            .filter(|link| !link.contains("://"))
        {
            checked += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = root.join(document).parent().expect("a folder").join(path);
            let target = if path.is_empty() {
                root.join(document)
            } else {
                target
            };
            let has_anchor = || {
                anchors(&std::fs::read_to_string(&target).unwrap_or_default())
                    .contains(&anchor.to_owned())
            };
            if !target.exists() || !anchor.is_empty() && !has_anchor() {
                astray.push(format!("{document}: {link}"));
            }
        }
    }
    assert_eq!(astray, Vec::<String>::new());
    assert!(checked > 30, "{checked}");
}

/// `docs/providers/egain.md, Responses`: a document, and words of it; or a section, `docs/contract.md §5`.
#[test]
fn every_fixture_cites_a_document_that_is_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let (mut checked, mut astray) = (0, Vec::new());
    for kind in folder.read_dir().expect("our folder") {
        let kind = kind.expect("our folder").path();
        for fixture in kind.read_dir().expect("a folder for each kind") {
            let path = fixture.expect("our folder").path();
            let text = std::fs::read_to_string(&path).expect("a fixture");
            let fixture: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let from = fixture["from"].as_str().unwrap_or_default();
            checked += 1;
            if !is_there(from) {
                astray.push(format!("{}: {from}", path.display()));
            }
        }
    }
    assert_eq!(astray, Vec::<String>::new());
    assert!(checked > 300, "{checked}");
}

fn is_there(citation: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (document, part) = match citation.split_once(", ") {
        Some((document, words)) => (document, words.to_owned()),
        None => match citation.split_once(" §") {
            Some((document, number)) => (document, format!("\n## {number}.")),
            None => (citation, String::new()),
        },
    };
    document.starts_with("docs/")
        && std::fs::read_to_string(root.join(document)).is_ok_and(|text| text.contains(&part))
}

#[test]
fn the_operations_guide_tells_what_to_do_at_each_alert() {
    let (guide, rules) = (
        file("docs/operations.md"),
        file("deploy/prometheus/rules.yml"),
    );
    let alerts: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() >= 12, "{alerts:?}");
    let untold: Vec<_> = alerts
        .iter()
        .filter(|alert| !guide.contains(&format!("| `{alert}` |")))
        .collect();
    assert!(untold.is_empty(), "{untold:?}");
    let told = guide
        .lines()
        .filter(|line| line.starts_with("| `Lookup"))
        .count();
    assert_eq!(told, alerts.len(), "the guide has an alert that is none");
}

#[test]
fn the_operations_guide_says_whose_matter_each_error_is() {
    let guide = file("docs/operations.md");
    let (_, errors) = guide
        .split_once("## What the errors mean")
        .expect("a section");
    let (errors, _) = errors.split_once("\n## ").expect("another section");
    let untold: Vec<_> = ErrorKind::ALL
        .iter()
        .filter(|kind| !errors.contains(&format!("`{}`", kind.as_str())))
        .collect();
    assert!(untold.is_empty(), "{untold:?}");
}
