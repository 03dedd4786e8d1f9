//! Whether requests go faster than the quota lasts.

use std::{collections::VecDeque, time::Duration};

use super::spread::BURST;
use crate::clock::Moment;

/// When the last permissions of one lane of one worker were given, as many as a burst has.
#[derive(Debug, Default)]
pub struct Rush(VecDeque<Moment>);

impl Rush {
    /// A permission was given.
    pub fn gave(&mut self, now: Moment) {
        self.0.push_back(now);
        if self.0.len() > BURST {
            self.0.pop_front();
        }
    }

    /// Whether the last burst went in less time than the quota has for as many; `mean` is the time that it has for one.
    #[must_use]
    pub fn is_on(&self, mean: Duration, now: Moment) -> bool {
        let lasts = mean.saturating_mul(u32::try_from(BURST).unwrap_or(u32::MAX));
        let first = self.0.front().filter(|_| self.0.len() == BURST);
        first.is_some_and(|first| now.since(*first) < lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEAN: Duration = Duration::from_millis(300);

    /// After so many permissions, one each `pause`.
    fn after(permissions: u32, pause: Duration) -> (Rush, Moment) {
        let (mut rush, begun) = (Rush::default(), Moment::default());
        let mut now = begun;
        for n in 0..permissions {
            now = begun.after(pause * n);
            rush.gave(now);
        }
        (rush, now)
    }

    #[test]
    fn a_burst_is_a_rush_and_one_call_fewer_is_none() {
        let burst = u32::try_from(BURST).unwrap();
        let (few, now) = after(burst - 1, Duration::ZERO);
        assert!(!few.is_on(MEAN, now));
        let (burst, now) = after(burst, Duration::ZERO);
        assert!(burst.is_on(MEAN, now));
        assert!(!burst.is_on(MEAN, now.after(MEAN * 20)), "it passes");
    }

    #[test]
    fn what_the_quota_lasts_for_is_no_rush() {
        let (slow, now) = after(200, MEAN * 11 / 10);
        assert!(!slow.is_on(MEAN, now));
        let (fast, now) = after(200, MEAN / 2);
        assert!(fast.is_on(MEAN, now));
    }
}
