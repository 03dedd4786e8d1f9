//! What comes with a job's message beside its body.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

use super::without_mark;
use crate::lane::Lane;

/// Where a job goes: the parts of its routing key, `NAME`, `NAME.bulk` or `NAME.interactive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    /// The provider's name.
    pub provider: &'a str,
    /// The lane; none if what stands there is no lane.
    pub lane: Option<Lane>,
}

impl<'a> Address<'a> {
    /// Takes a routing key apart.
    #[must_use]
    pub fn of(routing_key: &'a str) -> Self {
        let (provider, lane) = match routing_key.split_once('.') {
            None => (routing_key, Some(Lane::Bulk)),
            Some((provider, "bulk")) => (provider, Some(Lane::Bulk)),
            Some((provider, "interactive")) => (provider, Some(Lane::Interactive)),
            Some((provider, _)) => (provider, None),
        };
        Self { provider, lane }
    }
}

/// What came with a job's message beside its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// `NAME`, `NAME.bulk` or `NAME.interactive`.
    pub routing_key: String,
    /// The job's id.
    pub message_id: Option<String>,
    /// Echoed in the result.
    pub correlation_id: Option<String>,
    /// Where the result is to go.
    pub reply_to: Option<String>,
    /// W3C trace context, continued in the result.
    pub traceparent: Option<String>,
    /// As `traceparent`.
    pub tracestate: Option<String>,
    /// The coding that the message's property names for its body.
    pub content_encoding: Option<String>,
    /// The coding that kombu's header `compression` names.
    pub compression: Option<String>,
    /// A property that should be text and is none.
    pub illegible: Option<&'static str>,
    /// What happened to the job before, if it was parked.
    pub prior: PriorAttempts,
}

/// The id of a message that may be a job, as far as it has one: its property's, else its body's.
#[must_use]
pub fn id_of<'a>(envelope: &'a Envelope, body: &'a [u8]) -> Option<Cow<'a, str>> {
    #[derive(Deserialize)]
    struct Identity<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    let of_body = || {
        let identity: Identity = serde_json::from_slice(without_mark(body)).ok()?;
        Some(identity.id)
    };
    let given = envelope.message_id.as_deref().map(Cow::Borrowed);
    given.or_else(of_body).filter(|id| !id.is_empty())
}

/// What travels with a parked job, so that a restart forgets neither attempts nor age.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PriorAttempts {
    /// HTTP requests made so far.
    pub attempts: u32,
    /// How many of them are not held against the job: probes of a provider that failed.
    pub spared: u32,
    /// When a worker first received the job; none if this is the first time.
    pub received: Option<Timestamp>,
    /// HTTP status of the last answer.
    pub http_status: Option<u16>,
}
