//! TLS: whom to trust besides the system's authorities, and as whom to come.
//!
//! The files are read when a connection to the broker is opened, and when a provider's client is made: at start and
//! at SIGHUP. What is wrong with them is told by key and file, never by what they hold.

mod client;

use std::{
    error::Error,
    fmt::Display,
    fs, io,
    path::{Path, PathBuf},
};

use rustls::{
    AlertDescription, CertificateError, InvalidMessage, PeerIncompatible, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

/// The keys `ca_file`, `client_cert_file` and `client_key_file` of one section; all PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate to come with, followed by those between it and its authority.
    pub client_cert_file: Option<PathBuf>,
    /// Its key.
    pub client_key_file: Option<PathBuf>,
}

/// What the files hold, checked.
#[derive(Default)]
pub struct TlsMaterial {
    /// The authorities, PEM.
    pub authorities: Option<String>,
    /// The certificate with its chain, and its key; both PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct TlsProblem {
    /// The key that names the file.
    pub key: &'static str,
    /// What is wrong; names the file.
    pub problem: String,
}

const CA: &str = "ca_file";
const CERT: &str = "client_cert_file";
const KEY: &str = "client_key_file";

impl TlsFiles {
    /// Whether no file is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the files and checks that they can be used.
    ///
    /// # Errors
    /// The first key that is wrong, and what is wrong with its file.
    pub fn read(&self) -> Result<TlsMaterial, TlsProblem> {
        let authorities = self.ca_file.as_deref().map(authorities).transpose()?;
        let identity = match (&self.client_cert_file, &self.client_key_file) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(identity(certificate, key)?),
            (Some(_), None) => {
                return Err(problem(
                    KEY,
                    "missing key; expected beside `client_cert_file`",
                ));
            }
            (None, Some(_)) => {
                return Err(problem(
                    CERT,
                    "missing key; expected beside `client_key_file`",
                ));
            }
        };
        Ok(TlsMaterial {
            authorities,
            identity,
        })
    }
}

fn problem(key: &'static str, problem: impl Display) -> TlsProblem {
    TlsProblem {
        key,
        problem: problem.to_string(),
    }
}

fn contents(key: &'static str, file: &Path) -> Result<Vec<u8>, TlsProblem> {
    fs::read(file).map_err(|error| {
        problem(
            key,
            format_args!("{} cannot be read: {error}", file.display()),
        )
    })
}

/// The certificates of a file, one or more.
fn certificates(
    key: &'static str,
    file: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let unusable = |why: &dyn Display| {
        problem(
            key,
            format_args!("{} cannot be used: {why}", file.display()),
        )
    };
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let read = read.map_err(|_| unusable(&"it is no well-formed PEM"))?;
    if read.is_empty() {
        return Err(unusable(
            &"it holds no certificate; expected PEM, -----BEGIN CERTIFICATE-----",
        ));
    }
    Ok(read)
}

fn authorities(file: &Path) -> Result<String, TlsProblem> {
    let pem = contents(CA, file)?;
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(certificates(CA, file, &pem)?) {
        roots.add(certificate).map_err(|error| {
            problem(
                CA,
                format_args!(
                    "certificate {number} of {} cannot be used: {error}",
                    file.display()
                ),
            )
        })?;
    }
    String::from_utf8(pem).map_err(|_| {
        problem(
            CA,
            format_args!("{} is no text; expected PEM", file.display()),
        )
    })
}

fn identity(certificate: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>), TlsProblem> {
    let (chain_pem, key_pem) = (contents(CERT, certificate)?, contents(KEY, key)?);
    let chain = certificates(CERT, certificate, &chain_pem)?;
    let unusable =
        |why: &dyn Display| problem(KEY, format_args!("{} cannot be used: {why}", key.display()));
    let private = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| {
        let encrypted = key_pem.windows(9).any(|word| word == b"ENCRYPTED");
        unusable(if encrypted {
            &"the key is encrypted; expected one without a passphrase, as `openssl pkey` writes it"
        } else {
            &"it holds no private key; expected PEM, -----BEGIN PRIVATE KEY-----"
        })
    })?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider()).map_err(|error| {
        match error {
            rustls::Error::InconsistentKeys(_) => unusable(&format_args!(
                "it is not the key of the certificate in {}",
                certificate.display()
            )),
            // What it says in detail may quote the key.
            _ => unusable(&format_args!(
                "its kind is not supported, or the certificate in {} is damaged",
                certificate.display()
            )),
        }
    })?;
    Ok((chain_pem, key_pem))
}

