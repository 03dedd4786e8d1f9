//! What an answer means: the descriptor's classes, in their order, before the table of every kind.

use http::HeaderMap;
use serde_json::Value;

use super::{
    condition::Condition,
    field::{At, Field, Holds},
    mistakes::Mistakes,
    shape::{ClassName, ClassShape, StatusShape},
    template::{Slots, Values},
};

/// One of `[[classes]]`, compiled.
#[derive(Debug)]
pub struct ClassRule {
    statuses: Statuses,
    condition: Option<Condition>,
    /// None where the status decides, and its words alone count.
    pub class: Option<ClassName>,
    message: Option<Field>,
}

/// Statuses from 100 to 599.
#[derive(Debug)]
struct Statuses([bool; 500]);

/// Compiles the classes, each with its key.
pub fn compile(
    shapes: &[(String, ClassShape)],
    slots: &Slots,
    mistakes: &mut Mistakes,
) -> Vec<ClassRule> {
    let mut rules: Vec<ClassRule> = Vec::new();
    for (key, shape) in shapes {
        if shape.class.is_none() && shape.message.is_none() {
            mistakes.add(key, "expected class, or message, or both");
        }
        let statuses = Statuses::parse(&format!("{key}.status"), shape.status.as_deref(), mistakes);
        let condition = shape
            .condition
            .as_ref()
            .map(|condition| Condition::new(&format!("{key}.where"), condition, mistakes));
        let message = shape.message.as_ref().map(|message| {
            Field::new(
                &format!("{key}.message"),
                Holds::Words,
                message,
                slots,
                mistakes,
            )
        });
        // One whose condition is wrong decides nothing.
        let condition = match condition {
            Some(None) => continue,
            Some(condition) => condition,
            None => None,
        };
        let rule = ClassRule {
            statuses,
            condition,
            class: shape.class,
            message,
        };
        if rule.is_hidden_by(&rules) {
            mistakes.add(
                key,
                "cannot be reached: classes before it decide on all that it is for; expected it before them, or a stricter `where` there",
            );
        }
        rules.push(rule);
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
        let at = At {
            node: body?,
            asked: &Values::new(),
        };
        self.message.as_ref()?.text(at)
    }

    /// Whether one of those before it goes for every answer that it goes for.
    fn is_hidden_by(&self, before: &[Self]) -> bool {
        let hidden = |status: u16| {
            let before = before.iter().filter(|rule| rule.statuses.has(status));
            let conditions: Vec<_> = before.map(|rule| rule.condition.as_ref()).collect();
            let follows = |other: Option<&Condition>| match (other, &self.condition) {
                (None, _) => true,
                (Some(other), Some(own)) => own.implies(other),
                (Some(_), None) => false,
            };
            conditions.iter().copied().any(follows)
                || Condition::are_all(conditions.iter().flatten().copied())
        };
        let mut statuses = (100..600)
            .filter(|status| self.statuses.has(*status))
            .peekable();
        statuses.peek().is_some() && statuses.all(hidden)
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
