//! The steps of one job in the order of the lookup's mode, until there is an answer or one must wait elsewhere.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::{sync::mpsc, task::spawn_local, time::Instant};

use super::{
    Answer, Plan, Questions,
    ask::{Asking, Common, Held},
    customers,
    plan::{Question, Unasked},
    state::{Begun, State, StepAnswer, StepKey},
};
use crate::{
    customer::Customer,
    engine::Waiting,
    failpoint,
    failure::{ErrorKind, Failure},
    job::{Job, Step},
    lane::Lane,
    outcome::Outcome,
    policy::lookup::Mode,
    provider::{Lookup, class},
    result::SkipReason,
    telemetry::traces::Span,
};

/// The part of a job's time that its answer is given to be on its way before the deadline, and its bounds.
const LAST_PART: i32 = 20;
const LEAST: SignedDuration = SignedDuration::from_millis(5);
const MOST: SignedDuration = SignedDuration::from_millis(50);

/// What a job of a lookup came to, for now.
#[derive(Debug)]
pub enum Conclusion {
    /// It is over.
    Answered(Box<Answer>),
    /// A step is to go on after a wait that is too long to be spent here.
    RetryLater {
        /// How long.
        wait: Duration,
        /// The class of failure that asks for it.
        kind: ErrorKind,
        /// What goes along.
        state: State,
    },
    /// The job was held here as long as it may be, or the worker stops.
    PutBack(State),
    /// As [`Conclusion::PutBack`], and nothing was asked yet.
    Abandoned,
}

/// One job's way through the steps.
struct Steps<'a> {
    plan: &'a Rc<Plan>,
    job: &'a Job<Questions>,
    common: Common,
    state: State,
}

/// A step of a race or a merge that is on its way.
struct Running {
    key: StepKey,
    step: Rc<Step>,
}

type Report = (StepKey, Result<StepAnswer, Held>);

impl Plan {
    /// Asks the steps that have not said anything yet; their spans are children of `span`.
    pub async fn lookup(
        self: &Rc<Self>,
        job: &Job<Questions>,
        span: &Span,
        waiting: Waiting,
        state: State,
    ) -> Conclusion {
        let common = Common {
            id: job.ticket.id.clone(),
            lane: job.ticket.lane,
            received: job.ticket.received,
            deadline: job.deadline.map(|end| of_steps(job.ticket.received, end)),
            lease: job.lease.clone(),
            mark: job.mark.clone(),
            slot: job.slot.clone(),
            span: span.clone(),
            waiting,
        };
        let mut steps = Steps {
            plan: self,
            job,
            common,
            state: self.fitting(state),
        };
        let found = match self.settings.mode {
            Mode::First => steps.first().await.map(|()| None),
            Mode::Race => steps.all_at_once(true).await.map(|()| None),
            Mode::Merge => steps.all_at_once(false).await.map(|()| None),
            Mode::Chain => steps.chain().await.map(Some),
        };
        match found {
            Ok(chained) => {
                Conclusion::Answered(Box::new(Answer::of(self, steps.state.answers, chained)))
            }
            Err(conclusion) => *conclusion,
        }
    }

    /// Whether a step's answer is one that ends a lookup whose answer one provider gives.
    pub(super) fn settles(&self, answer: &StepAnswer) -> bool {
        let wanted = &self.settings.steps[answer.key.step].wanted;
        let has_all =
            |customer: &Customer| wanted.iter().all(|field| customers::has(customer, *field));
        answer.customers.iter().any(has_all)
    }
}

/// The deadline of a job's steps: so early that the answer is on its way before the job's own.
fn of_steps(received: Timestamp, deadline: Timestamp) -> Timestamp {
    let part = (deadline.duration_since(received) / LAST_PART).clamp(LEAST, MOST);
    deadline.checked_sub(part).unwrap_or(deadline)
}

