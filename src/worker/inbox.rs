//! Jobs of one provider that were delivered and not begun: the urgent ones are taken first.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

use tokio::sync::Notify;

use super::load::Held;
use crate::{broker::Delivery, job::Lane};

/// At most the prefetch of both lanes.
#[derive(Debug, Default)]
pub struct Inbox {
    lanes: RefCell<[VecDeque<Held>; 2]>,
    arrived: [Notify; 2],
    closed: Cell<bool>,
    ended: Notify,
}

impl Inbox {
    /// Puts a delivery behind the others of its lane.
    pub fn put(&self, lane: Lane, delivery: Held) {
        self.lanes.borrow_mut()[lane as usize].push_back(delivery);
        self.arrived[lane as usize].notify_one();
    }

    /// The next delivery of these lanes, the first lane first, waited for; none once the inbox is closed.
    pub async fn take(&self, lanes: &[Lane]) -> Option<(Lane, Held)> {
        loop {
            for &lane in lanes {
                if let Some(delivery) = self.lanes.borrow_mut()[lane as usize].pop_front() {
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
        }
    }

    /// Everything that waits.
    pub fn take_all(&self) -> Vec<Held> {
        self.take_if(|_| true)
    }

    /// What waits and fits.
    pub fn take_if(&self, fits: impl Fn(&Delivery) -> bool) -> Vec<Held> {
        let mut taken = Vec::new();
        for lane in self.lanes.borrow_mut().iter_mut() {
            let (fitting, others) = std::mem::take(lane).into_iter().partition::<Vec<_>, _>(|delivery| fits(delivery));
            taken.extend(fitting);
            *lane = others.into();
        }
        taken
    }

    /// Lets the takers end; what waits is returned.
    pub fn close(&self) -> Vec<Held> {
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
