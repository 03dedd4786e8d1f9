//! How long a parked job is still to wait, and how old it is, where clocks may be apart.
//!
//! When it was parked, when it is due and when it was received are told by the clock of who parked it, so what lies
//! between them is right even where that clock was wrong. How long it has lain since is told by our clock against the
//! other's, and so believed only where it must have lain: where it comes late, since many lay before it or since
//! another worker held it. Then a wrong clock makes its wait shorter, and never longer.

use std::time::Duration;

use jiff::Timestamp;

/// By how much a job may seem to be parked past its deadline: its times are rounded, and a clock is set a little while
/// it is looked at.
const ROUNDING: Duration = Duration::from_secs(1);

/// What a parked job's headers tell, and its body.
#[derive(Debug, Clone, Copy)]
pub struct Parked {
    /// When it was parked.
    pub at: Timestamp,
    /// When it is due.
    pub due: Timestamp,
    /// When a worker first received it.
    pub received: Option<Timestamp>,
    /// What it allows itself from then on.
    pub deadline: Option<Duration>,
    /// It lay before it was given to anybody, or was held by another.
    pub late: bool,
}

/// How long it is to wait from now on, and how old it is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stay {
    /// The wait.
    pub left: Duration,
    /// The age.
    pub age: Duration,
}

impl Parked {
    /// From `now` on, by our clock.
    #[must_use]
    pub fn stay(&self, now: Timestamp) -> Stay {
        let wait = between(self.at, self.due);
        let lain = if self.late {
            between(self.at, now)
        } else {
            Duration::ZERO
        };
        Stay {
            left: wait.saturating_sub(lain),
            age: self.age_when_parked(wait) + lain,
        }
    }

    /// Nobody parks a job for longer than its deadline leaves it. Where it seems so, its first receipt was told by yet
    /// another clock, and nothing is known.
    fn age_when_parked(&self, wait: Duration) -> Duration {
        let age = self
            .received
            .map_or(Duration::ZERO, |received| between(received, self.at));
        let is_possible = self
            .deadline
            .is_none_or(|deadline| age.saturating_add(wait) <= deadline.saturating_add(ROUNDING));
        if is_possible { age } else { Duration::ZERO }
    }
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: i64 = 3600;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// Parked now for three seconds, one second old, by a clock that is ahead by so many seconds.
    fn parked(ahead: i64) -> Parked {
        Parked {
            at: at(ahead),
            due: at(ahead + 3),
            received: Some(at(ahead - 1)),
            deadline: Some(10 * SECOND),
            late: false,
        }
    }

    #[test]
    fn what_comes_as_soon_as_it_was_parked_waits_as_long_as_it_was_parked_for_whatever_the_clock() {
        for ahead in [0, 1, -1, HOUR, -HOUR] {
            let stay = parked(ahead).stay(at(0));
            assert_eq!(
                (stay.left, stay.age),
                (3 * SECOND, SECOND),
                "{ahead} s ahead"
            );
        }
    }

    #[test]
    fn what_lay_before_it_was_given_to_anybody_has_waited_already() {
        let late = Parked {
            late: true,
            ..parked(0)
        };
        for (now, left, age) in [(0, 3, 1), (2, 1, 3), (3, 0, 4), (60, 0, 61)] {
            let stay = late.stay(at(now));
            assert_eq!((stay.left, stay.age), (left * SECOND, age * SECOND));
        }
        let of_the_future = Parked {
            late: true,
            ..parked(HOUR)
        };
        assert_eq!(of_the_future.stay(at(0)).left, 3 * SECOND);
    }

    #[test]
    fn an_age_that_the_deadline_forbids_was_told_by_another_clock() {
        let received = |ago: i64| Parked {
            received: Some(at(-ago)),
            ..parked(0)
        };
        assert_eq!(received(7).stay(at(0)).age, 7 * SECOND);
        assert_eq!(received(8).stay(at(0)).age, 8 * SECOND, "as rounded");
        assert_eq!(received(9).stay(at(0)).age, Duration::ZERO);
        assert_eq!(received(-5).stay(at(0)).age, Duration::ZERO);
        let without = Parked {
            deadline: None,
            ..received(HOUR)
        };
        assert_eq!(without.stay(at(0)).age, 3600 * SECOND);
    }
}
