//! A message of a job's on its way to another of the worker's own queues: a part of the job's trace, which goes on
//! with it.

use super::Worker;
use crate::{
    broker::{BrokerError, Delivery, Message, Route},
    message::header,
    telemetry::traces::{DEFAULT_EXCHANGE, Span},
};

impl Worker {
    /// Publishes `message`, the message and the job of these ids, to where nothing that is private stands in a name.
    pub(super) async fn pass_on(
        &self,
        delivery: &Delivery,
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
        let passed = self.publish_or_fail(delivery, route, message, name).await;
        match passed {
            Ok(()) => publish.end(),
            Err(_) => publish.fail("broker"),
        }
        passed
    }
}
