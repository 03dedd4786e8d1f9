//! The circuit of one provider (contract §6): a provider that keeps failing is left in peace but for a probe now
//! and then, and so is one that keeps refusing.
//!
//! Closed, attempts are made. It opens after a run of failures of several different jobs, since what one job alone
//! meets again and again says more of that job; or when so many jobs in a row had to be answered with a refusal.
//! Then none is made, and jobs stay in their queues. After each cooldown one probe is sent; its outcome closes the
//! circuit or begins the next cooldown. Where there is no job to probe with it is *half-open*: the next one is tried
//! as it comes.
//!
//! A 429 with `Retry-After` is no failure, but a pause (`policy::pause`): the provider is left alone until then by
//! every worker of the broker, and then asked again without a probe. Without `Retry-After` a 429 concerns its own
//! job alone, which is tried again by its own delay.
//!
//! Time is passed in, so that it can be tested without waiting.

mod reason; // why jobs stay in their queues, in words

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use smallvec::SmallVec;
use tokio::sync::Notify;

use super::pause::{By, Pause, Pauses};
use crate::{
    config::Breaker,
    failure::{ErrorKind, Failure},
    outcome::Outcome,
};
pub use reason::{Last, Why};

/// Failures of fewer jobs are those jobs' affair.
const DIFFERENT_JOBS: usize = 3;

/// Of one provider in one worker.
#[derive(Debug)]
pub struct Circuit {
    failures_limit: u32,
    refusals_limit: u32,
    cooldown: Duration,
    failures: Cell<u32>,
    /// Whose these failures were, as far as it matters.
    failed: RefCell<SmallVec<[u64; DIFFERENT_JOBS]>>,
    refusals: Cell<u32>,
    state: Cell<State>,
    pauses: Pauses,
    changed: Notify,
    /// The next probe does not wait; kept while one is on its way.
    hurry: Notify,
    lifted: Notify,
}

