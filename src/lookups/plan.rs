//! A configured lookup, and what a job asks of its steps.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use serde::Deserialize;
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};
use uuid::Uuid;

use super::{State, template::Placeholder};
use crate::{
    engine::Engine,
    job::Asks,
    json::{self, Malformed},
    lane::Lane,
    lookups::settings::{LookupSettings, StepSettings},
    provider::Lookup,
    telemetry::metrics::Metrics,
};

/// One configured lookup, its steps' providers ready to be asked.
pub struct Plan {
    /// How it was configured.
    pub settings: LookupSettings,
    /// The provider of each step.
    pub engines: Vec<Rc<Engine>>,
    pub(super) metrics: Metrics,
    /// Of mode and steps: what was said under others fits no more.
    fingerprint: String,
    /// Whether a step is asked by what the step before found.
    of_customer: Vec<bool>,
}

/// A job's query, for each step.
#[derive(Debug)]
pub struct Questions {
    pub(super) query: Map<String, Value>,
    pub(super) raw: bool,
    pub(super) steps: Vec<Question>,
}

/// What a step asks.
#[derive(Debug)]
pub(super) enum Question {
    /// This.
    Ready(Rc<Lookup>),
    /// Nothing: the job lacks what it takes.
    NoValue,
    /// What the customer of the step before lets it ask.
    OfCustomer,
}

/// Why nothing can be asked.
pub(super) enum Unasked {
    /// What the step takes is not there.
    NoValue,
    /// What is there does not fit.
    Unfit(Malformed),
}

impl Plan {
    /// From the settings, and the engines of the configured providers.
    ///
    /// # Panics
    /// Where a step's provider is not configured; the configuration sees to that.
    #[must_use]
    pub fn new(
        settings: &LookupSettings,
        engines: &BTreeMap<String, Rc<Engine>>,
        metrics: &Metrics,
    ) -> Rc<Self> {
        let engine = |step: &StepSettings| {
            metrics.has_step(&settings.name, &step.provider);
            Rc::clone(&engines[&step.provider])
        };
        Rc::new(Self {
            engines: settings.steps.iter().map(engine).collect(),
            settings: settings.clone(),
            metrics: metrics.clone(),
            fingerprint: fingerprint(settings),
            of_customer: settings.steps.iter().map(is_of_customer).collect(),
        })
    }

    /// What was said before, as far as it was said to this lookup as it is now.
    pub(super) fn fitting(&self, state: State) -> State {
        let steps = self.settings.steps.iter();
        let providers: Vec<&str> = steps.map(|step| step.provider.as_str()).collect();
        state.fitting(&self.fingerprint, &providers)
    }

    /// What a step asks of its provider, for this customer where it is asked by one.
    pub(super) fn question(
        &self,
        step: usize,
        query: &Map<String, Value>,
        customer: Option<&Value>,
        raw: bool,
    ) -> Result<Rc<Lookup>, Unasked> {
        let settings = &self.settings.steps[step];
        let filled = settings.query.fill(query, customer);
        let Some(Value::Object(asked)) = &filled.value else {
            return Err(Unasked::NoValue);
        };
        if filled.lacks && !filled.has {
            return Err(Unasked::NoValue);
        }
        let mut options = match settings.options.fill(query, customer).value {
            Some(Value::Object(options)) => options,
            _ => Map::new(),
        };
        if raw {
            options.insert("raw".into(), true.into());
        }
        let written = |value: &Map<String, Value>| {
            to_raw_value(value)
                .map_err(|error| Unasked::Unfit(Malformed::at("", error.to_string())))
        };
        let (query, options) = (written(asked)?, written(&options)?);
        let lookup = self.engines[step].adapter().lookup(&query, Some(&options));
        lookup.map(Rc::new).map_err(|problem| {
            let about_what_is_there = problem.path.strip_prefix("query.").is_some_and(|path| {
                asked.contains_key(path.split(['.', '[']).next().unwrap_or(path))
            });
            if filled.lacks && !about_what_is_there {
                Unasked::NoValue
            } else {
                Unasked::Unfit(problem)
            }
        })
    }

    /// Whether a step is asked by what the step before found.
    pub(super) fn is_of_customer(&self, step: usize) -> bool {
        self.of_customer[step]
    }

    fn query(&self, query: &RawValue) -> Result<Map<String, Value>, Malformed> {
        let query: Value = json::read(query.get().as_bytes()).map_err(|it| it.below("query"))?;
        let Value::Object(mut query) = query else {
            return Err(Malformed::at("query", "expected an object"));
        };
        query.retain(|_, value| !value.is_null());
        let criteria = &self.settings.criteria;
        if let Some(strange) = query.keys().find(|name| !criteria.contains(name)) {
            let name = json::name(strange);
            let problem = format!("unknown field `{name}`, expected {}", criteria.join(" or "));
            return Err(Malformed::at(&format!("query.{name}"), problem));
        }
        if query.is_empty() {
            let problem = format!("is empty, expected {}", criteria.join(" or "));
            return Err(Malformed::at("query", problem));
        }
        Ok(query)
    }
}

fn is_of_customer(StepSettings { query, options, .. }: &StepSettings) -> bool {
    let placeholders = [query.placeholders(), options.placeholders()].concat();
    let of_customer = |placeholder: &&Placeholder| matches!(placeholder, Placeholder::Customer(_));
    placeholders.iter().any(of_customer)
}

/// Another for each other mode and for steps that are others, or ask otherwise.
fn fingerprint(settings: &LookupSettings) -> String {
    /// A namespace of our own (RFC 9562 §6.6).
    const NAMESPACE: Uuid = Uuid::from_u128(0x2c5b_7f0a_9d3e_4a61_8c1f_6e0d_4b92_7a35);
    let LookupSettings {
        mode, by, steps, ..
    } = settings;
    Uuid::new_v5(&NAMESPACE, format!("{mode:?} {by:?} {steps:?}").as_bytes()).to_string()
}

/// `raw` alone, and null as absent.
fn raw(options: Option<&RawValue>) -> Result<bool, Malformed> {
    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields)]
    struct Options {
        #[serde(default)]
        raw: Option<bool>,
    }
    let Some(options) = options.filter(|options| options.get() != "null") else {
        return Ok(false);
    };
    let options = json::without_nulls(options, |_| true);
    let options: Options =
        json::read(options.get().as_bytes()).map_err(|problem| problem.below("options"))?;
    Ok(options.raw.unwrap_or(false))
}

impl Asks for Plan {
    type Asked = Questions;

    fn asked(&self, query: &RawValue, options: Option<&RawValue>) -> Result<Questions, Malformed> {
        let (query, raw) = (self.query(query)?, raw(options)?);
        let question = |step| {
            if self.is_of_customer(step) {
                return Ok(Question::OfCustomer);
            }
            match self.question(step, &query, None, raw) {
                Ok(lookup) => Ok(Question::Ready(lookup)),
                Err(Unasked::NoValue) => Ok(Question::NoValue),
                Err(Unasked::Unfit(Malformed { path, problem })) => {
                    let provider = &self.settings.steps[step].provider;
                    Err(Malformed::at(
                        &path,
                        format!("{problem} (so says {provider})"),
                    ))
                }
            }
        };
        let steps = (0..self.engines.len()).map(question);
        let steps = steps.collect::<Result<_, Malformed>>()?;
        Ok(Questions { query, raw, steps })
    }

    fn usual_deadline(&self, lane: Lane) -> Option<Duration> {
        self.settings.deadline.filter(|_| lane == Lane::Interactive)
    }
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("lookup", &self.settings.name)
            .finish_non_exhaustive()
    }
}
