//! Where requests go: scheme, host and port (RFC 9110 §4.3.1), and what is known of who answers there.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use reqwest::Client;
use url::Url;

use super::alpn::Alpn;

/// One origin.
pub(super) struct Origin {
    scheme: Scheme,
    authority: Authority,
    /// Its address without a path. To read it anew for each request would cost more than the rest of the address.
    root: Url,
    pub alpn: Arc<Alpn>,
    /// It refuses what is not spoken over HTTP/1.1.
    wants_one: AtomicBool,
    /// Made when somebody has to ask what it speaks.
    pub asking: OnceLock<Client>,
}

impl Origin {
    fn of(scheme: &Scheme, authority: &Authority) -> Option<Self> {
        Some(Self {
            root: Url::parse(&format!("{scheme}://{authority}/")).ok()?,
            scheme: scheme.clone(),
            authority: authority.clone(),
            alpn: Alpn::new(),
            wants_one: AtomicBool::new(false),
            asking: OnceLock::new(),
        })
    }

    pub fn is_secure(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    pub fn wants_one(&self) -> bool {
        self.wants_one.load(Ordering::Relaxed)
    }

    /// It said so.
    pub fn said_to_want_one(&self) {
        self.wants_one.store(true, Ordering::Relaxed);
    }

    /// The address of a path here. None where `reqwest` would make another one of it: segments such as `..` are lost.
    pub fn address(&self, path: &PathAndQuery) -> Option<Url> {
        let mut url = self.root.clone();
        url.set_path(path.path());
        url.set_query(path.query());
        (url.path() == path.path()).then_some(url)
    }
}

/// The origins of a client: the provider's, and that of its tokens.
#[derive(Default)]
pub(super) struct Origins(Mutex<Vec<Arc<Origin>>>);

impl Origins {
    /// Of an address; none where it has no host.
    pub fn of(&self, address: &Uri) -> Option<Arc<Origin>> {
        let (scheme, authority) = (address.scheme()?, address.authority()?);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known
            .iter()
            .find(|origin| origin.scheme == *scheme && origin.authority == *authority);
        if let Some(origin) = found {
            return Some(Arc::clone(origin));
        }
        let origin = Arc::new(Origin::of(scheme, authority)?);
        known.push(Arc::clone(&origin));
        Some(origin)
    }
}
