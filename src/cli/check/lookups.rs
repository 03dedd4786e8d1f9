//! What a job of a lookup costs of each provider's quota, and what of it is seldom meant.

use std::collections::BTreeSet;

use super::finding::Finding;
use crate::{
    lookups::settings::{LookupSettings, StepSettings},
    policy::lookup::Mode,
    settings::Settings,
};

/// A line each, and more where there is something to note.
pub fn findings(settings: &Settings) -> Vec<Finding> {
    let of = |lookup: &LookupSettings| {
        let cost = cost(lookup, &|step| priced(settings, step));
        let message = format!("{}: a job costs {cost}", lookup.mode.as_str());
        let mut findings = vec![Finding::well(check(lookup), message)];
        findings.extend(late(settings, lookup));
        findings.extend(unmet(settings, lookup));
        findings
    };
    settings.lookups.values().flat_map(of).collect()
}

fn check(lookup: &LookupSettings) -> String {
    format!("lookup {}", lookup.name)
}

/// The providers that may take longer than a call has.
fn late(settings: &Settings, lookup: &LookupSettings) -> Option<Finding> {
    let deadline = lookup.deadline?;
    let names: BTreeSet<&String> = lookup.steps.iter().map(|step| &step.provider).collect();
    let providers = names
        .into_iter()
        .filter_map(|name| settings.providers.get(name));
    let late = providers.filter(|provider| provider.timeout > deadline);
    let told = late.map(|provider| {
        let timeout = humantime::format_duration(provider.timeout);
        format!("{} may take {timeout}", provider.name)
    });
    let told: Vec<String> = told.collect();
    let meant = match lookup.mode {
        _ if told.is_empty() => return None,
        Mode::First if lookup.steps.len() > 1 => "calls go on to the next after their share",
        Mode::Race | Mode::Merge => "calls are answered without those that are late",
        Mode::First | Mode::Chain => "calls are answered by their deadline with what is known",
    };
    let deadline = humantime::format_duration(deadline);
    let message = format!("{} of a call's {deadline}", told.join(" and "));
    Some(Finding::note(check(lookup), message, meant))
}

/// What is wanted of a provider that never has it.
fn unmet(settings: &Settings, lookup: &LookupSettings) -> Vec<Finding> {
    let of = |step: &StepSettings| {
        let filled = settings.providers.get(&step.provider)?.adapter.fills();
        let wanted = step.wanted.iter().map(|field| field.as_str());
        let unmet: Vec<&str> = wanted.filter(|field| !filled.contains(field)).collect();
        let message = format!(
            "{} never fills {}, which is wanted of it",
            step.provider,
            unmet.join(" and ")
        );
        let advice = "nobody whom it finds ends the search; leave that out of the step's wanted, or the step last";
        (!unmet.is_empty()).then(|| Finding::note(check(lookup), message, advice))
    };
    lookup.steps.iter().filter_map(of).collect()
}

/// In words; retries are not counted.
fn cost(lookup: &LookupSettings, priced: &dyn Fn(&StepSettings) -> String) -> String {
    let steps: Vec<String> = lookup.steps.iter().map(priced).collect();
    match lookup.mode {
        _ if steps.len() == 1 => format!("1 request of {}", steps[0]),
        Mode::First => format!(
            "1 request of {}, and 1 more of the next, of {}, until one finds",
            steps[0],
            steps[1..].join(", of ")
        ),
        Mode::Race | Mode::Merge => format!("1 request each of {}", steps.join(" and of ")),
        Mode::Chain => {
            let later = lookup.steps.iter().zip(&steps).skip(1);
            let later = later.map(|(step, priced)| format!("up to {} of {priced}", step.fan_out));
            let later: Vec<String> = later.collect();
            format!("1 request of {}, {}", steps[0], later.join(", "))
        }
    }
}

/// A step's provider with its quota.
fn priced(settings: &Settings, step: &StepSettings) -> String {
    let name = &step.provider;
    match settings
        .providers
        .get(name)
        .and_then(|it| it.quota.as_ref())
    {
        Some(limit) => {
            let per = humantime::format_duration(limit.per);
            format!("{name} ({} per {per})", limit.requests)
        }
        None => format!("{name} (no quota)"),
    }
}
