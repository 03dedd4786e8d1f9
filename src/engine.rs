//! One provider at work: a job's lookup with all its attempts. It knows nothing of the broker, so the worker,
//! `lookup` and `pipe` share it.

use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    clock::Moment,
    config::ProviderSettings,
    failure::{ErrorKind, Failure},
    job::Job,
    policy::{
        quota::{Permission, Terms},
        retry,
    },
    provider::{Adapter, Outcome, class, http::Client, oauth::Tokens},
    quota::{Quota, Unpermitted},
    telemetry::metrics::{Metrics, ProviderMetrics},
};

/// Where the quota gave nothing for a long time, the job is parked for about this long.
const NOT_SOON: Duration = Duration::from_mins(5);

/// One configured provider, ready to be asked.
#[derive(Debug)]
pub struct Engine {
    /// How it was configured.
    pub settings: ProviderSettings,
    /// What it did.
    pub metrics: ProviderMetrics,
    /// How many requests there may be.
    pub quota: Quota,
    /// Room for `concurrency` requests at once.
    places: Semaphore,
    client: Client,
    tokens: Tokens,
}

/// Where a long wait before the next attempt is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Here, however long it is.
    Here,
    /// Here up to the configured limit; a longer one elsewhere.
    Parked,
}

/// What a lookup came to, for now.
#[derive(Debug)]
pub enum Conclusion {
    /// It is over.
    Answered {
        /// What came of it.
        outcome: Outcome,
        /// The provider's payload, where the job asked for it.
        raw: Option<Box<RawValue>>,
    },
    /// It is over: no attempts are left.
    Exhausted(Failure),
    /// The next attempt is to be made after a wait that is too long to be spent here.
    Pause {
        /// Why.
        failure: Failure,
        /// How long.
        wait: Duration,
    },
    /// No permission can be had any more, since the session that the job came by is over; nothing was sent.
    Abandoned,
}

/// What a request needs besides itself.
struct Leave<'a> {
    authorization: Result<(HeaderName, HeaderValue), Failure>,
    permission: Permission,
    place: Option<SemaphorePermit<'a>>,
}

/// What one HTTP request came to.
struct Attempt {
    outcome: Outcome,
    raw: Option<Box<RawValue>>,
    /// A fresh token may be let in where this one was not.
    token_refused: bool,
}

impl Engine {
    /// From the settings.
    ///
    /// # Errors
    /// A sentence that names the key, where no HTTP client can be made of them.
    pub fn new(settings: ProviderSettings, metrics: &Metrics) -> Result<Self, String> {
        let flight = settings.quota.as_ref().map(|limit| Terms::of(limit).flight);
        let client =
            Client::new(settings.concurrency, settings.max_response_bytes, settings.ca_file.as_deref(), flight)
                .map_err(|problem| format!("providers.{}: {problem}", settings.name))?;
        let tokens = Tokens::new(settings.adapter.clone(), settings.credentials.clone());
        let quota = Quota::new(settings.quota.as_ref(), metrics.quota(&settings.name));
        let places = Semaphore::new(settings.concurrency.into());
        Ok(Self { metrics: metrics.provider(&settings.name), quota, places, client, tokens, settings })
    }

    /// The kind's adapter.
    #[must_use]
    pub fn adapter(&self) -> &Adapter {
        &self.settings.adapter
    }

