//! A configuration that was read again: what can change without losing a job is taken over, the rest is named.

use std::{collections::BTreeSet, convert::Infallible};

use tokio::sync::mpsc;

use super::Worker;
use crate::{
    config::Settings,
    engine::Engine,
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
const OF_PROVIDER: [&str; 5] = [
    "token",
    "app_id",
    "ca_file",
    "client_cert_file",
    "client_key_file",
];
/// Where one of these changed, the new secrets are not for the address that is asked until the restart.
const OF_IDENTITY: [&str; 2] = ["kind", "base_url"];

impl Worker {
    /// Takes over what comes, one after the other.
    pub(super) async fn renewals(&self, mut renewals: mpsc::Receiver<Settings>) -> Infallible {
        while let Some(settings) = renewals.recv().await {
            if let Err(problem) = self.renew(settings) {
                tracing::error!(
                    problem,
                    "the configuration that was read again is refused; the one before stays"
                );
            }
            notify::reloaded();
        }
        std::future::pending().await
    }

    /// All or nothing. Requests on their way go on with what they carry.
    fn renew(&self, new: Settings) -> Result<(), String> {
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
        for (name, provider) in self.providers.iter().filter(|(name, _)| same(name)) {
            let secrets = changed.iter().filter(|key| {
                of_provider(key, name)
                    .is_some_and(|key| OF_PROVIDER.contains(&&*key) || key.starts_with("oauth."))
            });
            let before = applied.len();
            applied.extend(secrets);
            let settings = &new.providers[name];
            let client = Engine::client(settings)?;
            renewed.push((
                provider,
                (applied.len() > before).then_some(&settings.credentials),
                client,
            ));
        }
        for (provider, credentials, client) in renewed {
            provider.engine.renew(credentials.cloned(), client);
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
        tracing::info!(applied = keys, "the configuration was read again");
        self.in_effect.borrow_mut().take_over(&new.given, applied);
        Ok(())
    }
}
