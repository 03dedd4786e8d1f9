//! What a job comes to: what is to replace it on the broker.

use std::{
    cell::Cell,
    rc::{Rc, Weak},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    broker::{Health, Message, Received},
    failure::{ErrorKind, Failure},
    job::{Envelope, NotAJob, PriorAttempts, Ticket},
    lane::Lane,
    lookups,
    message::{Destination, header},
    outcome::Outcome,
    result::{LookupResult, MESSAGE_TYPE, message_id},
    telemetry::traces::Span,
};

/// What is to replace a job.
pub enum Ending {
    /// Its result.
    Answered(Rc<Answer>),
    /// Its result, and the job itself as a dead letter.
    DeadLettered(Rc<Answer>, Failure),
    /// The job itself, later: in a delay queue.
    Parked(Carried, Duration),
    /// The job itself, later: in its own queue.
    PutBack(Carried),
    /// The job itself, as it came, later: it carries what a later version wrote.
    Foreign,
    /// Nothing yet: the job goes on waiting in its inbox, with what it has come to.
    Waits(PriorAttempts),
    /// Nothing: no request was sent, and none will be; the broker delivers it again.
    Abandoned,
}

/// A result, ready to be published, and published again if need be.
#[derive(Debug)]
pub struct Answer {
    /// The job's id.
    pub job_id: String,
    /// The result as JSON.
    body: Bytes,
    /// The job's lane.
    pub lane: Lane,
    /// The result's status.
    pub status: &'static str,
    /// The class of its failure, or nothing.
    pub error: &'static str,
    /// The provider's name, as the job says.
    pub provider: String,
    /// HTTP requests made.
    pub attempts: u32,
    /// From the job's first receipt, in milliseconds.
    pub duration_ms: u64,
    /// Whether it stands for one that the broker did not take.
    pub is_short: bool,
    /// The session in which the broker has it, known by its health, from its confirm on. Held while it is published.
    pub published: Mutex<Weak<Health>>,
    /// Where it went, or is to go.
    pub to: Cell<Destination>,
}

/// What a job that is not answered yet carries along.
pub struct Carried {
    /// The job's id.
    pub id: String,
    prior: PriorAttempts,
    /// What goes along behind the body.
    tail: Vec<u8>,
}

impl Ending {
    /// A final answer. A refusal is worth another try once its cause is mended.
    pub fn answered(
        ticket: Ticket,
        outcome: Outcome,
        raw: Option<Box<RawValue>>,
        attempts: u32,
    ) -> Self {
        if let Outcome::Failed(failure) = &outcome {
            log_failure(&ticket, failure, attempts);
            if failure.is_refusal() {
                let failure = failure.clone();
                return Self::DeadLettered(Answer::new(ticket, outcome, raw, attempts), failure);
            }
        }
        Self::Answered(Answer::new(ticket, outcome, raw, attempts))
    }

    /// The answer of a lookup. One that failed is a dead letter too, where another try may do better.
    pub fn of_lookup(ticket: Ticket, answer: lookups::Answer) -> Self {
        let attempts = answer.attempts();
        let failure = match &answer.outcome {
            Outcome::Failed(failure) => {
                log_failure(&ticket, failure, attempts);
                Some(failure.clone()).filter(is_worth_a_letter)
            }
            _ => None,
        };
        let answer = Answer::of_lookup(ticket, answer);
        match failure {
            Some(failure) => Self::DeadLettered(answer, failure),
            None => Self::Answered(answer),
        }
    }

    /// A step of a lookup goes on after a while.
    pub fn waits_for_step(
        ticket: Ticket,
        kind: ErrorKind,
        wait: Duration,
        state: &lookups::State,
    ) -> Self {
        log_parked(&ticket, kind, state.attempts(), wait);
        let http_status = ticket.prior.http_status;
        let carried = Carried::new(ticket, state.attempts(), 0, http_status);
        Self::Parked(carried.with(state), wait)
    }

