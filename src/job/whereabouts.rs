//! How far each job is that is worked on here, for whoever asks for one by its id.
//!
//! A job is marked once its id is known, and whoever takes it a step further moves the mark. Of an id no more than its
//! hash is kept.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    hash::BuildHasher,
    rc::{Rc, Weak},
    time::Duration,
};

use foldhash::quality::RandomState;
use jiff::Timestamp;
use smallvec::SmallVec;

use crate::{clock::Moment, lane::Lane, message::QueuePosition};

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is begun.
    Begun,
    /// Its request waits for a permit.
    Waits,
    /// Its request is on its way, so many attempts counted.
    Asked(u32),
    /// It waits for its next attempt, here.
    Rests(Timestamp),
    /// It waits for its next attempt, in a delay queue.
    Delayed(Timestamp),
    /// What replaces it is being published.
    Settling,
}

impl Stage {
    /// It waits here for so long from now on.
    #[must_use]
    pub fn rests(wait: Duration) -> Self {
        Self::Rests(after(wait))
    }
}

fn after(wait: Duration) -> Timestamp {
    let now = Timestamp::now();
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// An id may be chosen twice.
type OfOneId = SmallVec<[Weak<Entry>; 1]>;

/// The jobs that are worked on here.
#[derive(Debug, Default)]
pub struct Marks {
    hashing: RandomState,
    marks: RefCell<HashMap<u64, OfOneId, RandomState>>,
    /// How many began to wait so far.
    turns: Cell<u64>,
}

/// How far one job is; it is known until this and all its clones are dropped. A job that is not to be known has an
/// empty mark.
#[derive(Debug, Clone, Default)]
pub struct Mark(Option<Rc<Entry>>);

#[derive(Debug)]
struct Entry {
    marks: Rc<Marks>,
    id: u64,
    provider: Rc<str>,
    step: Option<Rc<str>>,
    queue: Option<Rc<str>>,
    lane: Lane,
    stage: Cell<(Stage, Moment)>,
    /// Who waits was counted so many when it began to.
    turn: Cell<u64>,
}

/// What is known of a job's mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The provider or lookup.
    pub provider: Rc<str>,
    /// The provider of a lookup's step.
    pub step: Option<Rc<str>>,
    /// The delay queue that it waits in.
    pub queue: Option<Rc<str>>,
    /// The lane.
    pub lane: Lane,
    /// How far it is.
    pub stage: Stage,
    /// For how long.
    pub lasts: Duration,
    /// Where it stands among those that wait; none where it does not wait for a permit.
    pub position: Option<QueuePosition>,
}

impl Marks {
    /// Marks a job that is begun.
    #[must_use]
    pub fn begin(self: &Rc<Self>, id: &str, provider: &str, lane: Lane) -> Mark {
        self.put(self.entry(id, provider, lane, Stage::Begun))
    }

    /// Marks a job that waits for its next attempt in this delay queue, for so long.
    #[must_use]
    pub fn delay(
        self: &Rc<Self>,
        id: &str,
        provider: &str,
        lane: Lane,
        queue: &str,
        wait: Duration,
    ) -> Mark {
        let mut entry = self.entry(id, provider, lane, Stage::Delayed(after(wait)));
        entry.queue = Some(queue.into());
        self.put(entry)
    }

    fn entry(self: &Rc<Self>, id: &str, provider: &str, lane: Lane, stage: Stage) -> Entry {
        Entry {
            marks: Rc::clone(self),
            id: self.hashing.hash_one(id),
            provider: provider.into(),
            step: None,
            queue: None,
            lane,
            stage: Cell::new((stage, Moment::now())),
            turn: Cell::default(),
        }
    }

    fn put(&self, entry: Entry) -> Mark {
        let entry = Rc::new(entry);
        let mut marks = self.marks.borrow_mut();
        let of_id = marks.entry(entry.id).or_default();
        of_id.push(Rc::downgrade(&entry));
        Mark(Some(entry))
    }

    /// Every job of this id; an id may be chosen twice, and a lookup's job has a mark for each step that is asked.
    #[must_use]
    pub fn of(&self, id: &str) -> Vec<Seen> {
        let now = Moment::now();
        let id = self.hashing.hash_one(id);
        let marks = self.marks.borrow().get(&id).cloned().unwrap_or_default();
        let marks = marks.iter().filter_map(Weak::upgrade);
        marks.map(|entry| self.seen(&entry, now)).collect()
    }

    fn seen(&self, entry: &Entry, now: Moment) -> Seen {
        let (stage, since) = entry.stage.get();
        let position = (stage == Stage::Waits).then(|| {
            let (ahead, [calls, bulk]) = self.waiting(entry.asks(), entry.lane, entry.turn.get());
            let of = [calls, bulk][entry.lane as usize];
            let calls = if entry.lane == Lane::Bulk { calls } else { 0 };
            let place = ahead + 1;
            QueuePosition { place, of, calls }
        });
        Seen {
            provider: Rc::clone(&entry.provider),
            step: entry.step.clone(),
            queue: entry.queue.clone(),
            lane: entry.lane,
            stage,
            lasts: now.since(since),
            position,
        }
    }

