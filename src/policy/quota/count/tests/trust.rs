use std::collections::VecDeque;

use super::*;

/// Seconds from a request to its answer.
const ANSWER: f64 = 0.02;

/// What a provider answers to a request at that second: what it says, and whether it served it.
type Provider<'a> = &'a mut dyn FnMut(f64) -> (Said, bool);

/// A worker asks whenever it may, until then; how many were served, refused, and whether it was passed over.
fn asks(count: &mut Count, provider: Provider, seconds: f64) -> (u32, u32, bool) {
    let (mut now, mut served, mut refused, mut turned) = (0.0, 0, 0, false);
    while now < seconds {
        if let Some(wait) = held(count, Lane::Interactive, now) {
            now += wait + 1e-3;
            continue;
        }
        let sent = go(count, at(now));
        let (said, serves) = provider(now + ANSWER / 2.0);
        now += ANSWER;
        (served, refused) = (served + u32::from(serves), refused + u32::from(!serves));
        turned |= count.hear(&said, sent, Some(serves), at(now));
    }
    (served, refused, turned)
}

fn whole(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.max(0.0).ceil())
}

#[test]
fn a_provider_that_serves_what_it_has_none_left_for_is_passed_over_until_it_refuses() {
    let mut count = count();
    let (served, refused, turned) = asks(&mut count, &mut |_| (said(0, 10), true), 60.0);
    assert!(turned && refused == 0, "it is never passed over");
    assert!(served > 100, "{served}");
    assert_eq!(held(&count, Lane::Interactive, 61.0), None);
    let sent = go(&mut count, at(61.0));
    count.hear(&said(0, 10), sent, Some(false), at(61.01));
    assert!(held(&count, Lane::Interactive, 61.02).is_some());
}

#[test]
fn an_answer_that_failed_otherwise_proves_nothing() {
    let mut count = count();
    let mut now = 0.0;
    for _ in 0..12 {
        let sent = go(&mut count, at(now));
        assert!(!count.hear(&said(0, 10), sent, None, at(now + ANSWER)));
        now += held(&count, Lane::Interactive, now + ANSWER).expect("a wait") + ANSWER + 1e-3;
    }
}

/// Fixed windows with this limit, whose end is told in whole seconds.
fn fixed(limit: u32, window: f64) -> impl FnMut(f64) -> (Said, bool) {
    let (mut current, mut used) = (-1.0, 0);
    move |now| {
        let begun = (now / window).floor();
        if begun > current {
            (current, used) = (begun, 0);
        }
        let serves = used < limit;
        used += u32::from(serves);
        let said = Said {
            limit: Some(limit),
            reset: Some(whole((begun + 1.0) * window - now)),
            ..said(limit - used, 0)
        };
        (said, serves)
    }
}

/// A window that rolls: each request is given back after that time, which is told of the oldest.
fn rolling(limit: u32, window: f64) -> impl FnMut(f64) -> (Said, bool) {
    let mut kept = VecDeque::new();
    move |now| {
        while kept.front().is_some_and(|first| now - first >= window) {
            kept.pop_front();
        }
        let serves = kept.len() < limit as usize;
        if serves {
            kept.push_back(now);
        }
        let said = Said {
            limit: Some(limit),
            reset: kept.front().map(|first| whole(first + window - now)),
            ..said(limit - u32::try_from(kept.len()).unwrap(), 0)
        };
        (said, serves)
    }
}

/// A bucket that is filled one by one, which tells when the next comes.
fn bucket(limit: u32, each: f64) -> impl FnMut(f64) -> (Said, bool) {
    let (mut tokens, mut last) = (limit, 0.0);
    move |now| {
        while tokens < limit && now - last >= each {
            (tokens, last) = (tokens + 1, last + each);
        }
        if tokens == limit {
            last = now;
        }
        let serves = tokens > 0;
        tokens -= u32::from(serves);
        let said = Said {
            limit: Some(limit),
            reset: Some(whole(last + each - now)),
            ..said(tokens, 0)
        };
        (said, serves)
    }
}

#[test]
fn a_provider_that_refuses_once_none_is_left_is_believed_however_it_counts() {
    let providers: [(&str, Provider); 6] = [
        ("one in a fixed window", &mut fixed(1, 10.0)),
        ("one in a rolling window", &mut rolling(1, 10.0)),
        ("three in a rolling window", &mut rolling(3, 9.0)),
        ("a bucket of five", &mut bucket(5, 3.0)),
        ("a bucket of one", &mut bucket(1, 4.0)),
        ("a hundred in a rolling window", &mut rolling(100, 60.0)),
    ];
    for (name, provider) in providers {
        let mut count = count();
        let (served, refused, turned) = asks(&mut count, provider, 3600.0);
        assert!(!turned, "{name}");
        assert!(served > 250, "{name}: {served}");
        assert!(
            f64::from(refused) <= f64::from(served) * 0.03,
            "{name}: {refused} of {served}"
        );
    }
}

/// Two workers tell each other what they read of a provider that always says that none is left: both come to pass it
/// over.
#[test]
fn a_worker_that_passes_a_count_over_does_not_hold_others_back_by_it() {
    for lasts in [1, 10, 60] {
        let mut counts = [count(), count()];
        let (mut untold, mut free) = ([None, None], [0; 2]);
        let windows = 20.0 * lasts as f64;
        for turn in 0.. {
            let now = f64::from(turn) * 0.05;
            if now > windows {
                break;
            }
            for worker in 0..2 {
                // The first asks sooner.
                let now = now + 0.02 * worker as f64;
                if held(&counts[worker], Lane::Bulk, now).is_none() {
                    let sent = go(&mut counts[worker], at(now));
                    let word = said(0, lasts);
                    counts[worker].hear(&word, sent, Some(true), at(now + 0.005));
                    untold[worker] = counts[worker].tells("w").then_some((word, sent));
                    free[worker] += 1;
                }
            }
            for worker in 0..2 {
                if turn % 2 == 0
                    && let Some((word, sent)) = untold[worker].take()
                {
                    let (now, spent) = (at(now + 0.03), counts[worker].spent());
                    let ago = now.since(sent.at);
                    counts[1 - worker].hear_of(&word, worker as u64, ago, [sent.spent, spent], now);
                }
            }
        }
        let least = windows * 20.0 / 4.0;
        assert!(
            free.iter().all(|asked| f64::from(*asked) > least),
            "{lasts}: {free:?}"
        );
    }
}

#[test]
fn words_of_others_do_not_move_the_end_of_a_window_in_which_none_is_left() {
    let mut count = count();
    ask(&mut count, 0.0, &said(0, 30));
    for n in 1..25 {
        let ago = Duration::from_millis(20);
        count.hear_of(&said(0, 30), 7, ago, [0, 0], at(f64::from(n)));
    }
    assert_eq!(held(&count, Lane::Interactive, 30.1), None);
}
