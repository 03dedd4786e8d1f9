//! How many requests of bulk go at once over HTTP/1.1, where each needs a connection of its own.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// So many go as soon as they come.
const AT_ONCE: usize = 16;

/// Those beyond go once there was a need of them for so long without a break. Jobs come in bunches, for which there
/// would soon be a connection for each job in flight where a few will do; and each costs some 40 KB here, and more at the
/// provider. It must be well under the time for which a permission is good ([`Terms::validity`]).
///
/// [`Terms::validity`]: crate::policy::quota::Terms::validity
const PATIENCE: Duration = Duration::from_millis(100);

/// The lines of one client.
#[derive(Debug)]
pub(super) struct Lines {
    free: Arc<Semaphore>,
    patience: Duration,
    /// Since then no request found one free.
    short_since: Mutex<Option<Instant>>,
}

impl Lines {
    pub fn new() -> Self {
        Self::with_patience(PATIENCE)
    }

    fn with_patience(patience: Duration) -> Self {
        Self {
            free: Arc::new(Semaphore::new(AT_ONCE)),
            patience,
            short_since: Mutex::default(),
        }
    }

    /// A line, held until dropped; another is made where none becomes free in time.
    pub async fn take(&self) -> OwnedSemaphorePermit {
        if let Ok(line) = Arc::clone(&self.free).try_acquire_owned() {
            *self.short_since() = None;
            return line;
        }
        let short_for = self
            .short_since()
            .get_or_insert_with(Instant::now)
            .elapsed();
        let wait = self.patience.saturating_sub(short_for);
        let freed = timeout(wait, Arc::clone(&self.free).acquire_owned()).await;
        if let Ok(Ok(line)) = freed {
            return line;
        }
        self.free.add_permits(1);
        let added = Arc::clone(&self.free).acquire_owned().await;
        added.expect("the lines are never closed")
    }

    fn short_since(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.short_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
