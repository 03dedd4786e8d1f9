//! What can be seen of the worker: logs, metrics, traces, the small HTTP server that shows them, its page for
//! people, and what systemd is told.

mod history;
pub mod logs;
pub mod metrics;
pub mod notify;
pub mod page;
pub mod readiness;
pub mod server;
pub mod status;
pub mod traces;
