//! The one HTTP client that calls providers: one request, one whole answer, in bounded time and memory.
//!
//! Redirects are never followed, proxies never asked, nothing is sent twice: that is decided elsewhere, and every
//! request counts. What needs a permission is held back by a fence if that is void by then. No error shows an
//! address or a header, since both may hold what is private.

mod connect; // a connection to an origin, with TLS where its scheme says so
mod fence; // the last look at a permission
mod pool; // connections that wait for the next request

use std::{error::Error, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{ACCEPT, CONTENT_ENCODING, USER_AGENT},
};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use url::Url;

use crate::{
    failure::{ErrorKind, Failure},
    job::Lane,
    policy::quota::Permission,
    tls::{self, TlsFiles},
};
use connect::Connector;
use fence::Fence;
use pool::{PATIENCE, Pool, Unsent};

/// Who asks.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("lookup-worker/", env!("CARGO_PKG_VERSION")));
/// Whatever the provider has: most send JSON, some call it something else.
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// The codings that a server may use unasked (RFC 9110 §8.4.1, RFC 7932, RFC 8878).
const CODINGS: [&str; 7] = [
    "gzip",
    "x-gzip",
    "compress",
    "x-compress",
    "deflate",
    "br",
    "zstd",
];

/// One provider's client; a clone shares its connections.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Arc<Pool>,
    max_response_bytes: usize,
}

impl Client {
    /// A client by the TLS files of the provider, that keeps connections for `concurrency` requests at once. A
    /// connection on which what was sent is not acknowledged within `flight` is given up: the request must not arrive
    /// later than its quota reckons with. Under a second that would befall healthy connections.
    ///
    /// # Errors
    /// A sentence that names the file, where it cannot be used.
    pub fn new(
        concurrency: u16,
        max_response_bytes: usize,
        tls: &TlsFiles,
        flight: Option<Duration>,
    ) -> Result<Self, String> {
        let connector = Connector::new(
            tls,
            flight.filter(|flight| *flight >= Duration::from_secs(1)),
        )?;
        Ok(Self {
            pool: Pool::new(connector, concurrency.into(), PATIENCE),
            max_response_bytes,
        })
    }

    /// Sends `request`, with the header that authorises it, and reads the whole answer. In bulk it may wait a moment
    /// for a connection, so that there are no more than are needed.
    ///
    /// # Errors
    /// As [`Client::send`]; `rate_limited` also where the permission was void before the request could be written.
    pub fn call(
        &self,
        mut request: Request<Bytes>,
        authorization: (HeaderName, HeaderValue),
        limit: Duration,
        permission: Permission,
        lane: Lane,
    ) -> impl Future<Output = Result<Response<Bytes>, Failure>> {
        let (name, mut value) = authorization;
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
        self.send_by(request, permission, limit, lane)
    }

