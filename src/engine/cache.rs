//! Answers of the last while, in memory alone; off unless configured.

use std::{cell::RefCell, num::NonZeroUsize, rc::Rc};

use bytes::Bytes;
use lru::LruCache;

use crate::{clock::Moment, config, outcome::Outcome, provider::Lookup};

/// Most bytes of answers that are kept, as they came over the wire.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// One provider's remembered answers; the one that was used longest ago goes first.
pub(super) struct Cache {
    settings: config::Cache,
    state: RefCell<State>,
}

struct State {
    /// By the whole request, not its hash.
    answers: LruCache<Rc<Lookup>, Remembered>,
    bytes: usize,
}

struct Remembered {
    outcome: Outcome,
    payload: Option<Bytes>,
    bytes: usize,
    until: Moment,
}

impl Cache {
    pub fn new(settings: &config::Cache) -> Self {
        let capacity = NonZeroUsize::new(settings.capacity).unwrap_or(NonZeroUsize::MIN);
        // Grows as it fills; the capacity is kept in `remember`.
        let answers = LruCache::unbounded();
        let settings = config::Cache {
            capacity: capacity.get(),
            ..settings.clone()
        };
        Self {
            settings,
            state: RefCell::new(State { answers, bytes: 0 }),
        }
    }

    /// The outcome of an equal lookup, and the payload if that is wanted.
    pub fn recall(&self, lookup: &Lookup, now: Moment) -> Option<(Outcome, Option<Bytes>)> {
        let state = &mut *self.state.borrow_mut();
        if state.answers.is_empty() {
            return None;
        }
        let found = state.answers.get(lookup)?;
        if now < found.until {
            return Some((found.outcome.clone(), found.payload.clone()));
        }
        state.forget(lookup);
        None
    }

    /// Keeps what was found, or that there is nobody, as long as configured; `bytes` is how large the answer was.
    pub fn remember(
        &self,
        lookup: &Rc<Lookup>,
        outcome: &Outcome,
        payload: Option<&Bytes>,
        bytes: usize,
        now: Moment,
    ) {
        let life = match outcome {
            Outcome::Found(..) => self.settings.ttl,
            Outcome::NotFound(_) => self.settings.not_found_ttl,
            Outcome::Failed(_) => return,
        };
        let request = &lookup.request;
        let bytes = bytes
            + request.uri().query().map_or(0, str::len)
            + request.body().len()
            + size_of::<Remembered>();
        if life.is_zero() || bytes > MOST_BYTES / 8 {
            return;
        }
        let state = &mut *self.state.borrow_mut();
        state.forget(lookup);
        state.bytes += bytes;
        let until = now.after(life);
        let payload = payload.cloned();
        state.answers.put(
            Rc::clone(lookup),
            Remembered {
                outcome: outcome.clone(),
                payload,
                bytes,
                until,
            },
        );
        while state.answers.len() > self.settings.capacity || state.bytes > MOST_BYTES {
            let Some((_, oldest)) = state.answers.pop_lru() else {
                break;
            };
            state.bytes -= oldest.bytes;
        }
    }
}

impl State {
    fn forget(&mut self, lookup: &Lookup) {
        if let Some(before) = self.answers.pop(lookup) {
            self.bytes -= before.bytes;
        }
    }
}

#[cfg(test)]
mod tests;
