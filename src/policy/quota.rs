//! The quota's arithmetic: how long a permission is good, how many there are, when to ask again. No clock, no
//! broker; both come as arguments.
//!
//! # The argument
//! A *ledger* is a queue that holds at most N messages, refuses more, and forgets each after TTL. One message
//! stored is one permission for one HTTP request. For one permission, in this order:
//!
//! | moment | what happens |
//! |---|---|
//! | `asked` | the worker reads its clock, then publishes |
//! | `stored` | the broker takes the message; it stays until `stored + TTL` |
//! | `confirmed` | the worker hears of it; a nack, a return or silence is no permission |
//! | `written` | the worker's clock shows at most `asked + validity`, and the request goes into the socket |
//! | `seen` | the provider has the request, at most `flight` later |
//!
//! Since `asked <= stored <= confirmed <= written <= seen` and `written <= asked + validity`, every request is
//! seen between `stored` and `stored + validity + flight`. Of N + 1 permissions the first stored had left the
//! ledger before the last was stored, for otherwise there was no room: they were stored TTL or more apart. So
//! the provider saw these two at least `TTL - validity - flight` apart. TTL is `per + validity + flight`, and what
//! clocks of different rates make of them: **no window of `per` holds N + 1 requests.** Nothing in this speaks of
//! how many workers there are, so killing, starting or adding some changes nothing:
//!
//! - killed before `stored`: nothing was taken; after it: one permission is lost until its TTL, none is won;
//! - frozen or suspended anywhere before `written`: after the thaw the clock, which does not stop, shows that the
//!   permission is void. It is read by the HTTP client when it puts the request's head into its buffer
//!   (`provider::http`), after the wait for a connection, DNS, connect and TLS, so none of these belongs to `flight`;
//! - whoever asked has given up by then: the next who asks has it, with the same `asked`;
//! - the confirm is lost with its connection: the permission is taken for lost, as after a kill;
//! - the broker's node is killed, and comes back: the queue is durable and its messages are persistent, each with
//!   its time of expiry, and it confirms only what it has written;
//! - the ledger is away with its node, or deleted: a publish comes back as unroutable, which is no permission;
//! - clocks apart: each of the three counts lengths of time by its own, and none reads what another wrote.
//!
//! # HTTP/2
//! The row `written` holds where the look at the clock and the write are one step. Over HTTP/2 they are not: one task
//! of the library's takes the request, which is when its body may look at the clock, and queues the frame; another
//! writes it. Nothing outside the library comes between them, for TLS lies below both. A process that is frozen in that
//! place sends the frame after the thaw, however late: in a window that others have filled meanwhile. So
//!
//! - a quota of all workers together (`scope = "broker"`) is kept over HTTP/1.1, whatever the provider offers;
//! - a quota of one worker may be spoken over HTTP/2. A request that no connection has taken when its permission is void
//!   is given up, so waits for a connection, or for one of the streams that the provider allows, belong to nothing. From
//!   there to the socket it is one turn of the runtime, which `flight` covers. What is given up is this: where the process
//!   is frozen for longer than `flight` within that turn, what it had just queued is seen late;
//! - a request that the provider says it did not process (RFC 9113 §8.7) is made again by the same permission while
//!   that is good: of one permission at most one request is processed.
//!
//! # What it assumes
//! - From the socket to the provider a request takes less than `flight` (a sixtieth of the window: 1 s at one
//!   minute). Where that is a second or more, `TCP_USER_TIMEOUT` ends what the network holds up longer.
//! - The process is not stopped in the microseconds between that last look at the clock and the write.
//! - The broker's clock, which is the wall clock of its machine, is not set forward while permissions are out, and
//!   clocks go at the same rate to a thousandth. Set back, it lets less through.
//! - The broker's disk keeps what was confirmed; nobody consumes from, purges or deletes a ledger at work.
//! - Workers under one prefix and NAME are configured alike; the broker refuses a ledger with other arguments.
//!
//! # Lanes
//! Bulk first needs a permission of a second ledger, with room for N less the reserve. So bulk requests alone
//! never fill a window, and calls find room. Interactive requests use the main ledger alone. At the broker the two
//! are `PREFIX.quota.NAME` and `PREFIX.quota.NAME.bulk`. The second is left out where it would be as large.
//!
//! # Waiting
//! A full ledger need not be asked again and again: what it forgets it passes on to the exchange `PREFIX.room`
//! (dead lettering, in the broker's own hands), and every worker hears of it at that moment. That is a hint of when
//! to ask and nothing more: the answer is the ledger's alone. Where no hint comes, it is asked about once a second.
//!
//! # When the quota is changed
//! A ledger is declared with its room and its TTL, and the broker refuses it with others. So a worker with another
//! quota replaces a ledger only when it is empty, when nothing it counted matters any more; until then it does not
//! start. One that somebody deletes is declared anew by the workers after TTL, when all that it counted is past.

