//! What came of a request.

use std::rc::Rc;

use bytes::Bytes;

use super::report::TokenRefusal;
use crate::{failure::Failure, outcome::Outcome, telemetry::traces::Span};

/// What came of a request, for each of its lookups.
#[derive(Clone)]
pub(super) struct Reply {
    /// In the order of the lookups; none for one that must be asked again, with fewer others.
    pub outcomes: Vec<Option<Outcome>>,
    /// The body, where it is wanted.
    pub payload: Option<Bytes>,
    /// A fresh token may be let in where this one was not.
    pub refused: Option<Rc<TokenRefusal>>,
    /// It never left: its permission was void too soon.
    pub unsent: bool,
    /// HTTP requests made before this one for the same, whose connections broke as they were used again.
    pub broken: u32,
    /// So did this one's, and the circuit is not to hear of it.
    pub stale: bool,
    /// Of the request.
    pub span: Span,
}

impl Reply {
    /// What befell it as a whole.
    pub fn failure(&self) -> Option<&Failure> {
        match self.outcomes.first() {
            Some(Some(Outcome::Failed(failure))) => Some(failure),
            _ => None,
        }
    }

    /// How it is counted.
    pub fn label(&self) -> &'static str {
        let nobody = |outcome: &Option<Outcome>| matches!(outcome, Some(Outcome::NotFound(_)));
        match self.failure() {
            Some(failure) => failure.kind.as_str(),
            None if self.outcomes.iter().all(nobody) => "not_found",
            None => "found",
        }
    }
}
