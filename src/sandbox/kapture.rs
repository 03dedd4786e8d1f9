//! Kapture: 'Get Customer'.
//!
//! The document's example asks by an id, an email and a phone of which only the id is the found customer's: so
//! the first criterion given decides, in the order in which the document lists them. Inferred: the bodies of a 400
//! and of other statuses; the container's HTML page for a path that is not there.

use http::Method;
use serde_json::{Value, json};

use super::{
    api::Api,
    magic::is_load_number,
    pages,
    tokens::Desk,
    wire::{Ask, Reply},
};

pub(super) struct Kapture;

/// The token that is always let in.
const TOKEN: &str = "sandbox-kapture-token";

const PATH: &str = "/search-customer-by-customer-id.html";

/// The document's response to the byte.
const EXAMPLE: &str = include_str!("kapture/example.json");
const CRITERIA: [&str; 3] = ["kapture_customer_id", "email_id", "phone"];

/// Customers by id, email and phone.
const CUSTOMERS: [(&str, &str, &str); 3] = [
    ("191121684", "sashank@gmail.com", "9380491326"),
    (NEW_DATES, "priya@example.com", "9380491327"),
    (BLANK, "", "9380491328"),
];
/// The date's text is that of a newer Java: a comma more, and a narrow no-break space before PM.
const NEW_DATES: &str = "191121685";
/// Nearly everything is blank, and there are two contacts of which the second is the primary one.
const BLANK: &str = "191121686";
/// A failure that no document lists.
const STRANGE: &str = "191121690";
/// The capitals of older documents.
const OLD_REFUSAL: &str = "191121691";

impl Api for Kapture {
    fn answer(&self, ask: &Ask, desk: &mut Desk) -> Reply {
        if ask.path() != PATH {
            return Reply::html(404, pages::container(404));
        }
        if ask.method != Method::POST {
            return Reply::html(405, pages::container(405));
        }
        if !desk.admits(ask, "Basic") {
            return failed(200, "Invalid Auth Key");
        }
        match criterion(ask) {
            Ok((name, value)) => {
                desk.asked_for(&value);
                customer(name, &value)
            }
            Err(problem) => failed(400, problem),
        }
    }

    fn refusal(&self, status: u16) -> Reply {
        failed(
            status,
            match status {
                400 => "Bad Request - Invalid parameters or missing data",
                401 => "Unauthorized - Invalid or missing API key",
                403 => "Forbidden - Insufficient permissions",
                404 => "Not Found - Resource or endpoint not found",
                429 => "Too Many Requests",
                500.. => "Internal Server Error - Server-side issue",
                _ => "Request failed",
            },
        )
    }

    fn token(&self) -> &'static str {
        TOKEN
    }

    fn sample(&self, base: &str) -> String {
        format!(
            "-H 'Authorization: Basic {TOKEN}' -H 'Content-Type: application/json' \
             -d '[{{\"kapture_customer_id\":\"191121684\"}}]' '{base}{PATH}'"
        )
    }

    fn values(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "191121684",
                "the document's example; also by sashank@gmail.com or 9380491326",
            ),
            (NEW_DATES, "dates as newer servers write them"),
            (
                BLANK,
                "blank fields, and the primary contact is the second one",
            ),
            (
                STRANGE,
                "200 and failed, for a reason that nobody documents",
            ),
            (
                OLD_REFUSAL,
                "200 and 'Invalid Auth Key' with the capitals of older documents",
            ),
        ]
    }
}

/// The criterion that decides, and its value.
fn criterion(ask: &Ask) -> Result<(&'static str, String), &'static str> {
    if !ask
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/json"))
    {
        return Err("expected Content-Type: application/json");
    }
    let body: Value = serde_json::from_slice(&ask.body).map_err(|_| "the body is no JSON")?;
    let [Value::Object(element)] = body.as_array().ok_or("the body is no array")?.as_slice() else {
        return Err("expected an array of one object");
    };
    let mut given = CRITERIA
        .into_iter()
        .filter_map(|name| Some((name, element.get(name)?)));
    let (name, value) = given
        .next()
        .ok_or("one of kapture_customer_id, email_id, phone is mandatory")?;
    match value {
        Value::String(text) if !text.trim().is_empty() => Ok((name, text.clone())),
        Value::Number(number) if name != "email_id" => Ok((name, number.to_string())),
        _ => Err("a criterion is neither a text nor a number"),
    }
}

fn customer(name: &str, value: &str) -> Reply {
    match value {
        STRANGE => return failed(200, "Customer is locked by another process."),
        OLD_REFUSAL => {
            return Reply::json(
                200,
                &json!({ "Message": "Invalid Auth Key", "Status": "failed" }),
            );
        }
        _ => {}
    }
    let by = |(id, email, phone): &&(&str, &str, &str)| match name {
        "kapture_customer_id" => *id == value,
        "email_id" => email.eq_ignore_ascii_case(value),
        _ => *phone == value,
    };
    match CUSTOMERS.iter().find(by) {
        Some((NEW_DATES, ..)) => new_dates(),
        Some((BLANK, ..)) => blank(),
        Some(_) => Reply::text(200, "application/json", EXAMPLE),
        None if is_load_number(value) => load(value),
        None => failed_with(
            "Customer Details",
            "Information given by you does not exist in our sytsem.",
            200,
        ),
    }
}

fn failed(status: u16, message: &str) -> Reply {
    failed_with("message", message, status)
}

fn failed_with(key: &str, message: &str, status: u16) -> Reply {
    Reply::json(status, &json!({ key: message, "status": "failed" }))
}

/// The example as another customer: what `change` does to its details and to its contact.
fn like_the_example(id: u64, name: &str, change: impl FnOnce(&mut Value)) -> Reply {
    let mut body: Value = serde_json::from_str(EXAMPLE).expect("the document's example is JSON");
    let details = &mut body["Customer Details"];
    details["id"] = id.into();
    details["name"] = name.into();
    details["contacts"][0]["leadId"] = id.into();
    details["contacts"][0]["contactPerson"] = name.into();
    change(details);
    Reply::json(200, &body)
}

fn new_dates() -> Reply {
    like_the_example(191_121_685, "Priya", |details| {
        details["generationDate"] = "May 2, 2024, 4:15:42\u{202f}PM".into();
        details["contacts"][0]["phone"] = "9380491327".into();
        details["contacts"][0]["email"] = "priya@example.com".into();
    })
}

fn blank() -> Reply {
    like_the_example(191_121_686, " ", |details| {
        let mut second = details["contacts"][0].clone();
        details["contacts"][0]["isPrimaryContact"] = false.into();
        details["contacts"][0]["phone"] = " ".into();
        details["contacts"][0]["email"] = "".into();
        second["id"] = 209_432_476.into();
        second["contactPerson"] = "Anil".into();
        second["phone"] = "9380491328".into();
        second["email"] = " ".into();
        if let Some(contacts) = details["contacts"].as_array_mut() {
            contacts.push(second);
        }
    })
}

/// A number of the load range: the id is the number itself.
fn load(number: &str) -> Reply {
    let Ok(id) = number.parse() else {
        return failed_with(
            "Customer Details",
            "Information given by you does not exist in our sytsem.",
            200,
        );
    };
    like_the_example(id, "Load", |details| {
        details["contacts"][0]["phone"] = number.into();
        details["contacts"][0]["email"] = format!("{number}@example.com").into();
    })
}
