//! The worker: from connection to connection, until it is told to stop.
//!
//! Read `journey` first: one job's whole way. Around it: `intake` consumes into each provider's `inbox`, `concurrency`
//! slots a provider take jobs from there, `settle` publishes what replaces a job and acknowledges it, `parking` holds
//! what waits, `suspects` lets jobs that may be poison go on alone, and `overdue` sees to what waits in an inbox for
//! too long. Whether a consumer runs is `feed`; `guard` stops it while its provider fails, `alarm` while the broker
//! takes no publishes, `progress` looks whether it is given what it should be, and `late` lets go of what the broker
//! takes back. `notices` are what workers hear of each other, and `explain` what one says to whoever asks for a job.
//!
//! # The stop, in steps
//! 1. `/readyz` answers 503.
//! 2. Every consumer is cancelled: no new jobs, and no more probes.
//! 3. What was delivered and not begun goes back to its queue.
//! 4. The jobs in flight are finished, answered and acknowledged; this and all before within `worker.shutdown_grace`.
//! 5. The channels are closed, then the connections; what is still in flight goes back to its queue with them.

mod alarm;
mod brake;
mod counts;
mod ending;
mod explain;
mod feed;
mod gauges;
mod guard;
pub mod inbox;
mod intake;
mod journey;
mod late;
mod ledgers;
pub mod load;
mod memory;
mod notices;
mod overdue;
mod parking;
mod passing;
mod precedence;
mod progress;
mod remarks;
mod renewal;
mod settle;
mod sink;
mod suspects;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    convert::Infallible,
    future::Future,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::spawn_local,
};

use crate::{
    broker::{BrokerError, Expected, QuotaLedgers, Session, reconnect_delay},
    config::{AmqpSettings, Given},
    engine::Engine,
    job::{Asks, Marks},
    lane::Lane,
    lookups::{Asked, Plan, settings::LookupSettings},
    message::Names,
    policy::{poison::Suspicion, progress::Progress, timeout::ConsumerTimeout},
    provider::settings::ProviderSettings,
    settings::Settings,
    slots::{Slots, spare},
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
    /// Each configured provider, ready to be asked.
    engines: BTreeMap<String, Rc<Engine>>,
    /// Providers and lookups, by the names in routing keys.
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
    ledgers: RefCell<BTreeMap<String, Rc<QuotaLedgers>>>,
    timeout: ConsumerTimeout,
    /// By which other workers know its words.
    number: u64,
    /// How far each job is.
    marks: Rc<Marks>,
}

/// One provider, or a lookup of several, with the jobs that wait for it here.
struct Provider {
    name: String,
    asked: Asked,
    metrics: ProviderMetrics,
    /// Jobs in flight.
    concurrency: u16,
    slots: Rc<Slots>,
    inbox: Inbox<Held>,
    suspects: Inbox<Held>,
    finished: Finished,
}

