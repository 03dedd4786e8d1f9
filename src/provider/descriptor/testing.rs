//! A descriptor's own tests: a query, the request that must go out, an answer, and what must be in the result. No
//! network.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde_json::{Map, Value, json, value::RawValue};
use toml::Table;

use super::{
    Asked, Descriptor,
    shape::{Method, TestAnswer, TestRequest, TestShape},
};
use crate::{
    failure::{ErrorKind, Failure},
    json::Malformed,
    outcome::Outcome,
    result::LookupResult,
};

/// Where the tests' provider is. Nothing is sent there.
const BASE: &str = "https://provider.invalid";

/// What came of one test.
#[derive(Debug)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// What differs, by place; nothing where it passed.
    pub differences: Vec<String>,
}

/// What came of all tests.
#[derive(Debug)]
pub struct Report {
    /// In the order of the file.
    pub verdicts: Vec<Verdict>,
    /// The keys of the descriptor that no passed test exercises.
    pub untested: Vec<String>,
}

impl Report {
    /// Whether all passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.verdicts
            .iter()
            .all(|verdict| verdict.differences.is_empty())
    }
}

/// What a test says of the API alone: a request and its answer.
#[derive(Debug)]
pub struct Exchange {
    /// As it is sent, but for what lets it in.
    pub request: http::Request<Bytes>,
    /// The answer's status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

/// The exchanges of a descriptor's tests: of those that are jobs and have an answer.
#[must_use]
pub fn exchanges(descriptor: &Descriptor) -> Vec<Exchange> {
    let exchange = |test: &TestShape| {
        let answer = test.answer.as_ref()?;
        let query = raw(&test.query).ok()?;
        let options = test.options.as_ref().map(raw).transpose().ok()?;
        let asked = descriptor.request(BASE, &query, options.as_deref()).ok()?;
        Some(Exchange {
            request: asked.request,
            status: answer.status,
            headers: answer.headers.clone().into_iter().collect(),
            body: answer.body.clone(),
        })
    };
    let tests = descriptor.tests.iter();
    tests.filter_map(|(_, test)| exchange(test)).collect()
}

/// Runs the tests of `descriptor`, which was made of `text`.
#[must_use]
pub fn run(descriptor: &Descriptor, text: &str) -> Report {
    let mut exercised = BTreeSet::new();
    let mut verdicts = Vec::new();
    for (_, test) in &descriptor.tests {
        let mut run = Run {
            descriptor,
            test,
            differences: Vec::new(),
            exercised: BTreeSet::new(),
        };
        run.go();
        if run.differences.is_empty() {
            exercised.append(&mut run.exercised);
        }
        verdicts.push(Verdict {
            name: test.name.clone(),
            differences: run.differences,
        });
    }
    let keys = keys(&text.parse().unwrap_or_default());
    // The names of headers have no case.
    let is_tested =
        |key: &String| exercised.contains(key) || exercised.contains(&key.to_ascii_lowercase());
    let untested = keys.into_iter().filter(|key| !is_tested(key));
    Report {
        untested: untested.collect(),
        verdicts,
    }
}

struct Run<'a> {
    descriptor: &'a Descriptor,
    test: &'a TestShape,
    differences: Vec<String>,
    exercised: BTreeSet<String>,
}

