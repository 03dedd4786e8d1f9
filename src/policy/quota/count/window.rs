//! One window of a provider's count.

use std::time::Duration;

use super::{
    Said,
    trust::{Heard, Trust},
};
use crate::{clock::Moment, config::QuotaLimit, lane::Lane};

/// Of the requests that others make, fewer than so many in a window prove nothing: answers overtake each other, and
/// what another worker spends is known a little later. Of a large limit this part.
const EVIDENCE: i64 = 3;
const EVIDENT_PART: i64 = 50;

/// What is left again, as a part of the limit, where a window has begun.
const BEGINS: i64 = 10;

/// Two words of one window differ by no more in what they say of its end: most are whole seconds.
const SAME_END: Duration = Duration::from_millis(1500);

/// Soonest that bulk looks again.
const SOON: Duration = Duration::from_millis(10);

/// What the configuration says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    requests: u32,
    per: Duration,
    reserve: f64,
    /// Nothing is held back for longer.
    pub longest: Duration,
}

impl Bounds {
    pub fn new(limit: &QuotaLimit, longest: Duration) -> Self {
        Self {
            requests: limit.requests,
            per: limit.per,
            reserve: limit.reserve,
            longest,
        }
    }
}

/// What one answer said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    remaining: u32,
    limit: Option<u32>,
    /// When its request went.
    sent: Moment,
    /// When the window ends.
    end: Moment,
    /// What the fleet had spent when its request went.
    spent: i64,
    length: Duration,
    /// As the provider states it, else the longest time to its end that was seen: our own says nothing of its rate.
    rated: Option<Duration>,
}

/// What is known of a window.
#[derive(Debug)]
pub(super) struct Window {
    reading: Option<Reading>,
    /// The longest that it was ever said to last, and nothing at first.
    longest_seen: Duration,
    /// When it was first heard of, and what was left then, with all that the fleet had spent: others alone make that
    /// less.
    first: Option<(Moment, i64)>,
    /// The least that this was.
    least: i64,
    /// Requests of others a second, as the windows before had them.
    before: Option<f64>,
    /// And now.
    others: f64,
    trust: Trust,
}

/// What holds requests back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Requests that are left, as the provider said last.
    pub remaining: u32,
    /// Of so many.
    pub limit: Option<u32>,
    /// For how long at most.
    pub wait: Duration,
    /// Whether somebody else was seen to use it.
    pub shared: bool,
}

impl Reading {
    /// Whatever is said, the window ends within its length.
    pub fn new(
        said: &Said,
        sent: Moment,
        spent: i64,
        [length, seen]: [Duration; 2],
        bounds: &Bounds,
        now: Moment,
    ) -> Self {
        let lasts = said.reset.unwrap_or(length);
        let most = said.length.unwrap_or(Duration::MAX).min(bounds.longest);
        Self {
            remaining: said.remaining,
            limit: said.limit,
            sent,
            end: now.after(lasts.min(most)),
            spent,
            length,
            rated: said.length.or((!seen.is_zero()).then_some(seen)),
        }
    }

    /// What is left, with all that the fleet has spent.
    fn whole(&self) -> i64 {
        self.spent.saturating_add(self.remaining.into())
    }

    /// Whether it has fewer requests a second than ours.
    fn is_slower(&self, bounds: &Bounds) -> bool {
        let limit = f64::from(self.limit.unwrap_or(bounds.requests));
        let rated = self.rated.unwrap_or(bounds.per).as_secs_f64();
        limit * bounds.per.as_secs_f64() < f64::from(bounds.requests) * rated
    }

    /// Whether it tells once more what was told: that this window has none left. Ends are told in whole seconds, so
    /// that what went shortly before one may be of the next.
    fn is_of_the_empty(&self, known: &Self) -> bool {
        let slack = SAME_END.min(self.length / 4);
        let both_empty = self.remaining == 0 && known.remaining == 0;
        both_empty && self.sent.after(slack) < known.end
    }

    /// What is left of it, now that the fleet has spent so much.
    fn left(&self, spent: i64) -> i64 {
        self.whole() - spent
    }
}

impl Window {
    pub fn new() -> Self {
        Self {
            reading: None,
            longest_seen: Duration::ZERO,
            first: None,
            least: i64::MAX,
            before: None,
            others: 0.0,
            trust: Trust::default(),
        }
    }

    /// How long it is: as it says, else the longest that it was seen to last, and no less than our own. And the longest
    /// that it was seen to last.
    pub fn length(&mut self, said: &Said, bounds: &Bounds) -> [Duration; 2] {
        let seen = said.reset.unwrap_or_default().min(bounds.longest);
        self.longest_seen = self.longest_seen.max(seen);
        let own = bounds.per.min(bounds.longest);
        let length = said.length.unwrap_or(self.longest_seen.max(own));
        [length, self.longest_seen]
    }

