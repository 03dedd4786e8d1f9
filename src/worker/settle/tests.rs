//! What is published where for each ending, and what becomes of the job, without a broker.

use std::{cell::RefCell, collections::VecDeque, fs};

use super::*;
use crate::{
    broker::Health,
    job::{NotAJob, Ticket},
    outcome::Outcome,
    settings,
    telemetry::{metrics::Metrics, readiness::Readiness},
};

/// Says of each publish in turn what is to become of it, and then that it is confirmed.
#[derive(Default)]
struct Script {
    health: Rc<Health>,
    fates: RefCell<VecDeque<Fate>>,
    published: RefCell<Vec<String>>,
}

impl Publish for Script {
    async fn publish(
        &self,
        route: Route<'_>,
        message: &dyn Fn() -> Message,
    ) -> Result<Fate, BrokerError> {
        let (to, message) = (place(route), message());
        let said = |name| message.said(name);
        let what = match (said(header::ERROR), said(header::STATUS)) {
            (Some(error), Some(_)) => format!("a result, {error}"),
            (Some(error), None) => format!("the job, {error}"),
            (None, Some(status)) => status,
            (None, None) => "the job".to_owned(),
        };
        self.published.borrow_mut().push(format!("{to}: {what}"));
        Ok(self
            .fates
            .borrow_mut()
            .pop_front()
            .unwrap_or(Fate::Confirmed))
    }

    fn health(&self) -> &Rc<Health> {
        &self.health
    }
}

fn place(route: Route) -> String {
    match route {
        Route::Kept { exchange, key } | Route::Exchange { exchange, key } => {
            format!("{exchange}[{key}]")
        }
        Route::Queue(queue) => queue.to_owned(),
        Route::Direct(_) => "direct".to_owned(),
    }
}

fn worker() -> Worker {
    let file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
    let text = "[amqp]\nurl = \"amqp://127.0.0.1\"\n[reply]\nallow = [\"replies\", \"amq.*\"]\n[providers.a]\n\
                kind = \"antsomi\"\nbase_url = \"http://127.0.0.1:1\"\ntoken = \"sandbox-antsomi-token\"\n";
    fs::write(file.path(), text).expect("a file of ours");
    let settings = settings::load(Some(file.path())).expect("a configuration");
    Worker::new(settings, Metrics::new(), Readiness::default()).expect("a worker")
}

/// What was published, and whether the job is acknowledged; an error where the session ends.
async fn settled(
    worker: &Worker,
    received: &Received,
    ending: Ending,
    script: &Script,
) -> (Vec<String>, Result<bool, ()>) {
    let settlement = Settlement {
        worker,
        provider: worker.providers.get("a"),
        publisher: script,
        received,
        span: &Span::default(),
    };
    let replaced = settlement.replace(ending).await.map_err(drop);
    assert_eq!(replaced.is_err(), !script.health.is_well());
    (script.published.take(), replaced)
}

fn ticket(received: &Received) -> Ticket {
    Ticket::of(&received.envelope, received.arrived.0)
}

fn failed(kind: ErrorKind) -> Failure {
    Failure::new(kind, "as the test says")
}

type End = fn(Ticket) -> Ending;

fn found_nobody(ticket: Ticket) -> Ending {
    Ending::answered(ticket, Outcome::NotFound(None), None, 1)
}

fn too_late(ticket: Ticket) -> Ending {
    let failure = failed(ErrorKind::DeadlineExceeded);
    Ending::answered(ticket, Outcome::Failed(failure), None, 1)
}

fn refused(ticket: Ticket) -> Ending {
    let failure = failed(ErrorKind::Unauthorized);
    Ending::answered(ticket, Outcome::Failed(failure), None, 1)
}

fn exhausted(ticket: Ticket) -> Ending {
    Ending::exhausted(ticket, failed(ErrorKind::Timeout), 4)
}

fn no_job(ticket: Ticket) -> Ending {
    let failure = failed(ErrorKind::InvalidJob);
    Ending::refused(NotAJob { ticket, failure })
}

fn parked(ticket: Ticket) -> Ending {
    let failure = failed(ErrorKind::ProviderError);
    Ending::parked(ticket, &failure, Duration::from_secs(20), 1, 0)
}

fn put_back(ticket: Ticket) -> Ending {
    Ending::put_back(ticket, None, 0, 0)
}

fn foreign(_: Ticket) -> Ending {
    Ending::Foreign
}

fn waits(ticket: Ticket) -> Ending {
    Ending::waits(&ticket, None, 0, 0)
}

fn abandoned(_: Ticket) -> Ending {
    Ending::Abandoned
}

