//! What a response says, of a kind that is written in Rust: the class table first, then the kind's own words.

use std::borrow::Cow;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;

use super::{
    Asked, Kind,
    class::{self, Class},
    wait,
};
use crate::{
    failure::{ErrorKind, Failure},
    json::{self, Malformed, Node},
    outcome::Outcome,
};

/// What a response says of a query.
pub(super) fn read<K: Kind>(
    adapter: &K,
    (query, options): &Asked<K>,
    response: &Response<Bytes>,
    now: Timestamp,
) -> Outcome {
    let text = json::text(response.body());
    let outcome = answer::<K>(response, &text, now).and_then(|answer| {
        let outcome = adapter.read(query, options, answer).map(in_its_own_words);
        outcome.map_err(|problem| Outcome::unreadable(&problem))
    });
    with_head(outcome.unwrap_or_else(|outcome| outcome), response, now)
}

/// What a response to a batch says of each part; none where it is not certain whose is what.
pub(super) fn split<K: Kind>(
    adapter: &K,
    parts: &[&str],
    response: &Response<Bytes>,
    now: Timestamp,
) -> Result<Option<Vec<Outcome>>, Outcome> {
    let text = json::text(response.body());
    let outcomes = answer::<K>(response, &text, now)
        .and_then(|answer| adapter.split(parts, answer).map_err(in_its_own_words));
    outcomes.map_err(|outcome| with_head(outcome, response, now))
}

/// The body that answers, as `text`.
///
/// # Errors
/// What the status alone says, or a body that is no JSON.
fn answer<'a, K: Kind>(
    response: &Response<Bytes>,
    text: &'a Result<Cow<str>, Malformed>,
    now: Timestamp,
) -> Result<Node<'a>, Outcome> {
    let status = response.status().as_u16();
    let read = match text {
        Ok(text) => Node::parse(text),
        Err(problem) => Err(problem.clone()),
    };
    let class = class::of(status, K::RULES);
    if class == Class::Answer {
        return read.map_err(|problem| Outcome::unreadable(&named(problem, response.body())));
    }
    let body = read.unwrap_or_default();
    if matches!(
        class,
        Class::NoneIfJson | Class::Failed(ErrorKind::Rejected)
    ) && body.is_container()
        && let Some(failure) = K::despite(status, body)
    {
        return Err(Outcome::Failed(failure.about_customer()));
    }
    let kind = match class {
        Class::None => return Err(Outcome::NotFound(None)),
        Class::NoneIfJson if body.is_container() => return Err(Outcome::NotFound(None)),
        Class::NoneIfJson => ErrorKind::EndpointNotFound,
        Class::Failed(kind) => kind,
        Class::Answer => ErrorKind::BadResponse,
    };
    let mut failure = if kind != ErrorKind::Rejected {
        Failure::new(kind, class::message(status, kind))
    } else if body.is_container() {
        Failure::new(kind, class::message(status, kind)).about_customer()
    } else {
        Failure::new(kind, class::message_of_another(status))
    };
    if kind.retryable() {
        failure.retry_after = wait::asked(response.headers(), now).wait();
    }
    if let Some(words) = K::said(body) {
        failure = failure.said(&words);
    }
    K::refine(status, response.headers(), body, now, &mut failure);
    Err(Outcome::Failed(failure))
}

/// A page in the place of JSON is named as one: it is a proxy's or a login's, and its syntax is of no interest.
pub(super) fn named(problem: Malformed, body: &[u8]) -> Malformed {
    if json::is_page(body) {
        Malformed::at(
            "",
            "expected JSON, got a page (HTML or XML): a proxy's, a login's or a notice of maintenance; \
             check the provider's base_url, and what stands between",
        )
    } else {
        problem
    }
}

/// What a body that was read as the document says refuses, the provider refuses itself.
fn in_its_own_words(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed(failure) if failure.kind == ErrorKind::Rejected => {
            Outcome::Failed(failure.about_customer())
        }
        other => other,
    }
}

/// With the answer's status, and with the wait that it asks for also where its body alone says that it failed.
fn with_head(outcome: Outcome, response: &Response<Bytes>, now: Timestamp) -> Outcome {
    let Outcome::Failed(mut failure) = outcome else {
        return outcome;
    };
    if failure.kind.retryable() && failure.retry_after.is_none() {
        failure.retry_after = wait::asked(response.headers(), now).wait();
    }
    Outcome::Failed(failure.with_status(response.status().as_u16()))
}
