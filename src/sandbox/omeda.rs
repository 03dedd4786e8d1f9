//! Omeda: 'Phone Lookup by Customer Id'.
//!
//! Inferred: which status carries the errors that sibling pages print; that a path outside of the web services
//! gets the container's HTML page, while a malformed one inside gets the document's 404.

use http::Method;
use serde::Serialize;

use super::{
    api::Api,
    magic::is_load_number,
    pages,
    tokens::Desk,
    wire::{Ask, Reply},
};

pub(super) struct Omeda;

/// The app id that is always let in.
const TOKEN: &str = "sandbox-omeda-app-id";

/// The one brand that this app id may read.
const BRAND: &str = "FOO";
const SUBMISSION: &str = "24B9BF6F-0677-462B-942A-D87EEBD10F77";
const FAILED_SUBMISSION: &str = "ec0c2ba6-13f4-4934-8efa-74c2ccb33f1d";

/// The document's customer, and the encrypted id of the same.
const EXAMPLE: &str = "12345";
const EXAMPLE_ENCRYPTED: &str = "0123A4567890B2C";

/// The document's example to the letter: a comma is missing, so it is no JSON.
const MALFORMED: &str = r#"{
  "Customer":"https://ows.omedastaging.com/webservices/rest/brand/FOO/customer/12345/*",
  "PhoneNumbers":[
    {
      "Id":472517,
      "PhoneContactType":200,
      "PhoneNumber":"8475648900",
      "Extension":"999",
      "StatusCode": 1,
      "ChangedDate": "2015-03-08 21:23:34"
    }
  ]
  "SubmissionId" : "24B9BF6F-0677-462B-942A-D87EEBD10F77"
}
"#;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Success<'a> {
    customer: String,
    phone_numbers: Vec<Phone<'a>>,
    submission_id: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(clippy::struct_field_names, reason = "the document's names")]
struct Phone<'a> {
    id: u32,
    phone_contact_type: u16,
    phone_number: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    extension: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u8>,
    changed_date: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    submission_id: &'static str,
    errors: [Problem; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    merged_into_customer_id: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Problem {
    error: String,
}

impl Api for Omeda {
    fn answer(&self, ask: &Ask, desk: &mut Desk) -> Reply {
        let segments = ask.segments();
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let ["webservices", "rest", rest @ ..] = path.as_slice() else {
            return Reply::html(404, pages::container(404));
        };
        if ask.header("x-omeda-appid") != Some(TOKEN) {
            return self.refusal(403);
        }
        if ask.method != Method::GET {
            return failed(405, "HTTP method not supported.");
        }
        match rest {
            ["brand", BRAND, "customer", id, "phone", "*"] if is_id(id) => {
                desk.asked_for(id);
                customer(id)
            }
            _ => failed(404, "The requested resource was not found."),
        }
    }

    fn refusal(&self, status: u16) -> Reply {
        match status {
            403 => failed(403, "The x-omeda-appid is invalid."),
            404 => failed(404, "The customer was not found."),
            429 => failed(429, "Too many requests."),
            500.. => failed(
                status,
                "Internal server error. Please contact your Omeda Account Representative.",
            ),
            _ => failed(status, "The request is invalid."),
        }
    }

    fn token(&self) -> &'static str {
        TOKEN
    }

    fn sample(&self, base: &str) -> String {
        let path = format!("/webservices/rest/brand/{BRAND}/customer/{EXAMPLE}/phone/*");
        format!("-H 'x-omeda-appid: {TOKEN}' '{base}{path}'")
    }

    fn config(&self) -> String {
        format!("brand = \"{BRAND}\"\napp_id = \"{TOKEN}\"\n")
    }

    fn values(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (EXAMPLE, "the document's example"),
            (EXAMPLE_ENCRYPTED, "the same, by an encrypted id"),
            (
                "12346",
                "'No phone number found', as the document's failure",
            ),
            (
                "12347",
                "a phone of each contact type, and one type that nobody lists",
            ),
            (
                "12348",
                "the document's example to the letter, which is no JSON",
            ),
            ("12349", "`Errors` under 200"),
            ("22, 24", "merged into 99999, under 404 and under 200"),
            ("23, 25", "pending deactivation, under 404 and under 200"),
        ]
    }
}

/// Numbers, and encrypted ids: letters and digits alone.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn customer(id: &str) -> Reply {
    match id {
        EXAMPLE | EXAMPLE_ENCRYPTED => found(EXAMPLE, example()),
        "12346" => failed(404, "No phone number found for customer 12346."),
        "12347" => found(id, all_types()),
        "12348" => Reply::text(200, "application/json", MALFORMED),
        "12349" => failed(200, "No phone number found for customer 12349."),
        "22" => merged(404, id),
        "24" => merged(200, id),
        "23" => pending(404, id),
        "25" => pending(200, id),
        _ if is_load_number(id) => found(id, vec![phone(1, 230, id, Some(1))]),
        _ => failed(404, &format!("Customer {id} was not found.")),
    }
}

fn found(id: &str, phone_numbers: Vec<Phone>) -> Reply {
    let customer =
        format!("https://ows.omedastaging.com/webservices/rest/brand/{BRAND}/customer/{id}/*");
    Reply::json(
        200,
        &Success {
            customer,
            phone_numbers,
            submission_id: SUBMISSION,
        },
    )
}

fn example() -> Vec<Phone<'static>> {
    let business = Phone {
        extension: Some("999"),
        ..phone(472_517, 200, "8475648900", Some(1))
    };
    vec![business, phone(472_518, 210, "8475648901", Some(1))]
}

/// The last one is of no known type.
fn all_types() -> Vec<Phone<'static>> {
    let types = [0, 200, 210, 230, 240, 250, 260, 270, 999];
    let numbers = [
        "8475640000",
        "8475640200",
        "8475640210",
        "8475640230",
        "8475640240",
        "442079460250",
        "442079460260",
        "8475640270",
        "8475640999",
    ];
    let mut phones: Vec<Phone> = (1..)
        .zip(types.into_iter().zip(numbers))
        .map(listed)
        .collect();
    phones[0].status_code = None;
    phones
}

fn listed((id, (kind, number)): (u32, (u16, &'static str))) -> Phone<'static> {
    phone(472_600 + id, kind, number, Some(2))
}

fn phone(
    id: u32,
    phone_contact_type: u16,
    phone_number: &str,
    status_code: Option<u8>,
) -> Phone<'_> {
    Phone {
        id,
        phone_contact_type,
        phone_number,
        extension: None,
        status_code,
        changed_date: "2015-03-08 21:23:34",
    }
}

fn failed(status: u16, error: &str) -> Reply {
    let errors = [Problem {
        error: error.to_owned(),
    }];
    Reply::json(
        status,
        &Failure {
            submission_id: FAILED_SUBMISSION,
            errors,
            merged_into_customer_id: None,
        },
    )
}

fn pending(status: u16, id: &str) -> Reply {
    failed(
        status,
        &format!("OmedaCustomerId {id} is pending deactivation. Please try again later."),
    )
}

fn merged(status: u16, id: &str) -> Reply {
    let error = format!("Customer id {id} is valid but not active. Please use 99999.");
    let failure = Failure {
        submission_id: FAILED_SUBMISSION,
        errors: [Problem { error }],
        merged_into_customer_id: Some(99_999),
    };
    Reply::json(status, &failure)
}