/// What a failed handshake means and what to do, where TLS was what failed.
#[must_use]
pub fn explain(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error's source is that of what it wraps, which would be passed over.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let inner = wrapped
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            .or_else(|| error.downcast_ref());
        if let Some(meaning) = inner.and_then(meaning) {
            return Some(meaning);
        }
        next = wrapped
            .map(|inner| inner as &(dyn Error + 'static))
            .or_else(|| error.source());
    }
    None
}

fn meaning(error: &rustls::Error) -> Option<&'static str> {
    use rustls::Error::{
        AlertReceived, InvalidCertificate, InvalidMessage as Unreadable, NoApplicationProtocol,
        PeerIncompatible as Incompatible,
    };
    Some(match error {
        InvalidCertificate(problem) => of_certificate(problem)?,
        AlertReceived(alert) => of_alert(*alert)?,
        NoApplicationProtocol => NO_COMMON_HTTP,
        Incompatible(problem) => of_versions(problem),
        Unreadable(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS on this port; check scheme and port of the address"
        }
        _ => return None,
    })
}

const NO_COMMON_HTTP: &str = "it speaks another version of HTTP than is asked for here; set `http` to \"auto\", or to \"2\" if it speaks HTTP/2 alone";

const NO_COMMON_VERSION: &str = "it speaks neither TLS 1.2 nor TLS 1.3, and nothing older is spoken here; one of them is needed there";

const NO_COMMON_SUITE: &str = "it has no cipher suite or curve in common with this worker (ECDHE with AES-GCM or ChaCha20-Poly1305 is spoken here); \
     one is needed there";

fn of_versions(problem: &PeerIncompatible) -> &'static str {
    use PeerIncompatible as Problem;
    match problem {
        Problem::ServerDoesNotSupportTls12Or13
        | Problem::ServerTlsVersionIsDisabledByOurConfig
        | Problem::SupportedVersionsExtensionRequired
        | Problem::Tls12NotOffered
        | Problem::Tls12NotOfferedOrEnabled => NO_COMMON_VERSION,
        _ => NO_COMMON_SUITE,
    }
}

fn of_certificate(problem: &CertificateError) -> Option<&'static str> {
    use CertificateError as Problem;
    Some(match problem {
        Problem::UnknownIssuer => {
            "the authority of its certificate is not trusted here, or its chain is incomplete (it leaves out the certificates \
             between its own and the authority's, which browsers fetch and others do not); let it send the whole chain, or \
             give the authority's certificate, and those between, as ca_file"
        }
        Problem::Expired | Problem::ExpiredContext { .. } => {
            "its certificate has expired; renew it there, or check this machine's clock"
        }
        Problem::NotValidYet | Problem::NotValidYetContext { .. } => {
            "its certificate is not valid yet; check this machine's clock"
        }
        Problem::NotValidForName | Problem::NotValidForNameContext { .. } => {
            "its certificate is for another name; use the name that stands in the certificate as the address's host"
        }
        Problem::InvalidPurpose | Problem::InvalidPurposeContext { .. } => {
            "its certificate is none for servers; one with that purpose is needed there"
        }
        Problem::UnsupportedSignatureAlgorithmContext { .. }
        | Problem::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its certificate is signed in a way that is not supported (SHA-1, or a key of an uncommon kind); a newer one is \
             needed there"
        }
        Problem::BadSignature => {
            "its certificate is signed by another key than that of the authority of that name that is trusted here; where that \
             authority was renewed, give its new certificate as ca_file"
        }
        Problem::Revoked => "its certificate was revoked; a new one is needed there",
        // The verifier's own word has no name of its own here.
        Problem::Other(other) => match format!("{:?}", other.0).as_str() {
            "CaUsedAsEndEntity" => {
                "its certificate is an authority's (CA:TRUE), as `openssl req -x509` makes them, and none for servers, also where it \
                 stands in ca_file; make one with `-addext basicConstraints=critical,CA:FALSE`, or one signed by that authority"
            }
            "UnsupportedCertVersion" => {
                "its certificate is of X.509 version 1, which cannot name hosts; one of version 3 with its names \
                 (subjectAltName) is needed there"
            }
            _ => return None,
        },
        _ => return None,
    })
}

fn of_alert(alert: AlertDescription) -> Option<&'static str> {
    use AlertDescription as Alert;
    Some(match alert {
        Alert::CertificateRequired => {
            "it asks for a client certificate; give client_cert_file and client_key_file"
        }
        Alert::UnknownCA
        | Alert::CertificateUnknown
        | Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::DecryptError => {
            "it does not accept the client certificate; give one of an authority that it trusts"
        }
        Alert::CertificateExpired => "it says that the client certificate has expired; renew it",
        Alert::CertificateRevoked => "it says that the client certificate was revoked; renew it",
        Alert::HandshakeFailure => {
            "it refuses the handshake; where it asks for a client certificate, give client_cert_file and client_key_file; else it \
             has no cipher suite in common with this worker"
        }
        Alert::ProtocolVersion => NO_COMMON_VERSION,
        Alert::InsufficientSecurity => NO_COMMON_SUITE,
        Alert::NoApplicationProtocol => NO_COMMON_HTTP,
        Alert::UnrecognisedName => "it serves no host of this name; check the host of the address",
        _ => return None,
    })
}
