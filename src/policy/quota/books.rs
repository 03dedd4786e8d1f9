//! The ledgers in memory: a quota of one worker alone.

use super::{Answer, Counts, Log, Terms, Turn};
use crate::{clock::Moment, job::Lane};

/// What the ledgers at the broker count, and how they space bulk, for one worker alone.
#[derive(Debug)]
pub struct Books {
    terms: Terms,
    all: Log,
    bulk: Log,
    /// Until when each of those in bulk who go together keeps the next back.
    spread: Vec<Moment>,
}

impl Books {
    /// Empty ones.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self {
            all: Log::new(terms.requests, terms.ttl),
            bulk: Log::new(terms.bulk, terms.ttl),
            spread: Vec::new(),
            terms,
        }
    }

    /// A permission, if there is room; `waiting` stand in the lane's line, whoever asks included.
    pub fn ask(&mut self, lane: Lane, waiting: usize, now: Moment) -> Answer {
        let mut logs = [
            Some(&mut self.all),
            Some(&mut self.bulk).filter(|_| lane == Lane::Bulk),
        ];
        if let Some(full) = logs
            .iter_mut()
            .flatten()
            .find_map(|log| log.is_full(now).then(|| log.next_expiry(now)))
        {
            return Answer::Full(full);
        }
        if lane == Lane::Bulk
            && let Some(later) = self.keeps_back(waiting, now)
        {
            return Answer::Full(Some(later));
        }
        self.all.add(now);
        if lane == Lane::Bulk {
            self.bulk.add(now);
        }
        Answer::Granted(self.terms.permission(now))
    }

    /// Until when bulk is to wait; if it need not, the next is to.
    fn keeps_back(&mut self, waiting: usize, now: Moment) -> Option<Moment> {
        let counts = Counts {
            all: self.all.count(now),
            bulk: self.bulk.count(now),
        };
        self.spread.retain(|until| *until > now);
        let taken = self.spread.len() >= self.terms.together() as usize;
        let spacing = match self.terms.turn(counts, waiting) {
            Turn::Held => return self.all.next_expiry(now),
            Turn::Spaced(_) if taken => return self.spread.iter().min().copied(),
            Turn::Spaced(spacing) | Turn::AtOnce(spacing) => spacing,
        };
        if !taken {
            self.spread.push(now.after(spacing));
        }
        None
    }
}
