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
            (_, Some(why)) if !self.is_open() => self.open(why, failure, now),
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
        self.pause.get().filter(|pause| !pause.told).map(|pause| pause.until)
    }

    /// Other workers know of the pause until then.
    pub fn told(&self, until: Instant) {
        self.pause.set(self.pause.get().map(|pause| Pause { told: pause.told || pause.until <= until, ..pause }));
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
            State::Open { until, .. } => Some(Next::Probe(pause.map_or(until, |pause| until.max(pause.until)))),
            State::Closed => pause.filter(|pause| pause.long).map(|pause| Next::Resume(pause.until)),
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
            State::Closed => self.pause.get().filter(|pause| pause.long).map(|_| Why::RateLimited),
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
    const SHORT: Duration = Duration::from_secs(2);

    fn circuit() -> Circuit {
        Circuit::new(&Breaker { failures: 3, cooldown: COOLDOWN }, 2, SHORT)
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
        assert_eq!((circuit.why(), circuit.next()), (Some(Why::Failing), Some(Next::Probe(now + COOLDOWN))));
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
            assert_eq!(circuit.next(), Some(Next::Probe(start + (at + 1) * COOLDOWN)), "{kind:?}");
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
    fn the_cooldown_is_never_shorter_than_the_provider_asks_for() {
        let (now, mut failure) = (Instant::now(), Failure::new(ErrorKind::ProviderError, "so it is"));
        failure.retry_after = Some(2 * COOLDOWN);
        let circuit = circuit();
        for _ in 0..3 {
            circuit.note(Purpose::Lookup, &Outcome::Failed(failure.clone()), now);
        }
        assert_eq!(circuit.next(), Some(Next::Probe(now + 2 * COOLDOWN)));
    }

    #[test]
    fn late_answers_to_attempts_from_before_change_nothing() {
        let (now, down) = (Instant::now(), failed(ErrorKind::Connection));
        let circuit = circuit();
        for late in 0..10 {
            circuit.note(Purpose::Lookup, &down, now + Duration::from_secs(late));
        }
        circuit.note(Purpose::Lookup, &Outcome::NotFound(None), now);
        assert_eq!(circuit.next(), Some(Next::Probe(now + Duration::from_secs(2) + COOLDOWN)));
    }

    fn limited(wait: Duration) -> Outcome {
        Outcome::Failed(Failure { retry_after: Some(wait), ..Failure::new(ErrorKind::RateLimited, "so it is") })
    }

    #[test]
    fn a_429_with_retry_after_is_a_pause_that_only_grows_and_ends_by_itself() {
        let (now, circuit) = (Instant::now(), circuit());
        let long = 10 * SHORT;
        circuit.note(Purpose::Lookup, &limited(long), now);
        assert_eq!((circuit.why(), circuit.next()), (Some(Why::RateLimited), Some(Next::Resume(now + long))));
        assert!(!circuit.is_open(), "it is no failure");
        circuit.note(Purpose::Lookup, &limited(SHORT), now);
        circuit.note(Purpose::Lookup, &Outcome::NotFound(None), now);
        assert_eq!(circuit.paused_until(), Some(now + long), "a shorter one and a late answer change nothing");
        circuit.pause(long, true, now + SHORT);
        circuit.resume(now + long);
        assert_eq!(circuit.paused_until(), Some(now + long + SHORT));
        circuit.resume(now + long + SHORT);
        assert_eq!((circuit.why(), circuit.next(), circuit.paused_until()), (None, None, None));
    }

    #[test]
    fn a_short_pause_leaves_jobs_with_the_worker() {
        let (now, circuit) = (Instant::now(), circuit());
        circuit.note(Purpose::Lookup, &limited(SHORT), now);
        assert_eq!((circuit.why(), circuit.next()), (None, None));
        assert_eq!(circuit.paused_until(), Some(now + SHORT));
        circuit.pause(2 * SHORT, true, now);
        assert_eq!(circuit.why(), Some(Why::RateLimited), "until it grows long");
    }

    #[test]
    fn other_workers_are_told_of_what_they_do_not_know() {
        let (now, circuit) = (Instant::now(), circuit());
        circuit.note(Purpose::Lookup, &limited(SHORT), now);
        assert_eq!(circuit.untold(), Some(now + SHORT));
        circuit.note(Purpose::Lookup, &limited(2 * SHORT), now);
        circuit.told(now + SHORT);
        assert_eq!(circuit.untold(), Some(now + 2 * SHORT), "it grew meanwhile");
        circuit.told(now + 2 * SHORT);
        assert_eq!(circuit.untold(), None);
        circuit.pause(3 * SHORT, true, now);
        assert_eq!(circuit.untold(), None, "it came from another");
    }

    #[test]
    fn no_probe_is_sent_in_a_pause() {
        let (now, down) = (Instant::now(), Some(ErrorKind::Connection));
        let circuit = circuit();
        circuit.pause(2 * COOLDOWN, true, now);
        attempts(&circuit, &[down, down, down], now);
        assert_eq!(circuit.next(), Some(Next::Probe(now + 2 * COOLDOWN)));
        circuit.resume(now + 2 * COOLDOWN);
        assert_eq!(circuit.why(), Some(Why::Failing), "what failed still does");
    }
}
