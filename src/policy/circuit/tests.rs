//! Time is passed in: nothing here waits.

use super::*;

const COOLDOWN: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_secs(2);

fn circuit() -> Circuit {
    Circuit::new(
        &Breaker {
            failures: 3,
            cooldown: COOLDOWN,
        },
        2,
        SHORT,
    )
}

fn failed(kind: ErrorKind) -> Outcome {
    Outcome::Failed(Failure::new(kind, "so it is"))
}

fn attempts(circuit: &Circuit, kinds: &[Option<ErrorKind>], now: Instant) {
    for kind in kinds {
        circuit.note(
            Purpose::Lookup,
            &kind.map_or(Outcome::NotFound(None), failed),
            now,
        );
    }
}

#[test]
fn a_run_of_failures_opens_it_and_an_answer_in_between_does_not() {
    let (now, down) = (Instant::now(), Some(ErrorKind::Connection));
    let circuit = circuit();
    attempts(
        &circuit,
        &[
            down,
            down,
            None,
            down,
            down,
            Some(ErrorKind::Rejected),
            down,
            down,
        ],
        now,
    );
    assert_eq!(circuit.why(), None);
    attempts(&circuit, &[Some(ErrorKind::Timeout)], now);
    assert_eq!(
        (circuit.why(), circuit.next()),
        (Some(Why::Failing), Some(Next::Probe(now + COOLDOWN)))
    );
}

#[test]
fn a_429_and_a_deadline_count_neither_way() {
    let (now, down) = (Instant::now(), Some(ErrorKind::ProviderError));
    let circuit = circuit();
    let neither = [
        Some(ErrorKind::RateLimited),
        Some(ErrorKind::DeadlineExceeded),
    ];
    attempts(
        &circuit,
        &[
            neither[0], neither[0], neither[0], neither[1], neither[1], neither[1],
        ],
        now,
    );
    assert_eq!(circuit.why(), None);
    attempts(&circuit, &[down, down, neither[0], neither[1], down], now);
    assert_eq!(circuit.why(), Some(Why::Failing));
}

#[test]
fn a_probe_that_fails_begins_the_next_cooldown_and_one_that_succeeds_closes_it() {
    let (start, down) = (Instant::now(), Some(ErrorKind::Connection));
    let circuit = circuit();
    attempts(&circuit, &[down, down, down], start);
    for (at, kind) in [
        (1, ErrorKind::Timeout),
        (2, ErrorKind::RateLimited),
        (3, ErrorKind::Forbidden),
    ] {
        circuit.note(Purpose::Probe, &failed(kind), start + at * COOLDOWN);
        assert_eq!(
            circuit.next(),
            Some(Next::Probe(start + (at + 1) * COOLDOWN)),
            "{kind:?}"
        );
    }
    circuit.note(
        Purpose::Probe,
        &Outcome::NotFound(None),
        start + 4 * COOLDOWN,
    );
    assert_eq!(circuit.why(), None);
    attempts(&circuit, &[down, down], start);
    assert_eq!(circuit.why(), None, "it begins to count anew");
}

#[test]
fn refused_credentials_open_it_by_a_limit_of_their_own() {
    let (now, refused) = (Instant::now(), Some(ErrorKind::Forbidden));
    let circuit = circuit();
    attempts(&circuit, &[refused, None, refused], now);
    assert_eq!(circuit.why(), None);
    attempts(&circuit, &[Some(ErrorKind::Unauthorized)], now);
    assert_eq!(circuit.why(), Some(Why::Credentials));
}

#[test]
fn the_cooldown_is_never_shorter_than_the_provider_asks_for() {
    let (now, mut failure) = (
        Instant::now(),
        Failure::new(ErrorKind::ProviderError, "so it is"),
    );
    failure.retry_after = Some(2 * COOLDOWN);
    let circuit = circuit();
    for _ in 0..3 {
        circuit.note(Purpose::Lookup, &Outcome::Failed(failure.clone()), now);
    }
    assert_eq!(circuit.next(), Some(Next::Probe(now + 2 * COOLDOWN)));
}

#[test]
fn late_answers_to_attempts_from_before_change_nothing() {
    let (now, down) = (Instant::now(), failed(ErrorKind::Connection));
    let circuit = circuit();
    for late in 0..10 {
        circuit.note(Purpose::Lookup, &down, now + Duration::from_secs(late));
    }
    circuit.note(Purpose::Lookup, &Outcome::NotFound(None), now);
    assert_eq!(
        circuit.next(),
        Some(Next::Probe(now + Duration::from_secs(2) + COOLDOWN))
    );
}

