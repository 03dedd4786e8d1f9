//! The last quarter of an hour, for whoever opens the page only now: a look every few seconds, kept in memory.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

use super::status::{Provider, State, Status, View};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Looks that are kept: a quarter of an hour of them, and the one at which it begins.
const KEPT: usize = 181;

/// The looks of the last while, the oldest first.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<VecDeque<Look>>>);

/// The worker at one moment, in short.
#[derive(Debug, Serialize)]
struct Look {
    /// As [`Status`] has it, so that both can be put in one order.
    uptime_seconds: f64,
    providers: BTreeMap<String, Brief>,
}

/// One provider at that moment.
#[derive(Debug, Serialize)]
struct Brief {
    /// None where the worker took no jobs at all.
    state: Option<State>,
    /// Results since the start.
    answered: u64,
    /// Jobs that waited.
    waiting: u64,
}

impl History {
    /// Looks as long as the process lives; not at its first moment, when it is connected to nothing yet.
    pub async fn keep(self, view: View) {
        loop {
            tokio::time::sleep(EVERY).await;
            self.note(&view.status());
        }
    }

    /// Keeps one more look, and drops what is older than the others need.
    pub fn note(&self, status: &Status) {
        let brief = |(name, provider): (&String, &Provider)| {
            let state = status.ready.then_some(provider.state);
            let (answered, waiting) = (provider.answered(), provider.waiting());
            let brief = Brief {
                state,
                answered,
                waiting,
            };
            (name.clone(), brief)
        };
        let look = Look {
            uptime_seconds: status.uptime_seconds,
            providers: status.providers.iter().map(brief).collect(),
        };
        let mut looks = self.looks();
        looks.push_back(look);
        let surplus = looks.len().saturating_sub(KEPT);
        looks.drain(..surplus);
    }

    /// All that is kept, as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        // Strings and numbers become JSON without fail.
        serde_json::to_string(&*self.looks()).unwrap_or_default()
    }

    fn looks(&self) -> MutexGuard<'_, VecDeque<Look>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        lane::Lane,
        telemetry::{metrics::Metrics, readiness::Readiness},
    };

    fn kept(history: &History) -> Vec<Value> {
        serde_json::from_str(&history.json()).expect("JSON")
    }

    #[test]
    fn who_comes_later_is_told_what_was() {
        let (metrics, readiness) = (Metrics::new(), Readiness::default());
        let view = View::new(metrics.clone(), readiness.clone());
        let (history, provider) = (History::default(), metrics.provider("omeda"));
        history.note(&view.status());
        readiness.ready();
        provider.answered(Lane::Bulk, "found", "", 5);
        provider.answered(Lane::Bulk, "failed", "timeout", 5);
        provider.backlog([1, 5], [0, 2], None, None);
        provider.circuit_open.set(1);
        history.note(&view.status());
        provider.circuit_open.set(0);
        history.note(&view.status());
        let looks = kept(&history);
        assert_eq!(
            looks[0]["providers"]["omeda"],
            json!({"state": null, "answered": 0, "waiting": 0}),
            "it took no jobs"
        );
        assert_eq!(
            looks[1]["providers"]["omeda"],
            json!({"state": "circuit_open", "answered": 2, "waiting": 8})
        );
        assert_eq!(looks[2]["providers"]["omeda"]["state"], "ready");
    }

    #[test]
    fn a_quarter_of_an_hour_is_kept_and_no_more() {
        let view = View::new(Metrics::new(), Readiness::default());
        let history = History::default();
        for _ in 0..KEPT + 20 {
            history.note(&view.status());
        }
        let kept = kept(&history).len();
        assert_eq!(
            EVERY * u32::try_from(kept - 1).unwrap(),
            Duration::from_mins(15)
        );
    }
}