impl Provider {
    fn new(name: &str, asked: Asked, concurrency: u16, metrics: &Metrics) -> Self {
        let kept = 2 * usize::from(concurrency.max(sink::CALLS_PREFETCH));
        Self {
            name: name.to_owned(),
            asked,
            metrics: metrics.provider(name),
            concurrency,
            slots: Rc::default(),
            inbox: Inbox::default(),
            suspects: Inbox::default(),
            finished: Finished::new(kept),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    /// That of a provider; a lookup has none of its own.
    fn engine(&self) -> Option<&Rc<Engine>> {
        match &self.asked {
            Asked::One(engine) => Some(engine),
            Asked::Several(_) => None,
        }
    }

    /// Those that its jobs are asked of.
    fn engines(&self) -> &[Rc<Engine>] {
        match &self.asked {
            Asked::One(engine) => std::slice::from_ref(engine),
            Asked::Several(plan) => &plan.engines,
        }
    }

    /// The time that a job of this lane has which brings no deadline.
    fn usual_deadline(&self, lane: Lane) -> Option<Duration> {
        match &self.asked {
            Asked::One(_) => None,
            Asked::Several(plan) => plan.usual_deadline(lane),
        }
    }

    /// Waits until a person says that one of its providers is to be asked.
    async fn lifted(&self) {
        let lifted = self.engines().iter();
        let lifted = lifted.map(|engine| Box::pin(engine.circuit.lifted()));
        futures_util::future::select_all(lifted).await;
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
    let watchdog = spawn_local({
        let readiness = worker.readiness.clone();
        notify::watchdog(move || readiness.live().0)
    });

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
        let engine = |(name, settings): (&String, &ProviderSettings)| {
            Ok((name.clone(), Engine::new(settings.clone(), &metrics)?))
        };
        let engines = settings.providers.iter().map(engine);
        let engines = engines.collect::<Result<BTreeMap<_, _>, String>>()?;
        let provider = |(name, engine): (&String, &Rc<Engine>)| {
            let asked = Asked::One(Rc::clone(engine));
            let concurrency = engine.settings.concurrency;
            (
                name.clone(),
                Provider::new(name, asked, concurrency, &metrics),
            )
        };
        let lookup = |(name, lookup): (&String, &LookupSettings)| {
            let steps = lookup.steps.iter().map(|step| step.provider.as_str());
            readiness.stands_with(name, lookup.mode, steps);
            let asked = Asked::Several(Plan::new(lookup, &engines, &metrics));
            let concurrency = settings.worker.concurrency;
            (
                name.clone(),
                Provider::new(name, asked, concurrency, &metrics),
            )
        };
        let providers = engines.iter().map(provider);
        let providers = providers
            .chain(settings.lookups.iter().map(lookup))
            .collect();
        Ok(Self {
            names: Names::new(&settings.amqp.prefix),
            providers,
            engines,
            strangers: metrics.provider(UNKNOWN),
            broker: RefCell::new(settings.amqp.clone()),
            in_effect: RefCell::new(settings.given.clone()),
            suspicion: Suspicion::new(settings.amqp.delivery_limit),
            exposed: Rc::default(),
            progress: RefCell::default(),
            ledgers: RefCell::default(),
            timeout: ConsumerTimeout::default(),
            number: rand::random(),
            marks: Rc::default(),
            traces: Traces::begin(&settings.traces, &settings.amqp)?,
            settings,
            metrics,
            readiness,
        })
    }

    /// One session after the other, and the stop.
    async fn sessions(self: &Rc<Self>, mut stopped: watch::Receiver<bool>) -> Result<(), RunError> {
        let slots = self.start_slots();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            providers = self.engines.len(),
            lookups = self.settings.lookups.len(),
            "starting; connecting to the broker"
        );
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
            self.settings.lookups.keys(),
        )
    }

    /// The lookups of several providers.
    fn lookups(&self) -> impl Iterator<Item = (&String, &Provider)> {
        let providers = self.providers.iter();
        providers.filter(|(_, provider)| provider.engine().is_none())
    }

    /// `concurrency` slots for each provider: tasks as long-lived as the worker, one job at a time each. While bulk
    /// jobs in all of them wait for quota, a call must not wait for a slot: there are some for calls alone. And there
    /// are spare ones, for as long as jobs wait for their next attempt. How many requests there are at once is still
    /// bounded by `concurrency`, in the engine.
    fn start_slots(self: &Rc<Self>) -> Vec<tokio::task::JoinHandle<()>> {
        let mut slots = Vec::new();
        for (name, provider) in &self.providers {
            let all = usize::from(provider.concurrency);
            let for_calls = std::iter::repeat_n(&Lane::ALL[..1], all.div_ceil(8));
            slots.push(spawn_local(suspects::slot(Rc::clone(self), name.clone())));
            for lanes in std::iter::repeat_n(&Lane::ALL[..], all).chain(for_calls) {
                slots.push(spawn_local(journey::slot(
                    Rc::clone(self),
                    name.clone(),
                    lanes,
                )));
            }
            for _ in 0..spare(provider.concurrency) {
                slots.push(spawn_local(journey::spare_slot(
                    Rc::clone(self),
                    name.clone(),
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
        }
        // A job that waits for quota was not sent; it goes back too.
        self.engines.values().for_each(|engine| engine.dismiss());
        for delivery in waiting {
            if let Err(error) = self.hand_back_one(&delivery).await {
                tracing::debug!(%error, "a job goes back with its channel");
            }
        }
    }
}