/// How a provider that is left alone comes to be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// A probe, at this time.
    Probe(Instant),
    /// The end of a pause; none where somebody must lift it.
    Resume(Option<Instant>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until: Instant,
        why: Why,
        last: Last,
        half: bool,
    },
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
    pub fn new(breaker: &Breaker, refusals_limit: u32, short: Duration) -> Self {
        Self {
            failures_limit: breaker.failures,
            refusals_limit,
            cooldown: breaker.cooldown,
            failures: Cell::new(0),
            failed: RefCell::default(),
            refusals: Cell::new(0),
            state: Cell::new(State::Closed),
            pauses: Pauses::new(short),
            changed: Notify::new(),
            hurry: Notify::new(),
            lifted: Notify::new(),
        }
    }

    /// What came of an attempt that was made for these jobs, each known by some number of its own.
    pub fn note(&self, purpose: Purpose, outcome: &Outcome, jobs: &[u64], now: Instant) {
        let failure = match outcome {
            Outcome::Found(..) | Outcome::NotFound(_) => return self.note_good(purpose),
            Outcome::Failed(failure) => failure,
        };
        if let (ErrorKind::RateLimited, Some(wait)) = (failure.kind, failure.retry_after) {
            self.pause(wait, false, now);
        }
        match sign(failure) {
            Sign::Good => return self.note_good(purpose),
            Sign::Neither => {}
            Sign::Bad => self.count(failure, jobs, now),
        }
        if let (Purpose::Probe, Some(why)) = (purpose, self.opened_by()) {
            // Whatever it shows, it is not that all is well again.
            self.open(why, failure, now);
        }
    }

    fn note_good(&self, purpose: Purpose) {
        self.failures.set(0);
        self.failed.borrow_mut().clear();
        self.refusals.set(0);
        if purpose == Purpose::Probe {
            self.set(State::Closed);
        }
    }

    fn count(&self, failure: &Failure, jobs: &[u64], now: Instant) {
        self.failures.set(self.failures.get().saturating_add(1));
        let different = {
            let mut failed = self.failed.borrow_mut();
            for job in jobs {
                if failed.len() < DIFFERENT_JOBS && !failed.contains(job) {
                    failed.push(*job);
                }
            }
            failed.len()
        };
        if self.failures.get() >= self.failures_limit && different >= DIFFERENT_JOBS {
            self.open_first(Why::Failing, failure, now);
        }
    }

    /// A job is about to be answered with a refusal. Says whether it may be; if not, it is to wait with the others,
    /// so that no more are answered so than the limit says, however many were in flight.
    #[must_use]
    pub fn lets_refuse(&self, failure: &Failure, now: Instant) -> bool {
        if self.is_open() {
            return false;
        }
        self.refusals.set(self.refusals.get().saturating_add(1));
        if self.refusals.get() >= self.refusals_limit {
            let why = match failure.kind {
                ErrorKind::Unauthorized | ErrorKind::Forbidden => Why::Credentials,
                _ => Why::Refusing,
            };
            self.open_first(why, failure, now);
        }
        true
    }

    fn open_first(&self, why: Why, failure: &Failure, now: Instant) {
        if !self.is_open() {
            // A hurry that no probe has heeded was of the last time.
            let _ = self.hurry.notified().now_or_never();
            self.open(why, failure, now);
        }
    }

    fn open(&self, why: Why, failure: &Failure, now: Instant) {
        // The provider's own word on when to come back goes before ours.
        let wait = self.cooldown.max(failure.retry_after.unwrap_or_default());
        let last = Last {
            kind: failure.kind,
            http_status: failure.http_status,
        };
        self.set(State::Open {
            until: now + wait,
            why,
            last,
            half: false,
        });
    }

    fn set(&self, state: State) {
        self.state.set(state);
        self.changed.notify_waiters();
    }

    /// A probe is due, and there is no job to send it with.
    pub fn lacks_a_job(&self) {
        if let State::Open {
            until, why, last, ..
        } = self.state.get()
        {
            self.state.set(State::Open {
                until,
                why,
                last,
                half: true,
            });
        }
    }

    /// Whether a job that comes by is to be the probe that a half-open circuit waits for: one only, and the next after
    /// a cooldown.
    #[must_use]
    pub fn takes_probe(&self, now: Instant) -> bool {
        let State::Open {
            why,
            last,
            half: true,
            ..
        } = self.state.get()
        else {
            return false;
        };
        let until = now + self.cooldown;
        self.set(State::Open {
            until,
            why,
            last,
            half: false,
        });
        true
    }

    /// The secrets may be new: what was refused before counts no more, and where refusals opened it, the next probe
    /// is sent at once. A provider that fails is left in peace all the same.
    pub fn secrets_renewed(&self) {
        self.refusals.set(0);
        if matches!(self.opened_by(), Some(Why::Credentials | Why::Refusing)) {
            self.hurry.notify_one();
        }
    }

    /// Waits until the next probe is to be sent at once.
    pub async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// The provider asks to be left alone for this long from now; `told` where other workers know that too.
    pub fn pause(&self, wait: Duration, told: bool, now: Instant) {
        if self.pauses.ask(wait, told, now) {
            self.changed.notify_waiters();
        }
    }

    /// A person says that it is to be left alone for this long, or until [`Self::lift`].
    pub fn pause_by_hand(&self, wait: Option<Duration>, now: Instant) {
        self.pauses.order(wait, now);
        self.changed.notify_waiters();
    }

    /// A person says that it is to be asked: no pause stands any more, and an open circuit is probed at once.
    pub fn lift(&self) {
        self.pauses.lift();
        if self.is_open() {
            self.hurry.notify_one();
        }
        self.lifted.notify_waiters();
        self.changed.notify_waiters();
    }

    /// Waits until a person says that the provider is to be asked.
    pub async fn lifted(&self) {
        self.lifted.notified().await;
    }

    /// Pauses of which other workers know are over before their time.
    pub fn forget_told(&self) {
        self.pauses.forget_told();
        self.changed.notify_waiters();
    }

    /// The pause that ends last, if the provider is left alone.
    #[must_use]
    pub fn paused(&self) -> Option<Pause> {
        self.pauses.last()
    }

    /// The end of the provider's own pause, where other workers are to hear of it.
    #[must_use]
    pub fn untold(&self) -> Option<Instant> {
        self.pauses.untold()
    }

    /// Other workers know of the pause until then.
    pub fn told(&self, until: Instant) {
        self.pauses.told(until);
    }

    /// Ends pauses that are over.
    pub fn resume(&self, now: Instant) {
        if self.pauses.expire(now) {
            self.changed.notify_waiters();
        }
    }

    /// Waits for the end of all pauses, if there are any.
    pub async fn resumed(&self) {
        while let Some(pause) = self.paused() {
            tokio::select! {
                () = at(pause.until) => self.resume(Instant::now()),
                () = self.changed() => {}
            }
        }
    }

    /// Waits for what changes it.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What ends that it is left alone; none while attempts are made.
    #[must_use]
    pub fn recovery(&self) -> Option<Recovery> {
        let pause = self.paused();
        match (self.state.get(), pause) {
            (State::Open { until, .. }, None) => Some(Recovery::Probe(until)),
            (State::Open { until, .. }, Some(pause)) => Some(match pause.until {
                Some(end) => Recovery::Probe(until.max(end)),
                None => Recovery::Resume(None),
            }),
            (State::Closed, _) => self
                .pauses
                .long()
                .map(|pause| Recovery::Resume(pause.until)),
        }
    }

    /// Whether no attempts are made but probes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state.get(), State::Open { .. })
    }

    /// Whether it waits for the next job, to probe with it.
    #[must_use]
    pub fn is_half_open(&self) -> bool {
        matches!(self.state.get(), State::Open { half: true, .. })
    }

    /// Why it is open, and the last failure.
    #[must_use]
    pub fn open_by(&self) -> Option<(Why, Last)> {
        match self.state.get() {
            State::Open { why, last, .. } => Some((why, last)),
            State::Closed => None,
        }
    }

    fn opened_by(&self) -> Option<Why> {
        self.open_by().map(|(why, _)| why)
    }

    /// Why jobs stay in their queues, if they do.
    #[must_use]
    pub fn why(&self) -> Option<Why> {
        let by_pause = || {
            self.pauses.long().map(|pause| match pause.by {
                By::Provider => Why::RateLimited,
                By::Hand => Why::ByHand,
            })
        };
        self.opened_by().or_else(by_pause)
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

/// Returns at that time; where there is none, never.
pub async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// What a failure says of the provider.
enum Sign {
    /// It answers, and lets us in.
    Good,
    /// A bad hour.
    Bad,
    /// A 429 is a matter of the quota, a deadline one of the job. A refusal counts once its job is answered with it.
    Neither,
}

fn sign(failure: &Failure) -> Sign {
    match failure.kind {
        _ if failure.about_customer => Sign::Good,
        ErrorKind::ProviderError | ErrorKind::Timeout | ErrorKind::Connection => Sign::Bad,
        _ => Sign::Neither,
    }
}

#[cfg(test)]
mod tests;
