//! The modules stand on floors: each imports from the floors below its own, and none from above. So a provider's kind
//! knows no broker, a policy no HTTP, and whoever changes a floor need not read those above it. Nor do the files of a
//! folder import each other in a ring.
//!
//! Unit tests may take what they like.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::deployment::file;

/// From the ground up. Those of one floor do not know each other.
const FLOORS: [&[&str]; 14] = [
    &[
        "clock",
        "customer",
        "failpoint",
        "failure",
        "guide",
        "json",
        "lane",
        "tls",
    ],
    &["config", "dead_letter", "lease", "outcome", "slots"],
    &["message", "policy", "result"],
    &["provider"],
    &["http", "job"],
    &["telemetry", "tokens"],
    &["quota"],
    &["broker", "engine"],
    &["backlog", "lookups"],
    &["settings"],
    &["embedded", "schema", "worker"],
    &["sandbox"],
    &["cli"],
    &["main"],
];

/// A module and what it imports, each by its path.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// Every file of the program, and what the files of its own and of others it names.
fn imports() -> Imports {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: BTreeMap<String, PathBuf> = files(&root)
        .into_iter()
        .filter(|file| file.extension().is_some_and(|it| it == "rs"))
        .map(|file| (module(&root, &file), file))
        .filter(|(module, _)| module != "lib" && !module.ends_with("::tests"))
        .collect();
    let own = |(module, file): (&String, &PathBuf)| {
        let text = fs::read_to_string(file).expect("our file");
        let named = paths(&text, module);
        let imported = named
            .iter()
            .filter_map(|path| nearest(path, &files))
            .filter(|path| path != module);
        (module.clone(), imported.collect())
    };
    files.iter().map(own).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().expect("our folder");
    let paths = entries.map(|entry| entry.expect("our folder").path());
    let below = |path: PathBuf| {
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    };
    paths.flat_map(below).collect()
}

/// `src/a/b.rs` is `a::b`.
fn module(root: &Path, file: &Path) -> String {
    let path = file.strip_prefix(root).expect("one of ours");
    let path = path.with_extension("");
    let names: Vec<_> = path.iter().map(|name| name.to_string_lossy()).collect();
    names.join("::")
}

/// The file that a path leads into; a path to an item leads into the file of its module.
fn nearest(path: &str, files: &BTreeMap<String, PathBuf>) -> Option<String> {
    let mut path = path;
    loop {
        if files.contains_key(path) {
            return Some(path.to_owned());
        }
        path = path.rsplit_once("::")?.0;
    }
}

/// The paths into this crate that a file of `module` names, in imports and elsewhere; its unit tests and comments
/// aside.
fn paths(text: &str, module: &str) -> Vec<String> {
    let text = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
    let code: Vec<&str> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let code = code.join("\n");
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut found = Vec::new();
    for (word, base) in [("crate::", ""), ("super::", parent)] {
        for (at, _) in code.match_indices(word) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let from = if base.is_empty() {
                String::new()
            } else {
                format!("{base}::")
            };
            leaves(&from, &code[at + word.len()..], &mut found);
        }
    }
    found
}

/// The paths of a tree of imports that begins here; gives what follows it.
fn leaves<'a>(before: &str, tree: &'a str, found: &mut Vec<String>) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut rest) = tree.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if rest.is_empty() {
                return rest;
            }
            if let Some(rest) = rest.strip_prefix('}') {
                return rest;
            }
            rest = leaves(before, rest, found);
        }
    }
    let end = tree
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(tree.len());
    let (name, rest) = tree.split_at(end);
    // A glob, or nothing that is a path: one sign further, so that it goes on.
    if name.is_empty() {
        found.push(before.trim_end_matches("::").to_owned());
        let mut rest = tree.chars();
        rest.next();
        return rest.as_str();
    }
    let path = match name {
        "self" => before.trim_end_matches("::").to_owned(),
        "super" => above(before),
        name => format!("{before}{name}"),
    };
    if let Some(rest) = rest.strip_prefix("::") {
        return leaves(&format!("{path}::"), rest, found);
    }
    found.push(path);
    match rest.trim_start().strip_prefix("as ") {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
        None => rest,
    }
}

