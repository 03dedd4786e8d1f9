//! One HTTP request and its answer, shared by every lookup that it answers.

use std::{cell::Cell, rc::Rc, time::Instant};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, Shared};
use http::{HeaderValue, Request, Response};
use jiff::Timestamp;
use smallvec::SmallVec;
use tokio::sync::OwnedSemaphorePermit;

use super::Engine;
use crate::{
    clock::Moment,
    failure::{ErrorKind, Failure},
    http::{SendTerms, Unanswered},
    lane::Lane,
    outcome::Outcome,
    policy::{circuit::Purpose, quota::Permission},
    provider::{Lookup, access::Access},
    telemetry::traces::Span,
};

/// A request on its way, shared by the jobs that wait for its answer. Each of them drives it.
pub(super) type SharedRequest = Shared<LocalBoxFuture<'static, Rc<Reply>>>;

/// What lets a request out: credentials, a permission of the quota, a slot among `concurrency`.
pub(super) struct Permit {
    pub authorization: Result<Access, Failure>,
    pub permission: Permission,
    pub slot: Option<OwnedSemaphorePermit>,
}

/// The jobs that a request is made for.
pub(super) struct Askers {
    /// The jobs, each known by some number of its own.
    pub jobs: SmallVec<[u64; 1]>,
    /// Their spans, each with the requests made before.
    pub spans: Vec<(Span, u32)>,
    pub purpose: Purpose,
}

/// What came of a request, for each of its lookups.
#[derive(Clone)]
pub(super) struct Reply {
    /// In the order of the lookups; none for one that must be asked again, with fewer others.
    pub outcomes: Vec<Option<Outcome>>,
    /// The body, where it is wanted.
    pub payload: Option<Bytes>,
    /// A fresh token may be let in where this one was not.
    pub token_refused: bool,
    /// What the request was authorised by.
    pub used: Option<HeaderValue>,
    /// The jobs that it was made for.
    pub jobs: SmallVec<[u64; 1]>,
    /// It never left: its permission was void too soon.
    pub unsent: bool,
    /// HTTP requests made before this one for the same, whose connections broke as they were used again.
    pub broken: u32,
    /// So did this one's, and the circuit is not to hear of it.
    pub stale: bool,
    /// The circuit was told.
    pub noted: Cell<bool>,
    /// Of the request.
    pub span: Span,
}

/// Asks for these lookups, which are different, and reads the answer.
pub(super) async fn run(
    engine: Rc<Engine>,
    lookups: SmallVec<[Rc<Lookup>; 1]>,
    askers: Askers,
    permit: Permit,
    lane: Lane,
) -> Rc<Reply> {
    let Askers {
        jobs,
        spans,
        purpose,
    } = askers;
    let mut record = Record {
        engine: &engine,
        purpose,
        jobs: &jobs,
        begun: Instant::now(),
        over: false,
        span: Span::default(),
    };
    let Permit {
        authorization,
        permission,
        slot: _slot,
    } = permit;
    let mut broken = 0;
    let sent = engine.quota.count.sent();
    let (answer, used) = match authorization {
        Ok(access) => {
            let used = access.value().clone();
            let answer = match engine.request(&lookups) {
                Some(mut request) => {
                    record.span = Span::request(&spans, &engine.settings.name, &mut request);
                    let terms = SendTerms {
                        permission,
                        fresh: false,
                    };
                    engine
                        .ask(
                            &request,
                            &access,
                            terms,
                            lane,
                            &mut broken,
                            &mut record.begun,
                        )
                        .await
                }
                None => Err(Unanswered::Failed(Failure::new(
                    ErrorKind::Rejected,
                    "these lookups cannot be asked for together",
                ))),
            };
            (answer, Some(used))
        }
        Err(failure) => (Err(Unanswered::Failed(failure)), None),
    };
    let unsent = matches!(answer, Err(Unanswered::NotSent));
    let stale = matches!(answer, Err(Unanswered::Stale(_)));
    let answer = answer.map_err(Failure::from);
    record.over = true;
    let said = answer.as_ref().ok().map(|response| engine.said(response));
    let begun = record.begun;
    let reading = engine.reading(&lookups, answer.as_ref());
    let status = answer.as_ref().map_or_else(
        |failure| failure.http_status,
        |answer| Some(answer.status().as_u16()),
    );
    let mut reply = engine.reply(&lookups, reading, answer.ok(), used.as_ref());
    record.span.heard(status, reply.failure());
    let served = served(reply.failure().map(|failure| failure.kind));
    engine.hear_count(said.unwrap_or_default(), sent, served);
    reply.span = std::mem::take(&mut record.span);
    drop(record);
    reply.jobs = jobs;
    (reply.unsent, reply.broken, reply.stale) = (unsent, broken, stale);
    if reply.unsent {
        engine.quota.wasted();
    } else {
        engine.metrics.requested(reply.label(), begun.elapsed());
    }
    if !reply.token_refused && !reply.stale {
        engine.note(purpose, &reply);
    }
    Rc::new(reply)
}

