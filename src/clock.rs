//! A clock for what must not look younger than it is: it never goes back, and it goes on while the machine is
//! suspended, which `std::time::Instant` does not on Linux.

use std::time::Duration;

/// A point in time on this machine, since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(Duration);

impl Moment {
    /// The present.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Self(time.try_into().unwrap_or_default())
    }

    /// The present; elsewhere than on Linux, the system's monotonic clock.
    #[cfg(not(target_os = "linux"))]
    #[must_use]
    pub fn now() -> Self {
        static START: std::sync::LazyLock<std::time::Instant> =
            std::sync::LazyLock::new(std::time::Instant::now);
        Self(START.elapsed())
    }

    /// The point this long after the clock's start.
    #[must_use]
    pub const fn at(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// This much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// The time from `earlier` to here; nothing if it is the other way round.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_differences_are_never_negative() {
        let (first, second) = (Moment::now(), Moment::now());
        assert!(second >= first && first > Moment::default());
        assert_eq!(
            first.since(first.after(Duration::from_secs(1))),
            Duration::ZERO
        );
    }
}
