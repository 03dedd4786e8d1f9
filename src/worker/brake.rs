//! How long to wait before the next attempt to have a session.

use std::time::Duration;

use crate::broker::reconnect_delay;

/// A session that lasted this long was a good one.
const LONG_ENOUGH: Duration = Duration::from_secs(30);

/// Longest wait after a session that did not: what ends every session soon, a message that nobody can read, say, must
/// not become a hot loop; nor may it take long until the broker has handed it out often enough to put it aside.
const LONGEST: Duration = Duration::from_secs(1);

/// What came to nothing, each in a row: attempts to reach the broker, and sessions that it was reached for.
#[derive(Debug, Default)]
pub struct Brake {
    unreached: u32,
    short_lived: u32,
}

impl Brake {
    /// The wait after the broker was not reached.
    pub fn unreached(&mut self) -> Duration {
        self.unreached = self.unreached.saturating_add(1);
        reconnect_delay(self.unreached - 1)
    }

    /// The wait after a session, or one that was half begun, ended this long after the broker was reached.
    pub fn ended(&mut self, lasted: Duration) -> Duration {
        self.unreached = 0;
        if lasted >= LONG_ENOUGH {
            self.short_lived = 0;
            return Duration::ZERO;
        }
        self.short_lived = self.short_lived.saturating_add(1);
        reconnect_delay(self.short_lived - 1).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn what_ends_at_once_time_and_again_is_braked_and_what_lasted_is_not() {
        let mut brake = Brake::default();
        assert!(brake.ended(SHORT) <= Duration::from_millis(200));
        for _ in 0..10 {
            brake.ended(SHORT);
        }
        assert_eq!(brake.ended(SHORT), LONGEST);
        assert_eq!(brake.ended(LONG_ENOUGH), Duration::ZERO);
        assert!(brake.ended(SHORT) <= Duration::from_millis(200));
    }

    #[test]
    fn a_long_time_without_a_broker_is_not_held_against_the_first_session_afterwards_nor_the_other_way_round()
     {
        let mut brake = Brake::default();
        for _ in 0..20 {
            brake.unreached();
        }
        assert!(brake.unreached() >= Duration::from_secs(1));
        assert!(brake.ended(SHORT) <= Duration::from_millis(200));
        for _ in 0..20 {
            brake.ended(SHORT);
        }
        assert!(brake.unreached() <= Duration::from_millis(200));
    }
}
