//! Tokens by the client-credentials grant (RFC 6749 §4.4) or the refresh-token grant (§6): asked for, remembered, asked
//! for anew.
//!
//! In come a provider's credentials; out comes the header that authorises a request. A token is kept until
//! shortly before it expires, or until the provider refuses it. However many jobs wait, one of them asks.

mod kept; // a refresh token that took another's place

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout};

use crate::{
    config::{Credentials, Secret},
    failure::{ErrorKind, Failure},
    http::Client,
    provider::{
        Adapter,
        access::Access,
        grant::{self, Grant, Token},
    },
};

/// A token is given up this long before it expires, but no more than a tenth of its life.
const MARGIN: Duration = Duration::from_secs(60);

/// A token that was refused and is handed out again is asked for anew after this.
const A_MOMENT: Duration = Duration::from_secs(1);

/// A clock that is wrong must not make every job ask for a token of its own.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);

/// What lets one provider's requests in. Shared by all of its jobs.
#[derive(Debug)]
pub struct Tokens {
    adapter: Adapter,
    source: Mutex<Arc<Source>>,
}

#[derive(Debug)]
enum Source {
    /// The same until it is renewed; no header if none can hold it.
    Fixed(Option<Access>, Box<Credentials>),
    Fetched(Box<Fetched>),
}

struct Fetched {
    adapter: Adapter,
    grant: Mutex<Arc<Grant>>,
    /// Held by the one who asks for a token.
    asking: tokio::sync::Mutex<()>,
    /// How often somebody has asked and had an answer.
    asked: AtomicU64,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    token: Option<(Access, Option<Instant>)>,
    /// Why the last one who asked got none.
    failure: Option<Failure>,
    /// The last one that the provider did not let in.
    refused: Option<HeaderValue>,
    /// It was refused since it was last handed out.
    refused_since: bool,
}

impl Tokens {
    /// The tokens of a provider's settings.
    #[must_use]
    pub fn new(adapter: Adapter, credentials: Credentials) -> Self {
        let source = Mutex::new(Arc::new(Source::new(&adapter, credentials)));
        Self { adapter, source }
    }

    /// From now on by these credentials; what was fetched by others is forgotten. Requests that are on their way
    /// go on with what they carry.
    pub fn renew(&self, credentials: Credentials) {
        let renewed = Arc::new(Source::new(&self.adapter, credentials));
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = renewed;
    }

