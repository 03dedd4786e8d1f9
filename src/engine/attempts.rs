//! The attempts of one job: how many were made, and the decision what comes after each.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;

use super::{Conclusion, Engine, Waiting, reply::Reply, report::TokenRefusal};
use crate::{
    clock::Moment,
    failure::{ErrorKind, Failure},
    job::{Job, PriorAttempts},
    lane::Lane,
    outcome::Outcome,
    policy::{circuit::Purpose, retry},
    provider::class,
    telemetry::traces::Span,
};

/// Where the quota gave nothing for a long time, the job is parked for about this long.
pub(super) const NOT_SOON: Duration = Duration::from_mins(5);

/// A request that was held back since its permission was void by then is none, and another permission is asked for;
/// but where that happens time and again, something is wrong.
const MOST_UNSENT: u32 = 5;

/// A token that was refused and that its endpoint hands out again, from a cache of its own, is asked for anew after
/// each of these.
const ASKED_ANEW_AFTER: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(2),
];

/// The attempts of one job so far.
pub(super) struct Attempts<'a> {
    /// Whose children the requests are.
    pub span: &'a Span,
    /// A number by which the job is known.
    pub job: u64,
    /// HTTP requests made for it.
    pub made: u32,
    /// Most lookups, its own included, that may share its next request. Batches that could not be split lower it.
    pub batch_limit: usize,
    spared: u32,
    http_status: Option<u16>,
    /// What the last request was authorised by, where that was refused.
    refused: Option<HeaderValue>,
    /// How often the same token was asked for anew.
    asked_anew: usize,
    /// Requests that were not sent after all.
    unsent: u32,
    /// A connection broke as it was used again.
    broken_off: bool,
    waiting: Waiting,
    /// How the last attempt of a step failed.
    failure: Option<Failure>,
}

/// What an attempt brought for one job.
pub(super) struct Attempted {
    /// None where it must be asked again, with fewer others.
    outcome: Option<Outcome>,
    payload: Option<Bytes>,
    /// So many lookups shared the request.
    shared_by: usize,
    /// The request was not sent after all.
    unsent: bool,
    /// Requests made besides the last.
    broken: u32,
    /// A connection broke as it was used again, and there was no permission to ask again at once.
    stale: bool,
    /// Where a fresh token may be let in.
    refused: Option<Rc<TokenRefusal>>,
}

/// What comes next.
pub(super) enum NextStep {
    /// Nothing, for now.
    Over(Conclusion),
    /// Another attempt.
    AtOnce,
    /// Another attempt after a wait.
    After(Duration),
}

/// Why an attempt was not made.
pub(super) enum NotMade {
    /// The deadline came first; what was in the way, in words.
    TooLate(String),
    /// No permit can be had any more: the worker stops.
    Gone,
    /// The quota gives no permission for now.
    NotSoon,
    /// The circuit opened.
    CircuitOpen,
    /// The job may not be held here any longer.
    LeaseOver,
    /// The quota gives no permission before a step's deadline.
    OutOfQuota,
    /// Nobody wants a step's answer any more.
    Forsaken,
}

impl Attempted {
    /// The part of the reply that bears this number. There is no reply if the job's own time was over first.
    pub fn of(reply: Option<Rc<Reply>>, number: usize, limit: Duration) -> Self {
        let Some(reply) = reply else {
            let message = format!("no whole answer within {} ms", limit.as_millis());
            let outcome = Some(Outcome::Failed(Failure::new(ErrorKind::Timeout, message)));
            return Self {
                outcome,
                payload: None,
                shared_by: 1,
                unsent: false,
                broken: 0,
                stale: false,
                refused: None,
            };
        };
        let mut reply = Rc::unwrap_or_clone(reply);
        let (shared_by, unsent) = (reply.outcomes.len(), reply.unsent);
        let (broken, stale) = (reply.broken, reply.stale);
        Self {
            outcome: reply.outcomes.swap_remove(number),
            payload: reply.payload,
            shared_by,
            unsent,
            broken,
            stale,
            refused: reply.refused,
        }
    }
}