use std::{collections::VecDeque, time::Duration};

use crate::{clock::Moment, config::QuotaLimit, job::Lane};

/// Validity and flight, each as a part of the window. Together they are what strictness costs: a thirtieth. They
/// stand in the ledger's arguments, so that workers which reckon otherwise find each other's ledger foreign.
const PART: u32 = 60;

/// Bounds of `validity`: a busy broker's confirm, and the longest that any broker and connect should need.
const VALIDITY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(2500));

/// Bounds of `flight`: a packet that is sent again after 200 ms, and the longest that a network should need.
const FLIGHT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(2500));

/// Clocks may differ in rate by one part in so many.
const CLOCK_RATE: u32 = 1000;

/// Of a larger quota the permissions given in the same such part of the window are counted together: less to keep.
const MOST_ALONE: u32 = 1000;

/// Publishes at once, for each lane of one worker, while the ledger has room.
const WIDEST: usize = 16;

/// Bulk publishes as many at once as the quota's mean rate brings in this time, but at least [`NARROWEST`].
const BULK_RUSH: Duration = Duration::from_millis(20);

/// One would wait for each confirm in turn.
const NARROWEST: usize = 2;

/// Longest wait before a full ledger is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Shortest, if nothing better is known.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// Bulk asks a full ledger this much later than interactive jobs do, so that they are first there too.
const COURTESY: Duration = Duration::from_millis(15);

/// Where bulk has got nothing for this part of the ledger's time, it is courteous no more: it must not starve.
const PATIENCE_PART: u32 = 8;

/// A quota, worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Permissions in the ledger at once.
    pub requests: u32,
    /// Of them those that bulk may have.
    pub bulk: u32,
    /// How long one stays in the ledger.
    pub ttl: Duration,
    /// How long after it was asked for it may be used.
    pub validity: Duration,
    /// How long a request may be under way to the provider.
    pub flight: Duration,
    /// The mean time between two requests of the quota.
    pub pace: Duration,
}

impl Terms {
    /// Of a configured quota.
    #[must_use]
    pub fn of(limit: &QuotaLimit) -> Self {
        let part = limit.per / PART;
        let (validity, flight) = (
            part.clamp(VALIDITY.0, VALIDITY.1),
            part.clamp(FLIGHT.0, FLIGHT.1),
        );
        let margin = validity + flight;
        // The broker's clock may be fast, and the worker's, which counts validity and flight, slow.
        let drift = (limit.per + 3 * margin) / CLOCK_RATE;
        Self {
            requests: limit.requests,
            bulk: bulk_share(limit),
            ttl: whole_milliseconds(limit.per + margin + drift),
            validity,
            flight,
            pace: limit.per / limit.requests,
        }
    }

    /// Room in the ledger of a lane, where it needs one of its own.
    #[must_use]
    pub fn own_ledger(&self, lane: Lane) -> Option<u32> {
        (lane == Lane::Bulk && self.bulk < self.requests).then_some(self.bulk)
    }

