//! The closed set of kinds, and the seam between a kind and everything else.
//!
//! A kind is pure: it turns a job's query into an HTTP request and an HTTP response into an [`Outcome`]. It
//! knows neither retries nor brokers and does no I/O, so the same adapter serves the worker, `lookup`, `pipe`
//! and the tests, which are tables of cases.
//!
//! # Adding a kind
//! 1. Write `provider/NAME.rs` like its neighbours, from top to bottom: the settings (its own keys of
//!    `[providers.NAME]`), query and options (they refuse unknown fields), `impl Kind`, the private structs of
//!    the wire, and wire to [`Customer`].
//! 2. Add its line to `KINDS` below. Configuration, schema, command line and worker take it from there.
//! 3. Put the documented requests and responses under `tests/fixtures/NAME/`; the conformance suite walks them.

pub mod antsomi;
pub mod descriptor; // kind `http`: any other API, by configuration
pub mod egain;
pub mod kapture;
pub mod omeda;
pub mod plume;

pub mod address; // values that cannot leave their place in a request's address
pub mod class; // the class table
pub mod criterion; // what every kind asks of a job's criteria
pub mod date; // the providers' dates
pub mod http; // the one client that calls them
pub mod number; // numbers that stand for ids, in full
pub mod oauth; // tokens, where they are not given
pub mod phone; // telephone numbers as the documents write them
pub mod scalar; // a string here, a number there
pub mod scrub; // secrets out of a payload

use std::{
    any::Any,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
    time::Duration,
};

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use bytes::Bytes;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use url::Url;

use crate::{
    config::{self, ConfigError, Credentials, Unknown},
    customer::{Customer, Page},
    failure::{ErrorKind, Failure},
    json::{self, Malformed},
};
use class::{Class, Rules};
use oauth::Dialect;

pub(crate) use address::{encoded, trimmed};

/// One kind of API. All five read alike.
pub trait Kind: fmt::Debug + Send + Sync + Sized + 'static {
    /// Its name in the configuration.
    const NAME: &'static str;
    /// What 204 and 404 mean.
    const RULES: Rules;
    /// What the provider allows by its own word: requests, and the window that they are counted in.
    const DEFAULT_QUOTA: Option<(u32, Duration)>;
    /// How its token endpoint is asked and answers, where it has one.
    const TOKENS: Dialect = Dialect::RFC_6749;
    /// Its own keys of `[providers.NAME]`; the keys of every kind are read elsewhere.
    type Settings: DeserializeOwned;
    /// `query` of a job.
    type Query: DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// `options` of a job.
    type Options: DeserializeOwned + JsonSchema + Default;
    /// The body of a 200.
    type Reply<'a>: Deserialize<'a>;

    /// The adapter for one provider of this kind, and what it is let in by.
    ///
    /// # Errors
    /// The key, where the settings do not fit together.
    fn new(base_url: &Url, settings: Self::Settings) -> Result<(Self, Credentials), Malformed>;

    /// The header that carries `token`.
    ///
    /// # Errors
    /// Where the token holds what no header may hold.
    fn authorization(
        token: &str,
    ) -> Result<(HeaderName, HeaderValue), ::http::header::InvalidHeaderValue>;

    /// The request that answers a query, without its authorisation.
    ///
    /// # Errors
    /// The field that does not fit, before any request is made.
    fn request(
        &self,
        query: &Self::Query,
        options: &Self::Options,
    ) -> Result<Request<Bytes>, Malformed>;

    /// Whether the payload is wanted in the result.
    fn wants_raw(options: &Self::Options) -> bool;

    /// What a 200 says of a query.
    ///
    /// # Errors
    /// Where it is not as the document says.
    fn read(&self, query: &Self::Query, reply: Self::Reply<'_>) -> Result<Outcome, Malformed>;

    /// The provider's own words about a failure, from the body of another status.
    fn said(body: &[u8]) -> Option<String>;

    /// What the body of a 4xx says more exactly than its status: a 404 that speaks of a customer who is there
    /// after all. Most kinds have nothing to add.
    fn despite(_status: u16, _body: &[u8]) -> Option<Failure> {
        None
    }

    /// What a response to `status` says beyond its class; most kinds have nothing to add.
    fn refine(
        _status: u16,
        _headers: &HeaderMap,
        _body: &[u8],
        _now: Timestamp,
        _failure: &mut Failure,
    ) {
    }

    /// Most lookups in one request.
    fn most_in_batch(&self) -> usize {
        1
    }

    /// What a lookup may be asked by together with others, and by which its part of the answer is told from theirs;
    /// none where it must be asked alone.
    fn part(&self, _query: &Self::Query, _options: &Self::Options) -> Option<Box<str>> {
        None
    }

    /// The request that asks for several parts, all different; none where there is no such request.
    fn batch(&self, _parts: &[&str]) -> Option<Request<Bytes>> {
        None
    }

    /// What a batch's 200 says of each part; none where it is not certain whose is what.
    ///
    /// # Errors
    /// What befalls them all.
    fn split(
        &self,
        _parts: &[&str],
        _reply: Self::Reply<'_>,
    ) -> Result<Option<Vec<Outcome>>, Outcome> {
        Ok(None)
    }

    /// The payload, for a result's `raw`: verbatim, but for secrets.
    fn raw(body: &[u8]) -> Option<Box<RawValue>> {
        serde_json::from_slice(body).ok()
    }
}