impl Engine {
    /// The answer to a request. Where a connection that had been used before breaks under it, it is made again at once
    /// on a new one, which is another request and needs another permission.
    async fn ask(
        &self,
        request: &Request<Bytes>,
        access: &Access,
        mut terms: SendTerms,
        lane: Lane,
        broken: &mut u32,
        begun: &mut Instant,
    ) -> Result<Response<Bytes>, Unanswered> {
        let limit = self.settings.timeout;
        let client = self.client.borrow().clone();
        let first = client.request(request, access, limit, terms).await;
        if !matches!(first, Err(Unanswered::Stale(_))) {
            return first;
        }
        let Some(permission) = self.quota.permission_at_once(lane) else {
            return first;
        };
        *broken += 1;
        self.metrics
            .requested(ErrorKind::Connection.as_str(), begun.elapsed());
        *begun = Instant::now();
        terms.permission = permission;
        terms.fresh = true;
        client.request(request, access, limit, terms).await
    }

    fn request(&self, lookups: &[Rc<Lookup>]) -> Option<Request<Bytes>> {
        match lookups {
            [lookup] => Some(lookup.request.clone()),
            several => {
                self.metrics.batched.inc_by(several.len() as u64);
                self.adapter().batch(&parts(several)?)
            }
        }
    }

    /// Each lookup's outcome; none where it is not certain whose is what.
    fn reading(
        &self,
        lookups: &[Rc<Lookup>],
        answer: Result<&Response<Bytes>, &Failure>,
    ) -> Result<Option<Vec<Outcome>>, Outcome> {
        let response = answer.map_err(|failure| Outcome::Failed(failure.clone()))?;
        match lookups {
            [lookup] => Ok(Some(vec![self.adapter().read(
                lookup,
                response,
                Timestamp::now(),
            )])),
            several => match parts(several) {
                Some(parts) => self.adapter().split(&parts, response, Timestamp::now()),
                None => Ok(None),
            },
        }
    }

    fn reply(
        &self,
        lookups: &[Rc<Lookup>],
        reading: Result<Option<Vec<Outcome>>, Outcome>,
        response: Option<Response<Bytes>>,
        used: Option<&HeaderValue>,
    ) -> Reply {
        let mut outcomes: Vec<_> = match reading {
            Ok(Some(outcomes)) => outcomes.into_iter().map(Some).collect(),
            Ok(None) => vec![None; lookups.len()],
            Err(outcome) if lookups.len() > 1 && may_be_one_s_fault(&outcome) => {
                vec![None; lookups.len()]
            }
            Err(outcome) => vec![Some(outcome); lookups.len()],
        };
        self.bound(
            &mut outcomes,
            response.as_ref().map(http::Response::headers),
        );
        if lookups.len() > 1 {
            self.note_batch(&outcomes);
        }
        let body = response.map(Response::into_body).unwrap_or_default();
        let payload = lookups
            .iter()
            .any(|lookup| lookup.raw)
            .then(|| body.clone());
        for (lookup, outcome) in lookups.iter().zip(&outcomes) {
            if let Some(outcome) = outcome {
                let share = body.len() / lookups.len();
                self.cache
                    .remember(lookup, outcome, payload.as_ref(), share, Moment::now());
            }
        }
        let mut reply = Reply {
            outcomes,
            payload,
            token_refused: false,
            used: used.cloned(),
            jobs: SmallVec::new(),
            unsent: false,
            broken: 0,
            stale: false,
            noted: Cell::new(false),
            span: Span::default(),
        };
        let failure = reply
            .failure()
            .map(|failure| (failure.kind, failure.http_status));
        reply.token_refused = used.is_some_and(|used| match failure {
            Some((ErrorKind::Unauthorized, _)) => self.tokens.refused(used),
            // So answers Antsomi to a token that has expired.
            Some((ErrorKind::Forbidden, _)) => self.tokens.replaced(used),
            _ => false,
        });
        reply
    }