    /// Asks at once in a lane of one worker, at most. A window's permissions come back in a bunch: if bulk took it as
    /// fast as it can, hundreds of its requests would go out at that moment, and stand in the way of calls.
    #[must_use]
    pub fn widest(&self, lane: Lane) -> usize {
        match lane {
            Lane::Interactive => WIDEST,
            Lane::Bulk => {
                let asks = BULK_RUSH.as_nanos() / self.pace.as_nanos().max(1);
                usize::try_from(asks)
                    .unwrap_or(WIDEST)
                    .clamp(NARROWEST, WIDEST)
            }
        }
    }

    /// A permission that was asked for at `asked`.
    pub fn permission(&self, asked: Moment) -> Permission {
        Permission {
            void_from: Some(asked.after(self.validity)),
        }
    }
}

/// Rounded up, as the broker counts time.
fn whole_milliseconds(time: Duration) -> Duration {
    Duration::from_millis(
        u64::try_from(time.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1),
    )
}

/// At least one: bulk is to go on, be the quota ever so small.
fn bulk_share(limit: &QuotaLimit) -> u32 {
    // Within f64's exact integers, and not above `requests`. The hair mends 200 × 0.9 = 179.999….
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and requests"
    )]
    let share = (f64::from(limit.requests) * (1.0 - limit.reserve) + 1e-6).floor() as u32;
    share.clamp(1, limit.requests)
}

/// Leave to send one request, soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "one permission is one request"]
pub struct Permission {
    void_from: Option<Moment>,
}

impl Permission {
    /// Where there is no quota.
    pub const UNLIMITED: Self = Self { void_from: None };

    /// How long it may still be used; none where that is for ever.
    #[must_use]
    pub fn time_left(&self, now: Moment) -> Option<Duration> {
        self.void_from.map(|void_from| void_from.since(now))
    }

    /// Whether it may not be used any more.
    #[must_use]
    pub fn is_void(&self, now: Moment) -> bool {
        self.void_from.is_some_and(|void_from| now >= void_from)
    }
}

/// What somebody who asks for a permission hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Here it is.
    Granted(Permission),
    /// Not now; there is room again at this time at the latest, if that is known.
    Full(Option<Moment>),
    /// The ledger cannot be asked any more.
    Gone,
}

/// The permissions that one worker was given: a ledger of its own, or what it knows of the common one.
#[derive(Debug)]
pub struct Log {
    limit: usize,
    ttl: Duration,
    /// So close together they are forgotten together.
    bunch: Duration,
    given: VecDeque<Bunch>,
    /// How many that is.
    count: usize,
}

/// Permissions that are forgotten together, with the last of them.
#[derive(Debug)]
struct Bunch {
    first: Moment,
    last: Moment,
    count: usize,
}

impl Log {
    /// An empty one.
    #[must_use]
    pub fn new(limit: u32, ttl: Duration) -> Self {
        let bunch = if limit > MOST_ALONE {
            ttl / MOST_ALONE
        } else {
            Duration::ZERO
        };
        Self {
            limit: limit as usize,
            ttl,
            bunch,
            given: VecDeque::new(),
            count: 0,
        }
    }

    /// Remembers one given at `now`.
    pub fn add(&mut self, now: Moment) {
        self.count += 1;
        match self
            .given
            .back_mut()
            .filter(|bunch| now.since(bunch.first) < self.bunch)
        {
            Some(bunch) => (bunch.last, bunch.count) = (now, bunch.count + 1),
            None => self.given.push_back(Bunch {
                first: now,
                last: now,
                count: 1,
            }),
        }
    }

    /// When the oldest that still counts is forgotten.
    pub fn next_expiry(&mut self, now: Moment) -> Option<Moment> {
        while let Some(bunch) = self
            .given
            .pop_front_if(|bunch| bunch.last.after(self.ttl) <= now)
        {
            self.count -= bunch.count;
        }
        self.given.front().map(|bunch| bunch.last.after(self.ttl))
    }

