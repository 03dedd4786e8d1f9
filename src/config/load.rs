//! From file and environment to checked [`Settings`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use config::{Config, Environment, File, FileFormat, Map, Source, Value, ValueKind};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use url::{Host, Url};

use super::{
    AmqpSettings, Credentials, Given, ProviderSettings, RetrySettings, Settings, TracesSettings,
    WorkerSettings,
    problem::{self, Unknown},
    provider::{CommonKeys, QuotaScope},
};
use crate::{
    json::Malformed,
    provider::{Adapter, http::Version},
    tls::{TlsFiles, TlsProblem},
};

/// The keys whose value may stand in a file of its own, `KEY_file`.
const SECRET_KEYS: [&str; 5] = ["url", "token", "app_id", "client_secret", "headers"];

/// The configuration cannot be used. The message names the key, what came and what was expected.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ConfigError(String);

impl ConfigError {
    pub(crate) fn at(key: &str, problem: impl std::fmt::Display) -> Self {
        Self(format!("`{key}`: {problem}"))
    }

    pub(crate) fn below(path: &str, problem: Malformed) -> Self {
        let Malformed { path, problem } = problem.below(path);
        Self::at(&path, problem)
    }
}

/// Reads `file`, where one is given, and the environment over it.
///
/// # Errors
/// The first thing that is wrong, by its key.
pub fn load(file: Option<&Path>) -> Result<Settings, ConfigError> {
    let mut root = match file {
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| {
                ConfigError(format!(
                    "the file {} cannot be read: {error}",
                    path.display()
                ))
            })?;
            table(
                File::from_str(&text, FileFormat::Toml),
                &format!("{}: ", path.display()),
            )?
        }
        None => Map::new(),
    };
    let environment = Environment::with_prefix("LOOKUP")
        .prefix_separator("__")
        .separator("__");
    put_over(&mut root, table(environment, "")?);

    let given = Given::of(&root);
    let worker: WorkerSettings = section(&mut root, "worker")?;
    let amqp: AmqpSettings = section(&mut root, "amqp")?;
    if amqp.url.is_some() && !amqp.urls.is_empty() {
        return Err(ConfigError::at(
            "amqp.urls",
            "`amqp.url` is given too; expected one of them",
        ));
    }
    tls_to_broker(&amqp)?;
    let traces: TracesSettings = section(&mut root, "traces")?;
    traces_to_collector(&traces)?;
    let retry_table = root.get("retry").cloned();
    let settings = Settings {
        http: section(&mut root, "http")?,
        log: section(&mut root, "log")?,
        traces,
        reply: section(&mut root, "reply")?,
        retry: section(&mut root, "retry")?,
        providers: providers(root.remove("providers"), retry_table.as_ref(), &worker)?,
        worker,
        amqp,
        given,
    };
    if let Some(unknown) = root.keys().min() {
        let expected = "expected amqp, worker, http, log, traces, retry, reply or providers";
        return Err(ConfigError::at(
            unknown,
            format_args!("unknown key; {expected}"),
        ));
    }
    Ok(settings)
}

/// One source's keys, each `KEY_file` replaced by what the file holds.
fn table(
    source: impl Source + Send + Sync + 'static,
    name: &str,
) -> Result<Map<String, Value>, ConfigError> {
    let read = Config::builder().add_source(source).build();
    let read =
        read.map_err(|error| ConfigError(format!("{name}{}", problem::of_syntax(&error))))?;
    let mut table = read
        .cache
        .into_table()
        .map_err(|error| ConfigError(error.to_string()))?;
    read_secret_files("", &mut table)?;
    Ok(table)
}

/// Lays one source over another, key by key.
fn put_over(base: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(&key).map(|value| &mut value.kind), value.kind) {
            (Some(ValueKind::Table(base)), ValueKind::Table(over)) => put_over(base, over),
            (_, kind) => _ = base.insert(key, Value::new(None, kind)),
        }
    }
}

