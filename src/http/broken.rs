//! What it means that a request has no answer. No word of it shows an address, a header or the provider's text.

use std::{error::Error, net::SocketAddr, time::Duration};

use h2::Reason;
use hyper_util::client::legacy::{self, connect::HttpInfo};

use super::fence::Void;
use crate::{
    failure::{ErrorKind, Failure},
    tls,
};

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// Its permission was void before it could be written.
    Void,
    /// The provider says that it did not process it; with whether it wants HTTP/1.1.
    Unprocessed { wants_one: bool },
    /// The connection broke before the answer began; with its own address, where it is known.
    Silent(Option<SocketAddr>, Failure),
    /// There is no connection.
    Unreachable(Failure),
    /// Anything else.
    Failed(Failure),
}

impl Broken {
    /// Of an error before the answer began.
    pub fn before_the_answer(error: &reqwest::Error, connect_timeout: Duration) -> Self {
        if find::<Void>(error).is_some() {
            return Self::Void;
        }
        if error.is_connect() {
            return Self::Unreachable(no_connection(error, connect_timeout));
        }
        let failure = broken_off(error);
        // It answered, with something else than HTTP.
        if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
            return Self::Failed(failure);
        }
        let address = find::<legacy::Error>(error).and_then(local_address);
        match find::<h2::Error>(error) {
            Some(stream) if is_unprocessed(stream) => Self::Unprocessed {
                wants_one: stream.reason() == Some(Reason::HTTP_1_1_REQUIRED),
            },
            // The connection lives on, or the provider ended it with a reason.
            Some(stream) if !stream.is_io() && stream.is_remote() => Self::Failed(failure),
            _ => Self::Silent(address, failure),
        }
    }
}

/// Streams above the last that a GOAWAY names, and those that are refused, were not processed (RFC 9113 §8.7).
fn is_unprocessed(error: &h2::Error) -> bool {
    let refused = error.is_reset()
        && matches!(
            error.reason(),
            Some(Reason::REFUSED_STREAM | Reason::HTTP_1_1_REQUIRED)
        );
    error.is_remote() && (error.is_go_away() || refused)
}

fn local_address(error: &legacy::Error) -> Option<SocketAddr> {
    let mut extras = http::Extensions::new();
    error.connect_info()?.get_extras(&mut extras);
    extras.get().map(HttpInfo::local_addr)
}

/// There is no connection, so the request was not sent.
pub(super) fn no_connection(error: &(dyn Error + 'static), limit: Duration) -> Failure {
    let timed_out = error
        .downcast_ref::<reqwest::Error>()
        .is_some_and(reqwest::Error::is_timeout);
    if timed_out {
        return none_within(limit);
    }
    told("no connection to the provider", error)
}

/// There is none after `limit`.
pub(super) fn none_within(limit: Duration) -> Failure {
    let message = format!(
        "no connection to the provider within {} ms (connect_timeout): none of its addresses answers, or what \
         answers does not speak TLS",
        limit.as_millis()
    );
    Failure::new(ErrorKind::Connection, message)
}

/// The connection broke under the request.
pub(super) fn broken_off(error: &(dyn Error + 'static)) -> Failure {
    told(
        "the connection broke before the whole answer was there",
        error,
    )
}

/// What broke, by the innermost cause: the outer ones may show the address.
fn told(what: &str, error: &(dyn Error + 'static)) -> Failure {
    if let Some(meaning) = tls::explain(error) {
        return Failure::new(
            ErrorKind::Connection,
            format!("no TLS connection to the provider: {meaning}"),
        );
    }
    if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse_too_large) {
        let message = "the head of the provider's answer is too large: more than 100 headers, or some 400 KB; \
                       check what stands between, and adds them";
        return Failure::new(ErrorKind::Connection, message);
    }
    let message = match find::<h2::Error>(error) {
        // A GOAWAY may hold text of the provider's.
        Some(stream) if !stream.is_io() => {
            let reason = stream.reason().unwrap_or(Reason::INTERNAL_ERROR);
            format!("{what}: HTTP/2: {}", reason.description())
        }
        _ => {
            let cause = causes(error).last().expect("the error itself");
            format!("{what}: {cause}")
        }
    };
    Failure::new(ErrorKind::Connection, message)
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
