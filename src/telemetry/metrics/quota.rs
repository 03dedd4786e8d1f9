//! What quotas tell.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{Counted, Families, JOB_SECONDS, name};
use crate::job::Lane;

/// Of all providers.
#[derive(Debug, Clone)]
pub(super) struct QuotaVecs {
    limit: IntGaugeVec,
    used: IntGaugeVec,
    permissions: IntCounterVec,
    void: IntCounterVec,
    waiting: IntGaugeVec,
    wait_seconds: HistogramVec,
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
                &JOB_SECONDS,
            ),
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
}

impl QuotaMetrics {
    /// Somebody begins to wait.
    #[must_use]
    pub fn waits(&self, lane: Lane) -> Counted {
        Counted::new(&self.waiting[lane as usize])
    }

    /// Somebody has a permission, after this long.
    pub fn permitted(&self, lane: Lane, waited: Duration) {
        self.permissions[lane as usize].inc();
        self.wait_seconds[lane as usize].observe(waited.as_secs_f64());
    }
}
