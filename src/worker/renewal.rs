//! A configuration that was read again: what can change without losing a job is taken over, the rest is named.

use std::{collections::BTreeSet, convert::Infallible, rc::Rc};

use tokio::{sync::mpsc, task::spawn_local};

use super::Worker;
use crate::{
    broker::{QuotaLedgers, Session},
    config::QuotaLimit,
    engine::Engine,
    policy::quota::Terms,
    quota::{Ledger, is_common},
    settings::Settings,
    telemetry::{logs, notify},
};

/// The keys of `[amqp]` that count from the next connection on.
const OF_BROKER: [&str; 5] = [
    "amqp.url",
    "amqp.urls",
    "amqp.ca_file",
    "amqp.client_cert_file",
    "amqp.client_key_file",
];
/// The keys of a provider that count from the next request on, and all of `oauth`.
const OF_PROVIDER: [&str; 7] = [
    "token",
    "username",
    "password",
    "app_id",
    "ca_file",
    "client_cert_file",
    "client_key_file",
];
/// The keys of a provider's quota that count from then on.
const OF_QUOTA: [&str; 3] = ["quota.requests", "quota.per", "quota.reserve"];
/// Where one of these changed, the new secrets are not for the address that is asked until the restart.
const OF_IDENTITY: [&str; 3] = ["kind", "base_url", "descriptor"];

impl Worker {
    /// Takes over what comes, one after the other.
    pub(super) async fn renewals(
        self: &Rc<Self>,
        mut renewals: mpsc::Receiver<Settings>,
    ) -> Infallible {
        while let Some(settings) = renewals.recv().await {
            // Rare, and large: boxed.
            if let Err(problem) = Box::pin(self.renew(settings)).await {
                tracing::error!(
                    problem,
                    "the configuration that was read again is refused; the one before stays"
                );
            }
            notify::reloaded();
        }
        std::future::pending().await
    }

    /// All or nothing, but for quotas: where one cannot be changed now, its keys are named as those that need a
    /// restart. Requests on their way go on with what they carry.
    async fn renew(self: &Rc<Self>, new: Settings) -> Result<(), String> {
        let changed = self.in_effect.borrow().changed(&new.given);
        let of_provider = |key: &str, provider: &str| {
            key.strip_prefix("providers.")
                .and_then(|key| key.strip_prefix(provider)?.strip_prefix('.'))
                .map(str::to_owned)
        };
        let same = |provider: &&String| {
            let identity = OF_IDENTITY.map(|key| format!("providers.{provider}.{key}"));
            new.providers.contains_key(*provider)
                && !identity.iter().any(|key| changed.contains(key))
        };
        let mut applied: BTreeSet<&String> = changed
            .iter()
            .filter(|key| *key == "log.level" || OF_BROKER.contains(&key.as_str()))
            .collect();
        let mut renewed = Vec::new();
        for (name, engine) in self.engines.iter().filter(|(name, _)| same(name)) {
            let secrets = changed.iter().filter(|key| {
                of_provider(key, name)
                    .is_some_and(|key| OF_PROVIDER.contains(&&*key) || key.starts_with("oauth."))
            });
            let before = applied.len();
            applied.extend(secrets);
            let settings = &new.providers[name];
            let client = Engine::client(settings)?;
            renewed.push((
                engine,
                (applied.len() > before).then_some(&settings.credentials),
                client,
            ));
        }
        for (name, engine) in self.engines.iter().filter(|(name, _)| same(name)) {
            let keys: Vec<_> = changed
                .iter()
                .filter(|key| of_provider(key, name).is_some_and(|key| OF_QUOTA.contains(&&*key)))
                .collect();
            let limits = (engine.quota.limit(), &new.providers[name].quota);
            if let (false, (Some(old), Some(limit))) = (keys.is_empty(), limits)
                && old.scope == limit.scope
                && engine.settings.longer_quotas == new.providers[name].longer_quotas
                && self.change_quota(name, engine, &old, limit).await
            {
                applied.extend(keys);
            }
        }
        for (engine, credentials, client) in renewed {
            engine.renew(credentials.cloned(), client);
        }
        logs::set_level(new.log.level);
        *self.broker.borrow_mut() = new.amqp;
        let restart: Vec<&str> = changed
            .iter()
            .filter(|key| !applied.contains(key))
            .map(String::as_str)
            .collect();
        if !restart.is_empty() {
            tracing::warn!(
                keys = restart.join(", "),
                "changed, and counts from the next start only"
            );
        }
        let keys = applied
            .iter()
            .map(|key| key.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        if changed.is_empty() && keys.is_empty() {
            tracing::info!("the configuration was read again; nothing in it has changed");
        } else {
            tracing::info!(applied = keys, "the configuration was read again");
        }
        self.in_effect.borrow_mut().take_over(&new.given, applied);
        Ok(())
    }

    /// Another quota counts from now on, beside the old one at first; says whether it does.
    async fn change_quota(
        self: &Rc<Self>,
        name: &str,
        engine: &Engine,
        old: &QuotaLimit,
        limit: &QuotaLimit,
    ) -> bool {
        let quota = &engine.quota;
        if !is_common(limit) {
            quota.change(limit, None);
            return true;
        }
        let ledger = self.ledgers.borrow().get(name).cloned();
        let Some(ledger) = ledger else {
            tracing::warn!(
                provider = name,
                "the quota cannot be changed without a broker"
            );
            return false;
        };
        match ledger.change(Terms::of(limit)).await {
            Ok(next) => {
                quota.change(limit, Some(Rc::clone(&next) as Rc<dyn Ledger>));
                self.ledgers
                    .borrow_mut()
                    .insert(name.to_owned(), Rc::clone(&next));
                retire(self, &next.session(), name, next, Terms::of(old));
                true
            }
            Err(error) => {
                tracing::warn!(provider = name, %error, "the quota cannot be changed now");
                false
            }
        }
    }
}

/// Sees to the end of a quota that was changed.
pub(super) fn retire(
    worker: &Rc<Worker>,
    session: &Rc<Session>,
    name: &str,
    ledger: Rc<QuotaLedgers>,
    before: Terms,
) {
    let (worker, session, name) = (Rc::clone(worker), Rc::clone(session), name.to_owned());
    spawn_local(async move {
        let retired = tokio::select! {
            _ = session.health.ended() => return,
            retired = ledger.retire(&before) => retired,
        };
        match retired {
            Ok(()) => {
                worker.engines[&name].quota.is_changed();
                tracing::info!(
                    provider = name,
                    "the quota was changed: the new one counts alone"
                );
            }
            Err(error) => session.health.fail(error.to_string()),
        }
    });
}
