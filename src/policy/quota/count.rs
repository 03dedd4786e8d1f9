//! The provider's own count: what its answers say is left, where somebody else uses the same token or its limit is
//! lower than ours. It lowers what this fleet spends, and raises nothing: a request needs the ledger's permission as
//! before.
//!
//! # What is known
//! An answer says that R requests were left when the provider counted the one that it answers, and when its window
//! ends. Of R the fleet has spent since what was permitted since: by this worker, which knows it; and by others, who
//! tell each other what they read and how much they spent, several times a second. So
//!
//! `left = R - spent since by the fleet - what others take meanwhile`
//!
//! where others are whoever does not tell us: another client, or a worker of the fleet that is not heard. How fast they
//! are is what `R + all that the fleet spent` loses: the fleet's own requests cancel out. For the time since the
//! answer's request went, that many are taken as gone, and twice the root of them more, since others come when they
//! like.
//!
//! # What follows
//! - A call may go while one is left.
//! - Bulk leaves besides what others will take until the window's end, and the calls' reserve of what is left of the
//!   window; but only where somebody else was seen, or the limit is lower than ours. Where nobody else is there, nothing
//!   is held back but what the provider would refuse.
//! - Whoever may not go waits for another answer, or for the end of the window: then nothing is known, and whoever waits may
//!   go, as the ledger permits. A call that waits only for what others may have taken waits for no longer than our own
//!   window since the last word.
//!
//! # What is not believed
//! - A word that is older than another of the same window, unless it leaves less: an answer may be long under way.
//! - A window that lasts longer than it says of itself, or than `max_pause`: nothing is held back for longer than that.
//! - A count that serves while it says that nothing is left. Where three windows in a row begin with nothing left, one
//!   request is let go at once, before the stated end. If it is served, the count is passed over until a request is refused
//!   (429), and others are not told of it; if it is refused, the count is right (a limit of one, a window that rolls, a
//!   bucket), and twice as many windows may begin so until it is asked again.
//! - Another worker's word that a window without any left ends later than was said at first.
//!
//! # The error
//! What a worker does not know of another is what that spent since it last told: as much as it spends in the time
//! between two words, a tenth of a second, and on their way. A worker that is not heard at all counts among the others.
//! Where a provider counts several endpoints apart under one name, the last word counts for all of them.

mod trust; // whether its count is believed
mod window; // one window

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{clock::Moment, config::QuotaLimit, lane::Lane};
use trust::Heard;
pub use window::Throttle;
use window::{Bounds, Reading, Window};

/// What an answer says of one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The window's name: of several, each has another.
    pub window: String,
    /// Requests that are left.
    pub remaining: u32,
    /// Requests that it has.
    pub limit: Option<u32>,
    /// When it ends, from the answer on.
    pub reset: Option<Duration>,
    /// How long it is.
    pub length: Option<Duration>,
}

impl Said {
    /// The same, told so much later: the window's end is nearer. None where it is over by now, or where its end is not
    /// told and the word is too old for it to be reckoned from now.
    #[must_use]
    pub fn told_later(mut self, by: Duration) -> Option<Self> {
        match self.reset {
            Some(reset) => self.reset = Some(reset.checked_sub(by)?),
            None if by > LONGEST_SILENCE => return None,
            None => {}
        }
        Some(self)
    }
}

/// Windows that are kept in mind; a provider that names more is none that can be followed.
const MOST_WINDOWS: usize = 8;

/// Own requests whose times are remembered.
const MOST_RECENT: usize = 4096;

/// A worker that said nothing for so long may be gone.
const HEARD_FOR: Duration = Duration::from_mins(10);

/// A worker's word is no older than this, or it spends nothing.
const LONGEST_SILENCE: Duration = Duration::from_secs(1);

/// One provider's count, as this worker knows it.
#[derive(Debug)]
pub struct Count {
    bounds: Bounds,
    windows: BTreeMap<String, Window>,
    /// Requests that this worker was permitted since its start.
    spent: u64,
    /// Those that are about to be.
    reserved: u32,
    /// When the last of them were permitted.
    recent: VecDeque<Moment>,
    others: BTreeMap<u64, Other>,
    /// What those spent, since they were first heard, who are heard no more.
    retired: i64,
}

/// What is known of another worker.
#[derive(Debug, Clone, Copy)]
struct Other {
    /// What it had spent when it was first heard: of what was before nothing that is left tells.
    base: u64,
    spent: u64,
    at: Moment,
    /// Requests a second.
    rate: f64,
}

impl Other {
    /// What it spent since it was first heard.
    fn counted(&self) -> i64 {
        window::signed(self.spent) - window::signed(self.base)
    }
}

/// When an answer's request went, and what was spent by then.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// When.
    pub at: Moment,
    /// As [`Count::spent`] said.
    pub spent: u64,
    /// What others had spent, as far as it was known.
    pub others: i64,
}

impl Count {
    /// Of a provider with this quota, whose word holds for no longer than `longest`.
    #[must_use]
    pub fn new(limit: &QuotaLimit, longest: Duration) -> Self {
        Self {
            bounds: Bounds::new(limit, longest),
            windows: BTreeMap::new(),
            spent: 0,
            reserved: 0,
            recent: VecDeque::new(),
            others: BTreeMap::new(),
            retired: 0,
        }
    }

    /// Another quota counts.
    pub fn change(&mut self, limit: &QuotaLimit) {
        self.bounds = Bounds::new(limit, self.bounds.longest);
    }

    /// What a request that goes now will be known by.
    #[must_use]
    pub fn sent(&self, now: Moment) -> Sent {
        Sent {
            at: now,
            spent: self.spent,
            others: self.spent_by_others(),
        }
    }

