//! What can be seen of the worker: logs, metrics, and the small HTTP server that shows them.

pub mod logs;
pub mod metrics;
pub mod readiness;
pub mod server;
