//! What the steps of a lookup have said so far. It travels with a job that waits in the broker, behind its body, so it
//! is as private as that; and it is bounded.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    customer::{Customer, Page},
    failure::{ErrorKind, Failure},
    outcome::Outcome,
    result::{SkipReason, StepResult, StepStatus},
};

/// Most bytes that travel with a job.
pub const MOST_BYTES: usize = 1024 * 1024;

/// What was said, and what is still to be heard.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// Of the lookup as it was configured then.
    #[serde(default)]
    of: String,
    /// Answers, in the order in which they came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) answers: Vec<StepAnswer>,
    /// Steps that were begun and wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) waiting: Vec<Begun>,
}

/// Which request of a lookup: the step, and in a chain the number of the customer among those that it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct StepKey {
    pub step: usize,
    pub of: usize,
}

/// A step that waits for its next attempt.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Begun {
    #[serde(rename = "place")]
    pub key: StepKey,
    /// When, in milliseconds since 1970.
    pub begun: i64,
    pub attempts: u32,
    pub spared: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// When it is to go on, likewise, and how long it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<(i64, u64)>,
}

impl Begun {
    pub fn now(key: StepKey) -> Self {
        Self {
            key,
            begun: Timestamp::now().as_millisecond(),
            attempts: 0,
            spared: 0,
            http_status: None,
            due: None,
        }
    }

    /// It goes on after this wait.
    pub fn after(mut self, wait: Duration) -> Self {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let now = Timestamp::now().as_millisecond();
        let due = now.saturating_add(wait.try_into().unwrap_or(i64::MAX));
        self.due = Some((due, wait));
        self
    }

    /// What is left of its wait; no more than all of it, whatever the clock of another says.
    pub fn left(&self) -> Duration {
        let Some((due, wait)) = self.due else {
            return Duration::ZERO;
        };
        let left = due.saturating_sub(Timestamp::now().as_millisecond());
        Duration::from_millis(u64::try_from(left).unwrap_or(0).min(wait))
    }
}

/// What one step said.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StepAnswer {
    #[serde(rename = "place")]
    pub key: StepKey,
    pub row: StepResult,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub customers: Vec<Customer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Page>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Failed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<Box<RawValue>>,
}

/// As a [`Failure`], as far as an answer needs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Failed {
    kind: ErrorKind,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    said: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    about_customer: bool,
}

impl StepAnswer {
    /// What a provider's lookup came to.
    pub fn of(begun: Begun, provider: &str, outcome: Outcome, attempts: u32) -> Self {
        let (status, customers, page, failure) = match outcome {
            Outcome::Found(customers, page) => (StepStatus::Found, customers, page, None),
            Outcome::NotFound(page) => (StepStatus::NotFound, Vec::new(), page, None),
            Outcome::Failed(failure) => {
                let failure = Failed {
                    kind: failure.kind,
                    message: failure.message.into_owned(),
                    said: failure.said,
                    http_status: failure.http_status,
                    about_customer: failure.about_customer,
                };
                (StepStatus::Failed, Vec::new(), None, Some(failure))
            }
        };
        let took = Timestamp::now().as_millisecond() - begun.begun;
        Self {
            key: begun.key,
            row: StepResult {
                provider: provider.to_owned(),
                status,
                error: failure.as_ref().map(|failure| failure.kind),
                reason: None,
                attempts,
                duration_ms: took.try_into().unwrap_or(0),
                cached: false,
            },
            customers,
            page,
            failure,
            raw: None,
        }
    }

    /// That it was not asked.
    pub fn skipped(begun: Begun, provider: &str, reason: SkipReason) -> Self {
        let mut skipped = Self::of(begun, provider, Outcome::NotFound(None), begun.attempts);
        skipped.row.status = StepStatus::Skipped;
        skipped.row.reason = Some(reason);
        skipped
    }

