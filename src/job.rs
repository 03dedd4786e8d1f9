//! One lookup request: from a message's bytes to a [`Job`], or to the reason why it is none (contract §3).

mod body; // what the JSON holds
mod coding; // bytes that are not the JSON itself
mod trace; // what a trace context is

use std::{borrow::Cow, fmt, rc::Rc};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

pub use body::Body;
pub(crate) use coding::without_mark;
pub use trace::is_traceparent;

use crate::{
    failure::{ErrorKind, Failure},
    json::{self, Malformed},
    lease::Lease,
    provider::{Adapter, Lookup},
    telemetry::traces::Span,
};

/// Largest context, in bytes of JSON.
pub const MAX_CONTEXT_BYTES: usize = 64 * 1024;

/// Deepest nesting of a context: the readers of several languages stop there by default, and its result would not be
/// read.
pub const MAX_CONTEXT_DEPTH: usize = 64;

/// Longest id: AMQP carries ids in strings of at most 255 bytes.
const MAX_ID_BYTES: usize = 255;

/// How urgent a job is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Somebody waits: an inbound call.
    Interactive,
    /// Nobody waits: a CRM sync.
    Bulk,
}

impl Lane {
    /// Both lanes, the urgent one first.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Bulk];

    /// The name in routing keys, queues and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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
    pub progress: Progress,
}

/// What travels with a parked job, so that a restart forgets neither attempts nor age.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// HTTP requests made so far.
    pub attempts: u32,
    /// How many of them are not held against the job: probes of a provider that failed.
    pub spared: u32,
    /// When a worker first received the job; none if this is the first time.
    pub received: Option<Timestamp>,
    /// HTTP status of the last answer.
    pub http_status: Option<u16>,
}

/// A lookup request that can be made.
#[derive(Debug)]
pub struct Job {
    /// Who asks, and how they are answered.
    pub ticket: Ticket,
    /// The request.
    pub lookup: Rc<Lookup>,
    /// No HTTP request starts or goes on past it.
    pub deadline: Option<Timestamp>,
    /// How long it may wait here before it is begun.
    pub lease: Lease,
    /// Whose children the requests are.
    pub span: Span,
}

/// What is needed to answer, whether or not the message is a job.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// The job's id.
    pub id: String,
    /// The provider's name, as the routing key says.
    pub provider: String,
    /// The lane.
    pub lane: Lane,
    /// Returned untouched.
    pub context: Option<Box<RawValue>>,
    /// When a worker first received the job.
    pub received: Timestamp,
    /// HTTP requests made before this time.
    pub progress: Progress,
}

/// A message that is no job, and how it is answered all the same.
#[derive(Debug)]
pub struct NotAJob {
    /// Who asks, as far as it can be told.
    pub ticket: Ticket,
    /// What is wrong.
    pub failure: Failure,
}

impl Job {
    /// Reads a message as a job for `adapter`, which its routing key names; none if there is no such provider.
    ///
    /// # Errors
    /// What field is wrong and what was expected there.
    pub fn read(
        envelope: &Envelope,
        body: &[u8],
        max_bytes: usize,
        adapter: Option<&Adapter>,
        now: Timestamp,
    ) -> Result<Self, Box<NotAJob>> {
        let address = Address::of(&envelope.routing_key);
        let mut ticket = Ticket::of(envelope, now);
        let read = if body.len() > max_bytes {
            let problem = format!(
                "expected a body of at most {max_bytes} bytes, got {}",
                body.len()
            );
            Err(invalid(&Malformed::at("", problem)))
        } else if let Some(property) = envelope.illegible {
            ticket.salvage(body);
            let problem = "expected text in UTF-8, got bytes that are none; each stands as U+001A in the dead letter";
            Err(invalid(&Malformed::at(property, problem)))
        } else {
            let body = without_mark(body);
            coding::check(envelope)
                .map_err(|problem| {
                    ticket.salvage(body);
                    invalid(&problem)
                })
                .and_then(|()| Self::parts(&mut ticket, address, body, adapter))
        };
        if ticket.id.is_empty() {
            ticket.id = Uuid::new_v4().to_string();
        }
        match read {
            Ok((lookup, deadline)) => Ok(Self {
                ticket,
                lookup: Rc::new(lookup),
                deadline,
                lease: Lease::default(),
                span: Span::default(),
            }),
            Err(failure) => Err(Box::new(NotAJob { ticket, failure })),
        }
    }

    /// The deadline of a message that waits to be read as a job: now, where it is none and can be answered at once.
    #[must_use]
    pub fn deadline_of(
        envelope: &Envelope,
        body: &[u8],
        max_bytes: usize,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let received = envelope.progress.received.unwrap_or(now);
        let read = |body| json::read::<Body>(body)?.deadline(received);
        if body.len() > max_bytes {
            return Some(now);
        }
        read(without_mark(body)).unwrap_or(Some(now))
    }

