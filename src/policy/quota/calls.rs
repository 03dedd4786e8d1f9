//! Whether calls wait for the quota longer than they should.
//!
//! Beside any backlog in bulk, calls that take nine tenths of the quota have 99 of a hundred permissions within 30 of
//! its mean intervals (the table in [`spread`](super::spread)), and those that take less have them sooner. Where they
//! wait longer, more of them come than the quota has requests for; each then waits longer than the one before, or
//! misses its deadline. A whole window is too long however few requests it has, and two seconds are nobody's trouble.

use std::time::Duration;

use super::Terms;

/// Mean intervals of the quota.
const INTERVALS: u32 = 30;

/// What is shorter is no trouble, however fast the quota is.
const SHORT: Duration = Duration::from_secs(2);

/// One call in so many may wait longer.
const ONE_IN: u64 = 100;

/// How the calls of the last moments fared.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Calls {
    /// All that asked for a permission.
    pub all: u64,
    /// Of them those that had no permission before their deadline.
    pub missed: u64,
    /// 99 of a hundred waited no longer.
    pub p99: Duration,
}

impl Terms {
    /// 99 calls of a hundred should wait no longer than this.
    #[must_use]
    pub fn longest_wait(&self) -> Duration {
        self.pace.saturating_mul(INTERVALS).min(self.ttl).max(SHORT)
    }
}

impl Calls {
    /// Whether they wait longer than they should, or miss their deadlines for it.
    #[must_use]
    pub fn wait_too_long(&self, terms: &Terms) -> bool {
        self.p99 > terms.longest_wait() || self.missed.saturating_mul(ONE_IN) > self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{QuotaLimit, QuotaScope};

    fn terms(requests: u32, seconds: u64) -> Terms {
        Terms::of(&QuotaLimit {
            requests,
            per: Duration::from_secs(seconds),
            reserve: 0.1,
            scope: QuotaScope::Broker,
        })
    }

    #[test]
    fn the_longest_wait_is_that_of_calls_at_nine_tenths_of_the_quota() {
        assert_eq!(terms(200, 60).longest_wait(), Duration::from_secs(9));
        assert_eq!(terms(2000, 3600).longest_wait(), Duration::from_secs(54));
        let few = terms(5, 300);
        assert_eq!(few.longest_wait(), few.ttl, "a window, not six");
        let fast = terms(1000, 1);
        assert_eq!(fast.longest_wait(), Duration::from_secs(2));
    }

    #[test]
    fn one_call_in_a_hundred_may_wait_longer_or_miss_its_deadline() {
        let terms = terms(200, 60);
        let calls = |missed, p99| Calls {
            all: 200,
            missed,
            p99: Duration::from_secs(p99),
        };
        assert!(!Calls::default().wait_too_long(&terms));
        assert!(!calls(2, 9).wait_too_long(&terms));
        assert!(calls(3, 0).wait_too_long(&terms));
        assert!(calls(0, 10).wait_too_long(&terms));
    }
}
