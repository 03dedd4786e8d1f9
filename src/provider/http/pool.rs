//! Connections that wait for the next request. The one used last is used first, so that few are kept warm and the
//! rest grow old.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use http::{
    HeaderValue, Request, Response, Uri,
    header::HOST,
    uri::{Authority, Parts, Scheme},
};
use hyper::body::Incoming;

use super::{
    connect::{Cause, Connector, Sender},
    fence::Fence,
};

/// An idle connection is closed after this, before most servers do it (some after 5 s): a request on a
/// connection that is just being closed is lost.
const IDLE: Duration = Duration::from_secs(4);

/// The connections of one client.
pub(super) struct Pool {
    connector: Connector,
    capacity: usize,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    leases: Vec<Lease>,
    /// Somebody sees to it that they do not grow old.
    watched: bool,
}

/// A connection in use, or ready to be used again.
pub(super) struct Lease {
    sender: Sender,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    since: Instant,
}

/// Why there is no answer.
pub(super) enum Unsent {
    /// The request has no absolute address.
    NoAddress,
    /// No connection came about.
    NoConnection(Cause),
    /// It broke, and the request may have arrived.
    Broken(hyper::Error),
}

impl Pool {
    /// With room for so many idle connections.
    pub fn new(connector: Connector, capacity: usize) -> Arc<Self> {
        Arc::new(Self { connector, capacity, idle: Mutex::default() })
    }

    /// The head of the answer. The connection is to be given back once the body was read.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn send(&self, mut request: Request<Fence>) -> Result<(Response<Incoming>, Lease), Unsent> {
        let (scheme, authority) = origin_form(&mut request).ok_or(Unsent::NoAddress)?;
        loop {
            let idle = self.take(&scheme, &authority);
            let used_before = idle.is_some();
            let mut lease = match idle {
                Some(lease) => lease,
                // Rare, and large: boxed, since the room for it would be in every request's future.
                None => Box::pin(self.open(&scheme, &authority)).await?,
            };
            if let Err(error) = lease.sender.ready().await {
                if used_before {
                    continue;
                }
                return Err(Unsent::Broken(error));
            }
            request.headers_mut().insert(HOST, lease.host.clone());
            let mut unsent = match lease.sender.try_send_request(request).await {
                Ok(answer) => return Ok((answer, lease)),
                Err(unsent) => unsent,
            };
            // Not a byte of it was written: the other end had closed the connection meanwhile.
            match unsent.take_message() {
                Some(back) if used_before => request = back,
                _ => return Err(Unsent::Broken(unsent.into_error())),
            }
        }
    }

    /// A connection whose answer was read to its end.
    pub fn give_back(self: &Arc<Self>, mut lease: Lease) {
        lease.since = Instant::now();
        let mut idle = self.idle();
        if idle.leases.len() < self.capacity {
            idle.leases.push(lease);
            if !std::mem::replace(&mut idle.watched, true) {
                tokio::spawn(retire(Arc::downgrade(self)));
            }
        }
    }

    fn take(&self, scheme: &Scheme, authority: &Authority) -> Option<Lease> {
        let leases = &mut self.idle().leases;
        let at = leases.iter().rposition(|lease| lease.scheme == *scheme && lease.authority == *authority)?;
        Some(leases.remove(at)).filter(|lease| !lease.is_old())
    }

    async fn open(&self, scheme: &Scheme, authority: &Authority) -> Result<Lease, Unsent> {
        let origin = Uri::builder().scheme(scheme.clone()).authority(authority.clone()).path_and_query("/");
        let origin = origin.build().map_err(|_| Unsent::NoAddress)?;
        let sender = self.connector.open(origin).await.map_err(Unsent::NoConnection)?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Unsent::NoAddress)?;
        Ok(Lease { sender, scheme: scheme.clone(), authority: authority.clone(), host, since: Instant::now() })
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what is idle for too long, until nothing is.
async fn retire(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(IDLE / 2).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle();
        idle.leases.retain(|lease| !lease.is_old());
        if idle.leases.is_empty() {
            idle.watched = false;
            return;
        }
    }
}

impl Lease {
    fn is_old(&self) -> bool {
        self.since.elapsed() >= IDLE
    }
}

/// Leaves path and query in the request, as a server expects it, and tells where it is to go.
fn origin_form(request: &mut Request<Fence>) -> Option<(Scheme, Authority)> {
    let address = std::mem::take(request.uri_mut()).into_parts();
    let mut parts = Parts::default();
    parts.path_and_query = address.path_and_query;
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    Some((address.scheme?, address.authority?))
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Pool").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
