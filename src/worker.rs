//! The worker: from connection to connection, until it is told to stop.
//!
//! Read `journey` first: one job's whole way. Around it:
//! `intake` consumes into each provider's `inbox`, `concurrency` slots a provider take jobs from there,
//! `settle` publishes what replaces a job and acknowledges it, `parking` holds what waits, `suspects` lets jobs that
//! may be poison go on alone, and `overdue` sees to what waits in an inbox for too long. Whether a consumer runs is `feed`; `guard` stops it while its provider fails, `alarm`
//! while the broker takes no publishes, `progress` looks whether it is given what it should be, and `late` lets go of
//! what the broker takes back. `notices` are what
//! workers hear of each other.
//!
//! # The stop, in steps
//! 1. `/readyz` answers 503.
//! 2. Every consumer is cancelled: no new jobs, and no more probes.
//! 3. What was delivered and not begun goes back to its queue.
//! 4. The jobs in flight are finished, answered and acknowledged; this and all before within `worker.shutdown_grace`.
//! 5. The channels are closed, then the connections; what is still in flight goes back to its queue with them.

mod alarm;
mod brake;
mod ending;
mod feed;
mod gauges;
mod guard;
pub mod inbox;
mod intake;
mod journey;
mod late;
pub mod load;
mod memory;
mod notices;
mod overdue;
mod parking;
mod passing;
mod progress;
mod renewal;
mod settle;
mod suspects;

use std::{
    cell::RefCell, collections::BTreeMap, convert::Infallible, future::Future, rc::Rc,
    time::Instant,
};

use tokio::{
    sync::{mpsc, watch},
    task::spawn_local,
};

use crate::{
    broker::{BrokerError, Expected, Names, QuotaLedger, Session, reconnect_delay},
    config::{AmqpSettings, Given, QuotaLimit, Settings},
    engine::Engine,
    job::Lane,
    policy::{poison::Suspicion, progress::Progress, quota::Terms, timeout::ConsumerTimeout},
    quota,
    telemetry::{
        metrics::{Metrics, ProviderMetrics, UNKNOWN},
        notify,
        readiness::Readiness,
        server::Server,
        traces::Traces,
    },
};
use brake::Brake;
use inbox::Inbox;
use intake::Intake;
use load::{Exposed, Held};
use memory::Finished;

/// Why the worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Something that it needs to begin cannot be had.
    #[error("{0}")]
    Start(String),
    /// What is on the broker is not what it needs.
    #[error(transparent)]
    Topology(BrokerError),
}

/// What all jobs share.
struct Worker {
    settings: Settings,
    /// How the broker is reached, from the next connection on.
    broker: RefCell<AmqpSettings>,
    /// What counts now: as given at start, and what was taken over since.
    in_effect: RefCell<Given>,
    names: Names,
    providers: BTreeMap<String, Provider>,
    /// The metrics of jobs for providers that are not configured.
    strangers: ProviderMetrics,
    metrics: Metrics,
    traces: Traces,
    readiness: Readiness,
    suspicion: Suspicion,
    exposed: Rc<Exposed>,
    progress: RefCell<Progress>,
    /// Of this session, by provider: where common quotas are counted.
    ledgers: RefCell<BTreeMap<String, Rc<QuotaLedger>>>,
    timeout: ConsumerTimeout,
}

/// One provider, with the jobs that wait for it here.
struct Provider {
    engine: Rc<Engine>,
    inbox: Inbox<Held>,
    suspects: Inbox<Held>,
    finished: Finished,
}

impl Provider {
    fn name(&self) -> &str {
        &self.engine.settings.name
    }

    fn inboxes(&self) -> [&Inbox<Held>; 2] {
        [&self.inbox, &self.suspects]
    }
}

/// Works until `stop` comes. What comes by `renewals` is taken over as far as it can be without losing a job.
///
/// # Errors
/// Where it cannot begin. A broker that is down is waited for.
pub async fn run(
    settings: Settings,
    renewals: mpsc::Receiver<Settings>,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let metrics = Metrics::new();
    let readiness = Readiness::default();
    let server = Server::bind(settings.http.listen, metrics.clone(), readiness.clone())
        .await
        .map_err(RunError::Start)?;
    let server = tokio::spawn(server.serve());
    let worker = Rc::new(Worker::new(settings, metrics, readiness).map_err(RunError::Start)?);
    notify::started();
    let watchdog = spawn_local(notify::watchdog(worker.readiness.clone()));

    let (stopping, stopped) = watch::channel(false);
    let sessions = worker.sessions(stopped);
    let signal = async {
        stop.await;
        worker.readiness.stopping();
        let _ = stopping.send(true);
        std::future::pending::<Infallible>().await
    };
    let ended = tokio::select! {
        ended = sessions => ended,
        never = signal => match never {},
        never = worker.renewals(renewals) => match never {},
    };
    watchdog.abort();
    server.abort();
    worker.traces.finish().await;
    ended
}

