//! The circuit of one provider (contract §6): a provider that keeps failing is left in peace but for a probe now
//! and then, and so is one that keeps refusing the credentials.
//!
//! Closed, attempts are made. A run of failures opens it: none is made, jobs stay in their queues. After each
//! cooldown one probe is sent; its outcome closes the circuit or begins the next cooldown. Time is passed in, so
//! that it can be tested without waiting.

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
    changed: Notify,
    /// The next probe does not wait; kept while one is on its way.
    hurry: Notify,
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
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Failing => "the provider keeps failing",
            Self::Credentials => "the provider keeps refusing the credentials",
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
    /// Closed.
    #[must_use]
    pub fn new(breaker: &Breaker, auth_failure_limit: u32) -> Self {
        Self {
            failures_limit: breaker.failures,
            auth_limit: auth_failure_limit,
            cooldown: breaker.cooldown,
            failures: Cell::new(0),
            auth_failures: Cell::new(0),
            state: RefCell::new(State::Closed),
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
        let limit_reached = match sign(failure.kind) {
            Sign::Good => return self.note_good(purpose),
            Sign::Neither => None,
            Sign::Bad(why) => {
                let (count, limit) = match why {
                    Why::Failing => (&self.failures, self.failures_limit),
                    Why::Credentials => (&self.auth_failures, self.auth_limit),
                };
                count.set(count.get().saturating_add(1));
                (count.get() >= limit).then_some(why)
            }
        };
        match (purpose, limit_reached) {
            // Whatever it shows, it is not that all is well again.
            (Purpose::Probe, _) => self.open(self.why().unwrap_or(Why::Failing), failure, now),
            (_, Some(why)) if self.why().is_none() => {
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
        self.set(State::Open { until: now + wait, why });
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

    /// When the next probe may be sent; none while the circuit is closed.
    #[must_use]
    pub fn next_probe(&self) -> Option<Instant> {
        match *self.state.borrow() {
            State::Open { until, .. } => Some(until),
            State::Closed => None,
        }
    }

    /// Why it is open, if it is.
    #[must_use]
    pub fn why(&self) -> Option<Why> {
        match *self.state.borrow() {
            State::Open { why, .. } => Some(why),
            State::Closed => None,
        }
    }

    /// Waits until it is open.
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
        ErrorKind::ProviderError | ErrorKind::Timeout | ErrorKind::Connection => Sign::Bad(Why::Failing),
        ErrorKind::Unauthorized | ErrorKind::Forbidden => Sign::Bad(Why::Credentials),
        ErrorKind::Rejected | ErrorKind::BadResponse | ErrorKind::EndpointNotFound => Sign::Good,
        _ => Sign::Neither,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(30);

    fn circuit() -> Circuit {
        Circuit::new(&Breaker { failures: 3, cooldown: COOLDOWN }, 2)
    }

    fn failed(kind: ErrorKind) -> Outcome {
        Outcome::Failed(Failure::new(kind, "so it is"))
    }

    fn attempts(circuit: &Circuit, kinds: &[Option<ErrorKind>], now: Instant) {
        for kind in kinds {
            circuit.note(Purpose::Lookup, &kind.map_or(Outcome::NotFound(None), failed), now);
        }
    }

    #[test]
    fn a_run_of_failures_opens_it_and_an_answer_in_between_does_not() {
        let (now, down) = (Instant::now(), Some(ErrorKind::Connection));
        let circuit = circuit();
        attempts(&circuit, &[down, down, None, down, down, Some(ErrorKind::Rejected), down, down], now);
        assert_eq!(circuit.why(), None);
        attempts(&circuit, &[Some(ErrorKind::Timeout)], now);
        assert_eq!((circuit.why(), circuit.next_probe()), (Some(Why::Failing), Some(now + COOLDOWN)));
    }

    #[test]
    fn a_429_and_a_deadline_count_neither_way() {
        let (now, down) = (Instant::now(), Some(ErrorKind::ProviderError));
        let circuit = circuit();
        let neither = [Some(ErrorKind::RateLimited), Some(ErrorKind::DeadlineExceeded)];
        attempts(&circuit, &[neither[0], neither[0], neither[0], neither[1], neither[1], neither[1]], now);
        assert_eq!(circuit.why(), None);
        attempts(&circuit, &[down, down, neither[0], neither[1], down], now);
        assert_eq!(circuit.why(), Some(Why::Failing));
    }

    #[test]
    fn a_probe_that_fails_begins_the_next_cooldown_and_one_that_succeeds_closes_it() {
        let (start, down) = (Instant::now(), Some(ErrorKind::Connection));
        let circuit = circuit();
        attempts(&circuit, &[down, down, down], start);
        for (at, kind) in [(1, ErrorKind::Timeout), (2, ErrorKind::RateLimited), (3, ErrorKind::Forbidden)] {
            circuit.note(Purpose::Probe, &failed(kind), start + at * COOLDOWN);
            assert_eq!(circuit.next_probe(), Some(start + (at + 1) * COOLDOWN), "{kind:?}");
        }
        circuit.note(Purpose::Probe, &Outcome::NotFound(None), start + 4 * COOLDOWN);
        assert_eq!(circuit.why(), None);
        attempts(&circuit, &[down, down], start);
        assert_eq!(circuit.why(), None, "it begins to count anew");
    }

    #[test]
    fn refused_credentials_open_it_by_a_limit_of_their_own() {
        let (now, refused) = (Instant::now(), Some(ErrorKind::Forbidden));
        let circuit = circuit();
        attempts(&circuit, &[refused, None, refused], now);
        assert_eq!(circuit.why(), None);
        attempts(&circuit, &[Some(ErrorKind::Unauthorized)], now);
        assert_eq!(circuit.why(), Some(Why::Credentials));
    }

    #[test]
    fn new_secrets_hurry_the_next_probe_of_refused_credentials_and_of_nothing_else() {
        let (now, refused, down) = (Instant::now(), Some(ErrorKind::Forbidden), Some(ErrorKind::Connection));
        let circuit = circuit();
        attempts(&circuit, &[refused], now);
        circuit.secrets_renewed();
        attempts(&circuit, &[refused], now);
        assert_eq!(circuit.why(), None, "it begins to count anew");
        attempts(&circuit, &[refused], now);
        assert!(circuit.hurried().now_or_never().is_none(), "nothing was renewed since it opened");
        circuit.secrets_renewed();
        assert!(circuit.hurried().now_or_never().is_some());
        assert!(circuit.hurried().now_or_never().is_none(), "one probe");

        // A hurry that came while the last probe was on its way, which then closed it, is not for the next time.
        circuit.secrets_renewed();
        circuit.note(Purpose::Probe, &Outcome::NotFound(None), now);
        attempts(&circuit, &[refused, refused], now);
        assert!(circuit.hurried().now_or_never().is_none());

        let circuit = self::circuit();
        attempts(&circuit, &[down, down, down], now);
        circuit.secrets_renewed();
        assert!(circuit.hurried().now_or_never().is_none(), "it fails for another reason");
    }

    #[test]
    fn the_cooldown_is_never_shorter_than_the_provider_asks_for() {
        let (now, mut failure) = (Instant::now(), Failure::new(ErrorKind::ProviderError, "so it is"));
        failure.retry_after = Some(2 * COOLDOWN);
        let circuit = circuit();
        for _ in 0..3 {
            circuit.note(Purpose::Lookup, &Outcome::Failed(failure.clone()), now);
        }
        assert_eq!(circuit.next_probe(), Some(now + 2 * COOLDOWN));
    }

    #[test]
    fn late_answers_to_attempts_from_before_change_nothing() {
        let (now, down) = (Instant::now(), failed(ErrorKind::Connection));
        let circuit = circuit();
        for late in 0..10 {
            circuit.note(Purpose::Lookup, &down, now + Duration::from_secs(late));
        }
        circuit.note(Purpose::Lookup, &Outcome::NotFound(None), now);
        assert_eq!(circuit.next_probe(), Some(now + Duration::from_secs(2) + COOLDOWN));
    }
}
