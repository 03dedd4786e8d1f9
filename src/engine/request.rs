//! One HTTP request and its answer, shared by every lookup that it answers.

use std::{borrow::Cow, rc::Rc};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, Shared};
use http::{HeaderValue, Request, Response};
use jiff::Timestamp;
use smallvec::SmallVec;
use tokio::sync::OwnedSemaphorePermit;

use super::{Engine, record::Record, reply::Reply};
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
    let mut record = Record::new(&engine, purpose, jobs);
    let Permit {
        authorization,
        permission,
        slot: _slot,
    } = permit;
    let sent = engine.quota.count.sent();
    let (answer, used) = match &authorization {
        Ok(access) => {
            let request = engine.request(&lookups).map(|mut request| {
                if !spans.is_empty() {
                    let request = request.to_mut();
                    record.span = Span::request(&spans, &engine.settings.name, request);
                }
                request
            });
            let terms = SendTerms {
                permission,
                fresh: false,
            };
            let answer = engine.ask(&request, access, terms, lane, &mut record);
            (answer.await, Some(access.value().clone()))
        }
        Err(failure) => (Err(Unanswered::Failed(failure.clone())), None),
    };
    let unsent = matches!(answer, Err(Unanswered::NotSent));
    let stale = matches!(answer, Err(Unanswered::Stale(_)));
    let answer = answer.map_err(Failure::from);
    let said = answer.as_ref().ok().map(|response| engine.said(response));
    let reading = engine.reading(&lookups, answer.as_ref());
    let status = answer.as_ref().map_or_else(
        |failure| failure.http_status,
        |answer| Some(answer.status().as_u16()),
    );
    let mut reply = engine.reply(&lookups, reading, answer.ok());
    (reply.unsent, reply.stale) = (unsent, stale);
    let kind = reply.failure().map(|failure| failure.kind);
    engine.hear_count(said.unwrap_or_default(), sent, served(kind));
    let refused = used.filter(|used| engine.may_let_in_another(used, kind));
    record.close(&mut reply, status, refused);
    Rc::new(reply)
}

impl Engine {
    /// The answer to a request. Where a connection that had been used before breaks under it, it is made again at once
    /// on a new one, which is another request and needs another permission.
    async fn ask(
        &self,
        request: &Result<Cow<'_, Request<Bytes>>, Failure>,
        access: &Access,
        mut terms: SendTerms,
        lane: Lane,
        record: &mut Record,
    ) -> Result<Response<Bytes>, Unanswered> {
        let request = request.as_ref().map_err(Failure::clone)?;
        let limit = self.settings.timeout;
        let client = self.client.borrow().clone();
        let first = client.request(request, access, limit, terms).await;
        if !matches!(first, Err(Unanswered::Stale(_))) {
            return first;
        }
        let Some(permission) = self.quota.permission_at_once(lane) else {
            return first;
        };
        record.begins_anew();
        terms.permission = permission;
        terms.fresh = true;
        client.request(request, access, limit, terms).await
    }

    fn request<'a>(&self, lookups: &'a [Rc<Lookup>]) -> Result<Cow<'a, Request<Bytes>>, Failure> {
        let [lookup] = lookups else {
            self.metrics.batched.inc_by(lookups.len() as u64);
            let batch = parts(lookups).and_then(|parts| self.adapter().batch(&parts));
            return batch.map(Cow::Owned).ok_or_else(|| {
                let message = "these lookups cannot be asked for together";
                Failure::new(ErrorKind::Rejected, message)
            });
        };
        Ok(Cow::Borrowed(&lookup.request))
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
        Reply {
            outcomes,
            payload,
            refused: None,
            unsent: false,
            broken: 0,
            stale: false,
            span: Span::default(),
        }
    }

    /// Whether a fresh token may be let in where this one was not.
    fn may_let_in_another(&self, used: &HeaderValue, failure: Option<ErrorKind>) -> bool {
        match failure {
            Some(ErrorKind::Unauthorized) => self.tokens.refused(used),
            // So answers Antsomi to a token that has expired.
            Some(ErrorKind::Forbidden) => self.tokens.replaced(used),
            _ => false,
        }
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
