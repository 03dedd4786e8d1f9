//! The last look at a permission: as late as the HTTP client lets anybody look.
//!
//! Between a permission and the request's bytes in the socket lie a wait for a connection, or DNS, connect and TLS,
//! and the process may be frozen in any of them. So the permission travels with the request's body, which the client
//! asks about only when it puts the head into its buffer, and before it writes. While the permission is good the body
//! is what it is, to the byte; once it is void the body fails, and with it the request, before anything of it was
//! written.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::{clock::Moment, policy::quota::Permission};

/// A request's body that goes out in time or not at all.
pub(super) struct Fence {
    body: Option<Bytes>,
    permission: Permission,
}

impl Fence {
    pub fn around(body: Bytes, permission: Permission) -> Self {
        Self {
            body: Some(body).filter(|body| !body.is_empty()),
            permission,
        }
    }

    fn is_shut(&self) -> bool {
        self.permission != Permission::UNLIMITED && self.permission.is_void(Moment::now())
    }
}

impl Body for Fence {
    type Data = Bytes;
    type Error = Void;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context,
    ) -> Poll<Option<Result<Frame<Bytes>, Void>>> {
        if self.is_shut() {
            return Poll::Ready(Some(Err(Void)));
        }
        Poll::Ready(self.body.take().map(|body| Ok(Frame::data(body))))
    }

    /// An empty body has ended, and the client asks no more; but not where it is to fail.
    fn is_end_stream(&self) -> bool {
        self.body.is_none() && !self.is_shut()
    }

    /// What is to fail must seem to hold something, or the client would not come for it.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.as_ref().map_or(1, |body| body.len() as u64))
    }
}

/// Whether this is why a request failed.
pub(super) fn held_back(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<Void>()
}

/// The permission was void.
#[derive(Debug)]
pub(super) struct Void;

impl fmt::Display for Void {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the permission is void")
    }
}

impl Error for Void {}

#[cfg(test)]
mod tests;
