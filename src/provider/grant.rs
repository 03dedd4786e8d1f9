//! The token request and the token reply (RFC 6749 §4.4, §5). No I/O.
//!
//! A failure never shows the client's secret, not even where the endpoint repeats it.

use std::{path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded::{Serializer, byte_serialize};

use super::{class, wait};
use crate::{
    config::{ClientSecretPlace, OAuthSettings, Secret},
    failure::{ErrorKind, Failure},
    json::{self, Malformed, Members, Node},
};

/// In what the kinds' token endpoints differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Where the client's secret stands, unless the configuration tells.
    secret_in: ClientSecretPlace,
    reply: ReplyForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReplyForm {
    /// `access_token`, `expires_in` in seconds.
    SnakeCase,
    /// `accessToken`, `accessTokenExpiresAt` as a date-time.
    CamelCase,
}

impl Dialect {
    /// As the RFC says, with the secret in the form.
    pub const RFC_6749: Self = Self {
        secret_in: ClientSecretPlace::Post,
        reply: ReplyForm::SnakeCase,
    };
    /// With Antsomi's own reply.
    pub const ANTSOMI: Self = Self {
        secret_in: ClientSecretPlace::Post,
        reply: ReplyForm::CamelCase,
    };
    /// As the RFC says, with the secret in the header.
    pub const PLUME: Self = Self {
        secret_in: ClientSecretPlace::Basic,
        reply: ReplyForm::SnakeCase,
    };
}

/// A token, as it was given.
#[derive(Debug)]
pub struct Token {
    /// What goes into the header.
    pub secret: SecretString,
    /// How long it is valid from its receipt, where the endpoint tells.
    pub life: Option<Duration>,
    /// What takes the place of the refresh token, where the endpoint sends one.
    pub refresh: Option<Secret>,
}

/// How one provider's tokens are asked for.
#[derive(Debug)]
pub struct Grant {
    settings: OAuthSettings,
    dialect: Dialect,
    /// The refresh token that took the configured one's place.
    current: Option<Secret>,
}

impl Grant {
    /// By a provider's settings and its kind's dialect.
    #[must_use]
    pub fn new(settings: OAuthSettings, dialect: Dialect) -> Self {
        Self {
            settings,
            dialect,
            current: None,
        }
    }

    /// The same, where another secret stands in the client's file by now, or another refresh token in its own.
    #[must_use]
    pub fn with_secret_of_now(&self) -> Option<Self> {
        let settings = &self.settings;
        let client_secret = settings.client_secret.read_again();
        let refresh_token = settings.refresh_token.as_ref().and_then(Secret::read_again);
        if client_secret.is_none() && refresh_token.is_none() {
            return None;
        }
        let current = if refresh_token.is_some() {
            None
        } else {
            self.current.clone()
        };
        let settings = OAuthSettings {
            client_secret: client_secret.unwrap_or_else(|| settings.client_secret.clone()),
            refresh_token: refresh_token.or_else(|| settings.refresh_token.clone()),
            ..settings.clone()
        };
        Some(Self {
            settings,
            dialect: self.dialect,
            current,
        })
    }

    /// The same, by the refresh token that took the configured one's place before, if one did.
    #[must_use]
    pub fn going_on(mut self, current: Option<Secret>) -> Self {
        self.current = current;
        self
    }

    /// The configured refresh token, and the file where one that takes its place is kept.
    #[must_use]
    pub fn keeping(&self) -> Option<(&Path, &Secret)> {
        let file = self.settings.kept.as_deref()?;
        Some((file, self.settings.refresh_token.as_ref()?))
    }

    /// The same, by a refresh token that took the place of the one that was sent; none where it is the same.
    #[must_use]
    pub fn rotated(&self, refresh: &Secret) -> Option<Self> {
        let settings = &self.settings;
        settings.refresh_token.as_ref()?;
        if self.refresh_token()?.expose_secret() == refresh.expose_secret() {
            return None;
        }
        Some(Self {
            settings: settings.clone(),
            dialect: self.dialect,
            current: Some(refresh.clone()),
        })
    }

    fn refresh_token(&self) -> Option<&Secret> {
        self.current
            .as_ref()
            .or(self.settings.refresh_token.as_ref())
    }

    /// The request for a token.
    ///
    /// # Errors
    /// Where the address is none.
    pub fn request(&self) -> Result<Request<Bytes>, Failure> {
        let OAuthSettings {
            token_url,
            client_id,
            client_secret,
            scope,
            auth,
            ..
        } = &self.settings;
        let secret = client_secret.expose_secret();
        let mut form = Serializer::new(String::new());
        match self.refresh_token() {
            None => _ = form.append_pair("grant_type", "client_credentials"),
            Some(token) => {
                _ = form
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("refresh_token", token.expose_secret());
            }
        }
        if let Some(scope) = scope {
            form.append_pair("scope", scope);
        }
        let mut request = Request::post(token_url.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
        match auth.unwrap_or(self.dialect.secret_in) {
            ClientSecretPlace::Post => {
                _ = form
                    .append_pair("client_id", client_id)
                    .append_pair("client_secret", secret);
            }
            ClientSecretPlace::Basic => {
                request = request.header(AUTHORIZATION, basic(client_id, secret)?);
            }
        }
        let no_address = |_| Failure::new(ErrorKind::Internal, "oauth.token_url is no address");
        request.body(form.finish().into()).map_err(no_address)
    }

    /// The token that the endpoint answered with, under any 2xx.
    ///
    /// # Errors
    /// `unauthorized` where the client is refused; else `provider_error`: whatever came is no word on the client, and
    /// may be otherwise soon.
    pub fn read(&self, response: &Response<Bytes>, now: Timestamp) -> Result<Token, Failure> {
        let body = response.body();
        if !response.status().is_success() {
            return Err(self.failure(response, now));
        }
        let token = json::text(body).and_then(|text| {
            let reply = Node::parse(&text)?.object("")?;
            match self.dialect.reply {
                ReplyForm::SnakeCase => snake_case(&reply),
                ReplyForm::CamelCase => camel_case(&reply, now),
            }
        });
        token.map_err(|problem| {
            if is_refusal(response) {
                return self.failure(response, now);
            }
            let status = response.status().as_u16();
            let problem = if json::is_page(body) {
                "expected JSON, got a page (HTML or XML); check oauth.token_url, and what stands between".into()
            } else {
                problem.to_string()
            };
            let message = format!("the token endpoint's HTTP {status} holds no token: {problem}");
            Failure::new(ErrorKind::ProviderError, message).with_status(status)
        })
    }

    fn failure(&self, response: &Response<Bytes>, now: Timestamp) -> Failure {
        let status = response.status().as_u16();
        let refused = is_refusal(response);
        let advice = match status {
            _ if refused => {
                "the client was refused; check oauth.client_id, oauth.client_secret and oauth.scope"
            }
            404 => "there is no such address; check oauth.token_url",
            408 => "it gave up waiting",
            429 => "too many requests",
            400..=499 => "its body is no word on the client; check oauth.token_url and oauth.auth",
            500..=599 => "it failed",
            300..=399 => "redirects are not followed; check oauth.token_url",
            _ => "there is no such answer",
        };
        let kind = if refused {
            ErrorKind::Unauthorized
        } else {
            ErrorKind::ProviderError
        };
        let message = format!("the token endpoint answered HTTP {status}, expected 200: {advice}");
        let mut failure = Failure::new(kind, message).with_status(status);
        if kind.retryable() {
            failure.retry_after = wait::asked(response.headers(), now).wait();
        }
        match self.words(response.body()) {
            Some(words) => failure.said(&words),
            None => failure,
        }
    }

    /// What the endpoint says, the RFC's way or Antsomi's, unless it repeats the secret.
    fn words(&self, body: &[u8]) -> Option<String> {
        let text = json::text(body).ok()?;
        let problem = Node::parse(&text).ok()?.object("").ok()?;
        let parts = ["error", "name", "error_description", "message"].into_iter();
        let words: Vec<String> = parts.filter_map(|name| problem.get(name).text()).collect();
        let words = words.join(": ");
        let secrets = [Some(&self.settings.client_secret), self.refresh_token()];
        let repeated = |secret: &Secret| words.contains(secret.expose_secret());
        let repeats = secrets.into_iter().flatten().any(repeated);
        (!repeats).then_some(words)
    }
}

/// An answer of the endpoint that could not be read at all is no word on the client.
pub fn of_endpoint(failure: Failure) -> Failure {
    match failure.kind {
        ErrorKind::BadResponse => Failure {
            kind: ErrorKind::ProviderError,
            message: format!("the token endpoint's answer: {}", failure.message).into(),
            ..failure
        },
        _ => failure,
    }
}

/// Whether the endpoint itself refuses the client: by 401 or 403 with a body of JSON, or by an OAuth error object
/// (RFC 6749 §5.2), which some send under 200.
fn is_refusal(response: &Response<Bytes>) -> bool {
    let (status, body) = (response.status().as_u16(), response.body());
    match status {
        401 | 403 => json::is_container(body),
        404 | 408 | 429 | 500.. => false,
        _ => json::text(body).is_ok_and(|text| Node::parse(&text).is_ok_and(is_of_client)),
    }
}

/// By its code, as `invalid_client`; not by words of a server, as `Not Found`, nor by its own bad hour.
fn is_of_client(problem: Node) -> bool {
    let code = problem.get("error").or(problem.get("name")).text();
    code.is_some_and(|code| {
        code.contains('_')
            && code
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            && !matches!(
                code.as_str(),
                "server_error" | "temporarily_unavailable" | "slow_down"
            )
    })
}

/// The client's name and secret in a header, each form-encoded before (RFC 6749 §2.3.1).
fn basic(client_id: &str, secret: &str) -> Result<HeaderValue, Failure> {
    let form = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = STANDARD.encode(format!("{}:{}", form(client_id), form(secret)));
    let unfit = |_| {
        Failure::new(
            ErrorKind::Internal,
            "no HTTP header can hold the client's name and secret",
        )
    };
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).map_err(unfit)?;
    value.set_sensitive(true);
    Ok(value)
}

fn snake_case(reply: &Members) -> Result<Token, Malformed> {
    let refresh = reply.get("refresh_token").text();
    Ok(Token {
        secret: secret(reply, "access_token")?,
        life: lifetime(reply.get("expires_in")),
        refresh: refresh.map(|token| Secret::from(token.as_str())),
    })
}

fn camel_case(reply: &Members, now: Timestamp) -> Result<Token, Malformed> {
    let expiry = reply.get("accessTokenExpiresAt").text();
    let expiry = expiry.and_then(|expiry| expiry.parse::<Timestamp>().ok());
    Ok(Token {
        secret: secret(reply, "accessToken")?,
        life: expiry.map(|expiry| class::until(expiry, now)),
        refresh: None,
    })
}

fn secret(reply: &Members, field: &str) -> Result<SecretString, Malformed> {
    let text = reply.get(field).text();
    text.map(SecretString::from)
        .ok_or_else(|| Malformed::at(field, "missing; expected a string that is not blank"))
}

/// Where it cannot be read, none was told: the token is used until it is refused.
fn lifetime(expires_in: Node) -> Option<Duration> {
    let seconds = expires_in.text()?.parse::<f64>().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests;
