//! What sharing saves.

use prometheus::IntCounterVec;

use super::{Families, name};

/// Lookups that cost no request of their own.
#[derive(Debug, Clone)]
pub(super) struct SharedVecs {
    pub batched: IntCounterVec,
    pub split: IntCounterVec,
    pub coalesced: IntCounterVec,
    pub cached: IntCounterVec,
}

impl SharedVecs {
    pub fn new(families: &Families) -> Self {
        Self {
            batched: families.counters(
                name::BATCHED_TOTAL,
                "Lookups that shared one HTTP request with others.",
                &["provider"],
            ),
            split: families.counters(
                name::BATCHES_SPLIT_TOTAL,
                "HTTP requests for several lookups that were refused as a whole, or whose answer could not be split \
                 for certain; their lookups are asked again in smaller batches.",
                &["provider"],
            ),
            coalesced: families.counters(
                name::COALESCED_TOTAL,
                "Lookups that joined an equal one which was waiting or in flight.",
                &["provider"],
            ),
            cached: families.counters(
                name::CACHE_HITS_TOTAL,
                "Lookups that were answered from memory.",
                &["provider"],
            ),
        }
    }
}