impl Run<'_> {
    fn go(&mut self) {
        let asked = match self.ask() {
            Ok(asked) => asked,
            Err(problem) => {
                let failure = Failure::new(ErrorKind::InvalidJob, problem.to_string());
                return self.result(Outcome::Failed(failure));
            }
        };
        if let Some(expected) = &self.test.request {
            self.request(expected, &asked);
        }
        match &self.test.answer {
            Some(answer) => self.answer(answer, &asked),
            None if self.test.result.is_some() => self
                .differences
                .push("answer: missing; expected one beside `result`".into()),
            None => {}
        }
    }

    fn ask(&self) -> Result<Asked, Malformed> {
        let query = raw(&self.test.query)?;
        let options = self.test.options.as_ref().map(raw).transpose()?;
        self.descriptor.request(BASE, &query, options.as_deref())
    }

    fn request(&mut self, expected: &TestRequest, asked: &Asked) {
        let request = &asked.request;
        let method = match expected.method {
            Method::Get => "GET",
            Method::Post => "POST",
        };
        self.same("request.method", method, request.method().as_str());
        self.same("request.path", &expected.path, request.uri().path());
        let sent = parameters(request.uri().query().unwrap_or_default());
        let wanted: Value = expected
            .query
            .iter()
            .map(|(name, value)| (name.clone(), json_of(value)))
            .collect();
        self.whole("request.query", &read(wanted), &read(sent));
        for (name, value) in &expected.headers {
            let sent = request.headers().get(name).map(http::HeaderValue::as_bytes);
            let sent = sent.map(String::from_utf8_lossy).unwrap_or_default();
            self.same(&format!("request.headers.{name}"), value, &sent);
        }
        let wanted = expected.body.as_ref().map_or(Value::Null, json_of);
        let sent = serde_json::from_slice(request.body()).unwrap_or_default();
        self.whole("request.body", &wanted, &sent);
        let rules = self.descriptor.rules.iter().zip(&asked.values);
        let sent = rules.filter(|(_, value)| value.is_some());
        self.exercised
            .extend(sent.map(|(rule, _)| rule.path.replacen("query.", "criteria.", 1)));
        let key = self.descriptor.request_key(asked.number);
        let names = sent_names(request.uri().query().unwrap_or_default());
        self.exercised
            .extend(names.map(|name| format!("{key}.query.{name}")));
        self.exercised.extend(
            expected
                .headers
                .keys()
                .map(|name| format!("{key}.headers.{}", name.to_ascii_lowercase())),
        );
        self.exercised.insert(format!("{key}.body"));
    }

    fn answer(&mut self, answer: &TestAnswer, asked: &Asked) {
        let mut response = Response::builder().status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(name, value);
        }
        let response = match response.body(Bytes::from(answer.body.clone())) {
            Ok(response) => response,
            Err(error) => {
                return self
                    .differences
                    .push(format!("answer: expected an HTTP answer: {error}"));
            }
        };
        let date = response.headers().get(http::header::DATE);
        let now = date
            .and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok())
            .and_then(|date| Timestamp::try_from(date).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH);
        if let Some(expected) = &self.test.result {
            let class = self.descriptor.class(&response);
            self.exercised
                .extend(class.map(|number| format!("classes[{number}]")));
            let message = expected.get("error").and_then(|error| error.get("message"));
            let told = class.filter(|number| {
                message.is_some() && self.descriptor.has_words(*number, &response)
            });
            self.exercised
                .extend(told.map(|number| format!("classes[{number}].message")));
        }
        let outcome = self.descriptor.read(&asked.values, &response, now);
        if let Some(wait) = &self.test.wait {
            let came = match &outcome {
                Outcome::Failed(failure) => failure.retry_after,
                _ => None,
            };
            let expected = humantime::parse_duration(wait).ok();
            if came != expected {
                let came = came.map_or("none".into(), shown);
                self.differences
                    .push(format!("wait: expected {wait}, got {came}"));
            }
            self.exercised.insert("wait".into());
        }
        self.result(outcome);
    }

    fn result(&mut self, outcome: Outcome) {
        let Some(expected) = &self.test.result else {
            if let Outcome::Failed(failure) = &outcome
                && failure.kind == ErrorKind::InvalidJob
            {
                self.differences
                    .push(format!("query: it is no job: {}", failure.message));
            }
            return;
        };
        let expected = json_of(expected);
        // What was not expected says why: a wrong path, a status without a class, a query that is no job.
        let failure = match &outcome {
            Outcome::Failed(failure) if expected["status"] != "failed" => {
                Some(failure.full_message())
            }
            _ => None,
        };
        let result = LookupResult::new(String::new(), String::new(), outcome, 1, Timestamp::now());
        let came = serde_json::to_value(&result).unwrap_or_default();
        subset("result", &expected, &came, &mut self.differences);
        self.differences
            .extend(failure.map(|message| format!("result.error: {message}")));
        for customer in expected["customers"].as_array().into_iter().flatten() {
            fields("answer.customer", customer, &mut self.exercised);
        }
        if expected["page"].is_object() {
            fields("answer.page", &expected["page"], &mut self.exercised);
        }
    }

    fn same(&mut self, place: &str, expected: &str, came: &str) {
        if expected != came {
            self.differences
                .push(format!("{place}: expected {expected:?}, got {came:?}"));
        }
    }

    fn whole(&mut self, place: &str, expected: &Value, came: &Value) {
        if !alike(expected, came) {
            self.differences
                .push(format!("{place}: expected {expected}, got {came}"));
        }
    }
}

fn shown(wait: Duration) -> String {
    humantime::format_duration(wait).to_string()
}

/// TOML as JSON; a date is a text there.
fn json_of(value: &toml::Value) -> Value {
    match value {
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(items) => items.iter().map(json_of).collect(),
        toml::Value::Table(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), json_of(member)))
            .collect(),
        plain => serde_json::to_value(plain).unwrap_or_default(),
    }
}

fn raw(value: &toml::Value) -> Result<Box<RawValue>, Malformed> {
    RawValue::from_string(json_of(value).to_string())
        .map_err(|_| Malformed::at("query", "expected JSON"))
}

/// The parameters of an address, decoded; one that stands several times is a list.
fn parameters(query: &str) -> Value {
    let mut parameters = json!({});
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let slot = &mut parameters[&*name];
        match slot {
            Value::Null => *slot = Value::from(&*value),
            Value::Array(several) => several.push(Value::from(&*value)),
            one => *one = json!([one.take(), &*value]),
        }
    }
    parameters
}

/// Parameters, those that hold JSON read, since the order of its members says nothing.
fn read(mut parameters: Value) -> Value {
    for value in parameters
        .as_object_mut()
        .into_iter()
        .flat_map(Map::values_mut)
    {
        let json = value.as_str().filter(|text| text.starts_with(['{', '[']));
        if let Some(json) = json.and_then(|text| serde_json::from_str(text).ok()) {
            *value = json;
        }
    }
    parameters
}

