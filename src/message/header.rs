//! Our own headers. Those of the broker (`x-death`) are not passed on.

/// Class of a dead letter's failure.
pub const ERROR: &str = "x-lookup-error";
/// Whom a dead letter asks for: `person`, or `nobody` where the requester made the mistake and was told.
pub const ASKS_FOR: &str = "x-lookup-asks-for";
/// What was expected, what came, what to do.
pub const MESSAGE: &str = "x-lookup-message";
/// HTTP requests made so far.
pub const ATTEMPTS: &str = "x-lookup-attempts";
/// How many of them are not held against the job.
pub const SPARED: &str = "x-lookup-spared-attempts";
/// The routing key that the job came with.
pub const ROUTING_KEY: &str = "x-lookup-routing-key";
/// When a worker first received the job, in milliseconds since 1970.
pub const RECEIVED_AT: &str = "x-lookup-received-at";
/// When a parked job is to go on, likewise.
pub const DUE_AT: &str = "x-lookup-due-at";
/// When a job was parked, likewise.
pub const PARKED_AT: &str = "x-lookup-parked-at";
/// HTTP status of the last answer.
pub const HTTP_STATUS: &str = "x-lookup-http-status";
/// How much a job carries behind its body, and in which form: `VERSION:BYTES`.
pub const TAIL: &str = "x-lookup-tail";
/// Status of a result.
pub const STATUS: &str = "x-lookup-status";
/// How often a job had come back to its queue when it was set aside as a suspect.
pub const SUSPECT: &str = "x-lookup-suspect";
/// When a message became a dead letter, likewise.
pub const DIED_AT: &str = "x-lookup-died-at";
/// How often a dead letter was sent back to its queue.
pub const REPLAYS: &str = "x-lookup-replays";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context.
pub const TRACESTATE: &str = "tracestate";
/// How kombu tells that it compressed a body.
pub const COMPRESSION: &str = "compression";
