//! What the page shows, as JSON: the metrics and the readiness, put together by provider. Counters are as they are;
//! rates and latencies are the difference between two looks, which whoever looks twice can tell.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use prometheus::proto::{Histogram, Metric, MetricFamily};
use serde::{Deserialize, Serialize};

use super::{
    metrics::{Metrics, Run, UNKNOWN, Waited, name},
    readiness::{Readiness, Remark, Trouble},
};
use crate::{clock::Moment, lane::Lane};

/// What a worker's state is told from.
#[derive(Debug, Clone)]
pub struct View {
    metrics: Metrics,
    readiness: Readiness,
    since: Instant,
}

/// The worker at one moment.
#[derive(Debug, Serialize)]
pub struct Status {
    version: &'static str,
    /// Since its start; if it becomes smaller, this is another process.
    pub(super) uptime_seconds: f64,
    /// Connected and consuming.
    pub(super) ready: bool,
    /// Why it is not, or will not be without a new process, and since when.
    #[serde(flatten)]
    trouble: Option<Trouble>,
    /// Times that it connected to the broker.
    connects: u64,
    /// Panics that were caught.
    panics: u64,
    /// What lies in the dead-letter queue, of all workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letters: Option<u64>,
    pub(super) providers: BTreeMap<String, Provider>,
    /// Jobs for providers that nobody has: other people's mistakes, which are no provider's state.
    for_nobody: Provider,
}

/// One provider. What was counted is since the start of this worker.
#[derive(Debug, Default, Serialize)]
pub(super) struct Provider {
    pub(super) state: State,
    /// Why it is not ready, and since when.
    #[serde(flatten)]
    trouble: Option<Trouble>,
    /// Requests that fail of late, by the class of the failure: until they are answered again.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    failing: BTreeMap<String, Run>,
    /// Jobs in the queue of each lane that no worker has been given.
    queued: BTreeMap<String, u64>,
    /// Jobs of each lane that this worker was given and has not asked for yet.
    held: BTreeMap<String, u64>,
    /// How long all of them take at the rate of the quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog_seconds: Option<u64>,
    in_flight: u64,
    /// Jobs that wait for their next attempt, and that this worker holds for it.
    parked: u64,
    /// Results by status.
    results: BTreeMap<String, u64>,
    /// Results that are `failed`, by error.
    errors: BTreeMap<String, u64>,
    /// When the last of each was.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    last_errors: BTreeMap<String, Timestamp>,
    latency: Latency,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<Quota>,
    /// Of a lookup, what each step's provider came to, by status.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    steps: BTreeMap<String, BTreeMap<String, u64>>,
    /// Dead letters of this worker by error.
    dead_letters: BTreeMap<String, u64>,
}

/// How it stands with a provider.
///
/// The better is the lesser.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Jobs are taken and asked.
    #[default]
    Ready,
    /// The next job will be tried.
    HalfOpen,
    /// The provider asked to be left alone.
    Paused,
    /// No attempts are made but probes.
    CircuitOpen,
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
    /// How long requests of this worker waited for a permission in the last quarter of an hour, also those that got
    /// none; by lane, where there were any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    waits: BTreeMap<Lane, Waited>,
    /// Requests that the provider's last answers say are left, where they say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining: Option<u64>,
    /// Why the provider's own count holds requests back, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<Trouble>,
    /// How long calls wait for it, where that is longer than it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    calls_wait: Option<Trouble>,
}

impl View {
    /// Of a process that starts now.
    #[must_use]
    pub fn new(metrics: Metrics, readiness: Readiness) -> Self {
        let since = Instant::now();
        Self {
            metrics,
            readiness,
            since,
        }
    }

    /// Now.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::of(&self.metrics, &self.readiness, self.since)
    }
}