fn sent_names(query: &str) -> impl Iterator<Item = String> {
    url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name.into_owned())
}

/// Whether two texts of JSON say the same; numbers are compared by their value.
fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || a.as_f64() == b.as_f64() && a.as_f64().is_some()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| alike(a, b)))
        }
        _ => a == b,
    }
}

/// What `expected` names must be there; a message must hold the expected text.
fn subset(place: &str, expected: &Value, came: &Value, differences: &mut Vec<String>) {
    match (expected, came) {
        (Value::Object(expected), Value::Object(came)) => {
            for (name, expected) in expected {
                let place = format!("{place}.{name}");
                match came.get(name) {
                    Some(came) => subset(&place, expected, came, differences),
                    None => differences.push(format!("{place}: expected {expected}, got nothing")),
                }
            }
        }
        (Value::Array(expected), Value::Array(came)) if expected.len() == came.len() => {
            for (number, (expected, came)) in expected.iter().zip(came).enumerate() {
                subset(&format!("{place}[{number}]"), expected, came, differences);
            }
        }
        (Value::String(part), Value::String(whole))
            if place == "result.error.message" && whole.contains(part) => {}
        _ if alike(expected, came) => {}
        _ => {
            let mut difference = format!("{place}: expected {expected}, got {came}");
            if let (Value::Array(expected), Value::Array(came)) = (expected, came) {
                let _ = write!(
                    difference,
                    " ({} and {} of them)",
                    expected.len(),
                    came.len()
                );
            }
            differences.push(difference);
        }
    }
}

/// The keys of a result's part, as the descriptor names them.
fn fields(place: &str, value: &Value, found: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let place = format!("{place}.{name}");
        match value {
            Value::Array(items) => items.iter().for_each(|item| fields(&place, item, found)),
            _ => _ = found.insert(place),
        }
    }
}

/// The keys of a descriptor that a test can exercise.
fn keys(root: &Table) -> Vec<String> {
    let mut keys = Vec::new();
    for section in ["criteria", "options"] {
        let names = root.get(section).and_then(toml::Value::as_table);
        let names = names.into_iter().flat_map(Table::keys);
        keys.extend(names.map(|name| format!("{section}.{name}")));
    }
    match root.get("request") {
        Some(toml::Value::Array(several)) => {
            for (number, request) in several.iter().enumerate() {
                keys_of_request(&format!("request[{number}]"), request, &mut keys);
            }
        }
        Some(request) => keys_of_request("request", request, &mut keys),
        None => {}
    }
    if let Some(answer) = root.get("answer") {
        for section in ["customer", "page"] {
            if let Some(fields) = answer.get(section).and_then(toml::Value::as_table) {
                keys_of_fields(&format!("answer.{section}"), fields, &mut keys);
            }
        }
    }
    let classes = root.get("classes").and_then(toml::Value::as_array);
    for (number, class) in classes.into_iter().flatten().enumerate() {
        let key = format!("classes[{number}]");
        keys.extend(class.get("message").map(|_| format!("{key}.message")));
        keys.push(key);
    }
    keys.extend(root.get("wait").map(|_| "wait".to_owned()));
    keys
}

/// The path of each field, by its key, as it stands in the descriptor.
#[must_use]
pub fn paths(text: &str) -> BTreeMap<String, String> {
    let root: Table = text.parse().unwrap_or_default();
    let mut paths = BTreeMap::new();
    if let Some(answer) = root.get("answer").and_then(toml::Value::as_table) {
        for section in ["customer", "page"] {
            if let Some(fields) = answer.get(section).and_then(toml::Value::as_table) {
                paths_of_fields(&format!("answer.{section}"), fields, &mut paths);
            }
        }
    }
    paths
}

fn paths_of_fields(key: &str, table: &Table, paths: &mut BTreeMap<String, String>) {
    for (name, value) in table {
        let key = format!("{key}.{name}");
        let path = match value {
            toml::Value::Table(list) if list.contains_key("each") => {
                paths_of_fields(&key, list, paths);
                continue;
            }
            toml::Value::Table(field) => field.get("path").or_else(|| field.get("join")),
            path => Some(path),
        };
        let path = path.map(|path| {
            path.as_str()
                .map_or_else(|| json_of(path).to_string(), str::to_owned)
        });
        paths.extend(path.map(|path| (key, path)));
    }
}

fn keys_of_request(key: &str, request: &toml::Value, keys: &mut Vec<String>) {
    for section in ["query", "headers"] {
        let names = request.get(section).and_then(toml::Value::as_table);
        let names = names.into_iter().flat_map(Table::keys);
        keys.extend(names.map(|name| format!("{key}.{section}.{name}")));
    }
    keys.extend(request.get("body").map(|_| format!("{key}.body")));
}

fn keys_of_fields(key: &str, table: &Table, keys: &mut Vec<String>) {
    for (name, value) in table {
        let key = format!("{key}.{name}");
        match value {
            toml::Value::Table(list) if list.contains_key("each") => {
                let mut list = list.clone();
                list.remove("each");
                keys_of_fields(&key, &list, keys);
            }
            _ => keys.push(key),
        }
    }
}
