//! From a descriptor's text to its sections. Each section is read by itself, so that a mistake in one does not hide
//! those in the others.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{
    mistakes::Mistakes,
    shape::{
        AnswerShape, Auth, ClassShape, Criterion, CustomerShape, FieldShape, RequestShape,
        TestShape, WaitShape,
    },
};
use crate::config::CountKeys;

/// Criteria or options by name; none for one that is told to be wrong.
pub type Criteria = BTreeMap<String, Option<Criterion>>;

/// The sections of a file. One that is missing or wrong is none, and stands among the mistakes.
pub struct Sections {
    pub title: Option<String>,
    pub need: Option<Vec<Vec<String>>>,
    pub auth: Option<Auth>,
    pub criteria: Criteria,
    pub options: Criteria,
    /// With their keys, as `request[1]`.
    pub requests: Vec<(String, RequestShape)>,
    pub answer: Option<AnswerShape>,
    /// With their keys, as `classes[0]`.
    pub classes: Vec<(String, ClassShape)>,
    pub wait: Option<WaitShape>,
    pub count: Vec<CountKeys>,
    /// With their keys, as `tests[0]`.
    pub tests: Vec<(String, TestShape)>,
}

/// Reads a file's text. A text that is no TOML has no sections.
pub fn sections(text: &str, mistakes: &mut Mistakes) -> Option<Sections> {
    let table = match text.parse::<Table>() {
        Ok(table) => table,
        Err(error) => {
            mistakes.add("", in_one_line(text, &error));
            return None;
        }
    };
    let mut root = Reader {
        table,
        path: "",
        mistakes,
    };
    let sections = Sections {
        title: root.take("title"),
        need: root.take("need"),
        auth: root.required(
            "auth",
            "a table with `kind`: header, query, basic, oauth or none",
        ),
        criteria: root.criteria(),
        options: root.named("options"),
        requests: root.requests(),
        answer: root.answer(),
        classes: root.listed("classes"),
        wait: root.take("wait"),
        count: root.take("count").unwrap_or_default(),
        tests: root.listed("tests"),
    };
    root.nothing_is_left(
        "title, need, auth, criteria, options, request, answer, classes, wait, count or tests",
    );
    Some(sections)
}

/// Takes one key after the other out of a table.
struct Reader<'a> {
    table: Table,
    /// Where the table stands; empty at the root.
    path: &'a str,
    mistakes: &'a mut Mistakes,
}

