//! What may stand in a descriptor's file, as types. Their documentation is the reference of each key
//! (`lookup-worker schema provider` prints it for editors).

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, de::Error};

use super::ordered::Ordered;
use crate::{
    config::{CountKeys, Grant},
    failure::ErrorKind,
};

/// An HTTP API that answers customer lookups in JSON. It holds no secret and no address: those stand in the
/// configuration.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(title = "Descriptor", extend("additionalProperties" = false))]
#[allow(
    dead_code,
    reason = "the schema is made of it; it is read section by section"
)]
pub struct Descriptor {
    /// What API it is, in words.
    pub title: Option<String>,
    /// The sets of criteria of which a job must have one; without it a job must have at least one criterion.
    #[schemars(length(min = 1))]
    pub need: Option<Vec<Vec<String>>>,
    /// How requests are let in.
    pub auth: Auth,
    /// What a job's `query` may hold, by name.
    #[schemars(length(min = 1))]
    pub criteria: BTreeMap<String, Criterion>,
    /// What a job's `options` may hold, by name; `raw` goes for every provider.
    #[serde(default)]
    pub options: BTreeMap<String, Criterion>,
    /// The request, or several: the first whose path can be filled is sent.
    pub request: OneOrSeveral<RequestShape>,
    /// Where the customers stand in an answer.
    pub answer: AnswerShape,
    /// What an answer means, in this order and before the table of every kind; the first that matches decides.
    #[serde(default)]
    pub classes: Vec<ClassShape>,
    /// Where an answer says how long to wait, besides `Retry-After`.
    pub wait: Option<WaitShape>,
    /// Where an answer says how many requests are left, one for each window; without it the headers that are usual are
    /// read. The configuration's `count` goes before.
    #[serde(default)]
    pub count: Vec<CountKeys>,
    /// Requests, answers and results that must go together; `lookup-worker provider test` runs them.
    #[serde(default)]
    pub tests: Vec<TestShape>,
}

/// How requests are let in; the secrets themselves stand in the configuration.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// A header; the configuration has `token`.
    Header {
        /// Its name, as `Authorization`.
        name: String,
        /// Its value, which holds `{token}` once.
        value: String,
    },
    /// A parameter of the address; the configuration has `token`.
    Query {
        /// Its name.
        name: String,
        /// Its value, which holds `{token}` once.
        value: String,
    },
    /// HTTP Basic; the configuration has `username` and `password`.
    Basic {},
    /// A bearer token that is fetched; the configuration has `oauth`.
    Oauth {
        /// How the token is asked for.
        #[serde(default)]
        grant: Grant,
    },
    /// Nothing is sent.
    None {},
}

impl Auth {
    /// How a token is asked for, where one is.
    pub fn grant(&self) -> Grant {
        match self {
            Self::Oauth { grant } => *grant,
            _ => Grant::default(),
        }
    }
}

/// One criterion or option.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// Its JSON type.
    #[serde(rename = "type")]
    pub kind: Type,
    /// How a telephone number is written; for strings.
    pub format: Option<Format>,
    /// What it must match as a whole (a regular expression, linear in time); for strings and ids.
    pub pattern: Option<String>,
    /// The least that it may be; for integers.
    pub minimum: Option<i64>,
    /// What goes where a job has none; for options.
    #[schemars(with = "Option<serde_json::Value>")]
    pub default: Option<toml::Value>,
    /// What a job must have beside it, by the names of the same section.
    #[serde(default)]
    pub needs: Vec<String>,
    /// What a job must not have beside it, by the names of the same section.
    #[serde(default)]
    pub excludes: Vec<String>,
}

/// The JSON type of a criterion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Type {
    String,
    /// A string, or an integer of at least 0, which goes as its digits.
    Id,
    Integer,
    Boolean,
    Array,
    Object,
}

/// How a telephone number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Digits alone, as `14085550100`.
    Digits,
    /// `+` and digits; the job's number must begin with `+`.
    E164,
    /// As it stands in the job.
    AsIs,
}

