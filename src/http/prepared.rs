//! A request as `reqwest` takes it.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use url::Url;

use super::{
    fence::{Fence, Taken},
    origin::Origin,
};
use crate::{
    failure::{ErrorKind, Failure},
    policy::quota::Permission,
};

/// A request as `reqwest` takes it.
#[derive(Clone)]
pub(super) struct Prepared {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

impl Prepared {
    pub fn of(request: Request<Bytes>, origin: &Origin) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().ok_or_else(no_address)?;
        // A request for another path is another request.
        let url = origin.address(path).ok_or_else(|| {
            let message = "a value of the query would change the request's path; expected none that is `.` or `..`";
            Failure::new(ErrorKind::InvalidJob, message)
        })?;
        Ok(Self {
            method: parts.method,
            url,
            headers: parts.headers,
            body,
        })
    }

    pub fn request(self, permission: Permission, taken: Option<Taken>) -> reqwest::Request {
        let mut request = reqwest::Request::new(self.method, self.url);
        *request.headers_mut() = self.headers;
        let body = Fence::around(self.body, permission, taken);
        *request.body_mut() = Some(reqwest::Body::wrap(body));
        request
    }
}

/// Of a request that cannot be sent anywhere.
pub(super) fn no_address() -> Failure {
    Failure::new(
        ErrorKind::Internal,
        "the request's address is none; check the provider's base_url",
    )
}
