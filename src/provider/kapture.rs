//! Kapture: 'Get Customer' (`docs/providers/kapture.md`).
//!
//! Inferred, not documented: 'not found' is a `Customer Details` that is a text and says 'does not exist' (the
//! document's text has a misspelling that may be mended one day); a reply with an object there and no `status`
//! is a success.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request,
    header::{AUTHORIZATION, CONTENT_TYPE, InvalidHeaderValue},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use super::{
    Kind,
    class::Rules,
    criterion::{Id, Text, none_given},
    date, phone, trimmed,
};
use crate::{
    config::{self, Credentials, PhoneFormat, Secret},
    customer::{Contact, Customer, Email, Phone},
    failure::{ErrorKind, Failure},
    json::{Malformed, Members, Node},
    outcome::Outcome,
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
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "KaptureSettings")]
pub struct Settings {
    token: Secret,
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
    const FILLS: &'static [&'static str] =
        &["customer_id", "name", "type", "contacts", "created_at"];
    const DEFAULT_QUOTA: Option<(u32, Duration)> = None;
    type Settings = Settings;
    type Query = Query;
    type Options = Options;

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

    fn read(&self, _query: &Query, _options: &Options, answer: Node) -> Result<Outcome, Malformed> {
        Reply::of(answer.object("")?).outcome()
    }

    fn said(body: Node) -> Option<String> {
        Reply::of(body.members()).words()
    }
}

/// What a reply has; older documents capitalise.
struct Reply<'a> {
    details: Node<'a>,
    status: Option<String>,
    message: Option<String>,
}

impl<'a> Reply<'a> {
    fn of(members: Members<'a>) -> Self {
        let either = |name, older| members.get(name).or(members.get(older)).text();
        Self {
            details: members.get("Customer Details"),
            status: either("status", "Status"),
            message: either("message", "Message"),
        }
    }

    /// The message, or `Customer Details` where it is a text: then it says why there are none.
    fn words(&self) -> Option<String> {
        self.message.clone().or_else(|| self.details.text())
    }

    fn is_failed(&self) -> bool {
        match &self.status {
            Some(status) => !status.eq_ignore_ascii_case("success"),
            None => self.message.is_some(),
        }
    }

    fn outcome(&self) -> Result<Outcome, Malformed> {
        let said_that_none = self
            .details
            .text()
            .is_some_and(|text| text.to_ascii_lowercase().contains("does not exist"));
        let is_success = self.status.is_some() && !self.is_failed();
        if said_that_none && !is_success {
            return Ok(Outcome::NotFound(None));
        }
        if self.is_failed() {
            return Ok(Outcome::Failed(self.failure()));
        }
        Ok(Outcome::Found(vec![customer(self.details)?], None))
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

fn customer(details: Node) -> Result<Customer, Malformed> {
    let path = "Customer Details";
    let members = details.object(path)?;
    let customer_id = members.get("id").required_id("id");
    Ok(Customer {
        customer_id: customer_id.map_err(|problem| problem.below(path))?,
        name: members.get("name").text(),
        kind: members.get("customerType").text(),
        contacts: members
            .get("contacts")
            .list()
            .into_iter()
            .filter_map(contact)
            .collect(),
        created_at: moment(members.get("generationDate")),
        ..Customer::default()
    })
}

/// Gson writes a date as text or in parts; a calendar's month counts from 0.
fn moment(date: Node) -> Option<String> {
    if !date.is_container() {
        return date::of(date);
    }
    let parts = date.members();
    let required = ["year", "month", "dayOfMonth"].map(|name| parts.get(name).number());
    let [year, month, day] = required;
    let [hour, minute, second] =
        ["hourOfDay", "minute", "second"].map(|name| match parts.get(name) {
            part if part.is_nothing() => Some(0),
            part => part.number(),
        });
    date::from_parts([year?, month?.checked_add(1)?, day?, hour?, minute?, second?])
}

/// A person, where it is an object.
fn contact(person: Node) -> Option<Contact> {
    let members = person.object("").ok()?;
    let numbers = ["phone", "additionalPhone"].into_iter();
    Some(Contact {
        id: members.get("id").id(),
        name: members.get("contactPerson").text(),
        phones: numbers
            .filter_map(|name| members.get(name).id().map(Phone::of))
            .collect(),
        emails: members
            .get("email")
            .text()
            .map(Email::of)
            .into_iter()
            .collect(),
        primary: members.get("isPrimaryContact").flag(),
    })
}