impl<'a> Attempts<'a> {
    pub fn new(job: &Job, span: &'a Span, waiting: Waiting) -> Self {
        let PriorAttempts {
            attempts,
            spared,
            http_status,
            ..
        } = job.ticket.prior;
        let mut job_hash = DefaultHasher::new();
        job.ticket.id.hash(&mut job_hash);
        Self {
            span,
            job: job_hash.finish(),
            made: attempts,
            batch_limit: usize::MAX,
            spared,
            http_status,
            refused: None,
            asked_anew: 0,
            unsent: 0,
            broken_off: false,
            waiting,
            failure: None,
        }
    }

    /// Attempts that are held against the job.
    pub fn failed(&self) -> u32 {
        self.made.saturating_sub(self.spared)
    }

    /// How long to wait before another token is tried; none where that makes no sense any more.
    fn until_another_token(&mut self, refusal: &TokenRefusal) -> Option<Duration> {
        match self.refused.replace(refusal.used.clone()) {
            None => Some(Duration::ZERO),
            Some(before) if refusal.used == before => {
                self.asked_anew += 1;
                ASKED_ANEW_AFTER.get(self.asked_anew - 1).copied()
            }
            Some(_) => None,
        }
    }

    /// The attempt could not be made.
    pub fn held_up(&mut self, not_made: NotMade) -> NextStep {
        let Self {
            spared,
            http_status,
            waiting,
            ..
        } = *self;
        let ends_step = matches!(not_made, NotMade::OutOfQuota | NotMade::Forsaken);
        if ends_step && let Some(failure) = self.failure.take() {
            return NextStep::Over(Conclusion::Exhausted(failure));
        }
        NextStep::Over(match not_made {
            NotMade::OutOfQuota | NotMade::Forsaken => Conclusion::OutOfQuota,
            NotMade::CircuitOpen => Conclusion::CircuitOpen {
                http_status,
                spared,
            },
            NotMade::LeaseOver => Conclusion::LeaseOver {
                http_status,
                spared,
            },
            NotMade::Gone => Conclusion::Abandoned,
            NotMade::TooLate(why) => {
                let last = match &self.failure {
                    Some(last) => format!(
                        "the provider could not be asked again ({why}); the last attempt: {}",
                        last.message
                    ),
                    None => format!("the provider could not be asked: {why}"),
                };
                Conclusion::over(too_late(&last, http_status))
            }
            NotMade::NotSoon if waiting == Waiting::Here => {
                return NextStep::AtOnce;
            }
            NotMade::NotSoon => {
                let failure = Failure::new(
                    ErrorKind::RateLimited,
                    "the quota gives no permission for now",
                );
                Conclusion::RetryLater {
                    failure,
                    wait: NOT_SOON,
                    spared,
                }
            }
        })
    }
}

impl Engine {
    /// What comes next after an attempt.
    pub(super) fn after(&self, job: &Job, attempts: &mut Attempts, answer: Attempted) -> NextStep {
        let waiting = attempts.waiting;
        if answer.unsent && attempts.unsent < MOST_UNSENT {
            attempts.unsent += 1;
            attempts.made -= 1;
            return NextStep::AtOnce;
        }
        attempts.made += answer.broken;
        // Once, that is: where every connection breaks, it is the provider's hour.
        if answer.stale && !std::mem::replace(&mut attempts.broken_off, true) {
            return NextStep::AtOnce;
        }
        let Some(outcome) = answer.outcome else {
            // The others' fault, perhaps.
            attempts.spared += 1;
            attempts.batch_limit = answer.shared_by.div_ceil(2);
            return NextStep::AtOnce;
        };
        if let Some(refusal) = answer.refused {
            let wait = attempts.until_another_token(&refusal);
            if let Some(wait) = wait.filter(|wait| is_before(job.deadline, *wait)) {
                return NextStep::After(wait);
            }
            refusal.is_final();
        }
        match outcome {
            // It says nothing of the customer, and is held against the job no more than it is answered with it.
            Outcome::Failed(failure)
                if failure.is_refusal()
                    && !self.may_end(waiting, &failure)
                    && !is_call_s_step(job) =>
            {
                NextStep::Over(Conclusion::CircuitOpen {
                    http_status: failure.http_status.or(attempts.http_status),
                    spared: attempts.spared + 1,
                })
            }
            Outcome::Failed(failure) if failure.kind.retryable() => {
                self.after_failure(job, attempts, failure)
            }
            outcome => {
                let raw = answer
                    .payload
                    .filter(|_| job.lookup.raw)
                    .and_then(|body| self.adapter().raw(&body));
                NextStep::Over(Conclusion::Answered { outcome, raw })
            }
        }
    }

