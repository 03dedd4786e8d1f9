//! One lookup request: from a message's bytes to a [`Job`], or to the reason why it is none (contract §3).

use std::{borrow::Cow, fmt, rc::Rc};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    failure::{ErrorKind, Failure},
    json::{self, Malformed},
    lease::Lease,
    provider::{Adapter, Lookup},
    telemetry::traces::Span,
};

/// Largest context, in bytes of JSON.
pub const MAX_CONTEXT_BYTES: usize = 64 * 1024;

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

/// A job's body as it is sent. `id`, `provider` and `lane` may repeat what the message's properties and its
/// routing key say; in the lines of `pipe` and `send` they stand in their place.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Body<'a> {
    /// The job's id, where the message has no `message_id`; at most 255 bytes.
    #[serde(borrow, default)]
    #[schemars(length(max = 255))]
    pub id: Option<Cow<'a, str>>,
    /// The provider's configured name; must agree with the routing key.
    #[serde(borrow, default)]
    pub provider: Option<Cow<'a, str>>,
    /// The lane; must agree with the routing key.
    #[serde(default)]
    pub lane: Option<Lane>,
    /// Whom to look for; see the kinds.
    #[serde(borrow)]
    #[schemars(with = "serde_json::Value")]
    pub query: &'a RawValue,
    /// How to look; see the kinds.
    #[serde(borrow, default)]
    #[schemars(with = "Option<serde_json::Value>")]
    pub options: Option<&'a RawValue>,
    /// RFC 3339: no HTTP request starts or goes on past it.
    #[serde(borrow, default)]
    #[schemars(extend("format" = "date-time"))]
    pub deadline: Option<Cow<'a, str>>,
    /// The same in milliseconds from when a worker first receives the job; the earlier of both counts.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// Any JSON of at most 64 KiB, returned untouched; null is as absent.
    #[serde(borrow, default)]
    #[schemars(with = "Option<serde_json::Value>")]
    pub context: Option<&'a RawValue>,
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
            Self::parts(&mut ticket, address, body, adapter)
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
        read(body).unwrap_or(Some(now))
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
            invalid(&problem)
        })?;
        ticket
            .take_identity(&body)
            .map_err(|problem| invalid(&problem))?;
        agree(address, &body).map_err(|problem| invalid(&problem))?;
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
    let missing = || {
        Malformed::at(
            "provider",
            "missing; expected the name of a provider, here or as the routing key",
        )
    };
    json::check(body).err().unwrap_or_else(missing)
}

fn invalid(problem: &Malformed) -> Failure {
    Failure::new(ErrorKind::InvalidJob, problem.to_string())
}

/// The routing key names provider and lane; a body that repeats them must say the same.
fn agree(address: Address, body: &Body) -> Result<(), Malformed> {
    let Some(lane) = address.lane else {
        let problem = "expected NAME, NAME.bulk or NAME.interactive, got another lane";
        return Err(Malformed::at("routing key", problem));
    };
    if body
        .provider
        .as_ref()
        .is_some_and(|provider| provider != address.provider)
    {
        return Err(Malformed::at(
            "provider",
            "expected the provider of the routing key, got another",
        ));
    }
    if body.lane.is_some_and(|other| other != lane) {
        return Err(Malformed::at(
            "lane",
            format!("expected {lane}, the lane of the routing key, got the other"),
        ));
    }
    Ok(())
}

impl Body<'_> {
    /// The earlier of both deadlines.
    fn deadline(&self, received: Timestamp) -> Result<Option<Timestamp>, Malformed> {
        let expected = "expected an RFC 3339 time such as \"2026-11-21T10:15:30Z\"";
        let at: Option<Timestamp> = match &self.deadline {
            Some(text) => Some(
                text.parse()
                    .map_err(|_| Malformed::at("deadline", expected))?,
            ),
            None => None,
        };
        let after = self.deadline_ms.map(|milliseconds| {
            let wait = SignedDuration::from_millis(milliseconds.try_into().unwrap_or(i64::MAX));
            received.checked_add(wait).unwrap_or(Timestamp::MAX)
        });
        Ok(match (at, after) {
            (Some(at), Some(after)) => Some(at.min(after)),
            (at, after) => at.or(after),
        })
    }
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
            if context.get().len() > MAX_CONTEXT_BYTES {
                let problem = format!(
                    "expected at most {MAX_CONTEXT_BYTES} bytes, got {}",
                    context.get().len()
                );
                return Err(Malformed::at("context", problem));
            }
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
        let small = |context: &&RawValue| {
            context.get() != "null" && context.get().len() <= MAX_CONTEXT_BYTES
        };
        self.context = identity.context.filter(small).map(ToOwned::to_owned);
    }
}
