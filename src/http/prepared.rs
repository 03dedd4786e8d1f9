//! A request as `reqwest` takes it.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request,
    header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT},
};

use super::{
    fence::{Fence, Taken},
    origin::Origin,
    whole,
};
use crate::{
    failure::{ErrorKind, Failure},
    policy::quota::Permission,
    provider::access::Access,
};

/// Who asks.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("lookup-worker/", env!("CARGO_PKG_VERSION")));
/// Whatever the provider has: most send JSON, some call it something else.
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// Headers that may be added to a request's own: those above, and what lets it in.
const ADDED: usize = 4;

/// A request to whoever answers at its origin, with what lets it in. It becomes `reqwest`'s each time that it is made,
/// which for most is once.
pub(super) struct Prepared<'a> {
    pub origin: Arc<Origin>,
    request: &'a Request<Bytes>,
    access: Option<&'a Access>,
    made: bool,
}

impl<'a> Prepared<'a> {
    pub fn new(
        request: &'a Request<Bytes>,
        access: Option<&'a Access>,
        origin: Arc<Origin>,
    ) -> Self {
        Self {
            origin,
            request,
            access,
            made: false,
        }
    }

    /// # Errors
    /// Where it cannot be sent as it is.
    pub fn make(
        &mut self,
        permission: Permission,
        taken: Option<Taken>,
    ) -> Result<reqwest::Request, Failure> {
        self.made = true;
        let mut headers = HeaderMap::with_capacity(self.request.headers().len() + ADDED);
        for (name, value) in self.request.headers() {
            headers.append(name, value.clone());
        }
        headers.insert(USER_AGENT, AGENT);
        headers.entry(ACCEPT).or_insert(ANYTHING);
        headers.entry(ACCEPT_ENCODING).or_insert(whole::ACCEPTED);
        let mut address = self.request.uri().clone();
        if let Some(access) = self.access {
            address = access.put(address, &mut headers).ok_or_else(no_address)?;
        }
        let path = address.path_and_query().ok_or_else(no_address)?;
        // A request for another path is another request.
        let url = self.origin.address(path).ok_or_else(|| {
            let message = "a value of the query would change the request's path; expected none that is `.` or `..`";
            Failure::new(ErrorKind::InvalidJob, message)
        })?;
        let mut request = reqwest::Request::new(self.request.method().clone(), url);
        *request.headers_mut() = headers;
        let body = Fence::around(self.request.body().clone(), permission, taken);
        *request.body_mut() = Some(reqwest::Body::wrap(body));
        Ok(request)
    }

    /// The same, of a request that is made once.
    ///
    /// # Errors
    /// As [`Self::make`], and where it was made before.
    pub fn make_once(&mut self, permission: Permission) -> Result<reqwest::Request, Failure> {
        if self.made {
            return Err(Failure::new(
                ErrorKind::Internal,
                "a bug: a request was about to be made twice",
            ));
        }
        self.make(permission, None)
    }
}

/// Of a request that cannot be sent anywhere.
pub(super) fn no_address() -> Failure {
    Failure::new(
        ErrorKind::Internal,
        "the request's address is none; check the provider's base_url",
    )
}
