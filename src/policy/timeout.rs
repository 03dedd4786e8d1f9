//! How long a message may be held unsettled, and how many: the broker takes back what is not acknowledged within
//! its consumer timeout.
//!
//! RabbitMQ tells nobody how long that is. From 4.3 on a consumer asks for one of its own. Before, the usual one is
//! taken for granted until the broker closes a channel for it, and says then how long it was.

use std::{cell::Cell, time::Duration};

/// RabbitMQ's own default; what a consumer asks for where it may.
pub const USUAL: Duration = Duration::from_mins(30);

/// The part of it that a job is held without being begun: its request, and the broker's own slowness, need the rest.
const BEFORE_ITS_REQUEST: u32 = 3;

/// The part of it that a parked job is held: it only has to be sent on.
const PARKED: u32 = 2;

/// What is known of it.
#[derive(Debug)]
pub struct ConsumerTimeout(Cell<Duration>);

impl Default for ConsumerTimeout {
    fn default() -> Self {
        Self(Cell::new(USUAL))
    }
}

impl ConsumerTimeout {
    /// The broker said that it is this long; the shortest counts. Whether that is news.
    pub fn told(&self, timeout: Duration) -> bool {
        let shorter = !timeout.is_zero() && timeout < self.0.get();
        if shorter {
            self.0.set(timeout);
        }
        shorter
    }

    /// How long a job is held that waits to be begun.
    #[must_use]
    pub fn to_begin(&self) -> Duration {
        self.0.get() / BEFORE_ITS_REQUEST
    }

    /// How long a parked job is held.
    #[must_use]
    pub fn parked(&self) -> Duration {
        self.0.get() / PARKED
    }

    /// How many jobs can be begun in that time, where one request for up to `company` of them goes every `pace`; at
    /// least one.
    #[must_use]
    pub fn most(&self, pace: Duration, company: usize) -> u16 {
        let requests = self.to_begin().as_nanos() / pace.as_nanos().max(1);
        let jobs = requests.saturating_mul(company as u128);
        u16::try_from(jobs).unwrap_or(u16::MAX).max(1)
    }
}

/// The consumer timeout in RabbitMQ's words on a channel that it closed for it; none where they are of another matter.
#[must_use]
pub fn told_by(words: &str) -> Option<Duration> {
    let (_, rest) = words.split_once("delivery acknowledgement")?;
    let (_, number) = rest.split_once("Timeout value used: ")?;
    let milliseconds = number.split_once(" ms")?.0.parse().ok()?;
    Some(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_shortest_that_was_told_counts() {
        let timeout = ConsumerTimeout::default();
        assert_eq!(timeout.to_begin(), USUAL / 3);
        assert!(
            timeout.told(10 * SECOND) && !timeout.told(10 * SECOND) && !timeout.told(60 * SECOND)
        );
        assert!(!timeout.told(Duration::ZERO), "is none");
        assert!(timeout.to_begin() < 5 * SECOND && timeout.parked() < 10 * SECOND);
    }

    #[test]
    fn as_many_are_held_as_can_be_begun_well_within_it_and_at_least_one() {
        let timeout = ConsumerTimeout::default();
        assert!(timeout.most(300 * SECOND / 1000, 25) > 1000, "200 a minute");
        assert_eq!(timeout.most(Duration::ZERO, 1), u16::MAX, "no quota");
        timeout.told(10 * SECOND);
        assert_eq!(timeout.most(SECOND / 2, 1), 6);
        assert_eq!(timeout.most(20 * SECOND, 1), 1);
    }

    #[test]
    fn the_brokers_words_tell_it() {
        let words = |ms: &str| {
            format!(
                "PRECONDITION_FAILED - delivery acknowledgement on channel 3 timed out. Timeout value used: {ms} ms. \
                 This timeout value can be configured, see consumers doc guide to learn more"
            )
        };
        assert_eq!(told_by(&words("10000")), Some(10 * SECOND));
        assert_eq!(told_by(&words("-1")), None);
        assert_eq!(
            told_by("PRECONDITION_FAILED - unknown delivery tag 7"),
            None
        );
    }
}