/// A request. A value is encoded by where it stands; one that is absent leaves its place out.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestShape {
    /// Criteria without which it is not sent, besides those in its path: of several requests the first that has all it
    /// needs is sent.
    #[serde(default)]
    pub when: Vec<String>,
    /// The method.
    #[serde(default)]
    pub method: Method,
    /// The segments of the path below `base_url`, each a text in which `{query.NAME}` and `{options.NAME}` stand
    /// for values.
    #[schemars(length(min = 1))]
    pub path: Vec<String>,
    /// The parameters of the address.
    #[serde(default)]
    pub query: Ordered<ParameterShape>,
    /// Headers besides the one that lets the request in.
    #[serde(default)]
    pub headers: Ordered<String>,
    /// The JSON body of a POST. A text that is one placeholder alone keeps its value's type.
    #[schemars(with = "Option<serde_json::Value>")]
    pub body: Option<toml::Value>,
}

/// The method of a request. Both must be safe to repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Method {
    #[default]
    Get,
    Post,
}

/// A parameter: a text, or JSON.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum ParameterShape {
    /// A text with placeholders.
    Text(String),
    /// `{ value = …, json = true }`: the value written as JSON.
    Json(JsonParameter),
}

/// A parameter whose value is written as JSON.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonParameter {
    /// As a body: a text, a list or a table with placeholders.
    #[schemars(with = "serde_json::Value")]
    pub value: toml::Value,
    /// Always true.
    pub json: bool,
}

/// Where the customers stand in an answer. Paths are JSONPath (RFC 9535).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerShape {
    /// The customers, against the whole body.
    pub customers: String,
    /// The fields of a customer, against one of them.
    pub customer: CustomerShape,
    /// What the answer says of its pages, against the whole body.
    #[serde(default)]
    pub page: PageShape,
}

/// The fields of a customer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomerShape {
    /// The provider's id; an answer without it is `bad_response`.
    pub customer_id: FieldShape,
    /// The id of the account, where there is one beside the customer's.
    pub account_id: Option<FieldShape>,
    /// The customer's name.
    pub name: Option<FieldShape>,
    /// The provider's own word, as `corporate`.
    #[serde(rename = "type")]
    pub kind: Option<FieldShape>,
    /// Telephone numbers.
    pub phones: Option<PhonesShape>,
    /// Email addresses.
    pub emails: Option<EmailsShape>,
    /// Places.
    pub locations: Option<LocationsShape>,
    /// People.
    pub contacts: Option<ContactsShape>,
    /// When the customer came to be.
    pub created_at: Option<FieldShape>,
    /// When it last changed.
    pub changed_at: Option<FieldShape>,
}

/// Telephone numbers: one for each node of `each`; the other paths are against that node.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PhonesShape {
    /// The numbers, against the customer.
    pub each: String,
    /// The number itself.
    pub number: FieldShape,
    /// What to dial behind it.
    pub extension: Option<FieldShape>,
    /// `business`, `home`, `mobile` …, or the provider's own word.
    pub kind: Option<FieldShape>,
    /// The provider's number for the kind.
    pub kind_code: Option<FieldShape>,
    /// Whether it is the one to call first.
    pub primary: Option<FieldShape>,
    /// When it last changed.
    pub changed_at: Option<FieldShape>,
    /// The provider's id of the number.
    pub id: Option<FieldShape>,
}

/// Email addresses: one for each node of `each`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailsShape {
    /// The addresses, against the customer.
    pub each: String,
    /// The address itself.
    pub address: FieldShape,
    /// Whether it is the one to write to first.
    pub primary: Option<FieldShape>,
}

/// Places: one for each node of `each`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocationsShape {
    /// The places, against the customer.
    pub each: String,
    /// The provider's id.
    pub id: FieldShape,
}

/// People: one for each node of `each`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactsShape {
    /// The people, against the customer.
    pub each: String,
    /// The provider's id.
    pub id: Option<FieldShape>,
    /// The person's name.
    pub name: Option<FieldShape>,
    /// Telephone numbers, against the person.
    pub phones: Option<PhonesShape>,
    /// Email addresses, against the person.
    pub emails: Option<EmailsShape>,
    /// Whether it is the one to speak to first.
    pub primary: Option<FieldShape>,
}

