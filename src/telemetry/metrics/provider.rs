//! What is told of one provider.

use std::time::Duration;

use jiff::Timestamp;
use prometheus::{Histogram, IntCounter, IntGauge};

use super::{Counted, Metrics, failing::Failing};
use crate::{dead_letter::AsksFor, failure::ErrorKind, lane::Lane, outcome::Outcome};

/// The metrics of one provider, looked up once.
#[derive(Debug, Clone)]
pub struct ProviderMetrics {
    all: Metrics,
    name: String,
    request_seconds: Histogram,
    job_seconds: [Histogram; 2],
    received: [IntCounter; 2],
    found: [IntCounter; 2],
    /// Dead letters by whom they ask for; there from the start, so that the first one is an increase.
    asking: [IntCounter; 2],
    requests_found: IntCounter,
    failing: Failing,
    /// Jobs that are being worked on.
    pub in_flight: IntGauge,
    parked: IntGauge,
    /// 1 while no attempts are made but probes.
    pub circuit_open: IntGauge,
    /// 1 while the next job will be the probe.
    pub circuit_half_open: IntGauge,
    /// Jobs that were set aside.
    pub suspects: IntCounter,
    /// 1 while the provider is left alone, as it asked for by 429 and `Retry-After`, or by hand.
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

impl ProviderMetrics {
    pub(super) fn of(all: &Metrics, name: &str) -> Self {
        let lanes = Lane::ALL.map(Lane::as_str);
        Self {
            request_seconds: all.request_seconds.with_label_values(&[name]),
            job_seconds: lanes.map(|lane| all.job_seconds.with_label_values(&[name, lane])),
            received: lanes.map(|lane| all.received.with_label_values(&[name, lane])),
            found: lanes.map(|lane| all.results.with_label_values(&[name, lane, "found", ""])),
            asking: AsksFor::ALL.map(|whom| all.asking.with_label_values(&[name, whom.as_str()])),
            requests_found: all.requests.with_label_values(&[name, "found"]),
            failing: all.failing.of(name),
            in_flight: all.in_flight.with_label_values(&[name]),
            parked: all.parked.with_label_values(&[name]),
            circuit_open: all.circuit_open.with_label_values(&[name]),
            circuit_half_open: all.circuit_half_open.with_label_values(&[name]),
            suspects: all.suspects.with_label_values(&[name]),
            paused: all.paused.with_label_values(&[name]),
            batched: all.shared.batched.with_label_values(&[name]),
            split: all.shared.split.with_label_values(&[name]),
            coalesced: all.shared.coalesced.with_label_values(&[name]),
            cached: all.shared.cached.with_label_values(&[name]),
            name: name.to_owned(),
            all: all.clone(),
        }
    }

    /// A job is worked on.
    #[must_use]
    pub fn begins(&self) -> Counted {
        Counted::new(&self.in_flight)
    }

    /// A parked job is held until it is due.
    #[must_use]
    pub fn parks(&self) -> Counted {
        Counted::new(&self.parked)
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
            self.all
                .requests
                .with_label_values(&[self.name.as_str(), outcome])
                .inc();
        }
        self.request_seconds.observe(took.as_secs_f64());
    }

    /// What the circuit heard of a request. One that was not sent, or was given up at its job's deadline, says nothing.
    pub fn heard(&self, outcome: &Outcome) {
        let Outcome::Failed(failure) = outcome else {
            return self.failing.answered();
        };
        match (failure.kind, failure.http_status) {
            _ if failure.about_customer => self.failing.answered(),
            (ErrorKind::DeadlineExceeded, _) | (ErrorKind::RateLimited, None) => {}
            (kind, _) => self.failing.failed(kind.as_str(), Timestamp::now()),
        }
    }

    /// What was seen: jobs in the queues of both lanes at the broker, those that are held here and wait, how long all
    /// that wait will take, requests of the present window.
    pub fn backlog(
        &self,
        queued: [u32; 2],
        held: [usize; 2],
        time: Option<Duration>,
        used: Option<u32>,
    ) {
        for lane in Lane::ALL {
            let labels = [self.name.as_str(), lane.as_str()];
            let queued = queued[lane as usize].into();
            self.all.queued.with_label_values(&labels).set(queued);
            let held = i64::try_from(held[lane as usize]).unwrap_or(i64::MAX);
            self.all.waiting.with_label_values(&labels).set(held);
        }
        if let Some(time) = time {
            let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
            self.all
                .backlog_seconds
                .with_label_values(&[&self.name])
                .set(seconds);
        }
        if let Some(used) = used {
            self.all.quota.used(&self.name, used);
        }
    }

    /// An attempt will be repeated.
    pub fn retried(&self, reason: ErrorKind) {
        self.all
            .retries
            .with_label_values(&[self.name.as_str(), reason.as_str()])
            .inc();
    }

    /// A result is safe at the broker; `duration_ms` is from the job's first receipt.
    pub fn answered(&self, lane: Lane, status: &str, error: &str, duration_ms: u64) {
        if status == "found" {
            self.found[lane as usize].inc();
        } else {
            self.all
                .results
                .with_label_values(&[self.name.as_str(), lane.as_str(), status, error])
                .inc();
        }
        if !error.is_empty() {
            self.failing.result_failed(error, Timestamp::now());
        }
        self.job_seconds[lane as usize].observe(Duration::from_millis(duration_ms).as_secs_f64());
    }

    /// A message is safe in the dead-letter queue.
    pub fn dead_lettered(&self, error: &str) {
        self.all
            .dead_lettered
            .with_label_values(&[self.name.as_str(), error])
            .inc();
        self.asking[AsksFor::by(error) as usize].inc();
    }
}
