//! Omeda: 'Phone lookup by customer id' (`docs/providers/omeda.md`).
//!
//! Inferred, not documented: `MergedIntoCustomerId` and 'pending deactivation' are known from sibling APIs, not
//! under which status they come. They speak of a customer who is there, so even under 404 they are failures
//! and never 'no such customer'; the new id is told and never followed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, header::InvalidHeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::{Kind, class::Rules, criterion::Id, date, trimmed};
use crate::{
    config::{Credentials, Secret},
    customer::{Customer, Phone},
    failure::{ErrorKind, Failure},
    json::{Malformed, Members, Node},
    outcome::Outcome,
};

/// The member that tells into whom a customer was merged.
const HEIR: &str = "MergedIntoCustomerId";

/// The adapter.
#[derive(Debug)]
pub struct Omeda {
    customers: String,
}

/// The keys of kind `omeda` alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "OmedaSettings")]
pub struct Settings {
    brand: String,
    app_id: Secret,
}

/// Whom to look for.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OmedaQuery")]
pub struct Query {
    /// The internal id, or the encrypted one, which is of letters and digits.
    #[schemars(extend("minimum" = 1, "pattern" = "^[A-Za-z0-9]*[A-Za-z1-9][A-Za-z0-9]*$"))]
    customer_id: Id,
}

/// How to look.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "OmedaOptions")]
pub struct Options {
    /// Add the provider's payload verbatim to the result.
    raw: bool,
}

impl Kind for Omeda {
    const NAME: &'static str = "omeda";
    const RULES: Rules = Rules {
        none_by_404: true,
        none_by_204: false,
        rest_after_500: true,
    };
    const FILLS: &'static [&'static str] = &["customer_id", "phones"];
    const DEFAULT_QUOTA: Option<(u32, Duration)> = None;
    type Settings = Settings;
    type Query = Query;
    type Options = Options;

    fn new(base_url: &Url, settings: Settings) -> Result<(Self, Credentials), Malformed> {
        let brand = settings.brand;
        let safe = brand
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if brand.is_empty() || !safe {
            return Err(Malformed::at(
                "brand",
                format!("got {brand:?}, expected letters, digits, '-' or '_'"),
            ));
        }
        let customers = trimmed(base_url)? + "/webservices/rest/brand/" + &brand + "/customer/";
        Ok((Self { customers }, Credentials::Token(settings.app_id)))
    }

    fn authorization(token: &str) -> Result<(HeaderName, HeaderValue), InvalidHeaderValue> {
        Ok((
            HeaderName::from_static("x-omeda-appid"),
            HeaderValue::try_from(token)?,
        ))
    }

    fn request(&self, query: &Query, _options: &Options) -> Result<Request<Bytes>, Malformed> {
        let id = query.customer_id.to_string();
        let refuse = || {
            Malformed::at(
                "query.customer_id",
                "expected a positive integer, or a string of letters and digits",
            )
        };
        let possible = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !possible || id.bytes().all(|byte| byte == b'0') {
            return Err(refuse());
        }
        // The document's path ends in a literal star.
        Request::get(format!("{}{id}/phone/*", self.customers))
            .body(Bytes::new())
            .map_err(|_| refuse())
    }

    fn wants_raw(options: &Options) -> bool {
        options.raw
    }

    fn read(&self, query: &Query, _options: &Options, answer: Node) -> Result<Outcome, Malformed> {
        let reply = Reply(answer.object("")?);
        reply.failure(200).map_or_else(
            || reply.customer(query),
            |failure| Ok(Outcome::Failed(failure)),
        )
    }

    fn said(body: Node) -> Option<String> {
        Reply(body.members()).words()
    }

    fn despite(status: u16, body: Node) -> Option<Failure> {
        let reply = Reply(body.members());
        (reply.is_pending() || reply.heir().is_some()).then(|| reply.failure(status))?
    }
}

/// The answer and the error have one shape.
struct Reply<'a>(Members<'a>);

