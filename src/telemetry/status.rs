//! What the page shows, as JSON: the metrics and the readiness, put together by provider. Counters are as they are;
//! rates and latencies are the difference between two looks, which whoever looks twice can tell.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use prometheus::proto::{Histogram, Metric, MetricFamily};
use serde::Serialize;

use super::{
    metrics::{Metrics, UNKNOWN, name},
    readiness::Readiness,
};

/// The worker at one moment.
#[derive(Debug, Serialize)]
pub struct Status {
    version: &'static str,
    /// Since its start; if it becomes smaller, this is another process.
    uptime_seconds: f64,
    /// Connected and consuming.
    ready: bool,
    /// Why it is not, or will not be without a new process.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// Times that it connected to the broker.
    connects: u64,
    /// Panics that were caught.
    panics: u64,
    /// What lies in the dead-letter queue, of all workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letters: Option<u64>,
    providers: BTreeMap<String, Provider>,
}

/// One provider. What was counted is since the start of this worker.
#[derive(Debug, Default, Serialize)]
struct Provider {
    state: State,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// Jobs in the queue of each lane that no worker has been given.
    queued: BTreeMap<String, u64>,
    /// How long they take at the rate of the quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog_seconds: Option<u64>,
    in_flight: u64,
    /// Results by status.
    results: BTreeMap<String, u64>,
    /// Results that are `failed`, by error.
    errors: BTreeMap<String, u64>,
    latency: Latency,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<Quota>,
    /// Dead letters of this worker by error.
    dead_letters: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    #[default]
    Ready,
    /// The provider asked to be left alone.
    Paused,
    /// No attempts are made but probes.
    CircuitOpen,
    /// The next job will be tried.
    HalfOpen,
}

/// HTTP requests by how long they took.
#[derive(Debug, Default, Serialize)]
struct Latency {
    count: u64,
    /// Each bound in seconds, and how many took no longer.
    buckets: Vec<(f64, u64)>,
}

#[derive(Debug, Default, Serialize)]
struct Quota {
    /// Requests in a window.
    limit: u64,
    /// Those of the present one, where the broker counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
}

impl Status {
    /// Now.
    #[must_use]
    pub fn of(metrics: &Metrics, readiness: &Readiness, since: Instant) -> Self {
        let standing = readiness.standing();
        let mut providers = BTreeMap::<String, Provider>::new();
        let mut dead_letters = None;
        for family in metrics.gather() {
            for metric in family.get_metric() {
                if family.name() == name::DEAD_LETTERS {
                    dead_letters = Some(whole(metric.get_gauge().get_value()));
                }
                if let Some(name) = label(metric, "provider") {
                    providers
                        .entry(name.to_owned())
                        .or_default()
                        .read(&family, metric);
                }
            }
        }
        // Nobody need see the provider of other people's mistakes before there is one.
        providers.retain(|name, provider| name != UNKNOWN || !provider.is_untouched());
        for (name, trouble) in standing.providers {
            providers.entry(name).or_default().is_in(trouble);
        }
        let to_milliseconds = |time: Duration| (time.as_secs_f64() * 1e3).round() / 1e3;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: to_milliseconds(since.elapsed()),
            ready: standing.not_ready.is_none(),
            trouble: standing.stuck.or(standing.not_ready),
            connects: metrics.connects.get(),
            panics: metrics.panics.get(),
            dead_letters,
            providers,
        }
    }
}

impl Provider {
    /// Takes over what a series says, if it is one of those that are shown.
    fn read(&mut self, family: &MetricFamily, metric: &Metric) {
        let (gauge, count) = (
            whole(metric.get_gauge().get_value()),
            whole(metric.get_counter().get_value()),
        );
        let by = |name| label(metric, name).unwrap_or_default().to_owned();
        match family.name() {
            name::CIRCUIT_OPEN if gauge > 0 => self.state = State::CircuitOpen,
            name::CIRCUIT_HALF_OPEN if gauge > 0 => self.state = State::HalfOpen,
            name::PAUSED if gauge > 0 && self.state == State::Ready => {
                self.state = State::Paused;
            }
            name::JOBS_QUEUED => _ = self.queued.insert(by("lane"), gauge),
            name::BACKLOG_SECONDS => self.backlog_seconds = Some(gauge),
            name::JOBS_IN_FLIGHT => self.in_flight = gauge,
            name::RESULTS_TOTAL => {
                *self.results.entry(by("status")).or_default() += count;
                if by("status") == "failed" {
                    *self.errors.entry(by("error")).or_default() += count;
                }
            }
            name::PROVIDER_REQUEST_DURATION_SECONDS => {
                self.latency = Latency::of(metric.get_histogram());
            }
            name::QUOTA_LIMIT if gauge > 0 => self.quota.get_or_insert_default().limit = gauge,
            name::QUOTA_USED => self.quota.get_or_insert_default().used = Some(gauge),
            name::DEAD_LETTERED_TOTAL => _ = self.dead_letters.insert(by("error"), count),
            _ => {}
        }
    }

