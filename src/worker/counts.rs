//! The providers' own counts among workers: what one reads the others hear.

use std::{rc::Rc, time::Duration};

use super::Worker;
use crate::{
    broker::{BrokerError, CountNotice, Session},
    clock::Moment,
};

/// Between two words of one worker about one provider.
const EVERY: Duration = Duration::from_millis(100);

/// Lets other workers know what this one reads.
pub async fn tell(
    worker: Rc<Worker>,
    name: String,
    session: Rc<Session>,
) -> Result<(), BrokerError> {
    let count = &worker.engines[&name].quota.count;
    loop {
        let (words, spent) = count.untold().await;
        for (said, sent) in words {
            let ago = Moment::now().since(sent.at);
            let notice = CountNotice::new(&name, worker.number, &said, ago, [sent.spent, spent]);
            session.tell_count(&notice).await?;
        }
        tokio::time::sleep(EVERY).await;
    }
}

impl Worker {
    /// What another worker read counts here too.
    pub(super) fn hear_count(&self, notice: &CountNotice) {
        if notice.by == self.number {
            return;
        }
        if let Some(engine) = self.engines.get(&notice.provider) {
            let said = notice.said();
            let (by, ago, spent) = (notice.by, notice.ago(), notice.spent());
            engine.quota.count.hear_of(&said, by, ago, spent);
        }
    }
}
