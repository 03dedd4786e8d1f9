//! The five kinds, and what each says for itself.

use std::{
    fmt::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use clap::ValueEnum;

use super::{
    antsomi::Antsomi,
    egain::Egain,
    kapture::Kapture,
    limit::RateLimit,
    omeda::Omeda,
    plume::Plume,
    tokens::{CLIENT_ID, CLIENT_SECRET, Desk},
    wire::{Ask, Reply},
};

/// Which API a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
#[allow(missing_docs, reason = "the names are the kinds'")]
pub enum Kind {
    Antsomi,
    Omeda,
    Kapture,
    Egain,
    Plume,
    /// Whatever a descriptor describes.
    #[value(skip)]
    Http,
}

/// One API, as its document says. Each is a file of its own, read from the document and from nothing else.
pub(super) trait Api: Sync {
    /// The right answer, or the refusal that the real one would give.
    fn answer(&self, ask: &Ask, desk: &mut Desk) -> Reply;

    /// A failure of that status in this API's shape.
    fn refusal(&self, status: u16) -> Reply;

    /// The answer to a request beyond the limit, the next one being let through after `wait`.
    fn over_limit(&self, _limit: RateLimit, _wait: Duration) -> Reply {
        self.refusal(429)
    }

    /// Tokens are fetched there; such requests are no lookups.
    fn is_token_endpoint(&self, _path: &str) -> bool {
        false
    }

    /// What to try first: a curl command's arguments.
    fn sample(&self, base: &str) -> String;

    /// Its own keys of `[providers.NAME]`.
    fn config(&self) -> String {
        String::new()
    }

    /// Values beside the common ones and what each does, for `--help`.
    fn values(&self) -> &'static [(&'static str, &'static str)];
}

impl Kind {
    /// All five, in the order of their ports.
    pub const ALL: [Self; 5] = [
        Self::Antsomi,
        Self::Omeda,
        Self::Kapture,
        Self::Egain,
        Self::Plume,
    ];

    /// Its name in a configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Antsomi => "antsomi",
            Self::Omeda => "omeda",
            Self::Kapture => "kapture",
            Self::Egain => "egain",
            Self::Plume => "plume",
            Self::Http => "http",
        }
    }

    /// The port, unless another is asked for.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        18081 + self as u16
    }

    /// The token (omeda: the app id) that is always let in.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Antsomi => "sandbox-antsomi-token",
            Self::Omeda => "sandbox-omeda-app-id",
            Self::Kapture => "sandbox-kapture-token",
            Self::Egain => "sandbox-egain-token",
            Self::Plume => "sandbox-plume-token",
            Self::Http => "sandbox-http-token",
        }
    }

    /// The limit that its document states.
    #[must_use]
    pub const fn documented_limit(self) -> Option<RateLimit> {
        match self {
            Self::Antsomi => Some(RateLimit {
                requests: 200,
                per: Duration::from_mins(1),
            }),
            Self::Plume => Some(RateLimit {
                requests: 2000,
                per: Duration::from_mins(5),
            }),
            _ => None,
        }
    }

    /// Where tokens are fetched, below the base; none where the kind has no such thing.
    #[must_use]
    pub const fn token_path(self) -> Option<&'static str> {
        match self {
            Self::Antsomi => Some("/oauth/token"),
            Self::Egain => Some("/global/sandbox/oauth2/v2.0/token"),
            Self::Plume => Some("/oauth2/sandbox/v1/token"),
            Self::Omeda | Self::Kapture | Self::Http => None,
        }
    }

    /// The provider's table for a configuration of the worker.
    #[must_use]
    pub fn config(self, address: SocketAddr) -> String {
        let name = self.name();
        let mut text =
            format!("[providers.{name}]\nkind = \"{name}\"\nbase_url = \"http://{address}\"\n");
        text += &self.api().map(Api::config).unwrap_or_default();
        if self != Self::Omeda {
            let _ = writeln!(text, "token = \"{}\"", self.token());
        }
        if let Some(path) = self.token_path() {
            let scope = self.scope().unwrap_or_default();
            let _ = writeln!(
                text,
                "# instead of the token: oauth = {{ token_url = \"http://{address}{path}\", client_id = \"{CLIENT_ID}\", \
                 client_secret = \"{CLIENT_SECRET}\", scope = \"{scope}\" }}"
            );
        }
        text
    }

    /// The scope that its token endpoint asks for.
    #[must_use]
    pub const fn scope(self) -> Option<&'static str> {
        match self {
            Self::Antsomi => Some("item,event,profile"),
            Self::Egain => Some("https://api.egain.cloud/auth/.default"),
            Self::Plume => Some("partnerId:sandbox role:partnerIdAdmin"),
            Self::Omeda | Self::Kapture | Self::Http => None,
        }
    }

    /// What its document says; none where there is no document.
    pub(super) fn api(self) -> Option<&'static dyn Api> {
        Some(match self {
            Self::Antsomi => &Antsomi,
            Self::Omeda => &Omeda,
            Self::Kapture => &Kapture,
            Self::Egain => &Egain,
            Self::Plume => &Plume,
            Self::Http => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}
