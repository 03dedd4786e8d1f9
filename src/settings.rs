//! The whole configuration: from a file (`--config FILE`) and `LOOKUP__SECTION__KEY` variables over it to checked
//! [`Settings`], before anything is connected. Every error names the key, what came and what was expected.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::{Path, PathBuf},
};

use secrecy::ExposeSecret;

use crate::{
    config::{
        AmqpSettings, ConfigError, Given, HttpSettings, LogSettings, ReplySettings, RetrySettings,
        Sources, TracesSettings, WorkerSettings, https_or_local, names_in, read, section, usable,
    },
    lookups::settings::{Known, LookupSettings, lookups},
    provider::settings::{ProviderSettings, Shared, providers},
};

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[amqp]`
    pub amqp: AmqpSettings,
    /// `[worker]`
    pub worker: WorkerSettings,
    /// `[http]`
    pub http: HttpSettings,
    /// `[log]`
    pub log: LogSettings,
    /// `[traces]`
    pub traces: TracesSettings,
    /// `[reply]`
    pub reply: ReplySettings,
    /// `[retry]`, as far as the delay queues are concerned; what a provider retries by is its own copy.
    pub retry: RetrySettings,
    /// `[providers.NAME]`, by name.
    pub providers: BTreeMap<String, ProviderSettings>,
    /// `[lookups.NAME]`, by name.
    pub lookups: BTreeMap<String, LookupSettings>,
    /// Which keys were given, so that a later reading can be held against them.
    pub given: Given,
}

/// Reads `file`, where one is given, and the environment over it.
///
/// # Errors
/// All that is wrong, as far as it can be told at once, by its keys.
pub fn load(file: Option<&Path>) -> Result<Settings, ConfigError> {
    let Sources {
        mut root,
        files,
        mut mistakes,
    } = Sources::read(file)?;
    let given = Given::of(&root);
    let folder = file
        .and_then(Path::parent)
        .unwrap_or(Path::new(""))
        .to_owned();
    let worker: WorkerSettings = section(&mut root, "worker", &mut mistakes);
    let amqp: AmqpSettings = section(&mut root, "amqp", &mut mistakes);
    mistakes.note(one_broker(&amqp));
    mistakes.note(an_address_for_each_ledger(&amqp));
    mistakes.note(tls_to_broker(&amqp));
    let traces: TracesSettings = section(&mut root, "traces", &mut mistakes);
    mistakes.note(traces_to_collector(&traces));
    let retry_table = root.get("retry").cloned();
    let retry = section(&mut root, "retry", &mut mistakes);
    let shared = Shared {
        retry: retry_table.filter(|table| read::<RetrySettings>("retry", table.clone()).0.is_ok()),
        worker,
        files,
        kept: env::var_os("STATE_DIRECTORY").map_or_else(|| folder.clone(), PathBuf::from),
        folder,
    };
    let table = root.remove("providers");
    let named = names_in(table.as_ref());
    let providers = providers(table, &shared, &mut mistakes);
    let known = Known {
        providers: &providers,
        named,
    };
    let settings = Settings {
        lookups: lookups(root.remove("lookups"), &known, &mut mistakes),
        http: section(&mut root, "http", &mut mistakes),
        log: section(&mut root, "log", &mut mistakes),
        traces,
        reply: section(&mut root, "reply", &mut mistakes),
        retry,
        providers,
        worker: shared.worker,
        amqp,
        given,
    };
    for unknown in root.keys().collect::<BTreeSet<_>>() {
        let expected =
            "expected amqp, worker, http, log, traces, retry, reply, providers or lookups";
        mistakes.add(unknown, format_args!("unknown key; {expected}"));
    }
    mistakes.none().map(|()| settings)
}

fn one_broker(amqp: &AmqpSettings) -> Result<(), ConfigError> {
    if amqp.url.is_some() && !amqp.urls.is_empty() {
        let problem = "`amqp.url` is given too; expected one of them";
        return Err(ConfigError::at("amqp.urls", problem));
    }
    Ok(())
}

/// By each address a ledger is declared on the node that it is of.
fn an_address_for_each_ledger(amqp: &AmqpSettings) -> Result<(), ConfigError> {
    let (ledgers, addresses) = (amqp.quota_ledgers, amqp.addresses().len());
    if ledgers as usize > addresses {
        let problem = format!(
            "{ledgers} ledgers; expected no more than there are addresses in `amqp.urls`, which is {addresses}: each \
             ledger is declared by way of a node's own"
        );
        return Err(ConfigError::at("amqp.quota_ledgers", problem));
    }
    Ok(())
}

/// What is meant to be encrypted must not go in clear by a mistake in the address.
fn tls_to_broker(amqp: &AmqpSettings) -> Result<(), ConfigError> {
    let tls = amqp.tls();
    usable("amqp", &tls)?;
    let encrypted = amqp
        .addresses()
        .iter()
        .any(|address| address.expose_secret().starts_with("amqps:"));
    if tls.is_empty() || encrypted {
        return Ok(());
    }
    let key = if tls.ca_file.is_some() {
        "amqp.ca_file"
    } else {
        "amqp.client_cert_file"
    };
    Err(ConfigError::at(
        key,
        "is of no use: the broker's address begins with amqp://, expected amqps://",
    ))
}

/// Spans may go in clear, a token may not.
fn traces_to_collector(traces: &TracesSettings) -> Result<(), ConfigError> {
    let Some(endpoint) = &traces.endpoint else {
        return Ok(());
    };
    https_or_local("traces.endpoint", endpoint, traces.headers.is_empty())
}
