//! What the circuit, and who shows it, hears of a request: once, and from here alone.

use std::{cell::Cell, rc::Rc, time::Instant};

use http::HeaderValue;
use smallvec::SmallVec;

use super::Engine;
use crate::{outcome::Outcome, policy::circuit::Purpose};

/// Where the circuit hears how a request ended, and nowhere else.
#[derive(Clone)]
pub(super) struct CircuitReport {
    pub engine: Rc<Engine>,
    pub purpose: Purpose,
    /// The jobs that the request was made for, each known by some number of its own.
    pub jobs: SmallVec<[u64; 1]>,
}

/// An end of a request after which another token may be let in. The circuit does not hear of it as long as every job
/// that it was made for goes on with another.
pub(super) struct TokenRefusal {
    /// What the request was authorised by.
    pub used: HeaderValue,
    outcome: Outcome,
    report: CircuitReport,
    is_told: Cell<bool>,
}

impl CircuitReport {
    pub fn tell(&self, outcome: &Outcome) {
        let engine = &self.engine;
        engine
            .circuit
            .note(self.purpose, outcome, &self.jobs, Instant::now());
        engine.metrics.heard(outcome);
        engine.show_circuit();
    }
}

impl TokenRefusal {
    pub fn new(used: HeaderValue, outcome: Outcome, report: CircuitReport) -> Self {
        let is_told = Cell::new(false);
        Self {
            used,
            outcome,
            report,
            is_told,
        }
    }

    /// A job does not go on with another token.
    pub fn is_final(&self) {
        if !self.is_told.replace(true) {
            self.report.tell(&self.outcome);
        }
    }
}
