//! The sections of the configuration, one small struct for each concern, and how they are read from TOML and from the
//! environment. The whole of them is `settings`; what knows of kinds is beside those. The field documentation here is
//! the manual (contract §8).

mod count;
mod credentials;
mod environment;
mod given;
mod mistake;
mod network;
mod place;
mod problem;
mod provider;
mod quota;
mod read;
mod secret;
mod source;
pub(crate) mod value;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;
use wildmatch::WildMatch;

use crate::tls::TlsFiles;

pub use count::{Count, CountKeys, ResetForm};
pub use credentials::{ClientSecretPlace, Credentials, Grant, OAuthSettings};
pub use given::Given;
pub use mistake::ConfigError;
pub(crate) use mistake::Mistakes;
pub(crate) use network::{https_or_local, usable};
pub use place::{USUAL_FILES, broker_is_meant, find};
pub(crate) use problem::{Unknown, fields_of};
pub use provider::{Batch, Breaker, Cache, HttpVersion, PhoneFormat};
pub use quota::{Quota, QuotaLimit, QuotaScope};
pub(crate) use read::{is_name, names_in, read, read_all, section};
pub use secret::Secret;
pub(crate) use secret::{KEYS as SECRETS, SecretFiles};
pub(crate) use source::Sources;
pub use value::Step;
pub(crate) use value::word;

/// The broker, and what is declared there.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AmqpSettings {
    /// Address of the one broker; a secret, since it holds the password.
    #[serde(deserialize_with = "value::broker_address_option")]
    #[schemars(with = "Option<String>")]
    pub url: Option<SecretString>,
    /// Addresses of a cluster's nodes, tried in turn; instead of `url`.
    #[serde(deserialize_with = "value::broker_addresses")]
    #[schemars(with = "Vec<String>")]
    pub urls: Vec<SecretString>,
    /// First part of the name of every exchange and queue.
    #[serde(deserialize_with = "value::prefix")]
    pub prefix: String,
    /// Declare exchanges and queues at start; if false, only check that they are there.
    pub declare: bool,
    /// Ledgers of each quota, one for each node of a cluster, by the order of `urls`: a node that is away then costs
    /// its share. The same for all workers.
    #[serde(deserialize_with = "value::positive_u32")]
    pub quota_ledgers: u32,
    /// How often a job may be redelivered before the broker dead-letters it.
    #[serde(deserialize_with = "value::positive_u32")]
    pub delivery_limit: u32,
    /// Largest job body in bytes; a larger one is `invalid_job`.
    #[serde(deserialize_with = "value::positive_usize")]
    pub max_job_bytes: usize,
    /// Certificates (PEM) of authorities to trust besides the system's; for `amqps://`.
    pub ca_file: Option<PathBuf>,
    /// The certificate (PEM) to come with, and those between it and its authority.
    pub client_cert_file: Option<PathBuf>,
    /// Its key (PEM).
    pub client_key_file: Option<PathBuf>,
}

impl Default for AmqpSettings {
    fn default() -> Self {
        Self {
            url: None,
            urls: Vec::new(),
            prefix: "lookup".into(),
            declare: true,
            quota_ledgers: 1,
            delivery_limit: 20,
            max_job_bytes: 256 * 1024,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
        }
    }
}

impl AmqpSettings {
    /// Every address to try, in the configured order.
    #[must_use]
    pub fn addresses(&self) -> Vec<SecretString> {
        match (&self.url, self.urls.as_slice()) {
            (_, urls @ [_, ..]) => urls.to_vec(),
            (Some(url), []) => vec![url.clone()],
            (None, []) => vec!["amqp://guest:guest@127.0.0.1:5672/%2f".into()],
        }
    }

    /// What TLS to the broker needs.
    #[must_use]
    pub fn tls(&self) -> TlsFiles {
        TlsFiles {
            ca_file: self.ca_file.clone(),
            client_cert_file: self.client_cert_file.clone(),
            client_key_file: self.client_key_file.clone(),
        }
    }
}

/// The process as a whole.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerSettings {
    /// Lookups in flight for each provider, unless it says otherwise.
    #[serde(deserialize_with = "value::concurrency")]
    pub concurrency: u16,
    /// How long a stop waits for the jobs in flight.
    #[serde(deserialize_with = "value::duration")]
    pub shutdown_grace: Duration,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            concurrency: 128,
            shutdown_grace: Duration::from_secs(25),
        }
    }
}

/// The worker's own small HTTP server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Address of the page at `/`, `/livez`, `/readyz` and `/metrics`.
    #[serde(deserialize_with = "value::socket_address")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
        }
    }
}

/// What is logged, on standard error.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `text` or `json`.
    #[serde(deserialize_with = "value::word")]
    pub format: LogFormat,
    /// The least severe level that is logged.
    #[serde(deserialize_with = "value::word")]
    pub level: LogLevel,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: LogLevel::Info,
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Severity of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Where spans go (OTLP over HTTP).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TracesSettings {
    /// Address of the collector, to which `/v1/traces` is added; traces are off where it is absent.
    #[serde(deserialize_with = "value::web_address_option")]
    #[schemars(with = "Option<String>")]
    pub endpoint: Option<Url>,
    /// Share of the traces that begin here, from 0 to 1; one that a job came with goes on as it was decided there.
    #[serde(deserialize_with = "value::ratio")]
    pub sample: f64,
    /// `service.name`.
    pub service: String,
    /// Headers for the collector; a secret, since such a header is most often a token.
    #[serde(deserialize_with = "value::headers")]
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Send `traceparent` to the providers, too.
    pub propagate: bool,
}

impl Default for TracesSettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            sample: 1.0,
            service: "lookup-worker".into(),
            headers: Vec::new(),
            propagate: false,
        }
    }
}

/// Where results may be sent.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplySettings {
    /// Patterns (`*`, `?`) of the `reply_to` names that are answered; direct reply-to is
    /// `amq.rabbitmq.reply-to`.
    #[serde(deserialize_with = "value::strings")]
    pub allow: Vec<String>,
}

impl ReplySettings {
    /// Whether results go to a queue of this name.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        self.allow
            .iter()
            .any(|allowed| WildMatch::new(allowed).matches(name))
    }
}

impl Default for ReplySettings {
    fn default() -> Self {
        Self {
            allow: vec!["*".into()],
        }
    }
}

/// When a failed attempt is repeated (contract §6).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// Attempts for one job, the first included.
    #[serde(deserialize_with = "value::positive_u32")]
    pub max_attempts: u32,
    /// Upper bound of the delay before the second attempt.
    #[serde(deserialize_with = "value::duration")]
    pub initial_delay: Duration,
    /// Factor from one delay's bound to the next, at least 1.
    #[serde(deserialize_with = "value::multiplier")]
    pub multiplier: f64,
    /// The bound grows no further than this.
    #[serde(deserialize_with = "value::duration")]
    pub max_delay: Duration,
    /// A delay up to this is slept in the worker; a longer one is spent in a delay queue.
    #[serde(deserialize_with = "value::duration")]
    pub in_process_limit: Duration,
    /// The delay queues' steps, shortest first.
    #[serde(deserialize_with = "value::steps")]
    #[schemars(with = "Vec<String>")]
    pub delays: Vec<Step>,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_attempts: 8,
            initial_delay: Duration::from_millis(200),
            multiplier: 2.0,
            max_delay: Duration::from_secs(300),
            in_process_limit: Duration::from_secs(2),
            delays: ["1s", "5s", "30s", "2m", "10m"].map(Step::of).to_vec(),
        }
    }
}