    /// Whether as many count as there may be.
    pub fn is_full(&mut self, now: Moment) -> bool {
        self.next_expiry(now);
        self.count >= self.limit
    }
}

/// Both lanes' ledgers in memory: a quota of one worker alone.
#[derive(Debug)]
pub struct Books {
    terms: Terms,
    all: Log,
    bulk: Option<Log>,
}

impl Books {
    /// Empty ones.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        let bulk = terms
            .own_ledger(Lane::Bulk)
            .map(|room| Log::new(room, terms.ttl));
        Self {
            all: Log::new(terms.requests, terms.ttl),
            bulk,
            terms,
        }
    }

    /// A permission, if there is room.
    pub fn ask(&mut self, lane: Lane, now: Moment) -> Answer {
        let mut logs = [
            Some(&mut self.all),
            self.bulk.as_mut().filter(|_| lane == Lane::Bulk),
        ];
        if let Some(full) = logs
            .iter_mut()
            .flatten()
            .find_map(|log| log.is_full(now).then(|| log.next_expiry(now)))
        {
            return Answer::Full(full);
        }
        for log in logs.into_iter().flatten() {
            log.add(now);
        }
        Answer::Granted(self.terms.permission(now))
    }
}

/// How one lane of one worker asks: wide while there is room, one by one and with pauses while there is none.
#[derive(Debug)]
pub struct Pace {
    lane: Lane,
    mean: Duration,
    patience: Duration,
    widest: usize,
    width: usize,
    refusals: u32,
    /// Since when there was nothing but refusals.
    refused_since: Option<Moment>,
    not_before: Moment,
}

impl Pace {
    /// Full speed.
    #[must_use]
    pub fn new(lane: Lane, terms: &Terms) -> Self {
        Self {
            lane,
            mean: terms.pace,
            patience: terms.ttl / PATIENCE_PART,
            widest: terms.widest(lane),
            width: terms.widest(lane),
            refusals: 0,
            refused_since: None,
            not_before: Moment::default(),
        }
    }

    /// How long to wait before the next may ask.
    #[must_use]
    pub fn pause(&self, now: Moment) -> Duration {
        self.not_before.since(now)
    }

    /// There was room. Says whether one more may ask at the same time.
    #[must_use]
    pub fn granted(&mut self) -> bool {
        (self.refusals, self.refused_since) = (0, None);
        self.not_before = Moment::default();
        let wider = self.width < self.widest;
        self.width += usize::from(wider);
        wider
    }

    /// There was no room; perhaps there is at `room_at`. `jitter` is from 0.5 to 1. Says whether whoever asked
    /// steps back into the line; the last of them stays in front.
    #[must_use]
    pub fn refused(&mut self, now: Moment, room_at: Option<Moment>, jitter: f64) -> bool {
        self.refused_since.get_or_insert(now);
        let steps_back = self.width > 1;
        if steps_back {
            self.width -= 1;
        } else {
            self.refusals = self.refusals.saturating_add(1);
        }
        let bound = self
            .mean
            .clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
            .saturating_mul(1 << self.refusals.min(6));
        let guess = now.after(bound.min(LONGEST_PAUSE).mul_f64(jitter));
        // The broker forgets to the millisecond, and its timer is a little late.
        let known = room_at.map(|at| at.after(Duration::from_millis(2)));
        let not_before = known
            .map_or(guess, |known| known.min(guess))
            .max(now.after(Duration::from_millis(2)));
        self.not_before = not_before.after(self.courtesy(now));
        steps_back
    }

    /// The ledger lets know that it has room.
    pub fn announced(&mut self, now: Moment) {
        self.not_before = self.not_before.min(now.after(self.courtesy(now)));
    }

    fn courtesy(&self, now: Moment) -> Duration {
        let patient = self
            .refused_since
            .is_none_or(|since| now.since(since) < self.patience);
        if self.lane == Lane::Bulk && patient {
            COURTESY
        } else {
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests;
