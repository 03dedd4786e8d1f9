//! One provider at work: a job's lookup with all its attempts. It knows nothing of the broker, so the worker,
//! `lookup` and `pipe` share it.
//!
//! Each attempt joins an equal lookup that is under way (`pool`) or waits for a permit, alone or in a batch, and gets
//! its part of the reply to the request that it shares (`request`). What comes next is decided for each job
//! (`attempts`).

mod attempt; // one attempt: joins an equal lookup or waits for a permit, and takes its part of the reply
mod attempts; // the attempts of one job, and what comes after each
mod cache; // answers of the last while
mod count; // what the provider says is left
mod pool; // lookups that wait for a permit or a reply, and batches of them
mod record; // a request, told of once when it is over
mod reply; // what came of a request
mod report; // what the circuit hears of it
mod request; // one HTTP request, and who is answered by it
mod retry_after; // what the provider asks for, held within reason

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::{
    clock::Moment,
    config::{Credentials, HttpVersion, QuotaScope},
    failure::Failure,
    http::{Client, Options},
    job::{Job, Stage},
    lane::Lane,
    outcome::Outcome,
    policy::{
        batch,
        circuit::{Circuit, Purpose},
        quota::Terms,
    },
    provider::{Adapter, settings::ProviderSettings},
    quota::Quota,
    telemetry::{
        metrics::{Metrics, ProviderMetrics},
        traces::Span,
    },
    tokens::Tokens,
};
use attempts::{Attempts, NextStep};
use cache::Cache;
use pool::Pool;

/// One configured provider, ready to be asked.
pub struct Engine {
    /// How it was configured.
    pub settings: ProviderSettings,
    /// What it did.
    pub metrics: ProviderMetrics,
    /// The mean time between two requests of the quota; none where there is no quota.
    pub pace: Duration,
    /// Whether attempts are made.
    pub circuit: Circuit,
    /// How many requests there may be.
    pub quota: Quota,
    /// Room for `concurrency` requests at once.
    places: Arc<Semaphore>,
    client: RefCell<Client>,
    tokens: Tokens,
    cache: Cache,
    pool: Pool,
    batches: batch::Worth,
    warned: retry_after::Warned,
    /// How long an answer takes, of late; zero before the first.
    usual: Cell<Duration>,
    /// Nobody waits for the quota any more.
    stopping: Cell<bool>,
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
    Probing {
        /// No other job waits that could be the next probe.
        alone: bool,
    },
}

impl Waiting {
    /// What its attempts are to the circuit.
    fn purpose(self) -> Purpose {
        match self {
            Self::Probing { .. } => Purpose::Probe,
            Self::Here | Self::Queued => Purpose::Lookup,
        }
    }
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
    RetryLater {
        /// Why.
        failure: Failure,
        /// How long.
        wait: Duration,
        /// Attempts that are not held against the job: probes.
        spared: u32,
    },
    /// The provider is left in peace for now; the job belongs into its queue.
    CircuitOpen {
        /// HTTP status of the last answer.
        http_status: Option<u16>,
        /// Attempts that are not held against the job: probes.
        spared: u32,
    },
    /// The job was held here as long as it may be, and goes back to its queue.
    LeaseOver {
        /// HTTP status of the last answer.
        http_status: Option<u16>,
        /// Attempts that are not held against the job: probes.
        spared: u32,
    },
    /// A step will not have the quota's permission before its deadline, or is wanted no more; nothing was sent.
    OutOfQuota,
    /// No permission can be had any more, since the session that the job came by is over; nothing was sent.
    Abandoned,
}

