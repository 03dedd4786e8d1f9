//! Kind `http`: any HTTP API that answers JSON, by a descriptor (contract §10).
//!
//! In comes a file, out comes an adapter like that of every other kind: pure, compiled once, all of its mistakes told
//! at once. The file says where a value stands; how it is encoded there follows from the place, so that no value can
//! add a segment, a parameter, a header or a member.

mod answer; // customers, out of an answer
mod body; // JSON with places for values
mod class; // what an answer means
mod condition; // what an answer must say
mod document; // an answer as a tree
mod field; // one field of a result
mod file; // from text to sections
mod mistakes; // everything that is wrong, each by its key
mod ordered; // tables whose order counts
mod path; // JSONPath
mod request; // what goes out
mod schema; // how its jobs are described
pub mod shape; // what may stand in the file: the reference
mod template; // texts with places for values
pub mod testing; // its own tests
mod value; // what a job says
mod wait; // how long to wait

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response,
    header::{AUTHORIZATION, InvalidHeaderValue},
};
use jiff::Timestamp;
use serde_json::{Value as Body, value::RawValue};
use smallvec::SmallVec;

use self::{
    answer::Answer,
    class::ClassRule,
    file::{Criteria, Sections},
    mistakes::Mistakes,
    ordered::Ordered,
    request::Request,
    shape::{Auth, ClassName, TestShape},
    template::{Slots, Values},
    value::Rule,
    wait::Wait,
};
use super::{access::Access, answer::named, class as table, class::Rules, wait as asked};
use crate::{
    config::CountKeys,
    customer::Page,
    failure::{ErrorKind, Failure},
    json::{self, Malformed},
    outcome::Outcome,
};

/// A descriptor, compiled.
#[derive(Debug)]
pub struct Descriptor {
    /// What API it is, in words.
    pub title: Option<String>,
    /// How requests are let in.
    pub auth: Auth,
    /// Its tests, each with its key.
    pub tests: Vec<(String, TestShape)>,
    /// The criteria first, then the options.
    rules: Vec<Rule>,
    criteria: usize,
    need: Vec<Vec<usize>>,
    ties: Vec<Tie>,
    requests: Vec<Request>,
    answer: Answer,
    classes: Vec<ClassRule>,
    wait: Option<Wait>,
    /// Where an answer says how many requests are left.
    pub count: Vec<CountKeys>,
}

/// What a job asks for.
#[derive(Debug)]
pub struct Asked {
    /// The request, without what lets it in.
    pub request: http::Request<Bytes>,
    /// The payload is wanted in the result.
    pub raw: bool,
    /// The values that stand in it, each in its slot.
    pub values: Values,
    /// Which of the descriptor's requests it is.
    number: usize,
}

/// That one value needs another beside it, or excludes it.
#[derive(Debug)]
struct Tie {
    slot: usize,
    other: usize,
    together: bool,
}

/// In what it differs from the table of every kind: in nothing but its classes.
pub(super) const RULES: Rules = Rules {
    none_by_404: false,
    none_by_204: false,
    rest_after_500: false,
};

