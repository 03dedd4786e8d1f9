//! The wire of Antsomi's answers, and what they come to.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    customer::{Customer, Page, Phone},
    failure::{ErrorKind, Failure},
    json::{self, Malformed},
    policy::batch,
    provider::{Outcome, scalar::Scalar},
};

/// The provider's default, and so the least that a full page of a batch's answer has.
const SHORTEST_PAGE: usize = 25;

/// What a reply may have. `data` is an object, a string or absent, and nothing else is sure either.
#[derive(Deserialize)]
pub struct Reply<'a> {
    #[serde(borrow, default)]
    code: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl Reply<'_> {
    /// The answer to one lookup.
    pub fn outcome(&self) -> Result<Outcome, Outcome> {
        let (customers, total) = self.found()?;
        Ok(Outcome::of(
            customers,
            total.map(|_| Page {
                total,
                ..Page::default()
            }),
        ))
    }

    /// The answer to a batch: each one's outcome; none where it is not certain whose is what.
    pub fn split(&self, numbers: &[&str]) -> Result<Option<Vec<Outcome>>, Outcome> {
        let (customers, total) = self.found()?;
        Ok(batch::split(numbers, customers, total, SHORTEST_PAGE))
    }

    fn message(&self) -> String {
        self.message
            .and_then(|message| serde_json::from_str(message.get()).ok())
            .unwrap_or_default()
    }

    /// Everybody on the page, and how many there are on all pages; or why it tells nothing of them.
    fn found(&self) -> Result<(Vec<Customer>, Option<u64>), Outcome> {
        match self.code.as_ref().map_or(Some(200), Scalar::number) {
            Some(200) => self
                .customers()
                .map_err(|problem| Outcome::unreadable(&problem)),
            Some(code) => Err(Outcome::Failed(self.failure(code))),
            None => Err(Outcome::unreadable(&Malformed::at(
                "code",
                "expected a number",
            ))),
        }
    }

    /// The message, unless it is the gateway's HTML page.
    pub fn words(&self) -> Option<String> {
        Some(self.message()).filter(|message| !message.trim_start().starts_with('<'))
    }

    /// The body's own code, under HTTP 200.
    fn failure(&self, code: i64) -> Failure {
        let (kind, what) = match code {
            301 => (
                ErrorKind::Forbidden,
                "the token is invalid, expired or lacks the scope",
            ),
            500 if self.message().contains("429") => (
                ErrorKind::RateLimited,
                "too many requests (429); check the provider's quota",
            ),
            500 => (ErrorKind::ProviderError, "the provider failed"),
            _ => (ErrorKind::Rejected, "the provider refuses this request"),
        };
        let failure = Failure::new(
            kind,
            format!("HTTP 200 with the body's code {code}, expected 200: {what}"),
        );
        match self.words() {
            Some(words) => failure.said(&words),
            None => failure,
        }
    }

    fn customers(&self) -> Result<(Vec<Customer>, Option<u64>), Malformed> {
        let data = self
            .data
            .ok_or_else(|| Malformed::at("data", "missing; expected an object with entries"))?;
        let data: Data =
            json::read(data.get().as_bytes()).map_err(|problem| problem.below("data"))?;
        let customers = data.entries.iter().enumerate().map(|(at, entry)| {
            entry.customer().ok_or_else(|| {
                let path = format!("data.entries[{at}].customer_id.value");
                Malformed::at(&path, "expected a string or a number that is not blank")
            })
        });
        let total = data
            .meta
            .and_then(|meta| meta.total)
            .and_then(|total| total.number()?.try_into().ok());
        Ok((customers.collect::<Result<_, _>>()?, total))
    }
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    entries: Vec<Entry<'a>>,
    #[serde(borrow, default)]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default)]
    total: Option<Scalar<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    customer_id: Field<'a>,
    #[serde(borrow, default)]
    phone: Option<Field<'a>>,
}

#[derive(Deserialize)]
struct Field<'a> {
    #[serde(borrow, default)]
    value: Option<Scalar<'a>>,
}

impl Entry<'_> {
    fn customer(&self) -> Option<Customer> {
        let customer_id = self.customer_id.value.as_ref()?.text()?;
        let number = self
            .phone
            .as_ref()
            .and_then(|phone| phone.value.as_ref()?.text());
        let phones = number
            .map(|number| Phone {
                number,
                ..Phone::default()
            })
            .into_iter()
            .collect();
        Some(Customer {
            customer_id,
            phones,
            ..Customer::default()
        })
    }
}
