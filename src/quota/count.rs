//! The provider's own count at work: who is to wait for it waits here, and what is read of it is told.
//!
//! What follows from what is read stands in [`policy::quota::count`](crate::policy::quota::count).

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};

use crate::{
    clock::Moment,
    config::QuotaLimit,
    lane::Lane,
    policy::quota::count::{Count, Said, Sent, Throttle},
};

/// Words that other workers are not told of yet; of more the last count.
const MOST_UNTOLD: usize = 8;

/// For so long after somebody had to wait it is said that the count holds requests back.
const HELD_LASTS: Duration = Duration::from_secs(10);

/// What one provider says is left, and who waits for it.
pub struct ProviderCount {
    /// None where there is no quota: then nobody asks for a permission at all.
    count: Option<RefCell<Count>>,
    changed: Notify,
    /// What this worker read, for the others, and when.
    untold: RefCell<VecDeque<(Said, Sent, Moment)>>,
    tells: Notify,
    /// When somebody last had to wait, by lane.
    held: [Cell<Option<Moment>>; 2],
}

/// One of those that are left, until it is spent or dropped.
#[must_use = "dropped, it is another's"]
pub struct Left<'a> {
    count: Option<&'a ProviderCount>,
    spent: bool,
}

impl ProviderCount {
    /// Of a provider with this quota, whose word holds nothing back for longer than `longest`.
    #[must_use]
    pub fn new(limit: Option<&QuotaLimit>, longest: Duration) -> Self {
        Self {
            count: limit.map(|limit| Count::new(limit, longest).into()),
            changed: Notify::new(),
            untold: RefCell::default(),
            tells: Notify::new(),
            held: Default::default(),
        }
    }

    /// Another quota counts.
    pub fn change(&self, limit: &QuotaLimit) {
        if let Some(count) = &self.count {
            count.borrow_mut().change(limit);
        }
        self.changed.notify_waiters();
    }

    /// What a request that goes now will be known by.
    #[must_use]
    pub fn sent(&self) -> Sent {
        let (count, at) = (self.count.as_ref(), Moment::now());
        count.map_or_else(
            || Sent {
                at,
                spent: 0,
                others: 0,
            },
            |count| count.borrow().sent(at),
        )
    }

    /// What an answer to that request said, and whether it was served: see [`Count::hear`]. Says whether a window of it
    /// is passed over from now on.
    pub fn hear(&self, all: Vec<Said>, sent: Sent, served: Option<bool>) -> bool {
        let Some(count) = &self.count else {
            return false;
        };
        if served == Some(false) {
            count.borrow_mut().refused(sent);
        }
        if all.is_empty() {
            return false;
        }
        let (mut turned, now) = (false, Moment::now());
        for said in all {
            turned |= count.borrow_mut().hear(&said, sent, served, now);
            let mut untold = self.untold.borrow_mut();
            untold.retain(|(known, ..)| known.window != said.window);
            // What is passed over here is to hold nobody back elsewhere.
            if !count.borrow().tells(&said.window) {
                continue;
            }
            untold.push_back((said, sent, now));
            if untold.len() > MOST_UNTOLD {
                untold.pop_front();
            }
        }
        self.tells.notify_one();
        self.changed.notify_waiters();
        turned
    }

    /// What another worker read: see [`Count::hear_of`].
    pub fn hear_of(&self, said: &Said, by: u64, ago: Duration, spent: [u64; 2]) {
        if let Some(count) = &self.count {
            let now = Moment::now();
            count.borrow_mut().hear_of(said, by, ago, spent, now);
            self.changed.notify_waiters();
        }
    }

    /// What this worker read last of each window, with the time to its end from now, and what it has spent by now;
    /// waited for.
    pub async fn untold(&self) -> (Vec<(Said, Sent)>, u64) {
        loop {
            let tells = self.tells.notified();
            let (untold, now) = (
                std::mem::take(&mut *self.untold.borrow_mut()),
                Moment::now(),
            );
            let untold = untold.into_iter();
            // Without a session they were kept for as long as that took.
            let of_now = |(said, sent, heard): (Said, _, _)| {
                let said = said.told_later(now.since(heard))?;
                Some((said, sent))
            };
            let untold: Vec<_> = untold.filter_map(of_now).collect();
            if !untold.is_empty() {
                return (untold, self.sent().spent);
            }
            tells.await;
        }
    }

    /// Waits for another word of it.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// One that is left for this lane, waited for.
    pub async fn left(&self, lane: Lane) -> Left<'_> {
        loop {
            let changed = self.changed.notified();
            let now = Moment::now();
            match self.held_until(lane, now) {
                None => return self.take(),
                Some(until) => {
                    self.held[lane as usize].set(Some(now));
                    tokio::select! {
                        () = changed => {}
                        () = sleep(until.since(now)) => {}
                    }
                }
            }
        }
    }

    /// One that need not be waited for.
    #[must_use]
    pub fn one_left(&self, lane: Lane) -> Option<Left<'_>> {
        let is_held = self.held_until(lane, Moment::now()).is_some();
        (!is_held).then(|| self.take())
    }

    /// Whether one may be left by then.
    #[must_use]
    pub fn opens_by(&self, end: Moment, lane: Lane, now: Moment) -> bool {
        self.held_until(lane, now).is_none_or(|until| until <= end)
    }

    fn held_until(&self, lane: Lane, now: Moment) -> Option<Moment> {
        let count = self.count.as_ref()?;
        count.borrow().held_until(lane, now)
    }

    fn take(&self) -> Left<'_> {
        let count = self.count.as_ref().map(|count| {
            count.borrow_mut().reserve();
            self
        });
        Left {
            count,
            spent: false,
        }
    }

    /// What holds requests back, where somebody had to wait for it of late.
    #[must_use]
    pub fn throttle(&self) -> Option<(Lane, Throttle)> {
        let (count, now) = (self.count.as_ref()?.borrow(), Moment::now());
        let of_late = |lane: &Lane| {
            let last = self.held[*lane as usize].get();
            last.is_some_and(|last| now.since(last) < HELD_LASTS)
        };
        let mut lanes = Lane::ALL.into_iter().filter(of_late);
        lanes.find_map(|lane| Some((lane, count.throttle(lane, now)?)))
    }

    /// The least that any window has left, as it was said last.
    #[must_use]
    pub fn least_remaining(&self) -> Option<u32> {
        let count = self.count.as_ref()?.borrow();
        count.least_remaining(Moment::now())
    }
}

impl Left<'_> {
    /// It is spent.
    pub fn spend(mut self) {
        self.spent = true;
    }
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        if let Some(ProviderCount { count, changed, .. }) = self.count
            && let Some(count) = count
        {
            count.borrow_mut().settle(self.spent, Moment::now());
            if !self.spent {
                changed.notify_waiters();
            }
        }
    }
}
