//! Keeps a provider's jobs in their queues while its circuit is open, and sends the probes.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    Provider, Worker,
    feed::{Against, Feed},
};
use crate::{
    broker::{BrokerError, Session},
    engine::Waiting,
    job::Lane,
};

/// With no job to probe with, the queues are looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Guards one provider as long as the session goes on.
pub async fn watch(worker: Rc<Worker>, name: String, session: Rc<Session>, feeds: Vec<Rc<Feed>>) {
    let provider = &worker.providers[&name];
    loop {
        provider.engine.circuit.opened().await;
        let why = provider.engine.circuit.why().map(|why| why.to_string()).unwrap_or_default();
        tracing::warn!(provider = name, why, "the circuit is open: jobs stay in their queues, probes are sent");
        worker.readiness.note(&name, Some(format!("circuit open: {why}")));
        let guarded = async {
            for feed in &feeds {
                feed.hold(Against::Circuit);
            }
            for feed in &feeds {
                feed.quiet().await;
            }
            worker.hand_back(provider).await?;
            worker.probe(provider, &session).await?;
            tracing::info!(provider = name, "the circuit is closed again");
            worker.readiness.note(&name, None);
            for feed in &feeds {
                feed.release(Against::Circuit);
            }
            Ok::<_, BrokerError>(())
        };
        if let Err(error) = guarded.await {
            return session.health.fail(error.to_string());
        }
    }
}

impl Worker {
    /// One job after each cooldown, the urgent ones first, until the circuit is closed.
    async fn probe(&self, provider: &Provider, session: &Rc<Session>) -> Result<(), BrokerError> {
        let engine = &provider.engine;
        let name = &engine.settings.name;
        let mut queues = Lane::ALL.map(|lane| self.names.jobs(name, lane)).to_vec();
        queues.push(self.names.suspects(name));
        while let Some(at) = engine.circuit.next_probe() {
            if let Some(wait) = at.checked_duration_since(Instant::now()) {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = engine.circuit.hurried() => {}
                }
            }
            session.health.unblocked().await;
            match session.take_one(&queues).await? {
                Some(delivery) if self.is_suspicious(&delivery) => self.set_aside(provider, &delivery).await?,
                Some(delivery) => self.process(Some(provider), &delivery, Waiting::Probing).await,
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
        Ok(())
    }
}
