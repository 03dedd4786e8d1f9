//! How long was waited of late: quantiles over the last quarter of an hour, which a histogram since the start of the
//! process cannot tell by itself.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

use crate::{clock::Moment, lane::Lane, policy::quota::Calls};

/// What is longer ago is forgotten, a minute at once.
const KEPT: Duration = Duration::from_mins(15);
const SLOT: Duration = Duration::from_mins(1);

/// What is longer ago tells nothing of the present.
const OF_LATE: Duration = Duration::from_mins(2);

/// Waits are told apart where one is longer than the other by a tenth: the bounds in seconds are a geometric row, from
/// a millisecond on.
const LEAST: f64 = 0.001;
const STEP: f64 = 1.1;
/// Up to two hours.
const BOUNDS: usize = 167;

static EACH_BOUND: LazyLock<[f64; BOUNDS]> = LazyLock::new(|| std::array::from_fn(bound));

/// The waits of one provider by lane.
pub(super) type ByLane = [Waits; 2];

/// All providers'.
#[derive(Debug, Clone, Default)]
pub(super) struct AllWaits(Arc<Mutex<BTreeMap<String, ByLane>>>);

/// The waits of one lane.
#[derive(Debug, Clone, Default)]
pub(super) struct Waits(Arc<Mutex<Recent>>);

/// The waits of the last quarter of an hour, and those that go on.
#[derive(Debug, Default)]
struct Recent {
    slots: VecDeque<Slot>,
    /// When each of those that go on began, by its number.
    going_on: BTreeMap<u64, Moment>,
    /// How many began so far.
    begun: u64,
}

/// Those that ended within a minute.
#[derive(Debug)]
struct Slot {
    begun: Moment,
    counts: Counts,
    /// Jobs whose deadline came before a permission.
    missed: u64,
}

/// How many there were up to each bound, and above them all.
#[derive(Debug, Clone)]
struct Counts(Box<[u64; BOUNDS + 1]>);

/// How long half of them took at most, and nearly all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Waited {
    /// How many there were.
    pub count: u64,
    /// Half of them took no longer, in seconds; to a tenth of it.
    pub p50_seconds: f64,
    /// 99 of a hundred took no longer.
    pub p99_seconds: f64,
}

impl AllWaits {
    /// Those of one provider.
    pub fn of(&self, name: &str) -> ByLane {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(name.to_owned()).or_default().clone()
    }

    /// By provider and lane, where there were any.
    pub fn all(&self, now: Moment) -> BTreeMap<String, BTreeMap<Lane, Waited>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |(name, lanes): (&String, &ByLane)| {
            let of = |lane: Lane| Some((lane, lanes[lane as usize].waited(now)?));
            (name.clone(), Lane::ALL.into_iter().filter_map(of).collect())
        };
        all.iter().map(told).collect()
    }
}

impl Waits {
    /// One begins; the number by which it ends.
    pub fn begin(&self, now: Moment) -> u64 {
        let mut recent = self.recent();
        recent.begun += 1;
        let number = recent.begun;
        recent.going_on.insert(number, now);
        number
    }

    /// It ends now, however it ends.
    pub fn end(&self, number: u64, now: Moment) {
        let mut recent = self.recent();
        if let Some(begun) = recent.going_on.remove(&number) {
            recent.slot(now).counts.add(now.since(begun));
        }
    }

    /// One that was none: the permission was there.
    pub fn none(&self, now: Moment) {
        self.recent().slot(now).counts.add(Duration::ZERO);
    }

    /// A job's deadline came before a permission.
    pub fn missed(&self, now: Moment) {
        self.recent().slot(now).missed += 1;
    }

    /// How long those took that ended in the last quarter of an hour; none where there were none.
    pub fn waited(&self, now: Moment) -> Option<Waited> {
        let counts = Counts::of(self.recent().since(KEPT, now));
        let count = counts.all();
        (count > 0).then(|| Waited {
            count,
            p50_seconds: counts.quantile(count.div_ceil(2)),
            p99_seconds: counts.quantile((count * 99).div_ceil(100)),
        })
    }

