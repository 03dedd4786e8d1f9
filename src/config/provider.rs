//! `[providers.NAME]`: what every kind has in common. What one kind alone has is in that kind's own file.

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer,
    de::{
        Error, MapAccess, SeqAccess, Unexpected, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use url::Url;

use super::{RetrySettings, Secret, secret::SecretFiles, value};
use crate::{
    json::Malformed,
    provider::{Adapter, http::Version},
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
    pub http: Version,
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
    pub http: Version,
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

/// What a request carries to be let in.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// The same token, until it is renewed.
    Token(Secret),
    /// A user and a password, for HTTP Basic.
    Basic {
        /// The user.
        username: String,
        /// The password, until it is renewed.
        password: Secret,
    },
    /// Tokens fetched by the client-credentials grant, or by a refresh token.
    OAuth(OAuthSettings),
    /// Nothing is asked for.
    None,
}

impl Credentials {
    /// Of `token` and `oauth` exactly one is given.
    ///
    /// # Errors
    /// A sentence that names both keys.
    pub fn one_of(token: Option<Secret>, oauth: Option<OAuthSettings>) -> Result<Self, Malformed> {
        match (token, oauth) {
            (Some(token), None) => Ok(Self::Token(token)),
            (None, Some(oauth)) => Ok(Self::OAuth(oauth)),
            (None, None) => Err(Malformed::at(
                "token",
                "missing key; expected `token`, `token_file` or `oauth`",
            )),
            (Some(_), Some(_)) => Err(Malformed::at(
                "token",
                "`oauth` is given too; expected one of them",
            )),
        }
    }
}

impl Credentials {
    /// Notes the file that they were read from, for the provider at `path`.
    pub(super) fn stood_in(&mut self, files: &SecretFiles, path: &str) {
        let file = |key: &str| files.get(&format!("{path}.{key}"));
        match self {
            Self::Token(token) => token.stood_in(file("token").or_else(|| file("app_id"))),
            Self::Basic { password, .. } => password.stood_in(file("password")),
            Self::OAuth(oauth) => {
                oauth.client_secret.stood_in(file("oauth.client_secret"));
                if let Some(token) = &mut oauth.refresh_token {
                    token.stood_in(file("oauth.refresh_token"));
                }
            }
            Self::None => {}
        }
    }

    /// Where a refresh token that was replaced is kept: `NAME.refresh-token` in `folder`.
    pub(super) fn kept_in(&mut self, folder: &Path, name: &str) {
        if let Self::OAuth(oauth) = self
            && oauth.refresh_token.is_some()
        {
            oauth.kept = Some(folder.join(format!("{name}.refresh-token")));
        }
    }

    /// Those of the same files as they stand there now, where they are others. The client's secret is not among them.
    #[must_use]
    pub fn read_again(&self) -> Option<Self> {
        match self {
            Self::Token(token) => token.read_again().map(Self::Token),
            Self::Basic { username, password } => {
                let username = username.clone();
                let password = password.read_again()?;
                Some(Self::Basic { username, password })
            }
            Self::OAuth(_) | Self::None => None,
        }
    }
}

/// The client-credentials grant (RFC 6749 §4.4), or the refresh-token grant (§6).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OAuthSettings {
    /// Where tokens are fetched.
    #[serde(deserialize_with = "value::web_address")]
    #[schemars(with = "String")]
    pub token_url: Url,
    /// The client's name.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Secret,
    /// What the token is to allow.
    #[serde(default)]
    pub scope: Option<String>,
    /// Where the client's name and secret stand; each kind has its own default.
    #[serde(default, deserialize_with = "value::word_option")]
    pub auth: Option<ClientSecretPlace>,
    /// How a token is asked for; by the refresh token, where there is one.
    #[serde(default, deserialize_with = "value::word_option")]
    pub grant: Option<Grant>,
    /// For the refresh-token grant; the endpoint may replace it each time.
    #[serde(default)]
    pub refresh_token: Option<Secret>,
    /// Where a refresh token that the endpoint replaced is kept.
    #[serde(skip)]
    pub kept: Option<PathBuf>,
}

impl OAuthSettings {
    /// By the grant that a descriptor names.
    ///
    /// # Errors
    /// The key that does not go with it.
    pub fn granted_by(self, grant: Grant) -> Result<Self, Malformed> {
        let grant = self.grant.map_or(grant, |own| own.max(grant));
        match (grant, &self.refresh_token) {
            (Grant::RefreshToken, None) => Err(Malformed::at(
                "oauth.refresh_token",
                "missing key; the grant is refresh_token",
            )),
            (Grant::ClientCredentials, Some(_)) => Err(Malformed::at(
                "oauth.refresh_token",
                "is of no use: the grant is client_credentials; expected grant = \"refresh_token\"",
            )),
            _ => Ok(self),
        }
    }
}

/// How a token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// By the client's id and secret.
    #[default]
    ClientCredentials,
    /// By a refresh token, which the endpoint may replace each time.
    RefreshToken,
}

/// Where a token request carries the client's secret (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientSecretPlace {
    /// In the form.
    Post,
    /// In the Authorization header.
    Basic,
}

/// How a phone number is written into the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PhoneFormat {
    /// Digits alone, as the kinds' documents write it.
    #[default]
    Digits,
    /// As it stands in the job.
    AsIs,
}

/// When a failing provider is left in peace.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// Failures in a row that open the circuit.
    #[serde(deserialize_with = "value::positive_u32")]
    pub failures: u32,
    /// Time from one probe to the next.
    #[serde(deserialize_with = "value::positive_duration")]
    pub cooldown: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 10,
            cooldown: Duration::from_secs(30),
        }
    }
}

