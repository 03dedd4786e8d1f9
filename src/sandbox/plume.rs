//! Plume: 'Obtain `CustomerID` from `AccountID`'.
//!
//! Inferred: the codes beside `CUS00001`; that nobody found is an empty array, except for a location, for which
//! the document lists 404; that `exactMatch=false` searches at the beginning or, with `startsWith=false`, anywhere.

use std::time::Duration;

use http::Method;
use serde::Serialize;
use serde_json::json;

use super::{
    api::Api,
    limit::RateLimit,
    magic::is_load_number,
    pages,
    tokens::{Desk, Place},
    wire::{Ask, Reply},
};

pub(super) struct Plume;

/// The token that is always let in.
const TOKEN: &str = "sandbox-plume-token";

const PATH: &str = "/api/Partners/customers/search/";

/// Whom the partner has provisioned.
const CUSTOMERS: [Customer<'static>; 5] = [
    Customer {
        id: "5f8d0d55b54764421b7156d9",
        account_id: "acc-1001",
        name: Some("Ada Lovelace"),
        locations: Some(&[Location { id: "loc-1" }, Location { id: "loc-2" }]),
        email: Some("ada@example.com"),
    },
    Customer {
        id: "5f8d0d55b54764421b7156da",
        account_id: "acc-1002",
        name: Some("Ada King"),
        locations: Some(&[]),
        email: Some("ada.king@example.com"),
    },
    Customer {
        id: "5f8d0d55b54764421b7156db",
        account_id: "acc-2001",
        name: None,
        locations: None,
        email: None,
    },
    Customer {
        id: "5f8d0d55b54764421b7156dc",
        account_id: "b/c?d=1 & e",
        name: Some("Zoë O'Hara"),
        locations: Some(&[Location { id: "loc-3" }]),
        email: Some("zoe+home@example.com"),
    },
    Customer {
        id: "5f8d0d55b54764421b7156dd",
        account_id: "8f14e45f-ceea-467f-a0e6-1c2d3e4f5a6b",
        name: Some("Grace Hopper"),
        locations: Some(&[Location { id: "loc-4" }]),
        email: Some("grace@example.com"),
    },
];

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Customer<'a> {
    id: &'a str,
    account_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locations: Option<&'a [Location<'a>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
}

#[derive(Clone, Copy, Serialize)]
struct Location<'a> {
    id: &'a str,
}

impl Api for Plume {
    fn answer(&self, ask: &Ask, desk: &mut Desk) -> Reply {
        if self.is_token_endpoint(ask.path()) {
            return token(ask, desk);
        }
        let segments = ask.segments();
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["api", ..] if !desk.admits(ask, "Bearer") => self.refusal(401),
            ["api", "Partners", "customers", "search", keyword] if ask.method == Method::GET => {
                match Search::read(ask, keyword) {
                    Ok(search) => search.answer(desk),
                    Err(problem) => failed(422, problem),
                }
            }
            ["api", ..] => failed(404, "Not Found"),
            _ => Reply::html(404, pages::nginx(404)),
        }
    }

    fn refusal(&self, status: u16) -> Reply {
        failed(
            status,
            match status {
                400 => "Bad Request",
                401 => "Login Failed",
                403 => "Forbidden",
                404 => "Location not found",
                422 => "Input validation failed",
                429 => "Too Many Requests",
                500.. => "Internal server error",
                _ => "Request failed",
            },
        )
    }

    /// It is a web firewall that counts, and it knows no 429.
    fn over_limit(&self, _limit: RateLimit, _wait: Duration) -> Reply {
        Reply::html(403, pages::firewall())
    }

    fn is_token_endpoint(&self, path: &str) -> bool {
        matches!(
            path.split('/').collect::<Vec<_>>().as_slice(),
            ["", "oauth2", _, "v1", "token"]
        )
    }

    fn token(&self) -> &'static str {
        TOKEN
    }

    fn documented_limit(&self) -> Option<RateLimit> {
        Some(RateLimit {
            requests: 2000,
            per: Duration::from_mins(5),
        })
    }

    fn token_path(&self) -> Option<&'static str> {
        Some("/oauth2/sandbox/v1/token")
    }

    fn scope(&self) -> Option<&'static str> {
        Some("partnerId:sandbox role:partnerIdAdmin")
    }

    fn sample(&self, base: &str) -> String {
        format!("-H 'Authorization: Bearer {TOKEN}' '{base}{PATH}acc-1001?field=accountId'")
    }

    fn values(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "acc-1001",
                "Ada Lovelace, ada@example.com, locations loc-1 and loc-2",
            ),
            ("acc-1002", "Ada King, ada.king@example.com, no locations"),
            ("acc-2001", "neither name nor email nor locations"),
            (
                "b/c?d=1 & e",
                "an account id that must be percent-encoded; Zoë O'Hara, loc-3",
            ),
            (
                "8f14e45f-ceea-467f-a0e6-1c2d3e4f5a6b",
                "Grace Hopper, loc-4",
            ),
        ]
    }
}