    /// Sends `request` as it is and reads the whole answer.
    ///
    /// # Errors
    /// `timeout` after `limit`, `connection` where none came about or it broke, `bad_response` for an answer
    /// that is too large or compressed, which was not asked for.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        limit: Duration,
    ) -> Result<Response<Bytes>, Failure> {
        self.send_by(request, Permission::UNLIMITED, limit, Lane::Interactive)
            .await
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

    /// What can be done at once is, so that there is less to keep until the answer comes.
    fn send_by(
        &self,
        mut request: Request<Bytes>,
        permission: Permission,
        limit: Duration,
        lane: Lane,
    ) -> impl Future<Output = Result<Response<Bytes>, Failure>> {
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, AGENT);
        headers.entry(ACCEPT).or_insert(ANYTHING);
        // Boxed, since it is large and goes from hand to hand.
        let request = Box::new(request.map(|body| Fence::around(body, permission)));
        tokio::time::timeout(limit, self.exchange(request, lane)).map(move |answer| {
            answer.unwrap_or_else(|_| {
                let message = format!("no whole answer within {} ms", limit.as_millis());
                Err(Failure::new(ErrorKind::Timeout, message))
            })
        })
    }

    async fn exchange(
        &self,
        request: Box<Request<Fence>>,
        lane: Lane,
    ) -> Result<Response<Bytes>, Failure> {
        let (answer, lease) =
            self.pool
                .send(request, lane)
                .await
                .map_err(|unsent| match unsent {
                    Unsent::NoAddress => no_address(),
                    Unsent::NoConnection(cause) => broken("no connection to the provider", &*cause),
                    Unsent::Broken(error) => broken_off(&error),
                })?;
        let (head, mut body) = answer.into_parts();
        let limit = self.max_response_bytes;
        let encoding = head.headers.get(CONTENT_ENCODING).filter(|encoding| {
            let name = encoding.as_bytes().trim_ascii();
            !name.is_empty() && !name.eq_ignore_ascii_case(b"identity")
        });
        let unreadable = match encoding {
            Some(encoding) => {
                // Whatever else stands there is the provider's text, which may hold anything.
                let known = CODINGS
                    .iter()
                    .find(|known| encoding.as_bytes().eq_ignore_ascii_case(known.as_bytes()))
                    .unwrap_or(&"of another name");
                Err(format!(
                    "expected an answer that is not compressed, got Content-Encoding {known}"
                ))
            }
            None => whole(&mut body, limit)
                .await
                .map_err(|error| broken_off(&error))?
                .ok_or_else(|| {
                    format!(
                        "expected at most {limit} bytes (max_response_bytes), the answer is larger"
                    )
                }),
        };
        let body = match unreadable {
            Ok(body) => {
                self.pool.give_back(lease);
                body
            }
            Err(message) if head.status == StatusCode::OK => {
                return Err(Failure::new(ErrorKind::BadResponse, message).with_status(200));
            }
            // Of another status nothing needs to be read: it decides alone.
            Err(_) => Bytes::new(),
        };
        Ok(Response::from_parts(head, body))
    }
}

/// The whole body; none if it is larger than `limit` bytes.
async fn whole(body: &mut Incoming, limit: usize) -> Result<Option<Bytes>, hyper::Error> {
    if body.size_hint().lower() > limit as u64 {
        return Ok(None);
    }
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if first.len() + more.len() + data.len() > limit {
            return Ok(None);
        }
        // Most often one piece is all.
        if first.is_empty() {
            first = data;
        } else {
            more.extend_from_slice(&data);
        }
    }
    if more.is_empty() {
        return Ok(Some(first));
    }
    let mut whole = BytesMut::with_capacity(first.len() + more.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&more);
    Ok(Some(whole.freeze()))
}

fn no_address() -> Failure {
    Failure::new(
        ErrorKind::Internal,
        "the request's address is none; check the provider's base_url",
    )
}

fn broken_off(error: &hyper::Error) -> Failure {
    broken(
        "the connection broke before the whole answer was there",
        error,
    )
}

/// What broke, by the innermost cause: the outer ones may show the address.
fn broken(what: &str, error: &(dyn Error + 'static)) -> Failure {
    if let Some(meaning) = tls::explain(error) {
        return Failure::new(
            ErrorKind::Connection,
            format!("no TLS connection to the provider: {meaning}"),
        );
    }
    let mut cause = error;
    if is_head_too_large(error) {
        let message = "the head of the provider's answer is too large: more than 100 headers, or some 400 KB; \
                       check what stands between, and adds them";
        return Failure::new(ErrorKind::Connection, message);
    }
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if fence::held_back(cause) {
        // Of the class of the quota, not of the connection: it says nothing of the provider.
        let message = "the request was not sent: its quota's permission ran out before it could be";
        return Failure::new(ErrorKind::RateLimited, message);
    }
    Failure::new(ErrorKind::Connection, format!("{what}: {cause}"))
}

fn is_head_too_large(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse_too_large)
        {
            return true;
        }
        next = cause.source();
    }
    false
}
