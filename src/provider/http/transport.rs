//! The `reqwest` clients of a provider: what they trust, speak and keep.

use std::{
    error::Error,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::uri::Scheme;
use reqwest::{Client, ClientBuilder, Proxy, redirect, retry};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{
    Options, Version,
    gate::{Gate, Gated, Speech},
};
use crate::tls::TlsMaterial;

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

/// The system's authorities are read again after this: at SIGHUP, for what is renewed then.
const ROOTS_AGE: Duration = Duration::from_secs(30);

/// Makes the clients, each when it is first needed: the system's roots take a while to read and some memory to keep.
pub(super) struct Transport {
    options: Options,
    /// Read when the client was made, so that what is wrong with it is told then.
    material: TlsMaterial,
    gate: Arc<Gate>,
    /// It refuses what is not spoken over HTTP/1.1.
    one: AtomicBool,
    plain: OnceLock<Client>,
    secure: OnceLock<Client>,
    /// Over TLS and HTTP/1.1, where HTTP/2 might be agreed on.
    secure_one: OnceLock<Client>,
    /// Over HTTP/1.1, and never on a connection that was used.
    fresh: OnceLock<Client>,
}

/// Which client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// On a connection that is there, or a new one.
    Any,
    /// On a new one.
    Fresh,
}

impl Transport {
    /// # Errors
    /// A sentence that names the file, where it cannot be used.
    pub fn new(options: Options) -> Result<Self, String> {
        let material = options.tls.read().map_err(|problem| problem.to_string())?;
        Ok(Self {
            options,
            material,
            gate: Gate::new(),
            one: AtomicBool::new(false),
            plain: OnceLock::new(),
            secure: OnceLock::new(),
            secure_one: OnceLock::new(),
            fresh: OnceLock::new(),
        })
    }

    /// What the provider at such an address is known to speak.
    pub fn speech(&self, scheme: &Scheme) -> Speech {
        match self.version(scheme) {
            Version::One => Speech::One,
            Version::Two => Speech::Two,
            Version::Auto => self.gate.speech(),
        }
    }

    /// An answer came in this version.
    pub fn heard(&self, version: http::Version) {
        self.gate.heard(version);
    }

    /// It refuses what is not spoken over HTTP/1.1.
    pub fn wants_one(&self) {
        self.one.store(true, Ordering::Relaxed);
    }

    /// Whether connects are to be told from those that nobody waits for any more.
    pub fn is_gated(&self, scheme: &Scheme) -> bool {
        self.version(scheme) != Version::One
    }

    fn version(&self, scheme: &Scheme) -> Version {
        match self.options.version {
            // By ALPN alone, which is of TLS.
            Version::Auto if *scheme != Scheme::HTTPS || self.one.load(Ordering::Relaxed) => {
                Version::One
            }
            version => version,
        }
    }

    /// The client for an address of this scheme.
    ///
    /// # Errors
    /// Why there is none.
    pub fn client(&self, scheme: &Scheme, way: Way) -> Result<&Client, Cause> {
        // Over HTTP/2 the one that broke is in nobody's way, and the next serves all who ask again.
        let fresh = way == Way::Fresh && self.speech(scheme) == Speech::One;
        let version = if fresh {
            Version::One
        } else {
            self.version(scheme)
        };
        let client = match () {
            () if fresh => &self.fresh,
            () if *scheme == Scheme::HTTPS && version == Version::One => &self.secure_one,
            () if *scheme == Scheme::HTTPS => &self.secure,
            () => &self.plain,
        };
        if let Some(client) = client.get() {
            return Ok(client);
        }
        // The fresh one is rare, and may be for either scheme.
        let trusting = fresh || *scheme == Scheme::HTTPS;
        let capacity = if fresh {
            0
        } else {
            self.options.concurrency.into()
        };
        let made = self.builder(version, trusting, capacity)?.build()?;
        Ok(client.get_or_init(|| made))
    }

    fn builder(
        &self,
        version: Version,
        trusting: bool,
        capacity: usize,
    ) -> Result<ClientBuilder, Cause> {
        let tls = self.tls(version, trusting)?;
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
            Version::One => return Ok(builder.http1_only()),
            Version::Two => builder.http2_prior_knowledge(),
            Version::Auto => builder,
        };
        Ok(builder
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(PING_AFTER)
            .http2_keep_alive_timeout(PING_LIMIT)
            .connector_layer(Gated(Arc::clone(&self.gate))))
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

    fn tls(&self, version: Version, trusting: bool) -> Result<ClientConfig, Cause> {
        let roots = match &self.material.authorities {
            _ if !trusting => Arc::new(RootCertStore::empty()),
            None => system_roots(),
            Some(authorities) => {
                let mut roots = RootCertStore::clone(&system_roots());
                for root in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
                    roots.add(root?)?;
                }
                Arc::new(roots)
            }
        };
        let crypto = rustls::crypto::aws_lc_rs::default_provider();
        let config = ClientConfig::builder_with_provider(crypto.into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match &self.material.identity {
            Some((chain, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>()?;
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = match version {
            Version::One => vec![b"http/1.1".into()],
            Version::Two => vec![b"h2".into()],
            Version::Auto => vec![b"h2".into(), b"http/1.1".into()],
        };
        Ok(config)
    }
}

/// The system's authorities, kept once for all providers.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: Mutex<Option<(Instant, Arc<RootCertStore>)>> = Mutex::new(None);
    let mut known = ROOTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((read, roots)) = &*known
        && read.elapsed() < ROOTS_AGE
    {
        return Arc::clone(roots);
    }
    let mut roots = RootCertStore::empty();
    // Some systems ship roots that nobody can read; the others do.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let roots = Arc::new(roots);
    *known = Some((Instant::now(), Arc::clone(&roots)));
    roots
}

#[cfg(test)]
mod tests;
