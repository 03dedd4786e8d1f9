//! The ledgers in memory: a quota of one worker alone.

use super::{Counts, Decision, Log, Terms, Turn};
use crate::{clock::Moment, lane::Lane};

/// What the ledgers at the broker count, and how they space bulk, for one worker alone.
#[derive(Debug)]
pub struct Books {
    terms: Terms,
    all: Log,
    bulk: Log,
    /// Until when each of those in bulk who go together keeps the next back.
    spread: Vec<Moment>,
    /// The quota before this one counts too, until then.
    before: Option<(Box<Self>, Moment)>,
}

impl Books {
    /// Empty ones.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self {
            all: Log::new(terms.requests, terms.ttl),
            bulk: Log::new(terms.bulk, terms.ttl),
            spread: Vec::new(),
            before: None,
            terms,
        }
    }

    /// From now on these terms count. What was given before counts as it did, so for one of the longer window both
    /// do.
    pub fn change(&mut self, terms: Terms, now: Moment) {
        let until = now.after(self.terms.ttl.max(terms.ttl) + terms.validity + terms.flight);
        let before = std::mem::replace(self, Self::new(terms));
        self.before = Some((Box::new(before), until));
    }

    /// A permission, if there is room; `waiting` of the lane wait, whoever asks included.
    pub fn ask(&mut self, lane: Lane, waiting: usize, now: Moment) -> Decision {
        self.before.take_if(|(_, until)| *until <= now);
        if let Some(full) = self
            .logs(lane)
            .into_iter()
            .find_map(|log| log.is_full(now).then(|| log.next_expiry(now)))
        {
            return Decision::Full(full);
        }
        if lane == Lane::Bulk
            && self.terms.spreads
            && let Some(later) = self.keeps_back(waiting, now)
        {
            return Decision::Full(Some(later));
        }
        for log in self.logs(lane) {
            log.add(now);
        }
        Decision::Granted(self.terms.permission(now))
    }

    /// All that a request of the lane counts in.
    fn logs(&mut self, lane: Lane) -> Vec<&mut Log> {
        let mut logs = vec![&mut self.all];
        if lane == Lane::Bulk {
            logs.push(&mut self.bulk);
        }
        if let Some((before, _)) = &mut self.before {
            logs.extend(before.logs(lane));
        }
        logs
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
            Turn::Reserved => return self.all.next_expiry(now),
            Turn::Spaced(_) if taken => return self.spread.iter().min().copied(),
            Turn::Spaced(spacing) | Turn::AtOnce(spacing) => spacing,
        };
        if !taken {
            self.spread.push(now.after(spacing));
        }
        None
    }
}
