//! Connections that wait for the next request. The one used last is used first, so that few are kept warm and the
//! rest grow old; and beyond the first few a request of bulk rather waits a moment for one than opens another.

use std::{
    collections::VecDeque,
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
use tokio::{sync::oneshot, time::timeout};

use super::{
    connect::{Cause, Connector, Sender},
    fence::Fence,
};
use crate::job::Lane;

/// An idle connection is closed after this, before most servers do it (some after 5 s): a request on a
/// connection that is just being closed is lost.
const IDLE: Duration = Duration::from_secs(4);

/// So many connections are opened as soon as they are wanted.
const AT_ONCE: usize = 16;

/// For bulk, those beyond are opened once there was a need of them for so long without a break. Jobs come in bunches,
/// for which there would soon be a connection for each job in flight where a few will do; and each costs some 40 KB here,
/// and more at the provider. It must be well under the time for which a permission is good ([`Terms::validity`]).
///
/// [`Terms::validity`]: crate::policy::quota::Terms::validity
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

/// The connections of one client.
pub(super) struct Pool {
    connector: Connector,
    capacity: usize,
    patience: Duration,
    idle: Mutex<Idle>,
    /// Held once by the pool, and once by each connection that there is or will be, in use or not.
    count: Arc<()>,
}

#[derive(Default)]
struct Idle {
    leases: Vec<Lease>,
    /// Somebody sees to it that they do not grow old.
    watched: bool,
    /// Requests that wait for one, the first first.
    waiting: VecDeque<Waiting>,
    /// Since then each that was given back had somebody waiting for it.
    short_since: Option<Instant>,
}

/// Where a connection leads to.
#[derive(Clone, PartialEq)]
struct Origin {
    scheme: Scheme,
    authority: Authority,
}

/// A request that waits for a connection.
struct Waiting {
    origin: Origin,
    handed: oneshot::Sender<Lease>,
}

/// A connection in use, or ready to be used again.
pub(super) struct Lease {
    sender: Sender,
    origin: Origin,
    host: HeaderValue,
    since: Instant,
    /// One of the pool's count.
    _counted: Arc<()>,
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
    pub fn new(connector: Connector, capacity: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            connector,
            capacity,
            patience,
            idle: Mutex::default(),
            count: Arc::default(),
        })
    }

    /// The head of the answer. The connection is to be given back once the body was read.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn send(
        &self,
        mut request: Box<Request<Fence>>,
        lane: Lane,
    ) -> Result<(Response<Incoming>, Lease), Unsent> {
        let origin = origin_form(&mut request).ok_or(Unsent::NoAddress)?;
        let mut patience = if lane == Lane::Bulk {
            self.patience
        } else {
            Duration::ZERO
        };
        loop {
            let idle = self.free(&origin, patience).await;
            // One that turns out to be closed is replaced without a wait.
            patience = Duration::ZERO;
            let used_before = idle.is_some();
            let mut lease = match idle {
                Some(lease) => lease,
                // Rare, and large: boxed, since the room for it would be in every request's future.
                None => Box::pin(self.open(&origin, Arc::clone(&self.count))).await?,
            };
            if let Err(error) = lease.sender.ready().await {
                if used_before {
                    continue;
                }
                return Err(Unsent::Broken(error));
            }
            request.headers_mut().insert(HOST, lease.host.clone());
            let mut unsent = match lease.sender.try_send_request(*request).await {
                Ok(answer) => return Ok((answer, lease)),
                Err(unsent) => unsent,
            };
            // Not a byte of it was written: the other end had closed the connection meanwhile.
            match unsent.take_message() {
                Some(back) if used_before => *request = back,
                _ => return Err(Unsent::Broken(unsent.into_error())),
            }
        }
    }

    /// A connection whose answer was read to its end.
    pub fn give_back(self: &Arc<Self>, mut lease: Lease) {
        lease.since = Instant::now();
        let mut idle = self.idle();
        let Some(lease) = idle.hand_on(lease) else {
            return;
        };
        idle.short_since = None;
        if idle.leases.len() < self.capacity {
            idle.leases.push(lease);
            if !std::mem::replace(&mut idle.watched, true) {
                tokio::spawn(retire(Arc::downgrade(self)));
            }
        }
    }

    /// One that is free, at once or soon.
    async fn free(&self, origin: &Origin, patience: Duration) -> Option<Lease> {
        let (wait, handed) = {
            let mut idle = self.idle();
            let lease = idle.take(origin);
            if lease.is_some() || Arc::strong_count(&self.count) <= AT_ONCE {
                return lease;
            }
            let short_for = idle.short_since.get_or_insert_with(Instant::now).elapsed();
            (
                patience.checked_sub(short_for)?,
                idle.wait_for(origin.clone()),
            )
        };
        timeout(wait, handed).await.ok()?.ok()
    }

    /// Another connection, counted from the first.
    async fn open(&self, origin: &Origin, counted: Arc<()>) -> Result<Lease, Unsent> {
        let Origin { scheme, authority } = origin.clone();
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Unsent::NoAddress)?;
        let address = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query("/")
            .build();
        let sender = self
            .connector
            .open(address.map_err(|_| Unsent::NoAddress)?)
            .await
            .map_err(Unsent::NoConnection)?;
        Ok(Lease {
            sender,
            origin: origin.clone(),
            host,
            since: Instant::now(),
            _counted: counted,
        })
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    /// The one used last that leads there.
    fn take(&mut self, origin: &Origin) -> Option<Lease> {
        let at = self
            .leases
            .iter()
            .rposition(|lease| lease.origin == *origin)?;
        if self.leases[at].is_old() {
            // So are those that were given back before it.
            self.leases.drain(..=at);
            return None;
        }
        Some(self.leases.remove(at))
    }

    /// The next that leads there and is given back.
    fn wait_for(&mut self, origin: Origin) -> oneshot::Receiver<Lease> {
        let (handed, lease) = oneshot::channel();
        self.waiting.push_back(Waiting { origin, handed });
        lease
    }

    /// Gives it to the first that waits for it; back, if nobody does.
    fn hand_on(&mut self, mut lease: Lease) -> Option<Lease> {
        while let Some(at) = self
            .waiting
            .iter()
            .position(|waiting| waiting.origin == lease.origin)
        {
            // Who gave up meanwhile is passed over.
            lease = self.waiting.remove(at)?.handed.send(lease).err()?;
        }
        Some(lease)
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
fn origin_form(request: &mut Request<Fence>) -> Option<Origin> {
    let address = std::mem::take(request.uri_mut()).into_parts();
    let mut parts = Parts::default();
    parts.path_and_query = address.path_and_query;
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    Some(Origin {
        scheme: address.scheme?,
        authority: address.authority?,
    })
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Pool")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