    /// Whether others are to be told of this window.
    #[must_use]
    pub fn tells(&self, window: &str) -> bool {
        let window = self.windows.get(window);
        window.is_some_and(|window| !window.is_disbelieved())
    }

    /// Requests that this worker was permitted so far.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.spent
    }

    /// One is about to be permitted: nobody else is to have it.
    pub fn reserve(&mut self) {
        self.reserved += 1;
        self.windows.values_mut().for_each(Window::reserve);
    }

    /// It is, or is not after all.
    pub fn settle(&mut self, spent: bool, now: Moment) {
        self.reserved = self.reserved.saturating_sub(1);
        for window in self.windows.values_mut() {
            window.settle(spent, now);
        }
        if !spent {
            return;
        }
        self.spent += 1;
        self.recent.push_back(now);
        if self.recent.len() > MOST_RECENT {
            self.recent.pop_front();
        }
    }

    /// An answer to a request of this worker's, and whether it was served: not where it was refused for its number
    /// (429); what failed otherwise says nothing. Says whether the window is passed over from now on.
    pub fn hear(&mut self, said: &Said, sent: Sent, served: Option<bool>, now: Moment) -> bool {
        let spent = window::signed(sent.spent) + sent.others;
        self.note(said, sent.at, spent, Heard::own(served), now)
    }

    /// A request of this worker's was refused for its number: whatever was passed over counts again.
    pub fn refused(&mut self, sent: Sent) {
        for window in self.windows.values_mut() {
            window.refused(sent.at);
        }
    }

    /// What another worker read, of a request that went so long ago; by then it had spent so much, and by now so much.
    pub fn hear_of(
        &mut self,
        said: &Said,
        by: u64,
        ago: Duration,
        [spent_then, spent]: [u64; 2],
        now: Moment,
    ) {
        self.retire(now);
        let known = self.others.get(&by).copied();
        let rate = match known {
            Some(other) if spent >= other.spent && now > other.at => {
                let rate = (spent - other.spent) as f64 / now.since(other.at).as_secs_f64();
                f64::midpoint(other.rate, rate)
            }
            _ => 0.0,
        };
        let other = Other {
            base: known.map_or(spent, |known| known.base),
            spent: spent.max(known.map_or(0, |known| known.spent)),
            at: now,
            rate,
        };
        self.others.insert(by, other);
        let sent = Moment::default().after(now.since(Moment::default()).saturating_sub(ago));
        let since = self.recent.iter().rev().take_while(|own| **own > sent);
        let own_then = self.spent.saturating_sub(since.count() as u64);
        let its = window::signed(spent_then) - window::signed(other.base);
        let others_then = self.spent_by_others() - other.counted() + its;
        let spent_then = window::signed(own_then) + others_then;
        self.note(said, sent, spent_then, Heard::Told, now);
    }

    fn note(&mut self, said: &Said, sent: Moment, spent: i64, heard: Heard, now: Moment) -> bool {
        let is_known = self.windows.contains_key(&said.window);
        if said.limit == Some(0) || (!is_known && self.windows.len() >= MOST_WINDOWS) {
            return false;
        }
        let spent_now = window::signed(self.spent) + self.spent_by_others();
        let bounds = &self.bounds;
        let window = self.windows.entry(said.window.clone());
        let window = window.or_insert_with(Window::new);
        let reading = Reading::new(said, sent, spent, window.length(said, bounds), bounds, now);
        window.hear(reading, heard, spent_now, now)
    }

    /// Until when a request of this lane is held back; none where it may go. It is to be asked again then, and after
    /// each word.
    #[must_use]
    pub fn held_until(&self, lane: Lane, now: Moment) -> Option<Moment> {
        let (gone, unheard) = (self.gone(), self.unheard(now));
        let of = |window: &Window| window.held_until(lane, gone, unheard, &self.bounds, now);
        self.windows.values().filter_map(of).max()
    }

    /// What holds requests of this lane back, to be told.
    #[must_use]
    pub fn throttle(&self, lane: Lane, now: Moment) -> Option<Throttle> {
        let (gone, unheard) = (self.gone(), self.unheard(now));
        let of = |window: &Window| {
            let until = window.held_until(lane, gone, unheard, &self.bounds, now)?;
            Some((until, window.told(now)?))
        };
        let throttles = self.windows.values().filter_map(of);
        let last = throttles.max_by_key(|(until, _)| *until);
        last.map(|(_, throttle)| throttle)
    }

    /// The least that is left of any window, as it was said last.
    #[must_use]
    pub fn least_remaining(&self, now: Moment) -> Option<u32> {
        let told = self.windows.values().filter_map(|window| window.told(now));
        told.map(|told| told.remaining).min()
    }

    /// What the fleet spent or is about to, as far as it is known.
    fn gone(&self) -> i64 {
        let own = self.spent + u64::from(self.reserved);
        window::signed(own) + self.spent_by_others()
    }

    fn spent_by_others(&self) -> i64 {
        self.retired + self.others.values().map(Other::counted).sum::<i64>()
    }

    /// Who is heard no more spends no more; what it spent stays spent.
    fn retire(&mut self, now: Moment) {
        let gone = |_: &u64, other: &mut Other| now.since(other.at) >= HEARD_FOR;
        for (_, other) in self.others.extract_if(.., gone) {
            self.retired += other.counted();
        }
    }

    /// What other workers may have spent since they told.
    fn unheard(&self, now: Moment) -> f64 {
        let of = |other: &Other| {
            let silence = now.since(other.at);
            if silence > LONGEST_SILENCE {
                return 0.0;
            }
            other.rate * silence.as_secs_f64()
        };
        self.others.values().map(of).sum()
    }
}

#[cfg(test)]
mod tests;
