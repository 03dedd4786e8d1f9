//! One step: a lookup of its provider's own engine, and what a lookup of several makes of what comes of it.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::state::{Begun, StepAnswer};
use crate::{
    engine::{self, Engine, Waiting},
    failure::{ErrorKind, Failure},
    job::{Job, Mark, PriorAttempts, Step, Ticket},
    lane::Lane,
    lease::Lease,
    outcome::Outcome,
    policy::circuit::Recovery,
    provider::{Lookup, class::until},
    result::SkipReason,
    slots::Slot,
    telemetry::traces::Span,
};

/// A job whose provider is left in peace looks again after this at the latest.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// And at the earliest: what is due is not yet begun.
const NOT_SOONER: Duration = Duration::from_millis(500);

/// A wait that is over so soon is over: clocks differ, and a delay queue is as exact as this.
const SOON: Duration = Duration::from_millis(100);

/// What the steps of one job have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub id: String,
    pub lane: Lane,
    pub received: Timestamp,
    pub deadline: Option<Timestamp>,
    pub lease: Lease,
    pub mark: Mark,
    pub slot: Slot,
    pub span: Span,
    pub waiting: Waiting,
}

/// One step, about to be asked.
pub(super) struct Asking {
    pub common: Common,
    pub engine: Rc<Engine>,
    pub lookup: Rc<Lookup>,
    pub begun: Begun,
    pub step: Rc<Step>,
}

/// Why a step said nothing yet.
#[derive(Debug)]
pub(super) enum Held {
    /// It goes on after a wait, which this class of failure asks for.
    Later {
        begun: Begun,
        wait: Duration,
        kind: ErrorKind,
    },
    /// The job was held here as long as it may be.
    LeaseOver(Begun),
    /// No permission can be had any more.
    Gone(Begun),
}

impl Asking {
    /// What the step says.
    pub async fn run(self) -> Result<StepAnswer, Held> {
        let span = self.common.span.step(&self.engine.settings.name);
        let said = self.ask(&self.job(), &span).await;
        match &said {
            Ok(answer) => span.outcome(
                answer.row.status.as_str(),
                answer.row.error.map_or("", ErrorKind::as_str),
            ),
            Err(_) => span.outcome("waits", ""),
        }
        span.end();
        said
    }

    async fn ask(&self, job: &Job, span: &Span) -> Result<StepAnswer, Held> {
        if let Some(engine::Conclusion::Answered { outcome, raw }) =
            self.engine.remembered(job, self.common.waiting)
        {
            let mut answer = self.said(outcome, self.begun.attempts).with(raw);
            answer.row.cached = true;
            return Ok(answer);
        }
        if self.left() == Some(Duration::ZERO) {
            return Ok(self.too_late());
        }
        let left = self.begun.left();
        if left > SOON {
            // Another step of the job is due sooner.
            let (begun, wait, kind) = (self.begun, left, ErrorKind::ProviderError);
            return Err(Held::Later { begun, wait, kind });
        }
        let mut waiting = self.common.waiting;
        if self.is_left_alone() {
            let circuit = &self.engine.circuit;
            if circuit.paused().is_some() || !circuit.takes_probe(Instant::now()) {
                return self.left_alone();
            }
            waiting = Waiting::Probing { alone: true };
        }
        // Else the room for it would be in the future of each mode, and be moved with each of them.
        let (conclusion, attempts) = Box::pin(self.engine.lookup(job, span, waiting)).await;
        self.engine.show_circuit();
        self.concluded(conclusion, attempts)
    }

    /// As the provider's engine knows it.
    fn job(&self) -> Job {
        let Begun {
            attempts,
            spared,
            http_status,
            ..
        } = self.begun;
        let Common {
            id,
            lane,
            received,
            deadline,
            lease,
            mark,
            slot,
            ..
        } = self.common.clone();
        let prior = PriorAttempts {
            attempts,
            spared,
            received: Some(received),
            http_status,
        };
        Job {
            ticket: Ticket {
                id,
                provider: self.engine.settings.name.clone(),
                lane,
                context: None,
                received,
                prior,
            },
            lookup: Rc::clone(&self.lookup),
            deadline,
            lease,
            step: Some(Rc::clone(&self.step)),
            mark: mark.step(&self.engine.settings.name),
            slot,
        }
    }

