//! The closed set of kinds, and the seam between a kind and everything else.
//!
//! A kind is pure: it turns a job's query into an HTTP request and an HTTP response into an [`Outcome`]. It
//! knows neither retries nor brokers and does no I/O, so the same adapter serves the worker, `lookup`, `pipe`
//! and the tests, which are tables of cases.
//!
//! # Adding a kind
//! 1. Write `provider/NAME.rs` like its neighbours, from top to bottom: the settings (its own keys of
//!    `[providers.NAME]`), query and options (they refuse unknown fields), `impl Kind`, the private structs of
//!    the wire, and wire to [`Customer`](crate::customer::Customer).
//! 2. Add its lines to `KINDS` and `TYPED` below. Configuration, schema, command line and worker take it from there.
//! 3. Put the documented requests and responses under `tests/fixtures/NAME/`; the conformance suite walks them.

pub mod antsomi;
pub mod egain;
pub mod kapture;
pub mod omeda;
pub mod plume;

mod described; // kind http: a provider by a descriptor
pub mod descriptor; // what a file says of an API

pub mod access; // what lets a request in
pub mod address; // values that cannot leave their place in a request's address
mod answer; // what a response says, of a kind that is written in Rust
pub mod class; // the class table
pub mod count; // how many requests are left, as an answer says
pub mod criterion; // what every kind asks of a job's criteria
pub mod date; // the providers' dates
pub mod grant; // how a token is asked for, and what the answer says
mod names; // of what any kind takes
pub mod phone; // telephone numbers as the documents write them
pub mod scrub; // secrets out of a payload
pub mod settings; // `[providers.NAME]`, what every kind has in common
pub mod wait; // how long it asks to be left alone

use std::{
    any::Any,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header::InvalidHeaderValue};
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};
use url::Url;

use crate::{
    config::{self, ConfigError, Credentials, Unknown},
    failure::{ErrorKind, Failure},
    json::{self, Malformed, Node},
    outcome::Outcome,
};
use access::Access;
use class::Rules;
use descriptor::Descriptor;
use grant::Dialect;
use names::Names;

pub(crate) use address::{encoded, trimmed};

/// One kind of API that is written in Rust. All five read alike.
pub trait Kind: fmt::Debug + Send + Sync + Sized + 'static {
    /// Its name in the configuration.
    const NAME: &'static str;
    /// What 204 and 404 mean.
    const RULES: Rules;
    /// The fields of a customer that it may fill, by their names in the result.
    const FILLS: &'static [&'static str];
    /// What the provider allows by its own word: requests, and the window that they are counted in.
    const DEFAULT_QUOTA: Option<(u32, Duration)>;
    /// How its token endpoint is asked and answers, where it has one.
    const TOKENS: Dialect = Dialect::RFC_6749;
    /// Its own keys of `[providers.NAME]`; the keys of every kind are read elsewhere.
    type Settings: DeserializeOwned + JsonSchema;
    /// `query` of a job.
    type Query: DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// `options` of a job.
    type Options: DeserializeOwned + JsonSchema + Default + Send + Sync + 'static;
    /// The adapter for one provider of this kind, and what it is let in by.
    ///
    /// # Errors
    /// The key, where the settings do not fit together.
    fn new(base_url: &Url, settings: Self::Settings) -> Result<(Self, Credentials), Malformed>;

    /// The header that carries `token`.
    ///
    /// # Errors
    /// Where the token holds what no header may hold.
    fn authorization(token: &str) -> Result<(HeaderName, HeaderValue), InvalidHeaderValue>;

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

/// A job's query and options, checked and turned into the request that answers them.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The request, without its authorisation.
    pub request: Request<Bytes>,
    /// The payload is wanted in the result.
    pub raw: bool,
    /// What it may be asked by together with others; none where it must be asked alone.
    pub part: Option<Box<str>>,
    /// Query and options, in their kind's own types.
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

/// What an adapter does, whatever its kind. Each [`Kind`] does it by its own types, kind `http` by a file.
pub trait Api: fmt::Debug + Send + Sync {
    /// The kind's name.
    fn kind(&self) -> &'static str;

