//! One lookup request: from a message's bytes to a [`Job`], or to the reason why it is none (contract §3).

mod body; // what the JSON holds
mod coding; // bytes that are not the JSON itself
mod envelope; // what comes beside it
mod step; // a job that is part of another
mod ticket; // who asks
mod trace; // what a trace context is
mod whereabouts; // how far each job is that is worked on here

use std::{borrow::Cow, rc::Rc, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

pub use body::Body;
pub(crate) use coding::without_mark;
pub use envelope::{Address, Envelope, PriorAttempts, id_of};
pub use step::Step;
pub use ticket::{MAX_CONTEXT_BYTES, MAX_CONTEXT_DEPTH, NotAJob, Ticket};
pub use trace::is_traceparent;
pub use whereabouts::{Mark, Marks, Seen, Stage};

use crate::{
    failure::{ErrorKind, Failure},
    json::{self, Malformed},
    lane::Lane,
    lease::Lease,
    provider::{Adapter, Lookup},
    slots::Slot,
};

/// A lookup request that can be made.
#[derive(Debug)]
pub struct Job<Asked = Rc<Lookup>> {
    /// Who asks, and how they are answered.
    pub ticket: Ticket,
    /// The request; of a lookup of several providers, those of its steps.
    pub lookup: Asked,
    /// No HTTP request starts or goes on past it.
    pub deadline: Option<Timestamp>,
    /// How long it may wait here before it is begun.
    pub lease: Lease,
    /// Where it is a step of another job: whether that still wants it.
    pub step: Option<Rc<Step>>,
    /// How far it is.
    pub mark: Mark,
    /// The slot that works on it.
    pub slot: Slot,
}

/// Who is asked, and so how a job's query and options are read.
pub trait Asks {
    /// What they become.
    type Asked;

    /// Checks a job's query and options.
    ///
    /// # Errors
    /// The field that does not fit and what was expected.
    fn asked(&self, query: &RawValue, options: Option<&RawValue>)
    -> Result<Self::Asked, Malformed>;

    /// The deadline of a job of this lane that brings none.
    fn usual_deadline(&self, _lane: Lane) -> Option<Duration> {
        None
    }
}

impl Asks for Adapter {
    type Asked = Rc<Lookup>;

    fn asked(&self, query: &RawValue, options: Option<&RawValue>) -> Result<Rc<Lookup>, Malformed> {
        self.lookup(query, options).map(Rc::new)
    }
}

impl Job {
    /// The deadline of a message that waits to be read as a job: now, where it is none and can be answered at once.
    /// Where it brings none it has `usual` time.
    #[must_use]
    pub fn deadline_of(
        envelope: &Envelope,
        body: &[u8],
        max_bytes: usize,
        usual: Option<Duration>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let received = envelope.prior.received.unwrap_or(now);
        let read = |body| json::read::<Body>(body)?.deadline(received);
        if body.len() > max_bytes {
            return Some(now);
        }
        let deadline = read(without_mark(body)).unwrap_or(Some(now));
        deadline.or_else(|| after(received, usual?))
    }
}

/// So long after that time.
fn after(time: Timestamp, wait: Duration) -> Option<Timestamp> {
    time.checked_add(wait).ok()
}

impl<Asked> Job<Asked> {
    /// Reads a message as a job for whom its routing key names; none if there is no such provider or lookup.
    ///
    /// # Errors
    /// What field is wrong and what was expected there.
    pub fn read(
        envelope: &Envelope,
        body: &[u8],
        max_bytes: usize,
        asks: Option<&impl Asks<Asked = Asked>>,
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
                .and_then(|()| Self::parts(&mut ticket, address, body, asks))
        };
        if ticket.id.is_empty() {
            ticket.id = Uuid::new_v4().to_string();
        }
        match read {
            Ok((lookup, deadline)) => Ok(Self {
                ticket,
                lookup,
                deadline,
                lease: Lease::default(),
                step: None,
                mark: Mark::default(),
                slot: Slot::default(),
            }),
            Err(failure) => Err(Box::new(NotAJob { ticket, failure })),
        }
    }

    fn parts(
        ticket: &mut Ticket,
        address: Address,
        body: &[u8],
        asks: Option<&impl Asks<Asked = Asked>>,
    ) -> Result<(Asked, Option<Timestamp>), Failure> {
        let Some(asks) = asks else {
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
            .map_err(|problem| invalid(&problem))?
            .or_else(|| after(ticket.received, asks.usual_deadline(ticket.lane)?));
        let lookup = asks
            .asked(body.query, body.options)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_makes_no_job_due_before_its_time() {
        let now = Timestamp::UNIX_EPOCH;
        let due =
            |body: &str| Job::deadline_of(&Envelope::default(), body.as_bytes(), 1024, None, now);
        for mark in ["", "\u{feff}"] {
            assert_eq!(due(&format!(r#"{mark}{{"query":{{}}}}"#)), None);
            let in_a_second = due(&format!(r#"{mark}{{"query":{{}},"deadline_ms":1000}}"#));
            assert_eq!(in_a_second.map(Timestamp::as_second), Some(1));
        }
        assert_eq!(due("no job"), Some(now));
    }
}
