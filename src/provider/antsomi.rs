//! Antsomi: 'Get Customer ID by phone number' (`docs/providers/antsomi.md`).
//!
//! Inferred, not documented: the unnamed pagination parameter is `page`, as in the sibling APIs; and the `null`
//! of the operators `exists` and `not_exists` is the parameter left out, since a query string has no null.

mod reply; // the wire of the answers
mod share; // several lookups in one request

use std::{
    fmt::{self, Write},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request,
    header::{AUTHORIZATION, InvalidHeaderValue},
};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::{Value, json};
use url::Url;

use super::{
    Kind,
    class::Rules,
    criterion::{Whole, all_given, none_given},
    encoded,
    grant::Dialect,
    phone, trimmed,
};
use crate::{
    config::{self, Batch, Credentials, OAuthSettings, PhoneFormat, Secret},
    customer::Customer,
    json::{Malformed, Node},
    outcome::Outcome,
};

/// Customers on a batch's page for each of its numbers; where that is too few, the batch is asked again in parts.
const PLACES_FOR_EACH: usize = 4;

/// Bytes of an address behind the endpoint, for most lookups.
const USUAL_PARAMETERS: usize = 64;

/// The provider's default, and so the least that a full page of a batch's answer has.
const SHORTEST_PAGE: usize = 25;

/// The name `phone_number[]`.
const ONE_OF_SEVERAL: &str = "phone_number%5B%5D";

const PATH: &str = "/access/api/profile/get-customer-id-by-phone";

/// The adapter.
#[derive(Debug)]
pub struct Antsomi {
    endpoint: String,
    phone_format: PhoneFormat,
    /// Lookups that may share one request.
    pub batch: Batch,
}

/// The keys of kind `antsomi` alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "AntsomiSettings")]
pub struct Settings {
    token: Option<Secret>,
    oauth: Option<OAuthSettings>,
    #[serde(default, deserialize_with = "config::word")]
    phone_format: PhoneFormat,
    #[serde(default)]
    batch: Batch,
}

/// Whom to look for.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AntsomiQuery")]
pub struct Query {
    /// One number; an array of them for `matches` and `not_matches`; absent for `exists` and `not_exists`.
    #[serde(default)]
    phone: Option<Phones>,
}

/// One number or several.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(untagged, rename = "TelephoneNumbers")]
enum Phones {
    /// One number.
    One(phone::Number),
    /// For the operators `matches` and `not_matches`.
    Several(#[schemars(length(min = 1))] Vec<phone::Number>),
}

impl<'de> Deserialize<'de> for Phones {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected;

        impl<'de> Visitor<'de> for Expected {
            type Value = Phones;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E>(self, one: &str) -> Result<Phones, E> {
                Ok(Phones::One(one.to_owned().into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Phones, A::Error> {
                let mut several = Vec::new();
                while let Some(one) = items.next_element()? {
                    several.push(one);
                }
                Ok(Phones::Several(several))
            }
        }

        deserializer.deserialize_any(Expected)
    }
}

/// How to look.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "AntsomiOptions")]
pub struct Options {
    /// How a customer's number is compared; default `equals`, for an array `matches`.
    operator: Option<Operator>,
    /// Page of the answer, from 1.
    page: Option<Whole<1>>,
    /// Customers on a page; the provider's default is 25.
    limit: Option<Whole<1>>,
    /// Add the provider's payload verbatim to the result.
    raw: bool,
}

/// The document's twelve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AntsomiOperator")]
enum Operator {
    Contains,
    DoesntContain,
    EndWith,
    Equals,
    Exists,
    Matches,
    NotEndWith,
    NotEquals,
    NotExists,
    NotMatches,
    NotStartWith,
    StartWith,
}

impl Operator {
    fn name(self) -> &'static str {
        match self {
            Self::Contains => "contains",
            Self::DoesntContain => "doesnt_contain",
            Self::EndWith => "end_with",
            Self::Equals => "equals",
            Self::Exists => "exists",
            Self::Matches => "matches",
            Self::NotEndWith => "not_end_with",
            Self::NotEquals => "not_equals",
            Self::NotExists => "not_exists",
            Self::NotMatches => "not_matches",
            Self::NotStartWith => "not_start_with",
            Self::StartWith => "start_with",
        }
    }

