//! Jobs of one provider that were delivered and not begun: the urgent ones are taken first, and none while the provider
//! is left in peace.
//!
//! Why it is so: `docs/decisions/0007-lanes.md`.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

use tokio::sync::Notify;

use crate::lane::Lane;

/// At most the prefetch of both lanes.
#[derive(Debug)]
pub struct Inbox<T> {
    lanes: RefCell<[VecDeque<T>; 2]>,
    arrived: [Notify; 2],
    /// For whoever looks through what waits.
    occupied: Notify,
    held: Cell<bool>,
    closed: Cell<bool>,
    ended: Notify,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        let (lanes, arrived, occupied, held, closed, ended) = Default::default();
        Self {
            lanes,
            arrived,
            occupied,
            held,
            closed,
            ended,
        }
    }
}

impl<T> Inbox<T> {
    /// Puts a delivery behind the others of its lane.
    pub fn put(&self, lane: Lane, delivery: T) {
        self.lanes.borrow_mut()[lane as usize].push_back(delivery);
        self.arrived[lane as usize].notify_one();
        self.occupied.notify_waiters();
    }

    /// Lets nobody take anything, until it is released.
    pub fn hold(&self) {
        self.held.set(true);
    }

    /// Lets the takers go on.
    pub fn release(&self) {
        if self.held.replace(false) {
            self.arrived.iter().for_each(Notify::notify_waiters);
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.borrow().iter().all(VecDeque::is_empty)
    }

    /// How many wait, by lane.
    pub fn waiting(&self) -> [usize; 2] {
        self.lanes.borrow().each_ref().map(VecDeque::len)
    }

    /// Where those of a lane stand that fit; the first is at 0.
    pub fn places(&self, lane: Lane, fits: impl Fn(&T) -> bool) -> Vec<usize> {
        let waiting = &self.lanes.borrow()[lane as usize];
        let places = waiting.iter().enumerate();
        let places = places.filter(|(_, one)| fits(one));
        places.map(|(place, _)| place).collect()
    }

    /// Whether it is held.
    pub fn is_held(&self) -> bool {
        self.held.get()
    }

    /// The first delivery of a lane, also while it is held.
    pub fn take_first(&self, lane: Lane) -> Option<T> {
        self.lanes.borrow_mut()[lane as usize].pop_front()
    }

    /// Waits until something waits.
    pub async fn occupied(&self) {
        loop {
            let occupied = self.occupied.notified();
            if !self.is_empty() {
                return;
            }
            occupied.await;
        }
    }

    /// The next delivery of these lanes, the first lane first, waited for; none once the inbox is closed.
    pub async fn take(&self, lanes: &[Lane]) -> Option<(Lane, T)> {
        let mut called = false;
        loop {
            for &lane in lanes.iter().filter(|_| !self.held.get()) {
                let next = self.lanes.borrow_mut()[lane as usize].pop_front();
                if let Some(delivery) = next {
                    if called {
                        self.call_others();
                    }
                    return Some((lane, delivery));
                }
            }
            if self.closed.get() {
                return None;
            }
            let arrived = async |lane| self.arrived[lane as usize].notified().await;
            // Between the look above and the wait nothing happens: there is one thread.
            tokio::select! {
                () = arrived(Lane::Interactive), if lanes.contains(&Lane::Interactive) => {}
                () = arrived(Lane::Bulk), if lanes.contains(&Lane::Bulk) => {}
            }
            called = true;
        }
    }

    /// For what is left. Whoever was called for both lanes takes one delivery, and who is called in their stead may
    /// be one who takes none of the other lane.
    fn call_others(&self) {
        for (lane, arrived) in self.lanes.borrow().iter().zip(&self.arrived) {
            if !lane.is_empty() {
                arrived.notify_one();
            }
        }
    }

    /// Everything that waits.
    pub fn take_all(&self) -> Vec<T> {
        Lane::ALL
            .into_iter()
            .flat_map(|lane| self.take_if(lane, |_| true))
            .collect()
    }

    /// What waits in a lane and fits.
    pub fn take_if(&self, lane: Lane, fits: impl Fn(&T) -> bool) -> Vec<T> {
        let waiting = &mut self.lanes.borrow_mut()[lane as usize];
        if !waiting.iter().any(&fits) {
            return Vec::new();
        }
        let (fitting, others) = std::mem::take(waiting)
            .into_iter()
            .partition::<Vec<_>, _>(&fits);
        *waiting = others.into();
        fitting
    }

    /// Whether nobody takes anything any more.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Lets the takers end; what waits is returned.
    pub fn close(&self) -> Vec<T> {
        self.closed.set(true);
        self.arrived.iter().for_each(Notify::notify_waiters);
        self.ended.notify_waiters();
        self.take_all()
    }

    /// Waits until it is closed.
    pub async fn closed(&self) {
        loop {
            let ended = self.ended.notified();
            if self.closed.get() {
                return;
            }
            ended.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    /// Three slots, one of them for calls alone, that each take one delivery; how many of two lie there in the end.
    async fn left_of_one_of_each_lane(first: Lane) -> usize {
        let inbox = Rc::<Inbox<Lane>>::default();
        for lanes in [&Lane::ALL[..], &Lane::ALL[..1], &Lane::ALL[..]] {
            let inbox = Rc::clone(&inbox);
            spawn_local(async move { inbox.take(lanes).await });
        }
        for _ in 0..5 {
            yield_now().await;
        }
        let second = if first == Lane::Bulk {
            Lane::Interactive
        } else {
            Lane::Bulk
        };
        inbox.put(first, first);
        inbox.put(second, second);
        for _ in 0..20 {
            yield_now().await;
        }
        inbox.take_all().len()
    }

    #[tokio::test]
    async fn no_delivery_lies_beside_a_slot_that_could_take_it() {
        let rounds = async {
            for _ in 0..200 {
                for first in Lane::ALL {
                    assert_eq!(left_of_one_of_each_lane(first).await, 0, "{first} first");
                }
            }
        };
        LocalSet::new().run_until(rounds).await;
    }
}