impl Descriptor {
    /// Compiles a descriptor's text.
    ///
    /// # Errors
    /// Everything that is wrong with it, a line each, by its key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut mistakes = Mistakes::default();
        let compiled = file::sections(text, &mut mistakes)
            .and_then(|sections| Self::compile(sections, &mut mistakes));
        match compiled {
            Some(descriptor) if mistakes.is_empty() => Ok(descriptor),
            _ => Err(mistakes.to_string()),
        }
    }

    fn compile(sections: Sections, mistakes: &mut Mistakes) -> Option<Self> {
        if sections.options.contains_key("raw") {
            mistakes.add(
                "options.raw",
                "goes for every provider; expected another name",
            );
        }
        let mut rules = rules("criteria", "query", &sections.criteria, mistakes);
        let any = rules.is_empty().then_some(0);
        rules.extend(any.map(|_| Rule::any("query", "any")));
        let criteria = rules.len();
        rules.extend(rules_of_options(&sections.options, mistakes));
        let slots = Slots::new(&rules, any);
        let mut ties = ties("criteria", "query", &sections.criteria, &slots, mistakes);
        ties.extend(ties_of_options(&sections.options, &slots, mistakes));
        let requests: Vec<Request> = sections
            .requests
            .iter()
            .map(|(key, shape)| Request::new(key, shape, &slots, &rules, mistakes))
            .collect();
        let need = need(sections.need.as_deref(), &slots, criteria, mistakes);
        if mistakes.is_empty() {
            Reach {
                rules: &rules,
                criteria,
                need: &need,
                requests: &requests,
            }
            .check(mistakes);
        }
        if let Some(auth) = &sections.auth {
            check_auth(auth, &requests, mistakes);
        }
        let answer = sections
            .answer
            .and_then(|shape| Answer::new(&shape, &slots, mistakes));
        let classes = class::compile(&sections.classes, &slots, mistakes);
        let wait = sections.wait.and_then(|shape| Wait::new(&shape, mistakes));
        Some(Self {
            title: sections.title,
            auth: sections.auth?,
            tests: sections.tests,
            rules,
            criteria,
            need,
            ties,
            requests,
            answer: answer?,
            classes,
            wait,
            count: sections.count,
        })
    }

    /// What lets a request in by `token`; for a descriptor that asks for one.
    ///
    /// # Errors
    /// Where no header can hold it.
    pub fn access(&self, token: &str) -> Result<Access, InvalidHeaderValue> {
        match &self.auth {
            Auth::Query { name, value } => {
                Access::by_parameter(name, &value.replace("{token}", token))
            }
            Auth::Header { name, value } => Ok(Access::by_header(
                HeaderName::try_from(name.as_str()).unwrap_or(AUTHORIZATION),
                HeaderValue::try_from(value.replace("{token}", token))?,
            )),
            _ => Ok(Access::by_header(
                AUTHORIZATION,
                HeaderValue::try_from(format!("Bearer {token}"))?,
            )),
        }
    }

    /// The request that a job's query and options ask for, below `base`.
    ///
    /// # Errors
    /// The field that does not fit and what was expected.
    pub fn request(
        &self,
        base: &str,
        query: &RawValue,
        options: Option<&RawValue>,
    ) -> Result<Asked, Malformed> {
        let mut values: Values = vec![None; self.rules.len()];
        self.take("query", query, &mut values)?;
        let raw = match options.filter(|options| options.get() != "null") {
            Some(options) => self.take("options", options, &mut values)?,
            None => false,
        };
        let given = |slot: &usize| values[*slot].is_some();
        if !self.need.iter().any(|set| set.iter().all(given)) {
            return Err(Malformed::at(
                "query",
                format!("expected {}", self.needed()),
            ));
        }
        self.ties
            .iter()
            .try_for_each(|tie| tie.check(&values, &self.rules))?;
        for (value, rule) in values.iter_mut().zip(&self.rules) {
            *value = value.take().or_else(|| rule.default.clone());
        }
        for (number, shape) in self.requests.iter().enumerate() {
            if let Some(request) = shape.write(base, &values, &self.rules)? {
                let uses = shape.uses();
                for (slot, value) in values.iter_mut().enumerate() {
                    *value = value.take().filter(|_| uses.contains(&slot));
                }
                return Ok(Asked {
                    request,
                    raw,
                    values,
                    number,
                });
            }
        }
        let problem =
            "expected the criteria of one of the requests that the provider is described by";
        Err(Malformed::at("query", problem))
    }

    /// Takes what a job says of one group; tells whether the payload is wanted.
    fn take(&self, group: &str, json: &RawValue, values: &mut Values) -> Result<bool, Malformed> {
        let fields: Ordered<&RawValue> =
            json::read(json.get().as_bytes()).map_err(|problem| problem.below(group))?;
        let (mut raw, mut seen) = (None, SmallVec::<[usize; 4]>::new());
        for (name, value) in fields.0 {
            if value.get() == "null" {
                continue;
            }
            let once = || Malformed::at(&format!("{group}.{name}"), "expected it once");
            if group == "options" && name == "raw" {
                let given = json::read(value.get().as_bytes());
                let given = raw.replace(given.map_err(|problem| problem.below("options.raw"))?);
                if given.is_some() {
                    return Err(once());
                }
                continue;
            }
            let Some(slot) = self.slot(group, &name) else {
                return Err(self.unknown(group, &name));
            };
            if seen.contains(&slot) {
                return Err(once());
            }
            seen.push(slot);
            values[slot] = self.rules[slot].read(value)?;
        }
        Ok(raw.unwrap_or(false))
    }

    fn slot(&self, group: &str, name: &str) -> Option<usize> {
        let of_options = group == "options";
        let (first, rules) = if of_options {
            (self.criteria, &self.rules[self.criteria..])
        } else {
            (0, &self.rules[..self.criteria])
        };
        let at = rules.iter().position(|rule| rule.name() == name)?;
        Some(first + at)
    }

    /// What a job's `query` or its `options` may hold.
    pub fn names(&self, group: &str) -> Vec<String> {
        let (rules, raw) = match group {
            "query" => (&self.rules[..self.criteria], None),
            _ => (&self.rules[self.criteria..], Some("raw")),
        };
        let names = rules.iter().map(Rule::name).chain(raw);
        names.map(str::to_owned).collect()
    }

    /// The fields of a customer that an answer may fill.
    pub fn fills(&self) -> Vec<&'static str> {
        self.answer.fills()
    }

    fn unknown(&self, group: &str, name: &str) -> Malformed {
        let known = self.names(group);
        let name = json::name(name);
        let problem = format!("unknown field `{name}`, expected {}", known.join(" or "));
        Malformed::at(&format!("{group}.{name}"), problem)
    }

    fn needed(&self) -> String {
        let set = |set: &Vec<usize>| {
            let names = set.iter().map(|slot| self.rules[*slot].name());
            names.collect::<Vec<_>>().join(" with ")
        };
        self.need.iter().map(set).collect::<Vec<_>>().join(", or ")
    }

    /// What an answer says to what was `asked`.
    pub fn read(&self, asked: &Values, response: &Response<Bytes>, now: Timestamp) -> Outcome {
        let (status, headers) = (response.status().as_u16(), response.headers());
        let body = document::parse(response.body());
        let (rule, class) = self.class_of(status, headers, body.as_ref().ok());
        let kind = match class {
            Some(ClassName::Found) => return self.found(asked, body, response),
            Some(ClassName::NotFound) => return Outcome::NotFound(self.page(body.as_ref().ok())),
            Some(class) => class.failure().unwrap_or(ErrorKind::BadResponse),
            None => match table::of(status, RULES) {
                table::Class::Failed(kind) => kind,
                _ => return self.found(asked, body, response),
            },
        };
        let own_word = body
            .as_ref()
            .is_ok_and(|body| body.is_object() || body.is_array());
        let mut failure = Failure::new(kind, message(status, kind, class, own_word));
        failure.about_customer = kind == ErrorKind::Rejected && own_word;
        failure.http_status = Some(status);
        if kind.retryable() {
            failure.retry_after = self.asked_to_wait(headers, body.as_ref().ok(), now);
        }
        if let Some(words) = rule.and_then(|number| self.classes[number].words(body.as_ref().ok()))
        {
            failure = failure.said(&words);
        }
        Outcome::Failed(failure)
    }

    /// Of `Retry-After` and the descriptor's own place the later.
    fn asked_to_wait(
        &self,
        headers: &HeaderMap,
        body: Option<&Body>,
        now: Timestamp,
    ) -> Option<Duration> {
        let now = asked::clock(headers, now);
        let own = self.wait.as_ref();
        let own = own.and_then(|wait| wait.read(headers, body, now));
        own.max(asked::asked(headers, now).wait())
    }

    fn page(&self, body: Option<&Body>) -> Option<Page> {
        self.answer.page(body?)
    }

    /// The number of the class that decides on an answer; none where the table of every kind does.
    pub fn class(&self, response: &Response<Bytes>) -> Option<usize> {
        let body = document::parse(response.body()).ok();
        let status = response.status().as_u16();
        self.class_of(status, response.headers(), body.as_ref()).0
    }

    fn class_of(
        &self,
        status: u16,
        headers: &HeaderMap,
        body: Option<&Body>,
    ) -> (Option<usize>, Option<ClassName>) {
        let number = self
            .classes
            .iter()
            .position(|rule| rule.matches(status, headers, body));
        (number, number.and_then(|number| self.classes[number].class))
    }

    /// What makes it doubtful that an answer in which nobody was found says so.
    pub fn doubt(&self, response: &Response<Bytes>) -> Option<String> {
        self.answer.doubt(&document::parse(response.body()).ok()?)
    }

    /// The values that may be any text and stand inside other text, as `query.email`: such a one may hold what ends
    /// that text, a quote or a comma.
    pub fn loose(&self) -> Vec<&str> {
        let inside = self.requests.iter().flat_map(Request::inside_text);
        let loose = inside
            .map(|slot| &self.rules[slot])
            .filter(|rule| rule.is_any_text());
        let names: BTreeSet<&str> = loose.map(|rule| rule.path.as_str()).collect();
        names.into_iter().collect()
    }

    /// Whether the class of this number tells the provider's words of an answer.
    pub fn has_words(&self, number: usize, response: &Response<Bytes>) -> bool {
        let body = document::parse(response.body()).ok();
        self.classes[number].words(body.as_ref()).is_some()
    }

    /// The words of an answer that it names itself, and so are nobody's.
    pub fn words(&self) -> Vec<String> {
        let classes = self.classes.iter().filter_map(ClassRule::word);
        classes.chain(self.answer.words()).collect()
    }

    /// The key of a request.
    fn request_key(&self, number: usize) -> String {
        match self.requests.len() {
            1 => "request".into(),
            _ => format!("request[{number}]"),
        }
    }

    fn found(
        &self,
        asked: &Values,
        body: Result<Body, Malformed>,
        response: &Response<Bytes>,
    ) -> Outcome {
        let status = response.status().as_u16();
        let read = body
            .map_err(|problem| named(problem, response.body()))
            .and_then(|body| self.answer.read(&body, asked));
        match read {
            Ok((customers, page)) => Outcome::of(customers, page),
            Err(problem) => {
                let message =
                    format!("HTTP {status}, but the body is not as the descriptor says: {problem}");
                let failure = Failure::new(ErrorKind::BadResponse, message);
                Outcome::Failed(failure.with_status(status))
            }
        }
    }
}