fn section<T: DeserializeOwned + Default>(
    root: &mut Map<String, Value>,
    name: &str,
) -> Result<T, ConfigError> {
    root.remove(name).map_or_else(
        || Ok(T::default()),
        |value| read(name, value).map(|(section, _)| section),
    )
}

/// The value as a `T`, and the keys that `T` does not know.
pub(crate) fn read<T: DeserializeOwned>(
    path: &str,
    value: Value,
) -> Result<(T, Unknown), ConfigError> {
    let mut unknown = Unknown {
        keys: BTreeSet::new(),
        known: problem::fields_of::<T>(),
    };
    let mut note = |ignored: serde_ignored::Path| {
        unknown.keys.insert(format!("{path}.{ignored}"));
    };
    let value =
        serde_path_to_error::deserialize(serde_ignored::Deserializer::new(value, &mut note));
    value.map(|value| (value, unknown)).map_err(|error| {
        let inner = error.path().to_string();
        let key = if inner == "." {
            path.to_owned()
        } else {
            format!("{path}.{inner}")
        };
        match problem::of_value(error.inner()) {
            (Some(below), problem) => ConfigError::at(&format!("{key}.{below}"), problem),
            (None, problem) => ConfigError::at(&key, problem),
        }
    })
}

fn providers(
    value: Option<Value>,
    retry: Option<&Value>,
    worker: &WorkerSettings,
) -> Result<BTreeMap<String, ProviderSettings>, ConfigError> {
    let Some(value) = value else {
        return Ok(BTreeMap::new());
    };
    let table = value
        .into_table()
        .map_err(|_| ConfigError::at("providers", "expected one table for each provider"))?;
    let provider = |(name, value): (String, Value)| {
        provider(&name, value, retry, worker).map(|provider| (name, provider))
    };
    table
        .into_iter()
        .collect::<BTreeMap<_, _>>()
        .into_iter()
        .map(provider)
        .collect()
}

fn provider(
    name: &str,
    value: Value,
    retry: Option<&Value>,
    worker: &WorkerSettings,
) -> Result<ProviderSettings, ConfigError> {
    let path = format!("providers.{name}");
    let legal = name.len() <= 64
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if !legal || name.is_empty() {
        let expected = "a provider's name stands in routing keys; expected 1 to 64 letters, digits, '_' or '-'";
        return Err(ConfigError::at(&path, expected));
    }
    let mut table = value
        .into_table()
        .map_err(|_| ConfigError::at(&path, "expected a table"))?;
    let retry = retry_of(&path, retry, table.remove("retry"))?;
    let table = Value::new(None, ValueKind::Table(table));

    let (common, unknown_to_all): (CommonKeys, _) = read(&path, table.clone())?;
    let (adapter, credentials, unknown_to_kind) =
        Adapter::configure(&path, &common.kind, &common.base_url, table)?;
    if let Some(key) = unknown_to_all
        .keys
        .intersection(&unknown_to_kind.keys)
        .next()
    {
        let known = [unknown_to_all.known, unknown_to_kind.known, &["retry"]]
            .concat()
            .join(", ");
        return Err(ConfigError::at(
            key,
            format_args!(
                "unknown key for kind {}, expected one of {known}",
                common.kind
            ),
        ));
    }
    https_or_local(
        &format!("{path}.base_url"),
        &common.base_url,
        common.allow_insecure_http,
    )?;
    if let Credentials::OAuth(oauth) = &credentials {
        https_or_local(
            &format!("{path}.oauth.token_url"),
            &oauth.token_url,
            common.allow_insecure_http,
        )?;
    }
    let CommonKeys {
        ca_file,
        client_cert_file,
        client_key_file,
        ..
    } = common;
    let tls = TlsFiles {
        ca_file,
        client_cert_file,
        client_key_file,
    };
    usable(&path, &tls)?;
    let quota = common
        .quota
        .limit(adapter.default_quota())
        .map_err(|problem| ConfigError::below(&path, problem))?;
    let shared = quota
        .as_ref()
        .is_some_and(|limit| limit.scope == QuotaScope::Broker);
    if shared && common.http == Version::Two {
        let expected = "got \"2\" beside a quota of all workers together, which is kept to the request over HTTP/1.1 alone; \
                        expected \"auto\", \"1.1\", or quota = { …, scope = \"worker\" }";
        return Err(ConfigError::at(&format!("{path}.http"), expected));
    }
    if let Some(proxy) = &common.proxy
        && !(matches!(proxy.scheme(), "http" | "https") && proxy.username().is_empty())
    {
        let expected =
            "expected an address such as \"http://proxy.example.com:3128\", without a user";
        return Err(ConfigError::at(&format!("{path}.proxy"), expected));
    }
    Ok(ProviderSettings {
        name: name.into(),
        adapter,
        base_url: common.base_url,
        credentials,
        timeout: common.timeout,
        concurrency: common.concurrency.unwrap_or(worker.concurrency),
        quota,
        breaker: common.breaker,
        max_pause: common.max_pause,
        auth_failure_limit: common.auth_failure_limit,
        cache: common.cache,
        max_response_bytes: common.max_response_bytes,
        retry,
        tls,
        connect_timeout: common.connect_timeout,
        http: common.http,
        proxy: common.proxy,
    })
}

