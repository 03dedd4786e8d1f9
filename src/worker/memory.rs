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

use super::ending::Answer;
use crate::broker::Delivery;

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
    answers: HashMap<u64, Rc<Answer>, RandomState>,
    order: VecDeque<u64>,
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

    /// Keeps a result.
    pub fn remember(&self, delivery: &Delivery, answer: Rc<Answer>) {
        // A job that came without an id has none by which it could be recognised.
        if delivery.envelope.message_id.is_none() {
            return;
        }
        let key = self.key(&answer.job_id, delivery);
        let state = &mut *self.state.borrow_mut();
        state.bytes += answer.size();
        match state.answers.insert(key, answer) {
            Some(before) => state.bytes -= before.size(),
            None => state.order.push_back(key),
        }
        while state.order.len() > self.capacity || state.bytes > MOST_BYTES {
            let Some(oldest) = state.order.pop_front() else {
                break;
            };
            state.bytes -= state
                .answers
                .remove(&oldest)
                .map_or(0, |answer| answer.size());
        }
    }

    /// The result of a job that comes again.
    #[must_use]
    pub fn recall(&self, job_id: &str, delivery: &Delivery) -> Option<Rc<Answer>> {
        // A suspect is a copy, which the broker counts anew.
        if delivery.redeliveries == 0 && !delivery.suspect {
            return None;
        }
        self.state
            .borrow()
            .answers
            .get(&self.key(job_id, delivery))
            .filter(|answer| answer.job_id == job_id)
            .cloned()
    }

    /// Ids are the producers' to choose, and some choose the same twice: the body counts too.
    fn key(&self, job_id: &str, delivery: &Delivery) -> u64 {
        self.hashing.hash_one((job_id, &delivery.body))
    }
}
