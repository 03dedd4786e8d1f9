//! How much waits for a provider or a lookup, and how long it will take: what `check` and `/metrics` tell.

use std::time::Duration;

use crate::{
    broker::{BrokerError, Depth, Session},
    config::QuotaLimit,
    lane::Lane,
    message::Names,
    policy::{batch, quota::Terms},
    provider::settings::ProviderSettings,
};

/// The queues of a provider, or of a lookup, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Jobs that no worker has been given, by lane.
    pub ready: [u32; 2],
    /// Jobs that wait or are worked on, by lane, as far as can be told from outside.
    jobs: [u64; 2],
    /// Jobs in queues from which nobody consumes.
    pub untaken: u32,
    /// Requests of the present window; none where no ledger at the broker counts them.
    pub used: Option<u32>,
    /// The provider asked to be left alone.
    pub paused: bool,
}

impl Backlog {
    /// A look at the broker; the ledgers of the provider's quota that are there tell together. `held` wait in the hands
    /// of a worker, by lane: the broker hands jobs out evenly, so each worker has about as many.
    ///
    /// # Errors
    /// Where the broker does not say in time.
    pub async fn look(
        session: &Session,
        names: &Names,
        provider: &ProviderSettings,
        ledgers: &[String],
        held: Option<[usize; 2]>,
    ) -> Result<Self, BrokerError> {
        let name = &provider.name;
        let [interactive, bulk] = Lane::ALL.map(|lane| names.jobs(name, lane));
        let mut queues = vec![interactive, bulk, names.pause(name), names.unrouted()];
        queues.extend_from_slice(ledgers);
        let depths = session.depths(&queues).await?;
        Ok(Self {
            used: depths[4..]
                .iter()
                .flatten()
                .map(|ledger| ledger.ready)
                .reduce(u32::saturating_add),
            paused: depths[2].is_some_and(|pause| pause.ready > 0),
            ..Self::of(
                [depths[0], depths[1]],
                depths[3],
                held,
                provider.concurrency,
            )
        })
    }

    /// The same for a lookup, which has no quota and no pause of its own; `prefetch` jobs may be in a worker's hands.
    ///
    /// # Errors
    /// Where the broker does not say in time.
    pub async fn of_lookup(
        session: &Session,
        names: &Names,
        lookup: &str,
        prefetch: u16,
        held: Option<[usize; 2]>,
    ) -> Result<Self, BrokerError> {
        let [interactive, bulk] = Lane::ALL.map(|lane| names.jobs(lookup, lane));
        let queues = [interactive, bulk, names.unrouted()];
        let depths = session.depths(&queues).await?;
        Ok(Self::of([depths[0], depths[1]], depths[2], held, prefetch))
    }

    /// Of the queues of both lanes, and of that which every worker consumes from.
    fn of(
        lanes: [Option<Depth>; 2],
        unrouted: Option<Depth>,
        held: Option<[usize; 2]>,
        prefetch: u16,
    ) -> Self {
        let lanes = lanes.map(Option::unwrap_or_default);
        // There each has one consumer. Of jobs a quorum queue counts those too that were cancelled and still hold some.
        let workers = unrouted.map_or(0, |unrouted| unrouted.consumers);
        Self {
            ready: lanes.map(|lane| lane.ready),
            untaken: lanes
                .iter()
                .filter(|lane| lane.consumers == 0)
                .map(|lane| lane.ready)
                .sum(),
            jobs: [0, 1].map(|lane| {
                let held = held.map(|held| held[lane] as u64);
                jobs(lanes[lane], workers, held, prefetch)
            }),
            ..Self::default()
        }
    }

    /// Jobs that wait or are worked on.
    #[must_use]
    pub fn jobs(&self) -> u64 {
        self.jobs.iter().sum()
    }

    /// How long they take at the quota's rate, `together` in each request; bulk jobs have their share of it alone, and
    /// are spread over the window, while what is left of that goes at once.
    #[must_use]
    pub fn time(&self, limit: &QuotaLimit, together: usize) -> Duration {
        let terms = Terms::of(limit);
        let requests_for = |jobs: u64| jobs.div_ceil(together.max(1) as u64);
        let time = |jobs, requests| {
            terms.ttl.as_secs_f64() * requests_for(jobs) as f64 / f64::from(requests)
        };
        let idle = self
            .used
            .map_or(0, |used| limit.requests.saturating_sub(used));
        let at_once = u64::from(idle).saturating_mul(together.max(1) as u64);
        let all = time(self.jobs().saturating_sub(at_once), terms.requests);
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

/// Where nobody tells how much one of these workers holds: as much as it may, while something is left in the queue.
fn jobs(queue: Depth, workers: u32, held: Option<u64>, prefetch: u16) -> u64 {
    let held = match held {
        Some(held) => u64::from(workers.max(1)) * held,
        None if queue.ready > 0 => u64::from(queue.consumers.min(workers)) * u64::from(prefetch),
        None => 0,
    };
    u64::from(queue.ready) + held
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::QuotaScope, settings};

    #[test]
    fn what_consumers_hold_belongs_to_the_backlog() {
        let queue = |ready, consumers| Depth { ready, consumers };
        assert_eq!(jobs(queue(0, 6), 3, Some(45), 128), 135);
        assert_eq!(jobs(queue(10, 6), 3, Some(45), 128), 145);
        assert_eq!(jobs(queue(0, 3), 3, None, 128), 0);
        assert_eq!(jobs(queue(10, 6), 3, None, 128), 394);
        assert_eq!(
            jobs(queue(10, 0), 3, None, 128),
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
            untaken: 0,
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
        let idle = Backlog {
            used: Some(50),
            ..backlog(151, 0)
        };
        assert!(
            (minutes(idle, 1) - 1.0 / 200.0).abs() < 1e-6,
            "the rest goes at once"
        );
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
            super::together(&settings::load(Some(file.path())).unwrap().providers["p"])
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
