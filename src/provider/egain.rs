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
use serde_json::{Map, Value, json, value::RawValue};
use url::Url;

use self::parameters::{ATTRIBUTES, SORTS};
use super::{
    Kind,
    class::{self, Rules},
    criterion::{Text, Whole, all_given, none_given},
    encoded, phone, scrub, trimmed, wait,
};
use crate::{
    config::{self, Credentials, OAuthSettings, PhoneFormat, Secret},
    failure::{ErrorKind, Failure},
    json::{Malformed, Node},
    outcome::Outcome,
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
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "EgainSettings")]
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
#[schemars(rename = "EgainQuery", extend("not" = none_given(&SUFFICIENT)))]
pub struct Query {
    /// Telephone number of a contact.
    phone: Option<phone::Number>,
    /// Email address of a contact.
    email: Option<Text>,
    /// Custom attributes of customer or contact person.
    #[schemars(length(min = 1))]
    custom: Option<Vec<Custom>>,
    /// What the customer's activities have, as `{"type": "email", "mode": "outbound"}`.
    #[schemars(extend("not" = unfit_activity()))]
    activity: Option<Map<String, Value>>,
    /// Facebook id of a contact.
    facebook_id: Option<Text>,
    /// Twitter id of a contact.
    twitter_id: Option<Text>,
    /// Instagram id of a contact.
    instagram_id: Option<Text>,
    /// Apple Opaque id of a contact.
    apple_opaque_id: Option<Text>,
    /// YouTube id of a contact.
    youtube_id: Option<Text>,
    /// When the customer was created, UTC: `[start,end]`, `[start,]` or `[,end]`.
    #[schemars(extend("pattern" = parameters::DATE_RANGE))]
    created: Option<String>,
    /// Type of the customer; needs one criterion more.
    #[serde(rename = "type")]
    kind: Option<CustomerType>,
    /// Name of the customer, or a part of it.
    customer_name: Option<Text>,
    /// Name of the department.
    department: Option<Text>,
}

/// A custom attribute's value.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EgainCustomAttribute")]
struct Custom {
    /// Whose attribute it is.
    object: CustomOwner,
    /// Its name.
    name: Text,
    /// Its value.
    value: Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EgainAttributeOwner")]
enum CustomOwner {
    Customer,
    ContactPerson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "EgainCustomerType")]
enum CustomerType {
    Individual,
    Corporate,
    Group,
}

/// How to look.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "EgainOptions", extend("not" = unfit_options()))]
pub struct Options {
    /// Further attributes to return: `all`, `role`, `created` …, `custom.NAME`.
    #[schemars(length(min = 1), inner(regex(pattern = parameters::pattern_of(&ATTRIBUTES))))]
    attributes: Option<Vec<String>>,
    /// Attribute to sort by: `id`, `type`, `customerName` or `custom.NAME`.
    #[schemars(extend("pattern" = parameters::pattern_of(&SORTS)))]
    sort: Option<String>,
    /// Direction; needs `sort`.
    order: Option<Order>,
    /// Page of the answer, from 1; not with a range.
    page: Option<Whole<1>>,
    /// Customers on a page; the provider's default is 25.
    page_size: Option<Whole<1>>,
    /// First customer of the answer, from 1; not with a page.
    range_start: Option<Whole<1>>,
    /// Customers in the range; the provider's default is 25.
    range_size: Option<Whole<1>>,
    /// Language of the reply, instead of the provider's setting.
    #[schemars(with = "Option<parameters::Language>")]
    language: Option<String>,
    /// Add the provider's payload to the result, verbatim but for `pin` and `secretAnswer`.
    raw: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "EgainOrder")]
enum Order {
    Asc,
    Desc,
}

/// The criteria that suffice, each by itself.
const SUFFICIENT: [&str; 12] = [
    "phone",
    "email",
    "custom",
    "activity",
    "facebook_id",
    "twitter_id",
    "instagram_id",
    "apple_opaque_id",
    "youtube_id",
    "created",
    "customer_name",
    "department",
];

/// In the schema: no member, or a date of sending that is no range.
fn unfit_activity() -> Value {
    let range = json!({"type": ["string", "null"], "pattern": parameters::DATE_RANGE});
    json!({"type": "object", "anyOf": [
        {"additionalProperties": {"type": "null"}},
        {"required": ["sentDate"], "properties": {"sentDate": {"not": range}}},
    ]})
}

/// In the schema: an order without a sort, a page with a range.
fn unfit_options() -> Value {
    let (page, range) = (["page", "page_size"], ["range_start", "range_size"]);
    json!({"anyOf": [
        {"allOf": [all_given(&["order"]), none_given(&["sort"])]},
        {"allOf": [{"not": none_given(&page)}, {"not": none_given(&range)}]},
    ]})
}

impl Query {
    /// The criteria that suffice, as (parameter, value).
    fn criteria(&self, format: PhoneFormat) -> Result<Vec<(&'static str, String)>, Malformed> {
        let mut criteria = Vec::new();
        if let Some(phone) = &self.phone {
            criteria.push(("phone", phone.written(format, "query.phone")?));
        }
        let texts = [
            ("email", &self.email),
            ("facebookId", &self.facebook_id),
            ("twitterId", &self.twitter_id),
            ("instagramId", &self.instagram_id),
            ("appleOpaqueId", &self.apple_opaque_id),
            ("youTubeId", &self.youtube_id),
            ("customerName", &self.customer_name),
            ("department", &self.department),
        ];
        for (name, text) in texts {
            criteria.extend(text.as_ref().map(|text| (name, text.as_str().to_owned())));
        }
        if let Some(range) = &self.created {
            parameters::date_range(range, "query.created")?;
            criteria.push(("created", range.clone()));
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
    serde_json::to_string(custom)
        .map_err(|_| Malformed::at("query.custom", "expected an array of objects"))
}

/// Its members that are null are as absent.
fn activity_text(activity: &Map<String, Value>) -> Result<String, Malformed> {
    let mut activity = activity.clone();
    activity.retain(|_, value| !value.is_null());
    if activity.is_empty() {
        return Err(Malformed::at(
            "query.activity",
            "expected at least one member, got an empty object",
        ));
    }
    if let Some(sent) = activity.get("sentDate") {
        parameters::date_range(sent.as_str().unwrap_or_default(), "query.activity.sentDate")?;
    }
    serde_json::to_string(&activity)
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
            ("$pagenum", self.page),
            ("$pagesize", self.page_size),
            ("$rangestart", self.range_start),
            ("$rangesize", self.range_size),
        ];
        for (name, count) in counts {
            all.extend(count.map(|count| (name, count.get().to_string())));
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
    const FILLS: &'static [&'static str] = &[
        "customer_id",
        "name",
        "type",
        "contacts",
        "created_at",
        "changed_at",
    ];
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
            failure.retry_after = failure
                .retry_after
                .max(Some(class::until(reset, wait::clock(headers, now))));
        }
    }

    fn raw(payload: &str) -> Option<Box<RawValue>> {
        scrub::without(payload, &SECRETS)
    }
}
