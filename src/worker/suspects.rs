//! Jobs that may be poison go on alone, and do not take their neighbours along.
//!
//! A job that ends the process is delivered again, ends the next, and so on until its queue's delivery limit; and with
//! each death the broker counts one more for every job that was held beside it. So a job that came back a few times
//! (`policy::poison`) is not begun beside others: it is set aside into `PREFIX.suspect.NAME`, by a copy, which the
//! broker counts anew, confirmed before the job is acknowledged. From there each worker takes one suspect at a time,
//! calls first: while there are any among the suspects, none of bulk is taken, since what is held beside a suspect is
//! counted with it. The innocent are answered; the poison reaches that queue's own limit, alone, and the broker
//! dead-letters it.
//!
//! Each death by a suspect still costs the jobs that are held in other queues of the same worker one delivery. So
//! that this never adds up for the same jobs, a suspect is begun only once nothing is held that has come back before
//! ([`Exposed`](super::load::Exposed)), and only some time after a session's begin, when what came back has arrived.
//! What is innocent then has been answered or set aside between two deaths.
//!
//! What else follows:
//! - Calls have a suspects' queue of their own. Deadlines go on meanwhile, from the first receipt.
//! - While a provider's circuit is open its suspects wait like its other jobs; probes take them last.
//! - A suspect that is put back (the circuit opened) goes into the suspects' queue; one that is parked comes back into
//!   its first queue, since it has shown that it can be begun and outlived.
//! - A result that is remembered is published again for a suspect too.
//! - Jobs held in a delay queue are not begun, but a death counts for them as well: one that came back often is
//!   replaced by a copy (`parking`).
//! - To hand a job back counts as a delivery before RabbitMQ 4.3. A job for which that would be once too often goes
//!   back as a copy. While the broker takes no publishes it is kept, and begun by the next free slot.
//! - A delivery limit of 3 or less lets a suspect be begun once, and leaves no room: what is held while the worker is
//!   killed for another reason is dead-lettered.

use std::rc::Rc;

use super::{Provider, Worker, load::Held, passing::publish_or_fail};
use crate::{
    broker::{BrokerError, Delivery, Route},
    engine::Waiting,
    job::{Address, Job},
    lane::Lane,
    message::header,
    telemetry::traces::Span,
};

/// Takes one suspect of a provider after the other, until the inbox is closed.
pub async fn slot(worker: Rc<Worker>, provider: String) {
    let provider = &worker.providers[&provider];
    while let Some((_, delivery)) = provider.suspects.take(&Lane::ALL).await {
        let lease = delivery.lease(worker.timeout.to_begin());
        tokio::select! {
            biased;
            () = provider.suspects.closed() => {
                let _ = worker.hand_back_one(&delivery).await;
            }
            // The broker delivers it again.
            _ = delivery.session.health.ended() => {}
            () = delivery.lost() => {}
            () = lease.over() => {
                let _ = worker.hand_back_one(&delivery).await;
            }
            () = worker.exposed.none() => {
                worker.process(Some(provider), &delivery, Waiting::Queued).await;
            }
        }
    }
}

/// Sets a job aside that was delivered and not begun.
pub async fn set_aside(worker: Rc<Worker>, provider: String, delivery: Held) {
    if let Err(error) = worker
        .set_aside(&worker.providers[&provider], &delivery)
        .await
    {
        tracing::debug!(%error, "a suspect is left to redelivery");
    }
}

impl Worker {
    /// Whether a delivery is not to be begun beside others.
    pub(super) fn is_suspicious(&self, delivery: &Delivery) -> bool {
        !delivery.suspect && self.suspicion.falls_on(delivery.redeliveries)
    }

