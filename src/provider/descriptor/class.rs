//! What an answer means: the descriptor's classes, in their order, before the table of every kind.

use http::HeaderMap;
use serde_json::Value;

use super::{
    condition::Condition,
    document,
    mistakes::Mistakes,
    path::Path,
    shape::{ClassName, ClassShape, StatusShape},
};

/// One of `[[classes]]`, compiled.
#[derive(Debug)]
pub struct ClassRule {
    statuses: Statuses,
    condition: Option<Condition>,
    /// None where the status decides, and its words alone count.
    pub class: Option<ClassName>,
    message: Option<Path>,
}

/// Statuses from 100 to 599.
#[derive(Debug)]
struct Statuses([bool; 500]);

/// Compiles the classes, each with its key.
pub fn compile(shapes: &[(String, ClassShape)], mistakes: &mut Mistakes) -> Vec<ClassRule> {
    let mut taken = Statuses::none();
    let mut rules = Vec::new();
    for (key, shape) in shapes {
        let statuses = Statuses::parse(&format!("{key}.status"), shape.status.as_deref(), mistakes);
        if statuses.are_all_in(&taken) {
            mistakes.add(
                key,
                "cannot be reached: the classes before it decide on all of its statuses; expected it before them, or a `where` there",
            );
        }
        if shape.condition.is_none() {
            taken.add(&statuses);
        }
        if shape.class.is_none() && shape.message.is_none() {
            mistakes.add(key, "expected class, or message, or both");
        }
        let condition = shape
            .condition
            .as_ref()
            .and_then(|condition| Condition::new(&format!("{key}.where"), condition, mistakes));
        let message = shape
            .message
            .as_deref()
            .and_then(|path| mistakes.note(&format!("{key}.message"), Path::parse(path)));
        rules.push(ClassRule {
            statuses,
            condition,
            class: shape.class,
            message,
        });
    }
    rules
}

impl ClassRule {
    /// Whether it goes for an answer.
    pub fn matches(&self, status: u16, headers: &HeaderMap, body: Option<&Value>) -> bool {
        self.statuses.has(status)
            && self
                .condition
                .as_ref()
                .is_none_or(|condition| condition.holds(headers, body))
    }

    /// The word that it looks for.
    pub fn word(&self) -> Option<String> {
        self.condition.as_ref()?.word()
    }

    /// The provider's own words.
    pub fn words(&self, body: Option<&Value>) -> Option<String> {
        let words = self.message.as_ref()?.nodes(body?);
        let words: Vec<String> = words
            .filter_map(|node| match document::number(node) {
                None => node.as_str().map(str::to_owned),
                Some(number) => Some(number.into_owned()),
            })
            .collect();
        (!words.is_empty()).then(|| words.join(" "))
    }
}

impl Statuses {
    fn none() -> Self {
        Self([false; 500])
    }

    fn parse(key: &str, shapes: Option<&[StatusShape]>, mistakes: &mut Mistakes) -> Self {
        let Some(shapes) = shapes else {
            return Self([true; 500]);
        };
        let mut statuses = Self::none();
        if shapes.is_empty() {
            mistakes.add(
                key,
                "expected at least one status, or none of this key for all",
            );
            return Self([true; 500]);
        }
        for (number, shape) in shapes.iter().enumerate() {
            match range(shape) {
                Some(range) => range.for_each(|status| statuses.0[status - 100] = true),
                None => mistakes.add(
                    &format!("{key}[{number}]"),
                    "expected a status from 100 to 599, or a hundred of them as \"4xx\"",
                ),
            }
        }
        statuses
    }

    fn has(&self, status: u16) -> bool {
        let at = usize::from(status).checked_sub(100);
        at.and_then(|at| self.0.get(at)).copied().unwrap_or(false)
    }

    fn add(&mut self, others: &Self) {
        for (own, other) in self.0.iter_mut().zip(&others.0) {
            *own |= other;
        }
    }

    fn are_all_in(&self, others: &Self) -> bool {
        self.0.iter().any(|status| *status)
            && self
                .0
                .iter()
                .zip(&others.0)
                .all(|(own, other)| !own || *other)
    }
}

fn range(shape: &StatusShape) -> Option<std::ops::Range<usize>> {
    match shape {
        StatusShape::One(status) => {
            let status = usize::try_from(*status).ok()?;
            (100..600).contains(&status).then(|| status..status + 1)
        }
        StatusShape::Hundred(text) => {
            let hundred = text.strip_suffix("xx")?.parse::<usize>().ok()?;
            (1..6)
                .contains(&hundred)
                .then(|| hundred * 100..hundred * 100 + 100)
        }
    }
}
