//! One provider at work: a job's lookup with all its attempts. It knows nothing of the broker, so the worker,
//! `lookup` and `pipe` share it.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    clock::Moment,
    config::{Credentials, ProviderSettings},
    failure::{ErrorKind, Failure},
    job::{Job, Progress},
    policy::{
        circuit::{Circuit, Purpose},
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
    /// Whether attempts are made.
    pub circuit: Circuit,
    /// How many requests there may be.
    pub quota: Quota,
    /// Room for `concurrency` requests at once.
    places: Semaphore,
    client: RefCell<Client>,
    tokens: Tokens,
}

/// Where a wait before the next attempt is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Here, however long it is.
    Here,
    /// Here up to the configured limit; a longer one in a delay queue, or, while the provider is left in peace,
    /// in the job's own queue.
    Queued,
    /// Nowhere: the one attempt is a probe of a provider that failed.
    Probing,
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
        /// Attempts that are not held against the job: probes.
        spared: u32,
    },
    /// The provider is left in peace for now; the job belongs into its queue.
    Suspended {
        /// HTTP status of the last answer.
        http_status: Option<u16>,
        /// Attempts that are not held against the job: probes.
        spared: u32,
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
        let client = RefCell::new(Self::client(&settings)?);
        let tokens = Tokens::new(settings.adapter.clone(), settings.credentials.clone());
        let circuit = Circuit::new(&settings.breaker, settings.auth_failure_limit, settings.retry.in_process_limit);
        let quota = Quota::new(settings.quota.as_ref(), metrics.quota(&settings.name));
        let places = Semaphore::new(settings.concurrency.into());
        Ok(Self { metrics: metrics.provider(&settings.name), circuit, quota, places, client, tokens, settings })
    }

    /// The HTTP client that the settings ask for.
    ///
    /// # Errors
    /// A sentence that names the key, where none can be made.
    pub fn client(settings: &ProviderSettings) -> Result<Client, String> {
        let flight = settings.quota.as_ref().map(|limit| Terms::of(limit).flight);
        Client::new(settings.concurrency, settings.max_response_bytes, &settings.tls, flight)
            .map_err(|problem| format!("providers.{}: {problem}", settings.name))
    }

    /// The secrets were read again, and these have changed. Requests on their way go on as they are.
    pub fn renew(&self, credentials: Option<Credentials>, client: Client) {
        if let Some(credentials) = credentials {
            self.tokens.renew(credentials);
        }
        self.client.replace(client);
        self.circuit.secrets_renewed();
    }

    /// The kind's adapter.
    #[must_use]
    pub fn adapter(&self) -> &Adapter {
        &self.settings.adapter
    }

    /// Makes attempts until there is an answer, none are left, or the next must wait longer than may be spent
    /// here. With it the number of HTTP requests made for the job so far.
    pub async fn lookup(&self, job: &Job, waiting: Waiting) -> (Conclusion, u32) {
        let retry = &self.settings.retry;
        let Progress { mut attempts, mut spared, mut http_status, .. } = job.ticket.progress;
        let mut refreshed = false;
        let conclusion = loop {
            let leave = tokio::select! {
                biased;
                () = self.circuit.opened(), if waiting == Waiting::Queued => {
                    break Conclusion::Suspended { http_status, spared };
                }
                leave = self.leave(job) => leave,
            };
            let (leave, limit) = match leave {
                Ok(leave) => leave,
                Err(Unpermitted::TooLate) => {
                    break Conclusion::over(too_late("no attempt could be made in time", http_status));
                }
                Err(Unpermitted::Gone) => break Conclusion::Abandoned,
                Err(Unpermitted::NotSoon) if waiting == Waiting::Here => continue,
                Err(Unpermitted::NotSoon) => {
                    let failure = Failure::new(ErrorKind::RateLimited, "the quota gives no permission for now");
                    break Conclusion::Pause { failure, wait: NOT_SOON, spared };
                }
            };
            attempts += 1;
            let Attempt { outcome, raw, token_refused } = self.attempt(job, limit, leave).await;
            if token_refused && !refreshed {
                refreshed = true;
                continue;
            }
            self.note(waiting, &outcome, limit);
            let failure = match outcome {
                // A probe that comes to nothing costs its job none of its attempts.
                Outcome::Failed(failure) if waiting == Waiting::Probing && self.circuit.why().is_some() => {
                    spared += 1;
                    break Conclusion::Suspended { http_status: failure.http_status.or(http_status), spared };
                }
                Outcome::Failed(failure) if failure.kind.retryable() => failure,
                outcome => break Conclusion::Answered { outcome, raw },
            };
            http_status = failure.http_status.or(http_status);
            let wait = self.wait(attempts - spared, &failure);
            let too_late_then = job.deadline.is_some_and(|deadline| class::until(deadline, Timestamp::now()) <= wait);
            if too_late_then {
                // Another attempt would come to nothing, and somebody waits for the answer.
                break Conclusion::over(too_late(&failure.message, http_status));
            }
            if waiting == Waiting::Queued && self.circuit.why().is_some() && failure.retry_after.is_none() {
                break Conclusion::Suspended { http_status, spared };
            }
            if attempts - spared >= retry.max_attempts {
                break Conclusion::Exhausted(failure);
            }
            self.metrics.retried(failure.kind);
            let here = wait <= retry.in_process_limit && !self.must_rest(&failure);
            if waiting != Waiting::Here && !here {
                break Conclusion::Pause { failure, wait, spared };
            }
            tokio::time::sleep(wait).await;
        };
        (conclusion, attempts)
    }

    /// Lets the circuit know what came of an attempt.
    fn note(&self, waiting: Waiting, outcome: &Outcome, limit: Duration) {
        let purpose = if waiting == Waiting::Probing { Purpose::Probe } else { Purpose::Lookup };
        let cut_short = limit < self.settings.timeout / 2;
        match outcome {
            Outcome::Failed(failure) if failure.kind == ErrorKind::Timeout && cut_short => {
                // It was the job that had no time, not the provider that took too much of it.
                let deadline = Outcome::Failed(Failure::new(ErrorKind::DeadlineExceeded, ""));
                self.circuit.note(purpose, &deadline, Instant::now());
            }
            outcome => self.circuit.note(purpose, outcome, Instant::now()),
        }
        self.metrics.circuit_open.set(self.circuit.is_open().into());
    }

    fn wait(&self, attempts: u32, failure: &Failure) -> Duration {
        let wait = retry::delay(&self.settings.retry, attempts, failure);
        let rest = self.settings.retry.delays.first().filter(|_| self.must_rest(failure));
        wait.max(rest.map_or(Duration::ZERO, |step| step.wait))
    }

    /// Whether the kind's document advises against a quick repeat.
    fn must_rest(&self, failure: &Failure) -> bool {
        failure.http_status == Some(500) && self.adapter().rules().rest_after_500
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
            self.resumed(job.deadline).await?;
            let limit = self.time_left(job.deadline).ok_or(Unpermitted::TooLate)?;
            let client = self.client.borrow().clone();
            let authorization = self.tokens.authorization(&client, limit).await;
            if authorization.is_err() {
                return Ok((Leave { authorization, permission: Permission::UNLIMITED, place: None }, limit));
            }
            let permission = self.quota.permission(job.ticket.lane, job.deadline).await?;
            let place = self.places.acquire().await.ok();
            // From memory, unless it expired during the wait.
            let authorization = self.tokens.authorization(&client, limit).await;
            let limit = self.time_left(job.deadline).ok_or(Unpermitted::TooLate)?;
            if !permission.is_void(Moment::now()) && self.circuit.paused_until().is_none() {
                return Ok((Leave { authorization, permission, place }, limit));
            }
            self.quota.wasted();
        }
    }

    /// Waits while the provider is to be left alone, up to the deadline.
    async fn resumed(&self, deadline: Option<Timestamp>) -> Result<(), Unpermitted> {
        let left = deadline.map(|deadline| class::until(deadline, Timestamp::now())).filter(|left| *left < NOT_SOON);
        let too_long = if left.is_some() { Unpermitted::TooLate } else { Unpermitted::NotSoon };
        tokio::time::timeout(left.unwrap_or(NOT_SOON), self.circuit.resumed()).await.map_err(|_| too_long)
    }

    async fn attempt(&self, job: &Job, limit: Duration, leave: Leave<'_>) -> Attempt {
        let begun = Instant::now();
        let Leave { authorization, permission, place: _place } = leave;
        let adapter = self.adapter();
        let (answer, used) = match authorization {
            Ok(authorization) => {
                let used = authorization.1.clone();
                let request = job.lookup.request.clone();
                let client = self.client.borrow().clone();
                (client.call(request, authorization, limit, permission).await, Some(used))
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
