//! A quota that is counted in several ledgers: the part of each.

use super::Terms;

impl Terms {
    /// The terms of one of so many ledgers, counted from 0. All rooms together are those of the whole quota; where they
    /// cannot be equal, the first ledgers have one more. A ledger may be left with no room at all: it refuses all.
    #[must_use]
    pub fn part(&self, number: u32, of: u32) -> Self {
        let share = |whole: u32| whole / of + u32::from(number < whole % of);
        let requests = share(self.requests);
        Self {
            requests,
            bulk: share(self.bulk),
            pace: self.pace * self.requests / requests.max(1),
            parts: of,
            ..*self
        }
    }
}
