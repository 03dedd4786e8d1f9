//! A client's part of TLS, to the broker and to providers: whom it trusts, and as whom it comes.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::TlsMaterial;

/// Why there is none; the files were checked when they were read.
type Cause = Box<dyn Error + Send + Sync>;

/// The system's authorities are read again after this, for what was renewed: at SIGHUP, and where the broker is connected
/// to anew.
const ROOTS_AGE: Duration = Duration::from_secs(30);

impl TlsMaterial {
    /// The system's authorities and those of the file, kept once for all who trust the same.
    ///
    /// # Errors
    /// Why one of the file's cannot be used.
    pub fn trusted(&self) -> Result<Arc<RootCertStore>, Cause> {
        static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.read.elapsed() < ROOTS_AGE);
        let of_the_system = Known::among(&mut known, None, || Ok(system_roots()))?;
        Known::among(&mut known, self.authorities.as_deref(), || {
            let mut roots = RootCertStore::clone(&of_the_system);
            let authorities = self.authorities.as_deref().unwrap_or_default();
            for root in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
                roots.add(root?)?;
            }
            Ok(roots)
        })
    }

    /// TLS 1.2 and 1.3 with whoever these authorities vouch for, by the certificate, if there is one, and without ALPN.
    ///
    /// # Errors
    /// Why the certificate or its key cannot be used.
    pub fn client(&self, trusted: Arc<RootCertStore>) -> Result<ClientConfig, Cause> {
        let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trusted);
        let Some((chain, key)) = &self.identity else {
            return Ok(config.with_no_client_auth());
        };
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>()?;
        Ok(config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?)
    }
}

/// Authorities that were read a moment ago.
struct Known {
    /// Those besides the system's.
    authorities: Option<String>,
    read: Instant,
    roots: Arc<RootCertStore>,
}

impl Known {
    /// Those that are known; read where they are not.
    fn among(
        known: &mut Vec<Self>,
        authorities: Option<&str>,
        read: impl FnOnce() -> Result<RootCertStore, Cause>,
    ) -> Result<Arc<RootCertStore>, Cause> {
        let same = |known: &&Self| known.authorities.as_deref() == authorities;
        if let Some(known) = known.iter().find(same) {
            return Ok(Arc::clone(&known.roots));
        }
        let roots = Arc::new(read()?);
        known.push(Self {
            authorities: authorities.map(str::to_owned),
            read: Instant::now(),
            roots: Arc::clone(&roots),
        });
        Ok(roots)
    }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Some systems ship roots that nobody can read; the others do.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