    /// In what the kind differs from the others.
    fn rules(&self) -> Rules;

    /// What the kind allows by its own word: requests, and the window that they are counted in.
    fn default_quota(&self) -> Option<(u32, Duration)>;

    /// How the kind's token endpoint is asked and answers.
    fn tokens(&self) -> Dialect;

    /// What lets a request in by `token`.
    ///
    /// # Errors
    /// Where the token holds what no header may hold.
    fn access(&self, token: &str) -> Result<Access, InvalidHeaderValue>;

    /// Checks a job's query and options and writes the request.
    ///
    /// # Errors
    /// The field that does not fit and what was expected.
    fn lookup(&self, query: &RawValue, options: Option<&RawValue>) -> Result<Lookup, Malformed>;

    /// What the response says of the lookup's question.
    fn read(&self, lookup: &Lookup, response: &Response<Bytes>, now: Timestamp) -> Outcome;

    /// The names of what a query may hold.
    fn criteria(&self) -> Vec<String>;

    /// The names of what options may hold.
    fn options(&self) -> Vec<String>;

    /// The fields of a customer that it may fill, by their names in the result.
    fn fills(&self) -> Vec<&'static str>;

    /// The descriptor and its file, where there is one.
    fn described(&self) -> Option<(&Descriptor, &Path)> {
        None
    }

    /// Most lookups in one request.
    fn most_in_batch(&self) -> usize {
        1
    }

    /// The request that asks for several parts, all different; none where there is no such request.
    fn batch(&self, _parts: &[&str]) -> Option<Request<Bytes>> {
        None
    }

    /// What the response to a batch says of each part; none where it is not certain whose is what.
    ///
    /// # Errors
    /// What befalls them all.
    fn split(
        &self,
        _parts: &[&str],
        _response: &Response<Bytes>,
        _now: Timestamp,
    ) -> Result<Option<Vec<Outcome>>, Outcome> {
        Ok(None)
    }

    /// A payload that is sound JSON, for a result's `raw`.
    fn scrubbed(&self, payload: &str) -> Option<Box<RawValue>>;
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

    fn access(&self, token: &str) -> Result<Access, InvalidHeaderValue> {
        K::authorization(token).map(|(name, value)| Access::by_header(name, value))
    }

    fn lookup(&self, query: &RawValue, options: Option<&RawValue>) -> Result<Lookup, Malformed> {
        prepare(self, query, options)
    }

    fn read(&self, lookup: &Lookup, response: &Response<Bytes>, now: Timestamp) -> Outcome {
        match lookup.question.downcast_ref() {
            Some(asked) => answer::read(self, asked, response, now),
            None => of_another_kind(),
        }
    }

    fn criteria(&self) -> Vec<String> {
        names_of::<K::Query>()
    }

    fn options(&self) -> Vec<String> {
        names_of::<K::Options>()
    }

    fn fills(&self) -> Vec<&'static str> {
        K::FILLS.to_vec()
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
        answer::split(self, parts, response, now)
    }

    fn scrubbed(&self, payload: &str) -> Option<Box<RawValue>> {
        K::raw(payload)
    }
}

fn names_of<T: DeserializeOwned>() -> Vec<String> {
    let names = config::fields_of::<T>().iter();
    names.map(|name| (*name).to_owned()).collect()
}

fn of_another_kind() -> Outcome {
    Outcome::Failed(Failure::new(
        ErrorKind::Internal,
        "a lookup of another kind",
    ))
}

/// An adapter and what its requests are let in by, or why there is none; and the keys that its kind does not know.
type Configured = (Result<(Adapter, Credentials), ConfigError>, Unknown);

/// One kind's line in the list of all kinds.
struct Entry {
    name: &'static str,
    configure: fn(&str, &Url, ::config::Value) -> Configured,
    /// The schema of its own keys.
    settings: fn(&mut SchemaGenerator) -> Schema,
}

impl Entry {
    const fn of<K: Kind>() -> Self {
        Self {
            name: K::NAME,
            configure: configure::<K>,
            settings: K::Settings::json_schema,
        }
    }
}

