//! When a failed attempt is repeated (contract §6). Three questions kept apart: whether (the failure's class),
//! after how long (here), and where the wait is spent (here: in the worker, or in a delay queue).
//!
//! The one place that uses the crate `backoff`, and of it the schedule's arithmetic alone.

use std::time::Duration;

use backoff::{ExponentialBackoff, backoff::Backoff};

use crate::{
    config::{RetrySettings, Step},
    failure::Failure,
};

/// The wait before the attempt after `attempts`: exponential with full jitter, and never shorter than the
/// provider asked for.
#[must_use]
pub fn delay(settings: &RetrySettings, attempts: u32, failure: &Failure) -> Duration {
    // Full jitter is any time from nothing to the bound: half the bound, give or take half the bound.
    let mut schedule = ExponentialBackoff {
        current_interval: settings.initial_delay / 2,
        initial_interval: settings.initial_delay / 2,
        randomization_factor: 1.0,
        multiplier: settings.multiplier,
        max_interval: settings.max_delay / 2,
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    let mut wait = Duration::ZERO;
    // Before the hundredth the bound has long stopped growing, whatever the multiplier.
    for _ in 0..attempts.clamp(1, 100) {
        wait = schedule.next_backoff().unwrap_or(settings.max_delay);
    }
    wait.min(settings.max_delay)
        .max(failure.retry_after.unwrap_or_default())
}

/// The delay queue for a wait: the first whose step is not shorter, else the longest, again and again.
///
/// # Panics
/// Where there are no steps; the configuration has at least one.
#[must_use]
pub fn step(steps: &[Step], wait: Duration) -> &Step {
    steps
        .iter()
        .find(|step| step.wait >= wait)
        .or(steps.last())
        .expect("at least one step")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::ErrorKind;

    fn settings() -> RetrySettings {
        RetrySettings {
            initial_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(1),
            ..RetrySettings::default()
        }
    }

    #[test]
    fn the_bound_doubles_up_to_the_longest_delay_and_the_jitter_is_full() {
        let failure = Failure::new(ErrorKind::ProviderError, "");
        for (attempts, bound_ms) in [
            (1, 100),
            (2, 200),
            (3, 400),
            (4, 800),
            (5, 1000),
            (50, 1000),
        ] {
            let bound = Duration::from_millis(bound_ms);
            let waits: Vec<_> = (0..500)
                .map(|_| delay(&settings(), attempts, &failure))
                .collect();
            assert!(
                waits.iter().all(|wait| *wait <= bound),
                "after {attempts} attempts"
            );
            assert!(
                waits.iter().any(|wait| *wait < bound / 4),
                "after {attempts} attempts some waits are short"
            );
            assert!(
                waits.iter().any(|wait| *wait > bound * 3 / 4),
                "after {attempts} attempts some waits are long"
            );
        }
    }

    #[test]
    fn what_the_provider_asks_for_is_never_undercut() {
        let mut failure = Failure::new(ErrorKind::RateLimited, "");
        failure.retry_after = Some(Duration::from_secs(90));
        assert_eq!(delay(&settings(), 1, &failure), Duration::from_secs(90));
    }

    #[test]
    fn a_wait_goes_to_the_first_step_that_is_not_shorter() {
        let steps = RetrySettings::default().delays;
        for (wait_ms, name) in [
            (0, "1s"),
            (1000, "1s"),
            (1001, "5s"),
            (29_000, "30s"),
            (90_000, "2m"),
            (9_999_999, "10m"),
        ] {
            assert_eq!(
                step(&steps, Duration::from_millis(wait_ms)).name,
                name,
                "{wait_ms} ms"
            );
        }
    }
}
