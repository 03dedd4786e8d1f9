//! What fails of late, which counters since the start of the process cannot tell: requests, since when, and until they
//! are answered again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::failure::ErrorKind;

/// So many answers in a row end a run of failures: fewer than one in twenty fail then, as `LookupManyFailures` has it.
const ANSWERS: u32 = 20;

/// Where nothing was heard after the last failure for so long, it says nothing of the present.
const FORGOTTEN: SignedDuration = SignedDuration::from_mins(15);

/// All providers'.
#[derive(Debug, Clone, Default)]
pub(super) struct AllFailing(Arc<Mutex<BTreeMap<String, Failing>>>);

/// Those of one provider.
#[derive(Debug, Clone, Default)]
pub(super) struct Failing(Arc<Mutex<Failures>>);

/// What is told of one provider, by the class of the failure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    /// Requests that fail, until they are answered again.
    pub runs: BTreeMap<String, Run>,
    /// When a result was the last of its class.
    pub last_errors: BTreeMap<String, Timestamp>,
}

/// Failures of one class without enough answers between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// How many.
    pub count: u64,
    /// The first.
    pub since: Timestamp,
    /// The last.
    pub last: Timestamp,
    /// Answers after the last.
    #[serde(skip)]
    answers: u32,
}

impl AllFailing {
    /// Those of one provider.
    pub fn of(&self, name: &str) -> Failing {
        self.all().entry(name.to_owned()).or_default().clone()
    }

    /// By provider, as it is now.
    pub fn told(&self, now: Timestamp) -> BTreeMap<String, Failures> {
        let all = self.all();
        let told = all.iter().map(|(name, of)| (name.clone(), of.told(now)));
        told.collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failing {
    /// A request was answered. A run of refused credentials ends with the first, since they are let in.
    pub fn answered(&self) {
        self.failures().runs.retain(|class, run| {
            run.answers += 1;
            !ErrorKind::is_of_credentials(class) && run.answers < ANSWERS
        });
    }

    /// A request failed.
    pub fn failed(&self, class: &str, now: Timestamp) {
        let mut failures = self.failures();
        let run = failures.runs.entry(class.to_owned()).or_insert(Run {
            count: 0,
            since: now,
            last: now,
            answers: 0,
        });
        (run.count, run.last, run.answers) = (run.count + 1, now, 0);
    }

    /// A result is `failed`.
    pub fn result_failed(&self, error: &str, now: Timestamp) {
        let mut failures = self.failures();
        failures.last_errors.insert(error.to_owned(), now);
    }

    fn told(&self, now: Timestamp) -> Failures {
        let mut failures = self.failures();
        let is_of_now = |run: &Run| now.duration_since(run.last) < FORGOTTEN;
        failures.runs.retain(|_, run| is_of_now(run));
        failures.clone()
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn failures_are_told_until_enough_answers_come_without_one() {
        let failing = Failing::default();
        failing.failed("timeout", at(1));
        for _ in 1..ANSWERS {
            failing.answered();
        }
        failing.failed("timeout", at(5));
        let told = failing.told(at(6)).runs["timeout"];
        assert_eq!((told.count, told.since, told.last), (2, at(1), at(5)));
        for _ in 0..ANSWERS {
            assert!(!failing.told(at(6)).runs.is_empty());
            failing.answered();
        }
        assert_eq!(failing.told(at(6)), Failures::default());
        failing.failed("timeout", at(7));
        assert_eq!(failing.told(at(8)).runs["timeout"].since, at(7), "anew");
    }

    #[test]
    fn refused_credentials_are_told_until_they_are_let_in() {
        let failing = Failing::default();
        failing.failed("unauthorized", at(1));
        failing.failed("timeout", at(2));
        failing.answered();
        let told: Vec<_> = failing.told(at(3)).runs.into_keys().collect();
        assert_eq!(told, ["timeout"]);
    }

    #[test]
    fn what_nobody_heard_more_of_for_a_quarter_of_an_hour_is_forgotten() {
        let failing = Failing::default();
        failing.failed("timeout", at(1));
        failing.result_failed("timeout", at(2));
        assert!(!failing.told(at(900)).runs.is_empty());
        let told = failing.told(at(901));
        assert!(told.runs.is_empty());
        assert_eq!(told.last_errors["timeout"], at(2), "it says when that was");
    }
}
