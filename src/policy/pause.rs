//! The pauses of one provider: until when it is left alone, and by whose word (contract §6).
//!
//! A pause that the provider asks for never becomes shorter. One by hand is as the last command says. Both may stand
//! at once; the one that ends last counts. A short one is waited for in the worker; a long one keeps jobs in their
//! queues, and so does every one by hand.
//!
//! Time is passed in, so that it can be tested without waiting.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// By whose word a provider is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The provider's: a 429 with `Retry-After`.
    #[default]
    Provider,
    /// A person's: `lookup-worker pause`.
    Hand,
}

/// One pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// By whose word.
    pub by: By,
    /// Its end; none where it lasts until it is lifted.
    pub until: Option<Instant>,
    /// Jobs stay in their queues meanwhile.
    pub long: bool,
    /// Other workers know of it.
    told: bool,
}

/// Those of one provider in one worker.
#[derive(Debug)]
pub struct Pauses {
    /// A pause that is no longer is waited for in the worker.
    short: Duration,
    asked: Cell<Option<Pause>>,
    by_hand: Cell<Option<Pause>>,
}

impl Pauses {
    /// None. Those up to `short` will be waited for in the worker.
    #[must_use]
    pub fn new(short: Duration) -> Self {
        Self {
            short,
            asked: Cell::default(),
            by_hand: Cell::default(),
        }
    }

    /// The provider asks to be left alone for this long; `told` where other workers know that too. Says whether that
    /// is news.
    pub fn ask(&self, wait: Duration, told: bool, now: Instant) -> bool {
        let (known, until) = (self.asked.get(), now + wait);
        if wait.is_zero() || known.is_some_and(|known| known.until >= Some(until)) {
            return false;
        }
        self.asked.set(Some(Pause {
            by: By::Provider,
            until: Some(until),
            long: wait > self.short || known.is_some_and(|known| known.long),
            told,
        }));
        true
    }

    /// A person says so: for this long, or until it is lifted.
    pub fn order(&self, wait: Option<Duration>, now: Instant) {
        self.by_hand.set(Some(Pause {
            by: By::Hand,
            until: wait.map(|wait| now + wait),
            long: true,
            told: true,
        }));
    }

    /// Ends all of them.
    pub fn lift(&self) {
        self.asked.take();
        self.by_hand.take();
    }

    /// Ends those of which other workers know.
    pub fn forget_told(&self) {
        self.by_hand.take();
        self.asked.set(self.asked.get().filter(|pause| !pause.told));
    }

    /// Ends those that are over; says whether there was one.
    pub fn expire(&self, now: Instant) -> bool {
        let over = |pause: &Pause| pause.until.is_some_and(|until| until <= now);
        let mut any = false;
        for kept in [&self.asked, &self.by_hand] {
            let pause = kept.get();
            any |= pause.as_ref().is_some_and(over);
            kept.set(pause.filter(|pause| !over(pause)));
        }
        any
    }

    /// The one that ends last, if there is one.
    #[must_use]
    pub fn last(&self) -> Option<Pause> {
        match (self.asked.get(), self.by_hand.get()) {
            (Some(asked), Some(by_hand)) => {
                let outlasts = by_hand.until.is_none() || by_hand.until >= asked.until;
                Some(if outlasts { by_hand } else { asked })
            }
            (asked, by_hand) => asked.or(by_hand),
        }
    }

    /// The last that keeps jobs in their queues.
    #[must_use]
    pub fn long(&self) -> Option<Pause> {
        let by_hand = self.by_hand.get();
        self.last().filter(|pause| pause.long).or(by_hand)
    }

    /// The end of one that other workers are to hear of.
    #[must_use]
    pub fn untold(&self) -> Option<Instant> {
        self.asked.get().filter(|pause| !pause.told)?.until
    }

    /// Other workers know of it until then.
    pub fn told(&self, until: Instant) {
        self.asked.set(self.asked.get().map(|pause| Pause {
            told: pause.told || pause.until <= Some(until),
            ..pause
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(2);

    #[test]
    fn one_by_hand_is_as_the_last_command_says_and_outlasts_the_providers_own() {
        let (now, pauses) = (Instant::now(), Pauses::new(SHORT));
        pauses.ask(10 * SHORT, true, now);
        pauses.order(None, now);
        assert_eq!(
            pauses.last().map(|pause| (pause.by, pause.until)),
            Some((By::Hand, None))
        );
        pauses.order(Some(SHORT), now);
        let last = pauses.last().expect("one");
        assert_eq!(
            (last.by, last.until),
            (By::Provider, Some(now + 10 * SHORT))
        );
        assert!(pauses.expire(now + SHORT), "the one by hand is over");
        assert!(pauses.expire(now + 10 * SHORT));
        assert_eq!(pauses.last(), None);
    }

    #[test]
    fn one_by_hand_keeps_jobs_in_their_queues_however_short_it_is() {
        let (now, pauses) = (Instant::now(), Pauses::new(SHORT));
        pauses.order(Some(SHORT / 4), now);
        assert_eq!(pauses.long().map(|pause| pause.by), Some(By::Hand));
        pauses.ask(SHORT / 2, true, now);
        assert_eq!(pauses.last().map(|pause| pause.by), Some(By::Provider));
        assert_eq!(pauses.long().map(|pause| pause.by), Some(By::Hand));
    }

    #[test]
    fn what_is_lifted_is_over_and_what_nobody_was_told_of_is_not_forgotten() {
        let (now, pauses) = (Instant::now(), Pauses::new(SHORT));
        pauses.ask(10 * SHORT, false, now);
        pauses.order(None, now);
        pauses.forget_told();
        assert_eq!(pauses.last().map(|pause| pause.by), Some(By::Provider));
        pauses.lift();
        assert_eq!(pauses.last(), None);
    }
}
