//! eGain: 'Search for customers'.
//!
//! Inferred: the codes beside `400-101` and `429-001`; that several criteria must all fit; that an unknown
//! parameter is a bad request. XML, which the document offers, is not acceptable here.

mod customers;
mod search;

use std::time::{Duration, SystemTime};

use http::Method;
use serde::Serialize;

use super::{
    api::Api,
    limit::RateLimit,
    pages,
    tokens::{Desk, Place},
    wire::{Ask, Reply},
};
use search::Search;

pub(super) struct Egain;

/// The token that is always let in.
const TOKEN: &str = "sandbox-egain-token";

const PATH: &str = "/core/customermgr/v3/customer";
const SCOPE: &str = "https://api.egain.cloud/auth/.default";
const LANGUAGES: [&str; 15] = [
    "en-US", "es-ES", "fr-FR", "it-IT", "de-DE", "nl-NL", "pt-BR", "pt-PT", "da-DK", "ru-RU",
    "fr-CA", "zh-CN", "ja-JP", "ko-KR", "sv-SE",
];

/// What is wrong with a request, and with which part of it.
struct Problem {
    status: u16,
    key: String,
    message: String,
}

impl Problem {
    fn bad(key: &str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            key: key.to_owned(),
            message: message.into(),
        }
    }

    fn not_acceptable(key: &str) -> Self {
        Self {
            status: 406,
            key: key.to_owned(),
            message: "not supported".into(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    code: String,
    developer_message: String,
    details: Vec<Detail>,
    user_message: &'static str,
}

#[derive(Serialize)]
struct Detail {
    key: String,
    value: String,
}

impl Api for Egain {
    fn answer(&self, ask: &Ask, desk: &mut Desk) -> Reply {
        match (&ask.method, ask.path()) {
            (_, path) if self.is_token_endpoint(path) => token(ask, desk),
            (&Method::GET, PATH) if !desk.admits(ask, "Bearer") => self.refusal(401),
            (&Method::GET, PATH) => match headers(ask).and_then(|()| Search::read(ask)) {
                Ok(search) => search.answer(ask, desk),
                Err(problem) => refused(problem),
            },
            (_, PATH) => Reply::html(405, pages::nginx(405)),
            _ => Reply::html(404, pages::nginx(404)),
        }
    }

    fn refusal(&self, status: u16) -> Reply {
        if status == 429 {
            return limited(1, Duration::from_secs(1));
        }
        let message = match status {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            406 => "Not Acceptable",
            500 => "Internal server error",
            _ => "Request failed",
        };
        failed(
            status,
            format!("{status}-101"),
            message.to_owned(),
            Vec::new(),
        )
    }

    fn over_limit(&self, limit: RateLimit, wait: Duration) -> Reply {
        limited(limit.requests, wait)
    }

    fn is_token_endpoint(&self, path: &str) -> bool {
        path == "/oauth2/v2.0/token"
            || path
                .strip_prefix("/global/")
                .is_some_and(|rest| rest.ends_with("/oauth2/v2.0/token"))
    }

    fn token(&self) -> &'static str {
        TOKEN
    }

    fn token_path(&self) -> Option<&'static str> {
        Some("/global/sandbox/oauth2/v2.0/token")
    }

    fn scope(&self) -> Option<&'static str> {
        Some("https://api.egain.cloud/auth/.default")
    }

    fn sample(&self, base: &str) -> String {
        format!(
            "-H 'Authorization: Bearer {TOKEN}' -H 'Accept: application/json' -H 'Accept-Language: en-US' \
             '{base}{PATH}?phone=14082343456102&$sort=type&$order=desc&$pagenum=4&$pagesize=1'"
        )
    }

    fn config(&self) -> String {
        "language = \"en-US\"\n".into()
    }

    fn values(&self) -> &'static [(&'static str, &'static str)] {
        customers::VALUES
    }
}

/// The two headers that the document requires.
fn headers(ask: &Ask) -> Result<(), Problem> {
    let accept = ask
        .header("accept")
        .ok_or_else(|| Problem::bad("Accept", "the header is required"))?;
    let mut types = accept
        .split(',')
        .map(|kind| kind.split(';').next().unwrap_or_default().trim());
    if !types.any(|kind| kind == "application/json") {
        return Err(Problem::not_acceptable("Accept"));
    }
    let language = ask
        .header("accept-language")
        .ok_or_else(|| Problem::bad("Accept-Language", "the header is required"))?;
    let first = language.split([',', ';']).next().unwrap_or_default().trim();
    if LANGUAGES.contains(&first) {
        Ok(())
    } else {
        Err(Problem::not_acceptable("Accept-Language"))
    }
}

fn refused(problem: Problem) -> Reply {
    let Problem {
        status,
        key,
        message,
    } = problem;
    let details = vec![Detail {
        key: key.clone(),
        value: message.clone(),
    }];
    failed(
        status,
        format!("{status}-101"),
        format!("{key}: {message}"),
        details,
    )
}

fn failed(status: u16, code: String, developer_message: String, details: Vec<Detail>) -> Reply {
    let user_message = "The request could not be completed.";
    Reply::json(
        status,
        &Failure {
            code,
            developer_message,
            details,
            user_message,
        },
    )
}

fn limited(limit: u32, wait: Duration) -> Reply {
    let reset = jiff::Timestamp::try_from(SystemTime::now() + wait).unwrap_or(jiff::Timestamp::MAX);
    failed(
        429,
        "429-001".into(),
        "Too many requests".into(),
        Vec::new(),
    )
    .with("x-ratelimit-limit", limit)
    .with("x-ratelimit-remaining", 0)
    .with("x-ratelimit-reset", format!("{reset:.3}"))
}

fn token(ask: &Ask, desk: &mut Desk) -> Reply {
    match desk.grant(ask, Place::Either, |scope| scope == Some(SCOPE)) {
        Ok(issued) => issued.standard_reply(),
        Err(refused) => refused.standard_reply(),
    }
}
