//! Metrics (contract §9), named as Prometheus does: base units, `_total`, nothing private in a label.

mod quota;

use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, proto::MetricFamily,
};

pub use quota::QuotaMetrics;

use crate::{failure::ErrorKind, job::Lane};
use quota::QuotaVecs;

/// The label of a provider that is not configured: its name came with a job and could be anything.
pub const UNKNOWN: &str = "unknown";

/// From half a millisecond to a minute: a cache beside us, and a provider that takes all its time.
const REQUEST_SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// As above, and on to a job that waits for a quota or an outage.
const JOB_SECONDS: [f64; 16] =
    [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 1800.0, 7200.0];

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
    retries: IntCounterVec,
    circuit_open: IntGaugeVec,
    paused: IntGaugeVec,
    queued: IntGaugeVec,
    backlog_seconds: IntGaugeVec,
    dead_lettered: IntCounterVec,
    suspects: IntCounterVec,
    unsettled_bytes: IntGaugeVec,
    quota: QuotaVecs,
    shared: SharedVecs,
    /// Times that the worker connected to the broker.
    pub connects: IntCounter,
    /// Panics that were caught.
    pub panics: IntCounter,
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let metric = IntCounterVec::new(Opts::new(name, help), labels).expect("a well-formed metric");
    registry.register(Box::new(metric.clone())).expect("a metric of its own");
    metric
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let metric = IntGaugeVec::new(Opts::new(name, help), labels).expect("a well-formed metric");
    registry.register(Box::new(metric.clone())).expect("a metric of its own");
    metric
}

fn histograms(registry: &Registry, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    let metric = HistogramVec::new(options, labels).expect("a well-formed metric");
    registry.register(Box::new(metric.clone())).expect("a metric of its own");
    metric
}

/// Lookups that cost no request of their own.
#[derive(Debug, Clone)]
struct SharedVecs {
    batched: IntCounterVec,
    split: IntCounterVec,
    coalesced: IntCounterVec,
    cached: IntCounterVec,
}

impl SharedVecs {
    fn new(counters: &impl Fn(&str, &str, &[&str]) -> IntCounterVec) -> Self {
        Self {
            batched: counters(
                "lookup_batched_total",
                "Lookups that shared one HTTP request with others.",
                &["provider"],
            ),
            split: counters(
                "lookup_batches_split_total",
                "HTTP requests for several lookups that were refused as a whole, or whose answer could not be split \
                 for certain; their lookups are asked again in smaller batches.",
                &["provider"],
            ),
            coalesced: counters(
                "lookup_coalesced_total",
                "Lookups that joined an equal one which was waiting or in flight.",
                &["provider"],
            ),
            cached: counters("lookup_cache_hits_total", "Lookups that were answered from memory.", &["provider"]),
        }
    }
}

