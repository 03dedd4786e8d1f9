//! Keeps a provider's jobs in their queues while its circuit is open or it is to be left alone, and sends the probes.
//! Its calls are received all the same, so that their deadlines are kept, and wait here.

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
    dead_letter::replay,
    engine::{Engine, Waiting},
    failure::ErrorKind,
    lane::Lane,
    policy::{
        circuit::{Circuit, Recovery, Why, at},
        pause::{By, Pause},
    },
};

/// With no job to probe with, the queues are looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Guards one provider as long as the session goes on.
pub async fn watch(worker: Rc<Worker>, name: String, session: Rc<Session>, feeds: Vec<Rc<Feed>>) {
    let (provider, engine) = (&worker.providers[&name], &worker.engines[&name]);
    loop {
        provider.inbox.release();
        // It may have been closed as a session ended.
        if engine.circuit.why().is_none() {
            worker.readiness.note(&name, None);
        }
        engine.circuit.opened().await;
        provider.inbox.hold();
        let trouble = worker.tell_trouble(engine);
        tracing::warn!(provider = name, "{trouble}; jobs stay in their queues");
        let guarded = async {
            for feed in &feeds {
                feed.hold(Against::Circuit);
            }
            for feed in &feeds {
                feed.quiet().await;
            }
            worker.hand_back(provider, &[Lane::Bulk]).await?;
            let refused = credentials_refused(&engine.circuit);
            worker.probe(&name, &session, &feeds[0]).await?;
            match refused {
                None => tracing::info!(provider = name, "the provider is asked again"),
                Some(error) => tracing::info!(
                    provider = name,
                    "the provider is asked again; `{}` sends back what was refused",
                    replay(&name, [error.as_str()])
                ),
            }
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

/// By which error the jobs are dead letters that were answered before the circuit opened for the credentials, if it
/// did.
fn credentials_refused(circuit: &Circuit) -> Option<ErrorKind> {
    let (_, last) = circuit
        .open_by()
        .filter(|(why, _)| *why == Why::Credentials)?;
    Some(last.kind)
}

/// Why jobs stay in their queues and until when, in words, for people.
fn trouble(circuit: &Circuit) -> String {
    let pause = circuit.paused().filter(|pause| pause.long);
    match (circuit.open_by(), pause) {
        (_, Some(pause)) if pause.by == By::Hand => paused(pause, Why::ByHand),
        (Some((why, last)), _) if circuit.is_half_open() => {
            format!("half-open, will be tried with the next job: {why} (last: {last})")
        }
        (Some((why, last)), _) => {
            let next = match circuit.recovery() {
                Some(Recovery::Probe(time)) => format!("the next about {}", clock_time(time)),
                _ => "not before it is resumed".to_owned(),
            };
            format!("circuit open, probes are sent: {why} (last: {last}), {next}")
        }
        (None, Some(pause)) => paused(pause, Why::RateLimited),
        (None, None) => "about to be asked again".to_owned(),
    }
}

fn paused(pause: Pause, why: Why) -> String {
    match pause.until {
        Some(until) => format!("paused until about {}: {why}", clock_time(until)),
        None => format!("paused until it is resumed (`lookup-worker resume`): {why}"),
    }
}

fn clock_time(time: Instant) -> String {
    let time = Timestamp::now() + time.saturating_duration_since(Instant::now());
    format!("{time:.0}")
}

impl Worker {
    /// Lets the page, `/readyz` and the metrics tell it as it is now.
    fn tell_trouble(&self, engine: &Engine) -> String {
        let trouble = trouble(&engine.circuit);
        let name = &engine.settings.name;
        self.readiness.note(name, Some(trouble.clone()));
        engine.show_circuit();
        trouble
    }
}

/// Whether no other job waits for the provider.
async fn is_alone(
    provider: &Provider,
    session: &Rc<Session>,
    queues: &[String],
) -> Result<bool, BrokerError> {
    let depths = session.depths(queues).await?;
    Ok(provider.inbox.is_empty() && depths.iter().flatten().all(|depth| depth.ready == 0))
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
        let (provider, engine) = (&self.providers[name], &self.engines[name]);
        let [calls, bulk] = Lane::ALL.map(|lane| self.names.suspects(name, lane));
        let queues = [self.names.jobs(name, Lane::Bulk), calls, bulk];
        while let Some(recovery) = engine.circuit.recovery() {
            self.tell_trouble(engine);
            let time = match recovery {
                Recovery::Probe(time) => Some(time),
                Recovery::Resume(time) => time,
            };
            tokio::select! {
                biased;
                () = feed.held(Against::Stop) => std::future::pending().await,
                () = at(time) => {}
                () = engine.circuit.hurried(), if engine.circuit.paused().is_none() => {}
                () = engine.circuit.changed() => continue,
            }
            engine.circuit.resume(Instant::now());
            // A pause may have grown meanwhile, and its end may have been all that was waited for.
            if engine.circuit.recovery() != Some(recovery) {
                continue;
            }
            session.health.unblocked().await;
            if let Some(call) = provider.inbox.take_first(Lane::Interactive) {
                let alone = is_alone(provider, session, &queues).await?;
                self.probe_with(name, Lane::Interactive, call, alone).await;
                continue;
            }
            match session.take_one(&queues).await? {
                // The stop came meanwhile.
                Some(delivery) if feed.is_held(Against::Stop) => {
                    self.hand_back_one(&delivery).await?;
                }
                Some(delivery) if self.is_suspicious(&delivery) => {
                    self.set_aside(provider, &delivery).await?;
                }
                Some(delivery) => {
                    let job = Held::new(delivery, &feed.load, None);
                    let alone = is_alone(provider, session, &queues).await?;
                    self.probe_with(name, Lane::Bulk, job, alone).await;
                }
                None => {
                    engine.circuit.lacks_a_job();
                    self.tell_trouble(engine);
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        }
        Ok(())
    }

    /// On a task of its own: a stop ends the guard, and finishes what is in flight.
    async fn probe_with(self: &Rc<Self>, name: &str, lane: Lane, job: Held, alone: bool) {
        let (worker, name) = (Rc::clone(self), name.to_owned());
        let probe = spawn_local(async move {
            let provider = &worker.providers[&name];
            let waiting = Waiting::Probing { alone };
            worker.begin(provider, lane, job, waiting).await;
        });
        // A panic was caught and answered there.
        let _ = probe.await;
    }
}