    /// With the provider's payload.
    pub fn with(mut self, raw: Option<Box<RawValue>>) -> Self {
        self.raw = raw;
        self
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<Failure> {
        let failed = self.failure.as_ref()?;
        let mut failure = Failure::new(failed.kind, failed.message.clone());
        failure.said.clone_from(&failed.said);
        failure.http_status = failed.http_status;
        failure.about_customer = failed.about_customer;
        Some(failure)
    }
}

impl State {
    /// As it was written; none where it is none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// As it travels; none where it is too large for that.
    #[must_use]
    pub fn written(&self) -> Option<Vec<u8>> {
        let written = serde_json::to_vec(self).ok()?;
        (written.len() <= MOST_BYTES).then_some(written)
    }

    /// Whether nothing was said, and nothing begun.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.waiting.iter().all(|begun| begun.attempts == 0)
    }

    /// HTTP requests made for all of it.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        let said = self.answers.iter().map(|answer| answer.row.attempts);
        let waiting = self.waiting.iter().map(|begun| begun.attempts);
        said.chain(waiting).sum()
    }

    /// For a lookup that is configured so. Where it was another, what its steps said is nobody's answer any more.
    pub(super) fn fitting(self, of: &str, providers: &[&str]) -> Self {
        let is_there = |key: StepKey| key.step < providers.len();
        let fits = |answer: &StepAnswer| {
            is_there(answer.key) && providers[answer.key.step] == answer.row.provider
        };
        let all_fit =
            self.answers.iter().all(fits) && self.waiting.iter().all(|begun| is_there(begun.key));
        let state = if self.of == of && all_fit {
            self
        } else {
            Self::default()
        };
        Self {
            of: of.to_owned(),
            ..state
        }
    }

    pub(super) fn answer(&self, key: StepKey) -> Option<&StepAnswer> {
        self.answers.iter().find(|answer| answer.key == key)
    }

    /// How far a step had come before.
    pub(super) fn begun(&self, key: StepKey) -> Begun {
        let known = self.waiting.iter().find(|begun| begun.key == key);
        known.copied().unwrap_or_else(|| Begun::now(key))
    }

    /// A step said something.
    pub(super) fn said(&mut self, answer: StepAnswer) {
        self.waiting.retain(|begun| begun.key != answer.key);
        self.answers.push(answer);
    }

    /// A step waits.
    pub(super) fn waits(&mut self, begun: Begun) {
        self.waiting.retain(|known| known.key != begun.key);
        self.waiting.push(begun);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name_length: usize) -> StepAnswer {
        let customer = Customer {
            name: Some("x".repeat(name_length)),
            ..Customer::default()
        };
        let outcome = Outcome::Found(vec![customer], None);
        StepAnswer::of(Begun::now(StepKey { step: 0, of: 0 }), "a", outcome, 1)
    }

    #[test]
    fn what_was_said_is_read_as_it_was_written_and_too_much_does_not_travel() {
        let mut state = State::default();
        state.waits(Begun::now(StepKey { step: 1, of: 0 }).after(Duration::from_secs(5)));
        state.said(answer(10));
        let read = State::read(&state.written().expect("little")).expect("a state");
        assert_eq!(read.answers[0].customers, state.answers[0].customers);
        assert_eq!(read.answers[0].row, state.answers[0].row);
        let left = read.begun(StepKey { step: 1, of: 0 }).left();
        assert!(left > Duration::from_secs(4) && left <= Duration::from_secs(5));
        assert_eq!(read.attempts(), 1);

        let (of, other) = ("this", "another");
        let of_one = read.fitting("", &["a", "b"]);
        assert!(!of_one.is_empty());
        let moved = State {
            of: of.to_owned(),
            ..state.clone()
        };
        assert!(!moved.clone().fitting(of, &["a", "b"]).is_empty());
        for (of, providers) in [
            (other, &["a", "b"][..]),
            (of, &["b", "a"]),
            (of, &["a"]),
            (of, &[]),
        ] {
            let fitting = moved.clone().fitting(of, providers);
            assert!(fitting.is_empty() && fitting.of == of, "{providers:?}");
        }

        state.said(answer(MOST_BYTES));
        assert!(state.written().is_none());
        assert!(State::read(b"no state").is_none());
    }
}
