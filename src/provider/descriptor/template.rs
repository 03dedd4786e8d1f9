//! Texts with places for values: `{query.NAME}` and `{options.NAME}`. `{{` and `}}` stand for the braces themselves.

use std::collections::HashMap;

use super::{
    shape::Type,
    value::{Rule, Value},
};

/// The values of one job, each in the slot that its name was given.
pub type Values = Vec<Option<Value>>;

/// The names that may stand in a template, as `query.phone`, and their slots.
#[derive(Debug, Default)]
pub struct Slots {
    known: HashMap<String, usize>,
    /// Of any criterion, where `[criteria]` is told to be wrong as a whole.
    any: Option<usize>,
}

impl Slots {
    /// The slots of these rules.
    pub fn new(rules: &[Rule], any: Option<usize>) -> Self {
        let slots = rules.iter().enumerate();
        let known = slots.map(|(slot, rule)| (rule.path.clone(), slot));
        Self {
            known: known.collect(),
            any,
        }
    }

    /// The criteria, for a mistake.
    pub fn criteria(&self) -> String {
        let names = self
            .known
            .keys()
            .filter_map(|name| name.strip_prefix("query."));
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        names.join(", ")
    }

    /// The slot of a name.
    pub fn get(&self, name: &str) -> Option<usize> {
        let any = self.any.filter(|_| name.starts_with("query."));
        self.known.get(name).copied().or(any)
    }
}

/// A text, and where values stand in it.
#[derive(Debug, Clone)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Value(usize),
}

impl Template {
    /// Takes a text apart.
    ///
    /// # Errors
    /// The placeholder that nothing fills.
    pub fn parse(text: &str, slots: &Slots) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if brace.starts_with("{{") || brace.starts_with("}}") {
                plain.push_str(&brace[..1]);
                rest = &brace[2..];
                continue;
            }
            let name = brace
                .strip_prefix('{')
                .and_then(|brace| brace.split_once('}'))
                .map(|(name, after)| {
                    rest = after;
                    name
                })
                .ok_or(
                    "a brace that opens or closes nothing; write {{ or }} for the brace itself",
                )?;
            let slot = slots.get(name).ok_or_else(|| nothing_fills(name, slots))?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Value(slot));
        }
        plain.push_str(rest);
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// What stands in it besides values.
    pub fn literal(&self) -> String {
        let plain = self.0.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Value(_) => None,
        });
        plain.collect()
    }

    /// The first array or object in it, which is no text.
    pub fn structured<'a>(&self, rules: &'a [Rule]) -> Option<&'a str> {
        let structured = |rule: &&Rule| matches!(rule.kind, Type::Array | Type::Object);
        let rule = self.slots().map(|slot| &rules[slot]).find(structured)?;
        Some(&rule.path)
    }

    /// The slots that it needs.
    pub fn slots(&self) -> impl Iterator<Item = usize> {
        self.0.iter().filter_map(|part| match part {
            Part::Value(slot) => Some(*slot),
            Part::Text(_) => None,
        })
    }

    /// The slot, where it is one placeholder and nothing else.
    pub fn whole(&self) -> Option<usize> {
        match self.0.as_slice() {
            [Part::Value(slot)] => Some(*slot),
            _ => None,
        }
    }

    /// The text with its values, each written by `write`; none where one of them is absent.
    pub fn fill(&self, values: &Values, write: impl Fn(&str, &mut String)) -> Option<String> {
        let mut text = String::new();
        self.fill_into(values, &mut text, write).then_some(text)
    }

    /// The same at the end of `text`; tells whether no value was absent.
    pub fn fill_into(
        &self,
        values: &Values,
        text: &mut String,
        write: impl Fn(&str, &mut String),
    ) -> bool {
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Value(slot) => match &values[*slot] {
                    Some(value) => write(value.text(), text),
                    None => return false,
                },
            }
        }
        true
    }
}

fn nothing_fills(name: &str, slots: &Slots) -> String {
    let known = slots.known.keys();
    let mut known: Vec<String> = known.map(|name| format!("{{{name}}}")).collect();
    known.sort();
    format!(
        "nothing fills {{{name}}}; expected one of {}, or {{{{ for a brace",
        known.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(names: &[&str]) -> Slots {
        let rules: Vec<Rule> = names.iter().map(|name| Rule::any("query", name)).collect();
        Slots::new(&rules, None)
    }

    fn filled(text: &str) -> Option<String> {
        let slots = slots(&["a", "b"]);
        let values = vec![Some(Value::Text("x".into())), None];
        Template::parse(text, &slots)
            .unwrap()
            .fill(&values, |value, text| text.push_str(value))
    }

    #[test]
    fn values_stand_in_their_places_and_an_absent_one_leaves_the_text_out() {
        assert_eq!(filled("-{query.a}-").as_deref(), Some("-x-"));
        assert_eq!(filled("{{{query.a}}}").as_deref(), Some("{x}"));
        assert_eq!(filled("").as_deref(), Some(""));
        assert_eq!(filled("{query.a}{query.b}"), None);
    }

    #[test]
    fn a_placeholder_that_nothing_fills_is_named() {
        let slots = slots(&["a"]);
        let problem = Template::parse("{query.c}", &slots).unwrap_err();
        assert!(problem.starts_with("nothing fills {query.c}; expected one of {query.a}"));
        assert!(Template::parse("a}", &slots).is_err());
        assert!(Template::parse("{query.a", &slots).is_err());
    }
}
