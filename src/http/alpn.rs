//! What a provider speaks, where it may be agreed on with each new connection (ALPN).
//!
//! Before the first connection nobody knows, and many requests that begin together would each open one: over HTTP/2 all
//! but one for nothing. So one request asks, on a connection of its own, and the others wait until that is there. Then
//! each goes the way that the version needs, and none pays for the question.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::client::legacy::connect::Connection;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tower::{Layer, Service};

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Nothing was agreed on yet.
    Unknown,
    Http1,
    Http2,
}

/// What was agreed on with one origin.
#[derive(Debug)]
pub(super) struct Alpn {
    protocol: watch::Sender<Protocol>,
    turns: Semaphore,
}

impl Alpn {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            protocol: watch::Sender::new(Protocol::Unknown),
            turns: Semaphore::new(1),
        })
    }

    pub fn protocol(&self) -> Protocol {
        *self.protocol.borrow()
    }

    /// The turn to ask; none as soon as it is known.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let mut protocol = self.protocol.subscribe();
        tokio::select! {
            biased;
            _ = protocol.wait_for(|protocol| *protocol != Protocol::Unknown) => None,
            turn = self.turns.acquire() => turn.ok(),
        }
    }

    /// There is no connection any more that keeps to it; the next may agree on something else.
    pub fn forget(&self) {
        self.protocol.send_replace(Protocol::Unknown);
    }

    fn reached(&self, protocol: Protocol) {
        self.protocol.send_replace(protocol);
    }
}

/// Hears what connections agree on: a layer around the connector.
#[derive(Clone)]
pub(super) struct AlpnLayer(pub Arc<Alpn>);

impl<S> Layer<S> for AlpnLayer {
    type Service = AlpnConnector<S>;

    fn layer(&self, connector: S) -> AlpnConnector<S> {
        AlpnConnector {
            connector,
            alpn: Arc::clone(&self.0),
        }
    }
}

/// The connector that is listened to.
#[derive(Clone)]
pub(super) struct AlpnConnector<S> {
    connector: S,
    alpn: Arc<Alpn>,
}

impl<S, A> Service<A> for AlpnConnector<S>
where
    S: Service<A, Error = Box<dyn Error + Send + Sync>>,
    S::Future: Send + 'static,
    S::Response: Connection,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, address: A) -> Self::Future {
        let connecting = self.connector.call(address);
        let alpn = Arc::clone(&self.alpn);
        Box::pin(async move {
            let connection = connecting.await?;
            let two = connection.connected().is_negotiated_h2();
            alpn.reached(if two {
                Protocol::Http2
            } else {
                Protocol::Http1
            });
            Ok(connection)
        })
    }
}
