//! The one HTTP client that calls providers: one request, one whole answer, in bounded time and memory.
//!
//! Redirects are never followed, proxies never asked, nothing is retried here: that is decided elsewhere, and
//! every request counts. What needs a permission is held back by a fence if that is void by then. No error shows an address or a header, since both may hold what is private.

mod fence; // the last look at a permission

use std::{error::Error, fmt, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Request, Response, header::CONTENT_ENCODING};
use reqwest::redirect;
use url::Url;

use crate::{
    failure::{ErrorKind, Failure},
    policy::quota::Permission,
    tls::{self, TlsFiles, TlsMaterial},
};
use fence::Fence;

/// An idle connection is closed after this, before most servers do it (some after 5 s): a request on a
/// connection that is just being closed is lost.
const IDLE: Duration = Duration::from_secs(4);

/// The codings that a server may use unasked (RFC 9110 §8.4.1, RFC 7932, RFC 8878).
const CODINGS: [&str; 7] = ["gzip", "x-gzip", "compress", "x-compress", "deflate", "br", "zstd"];

/// One provider's client; a clone shares its connections.
#[derive(Debug, Clone)]
pub struct Client {
    inner: reqwest::Client,
    max_response_bytes: usize,
}

impl Client {
    /// A client for `concurrency` requests at once, by the TLS files of the provider. A
    /// connection on which what was sent is not acknowledged within `flight` is given up: the request must not
    /// arrive later than its quota reckons with. Under a second that would befall healthy connections.
    ///
    /// # Errors
    /// A sentence that names the file, where it cannot be used.
    pub fn new(
        concurrency: u16,
        max_response_bytes: usize,
        tls: &TlsFiles,
        flight: Option<Duration>,
    ) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("lookup-worker/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(concurrency.into());
        #[cfg(target_os = "linux")]
        if let Some(flight) = flight.filter(|flight| *flight >= Duration::from_secs(1)) {
            builder = builder.tcp_user_timeout(flight);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = flight;
        let unusable = |error: &dyn fmt::Display| format!("no HTTP client: {error}");
        let TlsMaterial { authorities, identity } = tls.read().map_err(|problem| problem.to_string())?;
        if let Some(pem) = authorities {
            let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
            for certificate in certificates.map_err(|error| unusable(&error))? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if let Some((chain, key)) = identity {
            let identity = reqwest::Identity::from_pem(&[key, b"\n".to_vec(), chain].concat());
            builder = builder.identity(identity.map_err(|error| unusable(&error))?);
        }
        let inner = builder.build().map_err(|error| unusable(&error))?;
        Ok(Self { inner, max_response_bytes })
    }

    /// Sends `request`, with the header that authorises it, and reads the whole answer.
    ///
    /// # Errors
    /// As [`Client::send`]; `connection` also where the permission was void before the request could be written.
    pub async fn call(
        &self,
        mut request: Request<Bytes>,
        authorization: (HeaderName, HeaderValue),
        limit: Duration,
        permission: Permission,
    ) -> Result<Response<Bytes>, Failure> {
        let (name, mut value) = authorization;
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
        self.send_by(request.map(|body| Fence::around(body, permission)), limit).await
    }

    /// Sends `request` as it is and reads the whole answer.
    ///
    /// # Errors
    /// `timeout` after `limit`, `connection` where none came about or it broke, `bad_response` for an answer
    /// that is too large or compressed, which was not asked for.
    pub async fn send(&self, request: Request<Bytes>, limit: Duration) -> Result<Response<Bytes>, Failure> {
        self.send_by(request.map(reqwest::Body::from), limit).await
    }

    async fn send_by(&self, request: Request<reqwest::Body>, limit: Duration) -> Result<Response<Bytes>, Failure> {
        let request = reqwest::Request::try_from(request).map_err(|_| {
            Failure::new(ErrorKind::Internal, "the request's address is none; check the provider's base_url")
        })?;
        tokio::time::timeout(limit, self.exchange(request)).await.unwrap_or_else(|_| {
            let message = format!("no whole answer within {} ms", limit.as_millis());
            Err(Failure::new(ErrorKind::Timeout, message))
        })
    }

    /// Asks the provider's root, without any credentials; any status shows that it is there.
    ///
    /// # Errors
    /// `timeout` or `connection`.
    pub async fn reach(&self, base_url: &Url, limit: Duration) -> Result<Response<()>, Failure> {
        let mut answer =
            self.inner.get(base_url.clone()).timeout(limit).send().await.map_err(|error| broken(&error))?;
        let mut head = Response::new(());
        *head.status_mut() = answer.status();
        *head.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(head)
    }

    async fn exchange(&self, request: reqwest::Request) -> Result<Response<Bytes>, Failure> {
        let mut answer = self.inner.execute(request).await.map_err(|error| broken(&error))?;
        let status = answer.status().as_u16();
        let limit = self.max_response_bytes;
        let encoding = answer.headers().get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity");
        let unreadable = match encoding {
            Some(encoding) => {
                // Whatever else stands there is the provider's text, which may hold anything.
                let known = CODINGS.iter().find(|known| encoding == **known).unwrap_or(&"of another name");
                Err(format!("expected an answer that is not compressed, got Content-Encoding {known}"))
            }
            None => whole_body(&mut answer, limit)
                .await?
                .ok_or_else(|| format!("expected at most {limit} bytes (max_response_bytes), the answer is larger")),
        };
        let body = match unreadable {
            Ok(body) => body,
            Err(message) if status == 200 => {
                return Err(Failure::new(ErrorKind::BadResponse, message).with_status(status));
            }
            // Of another status nothing needs to be read: it decides alone.
            Err(_) => Bytes::new(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

/// The whole body; none if it is larger than `limit` bytes.
async fn whole_body(answer: &mut reqwest::Response, limit: usize) -> Result<Option<Bytes>, Failure> {
    if answer.content_length().is_some_and(|length| length > limit as u64) {
        return Ok(None);
    }
    let Some(first) = answer.chunk().await.map_err(|error| broken(&error))? else { return Ok(Some(Bytes::new())) };
    let mut next = answer.chunk().await.map_err(|error| broken(&error))?;
    if next.is_none() {
        return Ok((first.len() <= limit).then_some(first));
    }
    let mut whole = BytesMut::from(first);
    while let Some(chunk) = next {
        if whole.len() + chunk.len() > limit {
            return Ok(None);
        }
        whole.extend_from_slice(&chunk);
        next = answer.chunk().await.map_err(|error| broken(&error))?;
    }
    Ok(Some(whole.freeze()))
}

/// What broke, by the innermost cause: the outer ones show the address.
fn broken(error: &reqwest::Error) -> Failure {
    if let Some(meaning) = tls::explain(error) {
        return Failure::new(ErrorKind::Connection, format!("no TLS connection to the provider: {meaning}"));
    }
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if fence::held_back(cause) {
        // Of the class of the quota, not of the connection: it says nothing of the provider.
        let message = "the request was not sent: its quota's permission ran out before it could be";
        return Failure::new(ErrorKind::RateLimited, message);
    }
    let what = if error.is_connect() {
        "no connection to the provider"
    } else {
        "the connection broke before the whole answer was there"
    };
    let cause =
        if std::ptr::eq(cause, error as &dyn Error) { "no cause was given".to_owned() } else { cause.to_string() };
    Failure::new(ErrorKind::Connection, format!("{what}: {cause}"))
}