    /// A word of it. Says whether it is disbelieved from now on.
    pub fn hear(&mut self, mut reading: Reading, heard: Heard, spent: i64, now: Moment) -> bool {
        let (empty, times) = (reading.remaining == 0, [reading.sent, now, reading.end]);
        let turned = self.trust.hear(heard, empty, times);
        let known = self.reading.filter(|known| known.end > now);
        if let Some(known) = known
            && reading.sent < known.sent
        {
            let apart = reading.end.since(known.end) + known.end.since(reading.end);
            if apart > SAME_END || reading.left(spent) >= known.left(spent) {
                return turned;
            }
        }
        if let Some(known) = known
            && heard == Heard::Told
            && reading.is_of_the_empty(&known)
        {
            reading.end = reading.end.min(known.end);
        }
        self.estimate(&reading);
        self.reading = Some(reading);
        turned
    }

    /// A request was refused for its number, whatever else was said.
    pub fn refused(&mut self, sent: Moment) {
        self.trust.refused(sent);
    }

    /// Whether it is passed over.
    pub fn is_disbelieved(&self) -> bool {
        self.trust.is_disbelieved()
    }

    /// One is about to be permitted.
    pub fn reserve(&mut self) {
        self.trust.reserve();
    }

    /// It is, or is not after all.
    pub fn settle(&mut self, spent: bool, now: Moment) {
        self.trust.settle(spent, now);
    }

    /// How fast others use it.
    fn estimate(&mut self, reading: &Reading) {
        let whole = reading.whole();
        let begins = (i64::from(reading.limit.unwrap_or(0)) / BEGINS).max(EVIDENCE);
        let (begun, first) = match self.first {
            Some(first) if whole < self.least.saturating_add(begins) => first,
            before => {
                if before.is_some() {
                    self.before = Some(self.others);
                }
                self.least = whole;
                (reading.sent, whole)
            }
        };
        self.first = Some((begun, first));
        self.least = self.least.min(whole);
        let taken = first - whole;
        let evident = (i64::from(reading.limit.unwrap_or(0)) / EVIDENT_PART).max(EVIDENCE);
        let taken = if taken < evident { 0.0 } else { taken as f64 };
        // What was before counts as a quarter of a window.
        let earlier = match self.before {
            Some(_) => reading.length.as_secs_f64() / 4.0,
            None => 0.0,
        };
        let elapsed = reading.sent.since(begun).as_secs_f64();
        let least = reading.length.as_secs_f64() / 20.0;
        let seen = taken + self.before.unwrap_or_default() * earlier;
        self.others = seen / (elapsed + earlier).max(least).max(f64::MIN_POSITIVE);
    }

    /// Until when a request is held back, where the fleet spent so much and may have spent `unheard` besides.
    pub fn held_until(
        &self,
        lane: Lane,
        spent: i64,
        unheard: f64,
        bounds: &Bounds,
        now: Moment,
    ) -> Option<Moment> {
        let reading = self.current(now)?;
        if self.trust.lets_one_go(now) {
            return None;
        }
        let taken = self.others * now.since(reading.sent).as_secs_f64() + unheard;
        let left = reading.left(spent) as f64 - taken;
        // Others come when they like: so many more may have come, but hardly more than these.
        if left - 2.0 * taken.sqrt() < 1.0 {
            // What is taken since is a guess, and where nobody asks it stays one: calls do not wait for it any longer
            // than our own window.
            let asks = reading.sent.after(bounds.per);
            return match lane {
                Lane::Interactive if reading.left(spent) < 1 => Some(reading.end),
                Lane::Interactive => (asks > now).then_some(asks.min(reading.end)),
                Lane::Bulk => Some(reading.end),
            };
        }
        let limit = reading.limit.unwrap_or(bounds.requests);
        let is_lowered = self.others > 0.0 || reading.is_slower(bounds);
        if lane == Lane::Interactive || !is_lowered {
            return None;
        }
        // What is to be left, for each second that the window lasts.
        let reserve = bounds.reserve * f64::from(limit) / reading.length.as_secs_f64();
        let each = self.others + reserve;
        let lasts = reading.end.since(now).as_secs_f64();
        let wait = lasts - (left - 1.0) / each;
        if wait <= 0.0 || !wait.is_finite() {
            return None;
        }
        let wait = Duration::try_from_secs_f64(wait).unwrap_or_default();
        Some(now.after(wait.max(SOON)).min(reading.end))
    }

    /// What it says, while that counts.
    pub fn told(&self, now: Moment) -> Option<Throttle> {
        let reading = self.current(now)?;
        Some(Throttle {
            remaining: reading.remaining,
            limit: reading.limit,
            wait: reading.end.since(now),
            shared: self.others > 0.0,
        })
    }

    fn current(&self, now: Moment) -> Option<&Reading> {
        let believed = self.reading.as_ref();
        let believed = believed.filter(|_| !self.trust.is_disbelieved());
        believed.filter(|reading| reading.end > now)
    }
}

/// Of what is counted, to be taken off.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX / 2)
}