impl Status {
    fn of(metrics: &Metrics, readiness: &Readiness, since: Instant) -> Self {
        let standing = readiness.standing();
        let mut providers = BTreeMap::<String, Provider>::new();
        let mut dead_letters = None;
        for family in metrics.gather() {
            for metric in family.get_metric() {
                if family.name() == name::DEAD_LETTERS {
                    dead_letters = Some(whole(metric.get_gauge().get_value()));
                }
                if family.name() == name::STEP_RESULTS_TOTAL {
                    read_step(&mut providers, metric);
                } else if let Some(name) = label(metric, "provider") {
                    providers
                        .entry(name.to_owned())
                        .or_default()
                        .read(&family, metric);
                }
            }
        }
        for (name, waits) in metrics.quota_waits(Moment::now()) {
            let quota = providers.get_mut(&name).and_then(|it| it.quota.as_mut());
            if let Some(quota) = quota {
                quota.waits = waits;
            }
        }
        for (name, failures) in metrics.failures(Timestamp::now()) {
            if let Some(provider) = providers.get_mut(&name) {
                (provider.failing, provider.last_errors) = (failures.runs, failures.last_errors);
            }
        }
        let for_nobody = providers.remove(UNKNOWN).unwrap_or_default();
        for (name, trouble) in &standing.providers {
            let provider = providers.entry(name.clone()).or_default();
            provider.is_in(trouble.clone());
        }
        for ((name, remark), trouble) in standing.remarks {
            let quota = providers.get_mut(&name).and_then(|it| it.quota.as_mut());
            if let Some(quota) = quota {
                let told = match remark {
                    Remark::Held => &mut quota.held,
                    Remark::CallsWait => &mut quota.calls_wait,
                };
                *told = Some(trouble);
            }
        }
        for (name, stand) in standing.lookups {
            let states = stand.providers.iter().filter_map(|of| providers.get(of));
            let best = states.map(|provider| provider.state).min();
            let lookup = providers.entry(name).or_default();
            lookup.state = best.unwrap_or_default();
            lookup.trouble = stand.trouble(&standing.providers);
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
            for_nobody,
        }
    }
}