/// What an answer came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// One customer or more.
    Found(Vec<Customer>, Option<Page>),
    /// The provider says that there is none.
    NotFound(Option<Page>),
    /// Neither.
    Failed(Failure),
}

impl Outcome {
    /// A 200 that is not what the document says.
    #[must_use]
    pub fn unreadable(problem: &Malformed) -> Self {
        let message = format!("HTTP 200, but the body is not as the document says: {problem}");
        Self::Failed(Failure::new(ErrorKind::BadResponse, message))
    }

    /// `Found`, or `NotFound` where there are none.
    #[must_use]
    pub fn of(customers: Vec<Customer>, page: Option<Page>) -> Self {
        if customers.is_empty() {
            Self::NotFound(page)
        } else {
            Self::Found(customers, page)
        }
    }
}

/// A job's query and options, checked and turned into the request that answers them.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The request, without its authorisation.
    pub request: Request<Bytes>,
    /// The payload is wanted in the result.
    pub raw: bool,
    /// What it may be asked by together with others; none where it must be asked alone.
    pub part: Option<Box<str>>,
    /// The query, in its kind's own type.
    question: Arc<dyn Any + Send + Sync>,
}

/// Lookups are equal that send the same request and want the same of its answer.
impl PartialEq for Lookup {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.request, &other.request);
        self.raw == other.raw
            && a.uri() == b.uri()
            && a.body() == b.body()
            && a.method() == b.method()
            && a.headers() == b.headers()
    }
}

impl Eq for Lookup {}

/// By what differs most.
impl Hash for Lookup {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.request.uri().path().hash(state);
        self.request.uri().query().hash(state);
        self.request.body().hash(state);
    }
}

/// A configured provider's adapter, of one of the kinds.
#[derive(Debug, Clone)]
pub struct Adapter(Arc<dyn Api>);

/// What an adapter does, whatever its kind. Each [`Kind`] does it by its own types.
pub trait Api: fmt::Debug + Send + Sync {
    /// The kind's name.
    fn kind(&self) -> &'static str;

    /// In what the kind differs from the others.
    fn rules(&self) -> Rules;

    /// What the kind allows by its own word: requests, and the window that they are counted in.
    fn default_quota(&self) -> Option<(u32, Duration)>;

    /// How the kind's token endpoint is asked and answers.
    fn tokens(&self) -> Dialect;

    /// The header that carries `token`.
    ///
    /// # Errors
    /// Where the token holds what no header may hold.
    fn authorization(
        &self,
        token: &str,
    ) -> Result<(HeaderName, HeaderValue), ::http::header::InvalidHeaderValue>;

    /// Checks a job's query and options and writes the request.
    ///
    /// # Errors
    /// The field that does not fit and what was expected.
    fn lookup(&self, query: &RawValue, options: Option<&RawValue>) -> Result<Lookup, Malformed>;