    fn note_batch(&self, outcomes: &[Option<Outcome>]) {
        let split = match outcomes.first() {
            Some(None) => false,
            // Its hour is the provider's, and says nothing of batches.
            Some(Some(Outcome::Failed(_))) => return,
            _ => true,
        };
        if !split {
            self.metrics.split.inc();
        }
        if self.batches.note(split, Moment::now()) {
            let provider = &self.settings.name;
            tracing::warn!(
                provider,
                "every batch is refused or cannot be split; each lookup is asked alone for a while"
            );
        }
    }

    /// Lets the circuit know what came of a request, once.
    pub(super) fn note(&self, purpose: Purpose, reply: &Reply) {
        if reply.noted.replace(true) {
            return;
        }
        // What has to be asked for again, with fewer others, says nothing yet.
        if let Some(Some(outcome)) = reply.outcomes.first() {
            self.tell_circuit(purpose, outcome, &reply.jobs);
        }
    }

    fn tell_circuit(&self, purpose: Purpose, outcome: &Outcome, jobs: &[u64]) {
        self.circuit.note(purpose, outcome, jobs, Instant::now());
        self.metrics.heard(outcome);
        self.show_circuit();
    }

    /// Lets the metrics tell how the circuit stands.
    pub fn show_circuit(&self) {
        let (open, half) = (self.circuit.is_open(), self.circuit.is_half_open());
        self.metrics.circuit_open.set((open && !half).into());
        self.metrics.circuit_half_open.set(half.into());
    }
}

/// Whether the provider's count let a request be served; what failed otherwise was never that far, or nobody knows.
fn served(failure: Option<ErrorKind>) -> Option<bool> {
    match failure {
        None => Some(true),
        Some(ErrorKind::RateLimited) => Some(false),
        Some(_) => None,
    }
}

/// A refusal of the request as it stands, or an answer that cannot be read: one alone may have brought it about.
/// What is the provider's own hour, or a matter of the credentials, befalls them all.
fn may_be_one_s_fault(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed(failure) => {
            !failure.kind.retryable()
                && !matches!(failure.kind, ErrorKind::Unauthorized | ErrorKind::Forbidden)
        }
        _ => true,
    }
}

fn parts(lookups: &[Rc<Lookup>]) -> Option<Vec<&str>> {
    lookups
        .iter()
        .map(|lookup| lookup.part.as_deref())
        .collect()
}

impl Reply {
    /// What befell it as a whole.
    fn failure(&self) -> Option<&Failure> {
        match self.outcomes.first() {
            Some(Some(Outcome::Failed(failure))) => Some(failure),
            _ => None,
        }
    }

    fn label(&self) -> &'static str {
        let nobody = |outcome: &Option<Outcome>| matches!(outcome, Some(Outcome::NotFound(_)));
        match self.failure() {
            Some(failure) => failure.kind.as_str(),
            None if self.outcomes.iter().all(nobody) => "not_found",
            None => "found",
        }
    }
}

/// Sees to it that a request is told of, also one that nobody waited for to its end.
struct Record<'a> {
    engine: &'a Engine,
    purpose: Purpose,
    jobs: &'a [u64],
    begun: Instant,
    over: bool,
    span: Span,
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.span.fail(ErrorKind::Timeout.as_str());
        let took = self.begun.elapsed();
        self.engine
            .metrics
            .requested(ErrorKind::Timeout.as_str(), took);
        // Soon given up, it was the job that had no time, not the provider that took too much of it.
        let cut_short = took < self.engine.settings.timeout / 2;
        let kind = if cut_short {
            ErrorKind::DeadlineExceeded
        } else {
            ErrorKind::Timeout
        };
        self.engine.tell_circuit(
            self.purpose,
            &Outcome::Failed(Failure::new(kind, "")),
            self.jobs,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_otherwise_is_neither_served_nor_refused_for_its_number() {
        assert_eq!(served(None), Some(true));
        for kind in ErrorKind::ALL {
            let expected = (kind == ErrorKind::RateLimited).then_some(false);
            assert_eq!(served(Some(kind)), expected, "{kind:?}");
        }
    }
}
