//! Kapture: 'Get Customer' (`providers/kapture.md`, and FACTS.md on it).
//!
//! Inferred, not documented: 'not found' is a `Customer Details` that is a text and says 'does not exist' (the
//! document's text has a misspelling that may be mended one day); a reply with an object there and no `status`
//! is a success.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request,
    header::{AUTHORIZATION, CONTENT_TYPE, InvalidHeaderValue},
};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use super::{
    Kind, Outcome,
    class::Rules,
    criterion::{Id, Text, none_given},
    date, phone,
    scalar::Scalar,
    trimmed,
};
use crate::{
    config::{self, Credentials, PhoneFormat},
    customer::{Contact, Customer, Email, Phone},
    failure::{ErrorKind, Failure},
    json::{self, Malformed},
};

const PATH: &str = "/search-customer-by-customer-id.html";

/// The members of a request's element that say whom to look for.
const CRITERIA: [&str; 3] = ["kapture_customer_id", "email_id", "phone"];

/// The adapter.
#[derive(Debug)]
pub struct Kapture {
    endpoint: String,
    phone_format: PhoneFormat,
}

/// The keys of kind `kapture` alone.
#[derive(Debug, Deserialize)]
pub struct Settings {
    #[serde(deserialize_with = "config::secret")]
    token: SecretString,
    #[serde(default, deserialize_with = "config::word")]
    phone_format: PhoneFormat,
}

/// Whom to look for: one criterion or more.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    rename = "KaptureQuery",
    extend("not" = none_given(&["customer_id", "email", "phone"]))
)]
pub struct Query {
    /// The id that Kapture made.
    #[serde(default)]
    customer_id: Option<Id>,
    /// The email address.
    #[serde(default)]
    email: Option<Text>,
    /// The telephone number.
    #[serde(default)]
    phone: Option<phone::Number>,
}

/// How to look.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "KaptureOptions")]
pub struct Options {
    /// Members that a tenant's own set-up asks for; they are put beside the criteria.
    #[schemars(
        with = "Option<serde_json::Map<String, serde_json::Value>>",
        extend("propertyNames" = {"not": {"enum": CRITERIA}})
    )]
    extra: Option<BTreeMap<String, Box<RawValue>>>,
    /// Add the provider's payload verbatim to the result.
    raw: bool,
}

/// The one element of the request's array: only what was given.
#[derive(Serialize)]
struct Element<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    kapture_customer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    extra: Option<&'a BTreeMap<String, Box<RawValue>>>,
}

impl Kind for Kapture {
    const NAME: &'static str = "kapture";
    const RULES: Rules = Rules {
        none_by_404: true,
        none_by_204: false,
        rest_after_500: false,
    };
    const DEFAULT_QUOTA: Option<(u32, Duration)> = None;
    type Settings = Settings;
    type Query = Query;
    type Options = Options;
    type Reply<'a> = Reply<'a>;

    fn new(base_url: &Url, settings: Settings) -> Result<(Self, Credentials), Malformed> {
        let endpoint = trimmed(base_url)? + PATH;
        Ok((
            Self {
                endpoint,
                phone_format: settings.phone_format,
            },
            Credentials::Token(settings.token),
        ))
    }

    /// The token goes verbatim: Kapture gives it out encoded.
    fn authorization(token: &str) -> Result<(HeaderName, HeaderValue), InvalidHeaderValue> {
        Ok((
            AUTHORIZATION,
            HeaderValue::try_from(format!("Basic {token}"))?,
        ))
    }

    fn request(&self, query: &Query, options: &Options) -> Result<Request<Bytes>, Malformed> {
        let phone = query
            .phone
            .as_ref()
            .map(|phone| phone.written(self.phone_format, "query.phone"));
        let element = Element {
            kapture_customer_id: query.customer_id.as_ref().map(ToString::to_string),
            email_id: query.email.as_ref().map(Text::as_str),
            phone: phone.transpose()?,
            extra: options.extra.as_ref(),
        };
        if element.kapture_customer_id.is_none()
            && element.email_id.is_none()
            && element.phone.is_none()
        {
            return Err(Malformed::at(
                "query",
                "expected at least one of customer_id, email, phone",
            ));
        }
        for criterion in CRITERIA {
            if options
                .extra
                .as_ref()
                .is_some_and(|extra| extra.contains_key(criterion))
            {
                let problem = "expected none: what is looked for stands in the query";
                return Err(Malformed::at(
                    &format!("options.extra.{criterion}"),
                    problem,
                ));
            }
        }
        let body = serde_json::to_vec(&[element])
            .map_err(|_| Malformed::at("options.extra", "expected an object"))?;
        Request::post(&self.endpoint)
            .header(CONTENT_TYPE, "application/json")
            .body(body.into())
            .map_err(|_| Malformed::at("query", "expected values that a request can hold"))
    }

    fn wants_raw(options: &Options) -> bool {
        options.raw
    }

