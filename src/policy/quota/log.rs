//! What one worker remembers of the permissions that it was given.

use std::{collections::VecDeque, time::Duration};

use crate::clock::Moment;

/// Of a larger quota the permissions given in the same such part of the window are counted together: less to keep.
pub(super) const MOST_ALONE: u32 = 1000;

/// The permissions that one worker was given: a ledger of its own, or what it knows of the common one.
#[derive(Debug)]
pub struct Log {
    limit: usize,
    ttl: Duration,
    /// So close together they are forgotten together.
    bunch: Duration,
    pub(super) given: VecDeque<Bunch>,
    /// How many that is.
    count: usize,
}

/// Permissions that are forgotten together, with the last of them.
#[derive(Debug)]
pub(super) struct Bunch {
    first: Moment,
    last: Moment,
    count: usize,
}

impl Log {
    /// An empty one.
    #[must_use]
    pub fn new(limit: u32, ttl: Duration) -> Self {
        let bunch = if limit > MOST_ALONE {
            ttl / MOST_ALONE
        } else {
            Duration::ZERO
        };
        Self {
            limit: limit as usize,
            ttl,
            bunch,
            given: VecDeque::new(),
            count: 0,
        }
    }

    /// Remembers one given at `now`.
    pub fn add(&mut self, now: Moment) {
        self.count += 1;
        match self
            .given
            .back_mut()
            .filter(|bunch| now.since(bunch.first) < self.bunch)
        {
            Some(bunch) => (bunch.last, bunch.count) = (now, bunch.count + 1),
            None => self.given.push_back(Bunch {
                first: now,
                last: now,
                count: 1,
            }),
        }
    }

    /// When the oldest that still counts is forgotten.
    pub fn next_expiry(&mut self, now: Moment) -> Option<Moment> {
        while let Some(bunch) = self
            .given
            .pop_front_if(|bunch| bunch.last.after(self.ttl) <= now)
        {
            self.count -= bunch.count;
        }
        self.given.front().map(|bunch| bunch.last.after(self.ttl))
    }

    /// Whether as many count as there may be.
    pub fn is_full(&mut self, now: Moment) -> bool {
        self.next_expiry(now);
        self.count >= self.limit
    }

    /// How many count.
    pub fn count(&mut self, now: Moment) -> u32 {
        self.next_expiry(now);
        u32::try_from(self.count).unwrap_or(u32::MAX)
    }
}
