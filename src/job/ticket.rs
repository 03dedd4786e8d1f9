//! Who asks, and how they are answered.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Address, Body, Envelope, PriorAttempts};
use crate::{
    failure::Failure,
    json::{self, Malformed},
    lane::Lane,
};

/// Largest context, in bytes of JSON.
pub const MAX_CONTEXT_BYTES: usize = 64 * 1024;

/// Deepest nesting of a context: the readers of several languages stop there by default, and its result would not be
/// read.
pub const MAX_CONTEXT_DEPTH: usize = 64;

/// Longest id: AMQP carries ids in strings of at most 255 bytes.
const MAX_ID_BYTES: usize = 255;

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
    pub prior: PriorAttempts,
}

/// A message that is no job, and how it is answered all the same.
#[derive(Debug)]
pub struct NotAJob {
    /// Who asks, as far as it can be told.
    pub ticket: Ticket,
    /// What is wrong.
    pub failure: Failure,
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
            received: envelope.prior.received.unwrap_or(now).min(now),
            prior: envelope.prior,
        }
    }

    /// Both, as far as they can be had: who sent a bad context wants to know of which job.
    pub(super) fn take_identity(&mut self, body: &Body) -> Result<(), Malformed> {
        let id = self.take_id(body);
        let context = self.take_context(body);
        id.and(context)
    }

    fn take_id(&mut self, body: &Body) -> Result<(), Malformed> {
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

    fn take_context(&mut self, body: &Body) -> Result<(), Malformed> {
        let Some(context) = body.context.filter(|context| context.get() != "null") else {
            return Ok(());
        };
        check_context(context.get()).map_err(|problem| Malformed::at("context", problem))?;
        self.context = Some(context.to_owned());
        Ok(())
    }

    /// Id and context of a body that is JSON, though no job.
    pub(super) fn salvage(&mut self, body: &[u8]) {
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
    fn a_body_with_one_bad_field_keeps_its_identity() {
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        let long = format!("\"{}\"", "c".repeat(MAX_CONTEXT_BYTES));
        let nameless = r#"{"id":"","query":{},"context":{"call":1}}"#.to_owned();
        let with = |context: &str| format!(r#"{{"id":"j-1","query":{{}},"context":{context}}}"#);
        for (body, id, context) in [
            (with(&deep), Some("j-1"), None),
            (with(&long), Some("j-1"), None),
            (nameless, None, Some(r#"{"call":1}"#)),
        ] {
            let body: Body = json::read(body.as_bytes()).unwrap();
            let mut ticket = Ticket::of(&Envelope::default(), Timestamp::UNIX_EPOCH);
            assert!(ticket.take_identity(&body).is_err());
            assert_eq!(ticket.id, id.unwrap_or_default());
            assert_eq!(ticket.context.as_deref().map(RawValue::get), context);
        }
    }
}
