//! The circuit of one provider (contract §6): a provider that keeps failing is left in peace but for a probe now
//! and then, and so is one that keeps refusing the credentials.
//!
//! Closed, attempts are made. A run of failures opens it: none is made, jobs stay in their queues. After each
//! cooldown one probe is sent; its outcome closes the circuit or begins the next cooldown.
//!
//! A 429 with `Retry-After` is no failure, but a *pause*: the provider is left alone until then by every worker of
//! the broker, and then asked again without a probe. A pause never becomes shorter. One that is longer than a job
//! may wait in the worker keeps jobs in their queues, as an open circuit does. Without `Retry-After` a 429 concerns
//! its own job alone, which is tried again by its own delay.
//!
//! Time is passed in, so that it can be tested without waiting.

use std::{
    cell::{Cell, RefCell},
    fmt,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::sync::Notify;

use crate::{
    config::Breaker,
    failure::{ErrorKind, Failure},
    provider::Outcome,
};

/// Of one provider in one worker.
#[derive(Debug)]
pub struct Circuit {
    failures_limit: u32,
    auth_limit: u32,
    cooldown: Duration,
    failures: Cell<u32>,
    auth_failures: Cell<u32>,
    state: RefCell<State>,
    /// A pause that is no longer is waited for in the worker.
    short: Duration,
    pause: Cell<Option<Pause>>,
    changed: Notify,
    /// The next probe does not wait; kept while one is on its way.
    hurry: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pause {
    until: Instant,
    long: bool,
    /// Other workers know of it.
    told: bool,
}

/// What an open circuit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A probe, at this time.
    Probe(Instant),
    /// The end of a pause.
    Resume(Instant),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant, why: Why },
}

/// Why a circuit is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The provider fails.
    Failing,
    /// The provider refuses the credentials.
    Credentials,
    /// The provider asks to be left alone for a while.
    RateLimited,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Failing => "the provider keeps failing",
            Self::Credentials => "the provider keeps refusing the credentials",
            Self::RateLimited => "the provider answered 429 and asks to be left alone for a while",
        })
    }
}

/// What an attempt is to the circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A job's.
    Lookup,
    /// To see whether the provider is well again.
    Probe,
}

impl Circuit {
    /// Closed. Pauses up to `short` are waited for in the worker.
    #[must_use]
    pub fn new(breaker: &Breaker, auth_failure_limit: u32, short: Duration) -> Self {
        Self {
            failures_limit: breaker.failures,
            auth_limit: auth_failure_limit,
            cooldown: breaker.cooldown,
            failures: Cell::new(0),
            auth_failures: Cell::new(0),
            state: RefCell::new(State::Closed),
            short,
            pause: Cell::new(None),
            changed: Notify::new(),
            hurry: Notify::new(),
        }
    }

    /// What came of an attempt.
    pub fn note(&self, purpose: Purpose, outcome: &Outcome, now: Instant) {
        let failure = match outcome {
            Outcome::Found(..) | Outcome::NotFound(_) => return self.note_good(purpose),
            Outcome::Failed(failure) => failure,
        };
        if let (ErrorKind::RateLimited, Some(wait)) = (failure.kind, failure.retry_after) {
            self.pause(wait, false, now);
        }
        let limit_reached = match sign(failure.kind) {
            Sign::Good => return self.note_good(purpose),
            Sign::Neither => None,
            Sign::Bad(why) => {
                let (count, limit) = match why {
                    Why::Credentials => (&self.auth_failures, self.auth_limit),
                    _ => (&self.failures, self.failures_limit),
                };
                count.set(count.get().saturating_add(1));
                (count.get() >= limit).then_some(why)
            }
        };
        match (purpose, limit_reached) {
            // Whatever it shows, it is not that all is well again.
            (Purpose::Probe, _) => self.open(self.why().unwrap_or(Why::Failing), failure, now),
            (_, Some(why)) if !self.is_open() => {
                // A hurry that no probe has heeded was of the last time.
                let _ = self.hurry.notified().now_or_never();
                self.open(why, failure, now);
            }
            _ => {}
        }
    }

    fn note_good(&self, purpose: Purpose) {
        self.failures.set(0);
        self.auth_failures.set(0);
        if purpose == Purpose::Probe {
            self.set(State::Closed);
        }
    }

