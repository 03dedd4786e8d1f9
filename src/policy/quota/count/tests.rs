//! What follows from each word; `model` has whole fleets.

mod model; // a fleet and a second client, at a provider with fixed windows
mod trust; // which counts are believed

use std::{collections::VecDeque, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::config::QuotaScope;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

fn at(seconds: f64) -> Moment {
    Moment::at(Duration::from_secs_f64(1000.0 + seconds))
}

fn limit(requests: u32, per: Duration) -> QuotaLimit {
    QuotaLimit {
        requests,
        per,
        reserve: 0.1,
        scope: QuotaScope::Broker,
    }
}

fn count() -> Count {
    Count::new(&limit(100, MINUTE), HOUR)
}

fn said(remaining: u32, reset: u64) -> Said {
    Said {
        window: "w".into(),
        remaining,
        limit: Some(100),
        reset: Some(Duration::from_secs(reset)),
        length: None,
    }
}

/// A request that goes now.
fn go(count: &mut Count, now: Moment) -> Sent {
    count.reserve();
    count.settle(true, now);
    count.sent(now)
}

/// One that is answered a little later.
fn ask(count: &mut Count, seconds: f64, said: &Said) {
    let sent = go(count, at(seconds));
    count.hear(said, sent, Some(true), at(seconds + 0.02));
}

fn held(count: &Count, lane: Lane, seconds: f64) -> Option<f64> {
    let until = count.held_until(lane, at(seconds))?;
    Some(until.since(at(seconds)).as_secs_f64())
}

#[test]
fn whoever_knows_nothing_holds_nothing_back() {
    for lane in Lane::ALL {
        assert_eq!(held(&count(), lane, 0.0), None);
    }
}

#[test]
fn none_that_is_left_holds_everybody_back_until_the_windows_end_and_no_longer() {
    let mut count = count();
    ask(&mut count, 0.0, &said(0, 30));
    for lane in Lane::ALL {
        let wait = held(&count, lane, 1.0).expect("a wait");
        assert!((wait - 29.02).abs() < 1e-3, "{wait}");
        assert_eq!(held(&count, lane, 30.03), None);
    }
}

#[test]
fn what_is_left_is_spent_to_the_last() {
    let mut count = count();
    ask(&mut count, 0.0, &said(3, 30));
    for _ in 0..3 {
        assert_eq!(held(&count, Lane::Interactive, 0.1), None);
        go(&mut count, at(0.1));
    }
    assert!(held(&count, Lane::Interactive, 0.1).is_some());
    let mut reserved = self::count();
    ask(&mut reserved, 0.0, &said(1, 30));
    reserved.reserve();
    assert!(held(&reserved, Lane::Interactive, 0.1).is_some());
    reserved.settle(false, at(0.1));
    assert_eq!(held(&reserved, Lane::Interactive, 0.1), None, "given back");
}

#[test]
fn a_fleet_alone_holds_bulk_back_no_sooner_than_calls() {
    let mut count = count();
    for n in 0..95 {
        ask(
            &mut count,
            f64::from(n) * 0.6,
            &said(99 - n, 60 - u64::from(n) * 6 / 10),
        );
        let seconds = f64::from(n) * 0.6 + 0.1;
        assert_eq!(held(&count, Lane::Bulk, seconds), None, "{n}");
    }
}

#[test]
fn where_others_use_it_bulk_leaves_what_they_and_calls_will_take() {
    let mut count = count();
    // Each second one of ours and two of others.
    for n in 0..20_u32 {
        ask(
            &mut count,
            f64::from(n),
            &said(97 - 3 * n, 60 - u64::from(n)),
        );
    }
    // 40 are left, of which others take 80 by the end.
    assert_eq!(held(&count, Lane::Interactive, 19.1), None);
    assert!(held(&count, Lane::Bulk, 19.1).is_some());
    let told = count.throttle(Lane::Bulk, at(19.1)).expect("it is told");
    assert_eq!((told.remaining, told.shared), (40, true));
}

#[test]
fn a_limit_that_is_lower_than_ours_leaves_calls_their_reserve() {
    let mut count = Count::new(&limit(200, MINUTE), HOUR);
    for n in 0..95_u32 {
        ask(
            &mut count,
            f64::from(n) * 0.3,
            &said(99 - n, 60 - u64::from(n) * 3 / 10),
        );
    }
    assert_eq!(held(&count, Lane::Interactive, 28.3), None);
    assert!(held(&count, Lane::Bulk, 28.3).is_some());
}

#[test]
fn a_word_that_was_long_under_way_counts_only_where_it_leaves_less() {
    let mut count = count();
    let old = go(&mut count, at(0.0));
    ask(&mut count, 5.0, &said(50, 25));
    count.hear(&said(90, 30), old, Some(true), at(6.0));
    assert_eq!(count.least_remaining(at(6.0)), Some(50));
    // Of the window before, which is over.
    count.hear(&said(0, 1), old, Some(true), at(6.0));
    assert_eq!(held(&count, Lane::Interactive, 6.0), None);
    // It was counted later than it was sent.
    count.hear(&said(0, 24), old, Some(true), at(6.0));
    assert!(held(&count, Lane::Interactive, 6.0).is_some());
}

#[test]
fn what_others_spend_is_known_by_their_words() {
    let mut count = count();
    let ago = Duration::from_millis(20);
    count.hear_of(&said(11, 30), 7, ago, [0, 0], at(0.0));
    ask(&mut count, 0.0, &said(10, 30));
    count.hear_of(&said(7, 30), 7, Duration::from_millis(20), [3, 5], at(0.1));
    // Seven were left when it had spent three, and it has spent five.
    for _ in 0..5 {
        assert_eq!(held(&count, Lane::Interactive, 0.1), None);
        go(&mut count, at(0.1));
    }
    assert!(held(&count, Lane::Interactive, 0.1).is_some());
}

#[test]
fn who_is_heard_for_the_first_time_or_no_more_changes_nothing_of_what_is_left() {
    let mut count = count();
    ask(&mut count, 1.0, &said(2, 3000));
    // It has spent 10,000 since its start, and its word is older than ours.
    let heard = |count: &mut Count, by, seconds: f64| {
        let before_ours = Duration::from_secs_f64(seconds + 5.0);
        count.hear_of(
            &said(90, 3000),
            by,
            before_ours,
            [10_000, 10_000],
            at(seconds),
        );
    };
    heard(&mut count, 7, 1.1);
    assert_eq!(held(&count, Lane::Interactive, 1.1), None);
    go(&mut count, at(1.1));
    heard(&mut count, 8, 1000.0);
    assert_eq!(held(&count, Lane::Interactive, 1000.0), None, "one is left");
    go(&mut count, at(1000.0));
    assert!(
        held(&count, Lane::Interactive, 1000.0).is_some(),
        "and none"
    );
}

#[test]
fn what_others_spent_before_an_answer_came_is_reckoned_as_it_was_when_the_request_went() {
    let mut count = count();
    let told = Duration::from_secs(5);
    count.hear_of(&said(4, 30), 7, told, [0, 0], at(0.0));
    let sent = go(&mut count, at(0.1));
    // While ours is under way another spends two, of which the provider knew nothing as it counted ours.
    count.hear_of(&said(4, 30), 7, told, [0, 2], at(0.2));
    count.hear(&said(3, 28), sent, Some(true), at(2.0));
    assert_eq!(held(&count, Lane::Interactive, 2.0), None, "one is left");
    go(&mut count, at(2.0));
    assert!(held(&count, Lane::Interactive, 2.0).is_some(), "and none");
}

#[test]
fn a_word_that_is_told_later_ends_no_later() {
    let seconds = Duration::from_secs;
    assert_eq!(said(3, 30).told_later(seconds(12)), Some(said(3, 18)));
    assert_eq!(said(3, 30).told_later(seconds(31)), None, "it is over");
    let endless = Said {
        reset: None,
        ..said(3, 0)
    };
    let soon = Duration::from_millis(200);
    assert_eq!(endless.clone().told_later(soon), Some(endless.clone()));
    assert_eq!(endless.told_later(seconds(12)), None, "nobody knows");
}

#[test]
fn a_limit_is_lower_than_ours_where_its_rate_is() {
    // 10 a second are more than 100 a minute.
    let mut count = count();
    for (seconds, left) in [(0.0, 9), (0.1, 8), (0.2, 7), (0.3, 1)] {
        let second = Said {
            limit: Some(10),
            length: Some(Duration::from_secs(1)),
            ..said(left, 1)
        };
        let sent = Sent {
            at: at(seconds),
            spent: 10 - u64::from(left),
            others: 0,
        };
        count.hear(&second, sent, Some(true), at(seconds));
        for _ in count.spent()..sent.spent {
            go(&mut count, at(seconds));
        }
    }
    assert_eq!(held(&count, Lane::Bulk, 0.31), None);
    // 1000 an hour are fewer than 100 a minute.
    let mut count = self::count();
    let hour = Said {
        limit: Some(1000),
        length: Some(HOUR),
        ..said(20, 3000)
    };
    ask(&mut count, 0.0, &hour);
    assert!(held(&count, Lane::Bulk, 0.1).is_some());
}

#[test]
fn a_call_goes_and_asks_where_nobody_has_for_as_long_as_our_own_window() {
    let mut count = Count::new(&limit(100, MINUTE), Duration::from_hours(24));
    let day = |left| Said {
        limit: Some(1000),
        length: Some(Duration::from_hours(24)),
        ..said(left, 80_000)
    };
    // Others took 900 in ten minutes, and may have stopped.
    for n in 0..10_u32 {
        ask(&mut count, f64::from(n) * 60.0, &day(1000 - 100 * n));
    }
    let wait = held(&count, Lane::Interactive, 541.0 + 58.0).unwrap_or_default();
    assert!(wait < 2.0, "{wait}");
    assert_eq!(held(&count, Lane::Interactive, 541.0 + 3600.0), None);
    ask(&mut count, 5000.0, &day(0));
    assert!(held(&count, Lane::Interactive, 8600.0).is_some(), "none is");
}

proptest! {
    /// Whatever is said, and in whatever order: nothing is held back for longer than the window that was stated, or
    /// than the longest wait that the configuration allows.
    #[test]
    fn nothing_is_held_back_for_longer_than_its_window(
        words in prop::collection::vec(
            (0_u32..5, 0_u64..100_000, prop::option::of(1_u64..1000), 0_u64..2000, any::<bool>(), 0_u64..3),
            1..40,
        ),
    ) {
        let mut count = count();
        let (mut now, mut longest) = (0.0, Duration::ZERO);
        for (remaining, reset, length, ago, served, by) in words {
            now += 0.5;
            let length = length.map(Duration::from_secs);
            let word = Said { length, ..said(remaining, reset) };
            longest = longest.max(length.unwrap_or(HOUR).min(HOUR));
            let ago = Duration::from_millis(ago);
            if by == 0 {
                let sent = count.sent(at(now - ago.as_secs_f64()));
                count.hear(&word, sent, Some(served), at(now));
            } else {
                count.hear_of(&word, by, ago, [reset, reset + 3], at(now));
            }
            for lane in Lane::ALL {
                let wait = held(&count, lane, now).unwrap_or_default();
                prop_assert!(wait <= longest.as_secs_f64() + 1e-6, "{wait} of {longest:?}");
            }
        }
        for lane in Lane::ALL {
            prop_assert_eq!(held(&count, lane, now + longest.as_secs_f64() + 0.001), None);
        }
    }

    /// A provider whose windows roll, and whom we ask alone, holds nothing back, however its words overtake each other:
    /// what counts is our own quota.
    #[test]
    fn who_asks_alone_is_never_held_back_while_any_is_left(
        delays in prop::collection::vec(0_u64..400, 300),
    ) {
        let mut count = count();
        let (mut sent, mut answers) = (VecDeque::new(), Vec::new());
        for (n, delay) in delays.into_iter().enumerate() {
            let now = n as f64 * 0.65;
            answers.retain(|(due, said, went): &(f64, Said, Sent)| {
                if *due <= now {
                    count.hear(said, *went, Some(true), at(now));
                }
                *due > now
            });
            while sent.front().is_some_and(|first| now - first >= 60.0) {
                sent.pop_front();
            }
            for lane in Lane::ALL {
                prop_assert_eq!(held(&count, lane, now), None);
            }
            sent.push_back(now);
            let left = 100 - u32::try_from(sent.len()).unwrap();
            let went = go(&mut count, at(now));
            answers.push((now + delay as f64 / 1000.0, said(left, 60), went));
        }
    }
}
