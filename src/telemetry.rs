//! What can be seen of the worker: logs, metrics, traces, the small HTTP server that shows them, and what systemd is told.

pub mod logs;
pub mod metrics;
pub mod notify;
pub mod readiness;
pub mod server;
pub mod traces;