    fn parts(
        ticket: &mut Ticket,
        address: Address,
        body: &[u8],
        adapter: Option<&Adapter>,
    ) -> Result<(Lookup, Option<Timestamp>), Failure> {
        let Some(adapter) = adapter else {
            ticket.salvage(body);
            if address.provider.is_empty() {
                return Err(invalid(&nameless(body)));
            }
            let message = "no worker has a provider of this name; check the routing key, or configure the provider";
            return Err(Failure::new(ErrorKind::UnknownProvider, message));
        };
        // Whoever sent what is no job still wants to know which of theirs it was.
        let body: Body = json::read(body).map_err(|problem| {
            ticket.salvage(body);
            invalid(&coding::recognised(body).unwrap_or(problem))
        })?;
        ticket
            .take_identity(&body)
            .map_err(|problem| invalid(&problem))?;
        body.agrees(address).map_err(|problem| invalid(&problem))?;
        let deadline = body
            .deadline(ticket.received)
            .map_err(|problem| invalid(&problem))?;
        let lookup = adapter
            .lookup(body.query, body.options)
            .map_err(|problem| invalid(&problem))?;
        Ok((lookup, deadline))
    }
}

/// What is wrong with a line that names no provider: most often it is no JSON.
fn nameless(body: &[u8]) -> Malformed {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        provider: Cow<'a, str>,
    }
    let named = serde_json::from_slice::<Named>(body);
    if named.is_ok_and(|named| !named.provider.is_empty()) {
        let problem =
            "empty; expected the name of a provider, as the body has one: the routing key counts";
        return Malformed::at("routing key", problem);
    }
    let missing = || {
        Malformed::at(
            "provider",
            "missing; expected the name of a provider, here or as the routing key",
        )
    };
    let none = json::check(body).err();
    none.map_or_else(missing, |problem| {
        coding::recognised(body).unwrap_or(problem)
    })
}

fn invalid(problem: &Malformed) -> Failure {
    Failure::new(ErrorKind::InvalidJob, problem.to_string())
}

impl Ticket {
    /// As far as it can be told without the body.
    #[must_use]
    pub fn of(envelope: &Envelope, now: Timestamp) -> Self {
        let address = Address::of(&envelope.routing_key);
        Self {
            id: envelope.message_id.clone().unwrap_or_default(),
            provider: address.provider.to_owned(),
            lane: address.lane.unwrap_or(Lane::Bulk),
            context: None,
            // By another's clock it may seem to lie ahead.
            received: envelope.progress.received.unwrap_or(now).min(now),
            progress: envelope.progress,
        }
    }

    fn take_identity(&mut self, body: &Body) -> Result<(), Malformed> {
        if let Some(context) = body.context.filter(|context| context.get() != "null") {
            check_context(context.get()).map_err(|problem| Malformed::at("context", problem))?;
            self.context = Some(context.to_owned());
        }
        let Some(id) = &body.id else { return Ok(()) };
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return Err(Malformed::at(
                "id",
                format!("expected 1 to {MAX_ID_BYTES} bytes, got {}", id.len()),
            ));
        }
        if self.id.is_empty() {
            self.id = id.to_string();
        }
        Ok(())
    }

    /// Id and context of a body that is JSON, though no job.
    fn salvage(&mut self, body: &[u8]) {
        #[derive(Deserialize)]
        struct Identity<'a> {
            #[serde(borrow, default)]
            id: Option<&'a RawValue>,
            #[serde(borrow, default)]
            context: Option<&'a RawValue>,
        }
        let Ok(identity) = serde_json::from_slice::<Identity>(body) else {
            return;
        };
        let id = identity
            .id
            .and_then(|id| serde_json::from_str::<String>(id.get()).ok());
        if let Some(id) =
            id.filter(|id| self.id.is_empty() && !id.is_empty() && id.len() <= MAX_ID_BYTES)
        {
            self.id = id;
        }
        let fit =
            |context: &&RawValue| context.get() != "null" && check_context(context.get()).is_ok();
        self.context = identity.context.filter(fit).map(ToOwned::to_owned);
    }
}

/// Whether a context can be returned, and read by whoever gets it.
fn check_context(context: &str) -> Result<(), String> {
    if context.len() > MAX_CONTEXT_BYTES {
        let bytes = context.len();
        return Err(format!(
            "expected at most {MAX_CONTEXT_BYTES} bytes, got {bytes}"
        ));
    }
    let depth = json::depth(context);
    if depth > MAX_CONTEXT_DEPTH {
        return Err(format!(
            "expected at most {MAX_CONTEXT_DEPTH} levels of objects and arrays, got {depth}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_makes_no_job_due_before_its_time() {
        let now = Timestamp::UNIX_EPOCH;
        let due = |body: &str| Job::deadline_of(&Envelope::default(), body.as_bytes(), 1024, now);
        for mark in ["", "\u{feff}"] {
            assert_eq!(due(&format!(r#"{mark}{{"query":{{}}}}"#)), None);
            let in_a_second = due(&format!(r#"{mark}{{"query":{{}},"deadline_ms":1000}}"#));
            assert_eq!(in_a_second.map(Timestamp::as_second), Some(1));
        }
        assert_eq!(due("no job"), Some(now));
    }
}
