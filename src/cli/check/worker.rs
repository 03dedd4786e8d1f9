//! The worker that runs here by this configuration: what it says of itself and of each provider.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::finding::Finding;
use crate::{
    cli::health,
    dead_letter::replay,
    failure::ErrorKind,
    lane::Lane,
    settings::Settings,
    telemetry::{metrics::Run, readiness::Trouble, status::State},
};

/// What is read of `/status.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    ready: bool,
    #[serde(flatten)]
    trouble: Option<Trouble>,
    #[serde(default)]
    providers: BTreeMap<String, Provider>,
}

#[derive(Debug, Deserialize)]
struct Provider {
    state: State,
    #[serde(flatten)]
    trouble: Option<Trouble>,
    #[serde(default)]
    failing: BTreeMap<String, Run>,
    #[serde(default)]
    held: BTreeMap<Lane, usize>,
    #[serde(default)]
    quota: Quota,
    /// By error, since the worker's start.
    #[serde(default)]
    dead_letters: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Deserialize)]
struct Quota {
    #[serde(default)]
    remaining: Option<u64>,
    #[serde(default)]
    held: Option<Trouble>,
    #[serde(default)]
    calls_wait: Option<Trouble>,
}

impl Status {
    /// Whether the worker leaves a provider alone, which a line of its own tells.
    pub fn leaves_alone(&self, provider: &str) -> bool {
        let state = self.providers.get(provider).map(|provider| provider.state);
        matches!(state, Some(State::CircuitOpen | State::Paused))
    }

    /// What sends back the jobs that this worker answered since its start with a refusal of the credentials, a command
    /// for each provider that is asked again.
    pub fn replays(&self) -> Vec<String> {
        let is_well =
            |provider: &Provider| provider.trouble.is_none() && provider.failing.is_empty();
        let of = |(name, provider): (&String, &Provider)| {
            let errors = provider.dead_letters.keys().map(String::as_str);
            let mut errors = errors
                .filter(|error| ErrorKind::is_of_credentials(error))
                .peekable();
            errors.peek()?;
            is_well(provider).then(|| replay(name, errors))
        };
        self.providers.iter().filter_map(of).collect()
    }

    /// Jobs of a provider that wait in its hands, by lane.
    pub fn held(&self, provider: &str) -> Option<[usize; 2]> {
        let held = &self.providers.get(provider)?.held;
        Some(Lane::ALL.map(|lane| held.get(&lane).copied().unwrap_or_default()))
    }
}

/// What the worker that runs here says, if one does. Workers on other machines are asked there.
pub async fn status(settings: &Settings) -> Option<Status> {
    let answer = health::ask(settings.http.listen, "status.json")
        .await
        .ok()?;
    serde_json::from_slice(answer.body()).ok()
}

/// A line for the worker, and one for each provider that is not well there.
pub fn findings(settings: &Settings, status: Option<Status>) -> Vec<Finding> {
    let listen = settings.http.listen;
    let Some(status) = status else {
        let message = format!(
            "none answers on {listen} (http.listen): how providers stand with it and what it holds is not known"
        );
        return vec![Finding::well("worker", message)];
    };
    let worker = match status.trouble {
        None if status.ready => Finding::well("worker", format!("ready, on {listen}")),
        trouble => {
            let why = trouble.map_or_else(
                || "it does not say why".to_owned(),
                |trouble| trouble.to_string(),
            );
            Finding::bad("worker", format!("on {listen}: not ready: {why}"))
                .advise("its log tells more")
        }
    };
    let strange = settings.providers.keys();
    let strange = strange.filter(|name| !status.providers.contains_key(*name));
    let strange: Vec<_> = strange
        .map(|name| {
            let message =
                format!("the worker on {listen} does not know it, and takes none of its jobs");
            Finding::bad(format!("state {name}"), message)
                .advise("it was started by a configuration without it: restart it")
        })
        .collect();
    let known = |(name, _): &(String, Provider)| settings.providers.contains_key(name);
    let providers = status.providers.into_iter().filter(known);
    let told = providers.flat_map(|(name, provider)| {
        let (calls, count) = (calls(&name, &provider.quota), count(&name, &provider.quota));
        let failing = failing(&name, &provider);
        [state(&name, provider), failing, calls, count]
    });
    let told = strange.into_iter().chain(told.flatten());
    [worker].into_iter().chain(told).collect()
}

/// What fails at a provider that is asked; where it is not, its state tells why.
fn failing(name: &str, provider: &Provider) -> Option<Finding> {
    if provider.trouble.is_some() || provider.failing.is_empty() {
        return None;
    }
    let told = |(class, run): (&String, &Run)| {
        let Run {
            count, since, last, ..
        } = run;
        format!("{class}, {count} since {since:.0}, the last {last:.0}")
    };
    let told: Vec<_> = provider.failing.iter().map(told).collect();
    let message = format!("requests fail: {}", told.join("; "));
    let is_refused = |class: &String| ErrorKind::is_of_credentials(class);
    let advice = if provider.failing.keys().any(is_refused) {
        "mend the credentials, then SIGHUP has them tried; the first request that they let in ends it"
    } else {
        "it ends by itself once requests are answered; lookup_provider_requests_total by outcome tells how many are"
    };
    Some(Finding::note(format!("failing {name}"), message, advice))
}

/// Whether its calls wait for the quota longer than they should.
fn calls(name: &str, quota: &Quota) -> Option<Finding> {
    let wait = quota.calls_wait.as_ref()?;
    let wait = Finding::bad(format!("calls {name}"), wait.to_string());
    Some(wait.advise(format!(
        "providers.{name}.quota may be as much as the provider allows, and is read again at SIGHUP; what need not be answered \
         at once goes by {name}.bulk"
    )))
}

/// What the provider's answers say is left, where they say so.
fn count(name: &str, quota: &Quota) -> Option<Finding> {
    let check = format!("count {name}");
    if let Some(held) = &quota.held {
        return Some(Finding::note(
            check,
            held.to_string(),
            format!(
                "who else uses the token? If nobody does, lower providers.{name}.quota to what the provider allows; \
                 where its headers mean something else, providers.{name}.count = \"none\" passes them over"
            ),
        ));
    }
    let left = quota.remaining?;
    Some(Finding::well(
        check,
        format!("its answers say that {left} requests are left"),
    ))
}

/// What is not well with a provider, and what to do.
fn state(name: &str, provider: Provider) -> Option<Finding> {
    let (check, trouble) = (format!("state {name}"), provider.trouble?.to_string());
    Some(match provider.state {
        State::CircuitOpen => Finding::bad(check, trouble).advise(format!(
            "it is probed by itself until it answers. Refused credentials are yours to mend, and SIGHUP then has them tried at \
             once; the rest is the provider's. `lookup-worker lookup {name} --query …` tries it now"
        )),
        State::Paused => Finding::bad(check, trouble)
            .advise(format!("`lookup-worker resume {name}` ends it")),
        State::Ready | State::HalfOpen => {
            Finding::note(check, trouble, "nothing to do: the next job shows whether it is well")
        }
    })
}
