//! The one HTTP client that calls providers, on `reqwest`: one request, one whole answer, in bounded time and memory.
//!
//! Redirects are never followed, proxies asked only where the configuration names one, nothing is sent twice: that is
//! decided elsewhere, and every request counts. The one exception is a request that the provider says it did not
//! process. What needs a permission is held back by a fence if that is void by then. No error shows an address or a
//! header, since both may hold what is private.

mod broken; // what it means that there is no answer
mod fence; // the last look at a permission
mod gate; // one connection at a time where one is enough
mod lines; // how many requests of bulk go at once over HTTP/1.1
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
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, USER_AGENT},
    uri::Scheme,
};
use hyper_util::client::legacy::connect::HttpInfo;
use lru::LruCache;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::access::Access;
use crate::{
    clock::Moment,
    failure::{ErrorKind, Failure},
    job::Lane,
    policy::quota::Permission,
    tls::TlsFiles,
};
use broken::Broken;
use fence::{Fence, Taken};
use gate::{Gate, Speech};
use lines::Lines;
use transport::{Transport, Way};
use whole::Coding;

/// Who asks.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("lookup-worker/", env!("CARGO_PKG_VERSION")));
/// Whatever the provider has: most send JSON, some call it something else.
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// A provider that refuses a request unprocessed so often is not ready for it.
const MOST_UNPROCESSED: u32 = 4;

/// Which version of HTTP is spoken (`providers.NAME.http`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum Version {
    /// What both sides agree on by ALPN; without TLS HTTP/1.1.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1.
    #[serde(rename = "1.1")]
    One,
    /// HTTP/2, also without TLS.
    #[serde(rename = "2")]
    Two,
}

/// What a client is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// It keeps connections for so many requests at once.
    pub concurrency: u16,
    /// Largest answer in bytes, unpacked.
    pub max_response_bytes: usize,
    /// Whom to trust besides the system's authorities, and as whom to come.
    pub tls: TlsFiles,
    /// A connection on which what was sent is not acknowledged within this is given up: the request must not arrive later
    /// than its quota reckons with. Under a second that would befall healthy connections.
    pub flight: Option<Duration>,
    /// Longest wait for a connection, over all addresses of the provider's name.
    pub connect_timeout: Duration,
    /// What is spoken.
    pub version: Version,
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
            version: Version::default(),
            proxy: None,
        }
    }
}

/// One provider's client; a clone shares its connections.
#[derive(Debug, Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    transport: Transport,
    lines: Lines,
    max_response_bytes: usize,
    connect_timeout: Duration,
    /// The own ends of the connections that answered: those that are used again.
    answered: Mutex<LruCache<SocketAddr, ()>>,
}

/// Why there is no answer to a call.
#[derive(Debug)]
pub struct Unanswered {
    /// What is told of it.
    pub failure: Failure,
    /// A connection that had been used before broke, and the answer had not begun: most likely the provider was just
    /// closing it. The request may have arrived.
    pub stale: bool,
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            stale: false,
        }
    }
}