#[tokio::test]
async fn each_ending_is_published_to_its_place_before_the_job_is_acknowledged() {
    let worker = worker();
    let (own, direct) = (Some("replies"), Some("amq.rabbitmq.reply-to.1"));
    let table: [(End, Option<&str>, &[&str], bool); 15] = [
        (
            found_nobody,
            None,
            &["lookup.results[a.not_found]: not_found"],
            true,
        ),
        (found_nobody, own, &["replies: not_found"], true),
        (found_nobody, direct, &["direct: not_found"], true),
        // Neither is the requester's: the one is ours, and the other is not allowed.
        (
            no_job,
            Some("lookup.dead"),
            &[
                "lookup.dead[]: the job, invalid_job",
                "lookup.results[a.failed]: failed",
            ],
            true,
        ),
        (
            no_job,
            Some("others"),
            &[
                "lookup.dead[]: the job, invalid_job",
                "lookup.results[a.failed]: failed",
            ],
            true,
        ),
        (
            no_job,
            own,
            &["lookup.dead[]: the job, invalid_job", "replies: failed"],
            true,
        ),
        (too_late, own, &["replies: failed"], true),
        (
            refused,
            own,
            &["lookup.dead[]: the job, unauthorized", "replies: failed"],
            true,
        ),
        (
            exhausted,
            own,
            &["lookup.dead[]: the job, timeout", "replies: failed"],
            true,
        ),
        (
            exhausted,
            None,
            &[
                "lookup.dead[]: the job, timeout",
                "lookup.results[a.failed]: failed",
            ],
            true,
        ),
        (parked, own, &["lookup.delay.30s: the job"], true),
        (put_back, own, &["lookup.jobs[a.bulk]: the job"], true),
        (foreign, own, &["lookup.delay.30s: the job"], true),
        (waits, own, &[], false),
        (abandoned, own, &[], false),
    ];
    for (number, (end, reply_to, expected, acknowledged)) in table.into_iter().enumerate() {
        let received = Received::example("a.bulk", reply_to, false);
        let ending = end(ticket(&received));
        let (published, replaced) = settled(&worker, &received, ending, &Script::default()).await;
        assert_eq!(published, expected, "row {number}");
        assert_eq!(replaced, Ok(acknowledged), "row {number}");
    }
}

#[tokio::test]
async fn a_result_that_its_requester_cannot_be_given_is_a_dead_letter() {
    let worker = worker();
    let undeliverable = "lookup.dead[]: a result, undeliverable_result";
    let nobody_waits = "lookup.dead[]: a result, too_late_result";
    let table: [(End, Option<&str>, Fate, &str); 5] = [
        (found_nobody, Some("replies"), Fate::Returned, undeliverable),
        (found_nobody, Some("replies"), Fate::Refused, undeliverable),
        (found_nobody, Some("replies"), Fate::Silent, undeliverable),
        (too_late, Some("replies"), Fate::Returned, nobody_waits),
        (found_nobody, None, Fate::Refused, undeliverable),
    ];
    for (number, (end, reply_to, fate, expected)) in table.into_iter().enumerate() {
        let received = Received::example("a.bulk", reply_to, false);
        let script = Script::default();
        script.fates.borrow_mut().push_back(fate);
        let ending = end(ticket(&received));
        let (published, replaced) = settled(&worker, &received, ending, &script).await;
        assert_eq!(published[1..], [expected], "row {number}");
        assert_eq!(replaced, Ok(true), "row {number}");
    }
}

#[tokio::test]
async fn a_result_that_is_too_large_is_answered_by_a_failure_and_the_job_is_a_dead_letter() {
    let (worker, script) = (worker(), Script::default());
    script.fates.borrow_mut().push_back(Fate::TooLarge);
    let received = Received::example("a.bulk", Some("replies"), false);
    let ending = found_nobody(ticket(&received));
    let (published, replaced) = settled(&worker, &received, ending, &script).await;
    let expected = [
        "replies: not_found",
        "lookup.dead[]: the job, bad_response",
        "replies: failed",
    ];
    assert_eq!(published, expected);
    assert_eq!(replaced, Ok(true));
}

#[tokio::test]
async fn where_a_queue_of_the_workers_own_takes_nothing_the_job_stays_and_the_session_ends() {
    let worker = worker();
    for fate in [Fate::Returned, Fate::Refused, Fate::TooLarge, Fate::Silent] {
        for end in [parked, put_back, foreign, exhausted] {
            let received = Received::example("a.bulk", None, false);
            let script = Script::default();
            script.fates.borrow_mut().push_back(fate);
            let ending = end(ticket(&received));
            let (published, replaced) = settled(&worker, &received, ending, &script).await;
            assert_eq!(published.len(), 1, "{fate:?}: {published:?}");
            assert_eq!(replaced, Err(()), "{fate:?}: {published:?}");
        }
    }
}

#[tokio::test]
async fn what_was_confirmed_in_this_session_is_not_published_again() {
    let (worker, script) = (worker(), Script::default());
    let received = Received::example("a.bulk", None, false);
    let Ending::Answered(answer) = found_nobody(ticket(&received)) else {
        panic!("an answer");
    };
    for expected in [1, 0] {
        let ending = Ending::Answered(Rc::clone(&answer));
        let (published, replaced) = settled(&worker, &received, ending, &script).await;
        assert_eq!((published.len(), replaced), (expected, Ok(true)));
    }
    let next = Script::default();
    let ending = Ending::Answered(answer);
    let (published, _) = settled(&worker, &received, ending, &next).await;
    assert_eq!(
        published.len(),
        1,
        "what the last session confirmed may be lost"
    );
}

#[tokio::test]
async fn a_suspect_goes_back_among_the_suspects_and_parked_to_its_first_queue() {
    let worker = worker();
    let table: [(End, &str, &str); 3] = [
        (put_back, "a.bulk", "lookup.suspect.a: the job"),
        (
            put_back,
            "a.interactive",
            "lookup.suspect.a.interactive: the job",
        ),
        (parked, "a.bulk", "lookup.delay.30s: the job"),
    ];
    for (end, key, expected) in table {
        let received = Received::example(key, None, true);
        let ending = end(ticket(&received));
        let (published, replaced) = settled(&worker, &received, ending, &Script::default()).await;
        assert_eq!(published, [expected]);
        assert_eq!(replaced, Ok(true));
    }
}
