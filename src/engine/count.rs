//! What a provider says of how many requests are left, for the quota to heed.

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;

use super::Engine;
use crate::{
    policy::quota::count::{Said, Sent},
    provider::count,
};

impl Engine {
    /// What an answer says of how many requests are left.
    pub(super) fn said(&self, response: &Response<Bytes>) -> Vec<Said> {
        if self.settings.quota.is_none() {
            return Vec::new();
        }
        let described = self.adapter().described();
        let described = described.map_or(&[][..], |(descriptor, _)| &descriptor.count);
        let (headers, now) = (response.headers(), Timestamp::now());
        count::said(headers, &self.settings.count, described, now)
    }

    /// That counts from now on; its request went then, and was served, or refused for its number, or failed otherwise.
    pub(super) fn hear_count(&self, said: Vec<Said>, sent: Sent, served: Option<bool>) {
        if self.quota.count.hear(said, sent, served) {
            let provider = &self.settings.name;
            tracing::warn!(
                provider,
                "the provider says again and again that no request is left, and serves what is asked; its count is passed \
                 over until it refuses a request (count = \"none\" turns it off)"
            );
        }
    }
}
