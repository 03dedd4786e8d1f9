//! A configured lookup, looked through for every mistake that can be made there.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, value::to_raw_value};

use super::{By, Known, LookupKeys, LookupSettings, StepKeys, StepSettings};
use crate::{
    config::Mistakes,
    lookups::template::{Placeholder, Template},
    policy::lookup::Mode,
};

/// One lookup, looked through.
pub(super) struct Check<'a> {
    pub path: String,
    pub known: &'a Known<'a>,
    pub lookups: &'a BTreeSet<String>,
    pub mistakes: &'a mut Mistakes,
}

impl Check<'_> {
    fn add(&mut self, key: &str, problem: impl std::fmt::Display) {
        self.mistakes.add(&format!("{}.{key}", self.path), problem);
    }

    pub fn lookup(&mut self, name: &str, keys: LookupKeys) -> LookupSettings {
        let mode = keys.mode;
        self.only_in(Mode::Race, mode, "prefer_for", keys.prefer_for.is_some());
        self.only_in(Mode::Merge, mode, "by", keys.by.is_some());
        self.only_in(Mode::Chain, mode, "fan_out", keys.fan_out.is_some());
        if keys.by.as_ref().is_some_and(Vec::is_empty) {
            self.add("by", "is empty; expected phones, emails or customer_id");
        }
        if keys.criteria.is_empty() {
            self.add("criteria", "is empty; expected what a job's query may hold");
        }
        if keys.steps.is_empty() {
            self.add("steps", "is empty; expected at least one step");
        }
        let (mut steps, mut taken) = (Vec::new(), BTreeSet::new());
        let mut filled = Some(Vec::new());
        let usual = keys.fan_out.unwrap_or(1);
        for (number, step) in keys.steps.into_iter().enumerate() {
            let at = format!("steps[{number}]");
            self.only_in(
                Mode::Chain,
                mode,
                &format!("{at}.fan_out"),
                step.fan_out.is_some(),
            );
            self.provider(&at, &step);
            let step_provider = step.provider.clone();
            let query = self.template(&format!("{at}.query"), step.query);
            let options = self.template(&format!("{at}.options"), step.options);
            self.literals(&at, &step_provider, &query, &options);
            for (key, placeholder) in query.iter().chain(&options).flat_map(placeholders) {
                match placeholder {
                    Placeholder::Criterion(name) => {
                        self.criterion(&key, name, &keys.criteria);
                        taken.insert(name.clone());
                    }
                    Placeholder::Customer(pointer) if mode == Mode::Chain => {
                        self.leads(&key, pointer, filled.as_deref());
                    }
                    Placeholder::Customer(_) => {
                        self.add(&key, "{customer.…} is for mode chain alone");
                    }
                }
            }
            filled = filled.and_then(|filled| self.filled_with(filled, &step.provider));
            steps.push(StepSettings {
                provider: step.provider,
                query: table(query),
                options: table(options),
                wanted: step.wanted,
                fan_out: step
                    .fan_out
                    .unwrap_or(usual)
                    .try_into()
                    .unwrap_or(usize::MAX),
            });
        }
        for name in keys.criteria.iter().filter(|name| !taken.contains(*name)) {
            let problem =
                format!("no step takes {name:?}; expected {{query.{name}}} in the query of a step");
            self.add("criteria", problem);
        }
        LookupSettings {
            name: name.to_owned(),
            mode,
            criteria: keys.criteria,
            deadline: keys.deadline,
            prefer_for: keys.prefer_for.unwrap_or_default(),
            by: keys
                .by
                .unwrap_or_else(|| vec![By::Phones, By::Emails, By::CustomerId]),
            steps,
        }
    }

    fn criterion(&mut self, key: &str, name: &str, criteria: &[String]) {
        if criteria.iter().any(|criterion| criterion == name) {
            return;
        }
        let known = match criteria {
            [] => "it has none".to_owned(),
            known => format!("expected one of {}", known.join(", ")),
        };
        let problem = format!("{{query.{name}}} is no criterion of the lookup; {known}");
        self.add(key, problem);
    }

    /// A part of a customer is one that some step before may fill.
    fn leads(&mut self, key: &str, pointer: &str, filled: Option<&[&str]>) {
        let field = pointer.split('/').nth(1).unwrap_or_default();
        match filled {
            Some([]) => {
                self.add(
                    key,
                    "{customer.…} leads nowhere: no step is before the first",
                );
            }
            Some(filled) if !filled.contains(&field) => {
                let problem = format!(
                    "{{customer.{field}…}} leads nowhere: no step before fills {field}; expected one of {}",
                    filled.join(", ")
                );
                self.add(key, problem);
            }
            _ => {}
        }
    }

    /// With what this provider fills; none where it is not sound, and so not known.
    fn filled_with(
        &self,
        mut filled: Vec<&'static str>,
        provider: &str,
    ) -> Option<Vec<&'static str>> {
        for field in self.known.providers.get(provider)?.adapter.fills() {
            if !filled.contains(&field) {
                filled.push(field);
            }
        }
        Some(filled)
    }

    fn only_in(&mut self, of: Mode, mode: Mode, key: &str, is_given: bool) {
        if is_given && mode != of {
            let problem = format!(
                "is for mode {} alone; the mode is {}",
                of.as_str(),
                mode.as_str()
            );
            self.add(key, problem);
        }
    }

    fn provider(&mut self, at: &str, step: &StepKeys) {
        let name = &step.provider;
        let key = format!("{at}.provider");
        if self.lookups.contains(name) && !self.known.named.contains(name) {
            let problem = format!("{name:?} is a lookup; expected a provider");
            return self.add(&key, problem);
        }
        if !self.known.named.contains(name) {
            let known: Vec<&str> = self.known.named.iter().map(String::as_str).collect();
            let expected = match &*known {
                [] => "a [providers.NAME]".to_owned(),
                known => format!("one of {}", known.join(", ")),
            };
            let problem = format!("no provider {name:?} is configured; expected {expected}");
            return self.add(&key, problem);
        }
        if step.query.is_empty() {
            self.add(
                &format!("{at}.query"),
                "is empty; expected what the provider is asked by",
            );
        }
        let Some(provider) = self.known.providers.get(name) else {
            return;
        };
        let adapter = &provider.adapter;
        let tables = [
            ("query", adapter.criteria(), &step.query),
            ("options", adapter.options(), &step.options),
        ];
        for (part, known, given) in tables {
            let is_known = |member: &&String| known.iter().any(|known| known == *member);
            for member in given.keys().filter(|member| !is_known(member)) {
                let (kind, known) = (adapter.kind(), known.join(", "));
                let problem = format!("unknown to {name}, kind {kind}; expected one of {known}");
                self.add(&format!("{at}.{part}.{member}"), problem);
            }
        }
    }

    /// What the provider takes from no job whatever: options, and values of the query, without a placeholder in them.
    fn literals(&mut self, at: &str, provider: &str, query: &Members, options: &Members) {
        let Some(provider) = self.known.providers.get(provider) else {
            return;
        };
        let is_literal = |members: &Members, path: &str| {
            let name = path.split(['.', '[']).next().unwrap_or_default();
            let named = |member: &&(String, String, Template)| member.1 == name;
            let member = members.iter().find(named);
            member.is_some_and(|(_, _, template)| template.placeholders().is_empty())
        };
        // What is unknown was told already.
        let known = [provider.adapter.criteria(), provider.adapter.options()].concat();
        // One after the other may be a criterion's value; some sample fits most.
        for sample in SAMPLES {
            let filled = |members: &Members| {
                let filled = |(_, name, template): &(String, String, Template)| {
                    let value = template.sampled(&sample.into())?;
                    known.contains(name).then(|| (name.clone(), value))
                };
                to_raw_value(&members.iter().filter_map(filled).collect::<Map<_, _>>()).ok()
            };
            let (Some(asked), Some(how)) = (filled(query), filled(options)) else {
                return;
            };
            let Err(problem) = provider.adapter.lookup(&asked, Some(&how)) else {
                return;
            };
            let (part, members, path) = match problem.path.split_once('.') {
                Some(("query", path)) => ("query", query, path.to_owned()),
                Some(("options", path)) => ("options", options, path.to_owned()),
                _ => continue,
            };
            if is_literal(members, &path) {
                let key = format!("{at}.{part}.{path}");
                return self.add(&key, problem.problem);
            }
        }
    }

    /// Each member with its key; a mistake is told by that.
    fn template(&mut self, key: &str, members: Map<String, Json>) -> Members {
        let mut read = Vec::new();
        for (name, value) in members {
            let key = format!("{key}.{name}");
            match Template::read(&value) {
                Ok(template) => read.push((key, name, template)),
                Err(problem) => self.add(&key, problem),
            }
        }
        read
    }
}

/// What may stand for a criterion's value: a number of a telephone, an address, an id.
const SAMPLES: [&str; 3] = ["14085550100", "ann@example.com", "a1"];

/// Key, name and value of each member.
type Members = Vec<(String, String, Template)>;

fn placeholders((key, _, template): &(String, String, Template)) -> Vec<(String, &Placeholder)> {
    let placeholders = template.placeholders().into_iter();
    placeholders
        .map(|placeholder| (key.clone(), placeholder))
        .collect()
}

fn table(members: Members) -> Template {
    let members = members.into_iter();
    Template::Table(members.map(|(_, name, value)| (name, value)).collect())
}
