//! The five kinds, and what each says for itself.

use std::{
    fmt::{self, Write},
    net::SocketAddr,
};

use clap::ValueEnum;

use super::{
    antsomi::Antsomi,
    api::Api,
    described,
    egain::Egain,
    kapture::Kapture,
    limit::RateLimit,
    omeda::Omeda,
    plume::Plume,
    tokens::{CLIENT_ID, CLIENT_SECRET},
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
    pub fn token(self) -> &'static str {
        self.api().map_or(described::TOKEN, Api::token)
    }

    /// The limit that its document states.
    #[must_use]
    pub fn documented_limit(self) -> Option<RateLimit> {
        self.api()?.documented_limit()
    }

    /// Where tokens are fetched, below the base; none where the kind has no such thing.
    #[must_use]
    pub fn token_path(self) -> Option<&'static str> {
        self.api()?.token_path()
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
    pub fn scope(self) -> Option<&'static str> {
        self.api()?.scope()
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