    const TAKE_SEVERAL: [Self; 2] = [Self::Matches, Self::NotMatches];
    const TAKE_NONE: [Self; 2] = [Self::Exists, Self::NotExists];

    fn takes_several(self) -> bool {
        Self::TAKE_SEVERAL.contains(&self)
    }

    fn takes_none(self) -> bool {
        Self::TAKE_NONE.contains(&self)
    }
}

impl Antsomi {
    /// Of the request, so far.
    fn address(&self, operator: Operator) -> String {
        let mut uri = String::with_capacity(self.endpoint.len() + USUAL_PARAMETERS);
        uri.extend([&*self.endpoint, "?operator=", operator.name()]);
        uri
    }
}

/// Adds a parameter.
fn add(uri: &mut String, name: &str, value: &str) {
    uri.extend(["&", name, "="]);
    uri.extend(encoded(value));
}

impl Kind for Antsomi {
    const NAME: &'static str = "antsomi";
    const RULES: Rules = Rules {
        none_by_404: false,
        none_by_204: false,
        rest_after_500: false,
    };
    const FILLS: &'static [&'static str] = &["customer_id", "phones"];
    const DEFAULT_QUOTA: Option<(u32, Duration)> = Some((200, Duration::from_secs(60)));
    const TOKENS: Dialect = Dialect::ANTSOMI;
    type Settings = Settings;
    type Query = Query;
    type Options = Options;

