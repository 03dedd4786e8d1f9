//! A job that is a step of a lookup of several providers.

use std::cell::Cell;

use tokio::sync::Notify;

/// A step of a lookup of several providers, until nobody wants its answer any more.
#[derive(Debug, Default)]
pub struct Step {
    forsaken: Cell<bool>,
    told: Notify,
}

impl Step {
    /// Another step gave the answer: what is on its way goes on, and nothing more is begun.
    pub fn forsake(&self) {
        self.forsaken.set(true);
        self.told.notify_waiters();
    }

    /// Whether it is.
    #[must_use]
    pub fn is_forsaken(&self) -> bool {
        self.forsaken.get()
    }

    /// Waits until it is.
    pub async fn forsaken(&self) {
        let told = self.told.notified();
        if !self.is_forsaken() {
            told.await;
        }
    }
}
