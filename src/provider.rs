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
//! 2. Add its line to `kinds!` below. Configuration, schema, command line and worker take it from there.
//! 3. Put the documented requests and responses under `tests/fixtures/NAME/`; the conformance suite walks them.

pub mod antsomi;
pub mod egain;
pub mod kapture;
pub mod omeda;
pub mod plume;

pub mod address; // values that cannot leave their place in a request's address
pub mod class; // the class table
pub mod criterion; // what every kind asks of a job's criteria
pub mod date; // the providers' dates
pub mod http; // the one client that calls them
mod names; // of what any kind takes
pub mod oauth; // tokens, where they are not given
pub mod phone; // telephone numbers as the documents write them
pub mod scalar; // a string here, a number there
pub mod scrub; // secrets out of a payload
pub mod wait; // how long it asks to be left alone

use std::{
    borrow::Cow,
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use bytes::Bytes;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};
use url::Url;

use crate::{
    config::{self, ConfigError, Credentials, Unknown},
    customer::{Customer, Page},
    failure::{ErrorKind, Failure},
    json::{self, Malformed, Node},
};
use class::{Class, Rules};
use names::Names;
use oauth::Dialect;

pub(crate) use address::{encoded, trimmed};

/// One kind of API. All five read alike.
pub trait Kind: Sized {
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
    type Query: DeserializeOwned + JsonSchema;
    /// `options` of a job.
    type Options: DeserializeOwned + JsonSchema + Default;
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

    /// In the schema of jobs: those of which query and options do not go together. Most kinds have none.
    fn unfit() -> Option<Value> {
        None
    }

    /// What a 200 says of a query.
    ///
    /// # Errors
    /// Where it lacks what a customer cannot be without, or is another's.
    fn read(
        &self,
        query: &Self::Query,
        options: &Self::Options,
        answer: Node,
    ) -> Result<Outcome, Malformed>;

    /// The provider's own words about a failure, from the body of another status.
    fn said(body: Node) -> Option<String>;

    /// What the body of a 4xx says more exactly than its status: a 404 that speaks of a customer who is there
    /// after all. Most kinds have nothing to add.
    fn despite(_status: u16, _body: Node) -> Option<Failure> {
        None
    }

