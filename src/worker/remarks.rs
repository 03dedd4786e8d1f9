//! What there is to say of a provider that is well, and whose jobs wait all the same: its own count holds requests
//! back, its calls wait for the quota. Looked at every second.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use super::Worker;
use crate::{
    broker::BrokerError,
    engine::Engine,
    lane::Lane,
    policy::quota::{Calls, Terms, count::Throttle},
    telemetry::readiness::Remark,
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Shows it on the page, at `/readyz` and in metrics, and in the log when it begins.
pub async fn show(worker: Rc<Worker>) -> Result<(), BrokerError> {
    let mut told = BTreeSet::new();
    loop {
        for (name, engine) in &worker.engines {
            for (remark, text) in worker.remarks(engine) {
                if let Some(text) = &text
                    && told.insert((name.clone(), remark))
                {
                    tracing::info!(provider = name, "{text}");
                }
                if text.is_none() {
                    told.remove(&(name.clone(), remark));
                }
                worker.readiness.remark(name, remark, text);
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

impl Worker {
    fn remarks(&self, engine: &Engine) -> [(Remark, Option<String>); 2] {
        let (count, metrics) = (
            &engine.quota.count,
            self.metrics.quota(&engine.settings.name),
        );
        let (held, calls) = (count.throttle(), engine.quota.calls_that_wait());
        let cure = match held {
            Some(_) => "its own count holds them back",
            None => "raise quota, or send fewer calls",
        };
        metrics.of_provider(count.least_remaining(), held.is_some());
        metrics.calls_wait(calls.is_some());
        [
            (
                Remark::Held,
                held.map(|(lane, held)| held_back(lane, &held)),
            ),
            (
                Remark::CallsWait,
                calls.map(|(calls, terms)| wait_too_long(calls, &terms, cure)),
            ),
        ]
    }
}

fn held_back(lane: Lane, throttle: &Throttle) -> String {
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

fn wait_too_long(calls: Calls, terms: &Terms, cure: &str) -> String {
    let (p99, most) = (calls.p99.as_secs_f64(), terms.longest_wait().as_secs_f64());
    let missed = match calls.missed {
        0 => String::new(),
        missed => format!(", and {missed} missed their deadline"),
    };
    format!(
        "calls wait for the quota: p99 {p99:.1} s of the last two minutes, where it should be {most:.0} s at most{missed}; \
         {cure}"
    )
}
