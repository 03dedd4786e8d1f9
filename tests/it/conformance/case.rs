//! One case: a file with a job's query and options, and what is expected to become of them.
//!
//! | member | holds |
//! |---|---|
//! | `name`, `from` | what is shown, and the document's section that says so |
//! | `settings` | keys of `[providers.NAME]` over the contract's example |
//! | `query`, `options` | of the job; without a query, one that the kind takes |
//! | `refused` | the exact refusal, before any request |
//! | `request` | `method`, `uri`, `headers` (all but authorisation), `body` (JSON) |
//! | `response` | `status`, `headers`, and `body` (JSON), `body_text`, or `body_latin1` (bytes) |
//! | `outcome` | what is read from the response, exactly |
//! | `raw` | the result's `raw`, to the byte |

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::{Request, Response};
use lookup_worker::{
    json::Malformed,
    outcome::Outcome,
    provider::{Adapter, Lookup},
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::to_raw_value};

use super::target;

/// What a case's `now` is, where a response tells a date.
const NOW: &str = "2026-11-21T10:00:00Z";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    #[allow(dead_code, reason = "for people")]
    from: String,
    #[serde(default)]
    settings: Map<String, Value>,
    query: Option<Value>,
    options: Option<Value>,
    refused: Option<String>,
    request: Option<Sent>,
    response: Option<Came>,
    outcome: Option<Value>,
    raw: Option<String>,
    #[serde(skip)]
    pub path: PathBuf,
    #[serde(skip)]
    kind: String,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Sent {
    method: String,
    uri: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Came {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Value>,
    body_text: Option<String>,
    body_latin1: Option<String>,
}

impl Case {
    /// Every case of a kind, in the order of the files' names.
    pub fn all(kind: &str) -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(kind);
        let mut paths: Vec<PathBuf> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths
            .into_iter()
            .map(|path| Self::read(kind, path))
            .collect()
    }

    fn read(kind: &str, path: PathBuf) -> Self {
        let text = fs::read(&path).unwrap();
        let case: Self = serde_json::from_slice(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            case.refused.is_some() || case.request.is_some() || case.response.is_some(),
            "{} expects nothing",
            case.name
        );
        assert_eq!(
            case.response.is_some(),
            case.outcome.is_some() || case.raw.is_some(),
            "{}",
            case.name
        );
        Self {
            path,
            kind: kind.into(),
            ..case
        }
    }

    /// Says in what the case differs from what it expects.
    pub fn check(&self) -> Result<(), String> {
        let adapter = match target::adapter(&self.kind, &self.settings) {
            Ok(adapter) => adapter,
            Err(refused) => {
                return same("the configuration's refusal", &Some(refused), &self.refused);
            }
        };
        let lookup = match self.lookup(&adapter) {
            Ok(lookup) => lookup,
            Err(refused) => return same("the refusal", &Some(refused.to_string()), &self.refused),
        };
        same("the refusal", &None, &self.refused)?;
        if let Some(expected) = &self.request {
            same("the request", &Sent::of(&lookup.request), expected)?;
        }
        let Some(response) = self.response.as_ref().map(Came::response) else {
            return Ok(());
        };
        if let Some(expected) = &self.outcome {
            same(
                "the outcome",
                &told(
                    &adapter.read(&lookup, &response, NOW.parse().unwrap()),
                    expected,
                ),
                expected,
            )?;
        }
        self.check_raw(&adapter, &response)
    }

    /// Says in what a descriptor of the kind differs: it refuses in its own words.
    pub fn check_described(&self) -> Result<(), String> {
        let asked = target::described(&self.kind, &self.settings).and_then(|adapter| {
            let lookup = self
                .lookup(&adapter)
                .map_err(|problem| problem.to_string())?;
            Ok((adapter, lookup))
        });
        let (adapter, lookup) = match (asked, &self.refused) {
            (Ok(asked), None) => asked,
            (Err(_), Some(_)) => return Ok(()),
            (Ok(_), Some(refused)) => return Err(format!("is not refused: {refused}")),
            (Err(refused), None) => return Err(format!("is refused: {refused}")),
        };
        if let Some(expected) = &self.request {
            same("the request", &Sent::of(&lookup.request), expected)?;
        }
        let Some(response) = self.response.as_ref().map(Came::response) else {
            return Ok(());
        };
        if let Some(expected) = &self.outcome {
            let outcome = adapter.read(&lookup, &response, NOW.parse().unwrap());
            let mut expected = expected.clone();
            expected.as_object_mut().map(|all| all.remove("message"));
            same("the outcome", &told(&outcome, &expected), &expected)?;
        }
        self.check_raw(&adapter, &response)
    }

    fn check_raw(&self, adapter: &Adapter, response: &Response<Bytes>) -> Result<(), String> {
        let Some(expected) = &self.raw else {
            return Ok(());
        };
        let raw = adapter.raw(response.body()).map(|raw| raw.get().to_owned());
        same("raw", &raw, &Some(expected.clone()))
    }

    fn lookup(&self, adapter: &Adapter) -> Result<Lookup, Malformed> {
        let query = self
            .query
            .clone()
            .unwrap_or_else(|| target::query(&self.kind));
        let options = self
            .options
            .as_ref()
            .map(|options| to_raw_value(options).unwrap());
        adapter.lookup(&to_raw_value(&query).unwrap(), options.as_deref())
    }
}

impl Sent {
    fn of(request: &Request<Bytes>) -> Self {
        let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
        let body = request.body();
        Self {
            method: request.method().to_string(),
            uri: request.uri().to_string(),
            headers: request
                .headers()
                .iter()
                .map(|(name, value)| (name.to_string(), text(value)))
                .collect(),
            body: (!body.is_empty()).then(|| serde_json::from_slice(body).unwrap()),
        }
    }
}

impl Came {
    fn response(&self) -> Response<Bytes> {
        let body = match (&self.body, &self.body_text, &self.body_latin1) {
            (Some(body), ..) => body.to_string().into_bytes(),
            (_, Some(text), _) => text.clone().into_bytes(),
            (.., Some(latin1)) => latin1.chars().map(|c| u8::try_from(c).unwrap()).collect(),
            _ => Vec::new(),
        };
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        response.body(body.into()).unwrap()
    }
}

/// The outcome as a case writes it. Our own message is told only where the case expects one.
fn told(outcome: &Outcome, expected: &Value) -> Value {
    let page = |page: &Option<_>| page.as_ref().map_or(Value::Null, |page| json!(page));
    let mut told = match outcome {
        Outcome::Found(customers, of) => {
            json!({ "status": "found", "customers": customers, "page": page(of) })
        }
        Outcome::NotFound(of) => json!({ "status": "not_found", "page": page(of) }),
        Outcome::Failed(failure) => json!({
            "status": "failed",
            "kind": failure.kind.as_str(),
            "http_status": failure.http_status,
            "retryable": failure.kind.retryable(),
            "said": failure.said,
            "retry_after": failure.retry_after.map(|wait| wait.as_secs_f64()),
            "message": expected.get("message").map(|_| &failure.message),
        }),
    };
    told.as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    told
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, came: &T, expected: &T) -> Result<(), String> {
    if came == expected {
        return Ok(());
    }
    Err(format!(
        "  {what} is\n    {came:?}\n  expected\n    {expected:?}"
    ))
}
