//! One connection at a time where one is enough.
//!
//! Where a provider may speak HTTP/2, many requests that begin together would each open a connection, agree on HTTP/2
//! on all of them, and close all but one. So they open one after another, and whoever was served by another's
//! meanwhile opens none. The client goes on with a connect that nobody waits for any more in a task of its own; by that
//! it is told from one that somebody waits for.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::sleep,
};
use tower::{Layer, Service};

/// A connection that was just opened is ready for all who wait for it well within this.
const SETTLED: Duration = Duration::from_millis(20);

tokio::task_local! {
    /// Set while the future of a request is polled.
    static ASKING: ();
}

/// What a provider agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// Nothing yet.
    Unknown,
    One,
    Two,
}

/// Shared by the connects of one client.
#[derive(Debug)]
pub(super) struct Gate {
    turns: Semaphore,
    /// When the last turn opened a connection.
    opened: Mutex<Option<Instant>>,
    speech: AtomicU8,
}

impl Gate {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            turns: Semaphore::new(1),
            opened: Mutex::default(),
            speech: AtomicU8::new(0),
        })
    }

    /// What the last answer was spoken in.
    pub fn speech(&self) -> Speech {
        match self.speech.load(Ordering::Relaxed) {
            0 => Speech::Unknown,
            1 => Speech::One,
            _ => Speech::Two,
        }
    }

    /// An answer came in this version.
    pub fn heard(&self, version: http::Version) {
        let speech = if version == http::Version::HTTP_2 {
            2
        } else {
            1
        };
        if self.speech.load(Ordering::Relaxed) != speech {
            self.speech.store(speech, Ordering::Relaxed);
        }
    }

    /// Runs a request so that its own connects are known as such.
    pub fn asking<F: Future>(request: F) -> impl Future<Output = F::Output> {
        ASKING.scope((), request)
    }

    fn opened(&self) -> MutexGuard<'_, Option<Instant>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn to connect; none is needed over HTTP/1.1, where each request in flight has a connection of its own.
    async fn turn(&self) -> Result<Option<SemaphorePermit<'_>>, Needless> {
        if self.speech() == Speech::One {
            return Ok(None);
        }
        let mut turn = pin!(async {
            let permit = self.turns.acquire().await.ok();
            let opened = *self.opened();
            if let Some(opened) = opened {
                sleep(SETTLED.saturating_sub(opened.elapsed())).await;
            }
            permit
        });
        poll_fn(|context| match ASKING.try_with(|()| ()) {
            Ok(()) => turn.as_mut().poll(context).map(Ok),
            Err(_) => Poll::Ready(Err(Needless)),
        })
        .await
    }
}

/// The request was served by another's connection.
#[derive(Debug)]
struct Needless;

impl fmt::Display for Needless {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("no connection is needed any more")
    }
}

impl Error for Needless {}

/// The gate as a layer before the connector.
#[derive(Clone)]
pub(super) struct Gated(pub Arc<Gate>);

impl<S> Layer<S> for Gated {
    type Service = Connects<S>;

    fn layer(&self, inner: S) -> Connects<S> {
        Connects {
            inner,
            gate: Arc::clone(&self.0),
        }
    }
}

/// The connector behind the gate.
#[derive(Clone)]
pub(super) struct Connects<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S, A> Service<A> for Connects<S>
where
    S: Service<A, Error = Box<dyn Error + Send + Sync>> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    A: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, address: A) -> Self::Future {
        // What was polled ready is what is called.
        let rest = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, rest);
        let gate = Arc::clone(&self.gate);
        Box::pin(async move {
            let _turn = gate.turn().await?;
            let connection = inner.call(address).await?;
            *gate.opened() = Some(Instant::now());
            Ok(connection)
        })
    }
}
