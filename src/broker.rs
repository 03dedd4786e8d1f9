//! The one narrow seam to RabbitMQ: nothing outside this folder names the client library.
//!
//! What is here rests on measured facts:
//! - Confirms are mixed up where threads share a channel. Everything here is bound to one thread (`Rc`), so
//!   that the compiler forbids it.
//! - A returned message may be reported to the wrong publish where several are outstanding. So what can be
//!   returned has a channel of its own, with one outstanding publish; what cannot (the results exchange has an
//!   alternate exchange) is pipelined on one channel.
//! - Any await on the broker may hang for ever, `close` included. Each has a bound.
//! - A channel opened during a leader election nacks for as long as it is kept. A nack reopens it.
//! - The client gives up a connection for a text that is no UTF-8. It is given none (`legible`).
//! - A channel that is dropped while the broker owes an answer on it may cost the connection. It is kept (`asks`).
//! - The client's own recovery loses what it does not show. It is off: a connection that fails ends the
//!   [`Session`], and the worker opens the next.

mod acks;
pub(crate) mod asks;
mod browse;
mod connection;
mod consumer;
mod counts;
mod cure;
mod depth;
mod difference;
mod inquiry;
mod ledger;
mod legible;
mod message;
mod notices;
mod pipeline;
mod publisher;
mod question;
mod received;
mod replies;
mod rights;
mod tail;
mod topology;
mod transport;
mod word;

use std::{future::Future, time::Duration};

pub use browse::Browse;
pub use connection::{Health, Session, reconnect_delay};
pub use consumer::{Deliveries, Delivery, Subscription};
pub use counts::CountNotice;
pub use cure::Cures;
pub use depth::Depth;
pub use difference::{Difference, Found};
pub use inquiry::{Greeting, Version};
pub use ledger::QuotaLedgers;
pub use message::Message;
pub use notices::{Notice, Notices, PauseNotice};
pub use publisher::{Fate, Publish, Publisher, Route};
pub use question::Asked;
pub use received::Received;
pub use replies::KeptReplies;
pub use rights::MissingRight;
pub use tail::Tail;
pub use topology::{Expected, QueueSpec};

/// Longest wait for a connection to be open.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for the broker's answer to one method.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for a word on a queue that may be away with its node: RabbitMQ 3 says so at once, 4 looks for it for
/// a minute.
pub(crate) const AWAY_LIMIT: Duration = Duration::from_secs(3);
/// Longest wait for a publish to be confirmed.
pub(crate) const CONFIRM_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for a close; then it is dropped.
pub(crate) const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// What went wrong at the broker.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BrokerError {
    /// The connection, or a channel of it, cannot be used any more; another may do better.
    #[error("{0}")]
    Lost(String),
    /// The broker refuses this one thing, as it says: a right that is missing, a message that is too large.
    #[error("{0}")]
    Refused(String),
    /// What is declared there is not what this worker needs, or is missing; a person must decide.
    #[error("{0}")]
    Foreign(String),
}

/// Waits for the broker's answer, but not for ever.
async fn bounded<T>(
    what: &str,
    limit: Duration,
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerError> {
    told(what, limit, tokio::time::timeout(limit, answer).await.ok())
}

/// The broker's answer; none if it did not come in time.
fn told<T>(
    what: &str,
    limit: Duration,
    answer: Option<lapin::Result<T>>,
) -> Result<T, BrokerError> {
    match answer {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(BrokerError::Lost(format!("{what}: {error}"))),
        None => Err(BrokerError::Lost(format!(
            "{what}: no answer within {} s",
            limit.as_secs()
        ))),
    }
}
