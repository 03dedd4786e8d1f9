//! The one HTTP client that calls providers, on `reqwest`: one request, one whole answer, in bounded time and memory.
//!
//! Redirects are never followed, proxies asked only where the configuration names one, nothing is sent twice: that is
//! decided elsewhere, and every request counts. The one exception is a request that the provider says it did not
//! process. What needs a permission is held back by a fence if that is void by then. No error shows an address or a
//! header, since both may hold what is private.

mod alpn; // what a provider speaks
mod broken; // what it means that there is no answer
mod connections; // one for each request in flight over HTTP/1.1
mod fence; // the last look at a permission
mod origin; // where requests go
mod prepared; // a request as reqwest takes it
mod transport; // the clients of reqwest
mod whole; // the answer, read and unpacked within its bound

use std::{
    fmt,
    net::SocketAddr,
    num::NonZero,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper_util::client::legacy::connect::HttpInfo;
use lru::LruCache;
use tokio::{sync::SemaphorePermit, time::timeout};
use url::Url;

use crate::{
    clock::Moment,
    config::HttpVersion,
    failure::{ErrorKind, Failure},
    policy::quota::Permission,
    provider::access::Access,
    tls::TlsFiles,
};
use alpn::Protocol;
use broken::Broken;
use connections::{Connection, Connections};
use fence::Taken;
use origin::{Origin, Origins};
use prepared::{Prepared, no_address};
use transport::{Cause, Transport};

/// A provider that refuses a request unprocessed so often is not ready for it.
const MOST_UNPROCESSED: u32 = 4;

/// What a client is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// So many requests may be in flight at once.
    pub concurrency: u16,
    /// Largest answer in bytes, unpacked.
    pub max_response_bytes: usize,
    /// Whom to trust besides the system's authorities, and as whom to come.
    pub tls: TlsFiles,
    /// A connection on which what was sent is not acknowledged within this is given up: the request must not arrive
    /// later than its quota reckons with. Under a second that would befall healthy connections.
    pub flight: Option<Duration>,
    /// Longest wait for a connection, over all addresses of the provider's name.
    pub connect_timeout: Duration,
    /// What is spoken.
    pub version: HttpVersion,
    /// Who is asked to pass the requests on.
    pub proxy: Option<Url>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            concurrency: 1,
            max_response_bytes: 1024 * 1024,
            tls: TlsFiles::default(),
            flight: None,
            connect_timeout: Duration::from_secs(3),
            version: HttpVersion::default(),
            proxy: None,
        }
    }
}

/// One provider's client; a clone shares its connections.
#[derive(Debug, Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    transport: Transport,
    origins: Origins,
    connections: Connections,
    max_response_bytes: usize,
    connect_timeout: Duration,
    /// The own ends of the connections that answered: those that are used again.
    answered: Mutex<LruCache<SocketAddr, ()>>,
}

/// Why there is no answer to a request.
#[derive(Debug)]
pub enum Unanswered {
    /// Its permission was void before it could be written: nothing was sent.
    NotSent,
    /// A connection that had been used before broke, and the answer had not begun: most likely the provider was just
    /// closing it. The request may have arrived.
    Stale(Failure),
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            // Of the class of the quota, not of the connection: it says nothing of the provider.
            Unanswered::NotSent => Self::new(
                ErrorKind::RateLimited,
                "the request was not sent: its quota's permission ran out before it could be",
            ),
            Unanswered::Stale(failure) | Unanswered::Failed(failure) => failure,
        }
    }
}

/// On which terms a request is sent.
#[derive(Debug, Clone, Copy)]
pub struct SendTerms {
    /// Of its quota.
    pub permission: Permission,
    /// It needs a connection that was not used before.
    pub fresh: bool,
}

impl Client {
    /// A client for one provider.
    ///
    /// # Errors
    /// A sentence that names the file, where it cannot be used.
    pub fn new(options: Options) -> Result<Self, String> {
        let most = NonZero::<usize>::MIN.saturating_add(usize::from(options.concurrency) * 2);
        Ok(Self(Arc::new(Shared {
            origins: Origins::default(),
            connections: Connections::default(),
            max_response_bytes: options.max_response_bytes,
            connect_timeout: options.connect_timeout,
            answered: Mutex::new(LruCache::new(most)),
            transport: Transport::new(options)?,
        })))
    }

