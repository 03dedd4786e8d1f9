//! The providers' own counts among workers: what one reads the others hear, and what is held back for it is shown.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use super::Worker;
use crate::{
    broker::{BrokerError, CountNotice, Session},
    clock::Moment,
    lane::Lane,
    policy::quota::count::Throttle,
};

/// Between two words of one worker about one provider.
const EVERY: Duration = Duration::from_millis(100);

/// Between two looks at what is held back.
const SHOWN_EVERY: Duration = Duration::from_secs(1);

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

/// Shows what is held back, at `/readyz`, in the log and in metrics.
pub async fn show(worker: Rc<Worker>) -> Result<(), BrokerError> {
    let mut holding = BTreeMap::new();
    loop {
        for (name, engine) in &worker.engines {
            let count = &engine.quota.count;
            let throttle = count.throttle();
            let metrics = worker.metrics.quota(name);
            metrics.of_provider(count.least_remaining(), throttle.is_some());
            let told = throttle.map(|(lane, throttle)| told(lane, &throttle));
            let was = holding.insert(name.clone(), throttle.is_some());
            if let Some(told) = &told
                && was != Some(true)
            {
                tracing::info!(provider = name, "{told}");
            }
            worker.readiness.remark(name, told);
        }
        tokio::time::sleep(SHOWN_EVERY).await;
    }
}

fn told(lane: Lane, throttle: &Throttle) -> String {
    let Throttle {
        remaining,
        limit,
        wait,
        shared,
    } = throttle;
    let of = limit
        .map(|limit| format!(" of {limit}"))
        .unwrap_or_default();
    let wait = humantime::format_duration(Duration::from_secs(wait.as_secs()));
    let who = match lane {
        Lane::Interactive => "calls and bulk wait",
        Lane::Bulk => "bulk waits",
    };
    let why = if *shared {
        "somebody else uses the same token"
    } else {
        "its limit is lower than our quota, or somebody else uses the same token"
    };
    format!("its own count holds us back, {who}: {remaining}{of} left for {wait}; {why}")
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
