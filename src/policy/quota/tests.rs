//! A model of broker, workers and provider: any schedule, any delays, kills and freezes at any point.

mod fleet; // how long calls wait beside bulk, in a fleet
mod parts; // several ledgers, on nodes that die and return

use std::collections::{BinaryHeap, VecDeque};

use proptest::prelude::*;

use super::{log::MOST_ALONE, pace::LONGEST_PAUSE, *};
use crate::config::QuotaScope;

fn limit(requests: u32, per_ms: u64, reserve: f64) -> QuotaLimit {
    QuotaLimit {
        requests,
        per: Duration::from_millis(per_ms),
        reserve,
        scope: QuotaScope::Broker,
    }
}

fn at(us: u64) -> Moment {
    Moment::at(Duration::from_micros(us))
}

/// The broker's queue: each message stays for its time, no more than so many, others are refused.
struct Queue {
    room: usize,
    ttl: Duration,
    expiries: VecDeque<Moment>,
}

impl Queue {
    fn store(&mut self, now: Moment) -> bool {
        self.expiries.retain(|expiry| *expiry > now);
        let stored = self.expiries.len() < self.room;
        if stored {
            self.expiries.push_back(now.after(self.ttl));
        }
        stored
    }
}

/// One ask, and what befalls it; all delays in microseconds. A freeze is a long delay in the middle.
#[derive(Debug, Clone)]
struct Ask {
    at: u64,
    to_broker: u64,
    confirm: u64,
    to_socket: u64,
    to_provider: u64,
    killed: bool,
    bulk: bool,
}

/// The same terms by the provider's clock, where the broker's is fast and the worker's slow by these thousandths.
fn by_clocks(terms: Terms, fast: f64, slow: f64) -> Terms {
    let slowly = |time: Duration| time.div_f64(1.0 - slow / 1000.0);
    Terms {
        ttl: terms.ttl.div_f64(1.0 + fast / 1000.0),
        validity: slowly(terms.validity),
        flight: slowly(terms.flight),
        ..terms
    }
}

/// Times at which the provider sees requests; with `careful`, void permissions are not used.
fn seen(terms: Terms, asks: &[Ask], careful: bool) -> Vec<(Moment, bool)> {
    let queue = |room: u32| Queue {
        room: room as usize,
        ttl: terms.ttl,
        expiries: VecDeque::new(),
    };
    let (mut all, mut bulk) = (queue(terms.requests), queue(terms.bulk));
    // In the order in which they reach the broker.
    let mut stores: BinaryHeap<_> = asks
        .iter()
        .enumerate()
        .map(|(n, ask)| (u64::MAX - ask.at - ask.to_broker, n))
        .collect();
    let mut requests = Vec::new();
    while let Some((_, n)) = stores.pop() {
        let ask = &asks[n];
        let stored = at(ask.at + ask.to_broker);
        if ask.bulk && !bulk.store(stored) {
            continue;
        }
        if !all.store(stored) || ask.killed {
            continue;
        }
        let written = stored.after(Duration::from_micros(ask.confirm + ask.to_socket));
        if careful && terms.permission(at(ask.at)).is_void(written) {
            continue;
        }
        let flight = Duration::from_micros(ask.to_provider).min(terms.flight);
        requests.push((written.after(flight), ask.bulk));
    }
    requests.sort_unstable();
    requests
}

/// Most requests in any window; two that are a whole window apart share none.
fn largest_window(seen: &[Moment], per: Duration) -> usize {
    let in_window = |(n, first): (usize, &Moment)| {
        seen[n..]
            .iter()
            .take_while(|time| time.since(*first) < per)
            .count()
    };
    seen.iter().enumerate().map(in_window).max().unwrap_or(0)
}

/// Most delays are short, some are around the margin, a few are freezes.
fn delay() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..2_000u64, 3 => 0..400_000u64, 1 => 0..6_000_000u64]
}