/// What an answer says of its pages.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PageShape {
    /// Customers that match, on all pages.
    pub total: Option<FieldShape>,
    /// This page's number, from 1.
    pub page: Option<FieldShape>,
    /// Customers on a full page.
    pub page_size: Option<FieldShape>,
}

/// A field: a path, or a table that says more.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(with = "FieldForms")]
pub struct FieldShape(pub FieldTable);

/// A text, or a list of them.
#[derive(Debug, Clone)]
pub struct Texts(pub Vec<String>);

/// The forms of a field, for the schema.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "the schema is made of it")]
enum FieldForms {
    /// A path.
    Path(String),
    /// A path and what is to be done with its value.
    Table(Box<FieldTable>),
}

/// A path and what is to be done with its value.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldTable {
    /// Where the value stands; of several paths the first that has one.
    pub path: Option<Texts>,
    /// Several fields, of which those that have a value are put together.
    pub join: Option<Vec<FieldShape>>,
    /// What stands between them; nothing where it is left out.
    pub with: Option<String>,
    /// What is put before the value, where there is one.
    pub before: Option<String>,
    /// Of a date: `rfc3339`, `epoch_s`, `epoch_ms`, or a pattern of strftime's letters; of several the first that fits.
    pub format: Option<Texts>,
    /// Words for codes; a code that is not among them has none.
    pub map: Option<BTreeMap<String, String>>,
    /// Of a truth: it is one where the value is just this.
    #[schemars(with = "Option<serde_json::Value>")]
    pub equals: Option<toml::Value>,
    /// A regular expression whose first group is the value.
    pub pattern: Option<String>,
    /// What the job asked for, as `"{query.id}"`: it stands in where the answer has no value.
    pub or: Option<String>,
}

/// What an answer means.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassShape {
    /// The statuses that it goes for, numbers or `"4xx"`; every status where it is left out.
    pub status: Option<Vec<StatusShape>>,
    /// What the answer must say.
    #[serde(rename = "where")]
    pub condition: Option<ConditionShape>,
    /// `found`, `not_found`, or a kind of failure. Without it the status decides, and `message` alone counts.
    pub class: Option<ClassName>,
    /// Where the provider's words stand; of several nodes all are told.
    pub message: Option<FieldShape>,
}

/// A status, or a hundred of them.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StatusShape {
    /// As `404`.
    One(i64),
    /// As `"4xx"`.
    Hundred(String),
}

/// What an answer must say: of several nodes one is enough. Exactly one of `path` and `header`, and exactly one of
/// `equals`, `contains` and `exists`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConditionShape {
    /// Where the value stands in the body.
    pub path: Option<String>,
    /// The header that holds it.
    pub header: Option<String>,
    /// The value is just this, type and all; a header's is a text.
    #[schemars(with = "Option<serde_json::Value>")]
    pub equals: Option<toml::Value>,
    /// The text holds this.
    pub contains: Option<String>,
    /// There is a value, or there is none.
    pub exists: Option<bool>,
}

/// What an answer may mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the classes of every kind")]
pub enum ClassName {
    Found,
    NotFound,
    Rejected,
    Unauthorized,
    Forbidden,
    EndpointNotFound,
    BadResponse,
    RateLimited,
    ProviderError,
    Timeout,
    Connection,
}

impl ClassName {
    /// The kind of failure, where it is one.
    pub fn failure(self) -> Option<ErrorKind> {
        Some(match self {
            Self::Found | Self::NotFound => return None,
            Self::Rejected => ErrorKind::Rejected,
            Self::Unauthorized => ErrorKind::Unauthorized,
            Self::Forbidden => ErrorKind::Forbidden,
            Self::EndpointNotFound => ErrorKind::EndpointNotFound,
            Self::BadResponse => ErrorKind::BadResponse,
            Self::RateLimited => ErrorKind::RateLimited,
            Self::ProviderError => ErrorKind::ProviderError,
            Self::Timeout => ErrorKind::Timeout,
            Self::Connection => ErrorKind::Connection,
        })
    }
}

