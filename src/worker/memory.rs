//! Finished results, remembered until the broker cannot deliver their jobs again.
//!
//! What comes back after a connection has died is what was delivered and not known to be acknowledged: never
//! more than the prefetch. So that many are kept, and a redelivered job republishes instead of asking, and
//! paying, again.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    hash::BuildHasher,
    rc::Rc,
};

use foldhash::quality::RandomState;

use jiff::Timestamp;

use super::ending::{Answer, Ending};
use crate::{
    broker::Received,
    failure::Failure,
    message::{ResultSummary, Sighting, Whereabouts},
};

/// Large results are asked for again rather than kept.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// The last results of one provider.
#[derive(Debug)]
pub struct Finished {
    capacity: usize,
    hashing: RandomState,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: usize,
    finished: HashMap<u64, Kept, RandomState>,
    order: VecDeque<u64>,
}

/// A result, and the failure for which the job is to be dead-lettered yet.
#[derive(Debug)]
struct Kept {
    answer: Rc<Answer>,
    owed: Option<Failure>,
    /// When.
    at: Timestamp,
}

impl Kept {
    fn of(answer: Rc<Answer>, owed: Option<Failure>) -> Self {
        let at = Timestamp::now();
        Self { answer, owed, at }
    }

    fn sighting(&self) -> Sighting {
        let answer = &self.answer;
        let mut sighting = Sighting::new(Whereabouts::Answered, &answer.provider, answer.lane);
        sighting.attempts = Some(answer.attempts);
        sighting.result = Some(ResultSummary {
            status: answer.status.to_owned(),
            error: (!answer.error.is_empty()).then(|| answer.error.to_owned()),
            at: self.at,
            confirmed: answer.is_published(),
            to: answer.to.get(),
        });
        sighting
    }
}

impl Finished {
    /// Remembers the last `capacity` results.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            hashing: RandomState::default(),
            state: RefCell::default(),
        }
    }

    /// Keeps what was not published, since the broker has taken back the job; with the failure, where the job is to be
    /// dead-lettered too. What the job came to when it was delivered anew goes before.
    pub fn owe(&self, received: &Received, answer: Rc<Answer>, owed: Option<Failure>) {
        let key = self.key(&answer.job_id, received);
        if !self.state.borrow().finished.contains_key(&key) {
            self.keep(received, Kept::of(answer, owed));
        }
    }

    /// Keeps a result that is published.
    pub fn remember(&self, received: &Received, answer: Rc<Answer>) {
        self.keep(received, Kept::of(answer, None));
    }

    fn keep(&self, received: &Received, kept: Kept) {
        // A job that came without an id has none by which it could be recognised.
        if received.envelope.message_id.is_none() {
            return;
        }
        let key = self.key(&kept.answer.job_id, received);
        let state = &mut *self.state.borrow_mut();
        state.bytes += kept.answer.size();
        match state.finished.insert(key, kept) {
            Some(before) => state.bytes -= before.answer.size(),
            None => state.order.push_back(key),
        }
        while state.order.len() > self.capacity || state.bytes > MOST_BYTES {
            let Some(oldest) = state.order.pop_front() else {
                break;
            };
            state.bytes -= state
                .finished
                .remove(&oldest)
                .map_or(0, |kept| kept.answer.size());
        }
    }

    /// What a job that comes again came to.
    #[must_use]
    pub fn recall(&self, job_id: &str, received: &Received) -> Option<Ending> {
        // A suspect is a copy, which the broker counts anew.
        if !received.came_back && !received.suspect {
            return None;
        }
        let state = self.state.borrow();
        let Kept { answer, owed, .. } = state
            .finished
            .get(&self.key(job_id, received))
            .filter(|kept| kept.answer.job_id == job_id)?;
        let answer = Rc::clone(answer);
        Some(match owed {
            Some(failure) => Ending::DeadLettered(answer, failure.clone()),
            None => Ending::Answered(answer),
        })
    }

    /// What jobs of this id came to.
    #[must_use]
    pub fn of(&self, job_id: &str) -> Vec<Sighting> {
        let state = self.state.borrow();
        let of_id = |kept: &&Kept| kept.answer.job_id == job_id;
        state
            .finished
            .values()
            .filter(of_id)
            .map(Kept::sighting)
            .collect()
    }

    /// Ids are the producers' to choose, and some choose the same twice: the body counts too.
    fn key(&self, job_id: &str, received: &Received) -> u64 {
        self.hashing.hash_one((job_id, &received.body))
    }
}
