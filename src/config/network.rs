//! What may cross a network, and in what.

use url::{Host, Url};

use super::ConfigError;
use crate::tls::{TlsFiles, TlsProblem};

/// The files that TLS needs can be read, and hold what they should.
pub(crate) fn usable(path: &str, tls: &TlsFiles) -> Result<(), ConfigError> {
    let checked = tls.read().map(drop);
    checked
        .map_err(|TlsProblem { key, problem }| ConfigError::at(&format!("{path}.{key}"), problem))
}

/// A token must not cross a network in clear.
pub(crate) fn https_or_local(key: &str, url: &Url, allowed: bool) -> Result<(), ConfigError> {
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if local || allowed => Ok(()),
        "http" => Err(ConfigError::at(
            key,
            "an http:// address would send the token in clear; expected https://, a loopback host, \
             or allow_insecure_http = true",
        )),
        other => Err(ConfigError::at(
            key,
            format_args!("expected an https:// address, its scheme is {other:?}"),
        )),
    }
}
