//! What workers tell each other of a provider's own count: each sees its own answers alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BrokerError, Message, Route, Session};
use crate::policy::quota::count::Said;

/// A word that is older is of no use.
const WORD_LASTS: Duration = Duration::from_secs(5);

/// What one worker read of one window. Lengths of time, since clocks may be apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountNotice {
    /// The provider's name.
    pub provider: String,
    /// The worker, by a number of its own.
    pub by: u64,
    window: String,
    remaining: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reset_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    length_ms: Option<u64>,
    /// How long ago the request went.
    ago_ms: u64,
    /// What the worker had spent by then, and by now.
    spent: [u64; 2],
}

impl CountNotice {
    /// Of a provider, by this worker, of a request that went so long ago.
    #[must_use]
    pub fn new(provider: &str, by: u64, said: &Said, ago: Duration, spent: [u64; 2]) -> Self {
        Self {
            provider: provider.to_owned(),
            by,
            window: said.window.clone(),
            remaining: said.remaining,
            limit: said.limit,
            reset_ms: said.reset.map(milliseconds),
            length_ms: said.length.map(milliseconds),
            ago_ms: milliseconds(ago),
            spent,
        }
    }

    /// What was read.
    #[must_use]
    pub fn said(&self) -> Said {
        Said {
            window: self.window.clone(),
            remaining: self.remaining,
            limit: self.limit,
            reset: self.reset_ms.map(Duration::from_millis),
            length: self.length_ms.map(Duration::from_millis),
        }
    }

    /// How long ago the request went.
    #[must_use]
    pub fn ago(&self) -> Duration {
        Duration::from_millis(self.ago_ms)
    }

    /// What the worker had spent by then, and when it told.
    #[must_use]
    pub fn spent(&self) -> [u64; 2] {
        self.spent
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Session {
    /// Lets all workers know.
    ///
    /// # Errors
    /// Where the session is over.
    pub async fn tell_count(&self, notice: &CountNotice) -> Result<(), BrokerError> {
        let (exchange, key) = (&*self.names.room(), &*self.names.counts());
        let message = Message::json(serde_json::to_vec(notice).unwrap_or_default().into());
        let message = message.expiration(WORD_LASTS);
        let route = Route::Kept { exchange, key };
        self.publisher.publish(route, &|| message.clone()).await?;
        Ok(())
    }
}