    fn concluded(&self, conclusion: engine::Conclusion, attempts: u32) -> Result<StepAnswer, Held> {
        let (spared, http_status) = match conclusion {
            engine::Conclusion::Answered { outcome, raw } => {
                return Ok(self.said(outcome, attempts).with(raw));
            }
            engine::Conclusion::Exhausted(failure) => {
                return Ok(self.said(Outcome::Failed(failure), attempts));
            }
            engine::Conclusion::RetryLater {
                failure,
                wait,
                spared,
            } => {
                if self.ends_too_late(Some(Instant::now() + wait)) {
                    return Ok(self.said(Outcome::Failed(failure), attempts));
                }
                let begun = Begun {
                    attempts,
                    spared,
                    http_status: failure.http_status.or(self.begun.http_status),
                    ..self.begun
                };
                return Err(Held::Later {
                    begun: begun.after(wait),
                    wait,
                    kind: failure.kind,
                });
            }
            engine::Conclusion::OutOfQuota if self.is_call() && attempts == self.begun.attempts => {
                return Ok(self.skipped(SkipReason::Quota));
            }
            engine::Conclusion::OutOfQuota => {
                return Ok(self.failed(
                    ErrorKind::RateLimited,
                    "the quota gives no permission before the deadline",
                    attempts,
                ));
            }
            engine::Conclusion::CircuitOpen {
                http_status,
                spared,
            }
            | engine::Conclusion::LeaseOver {
                http_status,
                spared,
            } => (spared, http_status),
            engine::Conclusion::Abandoned => (self.begun.spared, self.begun.http_status),
        };
        let begun = Begun {
            attempts,
            spared,
            http_status,
            ..self.begun
        };
        match conclusion {
            engine::Conclusion::LeaseOver { .. } => Err(Held::LeaseOver(begun)),
            engine::Conclusion::Abandoned => Err(Held::Gone(begun)),
            _ => Self {
                begun,
                common: self.common.clone(),
                engine: Rc::clone(&self.engine),
                lookup: Rc::clone(&self.lookup),
                step: Rc::clone(&self.step),
            }
            .left_alone(),
        }
    }

    /// Whether the provider is asked by nobody, but for probes.
    fn is_left_alone(&self) -> bool {
        let circuit = &self.engine.circuit;
        // Where nobody sends probes, no circuit closes again.
        if self.common.waiting != Waiting::Here && circuit.why().is_some() {
            return true;
        }
        // A short pause is waited for in the engine, but not in vain.
        circuit
            .paused()
            .is_some_and(|pause| self.is_call() || self.ends_too_late(pause.until))
    }

    /// Others may answer a call; bulk waits, where that makes sense.
    fn left_alone(&self) -> Result<StepAnswer, Held> {
        let circuit = &self.engine.circuit;
        let pause = circuit.paused();
        let kind = match circuit.open_by() {
            Some((_, last)) if pause.is_none() => last.kind,
            _ => ErrorKind::RateLimited,
        };
        if self.is_call() && self.begun.attempts == 0 {
            return Ok(self.skipped(match pause {
                Some(_) => SkipReason::Paused,
                None => SkipReason::CircuitOpen,
            }));
        }
        let end = match (circuit.recovery(), pause) {
            (Some(Recovery::Probe(time)), _) => Some(time),
            (Some(Recovery::Resume(time)), _) => time,
            (None, Some(pause)) => pause.until,
            (None, None) => Some(Instant::now()),
        };
        if self.is_call() || self.ends_too_late(end) {
            let message = "the provider is left alone, and not asked again in time";
            return Ok(self.failed(kind, message, self.begun.attempts));
        }
        let wait = end.map_or(LOOK_AGAIN, |end| {
            end.saturating_duration_since(Instant::now())
        });
        let longest = if pause.is_some() { wait } else { LOOK_AGAIN };
        // Not kept as a time when it is due: somebody may lift a pause.
        Err(Held::Later {
            begun: self.begun,
            wait: wait.min(longest).max(NOT_SOONER),
            kind,
        })
    }

    /// Whether a wait up to that time, or without an end, is longer than the step has.
    fn ends_too_late(&self, end: Option<Instant>) -> bool {
        let left = self.left();
        left.is_some_and(|left| {
            end.is_none_or(|end| end.saturating_duration_since(Instant::now()) >= left)
        })
    }

    fn is_call(&self) -> bool {
        self.common.lane == Lane::Interactive
    }

    /// The time up to the step's deadline; none where there is no deadline.
    fn left(&self) -> Option<Duration> {
        let deadline = self.common.deadline?;
        Some(until(deadline, Timestamp::now()))
    }

    fn too_late(&self) -> StepAnswer {
        if self.begun.attempts == 0 {
            return self.skipped(SkipReason::Deadline);
        }
        let message = "the job's deadline came before the next attempt";
        self.failed(ErrorKind::DeadlineExceeded, message, self.begun.attempts)
    }

    fn said(&self, outcome: Outcome, attempts: u32) -> StepAnswer {
        StepAnswer::of(self.begun, &self.engine.settings.name, outcome, attempts)
    }

    fn failed(&self, kind: ErrorKind, message: &'static str, attempts: u32) -> StepAnswer {
        let mut failure = Failure::new(kind, message);
        failure.http_status = self.begun.http_status;
        self.said(Outcome::Failed(failure), attempts)
    }

    fn skipped(&self, reason: SkipReason) -> StepAnswer {
        StepAnswer::skipped(self.begun, &self.engine.settings.name, reason)
    }
}
