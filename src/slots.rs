//! The slots of one provider, each of which takes one job after the other.
//!
//! A job that waits here for its next attempt asks nobody meanwhile, so its slot lends its turn to a spare one: records
//! that fail again and again hold up nobody else.

use std::{cell::Cell, rc::Rc};

use tokio::sync::Notify;

/// Spare slots beside this many, which is also how many more jobs are held. They are few: a job that lies here while
/// no slot is free for it could be with another worker.
#[must_use]
pub fn spare(concurrency: u16) -> u16 {
    (concurrency / 8).min(8)
}

/// The turns of one provider's slots.
#[derive(Debug, Default)]
pub struct Slots {
    resting: Cell<usize>,
    borrowed: Cell<usize>,
    changed: Notify,
}

/// The slot that a job has; none where no worker gave it one.
#[derive(Debug, Clone, Default)]
pub struct Slot(Option<Rc<Slots>>);

/// A turn that is lent, until dropped.
#[derive(Debug)]
pub struct Lent<'a>(Option<&'a Slots>);

/// A turn that a spare slot has, until dropped.
#[derive(Debug)]
pub struct Borrowed<'a>(&'a Slots);

impl Slot {
    /// One of these.
    #[must_use]
    pub fn of(slots: &Rc<Slots>) -> Self {
        Self(Some(Rc::clone(slots)))
    }

    /// The job asks nobody for now.
    #[must_use]
    pub fn lend(&self) -> Lent<'_> {
        let slots = self.0.as_deref();
        if let Some(slots) = slots {
            slots.resting.set(slots.resting.get() + 1);
            slots.changed.notify_waiters();
        }
        Lent(slots)
    }
}

impl Slots {
    /// Waits for a turn that is lent and that nobody has.
    pub async fn borrow(&self) -> Borrowed<'_> {
        self.until(|| self.borrowed.get() < self.resting.get())
            .await;
        self.borrowed.set(self.borrowed.get() + 1);
        Borrowed(self)
    }

    async fn until(&self, reached: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            if reached() {
                return;
            }
            changed.await;
        }
    }
}

impl Borrowed<'_> {
    /// Waits until fewer turns are lent than spare slots have, so that one that has taken no job lets go of its own.
    pub async fn wanted_back(&self) {
        let Self(slots) = self;
        slots
            .until(|| slots.resting.get() < slots.borrowed.get())
            .await;
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Self(Some(slots)) = self {
            slots.resting.set(slots.resting.get() - 1);
            slots.changed.notify_waiters();
        }
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let Self(slots) = self;
        slots.borrowed.set(slots.borrowed.get() - 1);
        slots.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn as_many_turns_are_borrowed_as_jobs_rest() {
        let slots = Rc::new(Slots::default());
        let slot = Slot::of(&slots);
        let borrow = || slots.borrow().now_or_never();
        assert!(borrow().is_none(), "nobody rests");

        let (first, second) = (slot.lend(), slot.lend());
        let borrowed = [borrow(), borrow()];
        assert!(borrowed.iter().all(Option::is_some));
        assert!(borrow().is_none(), "both are taken");

        drop(first);
        let [Some(one), Some(other)] = borrowed else {
            unreachable!("they are")
        };
        assert!(one.wanted_back().now_or_never().is_some());
        drop(one);
        assert!(other.wanted_back().now_or_never().is_none());
        assert!(borrow().is_none(), "one rests, and one has its turn");
        drop(other);
        assert!(borrow().is_some());
        drop(second);
        assert!(borrow().is_none());
    }

    #[tokio::test]
    async fn who_waits_for_a_turn_is_called() {
        let slots = Rc::new(Slots::default());
        let slot = Slot::of(&slots);
        let rests = async {
            tokio::task::yield_now().await;
            slot.lend()
        };
        let (_turn, _lent) = tokio::join!(slots.borrow(), rests);
    }

    #[test]
    fn few_are_spare_and_none_beside_a_few() {
        for (concurrency, spares) in [(1, 0), (7, 0), (8, 1), (16, 2), (64, 8), (512, 8)] {
            assert_eq!(spare(concurrency), spares, "{concurrency}");
        }
    }
}
