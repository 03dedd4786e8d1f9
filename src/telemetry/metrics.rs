//! Metrics (contract §9), named as Prometheus does: base units, `_total`, nothing private in a label.

mod counted; // something that goes on, in a gauge
mod failing; // what fails of late
mod family; // how one is registered
pub(super) mod name; // what each is called
mod provider; // those of one provider
mod quota; // those of quotas
mod shared; // lookups that cost no request
mod waits; // how long was waited of late

use std::collections::BTreeMap;

use jiff::Timestamp;
use prometheus::{
    Encoder, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
    proto::MetricFamily,
};

use crate::{clock::Moment, lane::Lane, result::StepStatus};
pub use counted::Counted;
use failing::AllFailing;
pub use failing::{Failures, Run};
use family::Families;
pub use provider::ProviderMetrics;
pub use quota::QuotaMetrics;
use quota::QuotaVecs;
use shared::SharedVecs;
pub use waits::Waited;

/// The label of a provider that is not configured: its name came with a job and could be anything.
pub const UNKNOWN: &str = "unknown";

/// From a millisecond to half a minute: a cache beside us, and a provider that takes all its time.
const REQUEST_SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// As above, and on to a job that waits for a quota or an outage.
const JOB_SECONDS: [f64; 16] = [
    0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 1800.0,
    7200.0,
];

