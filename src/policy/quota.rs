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
//!   (`http`), after the wait for a connection, DNS, connect and TLS, so none of these belongs to `flight`;
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
//! never fill a window. Interactive requests use the main ledger alone. At the broker the two are
//! `PREFIX.quota.NAME` and `PREFIX.quota.NAME.bulk`. When bulk asks at all, so that calls find room whenever they
//! come, is [`spread`]'s affair; the limit does not rest on it.
//!
//! # Several windows
//! A quota may have several windows, such as ten a second and ten thousand a day. Each has ledgers of its own; those of
//! the longer ones are `PREFIX.quota.NAME.LENGTH` and `….bulk`, such as `lookup.quota.a.1d`. A request needs a
//! permission of each, asked for one after the other: the argument holds for each ledger by itself, so it holds for
//! each window. Where a later ledger refuses, what an earlier one gave is lost. So the shortest window's is asked
//! first, in which that costs least, and before it the one that refused last, so that a full window costs the others
//! one permission and no more. What bulk asks for is spread over the shortest alone. A ledger survives what it survives
//! whatever its length: it is durable, its messages are persistent, and each has its own time of expiry. A day's ledger
//! holds as many messages without a body as the day allows requests.
//!
//! # Several ledgers
//! A ledger lives on one node of a cluster. So that a node which is away costs its share and never the provider, a
//! window may be counted in K ledgers (`amqp.quota_ledgers`), whose rooms add up to N ([`Terms::part`]); those of bulk
//! likewise. A permission is one of any of them. By the argument no window holds more requests than a ledger has room
//! for, of those that it permitted; each request was permitted by one, so no window holds more than the sum, which is
//! N. That asks nothing about which ledgers a worker sees, or when:
//!
//! - a ledger that is away permits nothing, and counts when it comes back what it counted before;
//! - one that says nothing in time was asked in vain, whatever it stored: at most a permission is lost;
//! - one that no worker ever found is a share that nobody uses;
//! - on which node it lives decides what is lost with that node, and nothing else.
//!
//! What must not be is that some count in K ledgers and others in one, or in another number: each kind would keep its
//! own N. So the name of the single ledger, `PREFIX.quota.NAME`, is *sealed* before any ledger `PREFIX.quota.NAME.1` to
//! `….K` is declared: a queue of that name, whose arguments say K, holds one message that never expires, and has room
//! for one.
//!
//! - It is put there only where the single ledger, and its `.next`, are not there or empty: all that they permitted is
//!   past, as at the end of a change.
//! - A worker that counts in one ledger and runs has no room there: no permission. One that starts finds a foreign queue
//!   that is not empty, so it neither starts nor replaces it, however idle the ledgers are. With another K likewise.
//! - Full it stays full, on the disk of its node. While that is away, nobody can tell that the name is sealed: whoever
//!   counts in one ledger finds none, and whoever counts in K takes of those that are there, each of which was declared
//!   after the name was sealed, and declares no other.
//!
//! K is changed while no worker runs and a window has passed, by deleting the seal.
//!
//! Assumed besides: a cluster that is split keeps one side standing (`pause_minority`; from RabbitMQ 4.3 on it does so
//! by itself), for each side would have ledgers of the same names. No node is lost for good together with its seal
//! while a worker of the other kind starts. And nobody asks an empty ledger in the very moment in which it is replaced,
//! by a seal or by one of another quota: what is on its way to a queue that is deleted, the broker confirms.
//!
//! # Waiting
//! A full ledger need not be asked again and again: what it forgets it passes on to the exchange `PREFIX.room`
//! (dead lettering, in the broker's own hands), and every worker hears of it at that moment. That is a hint of when
//! to ask and nothing more: the answer is the ledger's alone. Where no hint comes, it is asked about once a second.
//!
//! # When the quota is changed
//! A ledger is declared with its room and its TTL, and the broker refuses it with others. So another quota has a ledger
//! of another name, `PREFIX.quota.NAME.next`, and the next one the first name again. The rule is: **every permission is
//! counted in each of the two that is there.** Each ask is published to both names, always. One that is not there
//! returns the message; where one refuses it, or neither is there, there is no permission. That needs no knowledge of
//! who counts what, so it holds for workers that were not told, too.
//!
//! A worker that is told of another quota declares its ledger at a moment D. It deletes the old one at a moment E, more
//! than the longer TTL, `validity` and `flight` later. Requests that are seen before E were stored in the old ledger;
//! requests that are seen later than `validity + flight` after D were stored in the new one. No window is as long as
//! the time between, so each lies before the one or behind the other: it holds no more than the old quota allows, or
//! the new; and from D on what is stored in the new one is within it. For the overlap the smaller of the two is what is
//! used.
//!
//! A permission that both count, or that another quota's ledger alone counts (this worker was not told), is good for
//! the shortest `validity` that any terms have. Of the flight its worker knows its own terms' alone.
//!
//! Who deletes must be whoever knows both quotas, and how long the longer is: the worker that was told while it ran. If
//! it dies before E, both remain, and the smaller holds, until another is told, or one is empty when a worker starts. A
//! worker that *starts* with another quota than all that are counted, and in use, does not start. A ledger that
//! somebody deletes is declared anew by the workers after TTL, when all that it counted is past.
//!
//! Of several ledgers each has another of its own, with more room where the quota is larger and less where it is
//! smaller, so all that was said of one holds for the sum, also while some are changed and others are not yet. Where
//! one is away, the quota is not changed.
//!
//! Assumed besides: no node is lost with one of the two ledgers between D and E.
//!
//! Why it is so: `docs/decisions/0003-ledgers.md`, `docs/decisions/0009-ledgers-on-several-nodes.md`.