/// All kinds.
const KINDS: [Entry; 6] = [
    Entry::of::<antsomi::Antsomi>(),
    Entry::of::<omeda::Omeda>(),
    Entry::of::<kapture::Kapture>(),
    Entry::of::<egain::EGain>(),
    Entry::of::<plume::Plume>(),
    Entry {
        name: described::KIND,
        configure: described::configure,
        settings: described::settings,
    },
];

/// Those whose jobs have types of their own, each with its description.
const TYPED: [fn(&mut SchemaGenerator) -> Description; 5] = [
    Description::of::<antsomi::Antsomi>,
    Description::of::<omeda::Omeda>,
    Description::of::<kapture::Kapture>,
    Description::of::<egain::EGain>,
    Description::of::<plume::Plume>,
];

impl Description {
    fn of<K: Kind>(generator: &mut SchemaGenerator) -> Self {
        Self {
            kind: K::NAME,
            query: generator.subschema_for::<K::Query>(),
            options: generator.subschema_for::<K::Options>(),
            unfit: K::unfit(),
        }
    }
}

impl Adapter {
    /// The names of all kinds.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|entry| entry.name)
    }

    /// The adapter of `kind`, from the provider's table; beside it the keys that the kind does not know.
    pub(crate) fn configure(
        path: &str,
        kind: &str,
        base_url: &Url,
        table: ::config::Value,
    ) -> Configured {
        if let Some(entry) = KINDS.iter().find(|entry| entry.name == kind) {
            return (entry.configure)(path, base_url, table);
        }
        let expected = Self::kinds().collect::<Vec<_>>().join(", ");
        let problem = format!("got {kind:?}, expected one of {expected}");
        (
            Err(ConfigError::at(&format!("{path}.kind"), problem)),
            Unknown::default(),
        )
    }

    /// The payload of a response, for a result's `raw`. None of one that is nested deeper than most readers of JSON
    /// go: they could not read the result.
    #[must_use]
    pub fn raw(&self, body: &[u8]) -> Option<Box<RawValue>> {
        let payload = json::text(body).ok()?;
        Node::parse(&payload)
            .ok()
            .filter(|_| json::depth(&payload) <= DEEPEST_PAYLOAD)?;
        self.scrubbed(&payload)
    }

    /// For each kind its name and the schema of its own keys in `[providers.NAME]`.
    pub fn settings(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
        KINDS
            .iter()
            .map(|entry| (entry.name, (entry.settings)(generator)))
            .collect()
    }

    /// For each kind that has types of its own how its jobs are described.
    pub fn descriptions(generator: &mut SchemaGenerator) -> Vec<Description> {
        TYPED.iter().map(|of| of(generator)).collect()
    }
}

impl Deref for Adapter {
    type Target = dyn Api;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

fn configure<K: Kind>(path: &str, base_url: &Url, table: ::config::Value) -> Configured {
    let (settings, unknown) = config::read::<K::Settings>(path, table);
    let configured = settings.and_then(|settings| {
        let (adapter, credentials) =
            K::new(base_url, settings).map_err(|problem| ConfigError::below(path, problem))?;
        if let Credentials::Token(token) = &credentials {
            use secrecy::ExposeSecret;
            let problem = "the token holds a character that no HTTP header may hold";
            K::authorization(token.expose_secret()).map_err(|_| ConfigError::at(path, problem))?;
        }
        Ok((Adapter(Arc::new(adapter)), credentials))
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

fn prepare<K: Kind>(
    adapter: &K,
    query: &RawValue,
    options: Option<&RawValue>,
) -> Result<Lookup, Malformed> {
    let query: K::Query = part(query, "query", |name| Names::all().criteria.contains(name))?;
    let options: K::Options = match options.filter(|options| options.get() != "null") {
        Some(options) => part(options, "options", |name| {
            Names::all().options.contains(name)
        })?,
        None => K::Options::default(),
    };
    Ok(Lookup {
        request: adapter.request(&query, &options)?,
        raw: K::wants_raw(&options),
        part: adapter.part(&query, &options),
        question: Arc::new((query, options)),
    })
}