impl Steps<'_> {
    async fn first(&mut self) -> Result<(), Box<Conclusion>> {
        let plan = self.plan;
        if self.common.lane == Lane::Interactive && self.common.deadline.is_some() {
            return self.first_of_a_call().await;
        }
        for step in 0..plan.engines.len() {
            let key = StepKey { step, of: 0 };
            let answer = self.one(key, None).await?;
            if plan.settles(answer) {
                break;
            }
        }
        Ok(())
    }

    /// A call cannot wait for one step as long as it has time for all: where a step takes longer than its share, the
    /// next is asked beside it.
    async fn first_of_a_call(&mut self) -> Result<(), Box<Conclusion>> {
        let plan = self.plan;
        let (report, mut reports) = mpsc::unbounded_channel::<Report>();
        let mut running: Vec<Running> = Vec::new();
        let mut held = Vec::new();
        let mut steps = 0..plan.engines.len();
        let mut patience = None;
        loop {
            let is_over = patience.is_some_and(|end| Instant::now() >= end);
            if (running.is_empty() && held.is_empty()) || is_over {
                let Some(step) = steps.next() else { break };
                patience = self.share(steps.len());
                let key = StepKey { step, of: 0 };
                if self.state.answer(key).is_none() {
                    match self.question(key, None) {
                        Ok(lookup) => running.push(self.begin(key, lookup, &report)),
                        Err(answer) => self.heard(*answer),
                    }
                }
                if self.best().is_some() {
                    break;
                }
                continue;
            }
            if running.is_empty() {
                break;
            }
            let reported = tokio::select! {
                biased;
                reported = reports.recv() => reported,
                () = until(patience) => continue,
            };
            let Some((key, said)) = reported else { break };
            running.retain(|running| running.key != key);
            match said {
                Ok(answer) => self.heard(answer),
                Err(later) => held.push(later),
            }
            if self.best().is_some() {
                break;
            }
        }
        let is_found = self.best().is_some();
        for running in running {
            running.step.forsake();
            let message = "it had not answered when a provider after it did";
            let failure = Failure::new(ErrorKind::DeadlineExceeded, message);
            self.heard(self.failed(self.state.begun(running.key), failure));
        }
        if !is_found && !held.is_empty() {
            for answer in self.held(held)? {
                self.heard(answer);
            }
        }
        Ok(())
    }

    /// When the step that begins now has had its part of the time, where so many others are still to be asked.
    fn share(&self, others: usize) -> Option<Instant> {
        let others = u32::try_from(others).ok().filter(|others| *others > 0)?;
        let left = class::until(self.common.deadline?, Timestamp::now());
        Some(Instant::now() + left / (others + 1))
    }

    /// What each step finds is added to the customer that it was asked for.
    async fn chain(&mut self) -> Result<Vec<Customer>, Box<Conclusion>> {
        let plan = self.plan;
        let mut whole: Vec<Customer> = Vec::new();
        // Those that the step before found, each with its index among the whole.
        let mut before: Vec<(Customer, usize)> = Vec::new();
        for (step, settings) in plan.settings.steps.iter().enumerate() {
            let mut found = Vec::new();
            let asked_for = if plan.is_of_customer(step) {
                let some = before.iter().take(settings.fan_out);
                some.map(Some).collect::<Vec<_>>()
            } else {
                vec![None]
            };
            for (of, by) in asked_for.into_iter().enumerate() {
                let answer = self
                    .one(StepKey { step, of }, by.map(|(customer, _)| customer))
                    .await?;
                for customer in &answer.customers {
                    let provider = &settings.provider;
                    let at = by.map_or(whole.len(), |(_, at)| *at);
                    match whole.get_mut(at) {
                        Some(known) => customers::add(known, provider, customer.clone()),
                        None => whole.push(customers::first_of(provider, customer.clone())),
                    }
                    // What it lacks, a step before may have found.
                    let mut handed_on = customer.clone();
                    customers::add(&mut handed_on, provider, whole[at].clone());
                    found.push((handed_on, at));
                }
            }
            before = found;
        }
        Ok(whole)
    }

    /// One step by itself: what it said before, or says now.
    async fn one(
        &mut self,
        key: StepKey,
        customer: Option<&Customer>,
    ) -> Result<&StepAnswer, Box<Conclusion>> {
        if self.state.answer(key).is_none() {
            let answer = match self.question(key, customer) {
                Ok(lookup) => {
                    let asking = self.asking(key, lookup, &Rc::default());
                    match asking.run().await {
                        Ok(answer) => answer,
                        Err(held) => self.held(vec![held])?.remove(0),
                    }
                }
                Err(answer) => *answer,
            };
            self.heard(answer);
        }
        Ok(self.state.answer(key).expect("it was just said"))
    }

    fn heard(&mut self, answer: StepAnswer) {
        self.state.said(answer);
        failpoint::reach(failpoint::STEPPED, Some(&self.job.ticket.id));
    }

    /// All steps that have not said anything yet, at once; in a race until one wins.
    async fn all_at_once(&mut self, is_race: bool) -> Result<(), Box<Conclusion>> {
        let (report, mut reports) = mpsc::unbounded_channel::<Report>();
        let mut running = self.begin_all(&report);
        drop(report);
        let (mut held, mut decided_at) = (BTreeMap::new(), None);
        while !running.is_empty() {
            if is_race && let Some(best) = self.best() {
                let end = *decided_at.get_or_insert(Instant::now() + self.plan.settings.prefer_for);
                let may_be_better = running.iter().any(|running| running.key < best);
                if !may_be_better || Instant::now() >= end {
                    break;
                }
            }
            let reported = tokio::select! {
                biased;
                reported = reports.recv() => reported,
                () = until(decided_at) => continue,
            };
            // A task that ends without a word has met a bug of the worker's own.
            let Some((key, said)) = reported else { break };
            running.retain(|running| running.key != key);
            match said {
                Ok(answer) => self.heard(answer),
                Err(later) => _ = held.insert(key, later),
            }
        }
        if is_race && let Some(best) = self.best() {
            for running in &running {
                running.step.forsake();
            }
            let plan = self.plan;
            let wins = |answer: &StepAnswer| answer.key == best || !plan.settles(answer);
            self.state.answers.retain(wins);
            return Ok(());
        }
        for running in running {
            let message = "the worker failed at this step, which is a bug of its own";
            let failure = Failure::new(ErrorKind::Internal, message);
            self.heard(self.failed(self.state.begun(running.key), failure));
        }
        if !held.is_empty() {
            for answer in self.held(held.into_values().collect())? {
                self.heard(answer);
            }
        }
        Ok(())
    }

    fn begin_all(&mut self, report: &mpsc::UnboundedSender<Report>) -> Vec<Running> {
        let mut running = Vec::new();
        for step in 0..self.plan.engines.len() {
            let key = StepKey { step, of: 0 };
            if self.state.answer(key).is_some() {
                continue;
            }
            match self.question(key, None) {
                Ok(lookup) => running.push(self.begin(key, lookup, report)),
                Err(answer) => self.heard(*answer),
            }
        }
        running
    }

    /// Asks a step beside others. It goes on where another has won: what it is answered may fill the cache.
    fn begin(
        &self,
        key: StepKey,
        lookup: Rc<Lookup>,
        report: &mpsc::UnboundedSender<Report>,
    ) -> Running {
        let step = Rc::<Step>::default();
        let (asking, report) = (self.asking(key, lookup, &step), report.clone());
        spawn_local(async move { report.send((key, asking.run().await)) });
        Running { key, step }
    }

    /// Of those that found all that is wanted the earliest in the order.
    fn best(&self) -> Option<StepKey> {
        let found = self.state.answers.iter();
        let found = found.filter(|answer| self.plan.settles(answer));
        found.map(|answer| answer.key).min()
    }

    /// What a step asks, or what it comes to without.
    fn question(
        &self,
        key: StepKey,
        customer: Option<&Customer>,
    ) -> Result<Rc<Lookup>, Box<StepAnswer>> {
        let Questions { query, raw, steps } = &self.job.lookup;
        let unasked = match &steps[key.step] {
            Question::Ready(lookup) => return Ok(Rc::clone(lookup)),
            Question::NoValue => Unasked::NoValue,
            Question::OfCustomer => {
                let customer = serde_json::to_value(customer).unwrap_or_default();
                match self.plan.question(key.step, query, Some(&customer), *raw) {
                    Ok(lookup) => return Ok(lookup),
                    Err(unasked) => unasked,
                }
            }
        };
        let begun = self.state.begun(key);
        let provider = &self.plan.settings.steps[key.step].provider;
        Err(Box::new(match unasked {
            Unasked::NoValue => StepAnswer::skipped(begun, provider, SkipReason::NoValue),
            Unasked::Unfit(problem) => {
                let message = format!("the customer of the step before does not fit: {problem}");
                let failure = Failure::new(ErrorKind::Rejected, message).about_customer();
                self.failed(begun, failure)
            }
        }))
    }

    fn asking(&self, key: StepKey, lookup: Rc<Lookup>, step: &Rc<Step>) -> Asking {
        Asking {
            common: self.common.clone(),
            engine: Rc::clone(&self.plan.engines[key.step]),
            lookup,
            begun: self.state.begun(key),
            step: Rc::clone(step),
        }
    }

    fn failed(&self, begun: Begun, failure: Failure) -> StepAnswer {
        let provider = &self.plan.settings.steps[begun.key.step].provider;
        StepAnswer::of(begun, provider, Outcome::Failed(failure), begun.attempts)
    }

    /// Where steps must wait elsewhere, so does the job, with all that was said. If that is too much to go along, they
    /// have failed.
    fn held(&mut self, held: Vec<Held>) -> Result<Vec<StepAnswer>, Box<Conclusion>> {
        let (mut first, mut failed, mut goes_back) = (None, Vec::new(), false);
        for held in held {
            match held {
                Held::Later { begun, wait, kind } => {
                    let message = "the step must wait, with more than may go along";
                    failed.push(self.failed(begun, Failure::new(kind, message)));
                    self.state.waits(begun);
                    if first.is_none_or(|(first, _)| wait < first) {
                        first = Some((wait, kind));
                    }
                }
                Held::LeaseOver(begun) | Held::Gone(begun) => {
                    goes_back = true;
                    self.state.waits(begun);
                }
            }
        }
        let state = std::mem::take(&mut self.state);
        Err(Box::new(match first {
            _ if goes_back && state.is_empty() => Conclusion::Abandoned,
            _ if goes_back => Conclusion::PutBack(state),
            Some((wait, kind)) if state.written().is_some() => {
                Conclusion::RetryLater { wait, kind, state }
            }
            _ => {
                self.state = state;
                return Ok(failed);
            }
        }))
    }
}

/// Returns at that time; where there is none, never.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