    fn source(&self) -> Arc<Source> {
        Arc::clone(&self.source.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The header that authorises a request; where a token has to be asked for, that takes up to `limit`.
    ///
    /// # Errors
    /// `unauthorized` where the token endpoint refuses the client; `connection` and `timeout` where it does not
    /// answer; `provider_error` where its answer is no token.
    pub async fn authorization(&self, http: &Client, limit: Duration) -> Result<Access, Failure> {
        let source = self.source();
        let answer = source.authorization(http, limit).await;
        let now = self.source();
        // What was refused were the credentials of before.
        let again = answer.is_err() && !Arc::ptr_eq(&source, &now);
        if again {
            now.authorization(http, limit).await
        } else {
            answer
        }
    }

    /// The header, where nobody has to be asked for it.
    #[must_use]
    pub fn at_hand(&self) -> Option<Access> {
        self.source().at_hand()
    }

    /// Whether a fixed token is another than `used` by now: it was renewed, or its file was replaced since it was read.
    /// Kubernetes replaces a secret's file without a word to the process.
    pub fn replaced(&self, used: &HeaderValue) -> bool {
        let Source::Fixed(access, credentials) = &*self.source() else {
            return false;
        };
        if access.as_ref().is_some_and(|access| access.value() != used) {
            return true;
        }
        let Some(credentials) = credentials.read_again() else {
            return false;
        };
        self.renew(credentials);
        tracing::info!(
            kind = self.adapter.kind(),
            "the token was refused, and another one stands in its file; that one is used from now on"
        );
        true
    }

    /// The provider answered 401 to `used`: forgets it, unless another has already taken its place, or it is the same
    /// that was refused before, which is kept for a moment. Says whether an attempt with a fresh token makes sense;
    /// with a fixed one only where it was renewed meanwhile, or another stands in its file by now.
    pub fn refused(&self, used: &HeaderValue) -> bool {
        match &*self.source() {
            Source::Fixed(..) => self.replaced(used),
            Source::Fetched(fetched) => {
                fetched.memory().forget(used);
                true
            }
        }
    }
}

impl Source {
    fn new(adapter: &Adapter, credentials: Credentials) -> Self {
        match credentials {
            Credentials::OAuth(settings) => Self::Fetched(Box::new(Fetched {
                grant: Mutex::new(Arc::new(as_kept(Grant::new(settings, adapter.tokens())))),
                adapter: adapter.clone(),
                asking: tokio::sync::Mutex::default(),
                asked: AtomicU64::default(),
                memory: Mutex::default(),
            })),
            fixed => Self::Fixed(access(adapter, &fixed), Box::new(fixed)),
        }
    }

    async fn authorization(&self, http: &Client, limit: Duration) -> Result<Access, Failure> {
        match self {
            Self::Fixed(Some(access), _) => Ok(access.clone()),
            Self::Fixed(None, _) => Err(Failure::new(
                ErrorKind::Internal,
                "no HTTP header can hold the token",
            )),
            Self::Fetched(fetched) => {
                let waited = || {
                    Failure::new(
                        ErrorKind::Timeout,
                        "no token in time; somebody else is asking for one",
                    )
                };
                timeout(limit, fetched.authorization(http, limit))
                    .await
                    .unwrap_or_else(|_| Err(waited()))
            }
        }
    }

    /// The header, where nobody has to be asked for it.
    fn at_hand(&self) -> Option<Access> {
        match self {
            Self::Fixed(access, _) => access.clone(),
            Self::Fetched(fetched) => fetched.remembered(),
        }
    }
}

impl Memory {
    /// A token that was refused a moment ago is handed out again: for a moment, since soon there may be another.
    fn keep(&mut self, access: &Access, expiry: Option<Instant>, now: Instant) {
        let same_again = self.refused.as_ref() == Some(access.value()) && self.refused_since;
        if !same_again {
            self.refused = None;
        }
        self.refused_since = false;
        let expiry = if same_again {
            Some(expiry.map_or(now + A_MOMENT, |expiry| expiry.min(now + A_MOMENT)))
        } else {
            expiry
        };
        self.token = Some((access.clone(), expiry));
    }

    fn forget(&mut self, used: &HeaderValue) {
        let is_held = self
            .token
            .as_ref()
            .is_some_and(|(access, _)| access.value() == used);
        if !is_held {
            return;
        }
        self.refused_since = true;
        if self.refused.as_ref() != Some(used) {
            self.refused = Some(used.clone());
            self.token = None;
        }
    }
}

impl Fetched {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self) -> Option<Access> {
        let memory = self.memory();
        let (header, expiry) = memory.token.as_ref()?;
        expiry
            .is_none_or(|expiry| Instant::now() < expiry)
            .then(|| header.clone())
    }

    async fn authorization(&self, http: &Client, limit: Duration) -> Result<Access, Failure> {
        match self.remembered() {
            Some(header) => Ok(header),
            // Rare, and large: boxed, or every job that waits for a permit has the room for it.
            None => Box::pin(self.fetched(http, limit)).await,
        }
    }

    async fn fetched(&self, http: &Client, limit: Duration) -> Result<Access, Failure> {
        let asked = self.asked.load(Ordering::Acquire);
        let _asking = self.asking.lock().await;
        if let Some(header) = self.remembered() {
            return Ok(header);
        }
        // Whoever waited while another asked in vain does not ask again: their answer is the same.
        if self.asked.load(Ordering::Acquire) != asked
            && let Some(failure) = self.memory().failure.clone()
        {
            return Err(failure);
        }
        let mut answer = self.ask(http, limit).await;
        let refused = matches!(&answer, Err(failure) if failure.kind == ErrorKind::Unauthorized);
        if refused && self.read_secret_again() {
            answer = self.ask(http, limit).await;
        }
        // Another's time may have been shorter than that of those who wait: that is no answer for them.
        let of_all = !matches!(&answer, Err(failure) if failure.kind == ErrorKind::Timeout);
        let mut memory = self.memory();
        memory.failure = answer.as_ref().err().filter(|_| of_all).cloned();
        memory.token = None;
        if let Ok((header, expiry)) = &answer {
            memory.keep(header, *expiry, Instant::now());
        }
        self.asked.fetch_add(1, Ordering::Release);
        answer.map(|(header, _)| header)
    }

    fn grant(&self) -> Arc<Grant> {
        Arc::clone(&self.grant.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the client's secret from its file, where another one stands there by now.
    fn read_secret_again(&self) -> bool {
        let Some(grant) = self.grant().with_secret_of_now() else {
            return false;
        };
        *self.grant.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(grant);
        true
    }

    /// From now on by the refresh token that took the place of the one that was sent; it is kept for the next start.
    fn rotate(&self, grant: &Grant, refresh: &Secret) {
        if let Some(rotated) = grant.rotated(refresh) {
            if let Some((file, configured)) = rotated.keeping() {
                kept::write(file, configured.expose_secret(), refresh.expose_secret());
            }
            *self.grant.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rotated);
        }
    }

    async fn ask(
        &self,
        http: &Client,
        limit: Duration,
    ) -> Result<(Access, Option<Instant>), Failure> {
        let grant = self.grant();
        let response = http.send(grant.request()?, limit).await;
        let response = response.map_err(grant::of_endpoint)?;
        let now = Instant::now();
        let Token {
            secret,
            life,
            refresh,
        } = grant.read(&response, Timestamp::now())?;
        if let Some(refresh) = refresh {
            self.rotate(&grant, &refresh);
        }
        let unfit = |_| {
            Failure::new(
                ErrorKind::ProviderError,
                "the token endpoint's token is none that a header can hold",
            )
        };
        let access = self.adapter.access(secret.expose_secret()).map_err(unfit)?;
        let usable = life.map(|life| {
            life.saturating_sub(MARGIN.min(life / 10))
                .max(SHORTEST_LIFE)
        });
        Ok((access, usable.and_then(|usable| now.checked_add(usable))))
    }
}

/// By the refresh token that was kept since the configured one was replaced.
fn as_kept(grant: Grant) -> Grant {
    let kept = grant.keeping();
    let current = kept.and_then(|(file, configured)| kept::read(file, configured.expose_secret()));
    grant.going_on(current)
}

/// What lets a request in by credentials that nobody has to be asked for.
fn access(adapter: &Adapter, credentials: &Credentials) -> Option<Access> {
    match credentials {
        Credentials::Token(token) => adapter.access(token.expose_secret()).ok(),
        Credentials::Basic { username, password } => {
            Access::basic(username, password.expose_secret()).ok()
        }
        Credentials::OAuth(_) => None,
        Credentials::None => Some(Access::free()),
    }
}

/// Shows nothing of what it remembers.
impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Fetched")
            .field("grant", &self.grant())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