    /// Sends `request`, with what lets it in, and reads the whole answer.
    ///
    /// # Errors
    /// As [`Client::send`], and [`Unanswered::NotSent`].
    pub fn request(
        &self,
        request: &Request<Bytes>,
        access: &Access,
        limit: Duration,
        terms: SendTerms,
    ) -> impl Future<Output = Result<Response<Bytes>, Unanswered>> {
        self.send_by(request, Some(access), limit, terms)
    }

    /// Sends `request` as it is and reads the whole answer. Where a connection broke that had been used before, it is
    /// sent once more.
    ///
    /// # Errors
    /// `timeout` after `limit`, `connection` where none came about or it broke, `bad_response` for an answer
    /// that is too large or packed in a way that was not asked for.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        limit: Duration,
    ) -> Result<Response<Bytes>, Failure> {
        let mut terms = SendTerms {
            permission: Permission::UNLIMITED,
            fresh: false,
        };
        let answer = self.send_by(&request, None, limit, terms).await;
        if !matches!(answer, Err(Unanswered::Stale(_))) {
            return answer.map_err(Failure::from);
        }
        terms.fresh = true;
        let again = self.send_by(&request, None, limit, terms).await;
        again.map_err(Failure::from)
    }

    /// Asks the provider's root, without any credentials; any status shows that it is there.
    ///
    /// # Errors
    /// `timeout` or `connection`.
    pub async fn reach(&self, base_url: &Url, limit: Duration) -> Result<Response<()>, Failure> {
        let request = Request::get(base_url.as_str())
            .body(Bytes::new())
            .map_err(|_| no_address())?;
        Ok(self.send(request, limit).await?.map(drop))
    }

    async fn send_by(
        &self,
        request: &Request<Bytes>,
        access: Option<&Access>,
        limit: Duration,
        terms: SendTerms,
    ) -> Result<Response<Bytes>, Unanswered> {
        let origin = self.0.origins.of(request.uri()).ok_or_else(no_address)?;
        let mut prepared = Prepared::new(request, access, origin);
        let answer = timeout(limit, self.0.exchange(&mut prepared, terms)).await;
        answer.unwrap_or_else(|_| {
            let message = format!("no whole answer within {} ms", limit.as_millis());
            Err(Failure::new(ErrorKind::Timeout, message).into())
        })
    }
}

impl Shared {
    async fn exchange(
        &self,
        prepared: &mut Prepared<'_>,
        terms: SendTerms,
    ) -> Result<Response<Bytes>, Unanswered> {
        let (answer, _connection) = self.head(prepared, terms).await?;
        Ok(whole::answer(answer, self.max_response_bytes).await?)
    }

