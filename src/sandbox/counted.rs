//! The headers in which a provider says how many requests are left.

use std::{
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{limit::RateLimit, wire::Reply};

/// How it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountForm {
    /// `X-RateLimit-Remaining`, `-Limit` and `-Reset`, which is in seconds from now.
    Seconds,
    /// The same, with `-Reset` in seconds since 1970.
    Epoch,
    /// `RateLimit` and `RateLimit-Policy`, the structured fields of the IETF's draft.
    Ietf,
}

impl FromStr for CountForm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "seconds" => Ok(Self::Seconds),
            "epoch" => Ok(Self::Epoch),
            "ietf" => Ok(Self::Ietf),
            _ => Err(format!("got {text:?}, expected seconds, epoch or ietf")),
        }
    }
}

impl CountForm {
    /// Says it: whole seconds, rounded up, as most do.
    pub(super) fn tell(
        self,
        reply: Reply,
        limit: RateLimit,
        remaining: usize,
        reset: Duration,
    ) -> Reply {
        let up = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let RateLimit { requests, per } = limit;
        if self == Self::Ietf {
            let (reset, per) = (up(reset), up(per));
            return reply
                .with("ratelimit", format!("\"all\";r={remaining};t={reset}"))
                .with("ratelimit-policy", format!("\"all\";q={requests};w={per}"));
        }
        let reset = match self {
            Self::Epoch => up(since_1970() + reset),
            _ => up(reset),
        };
        reply
            .with("x-ratelimit-limit", requests)
            .with("x-ratelimit-remaining", remaining)
            .with("x-ratelimit-reset", reset)
    }
}

fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