fn ask(until: u64) -> impl Strategy<Value = Ask> {
    (
        0..until,
        delay(),
        delay(),
        delay(),
        delay(),
        prop::bool::weighted(0.05),
        any::<bool>(),
    )
        .prop_map(
            |(at, to_broker, confirm, to_socket, to_provider, killed, bulk)| Ask {
                at,
                to_broker,
                confirm,
                to_socket,
                to_provider,
                killed,
                bulk,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_schedule_no_freeze_and_no_kill_brings_one_request_too_many(
        asks in prop::collection::vec(ask(6_000_000), 1..400),
        requests in 1..30u32,
        per_ms in 200..2_500u64,
        (fast, slow) in (0.0..=1.0, 0.0..=1.0),
    ) {
        let limit = limit(requests, per_ms, 0.2);
        let seen = seen(by_clocks(Terms::of(&limit), fast, slow), &asks, true);
        let all: Vec<_> = seen.iter().map(|(time, _)| *time).collect();
        let bulk: Vec<_> = seen.iter().filter(|(_, bulk)| *bulk).map(|(time, _)| *time).collect();
        prop_assert!(largest_window(&all, limit.per) <= requests as usize);
        prop_assert!(largest_window(&bulk, limit.per) <= Terms::of(&limit).bulk as usize);
    }

    #[test]
    fn no_window_exceeds_the_larger_quota_while_one_takes_the_others_place(
        mut asks in prop::collection::vec(ask(20_000_000), 1..600),
        (old, new) in (1..30u32, 1..30u32),
        (old_ms, new_ms) in (200..2_500u64, 200..2_500u64),
        declared_us in 0..6_000_000u64,
        told in prop::collection::vec(any::<bool>(), 600),
    ) {
        asks.sort_by_key(|ask| ask.at + ask.to_broker);
        let limits = [limit(old, old_ms, 0.0), limit(new, new_ms, 0.0)];
        let terms = [Terms::of(&limits[0]), Terms::of(&limits[1])];
        let declared = at(declared_us);
        let deleted = declared.after(terms[0].overlap(&terms[1]));
        let mut queues = terms.map(|terms| Queue {
            room: terms.requests as usize,
            ttl: terms.ttl,
            expiries: VecDeque::new(),
        });
        let mut seen = Vec::new();
        for (ask, told) in asks.iter().zip(&told) {
            let stored = at(ask.at + ask.to_broker);
            let there = [stored < deleted, stored >= declared];
            let counted: Vec<_> = queues.iter_mut().zip(there).filter(|(_, there)| *there).collect();
            let counts = counted.len();
            if !counted.into_iter().fold(true, |all, (queue, _)| all & queue.store(stored)) || ask.killed {
                continue;
            }
            // A worker knows the terms that it was told, and whether others count, too.
            let mine = usize::from(*told && stored >= declared);
            let permission = if counts == 1 && there[mine] {
                terms[mine].permission(at(ask.at))
            } else {
                Permission::of_others(at(ask.at))
            };
            let written = stored.after(Duration::from_micros(ask.confirm + ask.to_socket));
            if !permission.is_void(written) {
                let flight = Duration::from_micros(ask.to_provider).min(terms[0].flight.min(terms[1].flight));
                seen.push(written.after(flight));
            }
        }
        seen.sort_unstable();
        let late = declared.after(VALIDITY.1 + FLIGHT.1);
        let before: Vec<_> = seen.iter().copied().filter(|seen| *seen < deleted).collect();
        let after: Vec<_> = seen.iter().copied().filter(|seen| *seen >= late).collect();
        prop_assert!(largest_window(&before, limits[0].per) <= old as usize);
        prop_assert!(largest_window(&after, limits[1].per) <= new as usize);
        if old_ms == new_ms {
            prop_assert!(largest_window(&seen, limits[0].per) <= old.max(new) as usize);
        }
    }

    #[test]
    fn a_log_in_memory_is_as_strict_as_the_queue(
        mut asks in prop::collection::vec(ask(6_000_000), 1..400),
        requests in 1..30u32,
        per_ms in 200..2_500u64,
        waiting in 1..60usize,
    ) {
        let limit = limit(requests, per_ms, 0.2);
        asks.sort_by_key(|ask| ask.at);
        let terms = Terms::of(&limit);
        let mut books = Books::new(terms);
        let mut seen = Vec::new();
        for ask in &asks {
            let lane = if ask.bulk { Lane::Bulk } else { Lane::Interactive };
            match books.ask(lane, waiting, at(ask.at)) {
                Decision::Granted(permission) => {
                    let written = at(ask.at + ask.to_socket);
                    if !permission.is_void(written) {
                        seen.push(written.after(Duration::from_micros(ask.to_provider).min(terms.flight)));
                    }
                }
                Decision::Full(room_at) => prop_assert!(room_at.is_some_and(|room_at| room_at > at(ask.at))),
                Decision::Reserved(_) | Decision::Gone => prop_assert!(false),
            }
        }
        seen.sort_unstable();
        prop_assert!(largest_window(&seen, limit.per) <= requests as usize);
    }
}

#[test]
fn a_quota_in_memory_that_is_changed_counts_what_was_given_before() {
    let limits = [
        limit(20, 1_000, 0.0),
        limit(10, 1_000, 0.0),
        limit(40, 500, 0.0),
    ];
    let mut books = Books::new(Terms::of(&limits[0]));
    let (mut given, mut changes) = (Vec::new(), Vec::new());
    for now in (0..12_000u64).map(|ms| at(ms * 1_000)) {
        if [at(4_500_000), at(8_500_000)].contains(&now) {
            changes.push(now);
            books.change(Terms::of(&limits[changes.len()]), now);
        }
        if matches!(books.ask(Lane::Interactive, 1, now), Decision::Granted(_)) {
            given.push(now);
        }
    }
    assert!(largest_window(&given, limits[0].per) <= 80);
    let of = |from: Moment, to: Moment| {
        let within = given
            .iter()
            .copied()
            .filter(|time| (from..to).contains(time));
        within.collect::<Vec<_>>()
    };
    assert_eq!(largest_window(&of(at(0), changes[1]), limits[0].per), 20);
    assert!(largest_window(&of(changes[0], changes[1]), limits[1].per) <= 10);
    assert_eq!(
        largest_window(&of(changes[1], at(20_000_000)), limits[2].per),
        40
    );
}

#[test]
fn a_large_quota_is_remembered_in_bunches_and_no_window_holds_too_many() {
    let (requests, per) = (5 * MOST_ALONE, Duration::from_secs(1));
    let mut log = Log::new(requests, per);
    let mut given = Vec::new();
    for now in (0..3_000_000).step_by(100).map(at) {
        if !log.is_full(now) {
            log.add(now);
            given.push(now);
        }
        assert!(
            log.given.len() <= MOST_ALONE as usize,
            "{} to remember",
            log.given.len()
        );
    }
    assert_eq!(largest_window(&given, per), requests as usize);
    assert_eq!(
        given.len(),
        3 * requests as usize,
        "next to nothing of it is lost"
    );
}

/// Every combination of a few delays around the bounds, for three permissions of a quota of two.
#[test]
fn every_order_of_few_permissions_with_delays_at_the_bounds_holds() {
    let limit = limit(2, 1_000, 0.0);
    let terms = Terms::of(&limit);
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap();
    let delays = [0, us(terms.validity) - 1, us(terms.validity), us(terms.ttl)];
    let flights = [0, us(terms.flight)];
    let starts = [
        0,
        us(terms.ttl) - us(terms.validity),
        us(terms.ttl) - 1,
        us(terms.ttl),
        us(limit.per),
    ];
    let mut one = Vec::new();
    for at in starts {
        for to_broker in delays {
            for to_socket in delays {
                for to_provider in flights {
                    one.push(Ask {
                        at,
                        to_broker,
                        confirm: 0,
                        to_socket,
                        to_provider,
                        killed: false,
                        bulk: false,
                    });
                }
            }
        }
    }
    let first = one.iter().filter(|ask| ask.at == 0);
    for first in first {
        for second in &one {
            for third in &one {
                let seen = seen(terms, &[first.clone(), second.clone(), third.clone()], true);
                let times: Vec<_> = seen.iter().map(|(time, _)| *time).collect();
                assert!(
                    largest_window(&times, limit.per) <= 2,
                    "{first:?} {second:?} {third:?}"
                );
            }
        }
    }
}

#[test]
fn the_model_would_notice_a_worker_that_spends_void_permissions() {
    let limit = limit(1, 1_000, 0.0);
    let ask = |at, to_socket| Ask {
        at,
        to_broker: 0,
        confirm: 0,
        to_socket,
        to_provider: 0,
        killed: false,
        bulk: false,
    };
    let ttl = u64::try_from(Terms::of(&limit).ttl.as_micros()).unwrap();
    let frozen = [ask(0, ttl + 50_000), ask(ttl + 10_000, 0)];
    let times = |careful| {
        seen(Terms::of(&limit), &frozen, careful)
            .into_iter()
            .map(|(time, _)| time)
            .collect::<Vec<_>>()
    };
    assert_eq!(largest_window(&times(false), limit.per), 2);
    assert_eq!(largest_window(&times(true), limit.per), 1);
}

#[test]
fn the_margin_covers_validity_and_flight_and_costs_a_thirtieth_of_a_window_of_a_minute() {
    for (per_ms, requests) in [
        (1, 1),
        (1_000, 10),
        (4_000, 20),
        (60_000, 200),
        (300_000, 2_000),
        (86_400_000, 9),
    ] {
        let limit = limit(requests, per_ms, 0.1);
        let terms = Terms::of(&limit);
        assert!(
            terms.ttl > limit.per + terms.validity + terms.flight,
            "{terms:?}"
        );
        let use_of_it = limit.per.as_secs_f64() / terms.ttl.as_secs_f64();
        assert!(per_ms < 4_000 || use_of_it > 0.89, "{terms:?}: {use_of_it}");
        assert!(
            per_ms < 60_000 || use_of_it > 0.965 && terms.flight >= Duration::from_secs(1),
            "{terms:?}: {use_of_it}"
        );
    }
}

#[test]
fn clocks_that_differ_in_rate_by_a_thousandth_are_within_the_margin() {
    for (per_ms, requests) in [
        (1, 1),
        (1_000, 10),
        (60_000, 200),
        (300_000, 2_000),
        (86_400_000, 9),
    ] {
        let limit = limit(requests, per_ms, 0.1);
        let terms = by_clocks(Terms::of(&limit), 1.0, 1.0);
        assert!(
            terms.ttl > limit.per + terms.validity + terms.flight,
            "{terms:?}"
        );
    }
}

#[test]
fn bulk_leaves_the_reserve_and_still_has_something_of_the_smallest_quota() {
    for (requests, reserve, bulk) in [
        (200, 0.1, 180),
        (20, 0.1, 18),
        (5, 0.1, 4),
        (2, 0.1, 1),
        (1, 0.1, 1),
        (1, 0.99, 1),
        (10, 0.0, 10),
        (3, 0.9, 1),
    ] {
        let terms = Terms::of(&limit(requests, 1_000, reserve));
        assert_eq!(terms.bulk, bulk, "{requests} {reserve}");
    }
}

#[test]
fn a_full_ledger_is_asked_by_one_and_rarely_and_by_many_again_once_there_is_room() {
    let terms = Terms::of(&limit(200, 60_000, 0.1));
    let mut pace = Pace::new(Lane::Interactive, &terms);
    let mut stepped_back = 0;
    let mut now = at(1_000_000);
    for _ in 0..WIDEST {
        stepped_back += usize::from(pace.refused(now, None, 1.0));
    }
    assert_eq!(stepped_back, WIDEST - 1, "one stays in front");
    for _ in 0..10 {
        assert!(!pace.refused(now, None, 0.5));
        let pause = pace.pause(now);
        assert!(
            pause >= Duration::from_millis(100) && pause <= LONGEST_PAUSE,
            "{pause:?}"
        );
        now = now.after(pause);
    }
    // What it knows of its own permissions, it uses.
    let soon = now.after(Duration::from_millis(30));
    assert!(!pace.refused(now, Some(soon), 1.0));
    assert_eq!(pace.pause(now), Duration::from_millis(32));

    let wider = (0..40).filter(|_| pace.granted()).count();
    assert_eq!((wider, pace.pause(now)), (WIDEST - 1, Duration::ZERO));
}

#[test]
fn bulk_asks_for_no_more_at_once_than_its_rate_needs() {
    let widest = |requests, per_ms| Terms::of(&limit(requests, per_ms, 0.1)).widest(Lane::Bulk);
    assert_eq!(
        [
            widest(200, 60_000),
            widest(400, 1_000),
            widest(1_000_000, 1_000)
        ],
        [2, 8, WIDEST]
    );
    assert_eq!(
        Terms::of(&limit(200, 60_000, 0.1)).widest(Lane::Interactive),
        WIDEST
    );
}

#[test]
fn whoever_waits_asks_as_soon_as_room_is_announced() {
    let terms = Terms::of(&limit(200, 60_000, 0.1));
    for lane in Lane::ALL {
        let (mut pace, now) = (Pace::new(lane, &terms), at(1_000_000));
        let _ = pace.refused(now, None, 1.0);
        assert!(pace.pause(now) > Duration::ZERO);
        pace.announced(now);
        assert_eq!(pace.pause(now), Duration::ZERO);
    }
}

#[test]
fn a_few_jobs_in_bulk_go_at_once_and_a_backlog_does_not() {
    let terms = Terms::of(&limit(50, 10_000, 0.1));
    let turn = |all, bulk, waiting| terms.turn(Counts { all, bulk }, waiting);
    for asked in 0..20 {
        let waiting = 20 - asked as usize;
        assert!(matches!(turn(asked, asked, waiting), Turn::AtOnce(_)));
        assert!(matches!(turn(asked, asked, waiting + 1), Turn::Spaced(_)));
    }
    assert!(matches!(turn(0, 0, usize::MAX), Turn::Spaced(_)));
    assert_eq!(turn(45, 45, 1), Turn::Reserved, "its share is spent");
}

#[test]
fn bulk_leaves_headroom_where_there_are_calls_and_the_more_the_more_there_are() {
    let headroom = |requests, calls| {
        let (all, bulk) = (requests, requests - calls);
        Terms::of(&limit(requests, 60_000, 0.0)).headroom(Counts { all, bulk })
    };
    assert_eq!(
        [0, 1, 67, 100, 200].map(|calls| headroom(200, calls)),
        [0, 1, 3, 6, 23]
    );
    assert_eq!(
        [0, 1, 17, 25, 50].map(|calls| headroom(50, calls)),
        [0, 1, 1, 2, 6]
    );
    assert_eq!(
        [1, 2, 3, 4].map(|requests| headroom(requests, 1)),
        [0, 0, 0, 1]
    );
    // In the headroom bulk takes nothing, so the permission that comes back is a waiting call's.
    let terms = Terms::of(&limit(50, 10_000, 0.0));
    assert_eq!(
        terms.turn(Counts { all: 49, bulk: 30 }, 1_000),
        Turn::Reserved
    );
}

#[test]
fn bulk_is_spaced_by_the_rate_that_calls_leave() {
    let terms = Terms::of(&limit(200, 60_000, 0.0));
    let rate = |all, bulk| {
        terms
            .ttl
            .div_duration_f64(terms.spacing(Counts { all, bulk }))
            / 200.0
    };
    // The window fills: carefully, and by the calls' part of it so far.
    assert!((0.85..0.95).contains(&rate(0, 0)), "{}", rate(0, 0));
    assert!((0.55..0.68).contains(&rate(90, 60)), "{}", rate(90, 60));
    // It is full: what comes back is used, and faster where more lies idle.
    assert!((1.05..1.2).contains(&rate(199, 199)), "{}", rate(199, 199));
    assert!(
        rate(192, 192) > 1.4 && rate(192, 192) < 1.5,
        "{}",
        rate(192, 192)
    );
    // However many calls there were, bulk goes on.
    assert!(rate(199, 0) > 0.04, "{}", rate(199, 0));
    let longest = terms.longest_spacing();
    for all in 0..=200 {
        for bulk in [0, all / 2, all] {
            assert!(terms.spacing(Counts { all, bulk }) <= longest);
        }
    }
}