fn message(status: u16, kind: ErrorKind, class: Option<ClassName>, own_word: bool) -> String {
    match class {
        None if kind == ErrorKind::Rejected && !own_word => table::message_of_another(status),
        None => table::message(status, kind),
        Some(_) => format!(
            "HTTP {status}, which the descriptor's classes make {}",
            kind.as_str()
        ),
    }
}

fn rules(section: &str, group: &str, shapes: &Criteria, mistakes: &mut Mistakes) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (name, shape) in shapes {
        let legal = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        if !legal {
            let expected = "expected a name of letters, digits, '_' and '-'";
            mistakes.add(&format!("{section}.{name}"), expected);
        }
        let rule = shape.as_ref().and_then(|shape| {
            let told = |(key, problem): (_, String)| {
                mistakes.add(&format!("{section}.{name}.{key}"), problem);
            };
            Rule::new(group, name, shape).map_err(told).ok()
        });
        rules.push(rule.unwrap_or_else(|| Rule::any(group, name)));
    }
    rules
}

fn rules_of_options(shapes: &Criteria, mistakes: &mut Mistakes) -> Vec<Rule> {
    rules("options", "options", shapes, mistakes)
}

/// What the criteria or options of a section need beside them, and what they exclude.
fn ties(
    section: &str,
    group: &str,
    shapes: &Criteria,
    slots: &Slots,
    mistakes: &mut Mistakes,
) -> Vec<Tie> {
    let mut ties = Vec::new();
    for (name, shape) in shapes {
        let Some(shape) = shape else { continue };
        for (key, others) in [("needs", &shape.needs), ("excludes", &shape.excludes)] {
            for other in others {
                let slot = |name: &str| slots.get(&format!("{group}.{name}"));
                match (slot(name), slot(other)) {
                    (Some(slot), Some(other)) if other != slot => ties.push(Tie {
                        slot,
                        other,
                        together: key == "needs",
                    }),
                    _ => mistakes.add(
                        &format!("{section}.{name}.{key}"),
                        format!("got {other:?}, expected another name of [{section}]"),
                    ),
                }
            }
        }
    }
    ties
}

