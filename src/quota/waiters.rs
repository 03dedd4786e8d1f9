//! Those of one lane who wait for a permission: who asks now, who asks next, and when there may be one.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, futures::Notified},
    time::sleep,
};

use super::guard::CountGuard;
use crate::{
    clock::Moment,
    lane::Lane,
    policy::quota::{Pace, Rush, Terms},
};

/// A request in bulk asks after this time at the earliest, or two of the quota's mean intervals: whether it is one of
/// a few or the first of many can be told only once the others are there.
const SETTLE: Duration = Duration::from_millis(100);

/// A timer is no more exact than this: whoever would wait for less asks at once.
const TOO_SHORT: Duration = Duration::from_millis(1);

/// How long whoever comes waits before it asks.
fn settle(lane: Lane, terms: &Terms) -> Duration {
    match lane {
        Lane::Interactive => Duration::ZERO,
        Lane::Bulk => Some(SETTLE.min(2 * terms.pace))
            .filter(|time| *time >= TOO_SHORT)
            .unwrap_or_default(),
    }
}

/// Those of one lane who wait, first come, first served.
pub(super) struct Waiters {
    lane: Lane,
    turns: Semaphore,
    /// Turns where nobody has one.
    widest: usize,
    pace: RefCell<Pace>,
    /// The ledger has room.
    room: Notify,
    waiting: Cell<usize>,
    /// Nobody asks sooner.
    settle: Cell<Duration>,
    /// When there will be room at the latest, as the ledger said when it refused last, if it did.
    room_at: Cell<Option<Moment>>,
    /// The ledger refused.
    full: Notify,
    rush: RefCell<Rush>,
}

impl Waiters {
    pub fn new(lane: Lane, terms: &Terms) -> Self {
        Self {
            lane,
            turns: Semaphore::new(terms.widest(lane)),
            widest: terms.widest(lane),
            pace: RefCell::new(Pace::new(lane, terms)),
            room: Notify::new(),
            waiting: Cell::default(),
            room_at: Cell::default(),
            full: Notify::new(),
            rush: RefCell::default(),
            settle: Cell::new(settle(lane, terms)),
        }
    }

    /// Other terms count.
    pub fn change(&self, terms: &Terms) {
        self.pace.borrow_mut().change(terms);
        self.settle.set(settle(self.lane, terms));
        self.has_room();
    }

    /// The ledger has room again, most likely.
    pub fn has_room(&self) {
        self.room.notify_one();
    }

    /// One more who waits.
    pub fn join(&self) -> CountGuard<'_> {
        CountGuard::new(&self.waiting)
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.waiting.get()
    }

    /// Whether one who comes now may ask at once.
    pub fn may_ask_at_once(&self) -> bool {
        let is_due = match self.lane {
            // Whoever was refused last waits still, or has gone.
            Lane::Interactive => true,
            Lane::Bulk => {
                self.settle.get().is_zero() && self.pace.borrow().pause(Moment::now()).is_zero()
            }
        };
        is_due && self.turns.available_permits() >= self.widest
    }

    /// The turn of one who waits since `begun`; none where there will be no more.
    pub async fn turn(&self, begun: Moment) -> Option<SemaphorePermit<'_>> {
        let turn = self.turns.acquire().await.ok()?;
        let unsettled = self.settle.get().saturating_sub(Moment::now().since(begun));
        if !unsettled.is_zero() {
            sleep(unsettled).await;
        }
        Some(turn)
    }

    /// Returns when it is time to ask.
    pub async fn due(&self) {
        loop {
            let pause = self.pace.borrow().pause(Moment::now());
            if pause.is_zero() {
                return;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.room.notified() => self.pace.borrow_mut().announced(Moment::now()),
            }
        }
    }

    /// The ledger granted a permission: another may ask beside this one.
    pub fn granted(&self) {
        if self.pace.borrow_mut().granted() {
            self.turns.add_permits(1);
        }
    }

    /// There is room at that time at the latest, as far as it is known; to be asked again `soon` at the earliest.
    /// Whether fewer are to ask at once.
    pub fn refused(&self, room_at: Option<Moment>, soon: Option<Moment>) -> bool {
        self.room_at.set(room_at);
        let steps_back =
            self.pace
                .borrow_mut()
                .refused(Moment::now(), soon, rand::random_range(0.5..1.0));
        self.full.notify_waiters();
        steps_back
    }

    /// Waits until the ledger refuses.
    pub fn refusal(&self) -> Notified<'_> {
        self.full.notified()
    }

    /// A permission was taken here.
    pub fn gave(&self, now: Moment) {
        self.rush.borrow_mut().gave(now);
    }

    /// Whether the last burst of requests went in less time than the quota has for as many.
    pub fn is_rushed(&self, now: Moment) -> bool {
        self.rush.borrow().is_on(self.pace.borrow().mean(), now)
    }

    /// When whoever came last may have its turn, at the quota's mean rate.
    pub fn turn_of_the_last(&self, now: Moment) -> Moment {
        let others = u32::try_from(self.waiting.get().saturating_sub(1)).unwrap_or(u32::MAX);
        now.after(self.pace.borrow().mean().saturating_mul(others))
    }

    /// Whether whose turn comes then may have room by the end. Where the ledger is full and tells no time, others used
    /// it: bulk may have room at the quota's mean rate, and a call is not to wait for that.
    pub fn has_room_by(&self, end: Moment, turn: Moment, now: Moment) -> bool {
        let pace = self.pace.borrow();
        let is_full = !pace.pause(now).is_zero();
        let likely = (self.lane == Lane::Bulk).then(|| now.after(pace.mean()));
        let room_at = self.room_at.get().or(likely);
        !is_full || room_at.is_some_and(|room_at| room_at.max(turn) <= end)
    }
}