    /// What the response says of the lookup's question.
    fn read(&self, lookup: &Lookup, response: &Response<Bytes>, now: Timestamp) -> Outcome;

    /// Most lookups in one request.
    fn most_in_batch(&self) -> usize;

    /// The request that asks for several parts, all different; none where there is no such request.
    fn batch(&self, parts: &[&str]) -> Option<Request<Bytes>>;

    /// What the response to a batch says of each part; none where it is not certain whose is what.
    ///
    /// # Errors
    /// What befalls them all.
    fn split(
        &self,
        parts: &[&str],
        response: &Response<Bytes>,
        now: Timestamp,
    ) -> Result<Option<Vec<Outcome>>, Outcome>;

    /// The payload of a response, for a result's `raw`.
    fn raw(&self, body: &[u8]) -> Option<Box<RawValue>>;
}

impl<K: Kind> Api for K {
    fn kind(&self) -> &'static str {
        K::NAME
    }

    fn rules(&self) -> Rules {
        K::RULES
    }

    fn default_quota(&self) -> Option<(u32, Duration)> {
        K::DEFAULT_QUOTA
    }

    fn tokens(&self) -> Dialect {
        K::TOKENS
    }

    fn authorization(
        &self,
        token: &str,
    ) -> Result<(HeaderName, HeaderValue), ::http::header::InvalidHeaderValue> {
        K::authorization(token)
    }

    fn lookup(&self, query: &RawValue, options: Option<&RawValue>) -> Result<Lookup, Malformed> {
        prepare(self, query, options)
    }

    fn read(&self, lookup: &Lookup, response: &Response<Bytes>, now: Timestamp) -> Outcome {
        match lookup.question.downcast_ref() {
            Some(query) => read(self, query, response, now),
            None => Outcome::Failed(Failure::new(
                ErrorKind::Internal,
                "a lookup of another kind",
            )),
        }
    }

    fn most_in_batch(&self) -> usize {
        Kind::most_in_batch(self)
    }

    fn batch(&self, parts: &[&str]) -> Option<Request<Bytes>> {
        Kind::batch(self, parts)
    }

    fn split(
        &self,
        parts: &[&str],
        response: &Response<Bytes>,
        now: Timestamp,
    ) -> Result<Option<Vec<Outcome>>, Outcome> {
        split(self, parts, response, now)
    }

    fn raw(&self, body: &[u8]) -> Option<Box<RawValue>> {
        K::raw(body)
    }
}

/// One kind's line in the list of all kinds.
struct Entry {
    name: &'static str,
    configure: fn(&str, &Url, ::config::Value) -> Result<Configured, ConfigError>,
    /// The schemas of query and options.
    schemas: fn(&mut SchemaGenerator) -> [Schema; 2],
}

/// An adapter, how it is let in, and the keys of its table that its kind does not know.
type Configured = (Adapter, Credentials, Unknown);

impl Entry {
    const fn of<K: Kind>() -> Self {
        Self {
            name: K::NAME,
            configure: configure::<K>,
            schemas: |generator| {
                [
                    generator.subschema_for::<K::Query>(),
                    generator.subschema_for::<K::Options>(),
                ]
            },
        }
    }
}

/// All kinds.
const KINDS: [Entry; 5] = [
    Entry::of::<antsomi::Antsomi>(),
    Entry::of::<omeda::Omeda>(),
    Entry::of::<kapture::Kapture>(),
    Entry::of::<egain::EGain>(),
    Entry::of::<plume::Plume>(),
];

impl Adapter {
    /// The names of all kinds.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|entry| entry.name)
    }

    /// The adapter of `kind`, from the provider's table; with it the keys that the kind does not know.
    pub(crate) fn configure(
        path: &str,
        kind: &str,
        base_url: &Url,
        table: ::config::Value,
    ) -> Result<Configured, ConfigError> {
        if let Some(entry) = KINDS.iter().find(|entry| entry.name == kind) {
            return (entry.configure)(path, base_url, table);
        }
        let expected = Self::kinds().collect::<Vec<_>>().join(", ");
        Err(ConfigError::at(
            &format!("{path}.kind"),
            format_args!("got {kind:?}, expected one of {expected}"),
        ))
    }

    /// For each kind its name and the schemas of query and options.
    pub fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema, Schema)> {
        let schemas = KINDS.iter().map(|entry| {
            let [query, options] = (entry.schemas)(generator);
            (entry.name, query, options)
        });
        schemas.collect()
    }
}

