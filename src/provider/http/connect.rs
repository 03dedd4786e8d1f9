//! Connections to an origin: TCP, and TLS where its scheme is https.

use std::{error::Error, fmt, future::poll_fn, sync::OnceLock, time::Duration};

use http::Uri;
use hyper::client::conn::http1;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tower_service::Service;

use super::fence::Fence;
use crate::tls::{TlsFiles, TlsMaterial};

/// Why there is no connection.
pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// One connection's end for requests.
pub(super) type Sender = http1::SendRequest<Fence>;

/// Opens connections.
pub(super) struct Connector {
    tcp: HttpConnector,
    /// Read when the client was made, so that what is wrong with it is told then.
    material: TlsMaterial,
    /// Made for the first origin that needs it: the system's roots take a while to read and some memory to keep.
    tls: OnceLock<HttpsConnector<HttpConnector>>,
}

impl Connector {
    /// What is sent and not acknowledged within `user_timeout` breaks the connection.
    ///
    /// # Errors
    /// A sentence that names the file, where it cannot be used.
    pub fn new(files: &TlsFiles, user_timeout: Option<Duration>) -> Result<Self, String> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(user_timeout);
        #[cfg(not(target_os = "linux"))]
        let _ = user_timeout;
        let material = files.read().map_err(|problem| problem.to_string())?;
        Ok(Self {
            tcp,
            material,
            tls: OnceLock::new(),
        })
    }

    /// A connection to the origin of `uri`, ready for requests.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn open(&self, uri: Uri) -> Result<Sender, Cause> {
        let mut connector = match self.tls.get() {
            Some(tls) => tls.clone(),
            None if uri.scheme() == Some(&http::uri::Scheme::HTTPS) => {
                let tls = self.with_tls()?;
                self.tls.get_or_init(|| tls).clone()
            }
            None => {
                let mut tcp = self.tcp.clone();
                poll_fn(|context| tcp.poll_ready(context)).await?;
                return speak_http(tcp.call(uri).await?).await;
            }
        };
        poll_fn(|context| connector.poll_ready(context)).await?;
        speak_http(connector.call(uri).await?).await
    }

    fn with_tls(&self) -> Result<HttpsConnector<HttpConnector>, Cause> {
        let mut roots = RootCertStore::empty();
        // Some systems ship roots that nobody can read; the others do.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for root in CertificateDer::pem_slice_iter(
            self.material
                .authorities
                .as_deref()
                .unwrap_or_default()
                .as_bytes(),
        ) {
            roots.add(root?)?;
        }
        let crypto = rustls::crypto::aws_lc_rs::default_provider();
        let config = ClientConfig::builder_with_provider(crypto.into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match &self.material.identity {
            Some((chain, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>()?;
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?
            }
            None => config.with_no_client_auth(),
        };
        Ok(HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(self.tcp.clone()))
    }
}

/// HTTP/1.1 on what was connected. It is served by a task of its own until either end has had enough.
async fn speak_http<T>(stream: T) -> Result<Sender, Cause>
where
    T: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(stream).await?;
    // What ends it is told to whoever waits for an answer.
    tokio::spawn(async move { _ = connection.await });
    Ok(sender)
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}
