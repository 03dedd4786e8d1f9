//! The provider's word on when to come back, held within reason: `max_pause` bounds it, and somebody is told of what
//! was not taken as it stands.

use std::{cell::Cell, time::Duration};

use http::HeaderMap;
use jiff::Timestamp;

use super::{Engine, Waiting};
use crate::{
    clock::Moment,
    failure::Failure,
    job::Job,
    outcome::Outcome,
    provider::wait::{self, Asked},
};

/// Between two warnings of the same kind.
const QUIET: Duration = Duration::from_secs(60);

/// What somebody was told of.
#[derive(Debug, Default)]
pub(super) struct Warned {
    too_long: Cell<Option<Moment>>,
    unreadable: Cell<bool>,
}

impl Engine {
    /// Bounds every wait that a provider asks for, by its headers or by its body.
    pub(super) fn bound(&self, outcomes: &mut [Option<Outcome>], headers: Option<&HeaderMap>) {
        let failures = outcomes.iter_mut().filter_map(|outcome| match outcome {
            Some(Outcome::Failed(failure)) if failure.kind.retryable() => Some(failure),
            _ => None,
        });
        let mut failures = failures.peekable();
        if failures.peek().is_none() {
            return;
        }
        let asked = headers.map(|headers| wait::asked(headers, Timestamp::now()));
        for failure in failures {
            self.bound_one(failure, asked.as_ref());
        }
    }

    fn bound_one(&self, failure: &mut Failure, asked: Option<&Asked>) {
        let most = self.settings.max_pause;
        let Some(wait) = failure.retry_after else {
            if asked == Some(&Asked::Unreadable) && !self.warned.unreadable.replace(true) {
                let provider = &self.settings.name;
                tracing::warn!(
                    provider,
                    "the provider's Retry-After is no wait: expected seconds or a date, got another text; it is \
                     passed over, and this is said once"
                );
            }
            return;
        };
        if wait <= most {
            return;
        }
        failure.retry_after = Some(most);
        let now = Moment::now();
        let told = self.warned.too_long.get();
        if told.is_some_and(|told| told.after(QUIET).since(now) > Duration::ZERO) {
            return;
        }
        self.warned.too_long.set(Some(now));
        let words = match asked {
            Some(Asked::Wait(_, words)) => (*words).to_owned(),
            _ => format!("{} s", wait.as_secs()),
        };
        let (provider, max_pause) = (&self.settings.name, humantime::format_duration(most));
        tracing::warn!(
            provider,
            retry_after = words,
            "the provider asks to be left alone for {} s; it is left alone for max_pause, {max_pause}, and then asked \
             anew",
            wait.as_secs()
        );
    }

    /// Somebody may sit before a terminal and wonder.
    pub(super) fn tell_of(&self, wait: Duration, job: &Job, waiting: Waiting) {
        if waiting != Waiting::Here || wait <= self.settings.retry.in_process_limit {
            return;
        }
        let (provider, job, seconds) = (&self.settings.name, &job.ticket.id, wait.as_secs());
        let until = Timestamp::now().checked_add(wait).unwrap_or(Timestamp::MAX);
        tracing::warn!(
            provider,
            job,
            "waiting {} for the next attempt, until about {until:.0}",
            humantime::format_duration(Duration::from_secs(seconds))
        );
    }
}
