//! The `reqwest` clients of a provider: what they trust, speak and keep.

use std::{
    error::Error,
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::{Client, ClientBuilder, Proxy, redirect, retry};
use rustls::{ClientConfig, RootCertStore};

use super::{
    Options,
    alpn::{AlpnLayer, Protocol},
    connections::Pair,
    origin::Origin,
};
use crate::{config::HttpVersion, tls::TlsMaterial};

/// Why there is no client.
pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// An idle connection is closed after this, before most servers do it (some after 5 s): a request on a
/// connection that is just being closed is lost.
const IDLE: Duration = Duration::from_secs(4);

/// What a stream of HTTP/2 may send unread, and what all of one connection may: they bound the memory of answers.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// A connection of HTTP/2 with open streams that is silent for so long is asked whether it lives, and has so long to
/// answer: one that a router forgot is given up within seconds, with all that waits on it.
const PING_AFTER: Duration = Duration::from_secs(5);
const PING_LIMIT: Duration = Duration::from_secs(3);

/// Makes the clients, each when it is first needed: the system's roots take a while to read and some memory to keep.
pub(super) struct Transport {
    options: Options,
    /// Read when the client was made, so that what is wrong with it is told then.
    material: TlsMaterial,
    /// Of all connections, so that a handshake of one is shorter by that on another.
    tls_one: Pair<ClientConfig>,
    /// Over HTTP/2.
    two: Pair<Client>,
    /// Over HTTP/1.1, and never on a connection that was used.
    fresh: Pair<Client>,
}

impl Transport {
    /// # Errors
    /// A sentence that names the file, where it cannot be used.
    pub fn new(options: Options) -> Result<Self, String> {
        let material = options.tls.read().map_err(|problem| problem.to_string())?;
        Ok(Self {
            options,
            material,
            tls_one: Pair::default(),
            two: Pair::default(),
            fresh: Pair::default(),
        })
    }

    /// What an origin is known to speak.
    pub fn protocol(&self, origin: &Origin) -> Protocol {
        match self.version(origin) {
            HttpVersion::One => Protocol::Http1,
            HttpVersion::Two => Protocol::Http2,
            HttpVersion::Auto => origin.alpn.protocol(),
        }
    }

    /// What is spoken there, or offered.
    pub fn version(&self, origin: &Origin) -> HttpVersion {
        match self.options.version {
            // By ALPN alone, which is of TLS.
            HttpVersion::Auto if !origin.is_secure() || origin.wants_one() => HttpVersion::One,
            version => version,
        }
    }

    /// The client that asks what an origin speaks. It keeps no connection: what it asked for is not its own affair.
    ///
    /// # Errors
    /// Why there is none.
    pub fn asking<'a>(&self, origin: &'a Origin) -> Result<&'a Client, Cause> {
        made(&origin.asking, || {
            let hearing = AlpnLayer(Arc::clone(&origin.alpn));
            let builder = self.builder(HttpVersion::Auto, true, 0)?;
            Ok(builder.connector_layer(hearing).build()?)
        })
    }

    /// The client for HTTP/2. One connection serves all who share it, and the library opens one at a time.
    ///
    /// # Errors
    /// Why there is none.
    pub fn two(&self, origin: &Origin) -> Result<&Client, Cause> {
        let secure = origin.is_secure();
        made(self.two.of(secure), || {
            Ok(self.builder(HttpVersion::Two, secure, 1)?.build()?)
        })
    }

    /// The client of a connection for HTTP/1.1.
    ///
    /// # Errors
    /// Why there is none.
    pub fn one<'a>(&self, lent: &'a Pair<Client>, origin: &Origin) -> Result<&'a Client, Cause> {
        let secure = origin.is_secure();
        made(lent.of(secure), || {
            Ok(self.builder(HttpVersion::One, secure, 1)?.build()?)
        })
    }

    /// The client for HTTP/1.1 that has a new connection for each request.
    ///
    /// # Errors
    /// Why there is none.
    pub fn fresh(&self, origin: &Origin) -> Result<&Client, Cause> {
        let secure = origin.is_secure();
        made(self.fresh.of(secure), || {
            Ok(self.builder(HttpVersion::One, secure, 0)?.build()?)
        })
    }

    fn builder(
        &self,
        version: HttpVersion,
        secure: bool,
        capacity: usize,
    ) -> Result<ClientBuilder, Cause> {
        let tls = match version {
            HttpVersion::One => {
                made(self.tls_one.of(secure), || self.tls(version, secure))?.clone()
            }
            _ => self.tls(version, secure)?,
        };
        let builder = Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(retry::never())
            .no_proxy()
            .connect_timeout(self.options.connect_timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(capacity)
            .tcp_nodelay(true)
            .tls_backend_preconfigured(tls);
        let builder = match &self.options.proxy {
            Some(proxy) => builder.proxy(Proxy::all(proxy.as_str())?),
            None => builder,
        };
        let builder = self.flight(builder);
        let builder = match version {
            HttpVersion::One => return Ok(builder.http1_only()),
            HttpVersion::Two => builder.http2_prior_knowledge(),
            HttpVersion::Auto => builder,
        };
        Ok(builder
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(PING_AFTER)
            .http2_keep_alive_timeout(PING_LIMIT))
    }

    /// What is sent and not acknowledged for so long breaks the connection. Under a second that would befall healthy
    /// ones.
    fn flight(&self, builder: ClientBuilder) -> ClientBuilder {
        let flight = self
            .options
            .flight
            .filter(|flight| *flight >= Duration::from_secs(1));
        #[cfg(target_os = "linux")]
        return builder.tcp_user_timeout(flight);
        #[cfg(not(target_os = "linux"))]
        {
            let _ = flight;
            builder
        }
    }

    fn tls(&self, version: HttpVersion, secure: bool) -> Result<ClientConfig, Cause> {
        let trusted = if secure {
            self.material.trusted()?
        } else {
            Arc::new(RootCertStore::empty())
        };
        let mut config = self.material.client(trusted)?;
        config.alpn_protocols = match version {
            HttpVersion::One => vec![b"http/1.1".into()],
            HttpVersion::Two => vec![b"h2".into()],
            HttpVersion::Auto => vec![b"h2".into(), b"http/1.1".into()],
        };
        Ok(config)
    }
}

/// What is in the cell, made where it is empty.
fn made<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T, Cause>) -> Result<&T, Cause> {
    match cell.get() {
        Some(made) => Ok(made),
        None => make().map(|made| cell.get_or_init(|| made)),
    }
}

#[cfg(test)]
mod tests;
