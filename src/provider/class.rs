//! The class table (contract §5): what an HTTP status means, for every status and every kind.
//!
//! The status decides; only where it is 200 does the kind read the body to decide further.

use std::time::Duration;

use jiff::Timestamp;

use crate::failure::ErrorKind;

/// In what the kinds differ, as their documents list it.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// 404 is listed as 'no such customer'.
    pub none_by_404: bool,
    /// 204 is listed as 'no match'.
    pub none_by_204: bool,
    /// The document advises against a quick repeat after a 500.
    pub rest_after_500: bool,
}

/// What a status means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The body answers.
    Answer,
    /// There is no such customer.
    None,
    /// There is no such customer if the body is a JSON object or array; else the address is wrong.
    NoneIfJson,
    /// No answer.
    Failed(ErrorKind),
}

/// The class of a status.
#[must_use]
pub fn of(status: u16, rules: Rules) -> Class {
    match status {
        200 => Class::Answer,
        204 if rules.none_by_204 => Class::None,
        401 => Class::Failed(ErrorKind::Unauthorized),
        403 => Class::Failed(ErrorKind::Forbidden),
        404 if rules.none_by_404 => Class::NoneIfJson,
        404 => Class::Failed(ErrorKind::EndpointNotFound),
        408 => Class::Failed(ErrorKind::Timeout),
        429 => Class::Failed(ErrorKind::RateLimited),
        400..=499 => Class::Failed(ErrorKind::Rejected),
        500..=599 => Class::Failed(ErrorKind::ProviderError),
        // 1xx, another 2xx, a redirect (never followed), no HTTP status at all.
        _ => Class::Failed(ErrorKind::BadResponse),
    }
}

/// What is wrong and what to do, in our own words.
#[must_use]
pub fn message(status: u16, kind: ErrorKind) -> String {
    let advice = match kind {
        _ if status == 304 => {
            "it says that nothing has changed, which was not asked; check what stands between, most likely a cache"
        }
        _ if status == 407 => {
            "a proxy on the way wants credentials; let this machine's requests to base_url pass it"
        }
        _ if status == 511 => {
            "the network wants a login first, not the provider; let this machine in there"
        }
        ErrorKind::Unauthorized => "the credentials were not accepted; check the provider's token",
        ErrorKind::Forbidden => {
            "the credentials do not allow this lookup; check the token and its scope"
        }
        ErrorKind::EndpointNotFound => "there is no such address; check the provider's base_url",
        ErrorKind::Timeout => "the provider gave up waiting",
        ErrorKind::RateLimited => "too many requests; check the provider's quota",
        ErrorKind::Rejected => {
            "the provider refuses this request; check the job's query and options"
        }
        ErrorKind::ProviderError => "the provider failed",
        _ if (300..400).contains(&status) => {
            "redirects are not followed; check the provider's base_url"
        }
        _ => "the document of this kind lists no such answer",
    };
    format!("HTTP {status}, expected 200: {advice}")
}

/// As [`message`], where a 4xx does not come from the provider itself.
#[must_use]
pub fn message_of_another(status: u16) -> String {
    // What stands between says more by its status than by what it writes.
    if status == 407 {
        return message(status, ErrorKind::Rejected);
    }
    format!(
        "HTTP {status}, expected 200: the body is not the provider's own JSON, so something before it refuses: a \
         gateway, or a server that wants a client certificate; check base_url, client_cert_file and the way there"
    )
}

/// The time from `now` to `then`; zero if it is past.
#[must_use]
pub fn until(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}
