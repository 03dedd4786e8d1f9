//! How long was waited of late: quantiles over the last quarter of an hour, which a histogram since the start of the
//! process cannot tell by itself.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

use crate::{clock::Moment, lane::Lane};

/// What is longer ago is forgotten, a minute at once.
const KEPT: Duration = Duration::from_mins(15);
const SLOT: Duration = Duration::from_mins(1);

/// Waits are told apart where one is longer than the other by a tenth: the bounds in seconds are a geometric row, from a
/// millisecond on.
const LEAST: f64 = 0.001;
const STEP: f64 = 1.1;
/// Up to two hours.
const BOUNDS: usize = 167;

/// The waits of one provider by lane.
pub(super) type ByLane = [Waits; 2];

/// All providers'.
#[derive(Debug, Clone, Default)]
pub(super) struct AllWaits(Arc<Mutex<BTreeMap<String, ByLane>>>);

/// The waits of the last quarter of an hour.
#[derive(Debug, Clone, Default)]
pub(super) struct Waits(Arc<Mutex<VecDeque<Slot>>>);

/// Those of a minute.
#[derive(Debug)]
struct Slot {
    begun: Moment,
    counts: Box<[u32; BOUNDS + 1]>,
}

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
    /// One more, which ends now.
    pub fn note(&self, waited: Duration, now: Moment) {
        let mut slots = self.recent(now);
        let begun = slots.back().map(|slot| slot.begun);
        if begun.is_none_or(|begun| now.since(begun) >= SLOT) {
            slots.push_back(Slot {
                begun: now,
                counts: Box::new([0; BOUNDS + 1]),
            });
        }
        if let Some(slot) = slots.back_mut() {
            slot.counts[number(waited)] += 1;
        }
    }

    /// How long they took; none where there were none.
    pub fn waited(&self, now: Moment) -> Option<Waited> {
        let mut counts = [0_u64; BOUNDS + 1];
        for slot in &*self.recent(now) {
            for (all, count) in counts.iter_mut().zip(slot.counts.iter()) {
                *all += u64::from(*count);
            }
        }
        let count = counts.iter().sum();
        (count > 0).then(|| Waited {
            count,
            p50_seconds: quantile(&counts, count.div_ceil(2)),
            p99_seconds: quantile(&counts, (count * 99).div_ceil(100)),
        })
    }

    fn recent(&self, now: Moment) -> MutexGuard<'_, VecDeque<Slot>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while slots
            .pop_front_if(|slot| now.since(slot.begun) >= KEPT)
            .is_some()
        {}
        slots
    }
}

/// The bound that so many of them keep.
fn quantile(counts: &[u64], rank: u64) -> f64 {
    let mut seen = 0;
    let reached = counts.iter().position(|count| {
        seen += count;
        seen >= rank
    });
    bound(reached.unwrap_or(BOUNDS))
}

/// Which bound a wait keeps; the last is for what is longer than all.
fn number(waited: Duration) -> usize {
    let seconds = waited.as_secs_f64();
    let bounds = (0..BOUNDS).map(bound);
    bounds.take_while(|bound| *bound < seconds).count()
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

    #[test]
    fn quantiles_are_within_a_tenth() {
        let waits = Waits::default();
        assert_eq!(waits.waited(at(0)), None);
        for tenths in 1..=100 {
            waits.note(Duration::from_millis(tenths * 100), at(0));
        }
        let waited = waits.waited(at(0)).unwrap();
        assert_eq!(waited.count, 100);
        assert!((5.0..=5.5).contains(&waited.p50_seconds), "{waited:?}");
        assert!((9.9..=10.9).contains(&waited.p99_seconds), "{waited:?}");
        waits.note(Duration::from_hours(100), at(1));
        assert!(waits.waited(at(1)).is_some(), "however long it was");
    }

    #[test]
    fn a_quarter_of_an_hour_is_kept_and_no_more() {
        let waits = Waits::default();
        for minute in 0..60 {
            waits.note(Duration::ZERO, at(60 * minute));
            assert!(waits.0.lock().unwrap().len() <= 15);
        }
        assert_eq!(waits.waited(at(59 * 60)).unwrap().count, 15);
        assert!(waits.waited(at(59 * 60)).unwrap().p99_seconds < 1e-9);
        assert_eq!(waits.waited(at(59 * 60 + 15 * 60)), None);
    }
}
