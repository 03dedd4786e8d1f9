//! The API that a descriptor describes, answering as the descriptor's tests say. Of them it takes request and answer; a
//! request that no test sends is refused, with what was expected.

use std::{fs, path::Path};

use bytes::Bytes;
use http::{HeaderValue, Method};
use serde_json::{Value, json};

use super::{
    api::Api,
    tokens::{CLIENT_ID, CLIENT_SECRET, Desk, Place},
    wire::{Ask, Reply},
};
use crate::provider::descriptor::{Descriptor, shape::Auth, testing};

/// The secret that is always let in.
pub(super) const TOKEN: &str = "sandbox-http-token";

/// Where tokens are fetched.
const TOKEN_PATH: &str = "/oauth/token";
/// Of HTTP Basic.
const USERNAME: &str = "sandbox";

/// A descriptor's API.
#[derive(Debug)]
pub struct Described {
    /// The provider's name in a configuration.
    name: String,
    /// The file, by a path that leads there from everywhere.
    file: String,
    auth: Auth,
    exchanges: Vec<testing::Exchange>,
}

impl Described {
    /// Of a descriptor's file.
    ///
    /// # Errors
    /// Everything that is wrong with it, or that it has no test with an answer.
    pub fn read(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let text =
            fs::read_to_string(file).map_err(|error| format!("{shown} cannot be read: {error}"))?;
        let descriptor = Descriptor::parse(&text).map_err(|mistakes| {
            let lines = mistakes.lines().map(|line| format!("{shown}: {line}"));
            lines.collect::<Vec<_>>().join("\n")
        })?;
        let exchanges = testing::exchanges(&descriptor);
        if exchanges.is_empty() {
            return Err(format!(
                "{shown}: `tests`: expected at least one test with an answer"
            ));
        }
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let legal = |c: char| {
            if c.is_ascii_alphanumeric() || "_-".contains(c) {
                c
            } else {
                '-'
            }
        };
        let whole = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        Ok(Self {
            name: stem.chars().take(64).map(legal).collect(),
            file: whole.display().to_string(),
            auth: descriptor.auth,
            exchanges,
        })
    }

    /// The provider's table for a configuration of the worker.
    pub fn table(&self, base: &str) -> String {
        let (name, token) = (&self.name, TOKEN);
        let file = Value::from(self.file.as_str());
        let secrets = match &self.auth {
            Auth::Header { .. } | Auth::Query { .. } => format!("token = \"{token}\"\n"),
            Auth::Basic {} => format!("username = \"{USERNAME}\"\npassword = \"{token}\"\n"),
            Auth::Oauth { grant } => {
                let refresh = match grant {
                    crate::config::Grant::ClientCredentials => String::new(),
                    crate::config::Grant::RefreshToken => format!(", refresh_token = \"{token}\""),
                };
                format!(
                    "oauth = {{ token_url = \"{base}{TOKEN_PATH}\", client_id = \"{CLIENT_ID}\", client_secret = \
                     \"{CLIENT_SECRET}\"{refresh} }}\n"
                )
            }
            Auth::None {} => String::new(),
        };
        format!(
            "[providers.{name}]\nkind = \"http\"\ndescriptor = {file}\nbase_url = \"{base}\"\n{secrets}"
        )
    }

    fn lets_in(&self, ask: &Ask, desk: &Desk) -> bool {
        let token = TOKEN;
        let filled = |value: &str| value.replace("{token}", token);
        match &self.auth {
            Auth::Header { name, value } => ask.header(name) == Some(&filled(value)),
            Auth::Query { name, value } => ask.parameter(name) == Some(&filled(value)),
            Auth::Basic {} => {
                let expected = crate::provider::access::Access::basic(USERNAME, token);
                let given = ask.headers.get("authorization");
                expected.is_ok_and(|expected| given == Some(expected.value()))
            }
            Auth::Oauth { .. } => desk.admits(ask, "Bearer"),
            Auth::None {} => true,
        }
    }

    /// Parameters without the one that lets in.
    fn parameters<'a>(&self, all: &'a [(String, String)]) -> Vec<(&'a str, &'a str)> {
        let secret = match &self.auth {
            Auth::Query { name, .. } => Some(name.as_str()),
            _ => None,
        };
        let own = all.iter().filter(|(name, _)| Some(name.as_str()) != secret);
        let mut own: Vec<_> = own
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        own.sort_unstable();
        own
    }

    /// In what the request differs from an exchange's; nothing where it is that.
    fn difference(&self, ask: &Ask, exchange: &testing::Exchange) -> Option<&'static str> {
        let request = &exchange.request;
        let expected: Vec<(String, String)> =
            url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let body = |body: &Bytes| serde_json::from_slice::<Value>(body).ok();
        let mut headers = request.headers().iter();
        let same = |(name, value): (_, &HeaderValue)| ask.headers.get(name) == Some(value);
        if ask.method != *request.method() {
            Some("method")
        } else if self.parameters(ask.parameters()) != self.parameters(&expected) {
            Some("query")
        } else if !headers.all(same) {
            Some("headers")
        } else if body(&ask.body) != body(request.body()) {
            Some("body")
        } else {
            None
        }
    }
}

impl Api for Described {
    fn answer(&self, ask: &Ask, desk: &mut Desk) -> Reply {
        if self.is_token_endpoint(ask.path()) {
            return match desk.grant(ask, Place::Either, |_| true) {
                Ok(issued) => issued.standard_reply(),
                Err(refused) => refused.standard_reply(),
            };
        }
        if !self.lets_in(ask, desk) {
            return self.refusal(401);
        }
        let here = |exchange: &&testing::Exchange| exchange.request.uri().path() == ask.path();
        let mut differs = None;
        for exchange in self.exchanges.iter().filter(here) {
            match self.difference(ask, exchange) {
                None => return reply(exchange),
                Some(part) => differs = Some(part),
            }
        }
        match differs {
            Some(part) => {
                let message = format!("no test sends this request: its {part} is another");
                Reply::json(400, &json!({"message": message}))
            }
            None => self.refusal(404),
        }
    }

    fn refusal(&self, status: u16) -> Reply {
        Reply::json(
            status,
            &json!({"message": format!("the sandbox answers {status}")}),
        )
    }

    fn is_token_endpoint(&self, path: &str) -> bool {
        path == TOKEN_PATH && matches!(self.auth, Auth::Oauth { .. })
    }

    fn token(&self) -> &'static str {
        TOKEN
    }

    fn sample(&self, base: &str) -> String {
        let first = self
            .exchanges
            .iter()
            .find(|exchange| exchange.request.method() == Method::GET);
        let target = first.and_then(|exchange| exchange.request.uri().path_and_query());
        format!(
            "'{base}{}'",
            target.map_or("/", http::uri::PathAndQuery::as_str)
        )
    }

    fn values(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
}

fn reply(exchange: &testing::Exchange) -> Reply {
    let mut reply = Reply::text(exchange.status, "application/json", exchange.body.clone());
    reply.more.clone_from(&exchange.headers);
    reply
}