mod books; // the ledgers in memory
mod calls; // whether they wait too long
pub mod count; // what the provider says is left
mod log; // what one worker remembers of its permissions
mod pace; // how many ask at once, and how soon again
mod parts; // a quota in several ledgers
mod rush; // whether requests go faster than the quota lasts
pub mod spread; // when bulk asks

use std::time::Duration;

use crate::{clock::Moment, config::QuotaLimit, lane::Lane};

pub use books::Books;
pub use calls::Calls;
pub use log::Log;
pub use pace::Pace;
pub use rush::Rush;
pub use spread::{Counts, Turn};

/// Validity and flight, each as a part of the window. Together they are what strictness costs: a thirtieth. They
/// stand in the ledger's arguments, so that workers which reckon otherwise find each other's ledger foreign.
const PART: u32 = 60;

/// Bounds of `validity`: a busy broker's confirm, and the longest that any broker and connect should need.
const VALIDITY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(2500));

/// Bounds of `flight`: a packet that is sent again after 200 ms, and the longest that a network should need.
const FLIGHT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(2500));

/// Clocks may differ in rate by one part in so many.
const CLOCK_RATE: u32 = 1000;

/// Publishes at once, for each lane of one worker, while the ledger has room.
const WIDEST: usize = 16;

/// Bulk publishes as many at once as the quota's mean rate brings in this time, but at least [`NARROWEST`].
const BULK_RUSH: Duration = Duration::from_millis(20);

/// One would wait for each confirm in turn.
const NARROWEST: usize = 2;

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
    /// Whether it keeps bulk's requests apart.
    pub spreads: bool,
    /// Of how many ledgers of the quota this is one.
    pub parts: u32,
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
            spreads: true,
            parts: 1,
        }
    }

    /// Of a longer window beside a shorter one, which spreads bulk for both.
    #[must_use]
    pub fn of_longer(limit: &QuotaLimit) -> Self {
        Self {
            spreads: false,
            ..Self::of(limit)
        }
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

    /// While another quota takes the place of this, both count for so long.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> Duration {
        let longer = self.ttl.max(other.ttl);
        longer + longer / CLOCK_RATE + VALIDITY.1 + FLIGHT.1
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

    /// One that was asked for at `asked`, and that another quota counts too, or alone: it is good for as long as any
    /// quota's is.
    pub fn of_others(asked: Moment) -> Self {
        Self {
            void_from: Some(asked.after(VALIDITY.0)),
        }
    }

    /// Two permissions for one request: good for as long as both are.
    pub fn and(self, other: Self) -> Self {
        let void_from = match (self.void_from, other.void_from) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        Self { void_from }
    }

    /// Whether it may not be used any more.
    #[must_use]
    pub fn is_void(&self, now: Moment) -> bool {
        self.void_from.is_some_and(|void_from| now >= void_from)
    }
}

/// Whether somebody who asks has a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Here it is.
    Granted(Permission),
    /// Not now; there is room again at this time at the latest, if that is known.
    Full(Option<Moment>),
    /// Not now, since bulk leaves the rest to calls; there is room again at this time at the latest, if that is known.
    Reserved(Option<Moment>),
    /// The ledger cannot be asked any more.
    Gone,
}

#[cfg(test)]
mod tests;
