//! What quotas tell.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{
    Counted, Families, name,
    waits::{AllWaits, ByLane, Waits},
};
use crate::{clock::Moment, lane::Lane, policy::quota::Calls};

/// Finer than those of jobs: a permission is waited for in parts of the quota's mean interval.
const WAIT_SECONDS: [f64; 24] = [
    0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 7.5, 10.0,
    15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 1800.0, 7200.0,
];

/// Of all providers.
#[derive(Debug, Clone)]
pub(super) struct QuotaVecs {
    limit: IntGaugeVec,
    used: IntGaugeVec,
    permissions: IntCounterVec,
    void: IntCounterVec,
    waiting: IntGaugeVec,
    wait_seconds: HistogramVec,
    provider_remaining: IntGaugeVec,
    provider_holds: IntGaugeVec,
    calls_wait: IntGaugeVec,
    pub waits: AllWaits,
}

impl QuotaVecs {
    pub fn new(families: &Families) -> Self {
        Self {
            limit: families.gauges(
                name::QUOTA_LIMIT,
                "Requests that the quota allows in its window; 0 where there is no limit.",
                &["provider"],
            ),
            used: families.gauges(
                name::QUOTA_USED,
                "Requests of all workers that count in the present window, where the broker counts them.",
                &["provider"],
            ),
            permissions: families.counters(
                name::QUOTA_PERMISSIONS_TOTAL,
                "Permissions given to this worker, each for one HTTP request.",
                &["provider", "lane"],
            ),
            void: families.counters(
                name::QUOTA_VOID_TOTAL,
                "Permissions that this worker was given and could not use in time, by a freeze or a slow broker or \
                     network; each is one request fewer in its window.",
                &["provider"],
            ),
            waiting: families.gauges(
                name::QUOTA_WAITING,
                "Requests of this worker that wait for a permission, a batch as one.",
                &["provider", "lane"],
            ),
            wait_seconds: families.histograms(
                name::QUOTA_WAIT_SECONDS,
                "From asking for a permission to having it.",
                &["provider", "lane"],
                &WAIT_SECONDS,
            ),
            provider_remaining: families.gauges(
                name::QUOTA_PROVIDER_REMAINING,
                "Requests that the provider's last answers say are left, of the window with the fewest; no series where \
                     they say nothing.",
                &["provider"],
            ),
            provider_holds: families.gauges(
                name::QUOTA_PROVIDER_HOLDS,
                "1 while requests of this worker wait since the provider's own count leaves none for them.",
                &["provider"],
            ),
            calls_wait: families.gauges(
                name::QUOTA_CALLS_WAIT,
                "1 while calls of this worker wait for the quota longer than they should, or miss their deadlines for it: \
                     more come than it has requests for.",
                &["provider"],
            ),
            waits: AllWaits::default(),
        }
    }

    /// Those of one provider.
    pub fn of(&self, name: &str) -> QuotaMetrics {
        let lanes = Lane::ALL.map(Lane::as_str);
        QuotaMetrics {
            limit: self.limit.with_label_values(&[name]),
            void: self.void.with_label_values(&[name]),
            permissions: lanes.map(|lane| self.permissions.with_label_values(&[name, lane])),
            waiting: lanes.map(|lane| self.waiting.with_label_values(&[name, lane])),
            wait_seconds: lanes.map(|lane| self.wait_seconds.with_label_values(&[name, lane])),
            waits: self.waits.of(name),
            provider: name.to_owned(),
            provider_remaining: self.provider_remaining.clone(),
            provider_holds: self.provider_holds.with_label_values(&[name]),
            calls_wait: self.calls_wait.with_label_values(&[name]),
        }
    }

    /// Requests of all workers in the present window.
    pub fn used(&self, name: &str, used: u32) {
        self.used.with_label_values(&[name]).set(used.into());
    }
}

/// What one provider's quota tells.
#[derive(Debug, Clone)]
pub struct QuotaMetrics {
    /// Requests in a window; 0 where there is no limit.
    pub limit: IntGauge,
    /// Permissions that could not be used in time.
    pub void: IntCounter,
    permissions: [IntCounter; 2],
    waiting: [IntGauge; 2],
    wait_seconds: [Histogram; 2],
    waits: ByLane,
    provider: String,
    provider_remaining: IntGaugeVec,
    provider_holds: IntGauge,
    calls_wait: IntGauge,
}

/// Somebody who waits for a permission, until dropped; however it ends, it took so long.
#[derive(Debug)]
pub struct Wait {
    _counted: Counted,
    number: u64,
    waits: Waits,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.waits.end(self.number, Moment::now());
    }
}

impl QuotaMetrics {
    /// Somebody begins to wait.
    #[must_use]
    pub fn waits(&self, lane: Lane) -> Wait {
        let waits = self.waits[lane as usize].clone();
        Wait {
            _counted: Counted::new(&self.waiting[lane as usize]),
            number: waits.begin(Moment::now()),
            waits,
        }
    }

    /// A job's deadline came before a permission.
    pub fn missed(&self, lane: Lane) {
        self.waits[lane as usize].missed(Moment::now());
    }

    /// How the calls of the last two minutes fared.
    #[must_use]
    pub fn calls(&self, now: Moment) -> Calls {
        self.waits[Lane::Interactive as usize].calls(now)
    }

    /// Whether they wait too long.
    pub fn calls_wait(&self, too_long: bool) {
        self.calls_wait.set(too_long.into());
    }

    /// Somebody has a permission without having waited.
    pub fn permitted_at_once(&self, lane: Lane) {
        self.permitted(lane, Duration::ZERO);
        self.waits[lane as usize].none(Moment::now());
    }

    /// What the provider's answers say is left, and whether requests wait for that.
    pub fn of_provider(&self, remaining: Option<u32>, holds: bool) {
        let labels = [self.provider.as_str()];
        match remaining {
            Some(remaining) => {
                let gauge = self.provider_remaining.with_label_values(&labels);
                gauge.set(remaining.into());
            }
            // It fails where there was no number before.
            None => _ = self.provider_remaining.remove_label_values(&labels),
        }
        self.provider_holds.set(holds.into());
    }

    /// Somebody has a permission, after this long.
    pub fn permitted(&self, lane: Lane, waited: Duration) {
        self.permissions[lane as usize].inc();
        self.wait_seconds[lane as usize].observe(waited.as_secs_f64());
    }
}