/// The metrics of one provider, looked up once.
#[derive(Debug, Clone)]
pub struct ProviderMetrics {
    all: Metrics,
    name: String,
    request_seconds: Histogram,
    job_seconds: [Histogram; 2],
    received: [IntCounter; 2],
    found: [IntCounter; 2],
    requests_found: IntCounter,
    /// Jobs that are being worked on.
    pub in_flight: IntGauge,
    /// 1 while no attempts are made but probes.
    pub circuit_open: IntGauge,
    /// Jobs that were set aside.
    pub suspects: IntCounter,
    /// 1 while the provider is left alone, as it asked for by 429 and `Retry-After`.
    pub paused: IntGauge,
    /// Lookups that went in a request with others.
    pub batched: IntCounter,
    /// Batches whose lookups are asked again in smaller ones.
    pub split: IntCounter,
    /// Lookups that joined an equal one.
    pub coalesced: IntCounter,
    /// Lookups that were answered from memory.
    pub cached: IntCounter,
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
        let counters = |name: &str, help: &str, labels: &[&str]| counters(&registry, name, help, labels);
        let gauges = |name: &str, help: &str, labels: &[&str]| gauges(&registry, name, help, labels);
        let histograms = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            histograms(&registry, name, help, labels, buckets)
        };
        let counter = |name: &str, help: &str| {
            let metric = IntCounter::new(name, help).expect("a well-formed metric");
            registry.register(Box::new(metric.clone())).expect("a metric of its own");
            metric
        };
        Self {
            received: counters("lookup_jobs_received_total", "Deliveries of jobs.", &["provider", "lane"]),
            results: counters(
                "lookup_results_total",
                "Results published and confirmed.",
                &["provider", "lane", "status", "error"],
            ),
            requests: counters(
                "lookup_provider_requests_total",
                "HTTP requests made, by what came of them: found, not_found or the class of the failure.",
                &["provider", "outcome"],
            ),
            request_seconds: histograms(
                "lookup_provider_request_duration_seconds",
                "From an HTTP request to its whole answer.",
                &["provider"],
                &REQUEST_SECONDS,
            ),
            job_seconds: histograms(
                "lookup_job_duration_seconds",
                "From a job's first receipt to its result.",
                &["provider", "lane"],
                &JOB_SECONDS,
            ),
            in_flight: gauges("lookup_jobs_in_flight", "Jobs that are being worked on.", &["provider"]),
            retries: counters(
                "lookup_retries_total",
                "Attempts that will be repeated, by the class of the failure.",
                &["provider", "reason"],
            ),
            circuit_open: gauges("lookup_circuit_open", "1 while no attempts are made but probes.", &["provider"]),
            paused: gauges(
                "lookup_paused",
                "1 while the provider is left alone, as it asked for by 429 and Retry-After.",
                &["provider"],
            ),
            queued: gauges(
                "lookup_jobs_queued",
                "Jobs in the queue of the lane that no worker has been given.",
                &["provider", "lane"],
            ),
            backlog_seconds: gauges(
                "lookup_backlog_seconds",
                "An estimate: how long the jobs that wait take at the rate of the quota, if as many share each request as \
                     may (antsomi: batch.max_size).",
                &["provider"],
            ),
            dead_lettered: counters(
                "lookup_dead_lettered_total",
                "Messages published to the dead-letter exchange.",
                &["provider", "error"],
            ),
            suspects: counters(
                "lookup_suspects_total",
                "Jobs that came back too often to be begun beside others, and were set aside.",
                &["provider"],
            ),
            unsettled_bytes: gauges("lookup_unsettled_bytes", "Bytes delivered and not settled.", &["queue"]),
            quota: QuotaVecs::new(&registry),
            shared: SharedVecs::new(&counters),
            connects: counter("lookup_broker_connects_total", "Times that the worker connected to the broker."),
            panics: counter("lookup_panics_total", "Panics that were caught; each is a bug."),
            registry,
        }
    }

    /// The metrics of one configured provider.
    #[must_use]
    pub fn provider(&self, name: &str) -> ProviderMetrics {
        let lanes = Lane::ALL.map(Lane::as_str);
        ProviderMetrics {
            request_seconds: self.request_seconds.with_label_values(&[name]),
            job_seconds: lanes.map(|lane| self.job_seconds.with_label_values(&[name, lane])),
            received: lanes.map(|lane| self.received.with_label_values(&[name, lane])),
            found: lanes.map(|lane| self.results.with_label_values(&[name, lane, "found", ""])),
            requests_found: self.requests.with_label_values(&[name, "found"]),
            in_flight: self.in_flight.with_label_values(&[name]),
            circuit_open: self.circuit_open.with_label_values(&[name]),
            suspects: self.suspects.with_label_values(&[name]),
            paused: self.paused.with_label_values(&[name]),
            batched: self.shared.batched.with_label_values(&[name]),
            split: self.shared.split.with_label_values(&[name]),
            coalesced: self.shared.coalesced.with_label_values(&[name]),
            cached: self.shared.cached.with_label_values(&[name]),
            name: name.to_owned(),
            all: self.clone(),
        }
    }

    /// The bytes that were delivered from one queue and are not settled.
    #[must_use]
    pub fn unsettled_bytes(&self, queue: &str) -> IntGauge {
        self.unsettled_bytes.with_label_values(&[queue])
    }

    /// The metrics of one provider's quota.
    #[must_use]
    pub fn quota(&self, name: &str) -> QuotaMetrics {
        self.quota.of(name)
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

/// One more in a gauge, until it is dropped.
#[derive(Debug)]
pub struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ProviderMetrics {
    /// A job is worked on.
    #[must_use]
    pub fn begins(&self) -> Counted {
        Counted::new(&self.in_flight)
    }

    /// A job was delivered.
    pub fn received(&self, lane: Lane) {
        self.received[lane as usize].inc();
    }

    /// An HTTP request was made.
    pub fn requested(&self, outcome: &str, took: Duration) {
        if outcome == "found" {
            self.requests_found.inc();
        } else {
            self.all.requests.with_label_values(&[self.name.as_str(), outcome]).inc();
        }
        self.request_seconds.observe(took.as_secs_f64());
    }

    /// What was seen at the broker: jobs in the queues of both lanes, how long all that wait will take, requests
    /// of the present window.
    pub fn backlog(&self, queued: [u32; 2], time: Option<Duration>, used: Option<u32>) {
        for lane in Lane::ALL {
            let gauge = self.all.queued.with_label_values(&[self.name.as_str(), lane.as_str()]);
            gauge.set(queued[lane as usize].into());
        }
        if let Some(time) = time {
            let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
            self.all.backlog_seconds.with_label_values(&[&self.name]).set(seconds);
        }
        if let Some(used) = used {
            self.all.quota.used(&self.name, used);
        }
    }

    /// An attempt will be repeated.
    pub fn retried(&self, reason: ErrorKind) {
        self.all.retries.with_label_values(&[self.name.as_str(), reason.as_str()]).inc();
    }

    /// A result is safe at the broker; `duration_ms` is from the job's first receipt.
    pub fn answered(&self, lane: Lane, status: &str, error: &str, duration_ms: u64) {
        if status == "found" {
            self.found[lane as usize].inc();
        } else {
            self.all.results.with_label_values(&[self.name.as_str(), lane.as_str(), status, error]).inc();
        }
        self.job_seconds[lane as usize].observe(Duration::from_millis(duration_ms).as_secs_f64());
    }

    /// A message is safe in the dead-letter queue.
    pub fn dead_lettered(&self, error: &str) {
        self.all.dead_lettered.with_label_values(&[self.name.as_str(), error]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            r#"lookup_retries_total{provider="a",reason="timeout"} 1"#,
            r#"lookup_circuit_open{provider="a"} 0"#,
            r#"lookup_dead_lettered_total{error="timeout",provider="a"} 1"#,
        ] {
            assert!(text.contains(sample), "{sample} in\n{text}");
        }
    }
}