    /// How many jobs wait for a permit to ask this provider: of the lane those that began to before `turn`, and all by
    /// lane.
    #[must_use]
    pub fn waiting(&self, provider: &str, lane: Lane, turn: u64) -> (usize, [usize; 2]) {
        let (mut ahead, mut all) = (0, [0; 2]);
        for entry in self.marks.borrow().values().flatten() {
            let Some(entry) = entry.upgrade() else {
                continue;
            };
            if entry.stage.get().0 == Stage::Waits && entry.asks() == provider {
                all[entry.lane as usize] += 1;
                ahead += usize::from(entry.lane == lane && entry.turn.get() < turn);
            }
        }
        (ahead, all)
    }
}

impl Mark {
    /// It is so far now.
    pub fn at(&self, stage: Stage) {
        let Some(entry) = &self.0 else { return };
        let before = entry.stage.get().0;
        if before == stage {
            return;
        }
        if stage == Stage::Waits {
            let turns = &entry.marks.turns;
            turns.set(turns.get() + 1);
            entry.turn.set(turns.get());
        }
        entry.stage.set((stage, Moment::now()));
    }

    /// A mark for one step of this job, which asks that provider.
    #[must_use]
    pub fn step(&self, provider: &str) -> Self {
        let Some(entry) = &self.0 else {
            return Self(None);
        };
        entry.marks.put(Entry {
            marks: Rc::clone(&entry.marks),
            id: entry.id,
            provider: Rc::clone(&entry.provider),
            step: Some(provider.into()),
            queue: None,
            lane: entry.lane,
            stage: Cell::new((Stage::Begun, Moment::now())),
            turn: Cell::default(),
        })
    }
}

impl Entry {
    /// The provider that it is to be asked of.
    fn asks(&self) -> &str {
        self.step.as_ref().unwrap_or(&self.provider)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut marks = self.marks.marks.borrow_mut();
        if let Some(of_id) = marks.get_mut(&self.id) {
            of_id.retain(|mark| mark.strong_count() > 0);
            if of_id.is_empty() {
                marks.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(marks: &Rc<Marks>, id: &str) -> Mark {
        let mark = marks.begin(id, "a", Lane::Bulk);
        mark.at(Stage::Waits);
        mark
    }

    fn numbers(seen: &Seen) -> Option<(usize, usize, usize)> {
        let position = seen.position?;
        Some((position.place, position.of, position.calls))
    }

    #[test]
    fn a_job_is_known_from_its_mark_on_until_that_is_dropped() {
        let marks = Rc::<Marks>::default();
        assert_eq!(marks.of("j"), []);
        let mark = marks.begin("j", "a", Lane::Interactive);
        let second = mark.clone();
        drop(mark);
        second.at(Stage::Asked(2));
        let seen = marks.of("j");
        assert_eq!((seen.len(), seen[0].stage), (1, Stage::Asked(2)));
        assert_eq!((&*seen[0].provider, seen[0].position), ("a", None));
        assert_eq!(marks.of("J"), [], "another's");
        drop(second);
        assert_eq!(marks.of("j"), []);
        assert!(marks.marks.borrow().is_empty(), "nothing is left of it");
    }

    #[test]
    fn places_are_those_of_the_lane_in_the_order_in_which_they_began_to_wait() {
        let marks = Rc::<Marks>::default();
        let position = |id: &str| numbers(&marks.of(id)[0]);
        let [first, second, third] = ["1", "2", "3"].map(|id| bulk(&marks, id));
        let call = marks.begin("call", "a", Lane::Interactive);
        let other = marks.begin("other", "b", Lane::Bulk);
        for mark in [&call, &other] {
            mark.at(Stage::Waits);
        }
        assert_eq!(position("1"), Some((1, 3, 1)));
        assert_eq!(position("3"), Some((3, 3, 1)));
        assert_eq!(
            position("call"),
            Some((1, 1, 0)),
            "no calls go before a call"
        );
        second.at(Stage::Asked(1));
        drop(call);
        assert_eq!((position("2"), position("3")), (None, Some((2, 2, 0))));
        third.at(Stage::Waits);
        assert_eq!(
            position("3"),
            Some((2, 2, 0)),
            "who waits on keeps the place"
        );
        second.at(Stage::Waits);
        assert_eq!(
            position("2"),
            Some((3, 3, 0)),
            "who comes again is the last"
        );
        drop(first);
        assert_eq!(position("3"), Some((1, 2, 0)));
    }

    #[test]
    fn a_step_waits_in_the_line_of_the_provider_that_it_asks() {
        let marks = Rc::<Marks>::default();
        let _before = bulk(&marks, "before");
        let job = marks.begin("j", "lookup", Lane::Bulk);
        let step = job.step("a");
        step.at(Stage::Waits);
        let seen = marks.of("j");
        assert_eq!(seen.len(), 2);
        let step = seen
            .iter()
            .find(|seen| seen.step.is_some())
            .expect("a step");
        assert_eq!(
            (&*step.provider, numbers(step)),
            ("lookup", Some((2, 2, 0)))
        );
        assert!(Mark::default().step("a").0.is_none());
    }
}