/// Every metric of the process.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    received: IntCounterVec,
    results: IntCounterVec,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    job_seconds: HistogramVec,
    in_flight: IntGaugeVec,
    parked: IntGaugeVec,
    retries: IntCounterVec,
    circuit_open: IntGaugeVec,
    circuit_half_open: IntGaugeVec,
    paused: IntGaugeVec,
    queued: IntGaugeVec,
    waiting: IntGaugeVec,
    backlog_seconds: IntGaugeVec,
    dead_lettered: IntCounterVec,
    asking: IntCounterVec,
    /// Without labels; a family, so that there is no number before one is known.
    dead_letters: IntGaugeVec,
    suspects: IntCounterVec,
    unsettled_bytes: IntGaugeVec,
    step_results: IntCounterVec,
    quota: QuotaVecs,
    shared: SharedVecs,
    failing: AllFailing,
    /// Times that the worker connected to the broker.
    pub connects: IntCounter,
    /// Panics that were caught.
    pub panics: IntCounter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at nothing.
    ///
    /// # Panics
    /// Never: every name is given once and is well-formed.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let families = Families(&registry);
        Self {
            received: families.counters(name::JOBS_RECEIVED_TOTAL, "Deliveries of jobs.", &["provider", "lane"]),
            results: families.counters(
                name::RESULTS_TOTAL,
                "Results published and confirmed.",
                &["provider", "lane", "status", "error"],
            ),
            requests: families.counters(
                name::PROVIDER_REQUESTS_TOTAL,
                "HTTP requests made, by what came of them: found, not_found or the class of the failure.",
                &["provider", "outcome"],
            ),
            request_seconds: families.histograms(
                name::PROVIDER_REQUEST_DURATION_SECONDS,
                "From an HTTP request to its whole answer.",
                &["provider"],
                &REQUEST_SECONDS,
            ),
            job_seconds: families.histograms(
                name::JOB_DURATION_SECONDS,
                "From a job's first receipt to its result.",
                &["provider", "lane"],
                &JOB_SECONDS,
            ),
            parked: families.gauges(name::JOBS_PARKED, "Parked jobs that this worker holds.", &["provider"]),
            in_flight: families.gauges(name::JOBS_IN_FLIGHT, "Jobs that are being worked on.", &["provider"]),
            retries: families.counters(
                name::RETRIES_TOTAL,
                "Attempts that will be repeated, by the class of the failure.",
                &["provider", "reason"],
            ),
            circuit_open: families.gauges(
                name::CIRCUIT_OPEN,
                "1 while no attempts are made but probes.",
                &["provider"],
            ),
            circuit_half_open: families.gauges(
                name::CIRCUIT_HALF_OPEN,
                "1 while the circuit's cooldown is over and the next job will be tried.",
                &["provider"],
            ),
            paused: families.gauges(
                name::PAUSED,
                "1 while the provider is left alone, as it asked for by 429 and Retry-After, or by hand.",
                &["provider"],
            ),
            queued: families.gauges(
                name::JOBS_QUEUED,
                "Jobs in the queue of the lane that no worker has been given.",
                &["provider", "lane"],
            ),
            waiting: families.gauges(
                name::JOBS_WAITING,
                "Jobs that this worker was given and has not asked for yet: they wait for the quota, or for their \
                     provider.",
                &["provider", "lane"],
            ),
            backlog_seconds: families.gauges(
                name::BACKLOG_SECONDS,
                "An estimate: how long the jobs that wait, at the broker and in workers' hands, take at the rate of the \
                     quota, if as many share each request as may (antsomi: batch.max_size).",
                &["provider"],
            ),
            dead_lettered: families.counters(
                name::DEAD_LETTERED_TOTAL,
                "Messages published to the dead-letter exchange.",
                &["provider", "error"],
            ),
            asking: families.counters(
                name::DEAD_LETTERS_ASKING_TOTAL,
                "The same by whom they ask for: a person, or nobody, since whoever made the mistake was told.",
                &["provider", "asks_for"],
            ),
            dead_letters: families.gauges(
                name::DEAD_LETTERS,
                "Messages in the dead-letter queue, whoever put them there.",
                &[],
            ),
            suspects: families.counters(
                name::SUSPECTS_TOTAL,
                "Jobs that came back too often to be begun beside others, and were set aside.",
                &["provider"],
            ),
            unsettled_bytes: families.gauges(name::UNSETTLED_BYTES, "Bytes delivered and not settled.", &["queue"]),
            step_results: families.counters(
                name::STEP_RESULTS_TOTAL,
                "What steps of lookups came to, as results tell it.",
                &["lookup", "provider", "status"],
            ),
            quota: QuotaVecs::new(&families),
            shared: SharedVecs::new(&families),
            failing: AllFailing::default(),
            connects: families
                .counter(name::BROKER_CONNECTS_TOTAL, "Times that the worker connected to the broker."),
            panics: families.counter(name::PANICS_TOTAL, "Panics that were caught; each is a bug."),
            registry,
        }
    }

    /// The metrics of one configured provider.
    #[must_use]
    pub fn provider(&self, name: &str) -> ProviderMetrics {
        ProviderMetrics::of(self, name)
    }

    /// The bytes that were delivered from one queue and are not settled.
    #[must_use]
    pub fn unsettled_bytes(&self, queue: &str) -> IntGauge {
        self.unsettled_bytes.with_label_values(&[queue])
    }

    /// A lookup has a step for this provider, which came to nothing yet.
    pub fn has_step(&self, lookup: &str, provider: &str) {
        for status in StepStatus::ALL {
            let labels = [lookup, provider, status.as_str()];
            self.step_results.with_label_values(&labels);
        }
    }

    /// A step of a lookup came to this.
    pub fn step(&self, lookup: &str, provider: &str, status: &str) {
        self.step_results
            .with_label_values(&[lookup, provider, status])
            .inc();
    }

    /// The metrics of one provider's quota.
    #[must_use]
    pub fn quota(&self, name: &str) -> QuotaMetrics {
        self.quota.of(name)
    }

    /// How long requests waited for a permission in the last quarter of an hour, by provider and lane.
    #[must_use]
    pub fn quota_waits(&self, now: Moment) -> BTreeMap<String, BTreeMap<Lane, Waited>> {
        self.quota.waits.all(now)
    }

    /// What fails of late, by provider.
    #[must_use]
    pub fn failures(&self, now: Timestamp) -> BTreeMap<String, Failures> {
        self.failing.told(now)
    }

    /// What lies in the dead-letter queue; none where that cannot be told.
    pub fn dead_letters(&self, count: Option<u32>) {
        match count {
            Some(count) => self
                .dead_letters
                .with_label_values::<&str>(&[])
                .set(count.into()),
            // It fails where there was no number before.
            None => _ = self.dead_letters.remove_label_values::<&str>(&[]),
        }
    }

    /// Everything, as it is now.
    #[must_use]
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// Everything, as Prometheus reads it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory does not fail.
        let _ = TextEncoder::new().encode(&self.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }

    /// `Content-Type` of [`Self::text`].
    #[must_use]
    pub fn content_type() -> &'static str {
        prometheus::TEXT_FORMAT
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failure::ErrorKind;

    #[test]
    fn every_metric_of_the_contract_is_there_under_its_name() {
        let metrics = Metrics::new();
        let provider = metrics.provider("a");
        provider.requested("timeout", Duration::from_millis(3));
        provider.retried(ErrorKind::Timeout);
        provider.dead_lettered("timeout");
        let text = metrics.text();
        for sample in [
            r#"lookup_jobs_received_total{lane="bulk",provider="a"} 0"#,
            r#"lookup_results_total{error="",lane="interactive",provider="a",status="found"} 0"#,
            r#"lookup_provider_requests_total{outcome="timeout",provider="a"} 1"#,
            r#"lookup_provider_request_duration_seconds_count{provider="a"} 1"#,
            r#"lookup_job_duration_seconds_count{lane="bulk",provider="a"} 0"#,
            r#"lookup_jobs_in_flight{provider="a"} 0"#,
            r#"lookup_jobs_parked{provider="a"} 0"#,
            r#"lookup_retries_total{provider="a",reason="timeout"} 1"#,
            r#"lookup_circuit_open{provider="a"} 0"#,
            r#"lookup_dead_lettered_total{error="timeout",provider="a"} 1"#,
            r#"lookup_dead_letters_asking_total{asks_for="person",provider="a"} 1"#,
            r#"lookup_dead_letters_asking_total{asks_for="nobody",provider="a"} 0"#,
        ] {
            assert!(text.contains(sample), "{sample} in\n{text}");
        }
    }
}
