//! The worker's decisions, each pure where it can be: they know neither broker nor HTTP.

pub mod batch;
pub mod circuit;
pub mod lookup;
pub mod parked;
pub mod pause;
pub mod poison;
pub mod prefetch;
pub mod progress;
pub mod quota;
pub mod retry;
pub mod timeout;
