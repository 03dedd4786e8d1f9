//! From file and environment to checked [`Settings`].

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use config::{Config, Environment, File, FileFormat, Map, Source, Value, ValueKind};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use url::{Host, Url};

use super::{
    AmqpSettings, ConfigError, Credentials, Given, ProviderSettings, RetrySettings, Settings,
    TracesSettings, WorkerSettings, environment,
    mistake::Mistakes,
    problem::{self, Unknown},
    provider::{CommonKeys, QuotaLimit, QuotaScope},
    secret::SecretFiles,
};
use crate::{
    provider::{Adapter, http::Version},
    tls::{TlsFiles, TlsProblem},
};

/// Reads `file`, where one is given, and the environment over it.
///
/// # Errors
/// All that is wrong, as far as it can be told at once, by its keys.
pub fn load(file: Option<&Path>) -> Result<Settings, ConfigError> {
    let mut files = SecretFiles::default();
    let mut root = match file {
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| {
                let path = path.display();
                ConfigError::of_source(format!("the file {path} cannot be read: {error}"))
            })?;
            let read = table(File::from_str(&text, FileFormat::Toml), &mut files);
            read.map_err(|problem| of_file(path, &text, problem))?
        }
        None => Map::new(),
    };
    put_over("", &mut root, variables(&mut files)?)?;

    let given = Given::of(&root);
    let folder = file
        .and_then(Path::parent)
        .unwrap_or(Path::new(""))
        .to_owned();
    let mut mistakes = Mistakes::default();
    let worker: WorkerSettings = section(&mut root, "worker", &mut mistakes);
    let amqp: AmqpSettings = section(&mut root, "amqp", &mut mistakes);
    mistakes.note(one_broker(&amqp));
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
    let settings = Settings {
        http: section(&mut root, "http", &mut mistakes),
        log: section(&mut root, "log", &mut mistakes),
        traces,
        reply: section(&mut root, "reply", &mut mistakes),
        retry,
        providers: providers(root.remove("providers"), &shared, &mut mistakes),
        worker: shared.worker,
        amqp,
        given,
    };
    for unknown in root.keys().collect::<BTreeSet<_>>() {
        let expected = "expected amqp, worker, http, log, traces, retry, reply or providers";
        mistakes.add(unknown, format_args!("unknown key; {expected}"));
    }
    mistakes.none().map(|()| settings)
}

/// What a provider takes from elsewhere.
struct Shared {
    /// `[retry]`, where nothing is wrong with it.
    retry: Option<Value>,
    worker: WorkerSettings,
    files: SecretFiles,
    /// Where the configuration stands.
    folder: PathBuf,
    /// Where what must outlast a restart is kept.
    kept: PathBuf,
}

/// What the configuration names by a relative path is looked for beside it.
fn beside(folder: &Path, table: &mut Map<String, Value>) {
    if let Some(Value {
        kind: ValueKind::String(descriptor),
        ..
    }) = table.get_mut("descriptor")
    {
        *descriptor = folder.join(&descriptor).display().to_string();
    }
}

fn one_broker(amqp: &AmqpSettings) -> Result<(), ConfigError> {
    if amqp.url.is_some() && !amqp.urls.is_empty() {
        let problem = "`amqp.url` is given too; expected one of them";
        return Err(ConfigError::at("amqp.urls", problem));
    }
    Ok(())
}

/// What the environment gives, and the files that its secrets stand in over those of `files`.
fn variables(files: &mut SecretFiles) -> Result<Map<String, Value>, ConfigError> {
    let environment = Environment::with_prefix("LOOKUP")
        .prefix_separator("__")
        .separator("__")
        .source(Some(environment::variables()?));
    let mut own = SecretFiles::default();
    let table = table(environment, &mut own).map_err(|problem| match problem {
        Unread::Syntax(error) => ConfigError::of_source(problem::of_syntax(&error)),
        Unread::Secret(problem) => problem,
    })?;
    files.put_over(own, &Given::of(&table).keys());
    Ok(table)
}

/// Why a source gives no keys.
enum Unread {
    Syntax(config::ConfigError),
    Secret(ConfigError),
}

fn of_file(path: &Path, text: &str, problem: Unread) -> ConfigError {
    match problem {
        Unread::Syntax(error) => {
            let problem = problem::of_syntax(&error);
            let key = problem::key_that_stands_twice(&problem, text);
            ConfigError::of_source(format!("{}: {problem}{key}", path.display()))
        }
        Unread::Secret(problem) => problem,
    }
}