/// Takes over what a step of a lookup came to.
fn read_step(providers: &mut BTreeMap<String, Provider>, metric: &Metric) {
    let of = |name| label(metric, name).unwrap_or_default().to_owned();
    let lookup = providers.entry(of("lookup")).or_default();
    let step = lookup.steps.entry(of("provider")).or_default();
    step.insert(of("status"), whole(metric.get_counter().get_value()));
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
            name::JOBS_WAITING => _ = self.held.insert(by("lane"), gauge),
            name::BACKLOG_SECONDS => self.backlog_seconds = Some(gauge),
            name::JOBS_IN_FLIGHT => self.in_flight = gauge,
            name::JOBS_PARKED => self.parked = gauge,
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
            name::QUOTA_PROVIDER_REMAINING => {
                self.quota.get_or_insert_default().remaining = Some(gauge);
            }
            name::DEAD_LETTERED_TOTAL => _ = self.dead_letters.insert(by("error"), count),
            _ => {}
        }
    }

    /// What is not well with it is told in words.
    fn is_in(&mut self, trouble: Trouble) {
        if self.state == State::Ready {
            self.state = State::Paused;
        }
        self.trouble = Some(trouble);
    }

    /// Results since the start.
    pub fn answered(&self) -> u64 {
        self.results.values().sum()
    }

    /// Jobs that wait.
    pub fn waiting(&self) -> u64 {
        self.queued.values().chain(self.held.values()).sum()
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
    use crate::{
        failure::{ErrorKind, Failure},
        outcome::Outcome,
        policy::lookup::Mode,
    };

    fn seen(metrics: &Metrics, readiness: &Readiness) -> Value {
        let view = View::new(metrics.clone(), readiness.clone());
        serde_json::to_value(view.status()).expect("JSON")
    }

    #[test]
    fn what_the_metrics_count_is_told_by_provider() {
        let (metrics, readiness) = (Metrics::new(), Readiness::default());
        let provider = metrics.provider("antsomi");
        let _ = metrics.provider(UNKNOWN);
        metrics.quota("antsomi").limit.set(200);
        provider.in_flight.set(3);
        let _parked = provider.parks();
        provider.requested("found", Duration::from_millis(3));
        provider.answered(Lane::Bulk, "found", "", 5);
        provider.answered(Lane::Interactive, "failed", "timeout", 5);
        provider.answered(Lane::Bulk, "failed", "timeout", 5);
        provider.dead_lettered("timeout");
        provider.backlog([2, 7], [0, 4], Some(Duration::from_secs(60)), Some(13));
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
        assert_eq!(shown["held"], json!({"interactive": 0, "bulk": 4}));
        assert_eq!(
            (
                &shown["in_flight"],
                &shown["parked"],
                &shown["backlog_seconds"]
            ),
            (&json!(3), &json!(1), &json!(60))
        );
        assert_eq!(shown["results"], json!({"found": 1, "failed": 2}));
        assert_eq!(shown["errors"], json!({"timeout": 2}));
        assert_eq!(shown["quota"], json!({"limit": 200, "used": 13}));
        assert_eq!(shown["dead_letters"], json!({"timeout": 1}));
        assert_eq!(shown["latency"]["count"], 1);
        assert_eq!(shown["latency"]["buckets"][2], json!([0.005, 1]), "{shown}");
    }

    #[test]
    fn what_was_waited_for_the_quota_is_told_by_lane_also_where_it_was_in_vain() {
        let (metrics, readiness) = (Metrics::new(), Readiness::default());
        let quota = metrics.quota("antsomi");
        quota.limit.set(200);
        assert_eq!(
            seen(&metrics, &readiness)["providers"]["antsomi"]["quota"],
            json!({"limit": 200})
        );
        quota.permitted_at_once(Lane::Interactive);
        drop(quota.waits(Lane::Interactive));
        let status = seen(&metrics, &readiness);
        let waits = &status["providers"]["antsomi"]["quota"]["waits"];
        assert_eq!(waits["interactive"]["count"], 2, "{status}");
        assert_eq!(waits["interactive"]["p50_seconds"], 0.0, "{status}");
        assert_eq!(waits["bulk"], Value::Null, "none waited");
    }

    #[test]
    fn what_a_provider_says_is_left_is_told_while_it_says_so() {
        let (metrics, readiness) = (Metrics::new(), Readiness::default());
        let quota = metrics.quota("antsomi");
        quota.limit.set(200);
        let left = || seen(&metrics, &readiness)["providers"]["antsomi"]["quota"].clone();
        quota.of_provider(Some(7), false);
        assert_eq!(left(), json!({"limit": 200, "remaining": 7}));
        quota.of_provider(None, false);
        assert_eq!(left(), json!({"limit": 200}));
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
        assert!(status["since"].is_string(), "{status}");
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
    fn what_accuses_says_since_when_and_ends_with_the_cure() {
        let (metrics, readiness) = (Metrics::new(), Readiness::default());
        let provider = metrics.provider("omeda");
        let refused = Failure::new(ErrorKind::Unauthorized, "refused");
        provider.heard(&Outcome::Failed(refused));
        provider.answered(Lane::Bulk, "failed", "unauthorized", 5);
        readiness.note("omeda", Some("circuit open".into()));
        readiness.ready();
        let shown = || seen(&metrics, &readiness)["providers"]["omeda"].clone();
        let accused = shown();
        let is_time = |value: &Value| {
            let time = value
                .as_str()
                .and_then(|text| text.parse::<Timestamp>().ok());
            time.is_some_and(|time| time <= Timestamp::now())
        };
        assert!(is_time(&accused["since"]), "{accused}");
        assert!(
            is_time(&accused["failing"]["unauthorized"]["since"]),
            "{accused}"
        );
        assert_eq!(accused["failing"]["unauthorized"]["count"], 1);
        readiness.note("omeda", None);
        provider.heard(&Outcome::NotFound(None));
        let cured = shown();
        for member in ["trouble", "since", "failing"] {
            assert_eq!(cured[member], Value::Null, "{cured}");
        }
        assert_eq!(cured["errors"], json!({"unauthorized": 1}), "a counter");
        assert!(is_time(&cured["last_errors"]["unauthorized"]), "{cured}");
    }

    #[test]
    fn a_lookup_is_as_well_as_the_best_of_its_providers_and_a_chain_as_its_first() {
        let (metrics, readiness) = (Metrics::new(), Readiness::default());
        let _ = metrics.provider("well");
        metrics.provider("dark").circuit_open.set(1);
        readiness.note("dark", Some("circuit open".into()));
        readiness.note("asleep", Some("paused until later".into()));
        for (name, mode, steps) in [
            ("one_is_well", Mode::First, ["dark", "well"]),
            ("none_is", Mode::Merge, ["dark", "asleep"]),
            ("its_first_is", Mode::Chain, ["well", "dark"]),
            ("its_first_is_not", Mode::Chain, ["dark", "well"]),
        ] {
            readiness.stands_with(name, mode, steps);
        }
        let status = seen(&metrics, &readiness);
        let state = |name: &str| status["providers"][name]["state"].clone();
        assert_eq!(state("one_is_well"), "ready");
        assert_eq!(state("none_is"), "paused", "the better of the two");
        assert_eq!(state("its_first_is"), "ready");
        assert_eq!(state("its_first_is_not"), "circuit_open");
        let (_, text) = readiness.text();
        assert!(
            text.contains("lookup none_is: none of its providers is well: dark, asleep; since "),
            "{text}"
        );
    }

    #[test]
    fn jobs_for_nobody_are_told_apart_from_the_providers() {
        let (metrics, readiness) = (Metrics::new(), Readiness::default());
        metrics.provider(UNKNOWN).dead_lettered("unknown_provider");
        let status = seen(&metrics, &readiness);
        assert_eq!(
            status["for_nobody"]["dead_letters"],
            json!({"unknown_provider": 1})
        );
        assert_eq!(status["providers"], json!({}), "one typo is no provider");
    }
}
