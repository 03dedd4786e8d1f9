//! The five APIs on local ports, as their documents say, with faults on request: to develop against.
//!
//! It is the adapters' counterpart, read from the same documents a second time: it shares nothing with
//! [`crate::provider`], so that a misreading there does not agree with itself here. It is strict: what the real
//! API would refuse, it refuses. And it counts by itself what it is asked, in rolling windows.
//!
//! # Who is there
//! - Each document's own example, and a few more a kind; `--help` and each kind's file list them.
//! - **Any number of 11 digits or more that begins with `849`** is found, at every kind and for whatever it looks
//!   up (phone, customer id, account id): the customer's id is that number (eGain's and Kapture's too), so that
//!   distinct numbers have distinct right answers.
//! - Some of those numbers stand for a fault: `84900000403` is always forbidden, `84900000429` is answered 429
//!   twice and then found, and so on. The table is in `--help` ([`values`]).
//!
//! # Faults
//! - By flag, for a share of all lookups: see [`SandboxArgs`].
//! - By a request's header: `x-sandbox-fault: status=503;count=2`, or `latency=500ms`, `retry-after=3`, `reset`,
//!   `truncate`, `hang`, `html`, joined by `;`. With a count, the same request gets it that many times.
//! - By the control route, for clients that cannot set headers: `POST /_sandbox/faults` with
//!   `{"match": "84900000503", "fault": {"status": 503}, "count": 2}`; `match` is a part of the decoded path and
//!   query or of the body (absent: every request), `count` absent is for ever. `DELETE` forgets them all.
//!
//! A rate limit comes first, then header, control route, rates, and last the magic numbers.
//!
//! # Control routes, on each port
//! | route | does |
//! |---|---|
//! | `GET, POST, DELETE /_sandbox/faults` | lists, adds, forgets faults |
//! | `GET /_sandbox/stats` | counts: `requests`, `lookups`, `token_requests`, `by_status`, `largest_window` (most lookups in any rolling window), `window_ms`, `in_flight`, `peak_in_flight`, `rejected_by_rate_limit` |
//! | `GET /_sandbox/requests` | the last 1000: `method`, `target`, `headers` (secrets masked), `body`, `at_ms`, `answer` |
//! | `DELETE /_sandbox/tokens` | issued tokens are void from now on |
//! | `POST /_sandbox/reset` | as at start, but for issued tokens |

mod antsomi;
mod api;
mod args;
mod control;
mod counted;
mod described;
mod egain;
mod fault;
mod journal;
mod kapture;
mod kind;
mod limit;
mod magic;
mod omeda;
mod pages;
mod plume;
mod port;
mod server;
mod tokens;
mod wire;

use std::{
    collections::BTreeMap,
    fmt::Write,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, task::JoinSet};

pub use args::{SandboxArgs, values};
pub use counted::CountForm;
pub use described::Described;
pub use fault::{Damage, Fault, Rates};
pub use kind::Kind;
pub use limit::RateLimit;
pub use tokens::{CLIENT_ID, CLIENT_SECRET};

use api::Api;
use port::Port;

/// How the sandbox is to behave; by default all five kinds on free ports, and nothing goes wrong.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on.
    pub host: IpAddr,
    /// The kinds to serve and their ports; 0 is any free one.
    pub ports: BTreeMap<Kind, u16>,
    /// What goes wrong by itself.
    pub rates: Rates,
    /// Limits to refuse beyond.
    pub rate_limits: BTreeMap<Kind, RateLimit>,
    /// The rolling window of `largest_window`; without it the limit's, else one minute.
    pub window: Option<Duration>,
    /// `Retry-After` of every 429 and 503.
    pub retry_after: Option<u64>,
    /// The limits count in windows that stand one behind the other.
    pub fixed_windows: bool,
    /// How each answer says what is left of them.
    pub count: Option<CountForm>,
    /// How long an issued token is let in.
    pub token_lifetime: Duration,
    /// The same seed, the same draws.
    pub seed: u64,
    /// A line on standard error for each request.
    pub log: bool,
    /// What is played on the port of kind `http`; it lives as long as the process.
    pub described: Option<&'static Described>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.into(),
            ports: Kind::ALL.map(|kind| (kind, 0)).into(),
            rates: Rates::default(),
            rate_limits: BTreeMap::new(),
            window: None,
            retry_after: None,
            fixed_windows: false,
            count: None,
            token_lifetime: Duration::from_hours(1),
            seed: 0,
            log: false,
            described: None,
        }
    }
}