/// The four fields of the document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Account,
    Location,
    Name,
    Email,
}

struct Search<'a> {
    field: Field,
    keyword: &'a str,
    exact: bool,
    at_start: bool,
}

impl<'a> Search<'a> {
    fn read(ask: &Ask, keyword: &'a str) -> Result<Self, &'static str> {
        let field = match ask.parameter("field") {
            Some("accountId") => Field::Account,
            Some("locationId") => Field::Location,
            Some("name") => Field::Name,
            Some("email") => Field::Email,
            _ => {
                return Err(
                    "Illegal field. Only valid fields are accountId, locationId, name, and email.",
                );
            }
        };
        if keyword.is_empty() || keyword.eq_ignore_ascii_case("null") {
            return Err("Illegal search keyword.");
        }
        let flag = |name| match ask.parameter(name) {
            None | Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err("exactMatch and startsWith are booleans."),
        };
        Ok(Self {
            field,
            keyword,
            exact: flag("exactMatch")?,
            at_start: flag("startsWith")?,
        })
    }

    fn answer(&self, desk: &mut Desk) -> Reply {
        desk.asked_for(self.keyword);
        let found: Vec<&Customer> = CUSTOMERS
            .iter()
            .filter(|customer| self.fits_one_of(customer))
            .collect();
        match self.field {
            _ if !found.is_empty() => Reply::json(200, &found),
            _ if is_load_number(self.keyword) => Reply::json(200, &[load(self.keyword)]),
            Field::Location => failed(404, "Location not found"),
            _ => Reply::json(200, &found),
        }
    }

    fn fits_one_of(&self, customer: &Customer) -> bool {
        match self.field {
            Field::Account => self.fits(customer.account_id),
            Field::Name => customer.name.is_some_and(|name| self.fits(name)),
            Field::Email => customer.email.is_some_and(|email| self.fits(email)),
            Field::Location => customer
                .locations
                .unwrap_or_default()
                .iter()
                .any(|location| self.fits(location.id)),
        }
    }

    fn fits(&self, value: &str) -> bool {
        let (value, keyword) = (value.to_lowercase(), self.keyword.to_lowercase());
        match (self.exact, self.at_start) {
            (true, _) => value == keyword,
            (false, true) => value.starts_with(&keyword),
            (false, false) => value.contains(&keyword),
        }
    }
}

fn load(number: &str) -> Customer<'_> {
    Customer {
        id: number,
        account_id: number,
        name: Some("Load"),
        locations: None,
        email: None,
    }
}

fn failed(status: u16, message: &str) -> Reply {
    // The document's sibling shows this code with 422; for the others the shape is known and the code is not.
    let code = if status == 422 {
        "CUS00001".to_owned()
    } else {
        format!("CUS{status:05}")
    };
    Reply::json(
        status,
        &json!({ "error": { "statusCode": status, "message": message, "code": code } }),
    )
}

fn token(ask: &Ask, desk: &mut Desk) -> Reply {
    let fits = |scope: Option<&str>| {
        let items: Vec<&str> = scope.unwrap_or_default().split(' ').collect();
        items.iter().any(|item| {
            item.strip_prefix("partnerId:")
                .is_some_and(|id| !id.is_empty())
        }) && items.contains(&"role:partnerIdAdmin")
    };
    match desk.grant(ask, Place::Basic, fits) {
        Ok(issued) => issued.standard_reply(),
        Err(refused) => refused.standard_reply(),
    }
}