    /// To its provider's suspects; a copy, as it came.
    pub(super) async fn set_aside(
        &self,
        provider: &Provider,
        delivery: &Delivery,
    ) -> Result<(), BrokerError> {
        let (job, redeliveries) = (&delivery.envelope.message_id, delivery.redeliveries);
        tracing::warn!(
            job,
            redeliveries,
            "a job came back too often to be begun beside others; it goes on alone"
        );
        let received = delivery
            .envelope
            .prior
            .received
            .unwrap_or(delivery.arrived.0);
        let message = delivery
            .forward()
            .header(header::ROUTING_KEY, &delivery.envelope.routing_key)
            .count_header(header::RECEIVED_AT, received.as_millisecond())
            .count_header(header::SUSPECT, redeliveries.try_into().unwrap_or(i64::MAX));
        let lane = Address::of(&delivery.envelope.routing_key).lane;
        let queue = self
            .names
            .suspects(provider.name(), lane.unwrap_or(Lane::Bulk));
        let publisher = &delivery.session.publisher;
        publish_or_fail(publisher, Route::Queue(&queue), message, &queue).await?;
        provider.metrics.suspects.inc();
        delivery.ack().await;
        Ok(())
    }

    /// What was delivered into these lanes, or as a suspect, and not begun goes back to its queue, but for what cannot
    /// while the broker takes no publishes.
    pub(super) async fn hand_back(
        &self,
        provider: &Provider,
        lanes: &[Lane],
    ) -> Result<(), BrokerError> {
        let can_go_back = |delivery: &Held| self.can_go_back(delivery);
        let waiting = lanes
            .iter()
            .flat_map(|lane| provider.inbox.take_if(*lane, can_go_back));
        let suspects = Lane::ALL
            .iter()
            .flat_map(|lane| provider.suspects.take_if(*lane, can_go_back));
        for delivery in waiting.chain(suspects).collect::<Vec<_>>() {
            self.hand_back_one(&delivery).await?;
        }
        Ok(())
    }

    /// Whether it can be handed back now without harm.
    fn can_go_back(&self, delivery: &Delivery) -> bool {
        !delivery.session.health.is_blocked() || self.is_spared(delivery)
    }

    /// Whether one more delivery leaves it beyond suspicion.
    fn is_spared(&self, delivery: &Delivery) -> bool {
        !delivery.suspect && !self.suspicion.falls_on(delivery.redeliveries + 1)
    }

    /// Hands it back; as a copy, where one more delivery would be held against it, or where its deadline is to count
    /// from when it came here.
    pub(super) async fn hand_back_one(&self, delivery: &Delivery) -> Result<(), BrokerError> {
        let blocked = delivery.session.health.is_blocked();
        if delivery.is_lost() {
            return Ok(());
        }
        if self.is_spared(delivery) && (blocked || !self.has_deadline(delivery)) {
            delivery.hand_back().await;
        } else if self.can_go_back(delivery) {
            self.put_copy(delivery).await?;
        }
        Ok(())
    }

    /// Puts a copy in its place, which the broker counts anew.
    pub(super) async fn put_copy(&self, delivery: &Delivery) -> Result<(), BrokerError> {
        let (envelope, arrived) = (&delivery.envelope, delivery.arrived.0);
        let received = envelope.prior.received.unwrap_or(arrived);
        let message = delivery
            .forward()
            .count_header(header::RECEIVED_AT, received.as_millisecond());
        let id = envelope.message_id.as_deref().unwrap_or_default();
        let span = Span::default();
        let settlement = self.settlement(None, delivery, &span);
        settlement.put_back(message, id).await?;
        delivery.ack().await;
        Ok(())
    }

    fn has_deadline(&self, delivery: &Delivery) -> bool {
        let (most, arrived) = (self.settings.amqp.max_job_bytes, delivery.arrived.0);
        let Address { provider, lane } = Address::of(&delivery.envelope.routing_key);
        let provider = self.providers.get(provider);
        let usual = provider.and_then(|provider| provider.usual_deadline(lane?));
        Job::deadline_of(&delivery.envelope, &delivery.body, most, usual, arrived).is_some()
    }
}
