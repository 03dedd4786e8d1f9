//! A request, told of once when it is over, however it ends: in the trace, in the metrics and to the circuit.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use http::HeaderValue;
use smallvec::SmallVec;

use super::{
    Engine,
    reply::Reply,
    report::{CircuitReport, TokenRefusal},
};
use crate::{
    failure::{ErrorKind, Failure},
    outcome::Outcome,
    policy::circuit::Purpose,
    telemetry::traces::Span,
};

/// A request that is not over. Dropped before it is, since nobody waits for it any more, it is told of all the same.
pub(super) struct Record {
    report: CircuitReport,
    /// When its last HTTP request began.
    begun: Instant,
    pub span: Span,
    /// HTTP requests made before the last, whose connections broke as they were used again.
    broken: u32,
    is_over: bool,
}

impl Record {
    pub fn new(engine: &Rc<Engine>, purpose: Purpose, jobs: SmallVec<[u64; 1]>) -> Self {
        Self {
            report: CircuitReport {
                engine: Rc::clone(engine),
                purpose,
                jobs,
            },
            begun: Instant::now(),
            span: Span::default(),
            broken: 0,
            is_over: false,
        }
    }

    /// The connection broke under it, and it is made anew.
    pub fn begins_anew(&mut self) {
        let (kind, took) = (ErrorKind::Connection.as_str(), self.begun.elapsed());
        self.report.engine.metrics.requested(kind, took);
        self.begun = Instant::now();
        self.broken += 1;
    }

    /// The request is over, and this came of it. `refused` is what it was authorised by, where another token may be let
    /// in.
    pub fn close(mut self, reply: &mut Reply, status: Option<u16>, refused: Option<HeaderValue>) {
        self.is_over = true;
        self.span.heard(status, reply.failure());
        reply.span = std::mem::take(&mut self.span);
        reply.broken = self.broken;
        let engine = &self.report.engine;
        if reply.unsent {
            engine.quota.wasted();
        } else {
            let took = self.begun.elapsed();
            engine.metrics.requested(reply.label(), took);
            if status.is_some() {
                engine.answered_after(took);
            }
        }
        // What has to be asked for again, with fewer others or on another connection, says nothing yet.
        let Some(Some(outcome)) = reply.outcomes.first() else {
            return;
        };
        if reply.stale {
            return;
        }
        match refused {
            Some(used) => {
                let refusal = TokenRefusal::new(used, outcome.clone(), self.report.clone());
                reply.refused = Some(Rc::new(refusal));
            }
            None => self.report.tell(outcome),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.span.fail(ErrorKind::Timeout.as_str());
        let engine = &self.report.engine;
        let took = self.begun.elapsed();
        engine.metrics.requested(ErrorKind::Timeout.as_str(), took);
        let kind = given_up(took, engine.settings.timeout, engine.usual.get());
        self.report.tell(&Outcome::Failed(Failure::new(kind, "")));
    }
}

/// A provider that was silent for so long is slow, whatever it is elsewhere.
const LONG: Duration = Duration::from_secs(1);

/// And so is one that takes so many times as long as it usually does.
const UNUSUAL: u32 = 4;

/// What it was that nobody waited for. Soon given up, it was the job that had no time, not the provider that took too
/// much of it: soon by half of the timeout, or where answers usually take less, by what they do.
fn given_up(took: Duration, timeout: Duration, usual: Duration) -> ErrorKind {
    if took < (UNUSUAL * usual).max(LONG).min(timeout / 2) {
        ErrorKind::DeadlineExceeded
    } else {
        ErrorKind::Timeout
    }
}

impl Engine {
    /// An answer took so long, whatever it says.
    fn answered_after(&self, took: Duration) {
        let usual = self.usual.get();
        self.usual.set(if usual.is_zero() {
            took
        } else {
            (7 * usual + took) / 8
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_given_up_accuses_the_provider_where_it_was_silent_for_unusually_long() {
        let (seconds, millis) = (Duration::from_secs, Duration::from_millis);
        for (took, usual, accused) in [
            (seconds(3), millis(200), true),
            (millis(900), millis(20), false),
            (seconds(3), Duration::ZERO, true),
            (seconds(3), seconds(1), false),
            (seconds(4), seconds(1), true),
            (seconds(5), seconds(4), true),
        ] {
            let kind = given_up(took, seconds(10), usual);
            assert_eq!(kind == ErrorKind::Timeout, accused, "{took:?} of {usual:?}");
        }
        // A timeout that is short accuses sooner.
        assert_eq!(
            given_up(millis(300), millis(500), seconds(1)),
            ErrorKind::Timeout
        );
    }
}
