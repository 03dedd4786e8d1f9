//! What is spoken with a provider, and the certificate that it shows.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::ValueEnum;
use tempfile::TempDir;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// How a request goes over the wire.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wire {
    /// https with HTTP/2.
    H2,
    /// https with HTTP/1.1.
    H1,
    /// HTTP/1.1 without TLS.
    Plain,
}

impl Wire {
    /// All of them, what providers speak most first.
    pub const ALL: [Self; 3] = [Self::H2, Self::H1, Self::Plain];

    /// The word that the command line has for it.
    pub fn word(self) -> String {
        let value = self
            .to_possible_value()
            .expect("a value of the command line");
        value.get_name().to_owned()
    }

    /// How addresses begin.
    pub fn scheme(self) -> &'static str {
        if self == Self::Plain { "http" } else { "https" }
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::H2 => "https, HTTP/2",
            Self::H1 => "https, HTTP/1.1",
            Self::Plain => "http",
        })
    }
}

/// A certificate of 127.0.0.1 and its key, in files.
pub struct Certificate(TempDir);

impl Certificate {
    /// A new one.
    pub fn new() -> Self {
        let files = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
        let made = made.expect("a certificate");
        fs::write(files.path().join("server.pem"), made.cert.pem()).expect("a file");
        let key = made.signing_key.serialize_pem();
        fs::write(files.path().join("server.key"), key).expect("a file");
        Self(files)
    }

    /// What a client trusts.
    pub fn file(&self) -> PathBuf {
        self.0.path().join("server.pem")
    }

    /// What only its server reads.
    pub fn key(&self) -> PathBuf {
        self.0.path().join("server.key")
    }
}

/// The server's side of TLS.
pub struct Certified {
    acceptor: TlsAcceptor,
    /// HTTP/2 is what is agreed on.
    pub speaks_h2: bool,
}

impl Certified {
    /// By certificate and key, if they are given.
    pub fn of(files: &[PathBuf], wire: Wire) -> Option<Self> {
        let [certificate, key] = files else {
            return None;
        };
        let speaks_h2 = wire == Wire::H2;
        let mut config = server(certificate, key);
        let agreed: &[u8] = if speaks_h2 { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![agreed.to_vec()];
        Some(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            speaks_h2,
        })
    }

    /// TLS over a connection.
    pub fn accept(
        &self,
        stream: tokio::net::TcpStream,
    ) -> tokio_rustls::Accept<tokio::net::TcpStream> {
        self.acceptor.accept(stream)
    }
}

fn server(certificate: &Path, key: &Path) -> ServerConfig {
    let chain = CertificateDer::from_pem_file(certificate).expect("the certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("its key");
    ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("a certificate with its key")
}
