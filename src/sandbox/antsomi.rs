//! Antsomi: 'Get Customer ID by phone number'.
//!
//! Inferred: the shape of a 400; that a parameter of no meaning is ignored; that `not_…` operators ask about
//! customers who have a phone at all; that 5xx come from the same nginx as the document's 429, its page inside
//! `message`. A number of the load range is found where it is named itself; what `not_…` leaves over is of the
//! customers below alone.

use std::time::Duration;

use http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    api::Api,
    limit::RateLimit,
    magic::is_load_number,
    pages,
    tokens::{Desk, Place, Refused},
    wire::{Ask, Reply},
};

pub(super) struct Antsomi;

/// The token that is always let in.
const TOKEN: &str = "sandbox-antsomi-token";

const PATH: &str = "/access/api/profile/get-customer-id-by-phone";
const TOKEN_PATH: &str = "/oauth/token";

/// Customer's id and phone.
const CUSTOMERS: [(&str, Option<&str>); 8] = [
    ("84907089782", Some("84907089782")),
    ("84912345678", Some("84912345678")),
    ("c-1001", Some("84987654321")),
    ("c-1002", Some("84987654322")),
    // Two who share a phone.
    ("c-2001", Some("84911111111")),
    ("c-2002", Some("84911111111")),
    ("c-3001", Some("14155550100")),
    ("c-4001", None),
];

/// Its values are numbers where the document shows strings, as sibling pages do.
const IN_NUMBERS: &str = "84922222222";
/// The body's code says 500 though the status is 200.
const FAILING_BODY: &str = "84900000520";
/// As before, and the message is the page of the 429.
const LIMITED_BODY: &str = "84900000521";
/// The body has a code that nobody documents.
const STRANGE_BODY: &str = "84900000522";

#[derive(Serialize)]
struct Success {
    code: u16,
    message: &'static str,
    data: Data,
    #[serde(rename = "codeMessage")]
    code_message: Option<&'static str>,
    duration: &'static str,
}

#[derive(Serialize)]
struct Data {
    entries: Vec<Entry>,
    meta: Meta,
}

#[derive(Serialize)]
struct Meta {
    total: usize,
}

#[derive(Clone, PartialEq, Serialize)]
struct Entry {
    customer_id: Field,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<Field>,
}

#[derive(Clone, PartialEq, Serialize)]
struct Field {
    value: Value,
}

#[derive(Serialize)]
struct Failure {
    code: u16,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<&'static str>,
}

impl Api for Antsomi {
    fn answer(&self, ask: &Ask, desk: &mut Desk) -> Reply {
        match (&ask.method, ask.path()) {
            (_, TOKEN_PATH) => token(ask, desk),
            (&Method::GET, PATH) if !desk.admits(ask, "Bearer") => self.refusal(403),
            (&Method::GET, PATH) => match Question::read(ask) {
                Ok(question) => question.answer(desk),
                Err(problem) => rejected(problem),
            },
            (_, PATH) => Reply::html(405, pages::nginx(405)),
            _ => Reply::html(404, pages::nginx(404)),
        }
    }

    fn refusal(&self, status: u16) -> Reply {
        let failure = match status {
            403 => Failure {
                code: 301,
                message: "Permission denied".into(),
                data: Some("You don't have permission to access this request!"),
                duration: None,
            },
            429 | 500.. => Failure {
                code: 500,
                message: pages::nginx(status),
                data: None,
                duration: Some("0.35 ms"),
            },
            _ => Failure {
                code: status,
                message: "Invalid request".into(),
                data: None,
                duration: Some("0.35 ms"),
            },
        };
        Reply::json(status, &failure)
    }

    fn over_limit(&self, _limit: RateLimit, _wait: Duration) -> Reply {
        self.refusal(429)
    }

    fn is_token_endpoint(&self, path: &str) -> bool {
        path == TOKEN_PATH
    }