/// What a request takes along.
#[derive(Debug, Clone, Copy)]
pub struct Passport {
    /// The leave to send it.
    pub permission: Permission,
    /// In bulk it may wait a moment for a connection, so that there are no more than are needed.
    pub lane: Lane,
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
            lines: Lines::new(),
            max_response_bytes: options.max_response_bytes,
            connect_timeout: options.connect_timeout,
            answered: Mutex::new(LruCache::new(most)),
            transport: Transport::new(options)?,
        })))
    }

    /// Sends `request`, with what lets it in, and reads the whole answer.
    ///
    /// # Errors
    /// As [`Client::send`]; `rate_limited` also where the permission was void before the request could be written.
    pub async fn call(
        &self,
        request: Request<Bytes>,
        access: Access,
        limit: Duration,
        passport: Passport,
    ) -> Result<Response<Bytes>, Unanswered> {
        let request = access.put(request).ok_or_else(no_address)?;
        self.send_by(request, limit, passport).await
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
        let mut passport = Passport {
            permission: Permission::UNLIMITED,
            lane: Lane::Interactive,
            fresh: false,
        };
        let answer = self.send_by(request.clone(), limit, passport).await;
        if !answer.as_ref().is_err_and(|unanswered| unanswered.stale) {
            return answer.map_err(|unanswered| unanswered.failure);
        }
        passport.fresh = true;
        let again = self.send_by(request, limit, passport).await;
        again.map_err(|unanswered| unanswered.failure)
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
        mut request: Request<Bytes>,
        limit: Duration,
        passport: Passport,
    ) -> Result<Response<Bytes>, Unanswered> {
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, AGENT);
        headers.entry(ACCEPT).or_insert(ANYTHING);
        headers.entry(ACCEPT_ENCODING).or_insert(whole::ACCEPTED);
        let exchange = self.0.exchange(request, passport);
        let answer = tokio::time::timeout(limit, exchange).await;
        answer.unwrap_or_else(|_| {
            let message = format!("no whole answer within {} ms", limit.as_millis());
            Err(Failure::new(ErrorKind::Timeout, message).into())
        })
    }
}

impl Shared {
    async fn exchange(
        &self,
        request: Request<Bytes>,
        passport: Passport,
    ) -> Result<Response<Bytes>, Unanswered> {
        let prepared = Prepared::of(request)?;
        let speech = self.transport.speech(&prepared.scheme);
        let _line = match speech {
            Speech::Two => None,
            _ if passport.lane == Lane::Bulk => Some(self.lines.take().await),
            _ => None,
        };
        let answer = self.head(prepared, passport).await?;
        Ok(self.whole(answer).await?)
    }

    /// The head of the answer, once the provider processes the request.
    async fn head(
        &self,
        prepared: Prepared,
        passport: Passport,
    ) -> Result<reqwest::Response, Unanswered> {
        let mut next = Some(prepared);
        for left in (0..MOST_UNPROCESSED).rev() {
            let Some(prepared) = next.take() else { break };
            // Over HTTP/1.1 nobody says that it was not processed.
            let may_repeat = left > 0 && self.transport.is_gated(&prepared.scheme);
            next = may_repeat.then(|| prepared.clone());
            match self.attempt(prepared, passport).await {
                Ok(answer) => return Ok(answer),
                Err(Broken::Void) => return Err(held_back().into()),
                Err(Broken::Unprocessed { wants_one }) => {
                    if wants_one {
                        self.transport.wants_one();
                    }
                }
                Err(Broken::Silent(address, failure)) => {
                    let stale = address.is_some_and(|address| self.had_answered(address));
                    return Err(Unanswered { failure, stale });
                }
                Err(Broken::Failed(failure)) => return Err(failure.into()),
            }
        }
        let message = "the provider refuses the request unprocessed, again and again (HTTP/2)";
        Err(Failure::new(ErrorKind::Connection, message).into())
    }

    async fn attempt(
        &self,
        prepared: Prepared,
        passport: Passport,
    ) -> Result<reqwest::Response, Broken> {
        let scheme = &prepared.scheme.clone();
        let way = if passport.fresh { Way::Fresh } else { Way::Any };
        let client = self.transport.client(scheme, way).map_err(|cause| {
            Broken::Failed(broken::no_connection(&*cause, self.connect_timeout))
        })?;
        let told = |error: reqwest::Error| Broken::before_the_answer(&error, self.connect_timeout);
        let answer = if self.transport.is_gated(scheme) {
            let taken = Taken::default();
            let request = prepared.request(passport.permission, Some(Arc::clone(&taken)));
            let asking = Gate::asking(client.execute(request));
            self.in_time(asking, scheme, passport.permission, &taken)
                .await?
                .map_err(told)?
        } else {
            let request = prepared.request(passport.permission, None);
            client.execute(request).await.map_err(told)?
        };
        self.note(&answer);
        Ok(answer)
    }

