//! How far one job has come, and what comes next for it: the decisions between two attempts.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;

use super::{Conclusion, Engine, Waiting, attempt::Obstacle, call::Heard};
use crate::{
    failure::{ErrorKind, Failure},
    job::{Job, Progress},
    policy::{circuit::Purpose, retry},
    provider::{Outcome, class},
    quota::Unpermitted,
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

/// How far a job has come.
pub(super) struct Course {
    /// A number by which the job is known.
    pub job: u64,
    /// HTTP requests made for it.
    pub attempts: u32,
    /// Most lookups that it may share a request with, itself included, by what came of such requests.
    pub company: usize,
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
}

/// What an attempt brought for one job.
pub(super) struct Answer {
    /// None where it must be asked again, with fewer others.
    outcome: Option<Outcome>,
    payload: Option<Bytes>,
    /// It came with so many, itself included.
    company: usize,
    /// The request was not sent after all.
    unsent: bool,
    /// Requests made besides the last.
    broken: u32,
    /// A connection broke as it was used again, and there was no leave to ask again at once.
    stale: bool,
    /// Where a fresh token may be let in: the call, of which the circuit does not know yet.
    refused: Option<Rc<Heard>>,
}

/// What comes next.
pub(super) enum Next {
    /// Nothing, for now.
    Over(Conclusion),
    /// Another attempt.
    AtOnce,
    /// Another attempt after a wait.
    After(Duration),
}

impl Answer {
    /// The part of what was heard that bears this number; none was heard in the time that there was.
    pub fn of(heard: Option<Rc<Heard>>, number: usize, limit: Duration) -> Self {
        let Some(heard) = heard else {
            let message = format!("no whole answer within {} ms", limit.as_millis());
            let outcome = Some(Outcome::Failed(Failure::new(ErrorKind::Timeout, message)));
            return Self {
                outcome,
                payload: None,
                company: 1,
                unsent: false,
                broken: 0,
                stale: false,
                refused: None,
            };
        };
        let refused = heard.token_refused.then(|| Rc::clone(&heard));
        let mut heard = Rc::unwrap_or_clone(heard);
        let (company, unsent) = (heard.outcomes.len(), heard.unsent);
        let (broken, stale) = (heard.broken, heard.stale);
        Self {
            outcome: heard.outcomes.swap_remove(number),
            payload: heard.payload,
            company,
            unsent,
            broken,
            stale,
            refused,
        }
    }
}

impl Course {
    pub fn new(job: &Job, waiting: Waiting) -> Self {
        let Progress {
            attempts,
            spared,
            http_status,
            ..
        } = job.ticket.progress;
        let mut job_hash = DefaultHasher::new();
        job.ticket.id.hash(&mut job_hash);
        Self {
            job: job_hash.finish(),
            attempts,
            company: usize::MAX,
            spared,
            http_status,
            refused: None,
            asked_anew: 0,
            unsent: 0,
            broken_off: false,
            waiting,
        }
    }

    /// Attempts that are held against the job.
    pub fn failed(&self) -> u32 {
        self.attempts.saturating_sub(self.spared)
    }

    /// How long to wait before another token is tried; none where that makes no sense any more.
    fn until_another_token(&mut self, heard: &Heard) -> Option<Duration> {
        let before = std::mem::replace(&mut self.refused, heard.used.clone());
        match before {
            None => Some(Duration::ZERO),
            Some(before) if heard.used.as_ref() == Some(&before) => {
                self.asked_anew += 1;
                ASKED_ANEW_AFTER.get(self.asked_anew - 1).copied()
            }
            Some(_) => None,
        }
    }

    /// The attempt could not be made.
    pub fn held_up(&self, obstacle: Obstacle) -> Next {
        let Self {
            spared,
            http_status,
            waiting,
            ..
        } = *self;
        Next::Over(match obstacle {
            Obstacle::Suspended => Conclusion::Suspended {
                http_status,
                spared,
            },
            Obstacle::Unpermitted(Unpermitted::Gone) => Conclusion::Abandoned,
            Obstacle::Unpermitted(Unpermitted::TooLate) => {
                Conclusion::over(too_late("no attempt could be made in time", http_status))
            }
            Obstacle::Unpermitted(Unpermitted::NotSoon) if waiting == Waiting::Here => {
                return Next::AtOnce;
            }
            Obstacle::Unpermitted(Unpermitted::NotSoon) => {
                let failure = Failure::new(
                    ErrorKind::RateLimited,
                    "the quota gives no permission for now",
                );
                Conclusion::Pause {
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
    pub(super) fn after(&self, job: &Job, course: &mut Course, answer: Answer) -> Next {
        let waiting = course.waiting;
        if answer.unsent && course.unsent < MOST_UNSENT {
            course.unsent += 1;
            course.attempts -= 1;
            return Next::AtOnce;
        }
        course.attempts += answer.broken;
        // Once, that is: where every connection breaks, it is the provider's hour.
        if answer.stale && !std::mem::replace(&mut course.broken_off, true) {
            return Next::AtOnce;
        }
        let Some(outcome) = answer.outcome else {
            // The others' fault, perhaps.
            course.spared += 1;
            course.company = answer.company.div_ceil(2);
            return Next::AtOnce;
        };
        if let Some(heard) = answer.refused {
            let wait = course.until_another_token(&heard);
            if let Some(wait) = wait.filter(|wait| is_before(job.deadline, *wait)) {
                return Next::After(wait);
            }
            self.note(waiting.purpose(), &heard);
        }
        match outcome {
            // It says nothing of the customer, and is held against the job no more than it is answered with it.
            Outcome::Failed(failure)
                if failure.is_refusal() && !self.may_end(waiting, &failure) =>
            {
                Next::Over(Conclusion::Suspended {
                    http_status: failure.http_status.or(course.http_status),
                    spared: course.spared + 1,
                })
            }
            Outcome::Failed(failure) if failure.kind.retryable() => {
                self.after_failure(job, course, failure)
            }
            outcome => {
                let raw = answer
                    .payload
                    .filter(|_| job.lookup.raw)
                    .and_then(|body| self.adapter().raw(&body));
                Next::Over(Conclusion::Answered { outcome, raw })
            }
        }
    }

    /// Whether a job may be answered with this refusal; else it waits in its queue.
    fn may_end(&self, waiting: Waiting, refusal: &Failure) -> bool {
        let may = waiting == Waiting::Here || self.circuit.lets_refuse(refusal, Instant::now());
        self.show_circuit();
        may
    }

    fn after_failure(&self, job: &Job, course: &mut Course, failure: Failure) -> Next {
        let retry = &self.settings.retry;
        course.http_status = failure.http_status.or(course.http_status);
        let Course {
            spared,
            http_status,
            waiting,
            ..
        } = *course;
        let wait = self.wait(course.failed(), &failure);
        if !is_before(job.deadline, wait) {
            // Another attempt would come to nothing, and somebody waits for the answer.
            return Next::Over(Conclusion::over(too_late(&failure.message, http_status)));
        }
        let open = waiting != Waiting::Here && self.circuit.why().is_some();
        let is_probe = waiting.purpose() == Purpose::Probe;
        if course.failed() >= retry.max_attempts {
            // A probe is an attempt like any other, so that a job that alone fails has an end. But a provider that is
            // ill uses up no job while others could be the next probe, for as many times again.
            let others = waiting == (Waiting::Probing { alone: false });
            if open && others && spared < retry.max_attempts {
                return Next::Over(Conclusion::Suspended {
                    http_status,
                    spared: spared + 1,
                });
            }
            return Next::Over(Conclusion::Exhausted(failure));
        }
        if open && (failure.retry_after.is_none() || is_probe) {
            return Next::Over(Conclusion::Suspended {
                http_status,
                spared,
            });
        }
        self.metrics.retried(failure.kind);
        let here = wait <= retry.in_process_limit && !self.must_rest(&failure);
        if waiting != Waiting::Here && !here {
            return Next::Over(Conclusion::Pause {
                failure,
                wait,
                spared,
            });
        }
        Next::After(wait)
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