    fn token(&self) -> &'static str {
        TOKEN
    }

    fn documented_limit(&self) -> Option<RateLimit> {
        Some(RateLimit {
            requests: 200,
            per: Duration::from_mins(1),
        })
    }

    fn token_path(&self) -> Option<&'static str> {
        Some(TOKEN_PATH)
    }

    fn scope(&self) -> Option<&'static str> {
        Some("item,event,profile")
    }

    fn sample(&self, base: &str) -> String {
        format!(
            "-H 'Authorization: Bearer {TOKEN}' \
             '{base}{PATH}?operator=equals&phone_number=84907089782'"
        )
    }

    fn values(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("84907089782", "the document's example"),
            ("84911111111", "two customers, c-2001 and c-2002"),
            (IN_NUMBERS, "id and phone are numbers, no strings"),
            (FAILING_BODY, "200, but the body's code is 500"),
            (
                LIMITED_BODY,
                "200, but the body's code is 500 and its message the 429 page",
            ),
            (
                STRANGE_BODY,
                "200, but the body's code is 999, without data",
            ),
            (
                "84912345678, 84987654321, 84987654322, 14155550100",
                "one customer each; c-4001 has no phone",
            ),
        ]
    }
}

fn rejected(problem: &'static str) -> Reply {
    let failure = Failure {
        code: 400,
        message: problem.into(),
        data: None,
        duration: Some("0.35 ms"),
    };
    Reply::json(400, &failure)
}

/// What is asked about each customer's phone.
enum Criterion<'a> {
    /// The phone, against one text; the wished answer.
    Text(fn(&str, &str) -> bool, &'a str, bool),
    /// The phone is one of them; the wished answer.
    OneOf(Vec<&'a str>, bool),
    /// There is a phone.
    Known(bool),
}

struct Question<'a> {
    criterion: Criterion<'a>,
    page: usize,
    limit: usize,
}

impl<'a> Question<'a> {
    fn read(ask: &'a Ask) -> Result<Self, &'static str> {
        let one = ask.parameter("phone_number");
        let several: Vec<&str> = ask
            .parameters()
            .iter()
            .filter(|(name, _)| name == "phone_number[]")
            .map(|(_, value)| &**value)
            .collect();
        let text = |test: fn(&str, &str) -> bool, wished| match one {
            Some(text) if !text.is_empty() && several.is_empty() => {
                Ok(Criterion::Text(test, text, wished))
            }
            _ => Err("phone_number is required"),
        };
        let criterion = match ask.parameter("operator").ok_or("operator is required")? {
            "equals" => text(|phone, text| phone == text, true)?,
            "not_equals" => text(|phone, text| phone == text, false)?,
            "contains" => text(|phone, text| phone.contains(text), true)?,
            "doesnt_contain" => text(|phone, text| phone.contains(text), false)?,
            "start_with" => text(|phone, text| phone.starts_with(text), true)?,
            "not_start_with" => text(|phone, text| phone.starts_with(text), false)?,
            "end_with" => text(|phone, text| phone.ends_with(text), true)?,
            "not_end_with" => text(|phone, text| phone.ends_with(text), false)?,
            operator @ ("matches" | "not_matches") if one.is_none() && !several.is_empty() => {
                Criterion::OneOf(several, operator == "matches")
            }
            "matches" | "not_matches" => return Err("phone_number[] is required"),
            // The document's null: a query string can leave it out, empty it, or spell it.
            operator @ ("exists" | "not_exists")
                if several.is_empty() && matches!(one, None | Some("" | "null")) =>
            {
                Criterion::Known(operator == "exists")
            }
            "exists" | "not_exists" => return Err("phone_number must be null"),
            _ => return Err("operator is invalid"),
        };
        let page = count(ask.parameter("page"), 1).ok_or("page is invalid")?;
        let limit = count(ask.parameter("limit"), 25).ok_or("limit is invalid")?;
        Ok(Self {
            criterion,
            page,
            limit,
        })
    }

    fn answer(&self, desk: &mut Desk) -> Reply {
        for phone in self.criterion.phones() {
            desk.asked_for(phone);
        }
        desk.together = desk.asked.len() > 1;
        if let Some(reply) = self
            .criterion
            .phones()
            .iter()
            .find_map(|phone| strange(phone))
        {
            return reply;
        }
        let found = self.criterion.found();
        let total = found.len();
        let first = (self.page - 1).saturating_mul(self.limit);
        let entries = found.into_iter().skip(first).take(self.limit).collect();
        let data = Data {
            entries,
            meta: Meta { total },
        };
        Reply::json(
            200,
            &Success {
                code: 200,
                message: "Success",
                data,
                code_message: None,
                duration: "1.872 ms",
            },
        )
    }
}

impl Criterion<'_> {
    fn fits(&self, phone: Option<&str>) -> bool {
        match self {
            Self::Text(holds, text, wished) => {
                phone.is_some_and(|phone| holds(phone, text) == *wished)
            }
            Self::OneOf(texts, wished) => {
                phone.is_some_and(|phone| texts.contains(&phone) == *wished)
            }
            Self::Known(wished) => phone.is_some() == *wished,
        }
    }

