//! How far one job has come, and what comes next for it: the decisions between two attempts.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
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

/// How far a job has come.
pub(super) struct Course {
    /// HTTP requests made for it.
    pub attempts: u32,
    /// Most lookups that it may share a request with, itself included, by what came of such requests.
    pub company: usize,
    spared: u32,
    http_status: Option<u16>,
    refreshed: bool,
    /// Requests that were not sent after all.
    unsent: u32,
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
                refused: None,
            };
        };
        let refused = heard.token_refused.then(|| Rc::clone(&heard));
        let mut heard = Rc::unwrap_or_clone(heard);
        let (company, unsent) = (heard.outcomes.len(), heard.unsent);
        Self {
            outcome: heard.outcomes.swap_remove(number),
            payload: heard.payload,
            company,
            unsent,
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
        Self {
            attempts,
            company: usize::MAX,
            spared,
            http_status,
            refreshed: false,
            unsent: 0,
            waiting,
        }
    }

    /// Attempts that are held against the job.
    pub fn failed(&self) -> u32 {
        self.attempts.saturating_sub(self.spared)
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
        let Some(outcome) = answer.outcome else {
            // The others' fault, perhaps.
            course.spared += 1;
            course.company = answer.company.div_ceil(2);
            return Next::AtOnce;
        };
        if let Some(heard) = answer.refused {
            if !std::mem::replace(&mut course.refreshed, true) {
                return Next::AtOnce;
            }
            self.note(
                if waiting == Waiting::Probing {
                    Purpose::Probe
                } else {
                    Purpose::Lookup
                },
                &heard,
            );
        }
        match outcome {
            // A probe that comes to nothing costs its job none of its attempts.
            Outcome::Failed(failure)
                if waiting == Waiting::Probing && self.circuit.why().is_some() =>
            {
                let http_status = failure.http_status.or(course.http_status);
                Next::Over(Conclusion::Suspended {
                    http_status,
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
        if job
            .deadline
            .is_some_and(|deadline| class::until(deadline, Timestamp::now()) <= wait)
        {
            // Another attempt would come to nothing, and somebody waits for the answer.
            return Next::Over(Conclusion::over(too_late(&failure.message, http_status)));
        }
        if waiting == Waiting::Queued
            && self.circuit.why().is_some()
            && failure.retry_after.is_none()
        {
            return Next::Over(Conclusion::Suspended {
                http_status,
                spared,
            });
        }
        if course.failed() >= retry.max_attempts {
            return Next::Over(Conclusion::Exhausted(failure));
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
