//! What eGain answers, and wire to [`Customer`].

use jiff::{Timestamp, civil, tz::Offset};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    customer::{Contact, Customer, Email, Page, Phone},
    json::{self, Malformed},
    provider::{Outcome, date, scalar::Scalar},
};

/// What a failure's body says.
pub fn words(body: &[u8]) -> Option<String> {
    let problem: Problem = json::read(body).ok()?;
    let message =
        text(problem.developer_message.as_ref()).or_else(|| text(problem.user_message.as_ref()));
    let words: Vec<String> = [text(problem.code.as_ref()), message]
        .into_iter()
        .flatten()
        .collect();
    Some(words.join(": "))
}

/// A date-time in UTC, whether or not it says so.
pub fn moment(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let in_utc = || {
        Offset::UTC
            .to_timestamp(text.parse::<civil::DateTime>().ok()?)
            .ok()
    };
    let http_date = || httpdate::parse_http_date(text).ok()?.try_into().ok();
    text.parse().ok().or_else(in_utc).or_else(http_date)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    #[serde(borrow, default)]
    code: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    developer_message: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    user_message: Option<Scalar<'a>>,
}

/// The body of a 200.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply<'a> {
    #[serde(borrow)]
    customer: Vec<Wire<'a>>,
    #[serde(borrow, default)]
    pagination_info: Option<Pagination<'a>>,
}

impl Reply<'_> {
    /// What it comes to.
    pub fn outcome(&self) -> Result<Outcome, Malformed> {
        let customers = self
            .customer
            .iter()
            .enumerate()
            .map(|(at, wire)| wire.customer(at));
        let page = self
            .pagination_info
            .as_ref()
            .map(Pagination::page)
            .filter(|page| *page != Page::default());
        Ok(Outcome::of(customers.collect::<Result<_, _>>()?, page))
    }
}

/// Absent where a range was asked for.
#[derive(Deserialize)]
struct Pagination<'a> {
    #[serde(borrow, default)]
    count: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    pagenum: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    pagesize: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow, default)]
    id: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    customer_name: Option<Scalar<'a>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    created: Option<&'a RawValue>,
    #[serde(borrow, default)]
    last_modified: Option<&'a RawValue>,
    #[serde(borrow, default)]
    contacts: Option<Contacts<'a>>,
}

#[derive(Deserialize)]
struct Contacts<'a> {
    #[serde(borrow, default)]
    contact: Vec<Person<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Person<'a> {
    #[serde(default)]
    system_created: Option<bool>,
    #[serde(borrow, default)]
    id: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    first_name: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    middle_name: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    last_name: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    email: Option<Vec<EmailAddress<'a>>>,
    #[serde(borrow, default)]
    phone: Option<Vec<PhoneNumber<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EmailAddress<'a> {
    #[serde(borrow, default)]
    email_address: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PhoneNumber<'a> {
    #[serde(borrow, default)]
    id: Option<Scalar<'a>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    country_code: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    area_code: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    phone_no: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    extension: Option<Scalar<'a>>,
}

fn text(value: Option<&Scalar>) -> Option<String> {
    value.and_then(Scalar::text)
}

/// A text, or an object that holds it as `value` or `date`.
fn held(raw: Option<&RawValue>) -> Option<String> {
    #[derive(Deserialize)]
    struct Holder<'a> {
        #[serde(borrow, alias = "date")]
        value: Scalar<'a>,
    }
    let raw = raw?.get();
    let scalar = match raw.as_bytes().first() {
        Some(b'{') => serde_json::from_str::<Holder>(raw).ok()?.value,
        _ => serde_json::from_str(raw).ok()?,
    };
    scalar.text()
}

impl Pagination<'_> {
    fn page(&self) -> Page {
        let count = |value: &Option<Scalar>| value.as_ref()?.number()?.try_into().ok();
        Page {
            total: count(&self.count),
            page: count(&self.pagenum),
            page_size: count(&self.pagesize),
        }
    }
}

impl Wire<'_> {
    fn customer(&self, at: usize) -> Result<Customer, Malformed> {
        let customer_id = text(self.id.as_ref()).ok_or_else(|| {
            Malformed::at(
                &format!("customer[{at}].id"),
                "expected a string or a number that is not blank",
            )
        })?;
        // A contact that eGain made by itself is no person.
        let people = self.contacts.iter().flat_map(|contacts| &contacts.contact);
        let people = people.filter(|person| person.system_created != Some(true));
        Ok(Customer {
            customer_id,
            name: text(self.customer_name.as_ref()),
            kind: held(self.kind),
            contacts: people.map(Person::contact).collect(),
            created_at: held(self.created).as_deref().and_then(date::zoned),
            changed_at: held(self.last_modified).as_deref().and_then(date::zoned),
            ..Customer::default()
        })
    }
}

impl Person<'_> {
    fn contact(&self) -> Contact {
        let names = [&self.first_name, &self.middle_name, &self.last_name];
        let names: Vec<String> = names
            .into_iter()
            .filter_map(|name| text(name.as_ref()))
            .collect();
        let emails = self
            .email
            .iter()
            .flatten()
            .filter_map(|email| text(email.email_address.as_ref()));
        Contact {
            id: text(self.id.as_ref()),
            name: (!names.is_empty()).then(|| names.join(" ")),
            phones: self
                .phone
                .iter()
                .flatten()
                .filter_map(PhoneNumber::phone)
                .collect(),
            emails: emails
                .map(|address| Email {
                    address,
                    ..Email::default()
                })
                .collect(),
            primary: None,
        }
    }
}

impl PhoneNumber<'_> {
    /// The parts, joined as people write them: `+1 408 234 3456`.
    fn phone(&self) -> Option<Phone> {
        let country = text(self.country_code.as_ref())
            .map(|code| format!("+{}", code.trim_start_matches('+')));
        let parts = [
            country,
            text(self.area_code.as_ref()),
            Some(text(self.phone_no.as_ref())?),
        ];
        Some(Phone {
            number: parts.into_iter().flatten().collect::<Vec<_>>().join(" "),
            extension: text(self.extension.as_ref()),
            kind: held(self.kind),
            id: text(self.id.as_ref()),
            ..Phone::default()
        })
    }
}