impl Options {
    /// What answers on the port of a kind.
    fn api(&self, kind: Kind) -> Option<&'static dyn Api> {
        kind.api().or(self.described.map(|api| api as &dyn Api))
    }

    fn rate_limit_of(&self, kind: Kind) -> Option<RateLimit> {
        self.rate_limits.get(&kind).copied()
    }
}

/// Why the sandbox does not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The options do not fit together.
    #[error("{0}")]
    Options(String),
    /// A port is taken, most likely.
    #[error("{kind}: cannot listen on {address}: {source}")]
    Listen {
        /// Whose port.
        kind: Kind,
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The configuration could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Where to.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

/// The sandbox, listening: its ports are known and connections wait, but nothing is answered yet.
pub struct Sandbox {
    ports: Vec<(SocketAddr, TcpListener, Arc<Port>)>,
    described: Option<&'static Described>,
}

impl Sandbox {
    /// Listens on every port that is asked for.
    ///
    /// # Errors
    /// Rates that are none, or a port that is taken.
    pub async fn bind(options: &Options) -> Result<Self, SandboxError> {
        options
            .rates
            .check()
            .map_err(|problem| SandboxError::Options(problem.to_string()))?;
        let began = Instant::now();
        let mut ports = Vec::new();
        for (&kind, &port) in &options.ports {
            let address = SocketAddr::new(options.host, port);
            let failed = |source| SandboxError::Listen {
                kind,
                address,
                source,
            };
            let Some(api) = options.api(kind) else {
                continue;
            };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            ports.push((
                address,
                listener,
                Arc::new(Port::new(kind, api, options, began)),
            ));
        }
        Ok(Self {
            ports,
            described: options.described,
        })
    }

    /// Where each kind listens.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<Kind, SocketAddr> {
        self.ports
            .iter()
            .map(|(address, _, port)| (port.kind, *address))
            .collect()
    }

    /// The base address of a kind, where it is served.
    #[must_use]
    pub fn base_url(&self, kind: Kind) -> Option<String> {
        self.addresses()
            .get(&kind)
            .map(|address| format!("http://{address}"))
    }

    /// A configuration of the worker with these ports as its providers.
    #[must_use]
    pub fn config(&self) -> String {
        config(&self.addresses(), self.described)
    }

    /// Answers until `shutdown` comes; then every connection ends at once.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        // Dropped at the end, and with it all that runs in it.
        let mut accepting = JoinSet::new();
        for (_, listener, port) in self.ports {
            accepting.spawn(server::accept(listener, port));
        }
        shutdown.await;
    }
}

/// A configuration of the worker with these ports as its providers.
fn config(addresses: &BTreeMap<Kind, SocketAddr>, described: Option<&'static Described>) -> String {
    let tables = addresses
        .iter()
        .map(|(kind, address)| match (kind, described) {
            (Kind::Http, Some(described)) => described.table(&format!("http://{address}")),
            _ => kind.config(*address),
        });
    tables.collect::<Vec<_>>().join("\n")
}

/// Each kind's address, a request to try, and what lets it in.
fn banner(options: &Options, addresses: &BTreeMap<Kind, SocketAddr>) -> String {
    addresses
        .iter()
        .fold(String::new(), |mut text, (kind, address)| {
            let base = format!("http://{address}");
            let Some(api) = options.api(*kind) else {
                return text;
            };
            let _ = writeln!(
                text,
                "{kind:<8} {base}  {}  curl -s {}",
                api.token(),
                api.sample(&base)
            );
            text
        })
}

/// `lookup-worker sandbox`: listens, says where, and answers until `shutdown` comes.
///
/// # Errors
/// As [`Sandbox::bind`], or the configuration's file cannot be written.
pub async fn run(
    args: &SandboxArgs,
    shutdown: impl Future<Output = ()>,
) -> Result<(), SandboxError> {
    let options = args.options().map_err(SandboxError::Options)?;
    if args.print_config {
        print!(
            "{}",
            config(
                &args
                    .fixed_addresses(&options)
                    .map_err(SandboxError::Options)?,
                options.described,
            )
        );
        return Ok(());
    }
    let sandbox = Sandbox::bind(&options).await?;
    if let Some(path) = &args.write_config {
        let failed = |source| SandboxError::Write {
            path: path.display().to_string(),
            source,
        };
        std::fs::write(path, sandbox.config()).map_err(failed)?;
    }
    print!("{}", banner(&options, &sandbox.addresses()));
    sandbox.serve(shutdown).await;
    Ok(())
}
