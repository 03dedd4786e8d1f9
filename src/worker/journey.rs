//! One job's whole way, on one screen: from its delivery to what replaces it.

use std::{cell::OnceCell, panic::AssertUnwindSafe, rc::Rc};

use super::{Provider, Worker, ending::Ending, load::Held};
use crate::{
    broker::{Delivery, Tail},
    engine::{Conclusion, Engine, Waiting},
    failpoint,
    failure::{ErrorKind, Failure},
    job::{Address, Asks, Job, Mark, NotAJob, PriorAttempts, Stage, Ticket},
    lane::Lane,
    lookups::{self, Asked, Plan, State},
    provider::Adapter,
    slots::Slot,
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

/// A spare slot: takes a job while one of the others' waits for its next attempt.
pub async fn spare_slot(worker: Rc<Worker>, provider: String) {
    let provider = &worker.providers[&provider];
    loop {
        let turn = tokio::select! {
            turn = provider.slots.borrow() => turn,
            () = provider.inbox.closed() => return,
        };
        tokio::select! {
            biased;
            next = provider.inbox.take(&Lane::ALL) => match next {
                Some((lane, job)) => worker.begin(provider, lane, job, Waiting::Queued).await,
                None => return,
            },
            () = turn.wanted_back() => {}
        }
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
        if let Some(prior) = self.process(Some(provider), &job, waiting).await
            && job.is_ours()
        {
            job.goes_on(prior);
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
    ) -> Option<PriorAttempts> {
        let metrics = provider.map_or(&self.strangers, |provider| &provider.metrics);
        metrics.received(
            Address::of(&delivery.envelope.routing_key)
                .lane
                .unwrap_or(Lane::Bulk),
        );
        let _in_flight = metrics.begins();
        let span = self
            .traces
            .process(provider.map(Provider::name), &delivery.envelope);
        let mark = OnceCell::new();
        let journey = AssertUnwindSafe(self.journey(provider, delivery, waiting, &span, &mark))
            .catch_unwind();
        let ending = journey.await.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            Ending::panicked(Ticket::of(&delivery.envelope, delivery.arrived.0))
        });
        if let Some(mark) = mark.get() {
            mark.at(Stage::Settling);
        }
        let waits = match &ending {
            Ending::Waits(prior) => Some(*prior),
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
        mark: &OnceCell<Mark>,
    ) -> Ending {
        failpoint::reach(failpoint::TAKEN, delivery.envelope.message_id.as_deref());
        if delivery.tail == Tail::Foreign {
            return Ending::Foreign;
        }
        let Some(provider) = provider else {
            return Ending::refused(self.refusal_of_a_stranger(delivery));
        };
        let way = Way {
            provider,
            delivery,
            waiting,
            span,
            mark,
        };
        match &provider.asked {
            Asked::One(engine) => self.journey_to_one(engine, way).await,
            // Larger, and rarer.
            Asked::Several(plan) => Box::pin(self.journey_to_several(plan, way)).await,
        }
    }

    async fn journey_to_one(&self, engine: &Rc<Engine>, way: Way<'_>) -> Ending {
        let Way {
            provider, delivery, ..
        } = way;
        let job = match self.admit(engine.adapter(), &way) {
            Ok(job) => job,
            Err(ending) => return *ending,
        };
        let (conclusion, attempts) = engine.lookup(&job, way.span, way.waiting).await;
        failpoint::reach(
            failpoint::LOOKED_UP,
            delivery.envelope.message_id.as_deref(),
        );
        let (ticket, timed) = (job.ticket, job.deadline.is_some());
        match conclusion {
            Conclusion::Answered { outcome, raw } => {
                Ending::answered(ticket, outcome, raw, attempts)
            }
            Conclusion::Exhausted(failure) => Ending::exhausted(ticket, failure, attempts),
            Conclusion::RetryLater {
                failure,
                wait,
                spared,
            } => Ending::parked(ticket, &failure, wait, attempts, spared),
            // A call is held: its deadline is kept here, and the lane is short.
            Conclusion::CircuitOpen {
                http_status,
                spared,
            } if ticket.lane == Lane::Interactive
                && !delivery.suspect
                && !provider.inbox.is_closed() =>
            {
                Ending::waits(&ticket, http_status, attempts, spared)
            }
            Conclusion::LeaseOver { .. } if !timed && attempts == ticket.prior.attempts => {
                Ending::Abandoned
            }
            Conclusion::CircuitOpen {
                http_status,
                spared,
            }
            | Conclusion::LeaseOver {
                http_status,
                spared,
            } => Ending::put_back(ticket, http_status, attempts, spared),
            // The latter befalls steps alone.
            Conclusion::Abandoned | Conclusion::OutOfQuota => Ending::Abandoned,
        }
    }

    async fn journey_to_several(&self, plan: &Rc<Plan>, way: Way<'_>) -> Ending {
        let job = match self.admit(&**plan, &way) {
            Ok(job) => job,
            Err(ending) => return *ending,
        };
        let said_before = match &way.delivery.tail {
            Tail::Known(tail) => State::read(tail).unwrap_or_default(),
            Tail::None | Tail::Foreign => State::default(),
        };
        let conclusion = plan.lookup(&job, way.span, way.waiting, said_before).await;
        failpoint::reach(
            failpoint::LOOKED_UP,
            way.delivery.envelope.message_id.as_deref(),
        );
        let (ticket, timed) = (job.ticket, job.deadline.is_some());
        match conclusion {
            lookups::Conclusion::Answered(answer) => Ending::of_lookup(ticket, *answer),
            lookups::Conclusion::RetryLater { wait, kind, state } => {
                Ending::waits_for_step(ticket, kind, wait, &state)
            }
            lookups::Conclusion::Abandoned if !timed => Ending::Abandoned,
            lookups::Conclusion::Abandoned => Ending::put_back_with(ticket, &State::default()),
            lookups::Conclusion::PutBack(state) => Ending::put_back_with(ticket, &state),
        }
    }

    /// The job, if it is one that is not finished yet.
    fn admit<A: Asks>(&self, asks: &A, way: &Way) -> Result<Job<A::Asked>, Box<Ending>> {
        let Way {
            provider, delivery, ..
        } = way;
        let mut job = self
            .read(Some(asks), delivery)
            .map_err(|not_a_job| Box::new(Ending::refused(*not_a_job)))?;
        if let Some(ending) = provider.finished.recall(&job.ticket.id, delivery) {
            return Err(Box::new(ending));
        }
        job.lease = delivery.lease(self.timeout.to_begin());
        let Ticket { id, lane, .. } = &job.ticket;
        let begin = || self.marks.begin(id, provider.name(), *lane);
        job.mark = way.mark.get_or_init(begin).clone();
        job.slot = Slot::of(&provider.slots);
        Ok(job)
    }

    fn read<A: Asks>(
        &self,
        asks: Option<&A>,
        delivery: &Delivery,
    ) -> Result<Job<A::Asked>, Box<NotAJob>> {
        let job = Job::read(
            &delivery.envelope,
            &delivery.body,
            self.settings.amqp.max_job_bytes,
            asks,
            delivery.arrived.0,
        )?;
        match self.reply_problem(&delivery.envelope) {
            None => Ok(job),
            Some(problem) => Err(Box::new(NotAJob {
                ticket: job.ticket,
                failure: Failure::new(ErrorKind::InvalidJob, problem.to_string()),
            })),
        }
    }

    /// Why nobody is asked, where the routing key names nobody.
    fn refusal_of_a_stranger(&self, delivery: &Delivery) -> NotAJob {
        match self.read::<Adapter>(None, delivery) {
            Err(not_a_job) => *not_a_job,
            Ok(job) => NotAJob {
                ticket: job.ticket,
                failure: Failure::new(
                    ErrorKind::UnknownProvider,
                    "no worker has a provider of this name",
                ),
            },
        }
    }
}

/// What a journey begins with.
struct Way<'a> {
    provider: &'a Provider,
    delivery: &'a Delivery,
    waiting: Waiting,
    span: &'a Span,
    /// Set once the job's id is known.
    mark: &'a OnceCell<Mark>,
}