    /// Whether no job asks it now, but a probe perhaps.
    fn is_left_alone(&self, waiting: Waiting) -> bool {
        self.circuit.paused().is_some() || (waiting != Waiting::Here && self.circuit.is_open())
    }

    /// Whether a job may be answered with this refusal; else it waits in its queue.
    fn may_end(&self, waiting: Waiting, refusal: &Failure) -> bool {
        let may = waiting == Waiting::Here || self.circuit.lets_refuse(refusal, Instant::now());
        self.show_circuit();
        may
    }

    fn after_failure(&self, job: &Job, attempts: &mut Attempts, failure: Failure) -> NextStep {
        let retry = &self.settings.retry;
        attempts.http_status = failure.http_status.or(attempts.http_status);
        let Attempts {
            spared,
            http_status,
            waiting,
            ..
        } = *attempts;
        let is_last = attempts.failed() >= retry.max_attempts;
        let wait = self.wait(attempts.failed(), &failure);
        // After the last attempt nothing is waited for.
        let until_next = if is_last { Duration::ZERO } else { wait };
        if !is_before(job.deadline, until_next) {
            // Another attempt would come to nothing, and somebody waits for the answer.
            let ends_by_itself = job.step.is_some() && is_before(job.deadline, Duration::ZERO);
            return NextStep::Over(if ends_by_itself {
                Conclusion::Exhausted(failure)
            } else {
                Conclusion::over(too_late(&failure.message, http_status))
            });
        }
        if let Some(step) = &job.step {
            // Other providers may answer the call meanwhile.
            let skips = is_call_s_step(job) && self.is_left_alone(waiting);
            if skips || step.is_forsaken() {
                return NextStep::Over(Conclusion::Exhausted(failure));
            }
            attempts.failure = Some(failure.clone());
        }
        let open = waiting != Waiting::Here && self.circuit.why().is_some();
        let is_probe = waiting.purpose() == Purpose::Probe;
        if is_last {
            // A probe is an attempt like any other, so that a job that alone fails has an end. But a provider that is
            // ill uses up no job while others could be the next probe, for as many times again.
            let others = waiting == (Waiting::Probing { alone: false });
            if open && others && spared < retry.max_attempts {
                return NextStep::Over(Conclusion::CircuitOpen {
                    http_status,
                    spared: spared + 1,
                });
            }
            return NextStep::Over(Conclusion::Exhausted(failure));
        }
        if open && (failure.retry_after.is_none() || is_probe) {
            return NextStep::Over(Conclusion::CircuitOpen {
                http_status,
                spared,
            });
        }
        self.metrics.retried(failure.kind);
        let here = wait <= retry.in_process_limit
            && !self.must_rest(&failure)
            && job.lease.lasts_beyond(Moment::now().after(wait));
        if waiting != Waiting::Here && !here {
            return NextStep::Over(Conclusion::RetryLater {
                failure,
                wait,
                spared,
            });
        }
        NextStep::After(wait)
    }

    fn wait(&self, attempts: u32, failure: &Failure) -> Duration {
        let wait = retry::delay(&self.settings.retry, attempts, failure);
        let rest = self
            .settings
            .retry
            .delays
            .first()
            .filter(|_| self.must_rest(failure));
        wait.max(rest.map_or(Duration::ZERO, |step| step.wait))
    }

    /// Whether the kind's document advises against a quick repeat.
    fn must_rest(&self, failure: &Failure) -> bool {
        failure.http_status == Some(500) && self.adapter().rules().rest_after_500
    }
}

/// Whether other providers may answer a call meanwhile.
fn is_call_s_step(job: &Job) -> bool {
    job.step.is_some() && job.ticket.lane == Lane::Interactive
}

/// Whether a wait from now on is over before the deadline.
fn is_before(deadline: Option<Timestamp>, wait: Duration) -> bool {
    deadline.is_none_or(|deadline| class::until(deadline, Timestamp::now()) > wait)
}

impl Conclusion {
    fn over(failure: Failure) -> Self {
        Self::Answered {
            outcome: Outcome::Failed(failure),
            raw: None,
        }
    }
}

fn too_late(last: &str, http_status: Option<u16>) -> Failure {
    let message = format!("the job's deadline came before an answer: {last}");
    Failure {
        http_status,
        ..Failure::new(ErrorKind::DeadlineExceeded, message)
    }
}
