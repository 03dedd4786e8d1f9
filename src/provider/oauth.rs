//! What a request is let in by. (The grant itself follows with the other kinds.)

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use secrecy::ExposeSecret;

use super::{Adapter, http::Client};
use crate::{
    config::Credentials,
    failure::{ErrorKind, Failure},
};

/// A provider's tokens.
#[derive(Debug)]
pub struct Tokens {
    adapter: Adapter,
    credentials: Credentials,
}

impl Tokens {
    /// From the provider's settings.
    #[must_use]
    pub fn new(adapter: Adapter, credentials: Credentials) -> Self {
        Self { adapter, credentials }
    }

    /// The header for the next request.
    ///
    /// # Errors
    /// Where no token can be had.
    pub async fn authorization(&self, _http: &Client, _limit: Duration) -> Result<(HeaderName, HeaderValue), Failure> {
        let Credentials::Token(token) = &self.credentials else {
            return Err(Failure::new(ErrorKind::Unauthorized, "oauth is not there yet"));
        };
        self.adapter
            .authorization(token.expose_secret())
            .map_err(|_| Failure::new(ErrorKind::Unauthorized, "no header can hold the token"))
    }

    /// Whether another attempt makes sense after a 401.
    pub fn refused(&self, _used: &HeaderValue) -> bool {
        false
    }
}