    fn new(base_url: &Url, settings: Settings) -> Result<(Self, Credentials), Malformed> {
        let credentials = Credentials::one_of(settings.token, settings.oauth)?;
        let endpoint = trimmed(base_url)? + PATH;
        Ok((
            Self {
                endpoint,
                phone_format: settings.phone_format,
                batch: settings.batch,
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
        let by_default = match query.phone {
            Some(Phones::Several(_)) => Operator::Matches,
            _ => Operator::Equals,
        };
        let operator = options.operator.unwrap_or(by_default);
        let mut uri = self.address(operator);
        match &query.phone {
            None if operator.takes_none() => {}
            None => {
                return Err(Malformed::at(
                    "query.phone",
                    "missing; expected a telephone number",
                ));
            }
            Some(_) if operator.takes_none() => {
                let problem = format!(
                    "expected none with the operator {}, which asks for no number",
                    operator.name()
                );
                return Err(Malformed::at("query.phone", problem));
            }
            Some(Phones::One(one)) => {
                let name = if operator.takes_several() {
                    ONE_OF_SEVERAL
                } else {
                    "phone_number"
                };
                let number = one.written(self.phone_format, "query.phone")?;
                add(&mut uri, name, &number);
            }
            Some(Phones::Several(_)) if !operator.takes_several() => {
                let problem = format!(
                    "expected a string with the operator {}, got an array",
                    operator.name()
                );
                return Err(Malformed::at("query.phone", problem));
            }
            Some(Phones::Several(several)) if several.is_empty() => {
                return Err(Malformed::at(
                    "query.phone",
                    "expected at least one telephone number, got an empty array",
                ));
            }
            Some(Phones::Several(several)) => {
                for (at, one) in several.iter().enumerate() {
                    let number = one.written(self.phone_format, &format!("query.phone[{at}]"))?;
                    add(&mut uri, ONE_OF_SEVERAL, &number);
                }
            }
        }
        for (name, value) in [("page", options.page), ("limit", options.limit)] {
            if let Some(value) = value {
                let _ = write!(uri, "&{name}={}", value.get());
            }
        }
        Request::get(uri).body(Bytes::new()).map_err(|_| {
            Malformed::at(
                "query.phone",
                "expected fewer numbers; the request's address grows too long",
            )
        })
    }

    /// An operator that asks for no number with one, another without one, an array with one that takes a number alone.
    fn unfit() -> Option<Value> {
        let query = |query: Value| json!({"properties": {"query": query}});
        let operator = |operator: Value| {
            let options = json!({"type": "object", "required": ["operator"], "properties": {"operator": operator}});
            json!({"required": ["options"], "properties": {"options": options}})
        };
        let names = |operators: [Operator; 2]| json!({"enum": operators.map(Operator::name)});
        let takes_none = operator(names(Operator::TAKE_NONE));
        let takes_one = operator(json!({"type": "string", "not": names(Operator::TAKE_SEVERAL)}));
        let several = json!({"required": ["phone"], "properties": {"phone": {"type": "array"}}});
        Some(json!({"anyOf": [
            {"allOf": [takes_none, query(all_given(&["phone"]))]},
            {"not": takes_none, "allOf": [query(none_given(&["phone"]))]},
            {"allOf": [takes_one, query(several)]},
        ]}))
    }

    fn wants_raw(options: &Options) -> bool {
        options.raw
    }

    fn read(&self, query: &Query, options: &Options, answer: Node) -> Result<Outcome, Malformed> {
        let (customers, total) = match reply::found(answer) {
            Ok(found) => found,
            Err(outcome) => return Ok(outcome),
        };
        if let (Some(Phones::One(number)), None | Some(Operator::Equals)) =
            (&query.phone, options.operator)
        {
            are_of(
                &customers,
                &number.written(PhoneFormat::AsIs, "query.phone")?,
            )?;
        }
        Ok(Outcome::of(customers, reply::page(total)))
    }

    fn said(body: Node) -> Option<String> {
        reply::words(body)
    }

    fn most_in_batch(&self) -> usize {
        self.batch.max_size
    }

    /// A lookup that asks for nothing but the customers of one number.
    fn part(&self, query: &Query, options: &Options) -> Option<Box<str>> {
        let plain = matches!(
            options,
            Options {
                operator: None | Some(Operator::Equals),
                page: None,
                limit: None,
                raw: false
            }
        );
        let Some(Phones::One(one)) = query
            .phone
            .as_ref()
            .filter(|_| plain && self.batch.max_size > 1)
        else {
            return None;
        };
        let number = one.written(self.phone_format, "").ok()?;
        share::is_part(&number).then(|| number.into_boxed_str())
    }

    /// With room on the page for several customers of a number.
    fn batch(&self, numbers: &[&str]) -> Option<Request<Bytes>> {
        let mut uri = self.address(Operator::Matches);
        for number in numbers {
            add(&mut uri, ONE_OF_SEVERAL, number);
        }
        let _ = write!(uri, "&limit={}", PLACES_FOR_EACH * numbers.len());
        Request::get(uri).body(Bytes::new()).ok()
    }

    fn split(&self, numbers: &[&str], answer: Node) -> Result<Option<Vec<Outcome>>, Outcome> {
        let (customers, total) = reply::found(answer)?;
        Ok(share::split(numbers, customers, total, SHORTEST_PAGE))
    }
}

/// Whether an answer is to this question: a proxy that mixes answers up must not hand on somebody else's record. An
/// entry that tells no number may be anybody's who was asked for.
///
/// # Errors
/// The first entry that has another number than was asked for.
fn are_of(customers: &[Customer], asked: &str) -> Result<(), Malformed> {
    let is_other = |number: &str| number != asked && !phone::may_be_one(number, asked);
    let other = customers
        .iter()
        .position(|customer| customer.phones.iter().any(|phone| is_other(&phone.number)));
    match other {
        None => Ok(()),
        Some(at) => Err(Malformed::at(
            &format!("data.entries[{at}].phone.value"),
            "expected the number that was asked for, got another; \
             check what stands between this worker and the provider",
        )),
    }
}