/// The provider's own `retry` over `[retry]`, key by key.
fn retry_of(
    path: &str,
    all: Option<&Value>,
    own: Option<Value>,
) -> Result<RetrySettings, ConfigError> {
    let path = format!("{path}.retry");
    let table = |value: Value| {
        value
            .into_table()
            .map_err(|_| ConfigError::at(&path, "expected a table"))
    };
    let mut merged = all.cloned().map(table).transpose()?.unwrap_or_default();
    merged.extend(own.map(table).transpose()?.unwrap_or_default());
    read(&path, Value::new(None, ValueKind::Table(merged))).map(|(retry, _)| retry)
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

fn usable(path: &str, tls: &TlsFiles) -> Result<(), ConfigError> {
    let checked = tls.read().map(drop);
    checked
        .map_err(|TlsProblem { key, problem }| ConfigError::at(&format!("{path}.{key}"), problem))
}

/// A token must not cross a network in clear.
fn https_or_local(key: &str, url: &Url, allowed: bool) -> Result<(), ConfigError> {
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if local || allowed => Ok(()),
        "http" => Err(ConfigError::at(
            key,
            "an http:// address would send the token in clear; expected https://, a loopback host, \
             or allow_insecure_http = true",
        )),
        other => Err(ConfigError::at(
            key,
            format_args!("expected an https:// address, its scheme is {other:?}"),
        )),
    }
}

/// Puts each file's text in the place of its `KEY_file`.
fn read_secret_files(path: &str, table: &mut Map<String, Value>) -> Result<(), ConfigError> {
    for key in SECRET_KEYS {
        let file_key = format!("{key}_file");
        let Some(value) = table.remove(&file_key) else {
            continue;
        };
        let full = format!("{path}{file_key}");
        if table.contains_key(key) {
            return Err(ConfigError::at(
                &full,
                format_args!("`{path}{key}` is given too; expected one of them"),
            ));
        }
        let file = PathBuf::from(
            value
                .into_string()
                .map_err(|_| ConfigError::at(&full, "expected a file's path"))?,
        );
        let text = fs::read_to_string(&file).map_err(|error| {
            ConfigError::at(
                &full,
                format_args!("{} cannot be read: {error}", file.display()),
            )
        })?;
        table.insert(key.into(), Value::from(text.trim_end_matches(['\r', '\n'])));
    }
    for (key, value) in table.iter_mut() {
        if let ValueKind::Table(inner) = &mut value.kind {
            read_secret_files(&format!("{path}{key}."), inner)?;
        }
    }
    Ok(())
}