    /// Into its queue, with what its steps have said.
    pub fn put_back_with(ticket: Ticket, state: &lookups::State) -> Self {
        let carried = Carried::new(ticket, state.attempts(), 0, None);
        Self::PutBack(carried.with(state))
    }

    /// No attempts are left.
    pub fn exhausted(ticket: Ticket, failure: Failure, attempts: u32) -> Self {
        log_failure(&ticket, &failure, attempts);
        Self::DeadLettered(
            Answer::new(ticket, Outcome::Failed(failure.clone()), None, attempts),
            failure,
        )
    }

    /// No job.
    pub fn refused(NotAJob { ticket, failure }: NotAJob) -> Self {
        let attempts = ticket.prior.attempts;
        Self::exhausted(ticket, failure, attempts)
    }

    /// The worker's own failure.
    pub fn panicked(ticket: Ticket) -> Self {
        let message = "the worker failed at this job, which is a bug of its own; the job is in the dead-letter queue";
        Self::refused(NotAJob {
            ticket,
            failure: Failure::new(ErrorKind::Internal, message),
        })
    }

    /// Another attempt after a while.
    pub fn parked(
        ticket: Ticket,
        failure: &Failure,
        wait: Duration,
        attempts: u32,
        spared: u32,
    ) -> Self {
        log_parked(&ticket, failure.kind, attempts, wait);
        let http_status = failure.http_status.or(ticket.prior.http_status);
        Self::Parked(Carried::new(ticket, attempts, spared, http_status), wait)
    }

    /// What it is, and the class of the failure that it answers with, or nothing.
    pub fn summary(&self) -> (&'static str, &'static str) {
        match self {
            Self::Answered(answer) | Self::DeadLettered(answer, _) => (answer.status, answer.error),
            Self::Parked(..) => ("parked", ""),
            Self::Foreign => ("foreign", ""),
            Self::PutBack(_) => ("put_back", ""),
            Self::Waits(_) => ("waits", ""),
            Self::Abandoned => ("abandoned", ""),
        }
    }

    /// As [`Self::put_back`], while the job is held here.
    pub fn waits(ticket: &Ticket, http_status: Option<u16>, attempts: u32, spared: u32) -> Self {
        Self::Waits(PriorAttempts {
            attempts,
            spared,
            received: Some(ticket.received),
            http_status,
        })
    }

    /// Another attempt once the provider is asked again.
    pub fn put_back(ticket: Ticket, http_status: Option<u16>, attempts: u32, spared: u32) -> Self {
        Self::PutBack(Carried::new(ticket, attempts, spared, http_status))
    }
}

impl Carried {
    fn new(ticket: Ticket, attempts: u32, spared: u32, http_status: Option<u16>) -> Self {
        Self {
            id: ticket.id,
            prior: PriorAttempts {
                attempts,
                spared,
                received: Some(ticket.received),
                http_status,
            },
            tail: Vec::new(),
        }
    }

    /// With what the steps of its lookup have said.
    fn with(self, state: &lookups::State) -> Self {
        Self {
            tail: state.written().unwrap_or_default(),
            ..self
        }
    }

    /// The job as it goes on.
    pub fn message(&self, received: &Received) -> Message {
        let message = received
            .forward_body()
            .tail(&self.tail)
            .message_id(&self.id)
            .header(header::ROUTING_KEY, &received.envelope.routing_key)
            .count_header(header::ATTEMPTS, self.prior.attempts.into())
            .count_header(header::SPARED, self.prior.spared.into());
        let message = match self.prior.received {
            Some(received) => message.count_header(header::RECEIVED_AT, received.as_millisecond()),
            None => message,
        };
        match self.prior.http_status {
            Some(status) => message.count_header(header::HTTP_STATUS, status.into()),
            None => message,
        }
    }
}

