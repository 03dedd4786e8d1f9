//! What is told of queues, quotas and dead letters: looked at every few seconds.

use std::{rc::Rc, time::Duration};

use super::Worker;
use crate::{
    backlog::{self, Backlog},
    broker::{BrokerError, Session},
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Looks as long as it can.
pub async fn watch(worker: Rc<Worker>, session: Rc<Session>) -> Result<(), BrokerError> {
    loop {
        for provider in worker.providers.values() {
            let settings = &provider.engine.settings;
            let ledger = worker.ledgers.borrow().get(&settings.name).cloned();
            let ledgers: Vec<_> = ledger
                .iter()
                .map(|ledger| ledger.queue().to_owned())
                .collect();
            let backlog = Backlog::look(&session, &worker.names, settings, &ledgers).await?;
            let together = if provider.engine.batches_rest() {
                1
            } else {
                backlog::together(settings)
            };
            let limit = provider.engine.quota.limit();
            let time = limit.map(|limit| backlog.time(&limit, together));
            provider
                .engine
                .metrics
                .backlog(backlog.ready, time, backlog.used);
        }
        worker
            .metrics
            .dead_letters(session.depth(&worker.names.dead()).await?);
        tokio::time::sleep(EVERY).await;
    }
}