impl Engine {
    /// From the settings.
    ///
    /// # Errors
    /// A sentence that names the key, where no HTTP client can be made of them.
    pub fn new(settings: ProviderSettings, metrics: &Metrics) -> Result<Rc<Self>, String> {
        let client = RefCell::new(Self::client(&settings)?);
        let tokens = Tokens::new(settings.adapter.clone(), settings.credentials.clone());
        let circuit = Circuit::new(
            &settings.breaker,
            settings.auth_failure_limit,
            settings.retry.in_process_limit,
        );
        let quota = Quota::new(
            settings.quota.as_ref(),
            &settings.longer_quotas,
            settings.concurrency.into(),
            settings.max_pause,
            metrics.quota(&settings.name),
        );
        let places = Arc::new(Semaphore::new(settings.concurrency.into()));
        let pace = settings
            .quota
            .as_ref()
            .map_or(Duration::ZERO, |limit| limit.per / limit.requests);
        let most = batch::largest(
            settings.adapter.most_in_batch(),
            0,
            settings.retry.max_attempts,
        );
        let (cache, pool) = (
            Cache::new(&settings.cache),
            Pool::new(most, settings.concurrency.into(), pace),
        );
        let (metrics, stopping) = (metrics.provider(&settings.name), Cell::new(false));
        let batches = batch::Worth::default();
        Ok(Rc::new(Self {
            settings,
            metrics,
            pace,
            circuit,
            quota,
            places,
            client,
            tokens,
            cache,
            pool,
            batches,
            warned: retry_after::Warned::default(),
            usual: Cell::default(),
            stopping,
        }))
    }

    /// The HTTP client that the settings ask for.
    ///
    /// # Errors
    /// A sentence that names the key, where none can be made.
    pub fn client(settings: &ProviderSettings) -> Result<Client, String> {
        let flight = settings.quota.as_ref().map(|limit| Terms::of(limit).flight);
        // Over HTTP/2 a request may lie between its permission and the wire for as long as the process is frozen.
        let strict = settings
            .quota
            .as_ref()
            .is_some_and(|limit| limit.scope == QuotaScope::Broker);
        Client::new(Options {
            concurrency: settings.concurrency,
            max_response_bytes: settings.max_response_bytes,
            tls: settings.tls.clone(),
            flight,
            connect_timeout: settings.connect_timeout,
            version: if strict {
                HttpVersion::One
            } else {
                settings.http
            },
            proxy: settings.proxy.clone(),
        })
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

    /// Whether each lookup is asked alone for now, since batches brought nothing.
    #[must_use]
    pub fn batches_rest(&self) -> bool {
        self.batches.rests(Moment::now())
    }

    /// Lets those who wait for quota give up, and whoever would wait later.
    pub fn dismiss(&self) {
        self.stopping.set(true);
        self.quota.dismiss();
    }

    /// Makes attempts until there is an answer, none are left, or the next must wait longer than may be spent
    /// here. With it the number of HTTP requests made for the job so far. The requests are children of `span`.
    pub async fn lookup(
        self: &Rc<Self>,
        job: &Job,
        span: &Span,
        waiting: Waiting,
    ) -> (Conclusion, u32) {
        let _in_hand = (job.ticket.lane == Lane::Bulk).then(|| self.quota.in_hand());
        let mut attempts = Attempts::new(job, span, waiting);
        if let Some(conclusion) = self.remembered(job, waiting) {
            return (conclusion, attempts.made);
        }
        let conclusion = loop {
            let next = match self.attempt(job, waiting, &mut attempts).await {
                Ok(answer) => self.after(job, &mut attempts, answer),
                Err(not_made) => attempts.held_up(not_made),
            };
            match next {
                NextStep::Over(conclusion) => break conclusion,
                NextStep::AtOnce => {}
                NextStep::After(wait) => {
                    job.mark.at(Stage::rests(wait));
                    self.tell_of(wait, job, waiting);
                    let _lent = job.slot.lend();
                    tokio::time::sleep(wait).await;
                }
            }
        };
        (conclusion, attempts.made)
    }

    /// The answer of the last while to the same.
    pub fn remembered(&self, job: &Job, waiting: Waiting) -> Option<Conclusion> {
        if waiting.purpose() == Purpose::Probe {
            return None;
        }
        let (outcome, payload) = self.cache.recall(&job.lookup, Moment::now())?;
        self.metrics.cached.inc();
        let raw = payload.and_then(|payload| self.adapter().raw(&payload));
        Some(Conclusion::Answered { outcome, raw })
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("provider", &self.settings.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