fn limited(wait: Duration) -> Outcome {
    Outcome::Failed(Failure {
        retry_after: Some(wait),
        ..Failure::new(ErrorKind::RateLimited, "so it is")
    })
}

#[test]
fn a_429_with_retry_after_is_a_pause_that_only_grows_and_ends_by_itself() {
    let (now, circuit) = (Instant::now(), circuit());
    let long = 10 * SHORT;
    circuit.note(Purpose::Lookup, &limited(long), now);
    assert_eq!(
        (circuit.why(), circuit.next()),
        (Some(Why::RateLimited), Some(Next::Resume(now + long)))
    );
    assert!(!circuit.is_open(), "it is no failure");
    circuit.note(Purpose::Lookup, &limited(SHORT), now);
    circuit.note(Purpose::Lookup, &Outcome::NotFound(None), now);
    assert_eq!(
        circuit.paused_until(),
        Some(now + long),
        "a shorter one and a late answer change nothing"
    );
    circuit.pause(long, true, now + SHORT);
    circuit.resume(now + long);
    assert_eq!(circuit.paused_until(), Some(now + long + SHORT));
    circuit.resume(now + long + SHORT);
    assert_eq!(
        (circuit.why(), circuit.next(), circuit.paused_until()),
        (None, None, None)
    );
}

#[test]
fn a_short_pause_leaves_jobs_with_the_worker() {
    let (now, circuit) = (Instant::now(), circuit());
    circuit.note(Purpose::Lookup, &limited(SHORT), now);
    assert_eq!((circuit.why(), circuit.next()), (None, None));
    assert_eq!(circuit.paused_until(), Some(now + SHORT));
    circuit.pause(2 * SHORT, true, now);
    assert_eq!(circuit.why(), Some(Why::RateLimited), "until it grows long");
}

#[test]
fn other_workers_are_told_of_what_they_do_not_know() {
    let (now, circuit) = (Instant::now(), circuit());
    circuit.note(Purpose::Lookup, &limited(SHORT), now);
    assert_eq!(circuit.untold(), Some(now + SHORT));
    circuit.note(Purpose::Lookup, &limited(2 * SHORT), now);
    circuit.told(now + SHORT);
    assert_eq!(circuit.untold(), Some(now + 2 * SHORT), "it grew meanwhile");
    circuit.told(now + 2 * SHORT);
    assert_eq!(circuit.untold(), None);
    circuit.pause(3 * SHORT, true, now);
    assert_eq!(circuit.untold(), None, "it came from another");
}

#[test]
fn no_probe_is_sent_in_a_pause() {
    let (now, down) = (Instant::now(), Some(ErrorKind::Connection));
    let circuit = circuit();
    circuit.pause(2 * COOLDOWN, true, now);
    attempts(&circuit, &[down, down, down], now);
    assert_eq!(circuit.next(), Some(Next::Probe(now + 2 * COOLDOWN)));
    circuit.resume(now + 2 * COOLDOWN);
    assert_eq!(circuit.why(), Some(Why::Failing), "what failed still does");
}

#[test]
fn new_secrets_hurry_the_next_probe_of_refused_credentials_and_of_nothing_else() {
    let (now, refused, down) = (
        Instant::now(),
        Some(ErrorKind::Forbidden),
        Some(ErrorKind::Connection),
    );
    let circuit = circuit();
    attempts(&circuit, &[refused], now);
    circuit.secrets_renewed();
    attempts(&circuit, &[refused], now);
    assert_eq!(circuit.why(), None, "it begins to count anew");
    attempts(&circuit, &[refused], now);
    assert!(
        circuit.hurried().now_or_never().is_none(),
        "nothing was renewed since it opened"
    );
    circuit.secrets_renewed();
    assert!(circuit.hurried().now_or_never().is_some());
    assert!(circuit.hurried().now_or_never().is_none(), "one probe");

    // A hurry that came while the last probe was on its way, which then closed it, is not for the next time.
    circuit.secrets_renewed();
    circuit.note(Purpose::Probe, &Outcome::NotFound(None), now);
    attempts(&circuit, &[refused, refused], now);
    assert!(circuit.hurried().now_or_never().is_none());

    let circuit = self::circuit();
    attempts(&circuit, &[down, down, down], now);
    circuit.secrets_renewed();
    assert!(
        circuit.hurried().now_or_never().is_none(),
        "it fails for another reason"
    );
}