    fn open(&self, why: Why, failure: &Failure, now: Instant) {
        // The provider's own word on when to come back goes before ours.
        let wait = self.cooldown.max(failure.retry_after.unwrap_or_default());
        self.set(State::Open {
            until: now + wait,
            why,
        });
    }

    fn set(&self, state: State) {
        *self.state.borrow_mut() = state;
        self.changed.notify_waiters();
    }

    /// The secrets may be new: what was refused before counts no more, and where credentials opened it, the next
    /// probe is sent at once. A provider that fails is left in peace all the same.
    pub fn secrets_renewed(&self) {
        self.auth_failures.set(0);
        if self.why() == Some(Why::Credentials) {
            self.hurry.notify_one();
        }
    }

    /// Waits until the next probe is to be sent at once.
    pub async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// The provider is to be left alone for this long from now; `told` where other workers know that too.
    pub fn pause(&self, wait: Duration, told: bool, now: Instant) {
        let known = self.pause.get();
        let until = now + wait;
        if wait.is_zero() || known.is_some_and(|known| known.until >= until) {
            return;
        }
        let long = wait > self.short || known.is_some_and(|known| known.long);
        self.pause.set(Some(Pause { until, long, told }));
        self.changed.notify_waiters();
    }

    /// Until when the provider is left alone, if it is.
    #[must_use]
    pub fn paused_until(&self) -> Option<Instant> {
        self.pause.get().map(|pause| pause.until)
    }

    /// The end of the pause, where other workers are to hear of it.
    #[must_use]
    pub fn untold(&self) -> Option<Instant> {
        self.pause
            .get()
            .filter(|pause| !pause.told)
            .map(|pause| pause.until)
    }

    /// Other workers know of the pause until then.
    pub fn told(&self, until: Instant) {
        self.pause.set(self.pause.get().map(|pause| Pause {
            told: pause.told || pause.until <= until,
            ..pause
        }));
    }

    /// Ends a pause that is over.
    pub fn resume(&self, now: Instant) {
        if self.paused_until().is_some_and(|until| until <= now) {
            self.pause.set(None);
            self.changed.notify_waiters();
        }
    }

    /// Waits for the end of a pause, if there is one.
    pub async fn resumed(&self) {
        while let Some(until) = self.paused_until() {
            tokio::time::sleep_until(until.into()).await;
            self.resume(Instant::now());
        }
    }

    /// Waits for what changes it.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What is waited for; none while attempts are made.
    #[must_use]
    pub fn next(&self) -> Option<Next> {
        let pause = self.pause.get();
        match *self.state.borrow() {
            State::Open { until, .. } => Some(Next::Probe(
                pause.map_or(until, |pause| until.max(pause.until)),
            )),
            State::Closed => pause
                .filter(|pause| pause.long)
                .map(|pause| Next::Resume(pause.until)),
        }
    }

    /// Whether no attempts are made but probes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(*self.state.borrow(), State::Open { .. })
    }

    /// Why jobs stay in their queues, if they do.
    #[must_use]
    pub fn why(&self) -> Option<Why> {
        match *self.state.borrow() {
            State::Open { why, .. } => Some(why),
            State::Closed => self
                .pause
                .get()
                .filter(|pause| pause.long)
                .map(|_| Why::RateLimited),
        }
    }

    /// Waits until jobs are to stay in their queues.
    pub async fn opened(&self) {
        loop {
            let changed = self.changed.notified();
            if self.why().is_some() {
                return;
            }
            changed.await;
        }
    }
}

/// What an outcome says of the provider.
enum Sign {
    /// It answers, and lets us in.
    Good,
    /// A bad hour, or bad credentials.
    Bad(Why),
    /// A 429 is a matter of the quota, a deadline one of the job.
    Neither,
}

fn sign(kind: ErrorKind) -> Sign {
    match kind {
        ErrorKind::ProviderError | ErrorKind::Timeout | ErrorKind::Connection => {
            Sign::Bad(Why::Failing)
        }
        ErrorKind::Unauthorized | ErrorKind::Forbidden => Sign::Bad(Why::Credentials),
        ErrorKind::Rejected | ErrorKind::BadResponse | ErrorKind::EndpointNotFound => Sign::Good,
        _ => Sign::Neither,
    }
}

#[cfg(test)]
mod tests;
