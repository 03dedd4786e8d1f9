//! What a lookup's job is answered with: the verdict on what its steps said, in the form of a result.

use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;

use super::{Plan, customers, state::StepAnswer};
use crate::{
    customer::Customer,
    failure::{ErrorKind, Failure},
    job::Ticket,
    outcome::Outcome,
    policy::lookup::{Mode, Said, Verdict, verdict},
    result::{LookupResult, SkipReason, StepResult, StepStatus},
};

/// The parts of the result.
#[derive(Debug)]
pub struct Answer {
    /// What came of it.
    pub outcome: Outcome,
    /// The providers' payloads by their names, where the job asked for them.
    pub raw: Option<Box<RawValue>>,
    /// The provider that gives the answer, where one does.
    pub answered_by: Option<String>,
    /// What each step came to, in the order asked.
    pub steps: Vec<StepResult>,
    /// Somebody was found, and there may be more.
    pub incomplete: bool,
}

impl Answer {
    /// Of all that was said; of a chain with what its steps found, put together.
    pub(super) fn of(
        plan: &Plan,
        mut answers: Vec<StepAnswer>,
        chained: Option<Vec<Customer>>,
    ) -> Self {
        answers.sort_by_key(|answer| answer.key);
        let said: Vec<Said> = answers.iter().map(|answer| plan.said(answer)).collect();
        for answer in &answers {
            let (row, lookup) = (&answer.row, &plan.settings.name);
            plan.metrics
                .step(lookup, &row.provider, row.status.as_str());
        }
        let raw = payloads(&mut answers);
        let steps = answers.iter().map(|answer| answer.row.clone()).collect();
        let (outcome, answered_by, incomplete) = match verdict(plan.settings.mode, &said) {
            Verdict::Found { by, incomplete } => {
                let answered_by = by.map(|by| answers[by].row.provider.clone());
                (found(plan, answers, by, chained), answered_by, incomplete)
            }
            Verdict::NotFound => (Outcome::NotFound(None), None, false),
            Verdict::Failed(first) => (Outcome::Failed(failure(&answers[first])), None, false),
            Verdict::Unasked => (Outcome::Failed(unasked(&answers)), None, false),
        };
        Self {
            outcome,
            raw,
            answered_by,
            steps,
            incomplete,
        }
    }

    /// The result of the lookup's job.
    #[must_use]
    pub fn into_result(self, ticket: Ticket) -> LookupResult {
        let attempts = self.attempts();
        let (id, name) = (ticket.id, ticket.provider);
        let result = LookupResult::new(id, name, self.outcome, attempts, ticket.received);
        LookupResult {
            answered_by: self.answered_by,
            steps: Some(self.steps),
            incomplete: self.incomplete,
            context: ticket.context,
            raw: self.raw,
            ..result
        }
    }

    /// HTTP requests made for it.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.steps.iter().map(|step| step.attempts).sum()
    }
}

impl Plan {
    fn said(&self, answer: &StepAnswer) -> Said {
        match (answer.row.status, answer.row.reason) {
            (StepStatus::Found, _) if self.settings.mode.has_one_answer() => {
                if self.settles(answer) {
                    Said::Found
                } else {
                    Said::Lacking
                }
            }
            (StepStatus::Found, _) => Said::Found,
            (StepStatus::NotFound, _) => Said::NotFound,
            (StepStatus::Failed, _) => Said::Failed,
            (StepStatus::Skipped, Some(SkipReason::NoValue)) => Said::NoValue,
            (StepStatus::Skipped, _) => Said::Skipped,
        }
    }
}

fn found(
    plan: &Plan,
    mut answers: Vec<StepAnswer>,
    by: Option<usize>,
    chained: Option<Vec<Customer>>,
) -> Outcome {
    if let Some(by) = by {
        let StepAnswer {
            row,
            customers,
            page,
            ..
        } = answers.swap_remove(by);
        let customers = customers.into_iter();
        let customers = customers.map(|customer| customers::found_by(&row.provider, customer));
        return Outcome::Found(customers.collect(), page);
    }
    if let Some(customers) = chained {
        let page = answers.first_mut().and_then(|first| first.page.take());
        return Outcome::Found(customers, page);
    }
    let found = answers.iter_mut().flat_map(|answer| {
        let customers = std::mem::take(&mut answer.customers).into_iter();
        customers.map(|customer| (answer.row.provider.as_str(), customer))
    });
    debug_assert_eq!(plan.settings.mode, Mode::Merge);
    Outcome::Found(
        customers::together(found.collect(), &plan.settings.by),
        None,
    )
}

/// Each provider's; where one was asked several times, the first that found somebody, else the first.
fn payloads(answers: &mut [StepAnswer]) -> Option<Box<RawValue>> {
    let mut payloads = BTreeMap::new();
    for found in [true, false] {
        for answer in answers.iter_mut() {
            if (answer.row.status == StepStatus::Found) == found
                && !payloads.contains_key(&answer.row.provider)
                && let Some(raw) = answer.raw.take()
            {
                payloads.insert(answer.row.provider.clone(), raw);
            }
        }
    }
    (!payloads.is_empty()).then(|| to_raw_value(&payloads).ok())?
}

fn failure(answer: &StepAnswer) -> Failure {
    let mut failure = answer
        .failure()
        .unwrap_or_else(|| Failure::new(ErrorKind::Internal, "a step failed without a reason"));
    failure.message = format!("{}: {}", answer.row.provider, failure.message).into();
    failure
}

/// Nobody failed, nobody was found, and not everybody was asked.
fn unasked(answers: &[StepAnswer]) -> Failure {
    let skipped = answers
        .iter()
        .find(|answer| answer.row.status == StepStatus::Skipped);
    let reason = skipped.and_then(|answer| answer.row.reason);
    if reason == Some(SkipReason::Deadline) {
        let message = "the job's deadline came before all steps were asked";
        return Failure::new(ErrorKind::DeadlineExceeded, message);
    }
    let message = match (skipped, reason) {
        (Some(answer), Some(SkipReason::NoValue)) => format!(
            "{}: the job's query holds nothing that it is asked by, and no other step gave an answer",
            answer.row.provider
        ),
        (Some(_), Some(_)) => {
            let skipped = answers.iter().filter_map(|answer| {
                let reason = answer
                    .row
                    .reason
                    .filter(|reason| *reason != SkipReason::NoValue)?;
                Some(format!(
                    "{}: not asked ({})",
                    answer.row.provider,
                    reason.in_words()
                ))
            });
            let skipped = skipped.collect::<Vec<_>>().join(", ");
            if answers
                .iter()
                .any(|answer| answer.row.status == StepStatus::NotFound)
            {
                format!("{skipped}, and nobody else knows the customer")
            } else {
                skipped
            }
        }
        _ => "no step could be asked".to_owned(),
    };
    Failure::new(ErrorKind::ProviderError, message)
}
