//! `[providers.NAME]`: what every kind has in common. What one kind alone has is in that kind's own file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use config::{Map, Value, ValueKind};
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::Adapter;
use crate::{
    config::{
        Breaker, Cache, ConfigError, Count, Credentials, HttpVersion, Mistakes, Quota, QuotaLimit,
        QuotaScope, RetrySettings, SecretFiles, WorkerSettings, https_or_local, is_name, read,
        read_all, usable, value,
    },
    tls::TlsFiles,
};

/// One configured provider.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    /// NAME, as it stands in routing keys.
    pub name: String,
    /// The API that it speaks, with that kind's own settings.
    pub adapter: Adapter,
    /// Where it is.
    pub base_url: Url,
    /// How requests are authorised.
    pub credentials: Credentials,
    /// Longest wait for one whole answer.
    pub timeout: Duration,
    /// Lookups in flight.
    pub concurrency: u16,
    /// What the provider allows; none where there is no limit.
    pub quota: Option<QuotaLimit>,
    /// What it allows besides in longer windows, shortest first; each holds.
    pub longer_quotas: Vec<QuotaLimit>,
    /// Where its answers say how many requests are left.
    pub count: Count,
    /// When attempts are suspended.
    pub breaker: Breaker,
    /// The longest that the provider's own word lets it be left alone.
    pub max_pause: Duration,
    /// Refusals in a row, without one answer about a customer, after which the remaining jobs wait.
    pub auth_failure_limit: u32,
    /// Remembered answers.
    pub cache: Cache,
    /// Largest response body in bytes.
    pub max_response_bytes: usize,
    /// When a failed attempt is repeated.
    pub retry: RetrySettings,
    /// Whom to trust besides the system's authorities, and as whom to come.
    pub tls: TlsFiles,
    /// Longest wait for a connection, over all addresses of the provider's name.
    pub connect_timeout: Duration,
    /// Which version of HTTP is spoken.
    pub http: HttpVersion,
    /// Who is asked to pass the requests on.
    pub proxy: Option<Url>,
}

/// The keys of every kind, as they stand in the file.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CommonKeys {
    pub kind: String,
    #[serde(deserialize_with = "value::web_address")]
    #[schemars(with = "String")]
    pub base_url: Url,
    #[serde(default)]
    pub allow_insecure_http: bool,
    #[serde(default = "timeout", deserialize_with = "value::positive_duration")]
    pub timeout: Duration,
    #[serde(default, deserialize_with = "value::concurrency_option")]
    pub concurrency: Option<u16>,
    #[serde(default)]
    pub quota: Quota,
    #[serde(default)]
    pub count: Count,
    #[serde(default)]
    pub breaker: Breaker,
    #[serde(default = "max_pause", deserialize_with = "value::positive_duration")]
    pub max_pause: Duration,
    #[serde(
        default = "auth_failure_limit",
        deserialize_with = "value::positive_u32"
    )]
    pub auth_failure_limit: u32,
    #[serde(default)]
    pub cache: Cache,
    #[serde(
        default = "max_response_bytes",
        deserialize_with = "value::positive_usize"
    )]
    pub max_response_bytes: usize,
    #[serde(
        default = "connect_timeout",
        deserialize_with = "value::positive_duration"
    )]
    pub connect_timeout: Duration,
    #[serde(default, deserialize_with = "value::word")]
    pub http: HttpVersion,
    #[serde(default, deserialize_with = "value::web_address_option")]
    #[schemars(with = "Option<String>")]
    pub proxy: Option<Url>,
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    #[serde(default)]
    pub client_cert_file: Option<PathBuf>,
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
}

fn timeout() -> Duration {
    Duration::from_secs(10)
}

fn max_pause() -> Duration {
    Duration::from_secs(3600)
}

fn connect_timeout() -> Duration {
    Duration::from_secs(3)
}

fn auth_failure_limit() -> u32 {
    20
}

fn max_response_bytes() -> usize {
    8 * 1024 * 1024
}

/// What a provider takes from elsewhere.
pub(crate) struct Shared {
    /// `[retry]`, where nothing is wrong with it.
    pub retry: Option<Value>,
    pub worker: WorkerSettings,
    pub files: SecretFiles,
    /// Where the configuration stands.
    pub folder: PathBuf,
    /// Where what must outlast a restart is kept.
    pub kept: PathBuf,
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

/// All providers.
pub(crate) fn providers(
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
    if !is_name(name) {
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
    // What is wrong with the kind, or with its own keys, is told beside a base_url that is missing or wrong.
    let (kind, base_url) = match &common {
        Some(common) => (common.kind.clone(), common.base_url.clone()),
        None => (
            text_at(&table, "kind")?,
            Url::parse("http://localhost").ok()?,
        ),
    };
    let (configured, unknown_to_kind) = Adapter::configure(&path, &kind, &base_url, table);
    let strange = unknown_to_all.keys.intersection(&unknown_to_kind.keys);
    let known = [unknown_to_all.known, unknown_to_kind.known, &["retry"]].concat();
    for key in strange {
        let known = known.join(", ");
        mistakes.add(
            key,
            format_args!("unknown key for kind {kind}, expected one of {known}"),
        );
    }
    let configured = mistakes.note(configured);
    let common = common?;
    let (adapter, mut credentials) = configured?;
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
        count: common.count,
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

/// What stands under a key of a table, if it is a text.
fn text_at(table: &Value, key: &str) -> Option<String> {
    let table = table.clone().into_table().ok()?;
    match &table.get(key)?.kind {
        ValueKind::String(text) => Some(text.clone()),
        _ => None,
    }
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
fn speakable(path: &str, http: HttpVersion, quota: Option<&QuotaLimit>) -> Result<(), ConfigError> {
    let shared = quota.is_some_and(|limit| limit.scope == QuotaScope::Broker);
    if !shared || http != HttpVersion::Two {
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
