//! The names of everything on the broker (contract §2).

use std::time::Duration;

use crate::{config::Step, lane::Lane};

/// Direct reply-to, as `reply.allow` calls it; on a message a token is appended.
pub const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Names below one prefix.
#[derive(Debug, Clone)]
pub struct Names {
    prefix: String,
    /// Wanted with each job.
    results: String,
}

impl Names {
    /// What all names begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Names that begin with `prefix`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            results: format!("{prefix}.results"),
        }
    }

    /// The topic exchange that jobs are published to.
    #[must_use]
    pub fn jobs_exchange(&self) -> String {
        format!("{}.jobs", self.prefix)
    }

    /// The queue of one lane of one provider.
    #[must_use]
    pub fn jobs(&self, provider: &str, lane: Lane) -> String {
        format!("{}.jobs.{provider}.{lane}", self.prefix)
    }

    /// The routing key of the jobs in a queue of a provider's lane: `NAME.LANE`; none where it is no such queue.
    #[must_use]
    pub fn key_of_jobs<'a>(&self, queue: &'a str) -> Option<&'a str> {
        let key = queue.strip_prefix(&self.prefix)?.strip_prefix(".jobs.")?;
        let (provider, lane) = key.split_once('.')?;
        let is_lane = Lane::ALL.iter().any(|known| known.as_str() == lane);
        (is_lane && !provider.is_empty()).then_some(key)
    }

    /// The queue of one lane of one provider's jobs that may have ended a worker.
    #[must_use]
    pub fn suspects(&self, provider: &str, lane: Lane) -> String {
        match lane {
            Lane::Interactive => format!("{}.suspect.{provider}.{lane}", self.prefix),
            Lane::Bulk => format!("{}.suspect.{provider}", self.prefix),
        }
    }

    /// Exchange and queue of jobs that nobody has declared a queue for.
    #[must_use]
    pub fn unrouted(&self) -> String {
        format!("{}.unrouted", self.prefix)
    }

    /// The delay queue of one step.
    #[must_use]
    pub fn delay(&self, step: &Step) -> String {
        format!("{}.delay.{}", self.prefix, step.name)
    }

    /// Exchange and queue of results without a `reply_to`.
    #[must_use]
    pub fn results(&self) -> &str {
        &self.results
    }

    /// Exchange and queue of what needs a person.
    #[must_use]
    pub fn dead(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    /// The ledger of one provider's quota.
    #[must_use]
    pub fn quota(&self, provider: &str) -> String {
        format!("{}.quota.{provider}", self.prefix)
    }

    /// Whose name stands in that of a longer window's ledgers.
    #[must_use]
    pub fn longer(provider: &str, per: Duration) -> String {
        let per = humantime::format_duration(per).to_string();
        format!("{provider}.{}", per.replace(' ', ""))
    }

    /// Whose names stand in those of one window's ledgers, where there are so many of them.
    #[must_use]
    pub fn parts(owner: &str, ledgers: u32) -> Vec<String> {
        match ledgers {
            1 => vec![owner.to_owned()],
            _ => (1..=ledgers)
                .map(|number| format!("{owner}.{number}"))
                .collect(),
        }
    }

    /// The ledger of that part of the quota which one lane may use.
    #[must_use]
    pub fn quota_share(&self, provider: &str, lane: Lane) -> String {
        format!("{}.quota.{provider}.{lane}", self.prefix)
    }

    /// The queue that keeps bulk's requests apart.
    #[must_use]
    pub fn quota_spread(&self, provider: &str) -> String {
        format!("{}.quota.{provider}.spread", self.prefix)
    }

    /// The exchange at which ledgers let know that they have room; a key is the ledger's name.
    #[must_use]
    pub fn room(&self) -> String {
        format!("{}.room", self.prefix)
    }

    /// The routing key by which workers are asked, at the exchange of [`Self::room`], whether they have a job; no
    /// ledger's name.
    #[must_use]
    pub fn questions(&self) -> String {
        format!("{}.questions", self.prefix)
    }

    /// The routing key by which workers tell each other, at the exchange of [`Self::room`], what providers say is left.
    #[must_use]
    pub fn counts(&self) -> String {
        format!("{}.counts", self.prefix)
    }

    /// The exchange at which workers tell each other to leave a provider alone; a key is its name.
    #[must_use]
    pub fn pauses(&self) -> String {
        format!("{}.pause", self.prefix)
    }

    /// The queue that holds something while a provider is to be left alone.
    #[must_use]
    pub fn pause(&self, provider: &str) -> String {
        format!("{}.pause.{provider}", self.prefix)
    }

    /// The queue by which one worker hears from those exchanges.
    #[must_use]
    pub fn notices(&self, worker: &str) -> String {
        format!("{}.notices.{worker}", self.prefix)
    }

    /// A queue of a requester's own, which the rights of `deploy/rabbitmq` let it declare.
    #[must_use]
    pub fn replies(&self, requester: &str) -> String {
        format!("{}.replies.{requester}", self.prefix)
    }

    /// Whether a queue of this name is one of the worker's own.
    #[must_use]
    pub fn owns(&self, queue: &str) -> bool {
        let Some(rest) = queue
            .strip_prefix(&self.prefix)
            .and_then(|rest| rest.strip_prefix('.'))
        else {
            return false;
        };
        matches!(rest, "unrouted" | "results" | "dead")
            || [
                "jobs.", "delay.", "quota.", "suspect.", "pause.", "notices.",
            ]
            .iter()
            .any(|kind| rest.starts_with(kind))
    }
}

/// The name of a ledger that takes the place of this one, where another quota counts.
#[must_use]
pub fn next(ledger: &str) -> String {
    format!("{ledger}.next")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_of_jobs_tells_provider_and_lane() {
        let names = Names::new("my.own");
        for lane in Lane::ALL {
            let key = format!("a.{lane}");
            assert_eq!(names.key_of_jobs(&names.jobs("a", lane)), Some(&*key));
        }
        for other in [
            "my.own.jobs.a",
            "my.own.jobs..bulk",
            "my.own.jobs.a.b.bulk",
            "my.own.dead",
            "own.jobs.a.bulk",
        ] {
            assert_eq!(names.key_of_jobs(other), None, "{other}");
        }
    }

    #[test]
    fn a_reply_queue_under_the_same_prefix_is_not_taken_for_one_of_our_own() {
        let names = Names::new("lookup");
        let steps = [
            "lookup.unrouted",
            "lookup.delay.30s",
            "lookup.results",
            "lookup.dead",
        ]
        .map(str::to_owned);
        let of_provider = [
            names.jobs("a", Lane::Bulk),
            names.suspects("a", Lane::Bulk),
            names.quota("a"),
        ];
        for own in steps.into_iter().chain(of_provider) {
            assert!(names.owns(&own), "{own}");
        }
        for other in [
            "lookup.replies",
            "lookup",
            "lookupx.dead",
            "other.dead",
            "lookup.jobs",
            DIRECT_REPLY_TO,
        ] {
            assert!(!names.owns(other), "{other}");
        }
    }
}