    fn read(&self, _query: &Query, reply: Reply) -> Result<Outcome, Malformed> {
        reply.outcome()
    }

    fn said(body: &[u8]) -> Option<String> {
        json::read::<Reply>(body).ok()?.words()
    }
}

/// What a reply may have; older documents capitalise.
#[derive(Deserialize)]
pub struct Reply<'a> {
    #[serde(borrow, default, rename = "Customer Details")]
    details: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "Status")]
    status: Option<Scalar<'a>>,
    #[serde(borrow, default, alias = "Message")]
    message: Option<Scalar<'a>>,
}

impl Reply<'_> {
    /// `Customer Details` where it is a text: then it says why there are none.
    fn excuse(&self) -> Option<Cow<'_, str>> {
        serde_json::from_str(self.details?.get()).ok()
    }

    fn words(&self) -> Option<String> {
        self.message
            .as_ref()
            .and_then(Scalar::text)
            .or_else(|| self.excuse().map(Cow::into_owned))
    }

    fn is_failed(&self) -> bool {
        match self.status.as_ref().and_then(Scalar::text) {
            Some(status) => !status.eq_ignore_ascii_case("success"),
            None => self.message.is_some(),
        }
    }

    fn is_success(&self) -> bool {
        self.status.is_some() && !self.is_failed()
    }

    fn outcome(&self) -> Result<Outcome, Malformed> {
        let said_that_none = self
            .excuse()
            .is_some_and(|text| text.to_ascii_lowercase().contains("does not exist"));
        if said_that_none && !self.is_success() {
            return Ok(Outcome::NotFound(None));
        }
        if self.is_failed() {
            return Ok(Outcome::Failed(self.failure()));
        }
        let expected = "missing; expected an object";
        let details = self
            .details
            .ok_or_else(|| Malformed::at("Customer Details", expected))?;
        let details: Details = json::read(details.get().as_bytes())
            .map_err(|problem| problem.below("Customer Details"))?;
        Ok(Outcome::Found(vec![details.customer()?], None))
    }

    fn failure(&self) -> Failure {
        let words = self.words().unwrap_or_default();
        let (kind, what) = if words.to_ascii_lowercase().contains("invalid auth key") {
            (
                ErrorKind::Unauthorized,
                "the key was not accepted; check the provider's token",
            )
        } else {
            (ErrorKind::Rejected, "the provider refuses this request")
        };
        Failure::new(
            kind,
            format!("HTTP 200 with a status that is not success: {what}"),
        )
        .said(&words)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    #[serde(borrow, default)]
    id: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    name: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    customer_type: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    generation_date: Option<&'a RawValue>,
    #[serde(borrow, default)]
    contacts: Option<Vec<Person<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Person<'a> {
    #[serde(borrow, default)]
    id: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    contact_person: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    phone: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    additional_phone: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    email: Option<Scalar<'a>>,
    #[serde(default)]
    is_primary_contact: Option<bool>,
}

/// Gson's other form of a date.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parts {
    year: i64,
    month: i64,
    day_of_month: i64,
    #[serde(default)]
    hour_of_day: i64,
    #[serde(default)]
    minute: i64,
    #[serde(default)]
    second: i64,
}

fn text(value: Option<&Scalar>) -> Option<String> {
    value.and_then(Scalar::text)
}

fn moment(raw: &RawValue) -> Option<String> {
    if let Ok(text) = serde_json::from_str::<Cow<str>>(raw.get()) {
        return date::gson(&text);
    }
    let Parts {
        year,
        month,
        day_of_month,
        hour_of_day,
        minute,
        second,
    } = json::read(raw.get().as_bytes()).ok()?;
    date::from_parts([year, month, day_of_month, hour_of_day, minute, second])
}

impl Details<'_> {
    fn customer(&self) -> Result<Customer, Malformed> {
        let customer_id = text(self.id.as_ref()).ok_or_else(|| {
            Malformed::at(
                "Customer Details.id",
                "expected a string or a number that is not blank",
            )
        })?;
        Ok(Customer {
            customer_id,
            name: text(self.name.as_ref()),
            kind: text(self.customer_type.as_ref()),
            contacts: self
                .contacts
                .iter()
                .flatten()
                .map(Person::contact)
                .collect(),
            created_at: self.generation_date.and_then(moment),
            ..Customer::default()
        })
    }
}

impl Person<'_> {
    fn contact(&self) -> Contact {
        let numbers = [&self.phone, &self.additional_phone]
            .into_iter()
            .filter_map(|number| text(number.as_ref()));
        let address = text(self.email.as_ref());
        Contact {
            id: text(self.id.as_ref()),
            name: text(self.contact_person.as_ref()),
            phones: numbers
                .map(|number| Phone {
                    number,
                    ..Phone::default()
                })
                .collect(),
            emails: address
                .map(|address| Email {
                    address,
                    ..Email::default()
                })
                .into_iter()
                .collect(),
            primary: self.is_primary_contact,
        }
    }
}