fn ties_of_options(shapes: &Criteria, slots: &Slots, mistakes: &mut Mistakes) -> Vec<Tie> {
    ties("options", "options", shapes, slots, mistakes)
}

impl Tie {
    /// Whether a job keeps to it.
    fn check(&self, values: &Values, rules: &[Rule]) -> Result<(), Malformed> {
        if values[self.slot].is_none() || values[self.other].is_some() == self.together {
            return Ok(());
        }
        let word = if self.together { "with" } else { "without" };
        let problem = format!("expected {word} {}", rules[self.other].path);
        Err(Malformed::at(&rules[self.slot].path, problem))
    }
}

/// The sets of criteria of which a job must have one.
fn need(
    sets: Option<&[Vec<String>]>,
    slots: &Slots,
    criteria: usize,
    mistakes: &mut Mistakes,
) -> Vec<Vec<usize>> {
    let Some(sets) = sets else {
        return (0..criteria).map(|slot| vec![slot]).collect();
    };
    if sets.is_empty() {
        mistakes.add("need", "expected at least one set of criteria");
    }
    let mut need = Vec::new();
    for (number, set) in sets.iter().enumerate() {
        let key = format!("need[{number}]");
        if set.is_empty() {
            mistakes.add(
                &key,
                "expected at least one criterion: a job without any asks for everybody",
            );
        }
        let mut known = Vec::new();
        for name in set {
            match slots.get(&format!("query.{name}")) {
                Some(slot) => known.push(slot),
                None => mistakes.add(
                    &key,
                    format!(
                        "{name:?} is no criterion; expected one of {}",
                        slots.criteria()
                    ),
                ),
            }
        }
        need.push(known);
    }
    need
}

