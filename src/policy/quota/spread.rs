//! How bulk spreads its requests over the window, so that a call finds a permission whenever it comes.
//!
//! # The argument
//! A permission comes back TTL after it was taken. So what a window spends in one rush comes back in one rush, and
//! who comes in between waits for the next: up to a whole window. Where permissions are taken evenly they come back
//! evenly, one each TTL / N, and keep doing so. Calls come when they like; it is bulk that makes the sum even. It
//! obeys three rules, and each is a question to queues that all workers share, so it holds for the fleet:
//!
//! 1. **Spacing.** After a bulk request the next may go [`Terms::spacing`] later. A third queue,
//!    `PREFIX.quota.NAME.spread`, has room for one message, which expires then; who is refused there waits. The rate
//!    is that of the permissions which calls leave: of all that count now, the ledgers tell which are bulk's, so the
//!    rest are calls'. While the window still fills, the calls' share of it so far is taken for their share of the
//!    whole; bulk stays a little below what that leaves it (`CAREFUL`). Once nearly all permissions are out, each
//!    that comes back is to be used: the more of them lie idle, the faster (`EAGER`).
//! 2. **Headroom.** Bulk leaves some permissions for the calls of the next moments: none while there are no calls,
//!    one for few, the more the larger their part ([`Terms::headroom`]). While a call waits anywhere in the fleet the
//!    ledger is full, and the permission that comes back is within the headroom: bulk does not take it, whoever waits
//!    there, and the call does. That needs no word between workers.
//! 3. **Burst.** Where all that waits here and all that counts fit in [`BURST`], nothing has to be spread: an idle
//!    provider is asked for a few jobs at once.
//!
//! A call's wait is then that of a queue which is served once each TTL / N (M/D/1), less the headroom: below half of
//! the quota its 99th percentile is about three such intervals, and mostly it waits for nothing. What that costs is
//! the headroom alone, about one permission in fifty.
//!
//! Other ways, in the model (`tests/fleet.rs`: the 99th percentile of calls' waits in mean intervals, beside the part
//! of the quota that is used; calls at random moments, 60 windows, 8 runs):
//!
//! | way | 50 per 10 s, calls a third | 200 per min, a third | 50 per 10 s, calls nine tenths |
//! |---|---|---|---|
//! | bulk's share alone, in a rush | 213, 0.966 | 735, 0.966 | 1050, 0.966 |
//! | a headroom of a 25th, in a rush | 66, 0.942 | 280, 0.946 | 952, 0.966 |
//! | a window of a tenth of the quota besides, headroom 1 | 7.8, 0.943 | 105, 0.966 | 620, 0.962 |
//! | one each mean interval, headroom 1 | 3.7, 0.938 | 22.7, 0.963 | 50, 0.958 |
//! | this | 2.4, 0.925 | 0.3, 0.948 | 30, 0.922 |
//!
//! A window besides lets a rush through, which comes back; one each interval counts the calls twice, so the window is
//! full before its end.
//!
//! Where a quota is counted in several ledgers, each spreads its part by itself: the rates add up, and a call goes to
//! whichever has room.
//!
//! None of this is what the limit rests on. Whatever bulk is let through here, it asks the ledgers as before; two
//! workers that look at the same moment may at worst use the headroom. A worker that is killed or frozen holds
//! nothing back, since messages expire by themselves.

use std::time::Duration;

use super::Terms;

/// So many requests in bulk go at once where nothing else counts.
pub const BURST: usize = 20;

/// Requests in bulk that are due within this time of each other are let go together: none could be told apart by
/// whoever waits, and each costs the broker some questions.
const TOGETHER: Duration = Duration::from_millis(40);

/// Most of them.
const MOST_TOGETHER: u32 = 256;

/// Of the rate that calls leave, bulk takes this part while the window fills: calls may become more.
const CAREFUL: f64 = 0.83;

/// A window fills while more than this part of it is idle. It is more than care itself leaves idle, which therefore
/// ends.
const STILL_FILLS: f64 = 0.2;