    /// Makes attempts until there is an answer, none are left, or the wait for the next is too long to be spent
    /// here. With it the number of HTTP requests made for the job so far.
    pub async fn lookup(&self, job: &Job, waiting: Waiting) -> (Conclusion, u32) {
        let retry = &self.settings.retry;
        let mut attempts = job.ticket.progress.attempts;
        let mut last_status = job.ticket.progress.http_status;
        let mut refreshed = false;
        let conclusion = loop {
            let (leave, limit) = match self.leave(job).await {
                Ok(leave) => leave,
                Err(Unpermitted::TooLate) => {
                    break Conclusion::over(too_late("no attempt could be made in time", last_status));
                }
                Err(Unpermitted::Gone) => break Conclusion::Abandoned,
                Err(Unpermitted::NotSoon) if waiting == Waiting::Here => continue,
                Err(Unpermitted::NotSoon) => {
                    let failure = Failure::new(ErrorKind::RateLimited, "the quota gives no permission for now");
                    break Conclusion::Pause { failure, wait: NOT_SOON };
                }
            };
            attempts += 1;
            let Attempt { outcome, raw, token_refused } = self.attempt(job, limit, leave).await;
            let failure = match outcome {
                Outcome::Failed(failure) if failure.kind.retryable() => failure,
                Outcome::Failed(_) if token_refused && !refreshed && attempts < retry.max_attempts => {
                    refreshed = true;
                    continue;
                }
                outcome => break Conclusion::Answered { outcome, raw },
            };
            last_status = failure.http_status.or(last_status);
            if self.time_left(job.deadline).is_none() {
                break Conclusion::over(too_late(&failure.message, last_status));
            }
            if attempts >= retry.max_attempts {
                break Conclusion::Exhausted(failure);
            }
            let wait = retry::delay(retry, attempts, &failure);
            if job.deadline.is_some_and(|deadline| class::until(deadline, Timestamp::now()) <= wait) {
                // It would come to nothing, and somebody waits for the answer.
                break Conclusion::over(too_late(&failure.message, last_status));
            }
            self.metrics.retried(failure.kind);
            if waiting == Waiting::Parked && wait > retry.in_process_limit {
                break Conclusion::Pause { failure, wait };
            }
            tokio::time::sleep(wait).await;
        };
        (conclusion, attempts)
    }

    /// How long a request may take now; none if it may not begin.
    fn time_left(&self, deadline: Option<Timestamp>) -> Option<Duration> {
        let Some(deadline) = deadline else { return Some(self.settings.timeout) };
        let left = class::until(deadline, Timestamp::now());
        (!left.is_zero()).then(|| left.min(self.settings.timeout))
    }

    /// Everything that a request waits for, and the time that it may take then. A token that has to be fetched is
    /// fetched first: a permission is good for a moment only.
    async fn leave(&self, job: &Job) -> Result<(Leave<'_>, Duration), Unpermitted> {
        loop {
            let limit = self.time_left(job.deadline).ok_or(Unpermitted::TooLate)?;
            let authorization = self.tokens.authorization(&self.client, limit).await;
            if authorization.is_err() {
                return Ok((Leave { authorization, permission: Permission::UNLIMITED, place: None }, limit));
            }
            let permission = self.quota.permission(job.ticket.lane, job.deadline).await?;
            let place = self.places.acquire().await.ok();
            // From memory, unless it expired during the wait.
            let authorization = self.tokens.authorization(&self.client, limit).await;
            let limit = self.time_left(job.deadline).ok_or(Unpermitted::TooLate)?;
            if !permission.is_void(Moment::now()) {
                return Ok((Leave { authorization, permission, place }, limit));
            }
            self.quota.wasted();
        }
    }

    async fn attempt(&self, job: &Job, limit: Duration, leave: Leave<'_>) -> Attempt {
        let begun = Instant::now();
        let Leave { authorization, permission, place: _place } = leave;
        let adapter = self.adapter();
        let (answer, used) = match authorization {
            Ok(authorization) => {
                let used = authorization.1.clone();
                let request = job.lookup.request.clone();
                (self.client.call(request, authorization, limit, permission).await, Some(used))
            }
            Err(failure) => (Err(failure), None),
        };
        let (outcome, raw) = match answer {
            Ok(response) => {
                let raw = job.lookup.raw.then(|| adapter.raw(response.body())).flatten();
                (adapter.read(&job.lookup, &response, Timestamp::now()), raw)
            }
            Err(failure) => (Outcome::Failed(failure), None),
        };
        let (label, unauthorized) = match &outcome {
            Outcome::Found(..) => ("found", false),
            Outcome::NotFound(_) => ("not_found", false),
            Outcome::Failed(failure) => (failure.kind.as_str(), failure.kind == ErrorKind::Unauthorized),
        };
        self.metrics.requested(label, begun.elapsed());
        let token_refused = unauthorized && used.is_some_and(|used| self.tokens.refused(&used));
        Attempt { outcome, raw, token_refused }
    }
}

impl Conclusion {
    fn over(failure: Failure) -> Self {
        Self::Answered { outcome: Outcome::Failed(failure), raw: None }
    }
}

fn too_late(last: &str, http_status: Option<u16>) -> Failure {
    let message = format!("the job's deadline came before an answer: {last}");
    Failure { http_status, ..Failure::new(ErrorKind::DeadlineExceeded, message) }
}
