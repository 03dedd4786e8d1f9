//! What each API does on its port, and says for itself.

use std::time::Duration;

use super::{
    limit::RateLimit,
    tokens::Desk,
    wire::{Ask, Reply},
};

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

    /// The token (omeda: the app id) that is always let in.
    fn token(&self) -> &'static str;

    /// The limit that its document states.
    fn documented_limit(&self) -> Option<RateLimit> {
        None
    }

    /// Where tokens are fetched, below the base; none where there is no such thing.
    fn token_path(&self) -> Option<&'static str> {
        None
    }

    /// The scope that its token endpoint asks for.
    fn scope(&self) -> Option<&'static str> {
        None
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