    /// The whole phones that are asked for.
    fn phones(&self) -> Vec<&str> {
        match self {
            Self::Text(_, text, _) => vec![text],
            Self::OneOf(texts, _) => texts.clone(),
            Self::Known(_) => Vec::new(),
        }
    }

    fn found(&self) -> Vec<Entry> {
        let known = CUSTOMERS.iter().filter(|(_, phone)| self.fits(*phone));
        let mut found: Vec<Entry> = known
            .map(|(id, phone)| entry(json!(id), phone.map(|phone| json!(phone))))
            .collect();
        for phone in self.phones() {
            let in_numbers = phone == IN_NUMBERS;
            let listed = CUSTOMERS.iter().any(|(_, known)| *known == Some(phone));
            if listed || !self.fits(Some(phone)) || !(in_numbers || is_load_number(phone)) {
                continue;
            }
            let value = if in_numbers {
                phone.parse::<u64>().map_or(Value::Null, Value::from)
            } else {
                json!(phone)
            };
            let entry = entry(value.clone(), Some(value));
            if !found.contains(&entry) {
                found.push(entry);
            }
        }
        found
    }
}

fn entry(customer_id: Value, phone: Option<Value>) -> Entry {
    Entry {
        customer_id: Field { value: customer_id },
        phone: phone.map(|value| Field { value }),
    }
}

/// A 200 whose body says otherwise.
fn strange(phone: &str) -> Option<Reply> {
    let (code, message) = match phone {
        FAILING_BODY => (500, "Internal error".to_owned()),
        LIMITED_BODY => (500, pages::nginx(429)),
        STRANGE_BODY => (999, "Something else".to_owned()),
        _ => return None,
    };
    Some(Reply::json(
        200,
        &Failure {
            code,
            message,
            data: None,
            duration: Some("0.35 ms"),
        },
    ))
}

fn count(given: Option<&str>, default: usize) -> Option<usize> {
    given.map_or(Some(default), |text| {
        text.parse().ok().filter(|count| *count > 0)
    })
}

/// The token reply is Antsomi's own: camel case, and the expiry is a time.
fn token(ask: &Ask, desk: &mut Desk) -> Reply {
    let fits = |scope: Option<&str>| {
        scope.is_some_and(|scope| {
            scope
                .split(',')
                .all(|item| matches!(item.trim(), "item" | "event" | "profile"))
        })
    };
    match desk.grant(ask, Place::Either, fits) {
        Ok(issued) => {
            let end = jiff::Timestamp::try_from(issued.expires_at).unwrap_or(jiff::Timestamp::MAX);
            let form = ask.form().unwrap_or_default();
            let scope = form
                .iter()
                .find(|(name, _)| name == "scope")
                .map(|(_, scope)| scope.as_str());
            Reply::json(
                200,
                &json!({ "accessToken": issued.token, "accessTokenExpiresAt": format!("{end:.3}"), "scope": scope }),
            )
        }
        Err(Refused(status, name, message)) => Reply::json(
            status,
            &json!({ "statusCode": status, "status": status, "code": status, "message": message, "name": name }),
        ),
    }
}