/// One source's keys, each `KEY_file` replaced by what the file holds.
fn table(
    source: impl Source + Send + Sync + 'static,
    files: &mut SecretFiles,
) -> Result<Map<String, Value>, Unread> {
    let read = Config::builder().add_source(source).build();
    let read = read.map_err(Unread::Syntax)?;
    let mut table = read.cache.into_table().map_err(Unread::Syntax)?;
    files.read("", &mut table).map_err(Unread::Secret)?;
    Ok(table)
}

/// Lays one source over another, key by key.
///
/// # Errors
/// Where the upper one has keys below a list of the lower one, as of a quota's windows: all of the list would go for them.
fn put_over(
    path: &str,
    base: &mut Map<String, Value>,
    over: Map<String, Value>,
) -> Result<(), ConfigError> {
    for (key, value) in over {
        let path = format!("{path}{key}");
        match (base.get_mut(&key).map(|value| &mut value.kind), value.kind) {
            (Some(ValueKind::Table(base)), ValueKind::Table(over)) => {
                put_over(&format!("{path}."), base, over)?;
            }
            (Some(ValueKind::Array(_)), ValueKind::Table(over)) => {
                let below = over
                    .keys()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ");
                let problem = format!(
                    "the file has a list here, of which the environment cannot change {below} alone; change the file"
                );
                return Err(ConfigError::at(&path, problem));
            }
            (_, kind) => _ = base.insert(key, Value::new(None, kind)),
        }
    }
    Ok(())
}

/// A section. A key that is wrong is noted and left out, so that the next one can be told too.
fn section<T: DeserializeOwned + Default>(
    root: &mut Map<String, Value>,
    name: &str,
    mistakes: &mut Mistakes,
) -> T {
    let Some(value) = root.remove(name) else {
        return T::default();
    };
    read_all(name, value, mistakes).0.unwrap_or_default()
}

/// The value as a `T`, as far as it can be read without the keys that are wrong, which are noted; and those that `T`
/// does not know.
fn read_all<T: DeserializeOwned>(
    path: &str,
    mut value: Value,
    mistakes: &mut Mistakes,
) -> (Option<T>, Unknown) {
    let mut wrong = BTreeSet::new();
    loop {
        let (read, unknown) = read::<T>(path, value.clone());
        let error = match read {
            Ok(read) => return (Some(read), unknown),
            Err(error) => error,
        };
        let key = error.key_in(path).unwrap_or_default().to_owned();
        let left_out = match &mut value.kind {
            ValueKind::Table(table) => table.remove(&key).is_some(),
            _ => false,
        };
        // That it is missing now is no second mistake.
        if !wrong.contains(&key) {
            mistakes.note::<()>(Err(error));
        }
        if !left_out {
            return (None, unknown);
        }
        wrong.insert(key);
    }
}

/// The value as a `T`, and the keys that `T` does not know.
pub(crate) fn read<T: DeserializeOwned>(
    path: &str,
    value: Value,
) -> (Result<T, ConfigError>, Unknown) {
    let mut unknown = Unknown {
        keys: BTreeSet::new(),
        known: problem::fields_of::<T>(),
    };
    let mut note = |ignored: serde_ignored::Path| {
        unknown.keys.insert(format!("{path}.{ignored}"));
    };
    let value =
        serde_path_to_error::deserialize(serde_ignored::Deserializer::new(value, &mut note));
    let value = value.map_err(|error| {
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
    });
    (value, unknown)
}

fn providers(
    value: Option<Value>,
    shared: &Shared,
    mistakes: &mut Mistakes,
) -> BTreeMap<String, ProviderSettings> {
    let Some(value) = value else {
        return BTreeMap::new();
    };
    let table = value
        .into_table()
        .map_err(|_| ConfigError::at("providers", "expected one table for each provider"));
    let table: BTreeMap<_, _> = mistakes.note(table).into_iter().flatten().collect();
    let mut provider = |(name, value): (String, Value)| {
        let provider = provider(&name, value, shared, mistakes)?;
        Some((name, provider))
    };
    table.into_iter().filter_map(&mut provider).collect()
}

