//! Whether the worker takes jobs, and whether it ever will: what `/readyz` and `/livez` say, and systemd's status line.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::notify;

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
}

impl Default for Readiness {
    fn default() -> Self {
        let (not_ready, providers) = (Some("starting".into()), BTreeMap::new());
        Self(Arc::new(Mutex::new(State {
            not_ready,
            paused: None,
            stuck: None,
            broker: None,
            providers,
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
        }
    }

    /// Whether it is ready, and all that there is to say of it.
    #[must_use]
    pub fn text(&self) -> (bool, String) {
        let Standing {
            not_ready,
            providers,
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
        (not_ready.is_none(), text)
    }
}