/// What lies idle of a window that is nearly full makes bulk this much faster, by as much of the root of the quota as
/// that is.
const EAGER: f64 = 1.0;

/// Bulk is never faster than its whole share by more than this.
const FASTEST: f64 = 1.3;

/// However many calls there were, bulk's rate is at least such a part of the quota's.
const LEAST_PART: f64 = 20.0;

/// Spacing is this much shorter than even, which makes up for the time between asking and being heard, and for what
/// was left unused before.
const PROMPT: f64 = 0.9;

/// Permissions that count at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All.
    pub all: u32,
    /// Of them bulk's.
    pub bulk: u32,
}

/// Whether a request in bulk may ask for its permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// What is left is for calls, or there is nothing left.
    Reserved,
    /// If no other goes before it; the next is this much later.
    Spaced(Duration),
    /// At once; the next, unless it may do so too, is this much later.
    AtOnce(Duration),
}

impl Terms {
    /// How many may go within their common spacing.
    #[must_use]
    pub fn together(&self) -> u32 {
        let due = TOGETHER.as_nanos() / self.pace.as_nanos().max(1);
        u32::try_from(due)
            .unwrap_or(MOST_TOGETHER)
            .clamp(1, MOST_TOGETHER)
    }

    /// No spacing is longer.
    #[must_use]
    pub fn longest_spacing(&self) -> Duration {
        self.ttl
            .mul_f64(LEAST_PART / CAREFUL / f64::from(self.requests.max(1)))
            * self.together()
    }

    /// For one of so many who wait here in bulk.
    #[must_use]
    pub fn turn(&self, counts: Counts, waiting: usize) -> Turn {
        let idle = self.idle(counts);
        if idle <= 0.0 {
            return Turn::Reserved;
        }
        let spacing = self.spacing(counts);
        // All ledgers of a quota are used alike, so that what counts in one tells what counts in all, within one each.
        let all = counts.all.saturating_mul(self.parts) as usize;
        if waiting.saturating_add(all) < BURST + self.parts as usize {
            Turn::AtOnce(spacing)
        } else {
            Turn::Spaced(spacing)
        }
    }

    /// Permissions that bulk leaves for the calls to come.
    #[must_use]
    pub fn headroom(&self, counts: Counts) -> u32 {
        let calls = counts.all.saturating_sub(counts.bulk);
        if calls == 0 {
            return 0;
        }
        let more = u64::from(calls) * u64::from(calls) / (9 * u64::from(self.requests.max(1)));
        let headroom = u32::try_from(more).unwrap_or(u32::MAX).saturating_add(1);
        headroom.min(self.requests / 4)
    }

    /// Time from one request in bulk to the next, or to as many as go together.
    #[must_use]
    pub fn spacing(&self, counts: Counts) -> Duration {
        let (requests, all) = (f64::from(self.requests), f64::from(counts.all));
        let calls = f64::from(counts.all.saturating_sub(counts.bulk));
        let left_by_calls = requests * (1.0 - calls / (all + 1.0));
        let rate = left_by_calls
            .max((requests - all) / 3.0)
            .max(requests / LEAST_PART);
        let (idle, nearly) = (self.idle(counts).max(0.0), requests.sqrt());
        let rate = if idle < nearly {
            rate * (1.0 + EAGER * idle / nearly)
        } else if idle > requests * STILL_FILLS {
            rate * CAREFUL
        } else {
            rate
        };
        let rate = rate.min(f64::from(self.bulk) * FASTEST);
        self.ttl.mul_f64(PROMPT / rate) * self.together()
    }

    /// Permissions that bulk could take now.
    fn idle(&self, counts: Counts) -> f64 {
        let of_all =
            f64::from(self.requests) - f64::from(self.headroom(counts)) - f64::from(counts.all);
        let of_bulk = f64::from(self.bulk) - f64::from(counts.bulk);
        of_all.min(of_bulk)
    }
}
