//! Delay queues, drained: a parked job is held until it is due and then goes back to where it came from.
//!
//! The broker's own way (TTL and dead lettering) loses or strands jobs when a queue's leader dies. Here a job is
//! taken from its delay queue only once its next place is confirmed, like any other.

use std::{rc::Rc, time::Duration};

use jiff::Timestamp;

use super::{Worker, load::Held};
use crate::{
    broker::{BrokerError, Delivery, Route, header},
    config::Step,
    policy::retry,
    provider::class::until,
};

/// Holds a job of the delay queue `step` until it is due, or until its time there is over.
pub async fn hold(worker: Rc<Worker>, step: Step, delivery: Held) {
    let now = Timestamp::now();
    // What somebody put here by hand goes on at once.
    let due = delivery.due.unwrap_or(now);
    let mut stay = until(due, now).min(rest_of_step(&delivery, &step, now));
    if worker.is_suspicious(&delivery) {
        // Not for anything of its own, but the broker counts how often it hands the same one out.
        stay = Duration::ZERO;
    }
    tokio::select! {
        () = tokio::time::sleep(stay) => {}
        _ = delivery.session.health.ended() => return,
    }
    if let Err(error) = worker.send_on(&delivery, due).await {
        tracing::debug!(%error, "a parked job is left to redelivery");
    }
}

/// A job is not held longer than its queue's step, since the broker takes back what is held too long.
fn rest_of_step(delivery: &Delivery, step: &Step, now: Timestamp) -> Duration {
    let held = delivery
        .parked
        .map_or(Duration::ZERO, |parked| until(now, parked));
    step.wait.saturating_sub(held)
}

impl Worker {
    async fn send_on(&self, delivery: &Delivery, due: Timestamp) -> Result<(), BrokerError> {
        let now = Timestamp::now();
        let left = until(due, now);
        if left.is_zero() {
            let (exchange, key) = (
                self.names.jobs_exchange(),
                delivery.first_routing_key.as_deref().unwrap_or_default(),
            );
            let route = Route::Exchange {
                exchange: &exchange,
                key,
            };
            self.publish_or_fail(delivery, route, delivery.forward(), &exchange)
                .await?;
        } else {
            let queue = self
                .names
                .delay(retry::step(&self.settings.retry.delays, left));
            let message = delivery
                .forward()
                .count_header(header::PARKED_AT, now.as_millisecond());
            self.publish_or_fail(delivery, Route::Queue(&queue), message, &queue)
                .await?;
        }
        delivery.ack().await;
        Ok(())
    }
}
