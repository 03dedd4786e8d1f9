//! What is told of queues, quotas and dead letters: looked at every few seconds.

use std::{rc::Rc, time::Duration};

use super::{Provider, Worker};
use crate::{
    backlog::{self, Backlog},
    broker::{BrokerError, Session, asks},
    engine::Engine,
    lane::Lane,
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Looks as long as it can.
pub async fn watch(worker: Rc<Worker>, session: Rc<Session>) -> Result<(), BrokerError> {
    loop {
        let engines = worker.engines.values();
        asks::each(engines, |engine| of_provider(&worker, &session, engine)).await?;
        let lookups = worker.lookups();
        asks::each(lookups, |lookup| of_lookup(&worker, &session, lookup)).await?;
        worker
            .metrics
            .dead_letters(session.depth(&worker.names.dead()).await?);
        tokio::time::sleep(EVERY).await;
    }
}

async fn of_provider(
    worker: &Worker,
    session: &Session,
    engine: &Engine,
) -> Result<(), BrokerError> {
    let settings = &engine.settings;
    let ledger = worker.ledgers.borrow().get(&settings.name).cloned();
    let ledgers = ledger.map_or_else(Vec::new, |ledger| ledger.queues());
    let inbox = worker.providers[&settings.name].inbox.waiting();
    let unsent = engine.quota.unsent();
    let held = [0, 1].map(|lane| inbox[lane] + unsent[lane]);
    let backlog = Backlog::look(session, &worker.names, settings, &ledgers, Some(held)).await?;
    let together = if engine.batches_rest() {
        1
    } else {
        backlog::together(settings)
    };
    let limit = engine.quota.limit();
    let time = limit.map(|limit| backlog.time(&limit, together));
    engine
        .metrics
        .backlog(backlog.ready, held, time, backlog.used);
    Ok(())
}

async fn of_lookup(
    worker: &Worker,
    session: &Session,
    (name, provider): (&String, &Provider),
) -> Result<(), BrokerError> {
    let queues = Lane::ALL.map(|lane| worker.names.jobs(name, lane));
    let depths = session.depths(&queues).await?;
    let ready = [0, 1].map(|lane| depths[lane].unwrap_or_default().ready);
    provider
        .metrics
        .backlog(ready, provider.inbox.waiting(), None, None);
    Ok(())
}
