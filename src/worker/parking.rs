//! Delay queues, drained: a parked job is held until it is due and then goes back to where it came from.
//!
//! The broker's own way (TTL and dead lettering) loses or strands jobs when a queue's leader dies. Here a job is
//! taken from its delay queue only once its next place is confirmed, like any other.
//!
//! Why it is so: `docs/decisions/0002-drained-delays.md`.

//!
//! Whoever parked it may have had another clock. What its headers tell are lengths of time, each between two points of
//! one clock: how long it is to wait, and how old it was ([`Parked`]).

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Deserialize;

use super::{Worker, load::Held, passing::publish_or_fail};
use crate::{
    broker::{BrokerError, Delivery, Route},
    config::Step,
    job::{Address, Mark, id_of, without_mark},
    lane::Lane,
    message::header,
    policy::{
        parked::{Parked, Stay},
        retry,
    },
    provider::criterion::Whole,
};

/// Holds a job of the delay queue `step` until it is due, or until its time there is over. It comes `late` where it lay
/// in the queue for a while before it was given to anybody.
pub async fn hold(worker: Rc<Worker>, step: Step, delivery: Held, late: bool) {
    let now = Timestamp::now();
    let stay = worker.stay(&delivery, late, now);
    let taken = Instant::now();
    let mut here = stay.left.min(step.wait).min(worker.timeout.parked());
    if worker.is_suspicious(&delivery) {
        // Not for anything of its own, but the broker counts how often it hands the same one out.
        here = Duration::ZERO;
    }
    let provider = worker.providers.get(provider_of(&delivery));
    let _parked = provider.map(|provider| provider.metrics.parks());
    let _mark = worker.mark_delayed(&delivery, &step, stay.left);
    let lifted = async {
        match provider {
            Some(provider) => provider.lifted().await,
            None => std::future::pending().await,
        }
    };
    let left = tokio::select! {
        () = tokio::time::sleep(here) => stay.left.saturating_sub(taken.elapsed().max(here)),
        // A person says that the provider is to be asked.
        () = lifted => Duration::ZERO,
        _ = delivery.session.health.ended() => return,
        () = delivery.lost() => return,
    };
    let age = stay.age + taken.elapsed();
    if let Err(error) = worker.send_on(&delivery, left, age).await {
        tracing::debug!(%error, "a parked job is left to redelivery");
    }
}

fn provider_of(delivery: &Delivery) -> &str {
    Address::of(delivery.first_routing_key.as_deref().unwrap_or_default()).provider
}

/// What a job allows itself, if it says so.
fn deadline_of(body: &[u8]) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Deadline {
        deadline_ms: Option<Whole<0>>,
    }
    let body: Deadline = serde_json::from_slice(without_mark(body)).ok()?;
    let milliseconds = body.deadline_ms?.get();
    Some(Duration::from_millis(milliseconds))
}

impl Worker {
    /// For whoever asks where it is.
    fn mark_delayed(&self, delivery: &Delivery, step: &Step, left: Duration) -> Mark {
        let Some(id) = id_of(&delivery.envelope, &delivery.body) else {
            return Mark::default();
        };
        let key = delivery.first_routing_key.as_deref().unwrap_or_default();
        let Address { provider, lane } = Address::of(key);
        let (lane, queue) = (lane.unwrap_or(Lane::Bulk), self.names.delay(step));
        self.marks.delay(&id, provider, lane, &queue, left)
    }

    /// How long it is still to wait, and how old it is. No wait is longer than a worker of today would park a job for.
    fn stay(&self, delivery: &Delivery, late: bool, now: Timestamp) -> Stay {
        let (Some(parked), Some(due)) = (delivery.parked, delivery.due) else {
            // What somebody put here by hand goes on at once.
            return Stay::default();
        };
        let parked = Parked {
            at: parked,
            due,
            received: delivery.envelope.prior.received,
            deadline: deadline_of(&delivery.body),
            late: late || delivery.redeliveries > 0,
        };
        let mut stay = parked.stay(now);
        if let Some(provider) = self.providers.get(provider_of(delivery)) {
            let longest = provider.engines().iter().flat_map(|engine| {
                let settings = &engine.settings;
                let steps = settings.retry.delays.iter().map(|step| step.wait);
                steps.chain([settings.max_pause, settings.retry.max_delay])
            });
            stay.left = stay.left.min(longest.max().unwrap_or_default());
        }
        stay
    }

    /// Back to where it came from, or into the next queue for the time that is left; with its times by our clock.
    async fn send_on(
        &self,
        delivery: &Delivery,
        left: Duration,
        age: Duration,
    ) -> Result<(), BrokerError> {
        let now = Timestamp::now();
        let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4);
        let now_ms = now.as_millisecond();
        let publisher = &delivery.session.publisher;
        let mut message = delivery.forward();
        if delivery.envelope.prior.received.is_some() {
            message = message.count_header(header::RECEIVED_AT, now_ms - milliseconds(age));
        }
        if left.is_zero() {
            let (exchange, key) = (
                self.names.jobs_exchange(),
                delivery.first_routing_key.as_deref().unwrap_or_default(),
            );
            // As older versions parked a job that was published to its queue itself.
            let key = self.names.key_of_jobs(key).unwrap_or(key);
            let route = Route::Exchange {
                exchange: &exchange,
                key,
            };
            publish_or_fail(publisher, route, message, &exchange).await?;
        } else {
            let queue = self
                .names
                .delay(retry::step(&self.settings.retry.delays, left));
            let message = message
                .count_header(header::PARKED_AT, now_ms)
                .count_header(header::DUE_AT, now_ms.saturating_add(milliseconds(left)));
            publish_or_fail(publisher, Route::Queue(&queue), message, &queue).await?;
        }
        delivery.ack().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_jobs_own_time_is_read_however_it_is_written() {
        for body in [
            r#"{"deadline_ms":1000}"#,
            r#"{"deadline_ms":1000.0}"#,
            "\u{feff}{\"deadline_ms\":1000}",
        ] {
            let told = deadline_of(body.as_bytes());
            assert_eq!(told, Some(Duration::from_secs(1)), "{body}");
        }
        assert_eq!(deadline_of(br#"{"deadline_ms":null}"#), None);
    }
}
