//! Lookups without a broker: what `lookup` and `pipe` are made of.

use std::{collections::BTreeMap, rc::Rc};

use jiff::Timestamp;

use crate::{
    engine::{Conclusion, Engine, Waiting},
    failure::{ErrorKind, Failure},
    job::{self, Address, Envelope, NotAJob},
    lookups::{self, Asked, Plan, Questions, State, settings::LookupSettings},
    outcome::Outcome,
    provider::{Adapter, settings::ProviderSettings},
    result::LookupResult,
    settings::Settings,
    telemetry::{metrics::Metrics, traces::Span},
};

/// Every configured provider and lookup, ready to be asked.
#[derive(Debug)]
pub struct Embedded {
    asked: BTreeMap<String, Asked>,
    max_job_bytes: usize,
}

/// A job that can be looked up.
#[derive(Debug)]
pub struct Job(Inner);

#[derive(Debug)]
enum Inner {
    One(Rc<Engine>, job::Job),
    Several(Rc<Plan>, job::Job<Questions>),
}

impl Embedded {
    /// From the settings.
    ///
    /// # Errors
    /// A sentence that names the key, where a provider cannot be asked.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let metrics = Metrics::new();
        let engine = |(name, provider): (&String, &ProviderSettings)| {
            Ok((name.clone(), Engine::new(provider.clone(), &metrics)?))
        };
        let engines = settings.providers.iter().map(engine);
        let engines = engines.collect::<Result<BTreeMap<_, _>, String>>()?;
        let plan = |(name, lookup): (&String, &LookupSettings)| {
            let plan = Plan::new(lookup, &engines, &metrics);
            (name.clone(), Asked::Several(plan))
        };
        let several = settings.lookups.iter().map(plan).collect::<Vec<_>>();
        let one = engines
            .into_iter()
            .map(|(name, engine)| (name, Asked::One(engine)));
        Ok(Self {
            asked: one.chain(several).collect(),
            max_job_bytes: settings.amqp.max_job_bytes,
        })
    }

    /// The job, if it is one.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(&self, envelope: &Envelope, body: &[u8]) -> Result<Job, Box<NotAJob>> {
        let (most, now) = (self.max_job_bytes, Timestamp::now());
        let name = Address::of(&envelope.routing_key).provider;
        Ok(Job(match self.asked.get(name) {
            Some(Asked::Several(plan)) => {
                let job = job::Job::read(envelope, body, most, Some(&**plan), now)?;
                Inner::Several(Rc::clone(plan), job)
            }
            Some(Asked::One(engine)) => {
                let job = job::Job::read(envelope, body, most, Some(engine.adapter()), now)?;
                Inner::One(Rc::clone(engine), job)
            }
            None => {
                let job = job::Job::read(envelope, body, most, None::<&Adapter>, now)?;
                let message = "no provider of this name is configured";
                return Err(Box::new(NotAJob {
                    ticket: job.ticket,
                    failure: Failure::new(ErrorKind::UnknownProvider, message),
                }));
            }
        }))
    }

    /// Looks a job up; every wait is spent here.
    pub async fn answer(&self, Job(job): Job) -> LookupResult {
        match job {
            Inner::One(engine, job) => answer_of_one(&engine, job).await,
            Inner::Several(plan, job) => answer_of_several(&plan, job).await,
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

async fn answer_of_one(engine: &Rc<Engine>, job: job::Job) -> LookupResult {
    let (conclusion, attempts) = engine.lookup(&job, &Span::default(), Waiting::Here).await;
    let (outcome, raw) = match conclusion {
        Conclusion::Answered { outcome, raw } => (outcome, raw),
        Conclusion::Exhausted(failure) => (Outcome::Failed(failure), None),
        Conclusion::RetryLater { .. }
        | Conclusion::CircuitOpen { .. }
        | Conclusion::LeaseOver { .. }
        | Conclusion::OutOfQuota
        | Conclusion::Abandoned => (Outcome::Failed(given_up()), None),
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

async fn answer_of_several(plan: &Rc<Plan>, job: job::Job<Questions>) -> LookupResult {
    let (span, mut state) = (Span::default(), State::default());
    loop {
        match plan.lookup(&job, &span, Waiting::Here, state).await {
            lookups::Conclusion::Answered(answer) => {
                return answer.into_result(job.ticket);
            }
            lookups::Conclusion::RetryLater {
                wait, state: said, ..
            } => {
                tokio::time::sleep(wait).await;
                state = said;
            }
            lookups::Conclusion::PutBack(_) | lookups::Conclusion::Abandoned => {
                return Embedded::refuse(NotAJob {
                    ticket: job.ticket,
                    failure: given_up(),
                });
            }
        }
    }
}

/// Every wait is spent here and no session can end, so that a job is given up only by mistake.
fn given_up() -> Failure {
    let message = "the job was given up before its end, which is a bug of the program's own";
    Failure::new(ErrorKind::Internal, message)
}
