//! A provider of kind `http`: a descriptor at an address.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Response, header::InvalidHeaderValue};
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use super::{
    Adapter, Api, Configured, Lookup,
    access::Access,
    class::Rules,
    descriptor::{Descriptor, RULES, shape::Auth},
    grant::Dialect,
    trimmed,
};
use crate::{
    config::{self, ConfigError, Credentials, OAuthSettings, Secret},
    json::Malformed,
    outcome::Outcome,
};

/// The kind's name in the configuration.
pub(super) const KIND: &str = "http";

/// Its own keys of `[providers.NAME]`.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "HttpSettings")]
struct Settings {
    /// The file that describes the API.
    descriptor: PathBuf,
    /// For a descriptor whose `auth` is `header` or `query`.
    token: Option<Secret>,
    /// For a descriptor whose `auth` is `basic`.
    username: Option<String>,
    /// Beside `username`.
    password: Option<Secret>,
    /// For a descriptor whose `auth` is `oauth`.
    oauth: Option<OAuthSettings>,
}

#[derive(Debug)]
struct Described {
    base: String,
    descriptor: Descriptor,
    file: PathBuf,
}

pub(super) fn settings(generator: &mut SchemaGenerator) -> Schema {
    Settings::json_schema(generator)
}

pub(super) fn configure(path: &str, base_url: &Url, table: ::config::Value) -> Configured {
    let (settings, unknown) = config::read::<Settings>(path, table);
    let configured = settings.and_then(|settings| described(path, base_url, settings));
    (configured, unknown)
}

fn described(
    path: &str,
    base_url: &Url,
    settings: Settings,
) -> Result<(Adapter, Credentials), ConfigError> {
    let base = trimmed(base_url).map_err(|problem| ConfigError::below(path, problem))?;
    let key = format!("{path}.descriptor");
    let file = settings.descriptor.display().to_string();
    let text = fs::read_to_string(&settings.descriptor)
        .map_err(|error| ConfigError::at(&key, format_args!("{file} cannot be read: {error}")))?;
    let descriptor = Descriptor::parse(&text).map_err(|mistakes| {
        let mistakes = mistakes.lines().map(|line| format!("{file}: {line}"));
        ConfigError::all_at(&key, mistakes)
    })?;
    let file = settings.descriptor.clone();
    let credentials = credentials(&descriptor.auth, settings)
        .map_err(|problem| ConfigError::below(path, problem))?;
    let described = Described {
        base,
        descriptor,
        file,
    };
    if let Credentials::Token(token) = &credentials {
        use secrecy::ExposeSecret;
        let problem = "the token holds a character that no HTTP header may hold";
        let fits = described.access(token.expose_secret());
        fits.map_err(|_| ConfigError::at(&format!("{path}.token"), problem))?;
    }
    Ok((Adapter(Arc::new(described)), credentials))
}

/// Just what the descriptor's `auth` asks for.
fn credentials(auth: &Auth, settings: Settings) -> Result<Credentials, Malformed> {
    let (kind, wanted): (_, &[&str]) = match auth {
        Auth::Header { .. } => ("header", &["token"]),
        Auth::Query { .. } => ("query", &["token"]),
        Auth::Basic {} => ("basic", &["username", "password"]),
        Auth::Oauth { .. } => ("oauth", &["oauth"]),
        Auth::None {} => ("none", &[]),
    };
    let given = [
        ("token", settings.token.is_some()),
        ("username", settings.username.is_some()),
        ("password", settings.password.is_some()),
        ("oauth", settings.oauth.is_some()),
    ];
    for (key, given) in given {
        match (wanted.contains(&key), given) {
            (true, false) => {
                let problem = format!("missing key; the descriptor's auth is {kind}");
                return Err(Malformed::at(key, problem));
            }
            (false, true) => {
                let expected = match wanted {
                    [] => "none of token, username, password and oauth".to_owned(),
                    wanted => wanted.join(" and "),
                };
                let problem =
                    format!("is of no use: the descriptor's auth is {kind}; expected {expected}");
                return Err(Malformed::at(key, problem));
            }
            _ => {}
        }
    }
    Ok(match settings {
        Settings {
            token: Some(token), ..
        } => Credentials::Token(token),
        Settings {
            username: Some(username),
            password: Some(password),
            ..
        } => Credentials::Basic {
            username: user(username)?,
            password,
        },
        Settings {
            oauth: Some(oauth), ..
        } => Credentials::OAuth(oauth.granted_by(auth.grant())?),
        _ => Credentials::None,
    })
}

/// The first colon parts the user from the password (RFC 7617).
fn user(username: String) -> Result<String, Malformed> {
    if username.contains(':') || username.chars().any(char::is_control) {
        let expected =
            "expected a name without a colon and control characters, which HTTP Basic cannot hold";
        return Err(Malformed::at("username", expected));
    }
    Ok(username)
}

impl Api for Described {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn rules(&self) -> Rules {
        RULES
    }

    fn default_quota(&self) -> Option<(u32, Duration)> {
        None
    }

    fn tokens(&self) -> Dialect {
        Dialect::RFC_6749
    }

    fn access(&self, token: &str) -> Result<Access, InvalidHeaderValue> {
        self.descriptor.access(token)
    }

    fn lookup(&self, query: &RawValue, options: Option<&RawValue>) -> Result<Lookup, Malformed> {
        let asked = self.descriptor.request(&self.base, query, options)?;
        Ok(Lookup {
            request: asked.request,
            raw: asked.raw,
            part: None,
            question: Arc::new(asked.values),
        })
    }

    fn read(&self, lookup: &Lookup, response: &Response<Bytes>, now: Timestamp) -> Outcome {
        match lookup.question.downcast_ref() {
            Some(asked) => self.descriptor.read(asked, response, now),
            None => self.descriptor.read(&Vec::new(), response, now),
        }
    }

    fn criteria(&self) -> Vec<String> {
        self.descriptor.names("query")
    }

    fn options(&self) -> Vec<String> {
        self.descriptor.names("options")
    }

    fn fills(&self) -> Vec<&'static str> {
        self.descriptor.fills()
    }

    fn described(&self) -> Option<(&Descriptor, &Path)> {
        Some((&self.descriptor, &self.file))
    }

    fn scrubbed(&self, payload: &str) -> Option<Box<RawValue>> {
        RawValue::from_string(payload.to_owned()).ok()
    }
}
