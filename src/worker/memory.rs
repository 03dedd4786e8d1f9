//! Finished results, remembered until the broker cannot deliver their jobs again.
//!
//! What comes back after a connection has died is what was delivered and not known to be acknowledged: never
//! more than the prefetch. So that many are kept, and a redelivered job republishes instead of asking, and
//! paying, again.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use super::settle::Answer;
use crate::broker::Delivery;

/// The last results of one provider.
#[derive(Debug)]
pub struct Finished {
    capacity: usize,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<u64, Answer>,
    order: VecDeque<u64>,
}

impl Finished {
    /// Remembers the last `capacity` results.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, state: RefCell::default() }
    }

    /// Keeps a result.
    pub fn remember(&self, delivery: &Delivery, answer: Answer) {
        // A job that came without an id has none by which it could be recognised.
        if delivery.envelope.message_id.is_none() {
            return;
        }
        let key = key(&answer.job_id, delivery);
        let state = &mut *self.state.borrow_mut();
        if state.answers.insert(key, answer).is_none() {
            state.order.push_back(key);
        }
        if state.order.len() > self.capacity
            && let Some(oldest) = state.order.pop_front()
        {
            state.answers.remove(&oldest);
        }
    }

    /// The result of a job that comes again.
    #[must_use]
    pub fn recall(&self, job_id: &str, delivery: &Delivery) -> Option<Answer> {
        if delivery.redeliveries == 0 {
            return None;
        }
        self.state.borrow().answers.get(&key(job_id, delivery)).filter(|answer| answer.job_id == job_id).cloned()
    }
}

/// Ids are the producers' to choose, and some choose the same twice: the body counts too.
fn key(job_id: &str, delivery: &Delivery) -> u64 {
    let mut hasher = DefaultHasher::new();
    (job_id, &delivery.body).hash(&mut hasher);
    hasher.finish()
}