/// Whether criteria, need and requests fit together.
struct Reach<'a> {
    rules: &'a [Rule],
    criteria: usize,
    need: &'a [Vec<usize>],
    requests: &'a [Request],
}

impl Reach<'_> {
    fn check(&self, mistakes: &mut Mistakes) {
        let used: Vec<usize> = self
            .requests
            .iter()
            .flat_map(Request::uses)
            .copied()
            .collect();
        for (slot, rule) in self.rules.iter().enumerate() {
            if !used.contains(&slot) {
                let key = rule.path.replacen("query.", "criteria.", 1);
                mistakes.add(
                    &key,
                    format!(
                        "no request uses it; expected {{{}}} somewhere in one",
                        rule.path
                    ),
                );
            }
        }
        for (slot, rule) in self.rules.iter().enumerate() {
            let mut requests = self.requests.iter();
            let everywhere = requests.all(|request| request.needs().contains(&slot));
            if !everywhere || self.requests.is_empty() {
                continue;
            }
            if slot >= self.criteria {
                if rule.default.is_none() {
                    mistakes.add(
                        &rule.path,
                        "stands in the path of every request; expected a `default`",
                    );
                }
            } else if !self.need.iter().all(|set| set.contains(&slot)) {
                let name = rule.name();
                mistakes.add("need", format!(
                    "{name} stands in the path of every request; expected it in every set of `need`, as in need = [[\"{name}\"]]"
                ));
            }
        }
        self.check_order(mistakes);
    }

    /// A request that needs all that one before it needs is never sent: that one is.
    fn check_order(&self, mistakes: &mut Mistakes) {
        let is_given = |slot: &usize| self.rules[*slot].default.is_some();
        for (number, request) in self.requests.iter().enumerate() {
            let comes_first = |before: &Request| {
                let mut needs = before.needs().iter();
                needs.all(|slot| is_given(slot) || request.needs().contains(slot))
            };
            if let Some(before) = self.requests[..number].iter().position(comes_first) {
                let problem = format!(
                    "can never be sent: request[{before}] stands before it and needs nothing that this one does not; \
                     expected what that one is for, as `when = [\"NAME\"]` with its criteria, or another order"
                );
                mistakes.add(&format!("request[{number}]"), problem);
            }
        }
    }
}

fn check_auth(auth: &Auth, requests: &[Request], mistakes: &mut Mistakes) {
    let (name, value) = match auth {
        Auth::Header { name, value } => {
            match HeaderName::try_from(name.as_str()) {
                Ok(header) => {
                    if requests
                        .iter()
                        .any(|request| request.headers().any(|other| *other == header))
                    {
                        let problem = "a request has this header already; [auth] writes it, take it out of `headers`";
                        mistakes.add("auth.name", problem);
                    }
                }
                Err(_) => mistakes.add("auth.name", "expected the name of an HTTP header"),
            }
            if HeaderValue::try_from(value.as_str()).is_err() {
                mistakes.add("auth.value", "expected a text that an HTTP header can hold");
            }
            (name, value)
        }
        Auth::Query { name, value } => {
            if requests
                .iter()
                .any(|request| request.parameters().any(|other| other == name))
            {
                mistakes.add("auth.name", "a request has this parameter already");
            }
            (name, value)
        }
        Auth::Basic {} | Auth::Oauth { .. } | Auth::None {} => return,
    };
    if name.is_empty() {
        mistakes.add("auth.name", "expected a name");
    }
    let without = value.replacen("{token}", "", 1);
    if without.len() == value.len() || without.contains(['{', '}']) {
        mistakes.add(
            "auth.value",
            "expected a text that holds {token} once and no other braces",
        );
    }
}

#[cfg(test)]
mod tests;
