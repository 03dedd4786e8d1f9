//! Keeps a provider's jobs in their queues while its circuit is open or it is to be left alone, and sends the probes.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{Provider, Worker, intake::Feed};
use crate::{
    broker::{BrokerError, Session},
    engine::Waiting,
    job::Lane,
    policy::circuit::{Next, Why},
};

/// With no job to probe with, the queues are looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Guards one provider as long as the session goes on.
pub async fn watch(worker: Rc<Worker>, name: String, session: Rc<Session>, lanes: [Rc<Feed>; 2]) {
    let provider = &worker.providers[&name];
    loop {
        provider.engine.circuit.opened().await;
        let trouble = trouble(provider);
        tracing::warn!(provider = name, "{trouble}; jobs stay in their queues");
        worker.readiness.note(&name, Some(trouble));
        let guarded = async {
            for lane in &lanes {
                lane.stop().await;
            }
            worker.hand_back(provider).await?;
            worker.probe(provider, &session).await?;
            tracing::info!(provider = name, "the provider is asked again");
            worker.readiness.note(&name, None);
            for lane in &lanes {
                lane.start(&worker, &session).await?;
            }
            Ok::<_, BrokerError>(())
        };
        if let Err(error) = guarded.await {
            return session.health.fail(error.to_string());
        }
    }
}

/// In words, for people.
fn trouble(provider: &Provider) -> String {
    let circuit = &provider.engine.circuit;
    match (circuit.why(), circuit.paused_until()) {
        (Some(Why::RateLimited), Some(until)) => {
            let until = Timestamp::now() + until.saturating_duration_since(Instant::now());
            format!("paused until about {until:.0}: {}", Why::RateLimited)
        }
        (Some(why), _) => format!("circuit open, probes are sent: {why}"),
        (None, _) => "about to be asked again".to_owned(),
    }
}

impl Worker {
    /// What was delivered and not begun goes back to its queue.
    async fn hand_back(&self, provider: &Provider) -> Result<(), BrokerError> {
        for delivery in provider.inbox.take_all() {
            // The broker counts how often it hands a job out, and dead-letters it at the limit.
            if delivery.redeliveries * 2 < u64::from(self.settings.amqp.delivery_limit) {
                delivery.hand_back().await;
            } else {
                self.put_back(&delivery, delivery.forward()).await?;
                delivery.ack().await;
            }
        }
        Ok(())
    }

    /// One job after each cooldown, the urgent ones first, until the circuit is closed; none before a pause is over.
    async fn probe(&self, provider: &Provider, session: &Rc<Session>) -> Result<(), BrokerError> {
        let engine = &provider.engine;
        let queues = Lane::ALL.map(|lane| self.names.jobs(&engine.settings.name, lane));
        while let Some(next) = engine.circuit.next() {
            let (Next::Probe(at) | Next::Resume(at)) = next;
            tokio::time::sleep_until(at.into()).await;
            engine.circuit.resume(Instant::now());
            // A pause may have grown meanwhile, and its end may have been all that was waited for.
            if engine.circuit.next() != Some(next) {
                continue;
            }
            match session.take_one(&queues).await? {
                Some(delivery) => self.process(Some(provider), &delivery, Waiting::Probing).await,
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
        Ok(())
    }
}