    /// How those fared that ended in the last two minutes, and those that go on.
    pub fn calls(&self, now: Moment) -> Calls {
        let mut recent = self.recent();
        let mut counts = Counts::of(recent.since(OF_LATE, now));
        for begun in recent.going_on.values() {
            counts.add(now.since(*begun));
        }
        let all = counts.all();
        let p99 = match all {
            0 => 0.0,
            all => counts.quantile((all * 99).div_ceil(100)),
        };
        Calls {
            all,
            missed: recent.since(OF_LATE, now).map(|slot| slot.missed).sum(),
            p99: Duration::from_secs_f64(p99),
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// The minute that it is now.
    fn slot(&mut self, now: Moment) -> &mut Slot {
        self.forget(now);
        let is_over = |slot: &mut Slot| now.since(slot.begun) >= SLOT;
        if self.slots.back_mut().is_none_or(is_over) {
            self.slots.push_back(Slot {
                begun: now,
                counts: Counts::none(),
                missed: 0,
            });
        }
        let last = self.slots.len() - 1;
        &mut self.slots[last]
    }

    /// Those minutes that began within this time.
    fn since(&mut self, time: Duration, now: Moment) -> impl Iterator<Item = &Slot> {
        self.forget(now);
        let within = move |slot: &&Slot| now.since(slot.begun) < time;
        self.slots.iter().filter(within)
    }

    fn forget(&mut self, now: Moment) {
        let is_old = |slot: &mut Slot| now.since(slot.begun) >= KEPT;
        while self.slots.pop_front_if(is_old).is_some() {}
    }
}

impl Counts {
    fn none() -> Self {
        Self(Box::new([0; BOUNDS + 1]))
    }

    fn of<'a>(slots: impl Iterator<Item = &'a Slot>) -> Self {
        let mut sum = Self::none();
        for slot in slots {
            for (all, count) in sum.0.iter_mut().zip(slot.counts.0.iter()) {
                *all += count;
            }
        }
        sum
    }

    fn add(&mut self, waited: Duration) {
        self.0[number(waited)] += 1;
    }

    fn all(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The bound that so many of them keep.
    fn quantile(&self, rank: u64) -> f64 {
        let mut seen = 0;
        let reached = self.0.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        bound(reached.unwrap_or(BOUNDS))
    }
}

/// Which bound a wait keeps; the last is for what is longer than all.
fn number(waited: Duration) -> usize {
    let seconds = waited.as_secs_f64();
    EACH_BOUND.partition_point(|bound| *bound < seconds)
}

/// What took no time to speak of took none.
fn bound(number: usize) -> f64 {
    match number {
        0 => 0.0,
        _ => LEAST * STEP.powi(i32::try_from(number).unwrap_or(i32::MAX) - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    /// One that takes this long, and ends then.
    fn takes(waits: &Waits, time: Duration, end: Moment) {
        let begun = Moment::at(end.since(Moment::default()).saturating_sub(time));
        waits.end(waits.begin(begun), end);
    }

    #[test]
    fn quantiles_are_within_a_tenth() {
        let waits = Waits::default();
        assert_eq!(waits.waited(at(20)), None);
        for tenths in 1..=100 {
            takes(&waits, Duration::from_millis(tenths * 100), at(20));
        }
        let waited = waits.waited(at(20)).unwrap();
        assert_eq!(waited.count, 100);
        assert!((5.0..=5.5).contains(&waited.p50_seconds), "{waited:?}");
        assert!((9.9..=10.9).contains(&waited.p99_seconds), "{waited:?}");
        takes(&waits, Duration::from_hours(100), at(400_000));
        assert!(waits.waited(at(400_000)).is_some(), "however long it was");
    }

    #[test]
    fn a_quarter_of_an_hour_is_kept_and_no_more() {
        let waits = Waits::default();
        for minute in 0..60 {
            waits.none(at(60 * minute));
            assert!(waits.recent().slots.len() <= 15);
        }
        assert_eq!(waits.waited(at(59 * 60)).unwrap().count, 15);
        assert!(waits.waited(at(59 * 60)).unwrap().p99_seconds < 1e-9);
        assert_eq!(waits.waited(at(59 * 60 + 15 * 60)), None);
    }

    #[test]
    fn calls_are_told_with_those_that_still_wait_and_two_minutes_later_no_more() {
        let waits = Waits::default();
        assert_eq!(waits.calls(at(0)), Calls::default());
        let number = waits.begin(at(0));
        assert!(waits.calls(at(60)).p99 >= Duration::from_secs(60));
        waits.end(number, at(60));
        waits.missed(at(61));
        let calls = waits.calls(at(100));
        assert_eq!((calls.all, calls.missed), (1, 1));
        assert!(calls.p99 >= Duration::from_secs(60), "{calls:?}");
        assert_eq!(waits.calls(at(180)), Calls::default());
    }
}
