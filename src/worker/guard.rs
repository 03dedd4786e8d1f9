//! Keeps a provider's jobs in their queues while its circuit is open or it is to be left alone, and sends the probes.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::task::spawn_local;

use super::{
    Provider, Worker,
    feed::{Against, Feed},
    load::Held,
};
use crate::{
    broker::{BrokerError, Session},
    engine::Waiting,
    job::Lane,
    policy::circuit::{Next, Why},
};

/// With no job to probe with, the queues are looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Guards one provider as long as the session goes on.
pub async fn watch(worker: Rc<Worker>, name: String, session: Rc<Session>, feeds: Vec<Rc<Feed>>) {
    let provider = &worker.providers[&name];
    loop {
        provider.engine.circuit.opened().await;
        let trouble = trouble(provider);
        tracing::warn!(provider = name, "{trouble}; jobs stay in their queues");
        worker.readiness.note(&name, Some(trouble));
        let guarded = async {
            for feed in &feeds {
                feed.hold(Against::Circuit);
            }
            for feed in &feeds {
                feed.quiet().await;
            }
            worker.hand_back(provider).await?;
            worker.probe(&name, &session, &feeds[0]).await?;
            tracing::info!(provider = name, "the provider is asked again");
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
    /// One job after each cooldown, the urgent ones first, until the circuit is closed; none before a pause is over,
    /// and none once the worker stops: then it waits for its own end.
    async fn probe(
        self: &Rc<Self>,
        name: &str,
        session: &Rc<Session>,
        feed: &Feed,
    ) -> Result<(), BrokerError> {
        let provider = &self.providers[name];
        let engine = &provider.engine;
        let mut queues = Lane::ALL.map(|lane| self.names.jobs(name, lane)).to_vec();
        queues.push(self.names.suspects(name));
        while let Some(next) = engine.circuit.next() {
            let (Next::Probe(at) | Next::Resume(at)) = next;
            tokio::select! {
                biased;
                () = feed.held(Against::Stop) => std::future::pending().await,
                () = tokio::time::sleep_until(at.into()) => {}
                () = engine.circuit.hurried() => {}
            }
            engine.circuit.resume(Instant::now());
            // A pause may have grown meanwhile, and its end may have been all that was waited for.
            if engine.circuit.next() != Some(next) {
                continue;
            }
            session.health.unblocked().await;
            match session.take_one(&queues).await? {
                // The stop came meanwhile.
                Some(delivery) if feed.is_held(Against::Stop) => {
                    self.hand_back_one(&delivery).await?
                }
                Some(delivery) if self.is_suspicious(&delivery) => {
                    self.set_aside(provider, &delivery).await?
                }
                Some(delivery) => {
                    self.probe_with(name.to_owned(), Held::new(delivery, &feed.load, None))
                        .await
                }
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
        Ok(())
    }

    /// On a task of its own: a stop ends the guard, and finishes what is in flight.
    async fn probe_with(self: &Rc<Self>, name: String, job: Held) {
        let worker = Rc::clone(self);
        let probe = spawn_local(async move {
            let provider = &worker.providers[&name];
            worker.process(Some(provider), &job, Waiting::Probing).await;
        });
        // A panic was caught and answered there.
        let _ = probe.await;
    }
}
