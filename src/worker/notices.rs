//! What workers hear of each other through the broker: a ledger has room, a provider is to be left alone.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::spawn_local;

use super::{Worker, gauges};
use crate::{
    broker::{BrokerError, Notice, Notices, Session},
    job::Lane,
    quota::is_common,
};

/// How often a worker that did not hear a pause looks whether it lasts.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// For so long it leaves the provider alone then; some looks may be late.
const UNTIL_NEXT_LOOK: Duration = Duration::from_millis(2500);

/// Listens and tells as long as the session goes on. Pauses from before are known when this returns.
///
/// # Errors
/// Where the broker does not answer in time.
pub async fn begin(worker: &Rc<Worker>, session: &Rc<Session>) -> Result<(), BrokerError> {
    let providers: Vec<_> = worker.providers.keys().cloned().collect();
    let ledgers: Vec<_> = providers
        .iter()
        .flat_map(|name| worker.ledgers(name))
        .map(|(ledger, _)| ledger)
        .collect();
    // First listen, then look: what is said in between is heard.
    let notices = session.notices(&worker.names, &ledgers, &providers).await?;
    let hears = notices.is_some();
    if let Some(notices) = notices {
        spawn(session, listen(Rc::clone(worker), notices));
    }
    spawn(
        session,
        gauges::watch(Rc::clone(worker), Rc::clone(session)),
    );
    for name in providers {
        if worker.look_for_pause(&name, session).await? || !hears {
            spawn(
                session,
                follow(Rc::clone(worker), name.clone(), Rc::clone(session), hears),
            );
        }
        spawn(session, tell(Rc::clone(worker), name, Rc::clone(session)));
    }
    Ok(())
}

/// As long as the session goes on.
fn spawn(session: &Rc<Session>, task: impl Future<Output = Result<(), BrokerError>> + 'static) {
    let session = Rc::clone(session);
    spawn_local(async move {
        tokio::select! {
            _ = session.health.ended() => {}
            Err(error) = task => session.health.fail(error.to_string()),
        }
    });
}

async fn listen(worker: Rc<Worker>, mut notices: Notices) -> Result<(), BrokerError> {
    while let Some(notice) = notices.next().await {
        match notice {
            Notice::Room(queue) => worker.has_room(&queue),
            Notice::Pause(name, wait) => {
                if let Some(provider) = worker.providers.get(&name) {
                    provider.engine.circuit.pause(wait, true, Instant::now());
                }
            }
        }
    }
    Err(BrokerError::Lost("the consumer of notices ended".into()))
}

/// Leaves the provider alone as long as another worker's message says so. Whoever hears no notices goes on looking.
async fn follow(
    worker: Rc<Worker>,
    name: String,
    session: Rc<Session>,
    hears: bool,
) -> Result<(), BrokerError> {
    while worker.look_for_pause(&name, &session).await? || !hears {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Lets other workers know what this one was asked for, and shows it.
async fn tell(worker: Rc<Worker>, name: String, session: Rc<Session>) -> Result<(), BrokerError> {
    let engine = &worker.providers[&name].engine;
    loop {
        engine
            .metrics
            .paused
            .set(engine.circuit.paused_until().is_some().into());
        if let Some(until) = engine.circuit.untold() {
            let wait = until.saturating_duration_since(Instant::now());
            session.tell_pause(&worker.names, &name, wait).await?;
            engine.circuit.told(until);
            continue;
        }
        tokio::select! {
            () = engine.circuit.changed() => {}
            () = engine.circuit.resumed(), if engine.circuit.paused_until().is_some() => {}
        }
    }
}

impl Worker {
    /// The ledgers of a provider's common quota, by their queues' names, each with the lanes that wait for it.
    fn ledgers(&self, name: &str) -> Vec<(String, &'static [Lane])> {
        let is_counted = self.providers[name]
            .engine
            .settings
            .quota
            .as_ref()
            .is_some_and(is_common);
        let ledgers = [
            (self.names.quota(name), &Lane::ALL[..]),
            (self.names.quota_share(name, Lane::Bulk), &[Lane::Bulk]),
        ];
        ledgers.into_iter().filter(|_| is_counted).collect()
    }

    fn has_room(&self, queue: &str) {
        for (name, provider) in &self.providers {
            if let Some((_, lanes)) = self
                .ledgers(name)
                .into_iter()
                .find(|(ledger, _)| ledger == queue)
            {
                provider.engine.quota.has_room(lanes);
            }
        }
    }

    /// Whether a pause lasts that was told before; if so, it is kept until the next look.
    async fn look_for_pause(&self, name: &str, session: &Rc<Session>) -> Result<bool, BrokerError> {
        let lasts = session
            .depth(&self.names.pause(name))
            .await?
            .is_some_and(|messages| messages > 0);
        if lasts {
            self.providers[name]
                .engine
                .circuit
                .pause(UNTIL_NEXT_LOOK, true, Instant::now());
        }
        Ok(lasts)
    }
}
