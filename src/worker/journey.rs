//! One job's whole way, on one screen: from its delivery to what replaces it.

use std::{panic::AssertUnwindSafe, rc::Rc};

use super::{Provider, Worker, ending::Ending, load::Held};
use crate::{
    broker::Delivery,
    engine::{Conclusion, Waiting},
    failpoint,
    failure::{ErrorKind, Failure},
    job::{Address, Job, Lane, NotAJob, Progress, Ticket},
    telemetry::traces::Span,
};
use futures_util::FutureExt;

/// A slot: takes one job after the other of these lanes, the first lane first, until the inbox is closed.
pub async fn slot(worker: Rc<Worker>, provider: String, lanes: &[Lane]) {
    let provider = &worker.providers[&provider];
    while let Some((lane, job)) = provider.inbox.take(lanes).await {
        worker.begin(provider, lane, job, Waiting::Queued).await;
    }
}

/// A message that stands in no provider's queue.
pub async fn refuse(worker: Rc<Worker>, delivery: Held) {
    let provider = worker
        .providers
        .get(Address::of(&delivery.envelope.routing_key).provider);
    worker.process(provider, &delivery, Waiting::Queued).await;
}

impl Worker {
    /// A job of an inbox, from end to end, or back to its inbox.
    pub(super) async fn begin(
        &self,
        provider: &Provider,
        lane: Lane,
        mut job: Held,
        waiting: Waiting,
    ) {
        if let Some(progress) = self.process(Some(provider), &job, waiting).await
            && job.is_ours()
        {
            job.goes_on(progress);
            // The guard holds the inbox before anybody takes the job again.
            tokio::task::yield_now().await;
            provider.inbox.put(lane, job);
        }
    }

    /// A job from end to end; whatever happens to it, other jobs go on. What it has come to, where it goes on waiting
    /// here.
    pub(super) async fn process(
        &self,
        provider: Option<&Provider>,
        delivery: &Delivery,
        waiting: Waiting,
    ) -> Option<Progress> {
        let metrics = provider.map_or(&self.strangers, |provider| &provider.engine.metrics);
        metrics.received(
            Address::of(&delivery.envelope.routing_key)
                .lane
                .unwrap_or(Lane::Bulk),
        );
        let _in_flight = metrics.begins();
        let span = self
            .traces
            .process(provider.map(Provider::name), &delivery.envelope);
        let journey =
            AssertUnwindSafe(self.journey(provider, delivery, waiting, &span)).catch_unwind();
        let ending = journey.await.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            Ending::panicked(Ticket::of(&delivery.envelope, delivery.arrived.0))
        });
        let waits = match &ending {
            Ending::Waits(progress) => Some(*progress),
            _ => None,
        };
        match AssertUnwindSafe(self.settle(provider, delivery, ending, &span))
            .catch_unwind()
            .await
        {
            Ok(Ok(())) => failpoint::reach(
                failpoint::ACKNOWLEDGED,
                delivery.envelope.message_id.as_deref(),
            ),
            // Not acknowledged: the broker delivers it again, and what was finished is remembered.
            Ok(Err(error)) => {
                span.fail("broker");
                tracing::debug!(%error, "a job is left to redelivery");
            }
            Err(_) => {
                span.fail("panic");
                self.metrics.panics.inc();
            }
        }
        span.end();
        waits
    }

    /// The way: admitted, remembered from before or looked up, and what came of it.
    async fn journey(
        &self,
        provider: Option<&Provider>,
        delivery: &Delivery,
        waiting: Waiting,
        span: &Span,
    ) -> Ending {
        let id = delivery.envelope.message_id.as_deref();
        failpoint::reach(failpoint::TAKEN, id);
        let (provider, mut job) = match self.admit(provider, delivery) {
            Ok(admitted) => admitted,
            Err(not_a_job) => return Ending::refused(*not_a_job),
        };
        if let Some(ending) = provider.finished.recall(&job.ticket.id, delivery) {
            return ending;
        }
        job.lease = delivery.lease(self.timeout.to_begin());
        job.span = span.clone();
        let (conclusion, attempts) = provider.engine.lookup(&job, waiting).await;
        failpoint::reach(failpoint::LOOKED_UP, id);
        let (ticket, timed) = (job.ticket, job.deadline.is_some());
        match conclusion {
            Conclusion::Answered { outcome, raw } => {
                Ending::answered(ticket, outcome, raw, attempts)
            }
            Conclusion::Exhausted(failure) => Ending::exhausted(ticket, failure, attempts),
            Conclusion::Pause {
                failure,
                wait,
                spared,
            } => Ending::parked(ticket, &failure, wait, attempts, spared),
            // A call is held: its deadline is kept here, and the lane is short.
            Conclusion::Suspended {
                http_status,
                spared,
            } if ticket.lane == Lane::Interactive
                && !delivery.suspect
                && !provider.inbox.is_closed() =>
            {
                Ending::waits(&ticket, http_status, attempts, spared)
            }
            Conclusion::Overdue { .. } if !timed && attempts == ticket.progress.attempts => {
                Ending::Abandoned
            }
            Conclusion::Suspended {
                http_status,
                spared,
            }
            | Conclusion::Overdue {
                http_status,
                spared,
            } => Ending::put_back(ticket, http_status, attempts, spared),
            Conclusion::Abandoned => Ending::Abandoned,
        }
    }

    /// The job, if it is one, and whom to ask.
    fn admit<'a>(
        &self,
        provider: Option<&'a Provider>,
        delivery: &Delivery,
    ) -> Result<(&'a Provider, Job), Box<NotAJob>> {
        let (adapter, max_bytes) = (
            provider.map(|provider| provider.engine.adapter()),
            self.settings.amqp.max_job_bytes,
        );
        let job = Job::read(
            &delivery.envelope,
            &delivery.body,
            max_bytes,
            adapter,
            delivery.arrived.0,
        )?;
        let refusal = match (provider, self.reply_problem(&delivery.envelope)) {
            (Some(provider), None) => return Ok((provider, job)),
            (_, Some(problem)) => Failure::new(ErrorKind::InvalidJob, problem.to_string()),
            (None, None) => Failure::new(
                ErrorKind::UnknownProvider,
                "no worker has a provider of this name",
            ),
        };
        Err(Box::new(NotAJob {
            ticket: job.ticket,
            failure: refusal,
        }))
    }
}
