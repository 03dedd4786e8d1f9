//! Plume: 'Obtain `CustomerID` from `AccountID`' (`docs/providers/plume.md`).
//!
//! Inferred, not documented: the stray brace in the document's address (`?field=accountId}`) is no part of it;
//! `locations` may be one object instead of an array, as in the sibling API; a 403 that is no JSON is the web
//! firewall's.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request,
    header::{AUTHORIZATION, InvalidHeaderValue},
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{
    Kind,
    class::Rules,
    criterion::{Text, all_given, none_given},
    encoded,
    grant::Dialect,
    trimmed,
};
use crate::{
    config::{Credentials, OAuthSettings, Secret},
    customer::{Customer, Email, Location},
    failure::Failure,
    json::{Malformed, Node},
    outcome::Outcome,
};

const PATH: &str = "/api/Partners/customers/search/";

/// The adapter.
#[derive(Debug)]
pub struct Plume {
    search: String,
}

/// The keys of kind `plume` alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "PlumeSettings")]
pub struct Settings {
    token: Option<Secret>,
    oauth: Option<OAuthSettings>,
}

/// Whom to look for: exactly one criterion.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PlumeQuery", extend("not" = not_one()))]
pub struct Query {
    /// Id of the account.
    #[serde(default)]
    #[schemars(extend("not" = impossible()))]
    account_id: Option<Text>,
    /// Id of a location.
    #[serde(default)]
    #[schemars(extend("not" = impossible()))]
    location_id: Option<Text>,
    /// The customer's name.
    #[serde(default)]
    #[schemars(extend("not" = impossible()))]
    name: Option<Text>,
    /// The customer's email address.
    #[serde(default)]
    #[schemars(extend("not" = impossible()))]
    email: Option<Text>,
}

/// How to look.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "PlumeOptions")]
pub struct Options {
    /// The whole value must match; default true.
    #[schemars(extend("default" = true))]
    exact_match: Option<bool>,
    /// The beginning of the value must match; default true.
    #[schemars(extend("default" = true))]
    starts_with: Option<bool>,
    /// Add the provider's payload verbatim to the result.
    raw: bool,
}

/// In the schema: what no value can be, as [`Plume::request`] says.
fn impossible() -> Value {
    json!({"type": "string", "pattern": r"^\s*(?:[Nn][Uu][Ll][Ll]|\.{1,2})\s*$"})
}

/// In the schema: no criterion, or two.
fn not_one() -> Value {
    let names = ["account_id", "location_id", "name", "email"];
    let later = |at: usize| names.into_iter().skip(at + 1);
    let pairs = (0..names.len()).flat_map(|at| later(at).map(move |other| [names[at], other]));
    let two = pairs.map(|pair| all_given(&pair));
    let wrong: Vec<Value> = [none_given(&names)].into_iter().chain(two).collect();
    json!({ "anyOf": wrong })
}

impl Query {
    /// The criterion: its name in a job, its name at Plume, its value.
    fn criterion(&self) -> Result<(&'static str, &'static str, &str), Malformed> {
        let all = [
            ("query.account_id", "accountId", &self.account_id),
            ("query.location_id", "locationId", &self.location_id),
            ("query.name", "name", &self.name),
            ("query.email", "email", &self.email),
        ];
        let mut given = all
            .into_iter()
            .filter_map(|(field, name, value)| Some((field, name, value.as_ref()?)));
        match (given.next(), given.next()) {
            (Some((field, name, value)), None) => Ok((field, name, value.as_str())),
            _ => Err(Malformed::at(
                "query",
                "expected exactly one of account_id, location_id, name, email",
            )),
        }
    }
}

impl Kind for Plume {
    const NAME: &'static str = "plume";
    const RULES: Rules = Rules {
        none_by_404: true,
        none_by_204: false,
        rest_after_500: false,
    };
    const FILLS: &'static [&'static str] =
        &["customer_id", "account_id", "name", "emails", "locations"];
    const DEFAULT_QUOTA: Option<(u32, Duration)> = Some((2_000, Duration::from_secs(300)));
    const TOKENS: Dialect = Dialect::PLUME;
    type Settings = Settings;
    type Query = Query;
    type Options = Options;

    fn new(base_url: &Url, settings: Settings) -> Result<(Self, Credentials), Malformed> {
        let credentials = Credentials::one_of(settings.token, settings.oauth)?;
        Ok((
            Self {
                search: trimmed(base_url)? + PATH,
            },
            credentials,
        ))
    }

    fn authorization(token: &str) -> Result<(HeaderName, HeaderValue), InvalidHeaderValue> {
        Ok((
            AUTHORIZATION,
            HeaderValue::try_from(format!("Bearer {token}"))?,
        ))
    }

    fn request(&self, query: &Query, options: &Options) -> Result<Request<Bytes>, Malformed> {
        let (field, name, value) = query.criterion()?;
        let word = value.trim();
        if word.eq_ignore_ascii_case("null") {
            return Err(Malformed::at(
                field,
                "expected another value than 'null', which Plume refuses",
            ));
        }
        // Addresses are normalised on their way: these two would walk up the path.
        if matches!(word, "." | "..") {
            return Err(Malformed::at(
                field,
                "expected another value than '.' and '..', which no path can hold",
            ));
        }
        let exact = options.exact_match.unwrap_or(true);
        let starts = options.starts_with.unwrap_or(true);
        let value = encoded(value);
        Request::get(format!(
            "{}{value}?field={name}&exactMatch={exact}&startsWith={starts}",
            self.search
        ))
        .body(Bytes::new())
        .map_err(|_| {
            Malformed::at(
                field,
                "expected a shorter value; the request's address grows too long",
            )
        })
    }

    fn wants_raw(options: &Options) -> bool {
        options.raw
    }

    fn read(&self, _query: &Query, _options: &Options, answer: Node) -> Result<Outcome, Malformed> {
        let found =
            answer.array("")?.into_iter().enumerate().map(|(at, one)| {
                customer(one).map_err(|problem| problem.below(&format!("[{at}]")))
            });
        Ok(Outcome::of(found.collect::<Result<_, _>>()?, None))
    }

    fn said(body: Node) -> Option<String> {
        let error = body.get("error").members();
        let words = ["message", "code"].into_iter();
        let words: Vec<String> = words.filter_map(|name| error.get(name).text()).collect();
        Some(words.join(" "))
    }

    fn refine(
        status: u16,
        _headers: &HeaderMap,
        body: Node,
        _now: Timestamp,
        failure: &mut Failure,
    ) {
        if status == 403 && !body.is_container() {
            failure.message = "HTTP 403, expected 200: a page instead of JSON, most likely the web firewall's, \
                               which allows 2,000 calls in 5 minutes from one address; check the provider's quota"
                .into();
        }
    }
}

fn customer(found: Node) -> Result<Customer, Malformed> {
    let members = found.object("")?;
    let places = members.get("locations").list().into_iter();
    Ok(Customer {
        customer_id: members.get("id").required_id("id")?,
        account_id: members.get("accountId").id(),
        name: members.get("name").text(),
        emails: members
            .get("email")
            .text()
            .map(Email::of)
            .into_iter()
            .collect(),
        locations: places.filter_map(location).collect(),
        ..Customer::default()
    })
}

/// An object with an id, or the id alone.
fn location(place: Node) -> Option<Location> {
    let id = if place.is_container() {
        place.get("id").id()
    } else {
        place.id()
    };
    Some(Location { id: id? })
}
