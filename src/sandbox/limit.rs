//! Counting in rolling windows: the limit that refuses, and the largest count ever seen.

use std::{
    collections::VecDeque,
    fmt,
    str::FromStr,
    time::{Duration, Instant},
};

/// At most `requests` in every window of `per`, written `200/1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests let through.
    pub requests: u32,
    /// Length of the window.
    pub per: Duration,
}

impl FromStr for RateLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(requests, per)| {
            Some(Self {
                requests: requests.parse().ok()?,
                per: humantime::parse_duration(per).ok()?,
            })
        });
        parsed
            .filter(|limit| !limit.per.is_zero())
            .ok_or_else(|| format!("got {text:?}, expected requests and window such as \"200/1m\""))
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{}/{}",
            self.requests,
            humantime::format_duration(self.per)
        )
    }
}

/// What happened within the last `length`.
#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    times: VecDeque<Instant>,
}

impl Window {
    pub fn new(length: Duration) -> Self {
        Self {
            length,
            times: VecDeque::new(),
        }
    }

    /// One more, at `now`; how many there are with it.
    pub fn add(&mut self, now: Instant) -> usize {
        self.forget(now);
        self.times.push_back(now);
        self.times.len()
    }

    /// Two events exactly `length` apart share no window.
    fn forget(&mut self, now: Instant) {
        while self
            .times
            .front()
            .is_some_and(|first| now.saturating_duration_since(*first) >= self.length)
        {
            self.times.pop_front();
        }
    }
}

/// Lets through what the limit allows; what it refuses does not count.
#[derive(Debug)]
pub(super) struct Limiter {
    pub limit: RateLimit,
    window: Window,
    /// Where windows stand one behind the other, the begin of the present one.
    begun: Option<Instant>,
}

impl Limiter {
    /// In every rolling window.
    pub fn new(limit: RateLimit) -> Self {
        Self {
            limit,
            window: Window::new(limit.per),
            begun: None,
        }
    }

    /// In windows that stand one behind the other, the first from `began` on.
    pub fn fixed(limit: RateLimit, began: Instant) -> Self {
        Self {
            begun: Some(began),
            ..Self::new(limit)
        }
    }

    /// The same, with nothing counted.
    pub fn anew(&self) -> Self {
        Self {
            begun: self.begun,
            ..Self::new(self.limit)
        }
    }

    /// How many are left, and how long it is until there are more.
    pub fn left(&mut self, now: Instant) -> (usize, Duration) {
        self.forget(now);
        let left = (self.limit.requests as usize).saturating_sub(self.window.times.len());
        (left, self.next(now))
    }

    fn forget(&mut self, now: Instant) {
        let Some(begun) = &mut self.begun else {
            return self.window.forget(now);
        };
        while now.saturating_duration_since(*begun) >= self.limit.per {
            *begun += self.limit.per;
            self.window.times.clear();
        }
    }

    fn next(&self, now: Instant) -> Duration {
        let first = self.begun.or(self.window.times.front().copied());
        (first.unwrap_or(now) + self.limit.per).saturating_duration_since(now)
    }

    /// # Errors
    /// How long until the next one is let through.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        self.forget(now);
        if self.window.times.len() < self.limit.requests as usize {
            self.window.times.push_back(now);
            return Ok(());
        }
        Err(self.next(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_slides_and_is_no_bucket() {
        let start = Instant::now();
        let mut limiter = Limiter::new("2/1s".parse().unwrap());
        let mut at = |ms| limiter.admit(start + Duration::from_millis(ms));
        assert_eq!(at(900), Ok(()));
        assert_eq!(at(950), Ok(()));
        assert_eq!(at(1000), Err(Duration::from_millis(900)));
        assert_eq!(at(1900), Ok(()));
        assert_eq!(at(1949), Err(Duration::from_millis(1)));
        assert_eq!(at(1950), Ok(()));
    }

    #[test]
    fn fixed_windows_stand_one_behind_the_other() {
        let start = Instant::now();
        let mut limiter = Limiter::fixed("2/1s".parse().unwrap(), start);
        let ms = Duration::from_millis;
        assert_eq!(limiter.left(start), (2, ms(1000)));
        for at in [800, 900] {
            assert_eq!(limiter.admit(start + ms(at)), Ok(()));
        }
        assert_eq!(limiter.admit(start + ms(950)), Err(ms(50)));
        assert_eq!(limiter.left(start + ms(950)), (0, ms(50)));
        assert_eq!(limiter.admit(start + ms(1000)), Ok(()));
        assert_eq!(limiter.left(start + ms(5250)), (2, ms(750)));
    }

    #[test]
    fn the_largest_count_is_that_of_the_fullest_window() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(1));
        let counts =
            [0, 500, 999, 1000, 1500].map(|ms| window.add(start + Duration::from_millis(ms)));
        assert_eq!(counts, [1, 2, 3, 3, 3]);
    }

    #[test]
    fn a_limit_without_a_window_is_refused() {
        for text in ["", "200", "200/", "200/0s", "x/1m"] {
            assert!(text.parse::<RateLimit>().is_err(), "{text}");
        }
    }
}
