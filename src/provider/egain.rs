//! eGain: 'Search for customers' (`docs/providers/egain.md`).
//!
//! Inferred, not documented: several attributes go as one `$attribute`, separated by commas; `page` may be
//! given without `page_size` and the other way round, since each has a default, and the range likewise; a
//! department alone is a criterion; a date may be an object that holds it as `date`.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request,
    header::{ACCEPT, ACCEPT_LANGUAGE, AUTHORIZATION, InvalidHeaderValue},
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use url::Url;

use self::parameters::{ATTRIBUTES, LANGUAGES, SORTS};
use super::{
    Kind, Outcome,
    class::{self, Rules},
    criterion::filled,
    encoded, phone, scrub, trimmed,
};
use crate::{
    config::{self, Credentials, OAuthSettings, PhoneFormat, Secret},
    failure::{ErrorKind, Failure},
    json::{Malformed, Node},
};

mod parameters; // what a value may be
mod reply; // the wire, and wire to customer

const PATH: &str = "/core/customermgr/v3/customer";

/// `$attribute=all` can return these.
const SECRETS: [&str; 2] = ["pin", "secretAnswer"];

/// The adapter.
#[derive(Debug)]
pub struct EGain {
    endpoint: String,
    language: String,
    phone_format: PhoneFormat,
}

/// The keys of kind `egain` alone.
#[derive(Debug, Deserialize)]
pub struct Settings {
    token: Option<Secret>,
    oauth: Option<OAuthSettings>,
    #[serde(default = "english")]
    language: String,
    #[serde(default, deserialize_with = "config::word")]
    phone_format: PhoneFormat,
}

fn english() -> String {
    "en-US".into()
}

/// Whom to look for: one criterion or more, of which `type` alone is not enough.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "EgainQuery", extend("minProperties" = 1))]
pub struct Query {
    /// Telephone number of a contact.
    phone: Option<String>,
    /// Email address of a contact.
    email: Option<String>,
    /// Custom attributes of customer or contact person.
    custom: Option<Vec<Custom>>,
    /// What the customer's activities have, as `{"type": "email", "mode": "outbound"}`.
    activity: Option<Map<String, Value>>,
    /// Facebook id of a contact.
    facebook_id: Option<String>,
    /// Twitter id of a contact.
    twitter_id: Option<String>,
    /// Instagram id of a contact.
    instagram_id: Option<String>,
    /// Apple Opaque id of a contact.
    apple_opaque_id: Option<String>,
    /// YouTube id of a contact.
    youtube_id: Option<String>,
    /// When the customer was created, UTC: `[start,end]`, `[start,]` or `[,end]`.
    created: Option<String>,
    /// Type of the customer; needs one criterion more.
    #[serde(rename = "type")]
    kind: Option<CustomerType>,
    /// Name of the customer, or a part of it.
    customer_name: Option<String>,
    /// Name of the department.
    department: Option<String>,
}

