//! The last look at a permission: as late as the HTTP client lets anybody look.
//!
//! Between a permission and the request's bytes in the socket lie a wait for a connection, or DNS, connect and TLS,
//! and the process may be frozen in any of them. So the permission travels with the request's body, which the client
//! asks about only when it takes the request for a connection.
//!
//! Over HTTP/1.1 that is when it puts the head into its buffer, and before it writes. While the permission is good the
//! body is what it is, to the byte; once it is void the body fails, and with it the request, before anything of it
//! was written. Over HTTP/2 a request that was taken is in a queue that another task writes out: no body can hold it
//! back there, so a quota that all workers share does not speak it (`policy::quota`, "HTTP/2").

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::{clock::Moment, policy::quota::Permission};

/// Whether a connection has taken the request.
pub(super) type Taken = Arc<AtomicBool>;

/// A request's body that goes out in time or not at all.
pub(super) struct Fence {
    body: Option<Bytes>,
    permission: Permission,
    taken: Option<Taken>,
}

impl Fence {
    /// Who wants to know when a connection takes it gives `taken`.
    pub fn around(body: Bytes, permission: Permission, taken: Option<Taken>) -> Self {
        Self {
            body: Some(body).filter(|body| !body.is_empty()),
            permission,
            taken,
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
        if let Some(taken) = &self.taken {
            taken.store(true, Ordering::Release);
        }
        self.body.is_none() && !self.is_shut()
    }

    /// What is to fail must seem to hold something, or the client would not come for it.
    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => SizeHint::with_exact(body.len() as u64),
            None if self.is_shut() => SizeHint::with_exact(1),
            None => SizeHint::with_exact(0),
        }
    }
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
