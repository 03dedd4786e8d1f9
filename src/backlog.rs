//! How much waits for a provider, and how long it will take: what `check` and `/metrics` tell.

use std::time::Duration;

use crate::{
    broker::{BrokerError, Depth, Names, Session},
    config::{ProviderSettings, QuotaLimit},
    job::Lane,
    policy::{batch, quota::Terms},
};

/// One provider's queues at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Jobs that no worker has been given, by lane.
    pub ready: [u32; 2],
    /// Jobs that wait or are worked on, by lane, as far as can be told from outside.
    jobs: [u64; 2],
    /// Requests of the present window; none where no ledger at the broker counts them.
    pub used: Option<u32>,
    /// The provider asked to be left alone.
    pub paused: bool,
}

impl Backlog {
    /// A look at the broker; of the ledgers of the provider's quota the first that is there tells.
    ///
    /// # Errors
    /// Where the broker does not say in time.
    pub async fn look(
        session: &Session,
        names: &Names,
        provider: &ProviderSettings,
        ledgers: &[String],
    ) -> Result<Self, BrokerError> {
        let name = &provider.name;
        let [interactive, bulk] = Lane::ALL.map(|lane| names.jobs(name, lane));
        let mut queues = vec![interactive, bulk, names.pause(name)];
        queues.extend_from_slice(ledgers);
        let depths = session.depths(&queues).await?;
        let lanes = [0, 1].map(|lane| depths[lane].unwrap_or_default());
        Ok(Self {
            ready: lanes.map(|lane| lane.ready),
            jobs: lanes.map(|lane| jobs(lane, provider.concurrency)),
            used: depths[3..]
                .iter()
                .flatten()
                .next()
                .map(|ledger| ledger.ready),
            paused: depths[2].is_some_and(|pause| pause.ready > 0),
        })
    }

    /// Jobs that wait or are worked on.
    #[must_use]
    pub fn jobs(&self) -> u64 {
        self.jobs.iter().sum()
    }

    /// How long they take at the quota's rate, `together` in each request; bulk jobs have their share of it alone.
    #[must_use]
    pub fn time(&self, limit: &QuotaLimit, together: usize) -> Duration {
        let terms = Terms::of(limit);
        let requests_for = |jobs: u64| jobs.div_ceil(together.max(1) as u64);
        let time = |jobs, requests| {
            terms.ttl.as_secs_f64() * requests_for(jobs) as f64 / f64::from(requests)
        };
        let all = time(self.jobs(), terms.requests);
        Duration::from_secs_f64(all.max(time(self.jobs[Lane::Bulk as usize], terms.bulk)))
    }
}

/// How many jobs one request answers where many wait for quota: as many as may share one. So the time is an estimate:
/// jobs whose options do not let them share a request take longer.
#[must_use]
pub fn together(provider: &ProviderSettings) -> usize {
    let most = batch::largest(
        provider.adapter.most_in_batch(),
        0,
        provider.retry.max_attempts,
    );
    most.min(provider.concurrency.into())
}

/// While something is left in a queue, each of its consumers holds as much as it may.
fn jobs(queue: Depth, prefetch: u16) -> u64 {
    let held = if queue.ready > 0 {
        u64::from(queue.consumers) * u64::from(prefetch)
    } else {
        0
    };
    u64::from(queue.ready) + held
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, QuotaScope};

    #[test]
    fn what_consumers_hold_belongs_to_the_backlog() {
        assert_eq!(
            jobs(
                Depth {
                    ready: 0,
                    consumers: 3
                },
                128
            ),
            0
        );
        assert_eq!(
            jobs(
                Depth {
                    ready: 10,
                    consumers: 3
                },
                128
            ),
            394
        );
        assert_eq!(
            jobs(
                Depth {
                    ready: 10,
                    consumers: 0
                },
                128
            ),
            10,
            "in a pause nobody consumes"
        );
    }

    #[test]
    fn the_time_is_that_of_the_quota_and_of_bulks_share_in_it() {
        let per = Duration::from_mins(1);
        let limit = QuotaLimit {
            requests: 200,
            per,
            reserve: 0.1,
            scope: QuotaScope::Broker,
        };
        let backlog = |interactive, bulk| Backlog {
            ready: [0, 0],
            jobs: [interactive, bulk],
            used: None,
            paused: false,
        };
        let minutes = |backlog: Backlog, together| {
            backlog.time(&limit, together).as_secs_f64() / Terms::of(&limit).ttl.as_secs_f64()
        };
        assert!((minutes(backlog(0, 1_800), 1) - 10.0).abs() < 1e-6);
        assert!((minutes(backlog(2_000, 0), 1) - 10.0).abs() < 1e-6);
        assert!((minutes(backlog(1_000, 1_000), 1) - 10.0).abs() < 1e-6);
        assert!((minutes(backlog(0, 45_000), 25) - 10.0).abs() < 1e-6);
        assert!(
            (minutes(backlog(1, 0), 25) - 1.0 / 200.0).abs() < 1e-6,
            "it takes one request all the same"
        );
    }

    #[test]
    fn as_many_jobs_share_a_request_as_are_configured_and_may_be_in_flight() {
        let together = |keys: &str| {
            let config = format!(
                "[providers.p]\nkind = \"antsomi\"\nbase_url = \"https://api.ants.tech\"\ntoken = \"t\"\n{keys}"
            );
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), config).unwrap();
            super::together(&config::load(Some(file.path())).unwrap().providers["p"])
        };
        assert_eq!(together(""), 25);
        assert_eq!(together("batch = { max_size = 1 }"), 1);
        assert_eq!(together("concurrency = 10"), 10);
        assert_eq!(
            together("retry = { max_attempts = 1 }"),
            1,
            "a last attempt is made alone"
        );
    }
}