impl Worker {
    fn new(settings: Settings, metrics: Metrics, readiness: Readiness) -> Result<Self, String> {
        let provider = |settings: &crate::config::ProviderSettings| {
            let engine = Engine::new(settings.clone(), &metrics)?;
            let finished =
                Finished::new(2 * usize::from(settings.concurrency.max(intake::CALLS_PREFETCH)));
            Ok((
                settings.name.clone(),
                Provider {
                    engine,
                    inbox: Inbox::default(),
                    suspects: Inbox::default(),
                    finished,
                },
            ))
        };
        Ok(Self {
            names: Names::new(&settings.amqp.prefix),
            providers: settings
                .providers
                .values()
                .map(provider)
                .collect::<Result<_, String>>()?,
            strangers: metrics.provider(UNKNOWN),
            broker: RefCell::new(settings.amqp.clone()),
            in_effect: RefCell::new(settings.given.clone()),
            suspicion: Suspicion::new(settings.amqp.delivery_limit),
            exposed: Rc::default(),
            progress: RefCell::default(),
            ledgers: RefCell::default(),
            timeout: ConsumerTimeout::default(),
            traces: Traces::begin(&settings)?,
            settings,
            metrics,
            readiness,
        })
    }

    /// One session after the other, and the stop.
    async fn sessions(self: &Rc<Self>, mut stopped: watch::Receiver<bool>) -> Result<(), RunError> {
        let slots = self.start_slots();
        let (mut begun, mut brake) = (false, Brake::default());
        while !*stopped.borrow() {
            let opened = tokio::select! {
                opened = self.open(&mut brake) => opened,
                _ = stopped.changed() => break,
            };
            let (session, intake) = match opened {
                Ok(opened) => opened,
                Err(error) if begun => {
                    tracing::error!(%error, "the broker's queues were changed; trying again");
                    self.readiness.not_ready(error.to_string());
                    tokio::select! {
                        () = tokio::time::sleep(reconnect_delay(6)) => continue,
                        _ = stopped.changed() => break,
                    }
                }
                Err(error) => return Err(RunError::Topology(error)),
            };
            begun = true;
            let since = Instant::now();
            self.readiness.ready();
            tracing::info!("connected and consuming");
            let wait = tokio::select! {
                reason = session.health.ended() => {
                    self.readiness.not_ready(format!("the broker is gone: {reason}"));
                    tracing::warn!(reason, "the broker is gone; connecting again");
                    self.count_quotas_nowhere();
                    self.forget_deliveries();
                    spawn_local(async move { session.close().await });
                    brake.ended(since.elapsed())
                }
                _ = stopped.changed() => return self.stop(&session, intake, slots).await,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stopped.changed() => break,
            }
        }
        Ok(())
    }

    /// A session that consumes; tries until there is one.
    async fn open(
        self: &Rc<Self>,
        brake: &mut Brake,
    ) -> Result<(Rc<Session>, Intake), BrokerError> {
        let expected = self.expected();
        loop {
            let connected = RefCell::new(None);
            let opened = async {
                let broker = self.broker.borrow().clone();
                let session = Session::open(&broker).await?;
                connected.replace(Some((Rc::clone(&session), Instant::now())));
                expected.establish(&session).await?;
                Box::pin(self.count_quotas_at(&session)).await?;
                notices::begin(self, &session).await?;
                let intake = Intake::start(self, &session).await?;
                Ok((session, intake))
            };
            let opened: Result<_, BrokerError> = opened.await;
            let connected = connected.take();
            let lasted = connected.as_ref().map(|(_, since)| since.elapsed());
            if let (Err(error), Some((session, _))) = (&opened, connected) {
                // What has begun on it ends with it.
                session.health.fail(error.to_string());
                spawn_local(async move { session.close().await });
            }
            match opened {
                Ok(opened) => {
                    self.metrics.connects.inc();
                    return Ok(opened);
                }
                Err(BrokerError::Lost(reason)) => {
                    let wait = match lasted {
                        Some(lasted) => brake.ended(lasted),
                        None => brake.unreached(),
                    };
                    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                    tracing::warn!(reason, wait_ms, "no broker; trying again");
                    self.readiness.not_ready(format!("no broker: {reason}"));
                    tokio::time::sleep(wait).await;
                }
                Err(foreign) => return Err(foreign),
            }
        }
    }

