//! Why a provider's jobs stay in their queues, in words.

use std::fmt;

use crate::failure::ErrorKind;

/// The failure that opened a circuit, or kept it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// Its class.
    pub kind: ErrorKind,
    /// HTTP status of the answer, where there was one.
    pub http_status: Option<u16>,
}

/// Why jobs stay in their queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The provider fails.
    Failing,
    /// The provider refuses the credentials.
    Credentials,
    /// What answers refuses every request in words that are not the provider's own.
    Refusing,
    /// The provider asks to be left alone for a while.
    RateLimited,
    /// A person said so.
    ByHand,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Failing => "the provider keeps failing",
            Self::Credentials => "the provider keeps refusing the credentials",
            Self::Refusing => "the provider's address keeps answering what is no answer of its own",
            Self::RateLimited => "the provider answered 429 and asks to be left alone for a while",
            Self::ByHand => "by hand (`lookup-worker pause`)",
        })
    }
}

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match self.http_status {
            Some(status) => write!(f, ", HTTP {status}"),
            None => Ok(()),
        }
    }
}
