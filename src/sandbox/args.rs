//! The flags of `lookup-worker sandbox`.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::Args;

use super::{
    CountForm, Kind, Options, RateLimit, Rates, api::Api, control, described::Described, fault,
    magic,
};

/// Serves all five providers' APIs locally, with faults on request.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = values())]
pub struct SandboxArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port of kind antsomi; 0 is any free one
    #[arg(long, default_value_t = Kind::Antsomi.default_port(), value_name = "PORT")]
    pub antsomi_port: u16,
    /// Port of kind omeda
    #[arg(long, default_value_t = Kind::Omeda.default_port(), value_name = "PORT")]
    pub omeda_port: u16,
    /// Port of kind kapture
    #[arg(long, default_value_t = Kind::Kapture.default_port(), value_name = "PORT")]
    pub kapture_port: u16,
    /// Port of kind egain
    #[arg(long, default_value_t = Kind::Egain.default_port(), value_name = "PORT")]
    pub egain_port: u16,
    /// Port of kind plume
    #[arg(long, default_value_t = Kind::Plume.default_port(), value_name = "PORT")]
    pub plume_port: u16,
    /// Serve these kinds alone
    #[arg(long, value_delimiter = ',', value_name = "KIND,KIND")]
    pub only: Vec<Kind>,
    /// Play this descriptor's API instead of the five, answering as its tests say
    #[arg(long, value_name = "FILE", conflicts_with = "only")]
    pub descriptor: Option<PathBuf>,
    /// Its port; 0 is any free one
    #[arg(long, default_value_t = Kind::Http.default_port(), value_name = "PORT")]
    pub descriptor_port: u16,

    /// Refuse lookups beyond this in any rolling window: 200/1m, or antsomi=200/1m, or `documented`
    #[arg(long, value_delimiter = ',', value_name = "[KIND=]N/PER")]
    pub rate_limit: Vec<LimitArg>,
    /// Count that limit in windows that stand one behind the other, not in rolling ones
    #[arg(long, requires = "rate_limit")]
    pub fixed_windows: bool,
    /// Say in each answer how many requests are left: as X-RateLimit-Remaining and its company with the window's end in
    /// seconds or as an epoch, or as the IETF's RateLimit
    #[arg(long, requires = "rate_limit", value_name = "seconds|epoch|ietf")]
    pub count: Option<CountForm>,
    /// The rolling window of the statistics' largest count [default: the rate limit's, else 1m]
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub window: Option<Duration>,
    /// Seconds of Retry-After sent with every 429 and 503
    #[arg(long, value_name = "SECONDS")]
    pub retry_after: Option<u64>,
    /// Share of lookups, 0 to 1, that is answered with --status
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub status_rate: f64,
    /// The status of --status-rate
    #[arg(long, default_value_t = 503, value_parser = status)]
    pub status: u16,
    /// Share of lookups whose connection is reset
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub reset_rate: f64,
    /// Share of lookups whose answer is cut short
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub truncate_rate: f64,
    /// Share of lookups that are never answered
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub hang_rate: f64,
    /// Wait before every answer
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "DURATION")]
    pub latency: Duration,
    /// Wait at most that much more, evenly spread
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "DURATION")]
    pub latency_jitter: Duration,
    /// The same seed, the same faults for the same order of requests
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// How long an issued token is let in
    #[arg(long, default_value = "1h", value_parser = duration, value_name = "DURATION")]
    pub token_lifetime: Duration,
    /// A line on standard error for each request
    #[arg(long)]
    pub log: bool,
    /// Print a worker's configuration for these ports and exit
    #[arg(long)]
    pub print_config: bool,
    /// Write a worker's configuration for these ports before serving, free ones included
    #[arg(long, value_name = "FILE")]
    pub write_config: Option<PathBuf>,
}

/// One value of `--rate-limit`.
#[derive(Debug, Clone, Copy)]
pub enum LimitArg {
    /// Each kind's own, where its document states one.
    Documented,
    /// For every kind, or for one.
    Of(Option<Kind>, RateLimit),
}

impl FromStr for LimitArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "documented" => Ok(Self::Documented),
            None => text.parse().map(|limit| Self::Of(None, limit)),
            Some((kind, limit)) => {
                let kind = Kind::ALL.into_iter().find(|known| known.name() == kind);
                Ok(Self::Of(
                    Some(kind.ok_or("expected a kind before the '='")?),
                    limit.parse()?,
                ))
            }
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    fault::duration(text)
}

fn status(text: &str) -> Result<u16, String> {
    fault::status(text.parse().map_err(|_| "expected a number".to_owned())?)
}

