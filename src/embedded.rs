//! Lookups without a broker: what `lookup` and `pipe` are made of.

use std::{collections::BTreeMap, rc::Rc};

use jiff::Timestamp;

use crate::{
    config::Settings,
    engine::{Conclusion, Engine, Waiting},
    job::{Address, Envelope, Job, NotAJob},
    provider::Outcome,
    result::LookupResult,
    telemetry::metrics::Metrics,
};

/// Every configured provider, ready to be asked.
#[derive(Debug)]
pub struct Embedded {
    engines: BTreeMap<String, Rc<Engine>>,
    max_job_bytes: usize,
}

impl Embedded {
    /// From the settings.
    ///
    /// # Errors
    /// A sentence that names the key, where a provider cannot be asked.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let metrics = Metrics::new();
        let engine = |(name, provider): (&String, &crate::config::ProviderSettings)| {
            Ok((name.clone(), Engine::new(provider.clone(), &metrics)?))
        };
        let engines = settings
            .providers
            .iter()
            .map(engine)
            .collect::<Result<_, String>>()?;
        Ok(Self {
            engines,
            max_job_bytes: settings.amqp.max_job_bytes,
        })
    }

    /// The job, if it is one.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(&self, envelope: &Envelope, body: &[u8]) -> Result<Job, Box<NotAJob>> {
        let engine = self
            .engines
            .get(Address::of(&envelope.routing_key).provider);
        Job::read(
            envelope,
            body,
            self.max_job_bytes,
            engine.map(|engine| engine.adapter()),
            Timestamp::now(),
        )
    }

    /// Looks a job up; every wait is spent here.
    ///
    /// # Panics
    /// Where the job was not read by [`Self::read`].
    pub async fn answer(&self, job: Job) -> LookupResult {
        let engine = &self.engines[&job.ticket.provider];
        let (conclusion, attempts) = engine.lookup(&job, Waiting::Here).await;
        let (outcome, raw) = match conclusion {
            Conclusion::Answered { outcome, raw } => (outcome, raw),
            Conclusion::Exhausted(failure) => (Outcome::Failed(failure), None),
            Conclusion::Pause { .. }
            | Conclusion::Suspended { .. }
            | Conclusion::Overdue { .. }
            | Conclusion::Abandoned => {
                unreachable!("every wait is spent here, and no session can end")
            }
        };
        let ticket = job.ticket;
        let result = LookupResult::new(
            ticket.id,
            ticket.provider,
            outcome,
            attempts,
            ticket.received,
        );
        LookupResult {
            context: ticket.context,
            raw,
            ..result
        }
    }

    /// The answer to what is no job.
    #[must_use]
    pub fn refuse(NotAJob { ticket, failure }: NotAJob) -> LookupResult {
        let result = LookupResult::new(
            ticket.id,
            ticket.provider,
            Outcome::Failed(failure),
            0,
            ticket.received,
        );
        LookupResult {
            context: ticket.context,
            ..result
        }
    }
}