    /// What is not well with it is told in words.
    fn is_in(&mut self, trouble: String) {
        if self.state == State::Ready {
            self.state = State::Paused;
        }
        self.trouble = Some(trouble);
    }

    fn is_untouched(&self) -> bool {
        self.in_flight == 0
            && self
                .results
                .values()
                .chain(self.dead_letters.values())
                .all(|count| *count == 0)
    }
}

impl Latency {
    fn of(histogram: &Histogram) -> Self {
        let buckets = histogram.get_bucket().iter();
        Self {
            count: histogram.get_sample_count(),
            buckets: buckets
                .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
                .collect(),
        }
    }
}

fn label<'a>(metric: &'a Metric, name: &str) -> Option<&'a str> {
    metric
        .get_label()
        .iter()
        .find(|label| label.name() == name)
        .map(prometheus::proto::LabelPair::value)
}

/// Counts come as floating point.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count; what is no number becomes 0"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::job::Lane;

    fn seen(metrics: &Metrics, readiness: &Readiness) -> Value {
        serde_json::to_value(Status::of(metrics, readiness, Instant::now())).expect("JSON")
    }

    #[test]
    fn what_the_metrics_count_is_told_by_provider() {
        let (metrics, readiness) = (Metrics::new(), Readiness::default());
        let provider = metrics.provider("antsomi");
        let _ = metrics.provider(UNKNOWN);
        metrics.quota("antsomi").limit.set(200);
        provider.in_flight.set(3);
        provider.requested("found", Duration::from_millis(3));
        provider.answered(Lane::Bulk, "found", "", 5);
        provider.answered(Lane::Interactive, "failed", "timeout", 5);
        provider.answered(Lane::Bulk, "failed", "timeout", 5);
        provider.dead_lettered("timeout");
        provider.backlog([2, 7], Some(Duration::from_secs(60)), Some(13));
        readiness.ready();
        assert_eq!(
            seen(&metrics, &readiness)["dead_letters"],
            Value::Null,
            "nobody has looked"
        );
        metrics.dead_letters(Some(4));
        let status = seen(&metrics, &readiness);
        assert_eq!(
            (&status["ready"], &status["dead_letters"]),
            (&json!(true), &json!(4))
        );
        assert_eq!(
            status["providers"].as_object().map(serde_json::Map::len),
            Some(1),
            "{status}"
        );
        let shown = &status["providers"]["antsomi"];
        assert_eq!(shown["state"], "ready");
        assert_eq!(shown["queued"], json!({"interactive": 2, "bulk": 7}));
        assert_eq!(
            (&shown["in_flight"], &shown["backlog_seconds"]),
            (&json!(3), &json!(60))
        );
        assert_eq!(shown["results"], json!({"found": 1, "failed": 2}));
        assert_eq!(shown["errors"], json!({"timeout": 2}));
        assert_eq!(shown["quota"], json!({"limit": 200, "used": 13}));
        assert_eq!(shown["dead_letters"], json!({"timeout": 1}));
        assert_eq!(shown["latency"]["count"], 1);
        assert_eq!(shown["latency"]["buckets"][2], json!([0.005, 1]), "{shown}");
    }

    #[test]
    fn what_is_not_well_is_told_with_its_reason() {
        let (metrics, readiness) = (Metrics::new(), Readiness::default());
        metrics.provider("omeda").circuit_open.set(1);
        readiness.note("omeda", Some("circuit open, probes are sent".into()));
        readiness.note("plume", Some("paused until later".into()));
        readiness.not_ready("no broker: refused");
        let status = seen(&metrics, &readiness);
        assert_eq!(
            (&status["ready"], &status["trouble"]),
            (&json!(false), &json!("no broker: refused"))
        );
        let told = |name: &str| {
            [
                &status["providers"][name]["state"],
                &status["providers"][name]["trouble"],
            ]
        };
        assert_eq!(
            told("omeda"),
            ["circuit_open", "circuit open, probes are sent"]
        );
        assert_eq!(told("plume"), ["paused", "paused until later"]);
    }

    #[test]
    fn jobs_for_nobody_are_told_once_there_is_one() {
        let (metrics, readiness) = (Metrics::new(), Readiness::default());
        metrics.provider(UNKNOWN).dead_lettered("unknown_provider");
        assert_eq!(
            seen(&metrics, &readiness)["providers"][UNKNOWN]["dead_letters"],
            json!({"unknown_provider": 1})
        );
    }
}