impl Deref for Adapter {
    type Target = dyn Api;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

fn configure<K: Kind>(
    path: &str,
    base_url: &Url,
    table: ::config::Value,
) -> Result<Configured, ConfigError> {
    let (settings, unknown) = config::read::<K::Settings>(path, table)?;
    let (adapter, credentials) =
        K::new(base_url, settings).map_err(|problem| ConfigError::below(path, problem))?;
    if let Credentials::Token(token) = &credentials {
        use secrecy::ExposeSecret;
        K::authorization(token.expose_secret()).map_err(|_| {
            ConfigError::at(
                path,
                "the token holds a character that no HTTP header may hold",
            )
        })?;
    }
    Ok((Adapter(Arc::new(adapter)), credentials, unknown))
}

fn prepare<K: Kind>(
    adapter: &K,
    query: &RawValue,
    options: Option<&RawValue>,
) -> Result<Lookup, Malformed> {
    let query: K::Query =
        json::read(query.get().as_bytes()).map_err(|problem| problem.below("query"))?;
    let options: K::Options = match options {
        Some(options) => {
            json::read(options.get().as_bytes()).map_err(|problem| problem.below("options"))?
        }
        None => K::Options::default(),
    };
    Ok(Lookup {
        request: adapter.request(&query, &options)?,
        raw: K::wants_raw(&options),
        part: adapter.part(&query, &options),
        question: Arc::new(query),
    })
}

fn read<K: Kind>(
    adapter: &K,
    query: &K::Query,
    response: &Response<Bytes>,
    now: Timestamp,
) -> Outcome {
    let outcome = reply::<K>(response, now).and_then(|reply| {
        adapter
            .read(query, reply)
            .map_err(|problem| Outcome::unreadable(&problem))
    });
    with_status(
        outcome.unwrap_or_else(|outcome| outcome),
        response.status().as_u16(),
    )
}

fn split<K: Kind>(
    adapter: &K,
    parts: &[&str],
    response: &Response<Bytes>,
    now: Timestamp,
) -> Result<Option<Vec<Outcome>>, Outcome> {
    let outcomes = reply::<K>(response, now).and_then(|reply| adapter.split(parts, reply));
    outcomes.map_err(|outcome| with_status(outcome, response.status().as_u16()))
}

/// The body that answers.
///
/// # Errors
/// What the status alone says, or a body that is not as the document says.
fn reply<K: Kind>(response: &Response<Bytes>, now: Timestamp) -> Result<K::Reply<'_>, Outcome> {
    let (status, body) = (response.status().as_u16(), response.body());
    let class = class::of(status, K::RULES);
    if matches!(
        class,
        Class::NoneIfJson | Class::Failed(ErrorKind::Rejected)
    ) && json::is_container(body)
        && let Some(failure) = K::despite(status, body)
    {
        return Err(Outcome::Failed(failure));
    }
    let kind = match class {
        Class::Answer => {
            return json::read_sound(body).map_err(|problem| Outcome::unreadable(&problem));
        }
        Class::None => return Err(Outcome::NotFound(None)),
        Class::NoneIfJson if json::is_container(body) => return Err(Outcome::NotFound(None)),
        Class::NoneIfJson => ErrorKind::EndpointNotFound,
        Class::Failed(kind) => kind,
    };
    let mut failure = Failure::new(kind, class::message(status, kind));
    if kind.retryable() {
        failure.retry_after = class::retry_after(response.headers(), now);
    }
    if let Some(words) = K::said(body) {
        failure = failure.said(&words);
    }
    K::refine(status, response.headers(), body, now, &mut failure);
    Err(Outcome::Failed(failure))
}

fn with_status(outcome: Outcome, status: u16) -> Outcome {
    match outcome {
        Outcome::Failed(failure) => Outcome::Failed(failure.with_status(status)),
        other => other,
    }
}