/// A custom attribute's value.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Custom {
    /// Whose attribute it is.
    object: CustomOwner,
    /// Its name.
    name: String,
    /// Its value.
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum CustomOwner {
    Customer,
    ContactPerson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum CustomerType {
    Individual,
    Corporate,
    Group,
}

/// How to look.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "EgainOptions")]
pub struct Options {
    /// Further attributes to return: `all`, `role`, `created` …, `custom.NAME`.
    attributes: Option<Vec<String>>,
    /// Attribute to sort by: `id`, `type`, `customerName` or `custom.NAME`.
    sort: Option<String>,
    /// Direction; needs `sort`.
    order: Option<Order>,
    /// Page of the answer, from 1; not with a range.
    #[schemars(range(min = 1))]
    page: Option<u64>,
    /// Customers on a page; the provider's default is 25.
    #[schemars(range(min = 1))]
    page_size: Option<u64>,
    /// First customer of the answer, from 1; not with a page.
    #[schemars(range(min = 1))]
    range_start: Option<u64>,
    /// Customers in the range; the provider's default is 25.
    #[schemars(range(min = 1))]
    range_size: Option<u64>,
    /// Language of the reply, instead of the provider's setting.
    #[schemars(extend("enum" = LANGUAGES))]
    language: Option<String>,
    /// Add the provider's payload to the result, verbatim but for `pin` and `secretAnswer`.
    raw: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Order {
    Asc,
    Desc,
}

impl Query {
    /// The criteria that suffice, as (parameter, value).
    fn criteria(&self, format: PhoneFormat) -> Result<Vec<(&'static str, String)>, Malformed> {
        let mut criteria = Vec::new();
        if let Some(phone) = &self.phone {
            criteria.push(("phone", phone::written(phone, format, "query.phone")?));
        }
        let texts = [
            ("email", "query.email", &self.email),
            ("facebookId", "query.facebook_id", &self.facebook_id),
            ("twitterId", "query.twitter_id", &self.twitter_id),
            ("instagramId", "query.instagram_id", &self.instagram_id),
            (
                "appleOpaqueId",
                "query.apple_opaque_id",
                &self.apple_opaque_id,
            ),
            ("youTubeId", "query.youtube_id", &self.youtube_id),
            ("created", "query.created", &self.created),
            ("customerName", "query.customer_name", &self.customer_name),
            ("department", "query.department", &self.department),
        ];
        for (name, field, text) in texts {
            criteria.extend(filled(text.as_ref(), field)?.map(|text| (name, text.to_owned())));
        }
        if let Some(range) = &self.created {
            parameters::date_range(range, "query.created")?;
        }
        if let Some(custom) = &self.custom {
            criteria.push(("custom", custom_text(custom)?));
        }
        if let Some(activity) = &self.activity {
            criteria.push(("activity", activity_text(activity)?));
        }
        Ok(criteria)
    }
}

fn custom_text(custom: &[Custom]) -> Result<String, Malformed> {
    if custom.is_empty() {
        return Err(Malformed::at(
            "query.custom",
            "expected at least one object, got an empty array",
        ));
    }
    for (at, attribute) in custom.iter().enumerate() {
        filled(Some(&attribute.name), &format!("query.custom[{at}].name"))?;
        filled(Some(&attribute.value), &format!("query.custom[{at}].value"))?;
    }
    serde_json::to_string(custom)
        .map_err(|_| Malformed::at("query.custom", "expected an array of objects"))
}

fn activity_text(activity: &Map<String, Value>) -> Result<String, Malformed> {
    if activity.is_empty() {
        return Err(Malformed::at(
            "query.activity",
            "expected at least one member, got an empty object",
        ));
    }
    if let Some(sent) = activity.get("sentDate") {
        parameters::date_range(sent.as_str().unwrap_or_default(), "query.activity.sentDate")?;
    }
    serde_json::to_string(activity)
        .map_err(|_| Malformed::at("query.activity", "expected an object"))
}

impl CustomerType {
    fn name(self) -> &'static str {
        match self {
            Self::Individual => "individual",
            Self::Corporate => "corporate",
            Self::Group => "group",
        }
    }
}

impl Options {
    /// The `$` parameters, checked, as (parameter, value).
    fn parameters(&self) -> Result<Vec<(&'static str, String)>, Malformed> {
        let mut all = Vec::new();
        if let Some(attributes) = &self.attributes {
            parameters::all_of(attributes, &ATTRIBUTES, "options.attributes")?;
            all.push(("$attribute", attributes.join(",")));
        }
        if let Some(sort) = &self.sort {
            parameters::one_of(sort, &SORTS, "options.sort")?;
            all.push(("$sort", sort.clone()));
        }
        if let Some(order) = self.order {
            if self.sort.is_none() {
                return Err(Malformed::at(
                    "options.order",
                    "expected options.sort with it",
                ));
            }
            all.push((
                "$order",
                if order == Order::Asc { "asc" } else { "desc" }.to_owned(),
            ));
        }
        let by_page = self.page.is_some() || self.page_size.is_some();
        if by_page && (self.range_start.is_some() || self.range_size.is_some()) {
            let problem =
                "expected either page and page_size or range_start and range_size, got both";
            return Err(Malformed::at("options", problem));
        }
        let counts = [
            ("$pagenum", "options.page", self.page),
            ("$pagesize", "options.page_size", self.page_size),
            ("$rangestart", "options.range_start", self.range_start),
            ("$rangesize", "options.range_size", self.range_size),
        ];
        for (name, field, count) in counts {
            match count {
                Some(0) => return Err(Malformed::at(field, "expected an integer of at least 1")),
                count => all.extend(count.map(|count| (name, count.to_string()))),
            }
        }
        Ok(all)
    }
}

impl Kind for EGain {
    const NAME: &'static str = "egain";
    const RULES: Rules = Rules {
        none_by_404: false,
        none_by_204: true,
        rest_after_500: false,
    };
    const DEFAULT_QUOTA: Option<(u32, Duration)> = None;
    type Settings = Settings;
    type Query = Query;
    type Options = Options;

    fn new(base_url: &Url, settings: Settings) -> Result<(Self, Credentials), Malformed> {
        let Settings {
            token,
            oauth,
            language,
            phone_format,
        } = settings;
        let credentials = Credentials::one_of(token, oauth)?;
        parameters::language(&language, "language")?;
        Ok((
            Self {
                endpoint: trimmed(base_url)? + PATH,
                language,
                phone_format,
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
        let mut all = query.criteria(self.phone_format)?;
        if all.is_empty() {
            let what = if query.kind.is_some() {
                "one criterion more beside type"
            } else {
                "at least one criterion"
            };
            return Err(Malformed::at(
                "query",
                format!("expected {what}: phone, email, customer_name, …"),
            ));
        }
        all.extend(query.kind.map(|kind| ("type", kind.name().to_owned())));
        all.extend(options.parameters()?);
        let language = options.language.as_ref().unwrap_or(&self.language);
        parameters::language(language, "options.language")?;
        let pairs: Vec<String> = all
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        Request::get(format!("{}?{}", self.endpoint, pairs.join("&")))
            .header(ACCEPT, "application/json")
            .header(ACCEPT_LANGUAGE, language)
            .body(Bytes::new())
            .map_err(|_| {
                Malformed::at(
                    "query",
                    "expected shorter values; the request's address grows too long",
                )
            })
    }

    fn wants_raw(options: &Options) -> bool {
        options.raw
    }

    fn read(&self, _query: &Query, _options: &Options, answer: Node) -> Result<Outcome, Malformed> {
        reply::outcome(answer)
    }

    fn said(body: Node) -> Option<String> {
        reply::words(body)
    }

    /// eGain tells when its quota is whole again by a date-time in UTC.
    fn refine(
        _status: u16,
        headers: &HeaderMap,
        _body: Node,
        now: Timestamp,
        failure: &mut Failure,
    ) {
        let reset = headers
            .get("x-ratelimit-reset")
            .and_then(|reset| reply::moment(reset.to_str().ok()?));
        if let (ErrorKind::RateLimited, Some(reset)) = (failure.kind, reset) {
            failure.retry_after = failure.retry_after.max(Some(class::until(reset, now)));
        }
    }

    fn raw(payload: &str) -> Option<Box<RawValue>> {
        scrub::without(payload, &SECRETS)
    }
}
