//! How one lane of one worker asks its ledgers: how many at once, and how soon again.

use std::time::Duration;

use super::Terms;
use crate::{clock::Moment, lane::Lane};

/// Longest wait before a full ledger is asked again.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Shortest, if nothing better is known.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// How one lane of one worker asks: wide while there is room, one by one and with pauses while there is none.
#[derive(Debug)]
pub struct Pace {
    mean: Duration,
    widest: usize,
    width: usize,
    refusals: u32,
    not_before: Moment,
}

impl Pace {
    /// Full speed.
    #[must_use]
    pub fn new(lane: Lane, terms: &Terms) -> Self {
        Self {
            mean: terms.pace,
            widest: terms.widest(lane),
            width: terms.widest(lane),
            refusals: 0,
            not_before: Moment::default(),
        }
    }

    /// Another quota counts.
    pub fn change(&mut self, terms: &Terms) {
        self.mean = terms.pace;
    }

    /// The mean time between two requests of the quota.
    #[must_use]
    pub fn mean(&self) -> Duration {
        self.mean
    }

    /// How long to wait before the next may ask.
    #[must_use]
    pub fn pause(&self, now: Moment) -> Duration {
        self.not_before.since(now)
    }

    /// There was room. Says whether one more may ask at the same time.
    #[must_use]
    pub fn granted(&mut self) -> bool {
        self.refusals = 0;
        self.not_before = Moment::default();
        let wider = self.width < self.widest;
        self.width += usize::from(wider);
        wider
    }

    /// There was no room; perhaps there is at `room_at`. `jitter` is from 0.5 to 1. Says whether whoever asked
    /// waits for its turn again; the last of them does not.
    #[must_use]
    pub fn refused(&mut self, now: Moment, room_at: Option<Moment>, jitter: f64) -> bool {
        let steps_back = self.width > 1;
        if steps_back {
            self.width -= 1;
        } else {
            self.refusals = self.refusals.saturating_add(1);
        }
        let bound = self
            .mean
            .clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
            .saturating_mul(1 << self.refusals.min(6));
        let guess = now.after(bound.min(LONGEST_PAUSE).mul_f64(jitter));
        // The broker forgets to the millisecond, and its timer is a little late.
        let known = room_at.map(|at| at.after(Duration::from_millis(2)));
        self.not_before = known
            .map_or(guess, |known| known.min(guess))
            .max(now.after(Duration::from_millis(2)));
        steps_back
    }

    /// The ledger lets know that it has room.
    pub fn announced(&mut self, now: Moment) {
        self.not_before = self.not_before.min(now);
    }
}
