//! A count that is right however whoever is counted ends.

use std::cell::Cell;

/// One more in a count, until it is dropped.
#[derive(Debug)]
#[must_use = "dropped, it counts no more"]
pub struct CountGuard<'a>(&'a Cell<usize>);

impl<'a> CountGuard<'a> {
    pub(super) fn new(counter: &'a Cell<usize>) -> Self {
        counter.set(counter.get() + 1);
        Self(counter)
    }
}

impl Drop for CountGuard<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