impl Reply<'_> {
    fn problems(&self) -> Vec<Node<'_>> {
        let mut problems = self.0.get("Errors").list();
        problems.retain(|problem| !problem.is_nothing());
        problems
    }

    /// The customer into whom the one asked for was merged.
    fn heir(&self) -> Option<String> {
        let inner = self.problems().into_iter().map(|problem| problem.get(HEIR));
        [self.0.get(HEIR)]
            .into_iter()
            .chain(inner)
            .find_map(Node::id)
    }

    fn words(&self) -> Option<String> {
        let mut words: Vec<String> = self
            .problems()
            .into_iter()
            .filter_map(|problem| problem.get("Error").text())
            .collect();
        if let Some(heir) = self
            .heir()
            .filter(|heir| !words.iter().any(|word| word.contains(heir)))
        {
            words.push(format!("{HEIR} {heir}"));
        }
        (!words.is_empty()).then(|| words.join(" "))
    }

    fn is_pending(&self) -> bool {
        self.words()
            .is_some_and(|words| words.to_ascii_lowercase().contains("pending deactivation"))
    }

    fn failure(&self, status: u16) -> Option<Failure> {
        let (kind, what) = if self.is_pending() {
            (
                ErrorKind::ProviderError,
                "the customer is being deactivated just now",
            )
        } else if self.heir().is_some() {
            (
                ErrorKind::Rejected,
                "the customer was merged into another; look that one up",
            )
        } else if self.problems().is_empty() {
            return None;
        } else {
            (ErrorKind::Rejected, "the provider refuses this request")
        };
        let message = format!("HTTP {status} with errors, expected phone numbers: {what}");
        let failure = Failure::new(kind, message).about_customer();
        Some(match self.words() {
            Some(words) => failure.said(&words),
            None => failure,
        })
    }

    /// The customer is there where its address is told, or a number of it.
    fn customer(&self, query: &Query) -> Result<Outcome, Malformed> {
        let address = self.0.get("Customer").text();
        let numbers = self.0.get("PhoneNumbers");
        let phones: Vec<Phone> = numbers.list().into_iter().filter_map(phone).collect();
        if address.is_none() && phones.is_empty() {
            return Err(if numbers.is_container() {
                let what = "the customer's address, there is no number either";
                self.0.get("Customer").expected("Customer", what)
            } else {
                numbers.expected("PhoneNumbers", "an array")
            });
        }
        let customer_id = address
            .as_deref()
            .and_then(number_in)
            .unwrap_or_else(|| query.customer_id.to_string());
        Ok(Outcome::Found(
            vec![Customer {
                customer_id,
                phones,
                ..Customer::default()
            }],
            None,
        ))
    }
}

/// The customer's number in its address, which is read and never fetched.
fn number_in(address: &str) -> Option<String> {
    let (_, behind) = address.rsplit_once("/customer/")?;
    let number = behind.split(['/', '?', '#']).next()?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| number.to_owned())
}

fn phone(number: Node) -> Option<Phone> {
    let members = number.members();
    let kind_code = members.get("PhoneContactType").number();
    Some(Phone {
        number: members.get("PhoneNumber").id()?,
        extension: members.get("Extension").text(),
        kind: kind_code.and_then(in_words).map(str::to_owned),
        kind_code,
        primary: match members.get("StatusCode").number() {
            Some(1) => Some(true),
            Some(2) => Some(false),
            _ => None,
        },
        changed_at: date::of(members.get("ChangedDate")),
        id: members.get("Id").id(),
    })
}

/// Omeda's phone contact types; others occur and have no word.
fn in_words(kind_code: i64) -> Option<&'static str> {
    Some(match kind_code {
        0 => "unknown",
        200 => "business",
        210 => "home",
        230 => "mobile",
        240 => "fax",
        250 => "foreign_phone",
        260 => "foreign_fax",
        270 => "pager",
        _ => return None,
    })
}