fn above(path: &str) -> String {
    let path = path.trim_end_matches("::");
    path.rsplit_once("::")
        .map_or(String::new(), |(above, _)| above.to_owned())
}

fn first(path: &str) -> &str {
    path.split("::").next().unwrap_or_default()
}

fn floor(module: &str) -> usize {
    let of = |floor: &&[&str]| floor.contains(&module);
    FLOORS
        .iter()
        .position(of)
        .unwrap_or_else(|| panic!("{module} stands on no floor: give it one in FLOORS"))
}

#[test]
fn no_module_imports_from_its_own_floor_or_one_above() {
    let mut climbing = Vec::new();
    for (file, imported) in imports() {
        for path in imported {
            let (from, to) = (first(&file), first(&path));
            if from != to && floor(to) >= floor(from) {
                climbing.push(format!("{file} imports {path}"));
            }
        }
    }
    assert!(climbing.is_empty(), "{climbing:#?}");
}

#[test]
fn the_files_of_a_folder_do_not_import_each_other_in_a_ring() {
    let imports = imports();
    let folders: BTreeSet<&str> = imports
        .keys()
        .filter_map(|file| Some(file.rsplit_once("::")?.0))
        .collect();
    let mut rings = Vec::new();
    for folder in folders {
        let inside = format!("{folder}::");
        let name = |path: &str| Some(first(path.strip_prefix(&inside)?).to_owned());
        let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (file, imported) in &imports {
            if let Some(from) = name(file) {
                let others = imported.iter().filter_map(|path| name(path));
                let others = others.filter(|to| *to != from);
                known.entry(from.clone()).or_default().extend(others);
            }
        }
        let ringed = known.keys().filter(|file| reaches(file, file, &known));
        let ringed: Vec<&str> = ringed.map(String::as_str).collect();
        if !ringed.is_empty() {
            rings.push(format!("{folder}: {}", ringed.join(", ")));
        }
    }
    assert!(rings.is_empty(), "{rings:#?}");
}

/// Whether imports lead from one file to another.
fn reaches(from: &str, to: &str, known: &BTreeMap<String, BTreeSet<String>>) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        for other in known.get(file).into_iter().flatten() {
            if other == to {
                return true;
            }
            if seen.insert(other) {
                next.push(other);
            }
        }
    }
    false
}

#[test]
fn every_floor_holds_modules_that_are_there_and_each_module_once() {
    let there: BTreeSet<String> = imports()
        .keys()
        .map(|file| first(file).to_owned())
        .collect();
    let mut named: Vec<String> = FLOORS.concat().iter().map(ToString::to_string).collect();
    let count = named.len();
    named.sort();
    named.dedup();
    assert_eq!(count, named.len(), "a module stands on two floors");
    assert_eq!(named, there.into_iter().collect::<Vec<_>>());
}

#[test]
fn the_architecture_tells_the_floors_from_the_top() {
    let text = file("docs/architecture.md");
    let rows = FLOORS.iter().rev().map(|floor| {
        let names: Vec<String> = floor.iter().map(|name| format!("`{name}`")).collect();
        format!("\n| {} | ", names.join(", "))
    });
    let places: Vec<_> = rows
        .map(|row| text.find(&row).ok_or(row))
        .collect::<Result<_, _>>()
        .unwrap_or_else(|row| panic!("docs/architecture.md lacks the floor {row}"));
    assert!(places.is_sorted(), "the floors stand in another order");
}

#[test]
fn an_import_is_found_however_it_is_written() {
    let text = "use super::{x, y::{self, Z as W}};\nuse crate::{\n    a::B, // crate::comment\n    c::*,\n};\n\
                fn f() -> crate::d::E { super::super::g::h() }\n#[cfg(test)]\nuse crate::tests_alone;\n";
    let found = paths(text, "m::n::o");
    let expected = [
        "a::B",
        "c",
        "d::E",
        "m::n::x",
        "m::n::y",
        "m::n::y::Z",
        "m::g::h",
    ];
    let found: BTreeSet<&str> = found
        .iter()
        .map(String::as_str)
        .filter(|path| !path.is_empty())
        .collect();
    assert_eq!(found, expected.into_iter().collect());
}