fn log_parked(ticket: &Ticket, kind: ErrorKind, attempts: u32, wait: Duration) {
    let (job, kind) = (&ticket.id, kind.as_str());
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        job,
        kind,
        attempts,
        wait_ms,
        "a job waits for its next attempt"
    );
}

/// Whether a job that ended so is worth another try.
fn is_worth_a_letter(failure: &Failure) -> bool {
    failure.kind.retryable() || failure.is_refusal() || failure.kind == ErrorKind::Internal
}

/// Once, where it is handled; ids alone tell whose it was.
fn log_failure(ticket: &Ticket, failure: &Failure, attempts: u32) {
    let (job, kind, message) = (&ticket.id, failure.kind.as_str(), &failure.message);
    // What names no provider of ours is whatever somebody wrote.
    let is_known = failure.kind != ErrorKind::UnknownProvider;
    tracing::warn!(
        job,
        kind,
        provider = is_known.then_some(&*ticket.provider),
        lane = ticket.lane.as_str(),
        attempts,
        http_status = failure.http_status,
        "a job failed: {message}"
    );
}

impl Answer {
    /// Whether the broker has confirmed it, in whatever session.
    pub fn is_published(&self) -> bool {
        let published = self.published.try_lock();
        published.is_ok_and(|published| !published.ptr_eq(&Weak::new()))
    }

    fn new(
        ticket: Ticket,
        outcome: Outcome,
        raw: Option<Box<RawValue>>,
        attempts: u32,
    ) -> Rc<Self> {
        let Ticket {
            id,
            provider,
            lane,
            context,
            received,
            ..
        } = ticket;
        let mut result = LookupResult::new(id, provider, outcome, attempts, received);
        (result.context, result.raw) = (context, raw);
        Self::of(result, lane, false)
    }

    fn of_lookup(ticket: Ticket, answer: lookups::Answer) -> Rc<Self> {
        let lane = ticket.lane;
        Self::of(answer.into_result(ticket), lane, false)
    }

    fn of(result: LookupResult, lane: Lane, is_short: bool) -> Rc<Self> {
        Rc::new(Self {
            is_short,
            body: result.to_json().into(),
            lane,
            status: result.status.as_str(),
            error: result.error_kind(),
            attempts: result.attempts,
            duration_ms: result.duration_ms,
            job_id: result.job_id,
            provider: result.provider,
            published: Mutex::default(),
            to: Cell::new(Destination::Results),
        })
    }

    /// Instead of this one: the same job failed, after as much work.
    pub fn failed(&self, failure: &Failure) -> Rc<Self> {
        #[derive(Deserialize)]
        struct Context {
            #[serde(default)]
            context: Option<Box<RawValue>>,
        }
        let (id, provider) = (self.job_id.clone(), self.provider.clone());
        let outcome = Outcome::Failed(failure.clone());
        let mut result = LookupResult::new(id, provider, outcome, self.attempts, Timestamp::now());
        result.duration_ms = self.duration_ms;
        let before = serde_json::from_slice::<Context>(&self.body);
        result.context = before.ok().and_then(|before| before.context);
        Self::of(result, self.lane, true)
    }

    /// Bytes of the result.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// It continues the trace of its publish; where traces are off, that which the job came with.
    pub fn message(&self, envelope: &Envelope, span: &Span) -> Message {
        let carried = span.carried();
        let (parent, state) = match &carried {
            Some((parent, state)) => (Some(parent.as_str()), state.as_deref()),
            None => (
                envelope.traceparent.as_deref(),
                envelope.tracestate.as_deref(),
            ),
        };
        Message::json(self.body.clone())
            .correlation_id(envelope.correlation_id.as_deref().unwrap_or(&self.job_id))
            .message_id(
                message_id(&self.job_id)
                    .hyphenated()
                    .encode_lower(&mut Uuid::encode_buffer()),
            )
            .of_type(MESSAGE_TYPE)
            .header(header::STATUS, self.status)
            .optional_header(header::TRACEPARENT, parent)
            .optional_header(header::TRACESTATE, state)
    }
}
