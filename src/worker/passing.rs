//! A message on its way to another of the worker's own queues: a part of its job's trace, which goes on with it.

use crate::{
    broker::{BrokerError, Fate, Message, Publish, Route},
    message::header,
    telemetry::traces::{DEFAULT_EXCHANGE, Span},
};

/// Publishes `message`, the message and the job of these ids, to where nothing that is private stands in a name.
pub(super) async fn pass_on(
    publisher: &impl Publish,
    route: Route<'_>,
    message: Message,
    (id, job_id): (&str, &str),
    span: &Span,
) -> Result<(), BrokerError> {
    let (exchange, key, name) = match route {
        Route::Kept { exchange, key } | Route::Exchange { exchange, key } => {
            (exchange, key, exchange)
        }
        Route::Queue(queue) | Route::Direct(queue) => (DEFAULT_EXCHANGE, queue, queue),
    };
    let publish = span.publish(Some((exchange, key)), id, job_id);
    let message = match publish.carried() {
        Some((parent, state)) => message
            .header(header::TRACEPARENT, &parent)
            .optional_header(header::TRACESTATE, state.as_deref()),
        None => message,
    };
    let passed = publish_or_fail(publisher, route, message, name).await;
    match passed {
        Ok(()) => publish.end(),
        Err(_) => publish.fail("broker"),
    }
    passed
}

/// To one of the worker's own queues, which must be there: if not, the session ends, and the next declares it.
pub(super) async fn publish_or_fail(
    publisher: &impl Publish,
    route: Route<'_>,
    message: Message,
    queue: &str,
) -> Result<(), BrokerError> {
    let problem = match publisher.publish(route, &|| message.clone()).await? {
        Fate::Confirmed => return Ok(()),
        Fate::Returned => "is gone",
        Fate::Refused => "takes nothing",
        Fate::TooLarge => "takes no message of this size",
        Fate::Silent => "confirms nothing",
    };
    let error = BrokerError::Lost(format!("the worker's own queue {queue} {problem}"));
    publisher.health().fail(error.to_string());
    Err(error)
}
