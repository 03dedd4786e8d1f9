//! Omeda: 'Phone lookup by customer id' (`providers/omeda.md`, and FACTS.md on it).
//!
//! Inferred, not documented: `MergedIntoCustomerId` and 'pending deactivation' are known from sibling APIs, not
//! under which status they come. They speak of a customer who is there, so even under 404 they are failures
//! and never 'no such customer'; the new id is told and never followed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, header::InvalidHeaderValue};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::{Kind, Outcome, class::Rules, criterion::Id, date, scalar::Scalar, trimmed};
use crate::{
    config::{self, Credentials},
    customer::{Customer, Phone},
    failure::{ErrorKind, Failure},
    json::{self, Malformed},
};

/// The adapter.
#[derive(Debug)]
pub struct Omeda {
    customers: String,
}

/// The keys of kind `omeda` alone.
#[derive(Debug, Deserialize)]
pub struct Settings {
    brand: String,
    #[serde(deserialize_with = "config::secret")]
    app_id: SecretString,
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
    const DEFAULT_QUOTA: Option<(u32, Duration)> = None;
    type Settings = Settings;
    type Query = Query;
    type Options = Options;
    type Reply<'a> = Reply<'a>;

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

    fn read(&self, query: &Query, reply: Reply) -> Result<Outcome, Malformed> {
        reply.failure(200).map_or_else(
            || reply.customer(query),
            |failure| Ok(Outcome::Failed(failure)),
        )
    }

    fn said(body: &[u8]) -> Option<String> {
        json::read::<Reply>(body).ok()?.words()
    }

    fn despite(status: u16, body: &[u8]) -> Option<Failure> {
        let reply: Reply = json::read(body).ok()?;
        (reply.is_pending() || reply.heir().is_some()).then(|| reply.failure(status))?
    }
}

/// What a reply may have: of the answer and of the error alike.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Reply<'a> {
    #[serde(borrow, default)]
    customer: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    phone_numbers: Option<Vec<PhoneNumber<'a>>>,
    #[serde(borrow, default)]
    errors: Option<Vec<Problem<'a>>>,
    #[serde(borrow, default)]
    merged_into_customer_id: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Problem<'a> {
    #[serde(borrow, default)]
    error: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    merged_into_customer_id: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PhoneNumber<'a> {
    #[serde(borrow, default)]
    id: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    phone_contact_type: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    phone_number: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    extension: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    changed_date: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    status_code: Option<Scalar<'a>>,
}

impl Reply<'_> {
    fn problems(&self) -> &[Problem<'_>] {
        self.errors.as_deref().unwrap_or_default()
    }

    /// The customer into whom the one asked for was merged.
    fn heir(&self) -> Option<String> {
        let inner = self
            .problems()
            .iter()
            .filter_map(|problem| problem.merged_into_customer_id.as_ref());
        self.merged_into_customer_id
            .as_ref()
            .into_iter()
            .chain(inner)
            .find_map(Scalar::text)
    }

    fn words(&self) -> Option<String> {
        let mut words: Vec<String> = self
            .problems()
            .iter()
            .filter_map(|problem| problem.error.as_ref()?.text())
            .collect();
        if let Some(heir) = self
            .heir()
            .filter(|heir| !words.iter().any(|word| word.contains(heir)))
        {
            words.push(format!("MergedIntoCustomerId {heir}"));
        }
        (!words.is_empty()).then(|| words.join(" "))
    }

    fn is_pending(&self) -> bool {
        self.words()
            .is_some_and(|words| words.to_ascii_lowercase().contains("pending deactivation"))
    }

    fn failure(&self, status: u16) -> Option<Failure> {
        let (kind, what) = match (self.heir(), self.problems()) {
            _ if self.is_pending() => (
                ErrorKind::ProviderError,
                "the customer is being deactivated just now",
            ),
            (Some(_), _) => (
                ErrorKind::Rejected,
                "the customer was merged into another; look that one up",
            ),
            (None, []) => return None,
            _ => (ErrorKind::Rejected, "the provider refuses this request"),
        };
        let failure = Failure::new(
            kind,
            format!("HTTP {status} with errors, expected phone numbers: {what}"),
        );
        Some(match self.words() {
            Some(words) => failure.said(&words),
            None => failure,
        })
    }

    fn customer(&self, query: &Query) -> Result<Outcome, Malformed> {
        let numbers = self
            .phone_numbers
            .as_deref()
            .ok_or_else(|| Malformed::at("PhoneNumbers", "missing; expected an array"))?;
        let address = self.customer.as_ref().and_then(Scalar::text);
        if address.is_none() && numbers.is_empty() {
            return Err(Malformed::at(
                "Customer",
                "missing; expected the customer's address, there is no number either",
            ));
        }
        let customer_id = address
            .as_deref()
            .and_then(number_in)
            .unwrap_or_else(|| query.customer_id.to_string());
        let phones = numbers.iter().filter_map(PhoneNumber::phone).collect();
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

impl PhoneNumber<'_> {
    fn phone(&self) -> Option<Phone> {
        let text = |value: &Option<Scalar>| value.as_ref().and_then(Scalar::text);
        let kind_code = self.phone_contact_type.as_ref().and_then(Scalar::number);
        Some(Phone {
            number: text(&self.phone_number)?,
            extension: text(&self.extension),
            kind: kind_code.and_then(in_words).map(str::to_owned),
            kind_code,
            primary: match self.status_code.as_ref().and_then(Scalar::number) {
                Some(1) => Some(true),
                Some(2) => Some(false),
                _ => None,
            },
            changed_at: text(&self.changed_date).as_deref().and_then(date::local),
            id: text(&self.id),
        })
    }
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
