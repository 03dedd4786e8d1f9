//! What Antsomi answers, and what it comes to. `data` is an object, a string or absent, and nothing else is sure
//! either.

use crate::{
    customer::{Customer, Page, Phone},
    failure::{ErrorKind, Failure},
    json::{Malformed, Node},
    outcome::Outcome,
};

/// Everybody on the page, and how many there are on all pages; or why it tells nothing of them.
pub fn found(answer: Node) -> Result<(Vec<Customer>, Option<u64>), Outcome> {
    let unreadable = |problem| Outcome::unreadable(&problem);
    let members = answer.object("").map_err(unreadable)?;
    match code(members.get("code")).map_err(unreadable)? {
        200 => customers(members.get("data")).map_err(unreadable),
        code => Err(Outcome::Failed(failure(code, members.get("message")))),
    }
}

/// The body's message, unless it is the gateway's HTML page.
pub fn words(body: Node) -> Option<String> {
    said(body.get("message"))
}

/// As a result tells it.
pub fn page(total: Option<u64>) -> Option<Page> {
    total.map(|_| Page {
        total,
        ..Page::default()
    })
}

fn said(message: Node) -> Option<String> {
    message
        .text()
        .filter(|message| !message.trim_start().starts_with('<'))
}

/// The body's own code, beside HTTP 200; it decides, so it must be readable where there is one.
fn code(code: Node) -> Result<i64, Malformed> {
    if code.is_nothing() {
        return Ok(200);
    }
    code.number()
        .ok_or_else(|| code.expected("code", "an integer"))
}

fn failure(code: i64, message: Node) -> Failure {
    let tells_429 = || {
        message
            .text()
            .is_some_and(|message| message.contains("429"))
    };
    let (kind, what) = match code {
        301 => (
            ErrorKind::Forbidden,
            "the token is invalid, expired or lacks the scope",
        ),
        500 if tells_429() => (
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
    match said(message) {
        Some(words) => failure.said(&words),
        None => failure,
    }
}

fn customers(data: Node) -> Result<(Vec<Customer>, Option<u64>), Malformed> {
    let members = data.object("data")?;
    let entries = members.get("entries").array("data.entries")?;
    let customers = entries
        .into_iter()
        .enumerate()
        .map(|(at, entry)| customer(entry, at));
    let total = members.get("meta").get("total").number();
    Ok((
        customers.collect::<Result<_, _>>()?,
        total.and_then(|total| total.try_into().ok()),
    ))
}

fn customer(entry: Node, at: usize) -> Result<Customer, Malformed> {
    let here = |problem: Malformed| problem.below(&format!("data.entries[{at}]"));
    let members = entry.object("").map_err(here)?;
    let customer_id = members
        .get("customer_id")
        .get("value")
        .required_id("customer_id.value")
        .map_err(here)?;
    let number = members.get("phone").get("value").id();
    Ok(Customer {
        customer_id,
        phones: number.map(Phone::of).into_iter().collect(),
        ..Customer::default()
    })
}
