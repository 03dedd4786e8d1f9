//! Whether the worker takes jobs: what `/readyz` says, and systemd's status line.

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
    providers: BTreeMap<String, String>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { not_ready: Some("starting".into()), providers: BTreeMap::new() })))
    }
}

impl Readiness {
    /// Connected and consuming.
    pub fn ready(&self) {
        self.state().not_ready = None;
        notify::status("connected and consuming");
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is ready, and all that there is to say of it.
    #[must_use]
    pub fn text(&self) -> (bool, String) {
        let state = self.state();
        let mut text = match &state.not_ready {
            None => "ready\n".to_owned(),
            Some(reason) => format!("not ready: {reason}\n"),
        };
        for (provider, trouble) in &state.providers {
            _ = writeln!(text, "provider {provider}: {trouble}");
        }
        (state.not_ready.is_none(), text)
    }
}