    /// What a response to `status` says beyond its class; most kinds have nothing to add. A body that is no JSON is
    /// nothing.
    fn refine(
        _status: u16,
        _headers: &HeaderMap,
        _body: Node,
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
    fn split(&self, _parts: &[&str], _answer: Node) -> Result<Option<Vec<Outcome>>, Outcome> {
        Ok(None)
    }

    /// The payload, for a result's `raw`: verbatim, but for secrets.
    fn raw(payload: &str) -> Option<Box<RawValue>> {
        RawValue::from_string(payload.to_owned()).ok()
    }
}

/// Deeper is no payload that goes into a result; serde_json itself reads 127 levels, and a result adds its own.
const DEEPEST_PAYLOAD: usize = 120;

/// How the jobs of a kind are described.
pub struct Description {
    /// The kind's name.
    pub kind: &'static str,
    /// Its query, or a reference to it.
    pub query: Schema,
    /// Its options, or a reference to them.
    pub options: Schema,
    /// The jobs of which query and options do not go together.
    pub unfit: Option<Value>,
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
    question: Question,
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

macro_rules! kinds {
    ($($module:ident :: $kind:ident),+ $(,)?) => {
        /// A configured provider's adapter, of one of the kinds.
        #[derive(Debug, Clone)]
        pub enum Adapter {
            $(#[allow(missing_docs, reason = "the names are the kinds'")] $kind(Arc<$module::$kind>),)+
        }

        #[derive(Debug, Clone)]
        enum Question {
            $($kind(Arc<Asked<$module::$kind>>),)+
        }

        impl Adapter {
            /// The names of all kinds.
            pub const KINDS: &'static [&'static str] = &[$(<$module::$kind as Kind>::NAME),+];

            /// The adapter of `kind`, from the provider's table; beside it the keys that the kind does not know.
            pub(crate) fn configure(
                path: &str,
                kind: &str,
                base_url: &Url,
                table: ::config::Value,
            ) -> (Result<(Self, Credentials), ConfigError>, Unknown) {
                $(if kind == <$module::$kind as Kind>::NAME {
                    let (configured, unknown) = configure::<$module::$kind>(path, base_url, table);
                    let configured = configured.map(|(adapter, credentials)| (Self::$kind(Arc::new(adapter)), credentials));
                    return (configured, unknown);
                })+
                let problem = format!("got {kind:?}, expected one of {}", Self::KINDS.join(", "));
                (Err(ConfigError::at(&format!("{path}.kind"), problem)), Unknown::default())
            }

            /// The kind's name.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$kind(_) => <$module::$kind as Kind>::NAME,)+ }
            }

            /// In what the kind differs from the others.
            #[must_use]
            pub fn rules(&self) -> Rules {
                match self { $(Self::$kind(_) => <$module::$kind as Kind>::RULES,)+ }
            }

            /// What the kind allows by its own word.
            #[must_use]
            pub fn default_quota(&self) -> Option<(u32, Duration)> {
                match self { $(Self::$kind(_) => <$module::$kind as Kind>::DEFAULT_QUOTA,)+ }
            }

            /// How the kind's token endpoint is asked and answers.
            #[must_use]
            pub fn tokens(&self) -> Dialect {
                match self { $(Self::$kind(_) => <$module::$kind as Kind>::TOKENS,)+ }
            }

            /// The header that carries `token`.
            ///
            /// # Errors
            /// Where the token holds what no header may hold.
            pub fn authorization(
                &self,
                token: &str,
            ) -> Result<(HeaderName, HeaderValue), ::http::header::InvalidHeaderValue> {
                match self { $(Self::$kind(_) => <$module::$kind as Kind>::authorization(token),)+ }
            }

            /// Checks a job's query and options and writes the request.
            ///
            /// # Errors
            /// The field that does not fit and what was expected.
            pub fn lookup(&self, query: &RawValue, options: Option<&RawValue>) -> Result<Lookup, Malformed> {
                match self {
                    $(Self::$kind(adapter) => {
                        let (request, raw, part, asked) = prepare(&**adapter, query, options)?;
                        Ok(Lookup { request, raw, part, question: Question::$kind(Arc::new(asked)) })
                    })+
                }
            }

            /// What the response says of the lookup's question.
            #[must_use]
            pub fn read(&self, lookup: &Lookup, response: &Response<Bytes>, now: Timestamp) -> Outcome {
                match (self, &lookup.question) {
                    $((Self::$kind(adapter), Question::$kind(asked)) => read(&**adapter, asked, response, now),)+
                    _ => Outcome::Failed(Failure::new(ErrorKind::Internal, "a lookup of another kind")),
                }
            }

            /// Most lookups in one request.
            #[must_use]
            pub fn most_in_batch(&self) -> usize {
                match self { $(Self::$kind(adapter) => adapter.most_in_batch(),)+ }
            }

            /// The request that asks for several parts, all different; none where there is no such request.
            #[must_use]
            pub fn batch(&self, parts: &[&str]) -> Option<Request<Bytes>> {
                match self { $(Self::$kind(adapter) => adapter.batch(parts),)+ }
            }

            /// What the response to a batch says of each part; none where it is not certain whose is what.
            ///
            /// # Errors
            /// What befalls them all.
            pub fn split(
                &self,
                parts: &[&str],
                response: &Response<Bytes>,
                now: Timestamp,
            ) -> Result<Option<Vec<Outcome>>, Outcome> {
                match self { $(Self::$kind(adapter) => split(&**adapter, parts, response, now),)+ }
            }

            /// The payload of a response, for a result's `raw`. None of one that is nested deeper than most readers
            /// of JSON go: they could not read the result.
            #[must_use]
            pub fn raw(&self, body: &[u8]) -> Option<Box<RawValue>> {
                let payload = json::text(body).ok()?;
                Node::parse(&payload).ok().filter(|_| json::depth(&payload) <= DEEPEST_PAYLOAD)?;
                match self { $(Self::$kind(_) => <$module::$kind as Kind>::raw(&payload),)+ }
            }

            /// For each kind how its jobs are described.
            pub fn descriptions(generator: &mut SchemaGenerator) -> Vec<Description> {
                vec![$(Description {
                    kind: <$module::$kind as Kind>::NAME,
                    query: generator.subschema_for::<<$module::$kind as Kind>::Query>(),
                    options: generator.subschema_for::<<$module::$kind as Kind>::Options>(),
                    unfit: <$module::$kind as Kind>::unfit(),
                }),+]
            }
        }
    };
}

kinds! {
    antsomi::Antsomi,
    omeda::Omeda,
    kapture::Kapture,
    egain::EGain,
    plume::Plume,
}

fn configure<K: Kind>(
    path: &str,
    base_url: &Url,
    table: ::config::Value,
) -> (Result<(K, Credentials), ConfigError>, Unknown) {
    let (settings, unknown) = config::read::<K::Settings>(path, table);
    let configured = settings.and_then(|settings| {
        let (adapter, credentials) =
            K::new(base_url, settings).map_err(|problem| ConfigError::below(path, problem))?;
        if let Credentials::Token(token) = &credentials {
            use secrecy::ExposeSecret;
            let problem = "the token holds a character that no HTTP header may hold";
            K::authorization(token.expose_secret()).map_err(|_| ConfigError::at(path, problem))?;
        }
        Ok((adapter, credentials))
    });
    (configured, unknown)
}

/// What a job asks of a kind: query and options.
type Asked<K> = (<K as Kind>::Query, <K as Kind>::Options);

/// A part of a job. Classes made of the schema write null for whatever is not given, of all kinds: it is as absent.
fn part<T: DeserializeOwned>(
    given: &RawValue,
    name: &str,
    known: impl Fn(&str) -> bool,
) -> Result<T, Malformed> {
    let given = json::without_nulls(given, known);
    json::read(given.get().as_bytes()).map_err(|problem| problem.below(name))
}

type Prepared<K> = (Request<Bytes>, bool, Option<Box<str>>, Asked<K>);

fn prepare<K: Kind>(
    adapter: &K,
    query: &RawValue,
    options: Option<&RawValue>,
) -> Result<Prepared<K>, Malformed> {
    let query: K::Query = part(query, "query", |name| Names::all().criteria.contains(name))?;
    let options: K::Options = match options.filter(|options| options.get() != "null") {
        Some(options) => part(options, "options", |name| {
            Names::all().options.contains(name)
        })?,
        None => K::Options::default(),
    };
    let request = adapter.request(&query, &options)?;
    let (raw, part) = (K::wants_raw(&options), adapter.part(&query, &options));
    Ok((request, raw, part, (query, options)))
}

fn read<K: Kind>(
    adapter: &K,
    (query, options): &Asked<K>,
    response: &Response<Bytes>,
    now: Timestamp,
) -> Outcome {
    let now = wait::clock(response.headers(), now);
    let text = json::text(response.body());
    let outcome = answer::<K>(response, &text, now).and_then(|answer| {
        let outcome = adapter.read(query, options, answer).map(in_its_own_words);
        outcome.map_err(|problem| Outcome::unreadable(&problem))
    });
    with_head(outcome.unwrap_or_else(|outcome| outcome), response, now)
}

fn split<K: Kind>(
    adapter: &K,
    parts: &[&str],
    response: &Response<Bytes>,
    now: Timestamp,
) -> Result<Option<Vec<Outcome>>, Outcome> {
    let now = wait::clock(response.headers(), now);
    let text = json::text(response.body());
    let outcomes = answer::<K>(response, &text, now)
        .and_then(|answer| adapter.split(parts, answer).map_err(in_its_own_words));
    outcomes.map_err(|outcome| with_head(outcome, response, now))
}

/// The body that answers, as `text`.
///
/// # Errors
/// What the status alone says, or a body that is no JSON.
fn answer<'a, K: Kind>(
    response: &Response<Bytes>,
    text: &'a Result<Cow<str>, Malformed>,
    now: Timestamp,
) -> Result<Node<'a>, Outcome> {
    let status = response.status().as_u16();
    let read = match text {
        Ok(text) => Node::parse(text),
        Err(problem) => Err(problem.clone()),
    };
    let class = class::of(status, K::RULES);
    if class == Class::Answer {
        return read.map_err(|problem| Outcome::unreadable(&named(problem, response.body())));
    }
    let body = read.unwrap_or_default();
    if matches!(
        class,
        Class::NoneIfJson | Class::Failed(ErrorKind::Rejected)
    ) && body.is_container()
        && let Some(failure) = K::despite(status, body)
    {
        return Err(Outcome::Failed(failure.about_customer()));
    }
    let kind = match class {
        Class::None => return Err(Outcome::NotFound(None)),
        Class::NoneIfJson if body.is_container() => return Err(Outcome::NotFound(None)),
        Class::NoneIfJson => ErrorKind::EndpointNotFound,
        Class::Failed(kind) => kind,
        Class::Answer => ErrorKind::BadResponse,
    };
    let mut failure = if kind != ErrorKind::Rejected {
        Failure::new(kind, class::message(status, kind))
    } else if body.is_container() {
        Failure::new(kind, class::message(status, kind)).about_customer()
    } else {
        Failure::new(kind, class::message_of_another(status))
    };
    if kind.retryable() {
        failure.retry_after = wait::asked(response.headers(), now).wait();
    }
    if let Some(words) = K::said(body) {
        failure = failure.said(&words);
    }
    K::refine(status, response.headers(), body, now, &mut failure);
    Err(Outcome::Failed(failure))
}

/// A page in the place of JSON is named as one: it is a proxy's or a login's, and its syntax is of no interest.
fn named(problem: Malformed, body: &[u8]) -> Malformed {
    if json::is_page(body) {
        Malformed::at(
            "",
            "expected JSON, got a page (HTML or XML): a proxy's, a login's or a notice of maintenance; \
             check the provider's base_url, and what stands between",
        )
    } else {
        problem
    }
}

/// What a body that was read as the document says refuses, the provider refuses itself.
fn in_its_own_words(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed(failure) if failure.kind == ErrorKind::Rejected => {
            Outcome::Failed(failure.about_customer())
        }
        other => other,
    }
}

/// With the answer's status, and with the wait that it asks for also where its body alone says that it failed.
fn with_head(outcome: Outcome, response: &Response<Bytes>, now: Timestamp) -> Outcome {
    let Outcome::Failed(mut failure) = outcome else {
        return outcome;
    };
    if failure.kind.retryable() && failure.retry_after.is_none() {
        failure.retry_after = wait::asked(response.headers(), now).wait();
    }
    Outcome::Failed(failure.with_status(response.status().as_u16()))
}
