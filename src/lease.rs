//! How long a message is ours: until the broker takes it back, or we give it back before it does.

use std::{cell::Cell, rc::Rc};

use tokio::sync::Notify;

use crate::clock::Moment;

/// Our claim to what came by one channel. Once it is lost, the broker delivers all of it anew.
#[derive(Debug, Default)]
pub struct Claim {
    lost: Cell<bool>,
    told: Notify,
}

impl Claim {
    /// The broker has taken back what is not settled.
    pub fn lose(&self) {
        self.lost.set(true);
        self.told.notify_waiters();
    }

    /// Whether it has.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.get()
    }

    /// Waits until it has.
    pub async fn lost(&self) {
        let told = self.told.notified();
        if !self.is_lost() {
            told.await;
        }
    }
}

/// How long one job may wait here before it is begun. That of a job which no broker delivered never ends.
#[derive(Debug, Clone, Default)]
pub struct Lease(Option<(Rc<Claim>, Moment)>);

impl Lease {
    /// Until then, or until the claim is lost.
    #[must_use]
    pub fn until(claim: &Rc<Claim>, end: Moment) -> Self {
        Self(Some((Rc::clone(claim), end)))
    }

    /// Whether it lasts beyond this moment.
    #[must_use]
    pub fn lasts_beyond(&self, moment: Moment) -> bool {
        self.0
            .as_ref()
            .is_none_or(|(claim, end)| !claim.is_lost() && *end > moment)
    }

    /// Waits for its end.
    pub async fn over(&self) {
        let Some((claim, end)) = &self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            () = claim.lost() => {}
            () = tokio::time::sleep(end.since(Moment::now())) => {}
        }
    }
}
