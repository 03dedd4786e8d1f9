//! Who is let in: the static token, and tokens issued by the client-credentials grant.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::wire::{Ask, Reply};

/// The client that may fetch tokens.
pub const CLIENT_ID: &str = "sandbox-client";
/// Its secret.
pub const CLIENT_SECRET: &str = "sandbox-secret";

/// The tokens that a port lets in.
#[derive(Debug)]
pub(super) struct Tokens {
    name: &'static str,
    /// Always let in.
    usual: &'static str,
    lifetime: Duration,
    issued: HashMap<String, Instant>,
    count: u64,
}

impl Tokens {
    pub fn new(name: &'static str, usual: &'static str, lifetime: Duration) -> Self {
        Self {
            name,
            usual,
            lifetime,
            issued: HashMap::new(),
            count: 0,
        }
    }

    /// The issued ones are void from now on.
    pub fn revoke(&mut self) {
        self.issued.clear();
    }

    fn admits(&self, token: &str, now: Instant) -> bool {
        token == self.usual || self.issued.get(token).is_some_and(|end| now < *end)
    }

    fn issue(&mut self, now: Instant) -> Issued {
        self.issued.retain(|_, end| now < *end);
        self.count += 1;
        // The time keeps a token of an earlier run from being let in by this one.
        let born = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let token = format!("sandbox-{}-issued-{}-{born:x}", self.name, self.count);
        self.issued.insert(token.clone(), now + self.lifetime);
        Issued {
            token,
            lifetime: self.lifetime,
            expires_at: SystemTime::now() + self.lifetime,
        }
    }
}

/// A token just issued.
pub(super) struct Issued {
    pub token: String,
    pub lifetime: Duration,
    pub expires_at: SystemTime,
}

impl Issued {
    /// As RFC 6749 §5.1 has it.
    pub fn standard_reply(&self) -> Reply {
        let expires_in = self.lifetime.as_secs();
        Reply::json(200, &json!({ "access_token": self.token, "token_type": "Bearer", "expires_in": expires_in }))
            .with("cache-control", "no-store")
    }
}

/// Why a token is not issued (RFC 6749 §5.2), with a sentence.
pub(super) struct Refused(pub u16, pub &'static str, pub String);

impl Refused {
    /// As RFC 6749 §5.2 has it.
    pub fn standard_reply(&self) -> Reply {
        Reply::json(
            self.0,
            &json!({ "error": self.1, "error_description": self.2 }),
        )
    }
}

/// Where a client's name and secret may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the form or in the Authorization header.
    Either,
    /// In the Authorization header alone.
    Basic,
}

/// What a kind needs of its port while it answers one request.
pub(super) struct Desk<'a> {
    pub tokens: &'a mut Tokens,
    pub now: Instant,
    /// The values that were asked for, once the request was found to be right.
    pub asked: Vec<String>,
    /// Each of them is a lookup of its own.
    pub together: bool,
}

impl Desk<'_> {
    /// The credentials behind that scheme are let in.
    pub fn admits(&self, ask: &Ask, scheme: &str) -> bool {
        ask.credentials(scheme)
            .is_some_and(|token| self.tokens.admits(token, self.now))
    }

    /// Somebody is asked for by this value, which may be a magic one.
    pub fn asked_for(&mut self, value: &str) {
        self.asked.push(value.to_owned());
    }

    /// The client-credentials grant (RFC 6749 §4.4).
    pub fn grant(
        &mut self,
        ask: &Ask,
        place: Place,
        scope_fits: impl Fn(Option<&str>) -> bool,
    ) -> Result<Issued, Refused> {
        let Some(form) = ask.form().filter(|_| ask.method == http::Method::POST) else {
            return Err(Refused(
                400,
                "invalid_request",
                "expected a POST of a form".into(),
            ));
        };
        let field = |name: &str| {
            form.iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        match field("grant_type") {
            Some("client_credentials") => {}
            Some(other) => {
                return Err(Refused(
                    400,
                    "unsupported_grant_type",
                    format!("Unsupported grant: {other}"),
                ));
            }
            None => {
                return Err(Refused(
                    400,
                    "invalid_request",
                    "Missing parameter: grant_type".into(),
                ));
            }
        }
        let in_form =
            field("client_id") == Some(CLIENT_ID) && field("client_secret") == Some(CLIENT_SECRET);
        if !(basic(ask) || place == Place::Either && in_form) {
            return Err(Refused(
                401,
                "invalid_client",
                "Client authentication failed".into(),
            ));
        }
        if !scope_fits(field("scope")) {
            let scope = field("scope").unwrap_or_default();
            return Err(Refused(
                400,
                "invalid_scope",
                format!("Invalid scope: {scope}"),
            ));
        }
        Ok(self.tokens.issue(self.now))
    }
}

/// The Authorization header holds the client's name and secret. Both consist of characters that form encoding
/// leaves as they are, so the two readings of RFC 6749 §2.3.1 do not differ.
fn basic(ask: &Ask) -> bool {
    ask.credentials("Basic")
        .is_some_and(|given| given == STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}")))
}