impl Reader<'_> {
    fn key(&self, key: &str) -> String {
        match self.path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.table.remove(key)?;
        self.read(&self.key(key), value)
    }

    fn required<T: DeserializeOwned>(&mut self, key: &str, expected: &str) -> Option<T> {
        if !self.table.contains_key(key) {
            self.mistakes
                .add(&self.key(key), format!("missing; expected {expected}"));
        }
        self.take(key)
    }

    fn read<T: DeserializeOwned>(&mut self, key: &str, value: Value) -> Option<T> {
        let read: Result<T, serde_path_to_error::Error<toml::de::Error>> =
            serde_path_to_error::deserialize(value);
        read.map_err(|error| {
            let inner = error.path().to_string();
            let key = match inner.as_str() {
                "." => key.to_owned(),
                inner if inner.starts_with('[') => format!("{key}{inner}"),
                inner => format!("{key}.{inner}"),
            };
            self.mistakes
                .add(&key, in_our_words(error.inner().message()));
        })
        .ok()
    }

    fn criteria(&mut self) -> Criteria {
        let given = self.table.get("criteria");
        if given.is_none_or(|given| given.as_table().is_some_and(Table::is_empty)) {
            self.mistakes
                .add("criteria", "missing; expected at least one [criteria.NAME]");
        }
        self.named("criteria")
    }

    /// A table of tables.
    fn named(&mut self, key: &str) -> Criteria {
        let table: Table = self.take(key).unwrap_or_default();
        let read = |(name, value): (String, Value)| {
            let value = self.read(&format!("{key}.{name}"), value);
            (name, value)
        };
        table.into_iter().map(read).collect()
    }

    /// A list of tables, each with its key.
    fn listed<T: DeserializeOwned>(&mut self, key: &str) -> Vec<(String, T)> {
        let list: Vec<Value> = self.take(key).unwrap_or_default();
        let read = |(number, value): (usize, Value)| {
            let key = format!("{key}[{number}]");
            let value = self.read(&key, value)?;
            Some((key, value))
        };
        list.into_iter().enumerate().filter_map(read).collect()
    }

    fn requests(&mut self) -> Vec<(String, RequestShape)> {
        match self.table.get("request") {
            Some(Value::Array(list)) if !list.is_empty() => self.listed("request"),
            Some(Value::Table(_)) => {
                let request = self.take("request");
                request
                    .into_iter()
                    .map(|request| ("request".to_owned(), request))
                    .collect()
            }
            _ => {
                self.table.remove("request");
                self.mistakes.add(
                    "request",
                    "missing; expected [request], or several [[request]]",
                );
                Vec::new()
            }
        }
    }

    /// Field by field.
    fn answer(&mut self) -> Option<AnswerShape> {
        let table = self.required("answer", "a table with `customers` and `customer`")?;
        let mut answer = self.inner(table, "answer");
        let customers = answer.required("customers", "a path to the customers");
        let page = answer.take("page").unwrap_or_default();
        let customer = answer
            .required("customer", "a table with at least `customer_id`")
            .map(|table| answer.inner(table, "answer.customer").customer());
        answer.nothing_is_left("customers, customer or page");
        Some(AnswerShape {
            customers: customers?,
            customer: customer?,
            page,
        })
    }

    fn customer(mut self) -> CustomerShape {
        let customer = CustomerShape {
            customer_id: self
                .required("customer_id", "a path to the provider's id")
                .unwrap_or_else(|| FieldShape::of("$")),
            account_id: self.take("account_id"),
            name: self.take("name"),
            kind: self.take("type"),
            phones: self.take("phones"),
            emails: self.take("emails"),
            locations: self.take("locations"),
            contacts: self.take("contacts"),
            created_at: self.take("created_at"),
            changed_at: self.take("changed_at"),
        };
        self.nothing_is_left(
            "customer_id, account_id, name, type, phones, emails, locations, contacts, created_at or \
             changed_at",
        );
        customer
    }

    fn inner<'b>(&'b mut self, table: Table, path: &'b str) -> Reader<'b> {
        Reader {
            table,
            path,
            mistakes: self.mistakes,
        }
    }

    fn nothing_is_left(&mut self, expected: &str) {
        for key in self.table.keys() {
            self.mistakes
                .add(&self.key(key), format!("unknown key; expected {expected}"));
        }
    }
}

/// The parser's words with line and column.
fn in_one_line(text: &str, error: &toml::de::Error) -> String {
    let problem = error.message().lines().collect::<Vec<_>>().join("; ");
    let Some(span) = error.span() else {
        return format!("expected TOML: {problem}");
    };
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    format!("expected TOML: {problem} at line {line} column {column}")
}

fn in_our_words(message: &str) -> String {
    let message = message.trim().replace('\n', "; ");
    if let Some((came, expected)) = message
        .strip_prefix("invalid type: ")
        .and_then(|rest| rest.rsplit_once(", expected "))
    {
        let expected = match expected {
            "a sequence" => "a list",
            "a map" => "a table",
            other if other.starts_with("struct ") => "a table",
            other => other,
        };
        let came = match came {
            "map" => "a table",
            "sequence" => "a list",
            other => other,
        };
        return format!("got {came}, expected {expected}");
    }
    message
        .replace("unknown field", "unknown key")
        .replace("missing field", "missing key")
        .replace("unknown variant", "unknown value")
}
