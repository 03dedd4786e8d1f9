//! Whether the worker takes jobs, and whether it ever will: what `/readyz` and `/livez` say, and systemd's status line.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::notify;
use crate::policy::lookup::Mode;

/// Whether the worker takes jobs, and if not, why not; and what is not well with single providers.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    not_ready: Option<String>,
    paused: Option<String>,
    stuck: Option<String>,
    broker: Option<String>,
    providers: BTreeMap<String, String>,
    remarks: BTreeMap<(String, Remark), String>,
    lookups: BTreeMap<String, Stand>,
}

/// What may be to say of a provider that is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remark {
    /// Its own count holds requests back.
    Held,
    /// Calls wait for its quota longer than they should.
    CallsWait,
}

/// With which providers a lookup stands and falls.
#[derive(Debug, Clone)]
pub struct Stand {
    mode: Mode,
    /// It is as well as the best of them.
    pub providers: Vec<String>,
}

impl Stand {
    /// Why the lookup is not well, if none of them is.
    #[must_use]
    pub fn trouble(&self, troubled: &BTreeMap<String, String>) -> Option<String> {
        let is_troubled = |name: &String| troubled.contains_key(name);
        self.providers.iter().all(is_troubled).then(|| {
            let who = match self.mode {
                Mode::Chain => "its first provider is not well",
                _ => "none of its providers is well",
            };
            format!("{who}: {}", self.providers.join(", "))
        })
    }
}

/// All of it at one moment, each with its reason.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Why it takes no jobs; none if it does.
    pub not_ready: Option<String>,
    /// Why only a new process can help.
    pub stuck: Option<String>,
    /// What is not well with single providers.
    pub providers: BTreeMap<String, String>,
    /// What else there is to say of single providers, that are well.
    pub remarks: BTreeMap<(String, Remark), String>,
    /// Each lookup.
    pub lookups: BTreeMap<String, Stand>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            not_ready: Some("starting".into()),
            paused: None,
            stuck: None,
            broker: None,
            providers: BTreeMap::new(),
            remarks: BTreeMap::new(),
            lookups: BTreeMap::new(),
        })))
    }
}

impl Readiness {
    /// Connected and consuming.
    pub fn ready(&self) {
        {
            let mut state = self.state();
            (state.not_ready, state.paused) = (None, None);
        }
        notify::status("connected and consuming");
    }

    /// Connected, but consuming pauses for this reason.
    pub fn pause(&self, reason: impl Into<String>) {
        let reason = reason.into();
        notify::status(&reason);
        self.state().paused = Some(reason);
    }

    /// Consuming goes on.
    pub fn resume(&self) {
        self.state().paused = None;
        notify::status("connected and consuming");
    }

    /// Why only a new process can help; none if it need not.
    pub fn stuck(&self, reason: Option<String>) {
        self.state().stuck = reason;
    }

    /// Whether the process should go on, and what there is to say of it.
    #[must_use]
    pub fn live(&self) -> (bool, String) {
        match &self.state().stuck {
            None => (true, "live\n".to_owned()),
            Some(reason) => (false, format!("not live: {reason}\n")),
        }
    }

    /// Not so, for this reason.
    pub fn not_ready(&self, reason: impl Into<String>) {
        let reason = reason.into();
        notify::status(&reason);
        self.state().not_ready = Some(reason);
    }

    /// Not any more: the process is to end.
    pub fn stopping(&self) {
        self.not_ready("stopping");
        notify::stopping();
    }

    /// What is not well with a provider; none if all is. The worker stays ready for the others.
    pub fn note(&self, provider: &str, trouble: Option<String>) {
        let providers = &mut self.state().providers;
        match trouble {
            Some(trouble) => providers.insert(provider.to_owned(), trouble),
            None => providers.remove(provider),
        };
    }

    /// What there is to say of a provider that is well; none where there is nothing.
    pub fn remark(&self, provider: &str, remark: Remark, text: Option<String>) {
        let (remarks, key) = (&mut self.state().remarks, (provider.to_owned(), remark));
        match text {
            Some(text) => remarks.insert(key, text),
            None => remarks.remove(&key),
        };
    }

    /// What is not well with a provider, or with all that a lookup asks.
    #[must_use]
    pub fn trouble_of(&self, name: &str) -> Option<String> {
        let state = self.state();
        let of_lookup = || state.lookups.get(name)?.trouble(&state.providers);
        let remark = |remark| state.remarks.get(&(name.to_owned(), remark));
        let known = state.providers.get(name);
        let known = known
            .or_else(|| remark(Remark::Held))
            .or_else(|| remark(Remark::CallsWait));
        known.cloned().or_else(of_lookup)
    }

    /// A lookup's steps ask these providers: a chain is nothing without its first, the others go on with any.
    pub fn stands_with<'a>(
        &self,
        lookup: &str,
        mode: Mode,
        steps: impl IntoIterator<Item = &'a str>,
    ) {
        let counting = if mode == Mode::Chain { 1 } else { usize::MAX };
        let mut providers: Vec<String> = Vec::new();
        for provider in steps.into_iter().take(counting) {
            if !providers.iter().any(|known| known == provider) {
                providers.push(provider.to_owned());
            }
        }
        let stand = Stand { mode, providers };
        self.state().lookups.insert(lookup.to_owned(), stand);
    }

    /// What of the broker's settings costs something, and what would be better.
    pub fn note_broker(&self, trouble: impl Into<String>) {
        self.state().broker = Some(trouble.into());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let state = self.state();
        Standing {
            not_ready: state.not_ready.clone().or_else(|| state.paused.clone()),
            stuck: state.stuck.clone(),
            providers: state.providers.clone(),
            remarks: state.remarks.clone(),
            lookups: state.lookups.clone(),
        }
    }

    /// Whether it is ready, and all that there is to say of it.
    #[must_use]
    pub fn text(&self) -> (bool, String) {
        let Standing {
            not_ready,
            providers,
            remarks,
            lookups,
            ..
        } = self.standing();
        let mut text = match &not_ready {
            None => "ready\n".to_owned(),
            Some(reason) => format!("not ready: {reason}\n"),
        };
        if let Some(trouble) = &self.state().broker {
            _ = writeln!(text, "broker: {trouble}");
        }
        for (provider, trouble) in &providers {
            _ = writeln!(text, "provider {provider}: {trouble}");
        }
        for ((provider, _), remark) in &remarks {
            _ = writeln!(text, "provider {provider}: {remark}");
        }
        for (lookup, stand) in &lookups {
            if let Some(trouble) = stand.trouble(&providers) {
                _ = writeln!(text, "lookup {lookup}: {trouble}");
            }
        }
        (not_ready.is_none(), text)
    }
}