fn provider(
    name: &str,
    value: Value,
    shared: &Shared,
    mistakes: &mut Mistakes,
) -> Option<ProviderSettings> {
    let path = format!("providers.{name}");
    let legal = name.len() <= 64
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if !legal || name.is_empty() {
        let expected = "a provider's name stands in routing keys; expected 1 to 64 letters, digits, '_' or '-'";
        mistakes.add(&path, expected);
        return None;
    }
    let table = value
        .into_table()
        .map_err(|_| ConfigError::at(&path, "expected a table"));
    let mut table = mistakes.note(table)?;
    let retry = mistakes.note(retry_of(
        &path,
        shared.retry.as_ref(),
        table.remove("retry"),
    ));
    beside(&shared.folder, &mut table);
    let table = Value::new(None, ValueKind::Table(table));

    let (common, unknown_to_all) = read_all::<CommonKeys>(&path, table.clone(), mistakes);
    let common = common?;
    let (configured, unknown_to_kind) =
        Adapter::configure(&path, &common.kind, &common.base_url, table);
    let strange = unknown_to_all.keys.intersection(&unknown_to_kind.keys);
    let known = [unknown_to_all.known, unknown_to_kind.known, &["retry"]].concat();
    for key in strange {
        let (kind, known) = (&common.kind, known.join(", "));
        mistakes.add(
            key,
            format_args!("unknown key for kind {kind}, expected one of {known}"),
        );
    }
    let (adapter, mut credentials) = mistakes.note(configured)?;
    credentials.stood_in(&shared.files, &path);
    credentials.kept_in(&shared.kept, name);
    mistakes.note(encrypted(&path, &common, &credentials));
    let tls = TlsFiles {
        ca_file: common.ca_file,
        client_cert_file: common.client_cert_file,
        client_key_file: common.client_key_file,
    };
    mistakes.note(usable(&path, &tls));
    let quotas = common
        .quota
        .limits(adapter.default_quota())
        .map_err(|problem| ConfigError::below(&path, problem));
    let mut quotas = mistakes.note(quotas)?.into_iter();
    let quota = quotas.next();
    mistakes.note(speakable(&path, common.http, quota.as_ref()));
    mistakes.note(usable_proxy(&path, common.proxy.as_ref()));
    Some(ProviderSettings {
        name: name.into(),
        adapter,
        base_url: common.base_url,
        credentials,
        timeout: common.timeout,
        concurrency: common.concurrency.unwrap_or(shared.worker.concurrency),
        quota,
        longer_quotas: quotas.collect(),
        breaker: common.breaker,
        max_pause: common.max_pause,
        auth_failure_limit: common.auth_failure_limit,
        cache: common.cache,
        max_response_bytes: common.max_response_bytes,
        retry: retry?,
        tls,
        connect_timeout: common.connect_timeout,
        http: common.http,
        proxy: common.proxy,
    })
}

/// Neither a token nor a client's secret may cross a network in clear.
fn encrypted(
    path: &str,
    common: &CommonKeys,
    credentials: &Credentials,
) -> Result<(), ConfigError> {
    let allowed = common.allow_insecure_http;
    https_or_local(&format!("{path}.base_url"), &common.base_url, allowed)?;
    match credentials {
        Credentials::Token(_) | Credentials::Basic { .. } | Credentials::None => Ok(()),
        Credentials::OAuth(oauth) => {
            let key = format!("{path}.oauth.token_url");
            https_or_local(&key, &oauth.token_url, allowed)
        }
    }
}

/// A quota of all workers together is kept to the request over HTTP/1.1 alone.
fn speakable(path: &str, http: Version, quota: Option<&QuotaLimit>) -> Result<(), ConfigError> {
    let shared = quota.is_some_and(|limit| limit.scope == QuotaScope::Broker);
    if !shared || http != Version::Two {
        return Ok(());
    }
    let expected = "got \"2\" beside a quota of all workers together, which is kept to the request over HTTP/1.1 alone; \
                    expected \"auto\", \"1.1\", or quota = { …, scope = \"worker\" }";
    Err(ConfigError::at(&format!("{path}.http"), expected))
}

fn usable_proxy(path: &str, proxy: Option<&Url>) -> Result<(), ConfigError> {
    let usable = |proxy: &Url| {
        matches!(proxy.scheme(), "http" | "https")
            && proxy.username().is_empty()
            && proxy.password().is_none()
    };
    if proxy.is_none_or(usable) {
        return Ok(());
    }
    let expected = "expected an address such as \"http://proxy.example.com:3128\", without a user";
    Err(ConfigError::at(&format!("{path}.proxy"), expected))
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
    read(&path, Value::new(None, ValueKind::Table(merged))).0
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