/// Remembered answers; off by default.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// How long a found customer is remembered; zero is off.
    #[serde(deserialize_with = "value::duration")]
    pub ttl: Duration,
    /// How long 'no such customer' is remembered; zero is off.
    #[serde(deserialize_with = "value::duration")]
    pub not_found_ttl: Duration,
    /// Most answers remembered.
    #[serde(deserialize_with = "value::positive_usize")]
    pub capacity: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            ttl: Duration::ZERO,
            not_found_ttl: Duration::ZERO,
            capacity: 10_000,
        }
    }
}

/// Lookups that may share one request (kind antsomi).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Batch {
    /// Most lookups in one request; 1 is off.
    #[serde(deserialize_with = "value::positive_usize")]
    pub max_size: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self { max_size: 25 }
    }
}

/// The key `quota`: left out, `"none"`, a table, or an array of tables: one for each window.
#[derive(Debug, Clone, Default)]
pub enum Quota {
    /// The kind's own default.
    #[default]
    OfKind,
    /// No limit.
    None,
    /// As the table says; what it leaves out is the kind's own.
    Given(QuotaKeys),
    /// Several windows; nothing is left out.
    Windows(Vec<QuotaKeys>),
}

/// The table of `quota`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaKeys {
    #[serde(deserialize_with = "value::count_option")]
    requests: Option<u32>,
    #[serde(deserialize_with = "optional_positive_duration")]
    per: Option<Duration>,
    #[serde(deserialize_with = "value::share")]
    reserve: f64,
    #[serde(deserialize_with = "value::word")]
    scope: QuotaScope,
}

impl Default for QuotaKeys {
    fn default() -> Self {
        Self {
            requests: None,
            per: None,
            reserve: 0.1,
            scope: QuotaScope::default(),
        }
    }
}

fn optional_positive_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    value::positive_duration(deserializer).map(Some)
}

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuotaScope {
    /// Those of all workers of the broker.
    #[default]
    Broker,
    /// This worker's alone.
    Worker,
}

/// At most `requests` in every window of `per` (contract §7).
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaLimit {
    /// Requests in a window.
    pub requests: u32,
    /// Length of the window.
    pub per: Duration,
    /// Share of them that bulk jobs leave to interactive ones.
    pub reserve: f64,
    /// Whose requests are counted together.
    pub scope: QuotaScope,
}

impl Quota {
    /// The limits, that of the shortest window first; `of_kind` is the kind's own (requests, window).
    pub(super) fn limits(
        self,
        of_kind: Option<(u32, Duration)>,
    ) -> Result<Vec<QuotaLimit>, Malformed> {
        match self {
            Self::None => Ok(Vec::new()),
            Self::OfKind if of_kind.is_none() => Ok(Vec::new()),
            Self::OfKind => Ok(vec![QuotaKeys::default().limit("quota", of_kind)?]),
            Self::Given(keys) => Ok(vec![keys.limit("quota", of_kind)?]),
            Self::Windows(windows) => windows_of(windows),
        }
    }
}

/// Each by itself, and all of them together.
fn windows_of(windows: Vec<QuotaKeys>) -> Result<Vec<QuotaLimit>, Malformed> {
    let limits = windows.into_iter().enumerate();
    let limits = limits.map(|(at, keys)| keys.limit(&format!("quota[{at}]"), None));
    let mut limits = limits.collect::<Result<Vec<_>, _>>()?;
    limits.sort_by_key(|limit| limit.per);
    let at = |problem: &str| Err(Malformed::at("quota", problem));
    if limits.is_empty() {
        return at("got an empty array, expected a window such as { requests = 10, per = \"1s\" }");
    }
    for two in limits.windows(2) {
        if two[0].per == two[1].per {
            return at("got two windows of one length, expected one of each");
        }
        if two[0].scope != two[1].scope {
            return at("got windows of two scopes, expected one scope for all of them");
        }
    }
    Ok(limits)
}

impl QuotaKeys {
    fn limit(self, path: &str, of_kind: Option<(u32, Duration)>) -> Result<QuotaLimit, Malformed> {
        let missing = |key: &str| {
            Malformed::at(
                &format!("{path}.{key}"),
                match of_kind {
                    None if path != "quota" => "missing key; each window of several says it",
                    _ => "missing key; this kind has no quota of its own to take it from",
                },
            )
        };
        let requests = self
            .requests
            .or(of_kind.map(|(requests, _)| requests))
            .ok_or_else(|| missing("requests"))?;
        let per = self
            .per
            .or(of_kind.map(|(_, per)| per))
            .ok_or_else(|| missing("per"))?;
        if requests == 0 {
            let expected = "got 0, expected an integer of at least 1, or quota = \"none\"";
            return Err(Malformed::at(&format!("{path}.requests"), expected));
        }
        Ok(QuotaLimit {
            requests,
            per,
            reserve: self.reserve,
            scope: self.scope,
        })
    }
}

impl JsonSchema for Quota {
    fn schema_name() -> Cow<'static, str> {
        "Quota".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let keys = generator.subschema_for::<QuotaKeys>();
        schemars::json_schema!({"anyOf": [
            {"type": "string", "const": "none"},
            keys,
            {"type": "array", "minItems": 1, "items": keys},
        ]})
    }
}

impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NoneOrTable;
        impl<'de> Visitor<'de> for NoneOrTable {
            type Value = Quota;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(
                    "\"none\", a table such as { requests = 200, per = \"1m\" }, or an array of such tables",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Quota, E> {
                match text {
                    "none" => Ok(Quota::None),
                    other => Err(E::invalid_value(Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Quota, A::Error> {
                QuotaKeys::deserialize(MapAccessDeserializer::new(map)).map(Quota::Given)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, windows: A) -> Result<Quota, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(windows)).map(Quota::Windows)
            }
        }
        deserializer.deserialize_any(NoneOrTable)
    }
}