    /// What comes of a request that may go over HTTP/2, where the fence cannot hold it back: it is given up where no
    /// connection has taken it while its permission was good.
    async fn in_time<T>(
        &self,
        asking: impl Future<Output = T>,
        scheme: &Scheme,
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
        if let Ok(answer) = tokio::time::timeout(left, asking.as_mut()).await {
            return Ok(answer);
        }
        if taken.load(Ordering::Acquire) || self.transport.speech(scheme) == Speech::One {
            return Ok(asking.await);
        }
        if self.transport.speech(scheme) == Speech::Two {
            return Err(Broken::Void);
        }
        let message = "no connection to the provider while the quota's permission was good";
        Err(Broken::Failed(Failure::new(ErrorKind::Connection, message)))
    }

    /// Remembers what the connection speaks, and that it answered.
    fn note(&self, answer: &reqwest::Response) {
        self.transport.heard(answer.version());
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

    async fn whole(&self, mut answer: reqwest::Response) -> Result<Response<Bytes>, Failure> {
        let limit = self.max_response_bytes;
        let status = answer.status();
        let read = match Coding::of(answer.headers()) {
            Err(coding) => Err(format!(
                "expected an answer in one of the codings gzip, br, zstd or in none, got Content-Encoding {coding}"
            )),
            Ok(coding) => {
                let body = whole::read(&mut answer, limit)
                    .await
                    .map_err(|error| broken::broken_off(&error))?;
                unpacked(coding, body, limit)
            }
        };
        let body = match read {
            Ok(body) => body,
            Err(message) if status == StatusCode::OK => {
                return Err(Failure::new(ErrorKind::BadResponse, message).with_status(200));
            }
            // Of another status nothing needs to be read: it decides alone.
            Err(_) => Bytes::new(),
        };
        let mut whole = Response::new(body);
        *whole.status_mut() = status;
        *whole.headers_mut() = std::mem::take(answer.headers_mut());
        for of_the_coding in [CONTENT_ENCODING, CONTENT_LENGTH] {
            whole.headers_mut().remove(of_the_coding);
        }
        Ok(whole)
    }
}

/// What the answer holds.
fn unpacked(coding: Option<Coding>, body: Option<Bytes>, limit: usize) -> Result<Bytes, String> {
    let body = match (coding, body) {
        (Some(coding), Some(body)) => coding.unpack(&body, limit).map_err(|_| {
            format!("expected what Content-Encoding says ({coding:?}), got something else")
        })?,
        (_, body) => body,
    };
    body.ok_or_else(|| {
        format!("expected at most {limit} bytes (max_response_bytes), the answer is larger")
    })
}

/// A request as `reqwest` takes it.
#[derive(Clone)]
struct Prepared {
    scheme: Scheme,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

impl Prepared {
    fn of(request: Request<Bytes>) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|_| no_address())?;
        // Addresses of this form lose segments such as `..`, and a request for another path is another request.
        if url.path() != parts.uri.path() {
            let message = "a value of the query would change the request's path; expected none that is `.` or `..`";
            return Err(Failure::new(ErrorKind::InvalidJob, message));
        }
        let scheme = parts.uri.scheme().cloned().ok_or_else(no_address)?;
        Ok(Self {
            scheme,
            method: parts.method,
            url,
            headers: parts.headers,
            body,
        })
    }

    fn request(self, permission: Permission, taken: Option<Taken>) -> reqwest::Request {
        let mut request = reqwest::Request::new(self.method, self.url);
        *request.headers_mut() = self.headers;
        let body = Fence::around(self.body, permission, taken);
        *request.body_mut() = Some(reqwest::Body::wrap(body));
        request
    }
}

fn no_address() -> Failure {
    Failure::new(
        ErrorKind::Internal,
        "the request's address is none; check the provider's base_url",
    )
}

/// Of the class of the quota, not of the connection: it says nothing of the provider.
fn held_back() -> Failure {
    let message = "the request was not sent: its quota's permission ran out before it could be";
    Failure::new(ErrorKind::RateLimited, message)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Shared")
            .field("max_response_bytes", &self.max_response_bytes)
            .finish_non_exhaustive()
    }
}