/// Where an answer says how long to wait. Exactly one of `header` and `body`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitShape {
    /// The header that says it.
    pub header: Option<String>,
    /// The path in the body that says it.
    pub body: Option<String>,
    /// How it is to be read.
    #[serde(rename = "as", default)]
    pub form: WaitForm,
}

/// How a wait is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitForm {
    /// Seconds from now.
    #[default]
    Seconds,
    /// A moment, in seconds since 1970.
    EpochS,
    /// A moment, in milliseconds since 1970.
    EpochMs,
    /// A date, in any form that `Retry-After` may have; one without a zone is in UTC.
    Date,
}

/// A request, an answer and a result that must go together.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestShape {
    /// What is tested, in words.
    pub name: String,
    /// As in a job.
    #[schemars(with = "serde_json::Value")]
    pub query: toml::Value,
    /// As in a job.
    #[schemars(with = "Option<serde_json::Value>")]
    pub options: Option<toml::Value>,
    /// The request that must go out, whole but for what lets it in. Without it, it is not looked at.
    pub request: Option<TestRequest>,
    /// What the provider answers. Without it the request alone is tested.
    pub answer: Option<TestAnswer>,
    /// What must be in the result.
    #[schemars(with = "Option<serde_json::Value>")]
    pub result: Option<toml::Value>,
    /// How long the provider must be left alone then, as `"30s"`. A moment counts from the answer's `Date`.
    pub wait: Option<String>,
}

/// The request that must go out.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// The method.
    #[serde(default)]
    pub method: Method,
    /// The path below `base_url`, as it is sent.
    pub path: String,
    /// All parameters, decoded; one that stands several times is a list.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub query: BTreeMap<String, toml::Value>,
    /// Headers that must be there.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The JSON body.
    #[schemars(with = "Option<serde_json::Value>")]
    pub body: Option<toml::Value>,
}

/// What the provider answers.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestAnswer {
    /// The HTTP status.
    #[serde(default = "ok")]
    pub status: u16,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body.
    #[serde(default)]
    pub body: String,
}

fn ok() -> u16 {
    200
}

/// One, or several of them.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
#[allow(
    dead_code,
    reason = "the schema is made of it; it is read section by section"
)]
pub enum OneOrSeveral<T> {
    /// `[request]`
    One(T),
    /// `[[request]]`
    Several(Vec<T>),
}

impl<'de> Deserialize<'de> for ParameterShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self::Text(text)),
            table @ toml::Value::Table(_) => {
                let parameter: JsonParameter = table.try_into().map_err(in_one_line)?;
                if parameter.json {
                    Ok(Self::Json(parameter))
                } else {
                    Err(D::Error::custom(
                        "json: expected true; a plain text needs no table",
                    ))
                }
            }
            other => Err(expected("a text, or { value = …, json = true }", &other)),
        }
    }
}

impl FieldShape {
    /// A path alone.
    pub fn of(path: impl Into<String>) -> Self {
        Self(FieldTable {
            path: Some(Texts(vec![path.into()])),
            ..FieldTable::default()
        })
    }
}

impl<'de> Deserialize<'de> for FieldShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(path) => Ok(Self::of(path)),
            table @ toml::Value::Table(_) => table.try_into().map(Self).map_err(in_one_line),
            other => Err(expected("a path, or a table with one", &other)),
        }
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(vec![text])),
            list @ toml::Value::Array(_) => list.try_into().map(Self).map_err(in_one_line),
            other => Err(expected("a text, or a list of them", &other)),
        }
    }
}

impl JsonSchema for Texts {
    fn schema_name() -> Cow<'static, str> {
        "Texts".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<OneOrSeveral<String>>()
    }
}

fn expected<E: Error>(what: &str, came: &toml::Value) -> E {
    E::custom(format_args!("expected {what}, got {}", came.type_str()))
}

fn in_one_line<E: Error>(error: toml::de::Error) -> E {
    E::custom(error.message())
}