    fn expected(&self) -> Expected {
        Expected::new(
            &self.settings.amqp,
            &self.settings.retry.delays,
            self.settings.providers.values(),
        )
    }

    /// Where the common quotas are counted: at this session's broker.
    async fn count_quotas_at(self: &Rc<Self>, session: &Rc<Session>) -> Result<(), BrokerError> {
        let already = self.metrics.connects.get() > 0;
        for (name, quota, limit) in self.common_quotas() {
            let (names, amqp) = (&self.names, &self.settings.amqp);
            let terms = Terms::of(&limit);
            let ledger = QuotaLedger::open(session, names, amqp, name, terms, already).await?;
            let mut longer = Vec::new();
            for limit in &self.providers[name].engine.settings.longer_quotas {
                let (owner, terms) = (Names::longer(name, limit.per), Terms::of_longer(limit));
                let ledger =
                    QuotaLedger::open(session, names, amqp, &owner, terms, already).await?;
                longer.push(ledger as Rc<dyn quota::Ledger>);
            }
            quota.count_at(Some(Rc::clone(&ledger) as Rc<dyn quota::Ledger>), longer);
            self.ledgers
                .borrow_mut()
                .insert(name.clone(), Rc::clone(&ledger));
            if let Some(before) = quota.before() {
                renewal::retire(self, session, name, ledger, before);
            }
        }
        Ok(())
    }

    fn count_quotas_nowhere(&self) {
        self.ledgers.borrow_mut().clear();
        for (_, quota, _) in self.common_quotas() {
            quota.count_at(None, Vec::new());
        }
    }

    fn common_quotas(&self) -> impl Iterator<Item = (&String, &quota::Quota, QuotaLimit)> {
        self.providers.iter().filter_map(|(name, provider)| {
            let quota = &provider.engine.quota;
            let limit = quota.limit().filter(quota::is_common)?;
            Some((name, quota, limit))
        })
    }

    /// `concurrency` slots for each provider: tasks as long-lived as the worker, one job at a time each. While bulk
    /// jobs in all of them wait for quota, a call must not wait for a slot: there are some for calls alone. How many
    /// requests there are at once is still bounded by `concurrency`, in the engine.
    fn start_slots(self: &Rc<Self>) -> Vec<tokio::task::JoinHandle<()>> {
        let mut slots = Vec::new();
        for (name, provider) in &self.providers {
            let all = usize::from(provider.engine.settings.concurrency);
            let for_calls = std::iter::repeat_n(&Lane::ALL[..1], all.div_ceil(8));
            slots.push(spawn_local(suspects::slot(Rc::clone(self), name.clone())));
            for lanes in std::iter::repeat_n(&Lane::ALL[..], all).chain(for_calls) {
                slots.push(spawn_local(journey::slot(
                    Rc::clone(self),
                    name.clone(),
                    lanes,
                )));
            }
        }
        slots
    }

    /// Deliveries of a session that is over: the broker delivers them again.
    fn forget_deliveries(&self) {
        for provider in self.providers.values() {
            provider
                .inboxes()
                .into_iter()
                .for_each(|inbox| drop(inbox.take_all()));
        }
    }

    /// Deliveries that the broker has taken back: it delivers them again.
    fn forget_lost(&self) {
        for provider in self.providers.values() {
            for inbox in provider.inboxes() {
                for lane in Lane::ALL {
                    drop(inbox.take_if(lane, |job| job.is_lost()));
                }
            }
        }
    }

    /// Steps 2 to 5 of the stop.
    async fn stop(
        &self,
        session: &Rc<Session>,
        intake: Intake,
        slots: Vec<tokio::task::JoinHandle<()>>,
    ) -> Result<(), RunError> {
        tracing::info!("stopping: no new jobs");
        let finished = async {
            intake.cancel().await;
            self.hand_all_back().await;
            futures_util::future::join_all(slots).await;
            intake.settled().await;
        };
        if tokio::time::timeout(self.settings.worker.shutdown_grace, finished)
            .await
            .is_err()
        {
            tracing::warn!(
                "worker.shutdown_grace is over; what is in flight goes back to its queue"
            );
        }
        intake.close().await;
        session.close().await;
        tracing::info!("stopped");
        Ok(())
    }

    /// Step 3. What cannot be handed back goes back with its channel.
    async fn hand_all_back(&self) {
        let mut waiting = Vec::new();
        for provider in self.providers.values() {
            waiting.extend(provider.inboxes().into_iter().flat_map(Inbox::close));
            // A job that waits for quota was not sent; it goes back too.
            provider.engine.dismiss();
        }
        for delivery in waiting {
            if let Err(error) = self.hand_back_one(&delivery).await {
                tracing::debug!(%error, "a job goes back with its channel");
            }
        }
    }
}