impl SandboxArgs {
    /// What the flags ask for.
    ///
    /// # Errors
    /// Shares that are none.
    pub fn options(&self) -> Result<Options, String> {
        let rates = Rates {
            failing: self.status_rate,
            status: self.status,
            reset: self.reset_rate,
            truncate: self.truncate_rate,
            hang: self.hang_rate,
            latency: self.latency,
            jitter: self.latency_jitter,
        };
        rates.check().map_err(|problem| problem.to_string())?;
        let described = self
            .descriptor
            .as_deref()
            .map(Described::read)
            .transpose()?;
        Ok(Options {
            described: described.map(|described| &*Box::leak(Box::new(described))),
            host: self.host,
            ports: self.ports(),
            rates,
            rate_limits: self.rate_limits(),
            window: self.window,
            retry_after: self.retry_after,
            fixed_windows: self.fixed_windows,
            count: self.count,
            token_lifetime: self.token_lifetime,
            seed: self.seed,
            log: self.log,
        })
    }

    fn ports(&self) -> BTreeMap<Kind, u16> {
        if self.descriptor.is_some() {
            return [(Kind::Http, self.descriptor_port)].into();
        }
        let ports = [
            self.antsomi_port,
            self.omeda_port,
            self.kapture_port,
            self.egain_port,
            self.plume_port,
        ];
        let wanted = |kind: &Kind| self.only.is_empty() || self.only.contains(kind);
        Kind::ALL
            .into_iter()
            .zip(ports)
            .filter(|(kind, _)| wanted(kind))
            .collect()
    }

    /// A limit for one kind goes before one for all, whatever their order.
    fn rate_limits(&self) -> BTreeMap<Kind, RateLimit> {
        let mut limits = BTreeMap::new();
        for arg in &self.rate_limit {
            match arg {
                LimitArg::Documented => {
                    limits.extend(
                        Kind::ALL
                            .into_iter()
                            .filter_map(|kind| Some((kind, kind.documented_limit()?))),
                    );
                }
                LimitArg::Of(None, limit) => {
                    limits.extend(Kind::ALL.map(|kind| (kind, *limit)));
                    limits.insert(Kind::Http, *limit);
                }
                LimitArg::Of(Some(_), _) => {}
            }
        }
        limits.extend(self.rate_limit.iter().filter_map(|arg| match arg {
            LimitArg::Of(Some(kind), limit) => Some((*kind, *limit)),
            _ => None,
        }));
        limits
    }

    /// The addresses, where all of them are known beforehand.
    pub(super) fn fixed_addresses(
        &self,
        options: &Options,
    ) -> Result<BTreeMap<Kind, SocketAddr>, String> {
        if options.ports.values().any(|port| *port == 0) {
            return Err(
                "--print-config needs ports that are known; with port 0 use --write-config FILE"
                    .into(),
            );
        }
        Ok(options
            .ports
            .iter()
            .map(|(kind, port)| (*kind, SocketAddr::new(self.host, *port)))
            .collect())
    }
}

/// Whom a plain job can ask for, control routes and tokens: the text below `--help`.
#[must_use]
pub fn values() -> String {
    let mut text = format!(
        "Examples:\n  lookup-worker sandbox --print-config > lookup-worker.toml   a configuration for these ports\n  \
         lookup-worker sandbox --rate-limit documented --log\n  \
         lookup-worker sandbox --only plume --status-rate 0.1 --latency 50ms\n  \
         lookup-worker sandbox --descriptor crm.toml --print-config > lookup-worker.toml\n\n\
         Numbers that every kind knows, as phone, customer id or account id:\n{}  849...          any other of 11 \
         digits or more: found, and its customer's id is that number\n\
         In a batch the first that stands for a fault spoils the request; one of 401 or 403 has it refused (400).\n",
        magic::help()
    );
    for kind in Kind::ALL {
        let token = if kind == Kind::Omeda {
            "x-omeda-appid"
        } else {
            "token"
        };
        let _ = writeln!(text, "\n{kind} ({token}: {}):", kind.token());
        for (value, says) in kind.api().map_or(&[][..], Api::values) {
            let _ = writeln!(text, "  {value}  {says}");
        }
        if let Some(path) = kind.token_path() {
            let scope = kind.scope().unwrap_or_default();
            let _ = writeln!(
                text,
                "  POST {path}  issues tokens to sandbox-client, sandbox-secret, scope \"{scope}\""
            );
        }
    }
    let _ = write!(
        text,
        "\nOn each port: {}.\nA fault: POST /_sandbox/faults \
         {{\"match\": \"84907089782\", \"fault\": {{\"status\": 503, \"retry_after\": 2}}, \"count\": 1}}; in a fault: \
         status, latency, retry_after, reset, truncate, hang, html.\nBy a request's header: \
         x-sandbox-fault: status=503;retry-after=2;count=1",
        control::ROUTES
    );
    text
}
