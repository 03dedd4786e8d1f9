//! Whether all that a worker needs is on the broker, as it should be, and the user may use it.

use std::fmt::Write;

use super::{finding::Finding, reach::Reached};
use crate::{
    broker::{BrokerError, Cures, Difference, Expected, Found, MissingRight},
    settings::Settings,
};

/// Of the names that are missing, so many are told.
const TOLD: usize = 4;
const TOPOLOGY: &str = "topology";

fn expected(settings: &Settings) -> Expected {
    Expected::new(
        &settings.amqp,
        &settings.retry.delays,
        settings.providers.values(),
        settings.lookups.keys(),
    )
}

/// What is not as it should be.
///
/// # Errors
/// Where the broker does not answer.
pub async fn differences(
    settings: &Settings,
    reached: &Reached,
) -> Result<Vec<Difference>, BrokerError> {
    let Reached { session, cures, .. } = reached;
    expected(settings).compare(session, cures).await
}

/// As lines.
pub fn findings(settings: &Settings, cures: &Cures, differences: &[Difference]) -> Vec<Finding> {
    let list = cures.list_policies();
    let (mut findings, mut missing, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    let (mut away, mut keep_back) = (Vec::new(), Vec::new());
    for difference in differences {
        match &difference.found {
            Found::Missing => missing.push(difference),
            Found::Away => away.push(difference),
            Found::KeepsBack => keep_back.push(difference),
            Found::Refused(problem) => refused.push((difference, problem)),
            Found::Otherwise(problem) => {
                findings.push(Finding::bad(TOPOLOGY, problem).advise(&difference.mend));
            }
        }
    }
    if let Some((first, problem)) = refused.first() {
        let names = listed(refused.iter().map(|(difference, _)| *difference));
        let message = format!(
            "a right is missing to {} ({names}): {problem}",
            refused.len()
        );
        findings.push(Finding::bad(TOPOLOGY, message).advise(permit(&first.mend)));
    }
    if let Some(first) = away.first() {
        let names = listed(away.iter().copied());
        let message = format!(
            "{} queues say nothing, as they do while their node is away: {names}",
            away.len()
        );
        findings.push(Finding::bad(TOPOLOGY, message).advise(&first.mend));
    }
    if let Some(first) = keep_back.first() {
        let names = listed(keep_back.iter().copied());
        let message = format!(
            "{} queues were declared by an earlier version: where a node of a cluster dies, what workers held by it, \
             calls too, is kept back for a minute, unless a policy says otherwise ({list} tells): {names}",
            keep_back.len(),
        );
        let advice = format!(
            "a policy mends it at once; where one is in force for them already, put the key into that: {}",
            first.mend
        );
        findings.push(Finding::note(TOPOLOGY, message, advice));
    }
    if settings.amqp.declare && !missing.is_empty() {
        let names = listed(missing.iter().copied());
        let message = format!("{} not declared yet; `run` does it: {names}", missing.len());
        findings.push(Finding::well(TOPOLOGY, message));
    } else {
        let absent = missing.into_iter().map(|it| {
            let message = format!("{} is missing, and amqp.declare = false", it.name);
            Finding::bad(TOPOLOGY, message).advise(&it.mend)
        });
        findings.extend(absent);
    }
    if findings.is_empty() {
        let count = expected(settings).queues.len();
        findings.push(Finding::well(
            TOPOLOGY,
            format!("all {count} queues are there, as they should be"),
        ));
    }
    findings
}

/// The patterns of a user's rights are set together.
fn permit(command: &str) -> String {
    format!(
        "give the user what a worker needs, in place of its rights in this virtual host: {command}"
    )
}

/// The first few names, and how many more there are.
fn listed<'a>(differences: impl ExactSizeIterator<Item = &'a Difference>) -> String {
    let more = differences.len().saturating_sub(TOLD);
    let names: Vec<_> = differences.take(TOLD).map(|it| it.name.as_str()).collect();
    let mut listed = names.join(", ");
    if more > 0 {
        let _ = write!(listed, " and {more} more");
    }
    listed
}

/// Whether the user may do the rest. To be asked where the broker accepts publishes.
pub async fn rights(
    settings: &Settings,
    reached: &Reached,
    is_there: impl Fn(&str) -> bool,
) -> Finding {
    let Reached { session, cures, .. } = reached;
    match expected(settings)
        .missing_right(session, cures, is_there)
        .await
    {
        Ok(None) => Finding::well("rights", "the user may publish and bind as a worker does"),
        Ok(Some(MissingRight { problem, mend })) => {
            Finding::bad("rights", problem).advise(permit(&mend))
        }
        Err(error) => Finding::bad("rights", error.to_string()),
    }
}
