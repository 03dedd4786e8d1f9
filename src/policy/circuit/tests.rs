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

/// Until when it is paused.
fn end(circuit: &Circuit) -> Option<Instant> {
    circuit.paused()?.until
}

fn failed(kind: ErrorKind) -> Outcome {
    let failure = Failure::new(kind, "so it is");
    Outcome::Failed(match kind {
        // In the provider's own words.
        ErrorKind::Rejected => failure.about_customer(),
        _ => failure,
    })
}

/// What comes of one job's attempt; a refusal, if it is to be answered with it.
fn one(circuit: &Circuit, job: u64, kind: Option<ErrorKind>, now: Instant) {
    let outcome = kind.map_or(Outcome::NotFound(None), failed);
    circuit.note(Purpose::Lookup, &outcome, &[job], now);
    if let Outcome::Failed(failure) = &outcome
        && failure.is_refusal()
    {
        let _ = circuit.lets_refuse(failure, now);
    }
}

fn attempts(circuit: &Circuit, kinds: &[Option<ErrorKind>], now: Instant) {
    for (job, kind) in (0..).zip(kinds) {
        one(circuit, job, *kind, now);
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
        (circuit.why(), circuit.recovery()),
        (Some(Why::Failing), Some(Recovery::Probe(now + COOLDOWN)))
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
        circuit.note(Purpose::Probe, &failed(kind), &[9], start + at * COOLDOWN);
        assert_eq!(
            circuit.recovery(),
            Some(Recovery::Probe(start + (at + 1) * COOLDOWN)),
            "{kind:?}"
        );
    }
    circuit.note(
        Purpose::Probe,
        &Outcome::NotFound(None),
        &[9],
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
    for job in 0..3 {
        circuit.note(
            Purpose::Lookup,
            &Outcome::Failed(failure.clone()),
            &[job],
            now,
        );
    }
    assert_eq!(
        circuit.recovery(),
        Some(Recovery::Probe(now + 2 * COOLDOWN))
    );
}

#[test]
fn late_answers_to_attempts_from_before_change_nothing() {
    let (now, down) = (Instant::now(), failed(ErrorKind::Connection));
    let circuit = circuit();
    for late in 0..10 {
        let now = now + Duration::from_secs(late);
        circuit.note(Purpose::Lookup, &down, &[late], now);
    }
    circuit.note(Purpose::Lookup, &Outcome::NotFound(None), &[1], now);
    assert_eq!(
        circuit.recovery(),
        Some(Recovery::Probe(now + Duration::from_secs(2) + COOLDOWN))
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
    circuit.note(Purpose::Lookup, &limited(long), &[1], now);
    assert_eq!(
        (circuit.why(), circuit.recovery()),
        (
            Some(Why::RateLimited),
            Some(Recovery::Resume(Some(now + long)))
        )
    );
    assert!(!circuit.is_open(), "it is no failure");
    circuit.note(Purpose::Lookup, &limited(SHORT), &[1], now);
    circuit.note(Purpose::Lookup, &Outcome::NotFound(None), &[1], now);
    assert_eq!(
        end(&circuit),
        Some(now + long),
        "a shorter one and a late answer change nothing"
    );
    circuit.pause(long, true, now + SHORT);
    circuit.resume(now + long);
    assert_eq!(end(&circuit), Some(now + long + SHORT));
    circuit.resume(now + long + SHORT);
    assert_eq!(
        (circuit.why(), circuit.recovery(), end(&circuit)),
        (None, None, None)
    );
}

#[test]
fn a_short_pause_leaves_jobs_with_the_worker() {
    let (now, circuit) = (Instant::now(), circuit());
    circuit.note(Purpose::Lookup, &limited(SHORT), &[1], now);
    assert_eq!((circuit.why(), circuit.recovery()), (None, None));
    assert_eq!(end(&circuit), Some(now + SHORT));
    circuit.pause(2 * SHORT, true, now);
    assert_eq!(circuit.why(), Some(Why::RateLimited), "until it grows long");
}

#[test]
fn other_workers_are_told_of_what_they_do_not_know() {
    let (now, circuit) = (Instant::now(), circuit());
    circuit.note(Purpose::Lookup, &limited(SHORT), &[1], now);
    assert_eq!(circuit.untold(), Some(now + SHORT));
    circuit.note(Purpose::Lookup, &limited(2 * SHORT), &[1], now);
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
    assert_eq!(
        circuit.recovery(),
        Some(Recovery::Probe(now + 2 * COOLDOWN))
    );
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
    circuit.note(Purpose::Probe, &Outcome::NotFound(None), &[9], now);
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

#[test]
fn what_one_job_or_two_meet_again_and_again_is_their_affair_and_three_are_a_sign() {
    let (now, down) = (Instant::now(), Some(ErrorKind::ProviderError));
    let circuit = circuit();
    for round in 0..100 {
        one(&circuit, round % 2, down, now);
    }
    assert_eq!(circuit.why(), None);
    one(&circuit, 2, down, now);
    assert_eq!(circuit.why(), Some(Why::Failing));

    let circuit = self::circuit();
    for job in 0..100 {
        one(&circuit, job, down, now);
        one(&circuit, 1000, None, now);
    }
    assert_eq!(circuit.why(), None, "others are answered in between");
}

#[test]
fn what_the_provider_says_of_one_customer_is_a_good_sign_whatever_its_class() {
    let (now, down) = (Instant::now(), Some(ErrorKind::ProviderError));
    let circuit = circuit();
    let pending = Failure::new(ErrorKind::ProviderError, "so it is").about_customer();
    let pending = Outcome::Failed(pending);
    for job in 0..10 {
        circuit.note(Purpose::Lookup, &pending, &[job], now);
    }
    assert_eq!(circuit.why(), None);
    attempts(&circuit, &[down, down, down], now);
    circuit.note(Purpose::Probe, &pending, &[1], now);
    assert_eq!(circuit.why(), None, "it answers");
    circuit.note(Purpose::Probe, &failed(ErrorKind::Timeout), &[1], now);
    assert_eq!(circuit.why(), None, "the same job's next attempt is none");
}

#[test]
fn no_more_jobs_are_answered_with_a_refusal_than_the_limit_says_however_many_were_in_flight() {
    let now = Instant::now();
    for (kind, why) in [
        (ErrorKind::Forbidden, Why::Credentials),
        (ErrorKind::BadResponse, Why::Refusing),
        (ErrorKind::EndpointNotFound, Why::Refusing),
        (ErrorKind::Rejected, Why::Refusing),
    ] {
        let circuit = circuit();
        let refusal = Failure::new(kind, "so it is");
        for job in 0..128 {
            circuit.note(
                Purpose::Lookup,
                &Outcome::Failed(refusal.clone()),
                &[job],
                now,
            );
        }
        let answered = (0..128)
            .filter(|_| circuit.lets_refuse(&refusal, now))
            .count();
        assert_eq!((answered, circuit.why()), (2, Some(why)), "{kind:?}");
        let last = circuit.open_by().map(|(_, last)| last.kind);
        assert_eq!(last, Some(kind));
    }
}

#[test]
fn a_circuit_without_a_job_to_probe_with_is_half_open_until_one_comes() {
    let (now, down) = (Instant::now(), Some(ErrorKind::Connection));
    let circuit = circuit();
    circuit.lacks_a_job();
    assert!(!circuit.is_half_open(), "it is closed");
    attempts(&circuit, &[down, down, down], now);
    assert!(circuit.is_open() && !circuit.is_half_open());
    circuit.lacks_a_job();
    assert!(circuit.is_open() && circuit.is_half_open());
    circuit.note(Purpose::Probe, &failed(ErrorKind::Timeout), &[1], now);
    assert!(circuit.is_open() && !circuit.is_half_open());
}

#[test]
fn a_pause_by_hand_holds_also_an_open_circuit_and_its_end_sends_a_probe_at_once() {
    let (now, down) = (Instant::now(), Some(ErrorKind::Connection));
    let circuit = circuit();
    circuit.pause_by_hand(None, now);
    assert_eq!(
        (circuit.why(), circuit.recovery()),
        (Some(Why::ByHand), Some(Recovery::Resume(None)))
    );
    attempts(&circuit, &[down, down, down], now);
    assert_eq!(circuit.recovery(), Some(Recovery::Resume(None)), "no probe");
    circuit.lift();
    assert_eq!(circuit.recovery(), Some(Recovery::Probe(now + COOLDOWN)));
    assert!(circuit.hurried().now_or_never().is_some());
}
