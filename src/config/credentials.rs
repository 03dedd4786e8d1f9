//! What a request carries to be let in, and how tokens are fetched.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::{Secret, secret::SecretFiles, value};
use crate::json::Malformed;

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
    pub(crate) fn stood_in(&mut self, files: &SecretFiles, path: &str) {
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
    pub(crate) fn kept_in(&mut self, folder: &Path, name: &str) {
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
