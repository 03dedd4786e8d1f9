//! Whether the worker takes jobs, and whether it ever will: what `/readyz` and `/livez` say, and systemd's status line.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::notify;
use crate::policy::lookup::Mode;

/// Whether the worker takes jobs, and if not, why not; and what is not well with single providers.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    not_ready: Option<Trouble>,
    paused: Option<Trouble>,
    stuck: Option<Trouble>,
    broker: Option<String>,
    providers: BTreeMap<String, Trouble>,
    remarks: BTreeMap<(String, Remark), Trouble>,
    lookups: BTreeMap<String, Stand>,
}

/// What is not well, and since when: also where its words have changed meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// In words.
    #[serde(rename = "trouble")]
    pub why: String,
    /// When it began.
    pub since: Timestamp,
}

impl Trouble {
    /// Which begins now.
    fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            since: Timestamp::now(),
        }
    }

    /// The same as before, told in these words; else it begins now.
    fn told(known: Option<&Self>, why: String) -> Self {
        match known {
            Some(Self { since, .. }) => Self { why, since: *since },
            None => Self::new(why),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}; since {:.0}", self.why, self.since)
    }
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
    /// Why the lookup is not well, if none of them is; since when the last of them is not.
    #[must_use]
    pub fn trouble(&self, troubled: &BTreeMap<String, Trouble>) -> Option<Trouble> {
        let of_each = self.providers.iter().map(|name| troubled.get(name));
        let all: Vec<_> = of_each.collect::<Option<_>>()?;
        let since = all.iter().map(|trouble| trouble.since).max()?;
        let who = match self.mode {
            Mode::Chain => "its first provider is not well",
            _ => "none of its providers is well",
        };
        let why = format!("{who}: {}", self.providers.join(", "));
        Some(Trouble { why, since })
    }
}

/// All of it at one moment, each with its reason.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Why it takes no jobs; none if it does.
    pub not_ready: Option<Trouble>,
    /// Why only a new process can help.
    pub stuck: Option<Trouble>,
    /// What is not well with single providers.
    pub providers: BTreeMap<String, Trouble>,
    /// What else there is to say of single providers, that are well.
    pub remarks: BTreeMap<(String, Remark), Trouble>,
    /// Each lookup.
    pub lookups: BTreeMap<String, Stand>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            not_ready: Some(Trouble::new("starting")),
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
        let paused = &mut self.state().paused;
        *paused = Some(Trouble::told(paused.as_ref(), reason));
    }

    /// Consuming goes on.
    pub fn resume(&self) {
        self.state().paused = None;
        notify::status("connected and consuming");
    }

    /// Why only a new process can help; none if it need not.
    pub fn stuck(&self, reason: Option<String>) {
        let stuck = &mut self.state().stuck;
        *stuck = reason.map(|reason| Trouble::told(stuck.as_ref(), reason));
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
        let not_ready = &mut self.state().not_ready;
        *not_ready = Some(Trouble::told(not_ready.as_ref(), reason));
    }

    /// Not any more: the process is to end.
    pub fn stopping(&self) {
        self.not_ready("stopping");
        notify::stopping();
    }

    /// What is not well with a provider; none if all is. The worker stays ready for the others.
    pub fn note(&self, provider: &str, trouble: Option<String>) {
        note(&mut self.state().providers, provider.to_owned(), trouble);
    }

    /// What there is to say of a provider that is well; none where there is nothing.
    pub fn remark(&self, provider: &str, remark: Remark, text: Option<String>) {
        note(
            &mut self.state().remarks,
            (provider.to_owned(), remark),
            text,
        );
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
        let trouble = known.cloned().or_else(of_lookup)?;
        Some(trouble.to_string())
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

/// What there is to say of this from now on, if there is anything.
fn note<K: Ord>(told: &mut BTreeMap<K, Trouble>, of: K, why: Option<String>) {
    match why {
        Some(why) => {
            let trouble = Trouble::told(told.get(&of), why);
            told.insert(of, trouble);
        }
        None => _ = told.remove(&of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_goes_on_in_other_words_and_begins_anew_after_its_end() {
        let readiness = Readiness::default();
        let since = |of: &str| readiness.standing().providers[of].since;
        readiness.note("a", Some("circuit open".into()));
        let begun = since("a");
        readiness.note("a", Some("half-open".into()));
        assert_eq!(since("a"), begun);
        assert_eq!(readiness.standing().providers["a"].why, "half-open");
        let (_, text) = readiness.text();
        assert!(
            text.contains(&format!("provider a: half-open; since {begun:.0}\n")),
            "{text}"
        );
        readiness.note("a", None);
        readiness.note("a", Some("circuit open".into()));
        assert!(since("a") > begun);

        readiness.remark("b", Remark::Held, Some("held".into()));
        readiness.remark("b", Remark::CallsWait, Some("calls wait".into()));
        let (_, text) = readiness.text();
        assert!(
            text.contains("provider b: held; since ") && text.contains("provider b: calls wait")
        );

        readiness.stands_with("both", Mode::First, ["a", "c"]);
        assert!(!readiness.text().1.contains("lookup both"));
        readiness.note("c", Some("paused".into()));
        let standing = readiness.standing();
        let both = standing.lookups["both"].trouble(&standing.providers);
        assert_eq!(both.map(|trouble| trouble.since), Some(since("c")));
    }
}
