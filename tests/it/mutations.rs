//! Whether a descriptor's own tests hold it: every change to a single key of an example must be told by them, or
//! refused at start.

use std::{fs, path::Path};

use lookup_worker::provider::descriptor::{Descriptor, testing};
use toml::{Table, Value};

/// Of a hundred changes so many must be told.
const LEAST: usize = 90;

/// A place in a file: names and numbers.
type Place = Vec<Step>;

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Number(usize),
}

/// One change: a key or an element taken out, or a value put in its place.
#[derive(Debug)]
struct Change {
    place: Place,
    to: Option<Value>,
}

#[test]
fn nearly_every_change_to_an_example_is_told_by_its_own_tests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/providers");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let (mut all, mut survivors) = (0, Vec::new());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let root: Table = text.parse().unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let changes = changes(&root);
        let survived = changes.iter().filter(|change| !is_told(&root, change));
        let survived: Vec<String> = survived.map(Change::to_string).collect();
        println!("{name}: {} of {} survive", survived.len(), changes.len());
        all += changes.len();
        survivors.extend(
            survived
                .into_iter()
                .map(|change| format!("{name}: {change}")),
        );
    }
    println!(
        "{} of {all} changes survive:\n{}",
        survivors.len(),
        survivors.join("\n")
    );
    assert!(all > 500, "{all}");
    let told = (all - survivors.len()) * 100;
    assert!(
        told >= LEAST * all,
        "{} of {all}: {survivors:#?}",
        survivors.len()
    );
}

/// All changes but those to the tests themselves.
fn changes(root: &Table) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, value) in root.iter().filter(|(name, _)| *name != "tests") {
        below(vec![Step::Key(name.clone())], value, &mut changes);
    }
    changes
}

fn below(place: Place, value: &Value, changes: &mut Vec<Change>) {
    let inner = |step| [place.as_slice(), &[step]].concat();
    match value {
        Value::Table(members) => {
            for (name, member) in members {
                below(inner(Step::Key(name.clone())), member, changes);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                below(inner(Step::Number(number)), item, changes);
            }
        }
        plain => changes.extend(other(plain).map(|to| Change {
            place: place.clone(),
            to: Some(to),
        })),
    }
    changes.push(Change { place, to: None });
}

/// Another value of the same type.
fn other(value: &Value) -> Option<Value> {
    Some(match value {
        Value::String(path) if path.starts_with('$') => Value::String(format!("{path}.changed")),
        Value::String(text) => Value::String(format!("{text}x")),
        Value::Integer(number) => Value::Integer(number + 1),
        Value::Boolean(truth) => Value::Boolean(!truth),
        _ => return None,
    })
}

fn is_told(root: &Table, change: &Change) -> bool {
    let mut root = Value::Table(root.clone());
    change.make(&mut root);
    let text = toml::to_string(&root).unwrap();
    Descriptor::parse(&text).map_or(true, |descriptor| {
        !testing::run(&descriptor, &text).passed()
    })
}

impl Change {
    fn make(&self, root: &mut Value) {
        let (last, before) = self.place.split_last().unwrap();
        let holder = before.iter().fold(root, |value, step| match step {
            Step::Key(name) => &mut value[name.as_str()],
            Step::Number(number) => &mut value[*number],
        });
        match (holder, last, &self.to) {
            (holder, Step::Key(name), Some(to)) => holder[name.as_str()] = to.clone(),
            (holder, Step::Number(number), Some(to)) => holder[*number] = to.clone(),
            (Value::Table(members), Step::Key(name), None) => _ = members.remove(name),
            (Value::Array(items), Step::Number(number), None) => _ = items.remove(*number),
            _ => unreachable!("a place is in a table or an array"),
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        for step in &self.place {
            match step {
                Step::Key(name) => write!(f, ".{name}")?,
                Step::Number(number) => write!(f, "[{number}]")?,
            }
        }
        match &self.to {
            Some(to) => write!(f, " = {to}"),
            None => f.write_str(" taken out"),
        }
    }
}