    /// The head of the answer, once the provider processes the request.
    async fn head(
        &self,
        prepared: &mut Prepared<'_>,
        terms: SendTerms,
    ) -> Result<Head<'_>, Unanswered> {
        for _ in 0..MOST_UNPROCESSED {
            match self.attempt(prepared, terms).await {
                Ok(head) => return Ok(head),
                Err(Broken::Void) => return Err(Unanswered::NotSent),
                Err(Broken::Unprocessed { wants_one }) => {
                    if wants_one {
                        prepared.origin.said_to_want_one();
                    }
                }
                Err(Broken::Silent(address, failure)) => {
                    let stale = address.is_some_and(|address| self.had_answered(address));
                    return Err(if stale {
                        Unanswered::Stale(failure)
                    } else {
                        Unanswered::Failed(failure)
                    });
                }
                Err(Broken::Unreachable(failure) | Broken::Failed(failure)) => {
                    return Err(failure.into());
                }
            }
        }
        let message = "the provider refuses the request unprocessed, again and again (HTTP/2)";
        Err(Failure::new(ErrorKind::Connection, message).into())
    }

    async fn attempt(
        &self,
        prepared: &mut Prepared<'_>,
        terms: SendTerms,
    ) -> Result<Head<'_>, Broken> {
        let permission = terms.permission;
        let origin = &*Arc::clone(&prepared.origin);
        let _turn = match self.transport.protocol(origin) {
            // Rare, and large: boxed.
            Protocol::Unknown => Box::pin(self.turn(origin, permission)).await?,
            Protocol::Http1 | Protocol::Http2 => None,
        };
        match self.transport.protocol(origin) {
            Protocol::Http1 => self.over_http1(prepared, terms).await,
            Protocol::Unknown => {
                let asking = self.transport.asking(origin);
                self.shared(asking, prepared, permission).await
            }
            Protocol::Http2 => {
                let two = self.transport.two(origin);
                let head = self.shared(two, prepared, permission).await;
                // Whoever answers there may not speak it any more.
                if matches!(head, Err(Broken::Unreachable(_))) {
                    origin.alpn.forget();
                }
                head
            }
        }
    }

    /// The turn to ask what is spoken there; none once another has asked.
    async fn turn<'a>(
        &self,
        origin: &'a Origin,
        permission: Permission,
    ) -> Result<Option<SemaphorePermit<'a>>, Broken> {
        let good_for = permission.time_left(Moment::now());
        let limit = good_for.map_or(self.connect_timeout, |left| left.min(self.connect_timeout));
        let turn = timeout(limit, origin.alpn.turn()).await;
        turn.map_err(|_| {
            Broken::Unreachable(if limit < self.connect_timeout {
                no_connection_in_time()
            } else {
                broken::none_within(self.connect_timeout)
            })
        })
    }

    /// Over HTTP/1.1, where nobody says that a request was not processed: it is made once.
    async fn over_http1(
        &self,
        prepared: &mut Prepared<'_>,
        terms: SendTerms,
    ) -> Result<Head<'_>, Broken> {
        let origin = &prepared.origin;
        let connection = self.connections.take();
        let client = if terms.fresh {
            self.transport.fresh(origin)
        } else {
            self.transport.one(&connection.clients, origin)
        };
        let client = self.usable(client)?;
        let request = prepared
            .make_once(terms.permission)
            .map_err(Broken::Failed)?;
        let answer = client.execute(request).await;
        let answer = answer.map_err(|error| self.told(&error))?;
        self.note(&answer);
        Ok((answer, Some(connection)))
    }

    /// Where many requests share a connection, or may come to.
    async fn shared(
        &self,
        client: Result<&reqwest::Client, Cause>,
        prepared: &mut Prepared<'_>,
        permission: Permission,
    ) -> Result<Head<'_>, Broken> {
        let taken = Taken::default();
        let request = prepared
            .make(permission, Some(Arc::clone(&taken)))
            .map_err(Broken::Failed)?;
        let asking = self.usable(client)?.execute(request);
        let answer = self.in_time(asking, &prepared.origin, permission, &taken);
        let answer = answer.await?;
        let answer = answer.map_err(|error| self.told(&error))?;
        self.note(&answer);
        Ok((answer, None))
    }

    fn usable<'a>(
        &self,
        client: Result<&'a reqwest::Client, Cause>,
    ) -> Result<&'a reqwest::Client, Broken> {
        client.map_err(|cause| Broken::Failed(broken::no_connection(&*cause, self.connect_timeout)))
    }

    fn told(&self, error: &reqwest::Error) -> Broken {
        Broken::before_the_answer(error, self.connect_timeout)
    }

    /// What comes of a request that may go over HTTP/2, where the fence cannot hold it back: it is given up where no
    /// connection has taken it while its permission was good.
    async fn in_time<T>(
        &self,
        asking: impl Future<Output = T>,
        origin: &Origin,
        permission: Permission,
        taken: &Taken,
    ) -> Result<T, Broken> {
        let Some(left) = permission.time_left(Moment::now()) else {
            return Ok(asking.await);
        };
        // A future is polled before its time limit is.
        if left.is_zero() {
            return Err(Broken::Void);
        }
        let mut asking = std::pin::pin!(asking);
        if let Ok(answer) = timeout(left, asking.as_mut()).await {
            return Ok(answer);
        }
        if taken.load(Ordering::Acquire) || self.transport.protocol(origin) == Protocol::Http1 {
            return Ok(asking.await);
        }
        if self.transport.protocol(origin) == Protocol::Http2 {
            return Err(Broken::Void);
        }
        Err(Broken::Failed(no_connection_in_time()))
    }

    /// Remembers that the connection answered.
    fn note(&self, answer: &reqwest::Response) {
        if let Some(info) = answer.extensions().get::<HttpInfo>() {
            let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
            answered.put(info.local_addr(), ());
        }
    }

    /// Whether this connection, which has broken, had answered before.
    fn had_answered(&self, address: SocketAddr) -> bool {
        // It stays there: others may have waited on it, too.
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.contains(&address)
    }
}

/// The head of an answer, with the connection that was lent to its request, if any.
type Head<'a> = (reqwest::Response, Option<Connection<'a>>);

fn no_connection_in_time() -> Failure {
    let message = "no connection to the provider while the quota's permission was good";
    Failure::new(ErrorKind::Connection, message)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Shared")
            .field("max_response_bytes", &self.max_response_bytes)
            .finish_non_exhaustive()
    }
}
