//! The last part of a job's way: what replaces it is published and confirmed, and only then it is acknowledged.
//!
//! Why it is so: `docs/decisions/0008-at-least-once.md`.

use std::{rc::Rc, time::Duration};

use jiff::Timestamp;

use super::{
    Provider, Worker,
    ending::{Answer, Carried, Ending},
    passing::pass_on,
};
use crate::{
    broker::{BrokerError, Delivery, Fate, Message, Publish, Publisher, Received, Route},
    dead_letter::{AsksFor, TOO_LATE_RESULT, UNDELIVERABLE_RESULT},
    failpoint,
    failure::{ErrorKind, Failure},
    job::{Address, Envelope},
    json::Malformed,
    lane::Lane,
    message::{DIRECT_REPLY_TO, Destination, header},
    policy::retry,
    result::message_id,
    telemetry::{metrics::ProviderMetrics, traces::Span},
};

/// A result that is larger than the broker takes is an answer that is larger than anybody can use.
const TOO_LARGE: ErrorKind = ErrorKind::BadResponse;

/// Until another worker is looked for that can go on with a job.
const FOR_A_LATER_VERSION: Duration = Duration::from_secs(30);

/// What replaces one job, as it is published.
pub(super) struct Settlement<'a, P> {
    worker: &'a Worker,
    provider: Option<&'a Provider>,
    publisher: &'a P,
    received: &'a Received,
    span: &'a Span,
}

impl Worker {
    /// Publishes the replacement, waits for its confirm, acknowledges the job.
    pub(super) async fn settle(
        &self,
        provider: Option<&Provider>,
        delivery: &Delivery,
        ending: Ending,
        span: &Span,
    ) -> Result<(), BrokerError> {
        let (outcome, error) = ending.summary();
        span.outcome(outcome, error);
        if delivery.is_lost() {
            self.keep(provider, delivery, ending);
            return Ok(());
        }
        if matches!(ending, Ending::Abandoned) && delivery.session.health.is_well() {
            return Box::pin(self.hand_back_one(delivery)).await;
        }
        let settlement = self.settlement(provider, delivery, span);
        if settlement.replace(ending).await? {
            failpoint::reach(failpoint::REPLACED, delivery.envelope.message_id.as_deref());
            delivery.ack().await;
        }
        Ok(())
    }

    /// That of a delivery, by its session.
    pub(super) fn settlement<'a>(
        &'a self,
        provider: Option<&'a Provider>,
        delivery: &'a Delivery,
        span: &'a Span,
    ) -> Settlement<'a, Publisher> {
        Settlement {
            worker: self,
            provider,
            publisher: &delivery.session.publisher,
            received: delivery,
            span,
        }
    }

    /// The queue of the requester's that is answered, if one is.
    fn reply_queue<'a>(&self, envelope: &'a Envelope) -> Option<&'a str> {
        let reply_to = envelope.reply_to.as_deref()?;
        self.reply_problem(envelope).is_none().then_some(reply_to)
    }

    /// Where a result goes, unless it is not taken there.
    fn destination(&self, envelope: &Envelope) -> Destination {
        match self.reply_queue(envelope) {
            Some(_) => Destination::Reply,
            None => Destination::Results,
        }
    }

    /// Keeps what a job came to that the broker has taken back meanwhile, for when it delivers it anew.
    fn keep(&self, provider: Option<&Provider>, delivery: &Delivery, ending: Ending) {
        let (answer, owed) = match ending {
            Ending::Answered(answer) => (answer, None),
            Ending::DeadLettered(answer, failure) => (answer, Some(failure)),
            _ => return,
        };
        answer.to.set(self.destination(&delivery.envelope));
        if let Some(provider) = provider {
            provider.finished.owe(delivery, answer, owed);
        }
    }

    /// Why a `reply_to` is not answered, if it is not.
    pub(super) fn reply_problem(&self, envelope: &Envelope) -> Option<Malformed> {
        let reply_to = envelope.reply_to.as_deref()?;
        let name = if reply_to.starts_with(DIRECT_REPLY_TO) {
            DIRECT_REPLY_TO
        } else {
            reply_to
        };
        if self.names.owns(name) {
            return Some(Malformed::at(
                "reply_to",
                "expected a queue of the requester's, got one of the worker's own",
            ));
        }
        (!self.settings.reply.allows(name)).then(|| {
            Malformed::at(
                "reply_to",
                "expected a queue that reply.allow names, got another",
            )
        })
    }
}

impl<P: Publish> Settlement<'_, P> {
    /// Publishes what replaces the job. Whether anything does, so that the job is to be acknowledged.
    async fn replace(&self, ending: Ending) -> Result<bool, BrokerError> {
        // What is rare is boxed: the room for it would be in every job's future.
        match ending {
            Ending::Answered(answer) => self.answer(answer).await?,
            Ending::DeadLettered(answer, failure) => {
                Box::pin(self.dead_letter(&failure, &answer)).await?;
                self.answer(answer).await?;
            }
            Ending::Parked(carried, wait) => Box::pin(self.park(&carried, wait)).await?,
            Ending::Foreign => Box::pin(self.park_whole()).await?,
            Ending::PutBack(carried) => {
                let message = carried.message(self.received);
                Box::pin(self.put_back(message, &carried.id)).await?;
            }
            Ending::Waits(_) | Ending::Abandoned => return Ok(false),
        }
        Ok(true)
    }

    /// Those of the provider, if it is one of ours.
    fn metrics(&self) -> &ProviderMetrics {
        self.provider
            .map_or(&self.worker.strangers, |provider| &provider.metrics)
    }

    async fn answer(&self, answer: Rc<Answer>) -> Result<(), BrokerError> {
        // From here on a redelivery must not cost a second lookup.
        if let Some(provider) = self.provider {
            provider
                .finished
                .remember(self.received, Rc::clone(&answer));
        }
        let mut published_in = answer.published.lock().await;
        if published_in.as_ptr() == Rc::as_ptr(self.publisher.health()) {
            // The acknowledgement alone was lost, and what was confirmed since is still there.
            return Ok(());
        }
        let envelope = &self.received.envelope;
        let (exchange, key) = (self.worker.names.results(), &*result_key(&answer));
        let route = match self.worker.reply_queue(envelope) {
            Some(name) if name.starts_with(DIRECT_REPLY_TO) => Route::Direct(name),
            Some(queue) => Route::Queue(queue),
            None => Route::Kept { exchange, key },
        };
        answer.to.set(self.worker.destination(envelope));
        let kept = matches!(route, Route::Kept { .. })
            .then_some((exchange, self.provider.map_or("", |_| key)));
        // For the trace alone.
        let id = if self.span.is_on() {
            message_id(&answer.job_id).to_string()
        } else {
            String::new()
        };
        let publish = self.span.publish(kept, &id, &answer.job_id);
        let published = self
            .publisher
            .publish(route, &|| answer.message(envelope, &publish))
            .await;
        match published.inspect_err(|_| publish.fail("broker"))? {
            Fate::Confirmed => publish.end(),
            Fate::TooLarge if !answer.is_short => {
                publish.fail("too_large");
                return Box::pin(self.answer_smaller(&answer)).await;
            }
            fate => {
                publish.fail(if matches!(fate, Fate::Returned) {
                    "returned"
                } else {
                    "refused"
                });
                let problem = match fate {
                    Fate::Returned => "the result's reply queue is gone",
                    Fate::Silent => "the result's reply queue confirms nothing: it has no leader",
                    _ => {
                        "the result's reply queue takes nothing: it is full, or the worker may not write to it"
                    }
                };
                let error = if answer.error == ErrorKind::DeadlineExceeded.as_str() {
                    TOO_LATE_RESULT
                } else {
                    UNDELIVERABLE_RESULT
                };
                tracing::warn!(
                    job = answer.job_id,
                    error,
                    "{problem}; the result is in the dead-letter queue"
                );
                let key = envelope.reply_to.as_deref().unwrap_or_default();
                let letter = answer
                    .message(envelope, &publish)
                    .header(header::ERROR, error)
                    .header(header::ASKS_FOR, AsksFor::by(error).as_str())
                    .header(header::MESSAGE, problem);
                let letter = letter.header(header::ROUTING_KEY, key);
                Box::pin(self.publish_dead(letter, (&id, &answer.job_id))).await?;
                self.metrics().dead_lettered(error);
                answer.to.set(Destination::DeadLetters);
            }
        }
        *published_in = Rc::downgrade(self.publisher.health());
        self.metrics()
            .answered(answer.lane, answer.status, answer.error, answer.duration_ms);
        Ok(())
    }

    /// Instead of a result that the broker does not take: that there is one, and why it is not sent.
    async fn answer_smaller(&self, answer: &Answer) -> Result<(), BrokerError> {
        let (job, bytes) = (&answer.job_id, answer.size());
        tracing::warn!(
            job,
            bytes,
            "a result is larger than the broker's max_message_size"
        );
        let problem = format!(
            "the result has {bytes} bytes, more than the broker takes (its max_message_size): ask for less, or without raw"
        );
        let failure = Failure::new(TOO_LARGE, problem);
        let short = answer.failed(&failure);
        // What failed before has its dead letter, if it is to have one.
        if answer.error.is_empty() {
            self.dead_letter(&failure, &short).await?;
        }
        self.answer(short).await
    }

    async fn dead_letter(&self, failure: &Failure, answer: &Answer) -> Result<(), BrokerError> {
        let error = failure.kind.as_str();
        let received = self.received;
        let letter = received
            .forward_body()
            .message_id(&answer.job_id)
            .header(header::ERROR, error)
            .header(header::ASKS_FOR, AsksFor::by(error).as_str())
            .header(header::MESSAGE, &failure.message)
            .count_header(header::ATTEMPTS, answer.attempts.into())
            .header(header::ROUTING_KEY, &received.envelope.routing_key);
        self.publish_dead(letter, (&answer.job_id, &answer.job_id))
            .await?;
        self.metrics().dead_lettered(error);
        Ok(())
    }

    async fn publish_dead(&self, letter: Message, ids: (&str, &str)) -> Result<(), BrokerError> {
        let dead = self.worker.names.dead();
        let letter = letter.count_header(header::DIED_AT, Timestamp::now().as_millisecond());
        let route = Route::Exchange {
            exchange: &dead,
            key: "",
        };
        self.pass_on(route, letter, ids).await
    }

    async fn park(&self, carried: &Carried, wait: Duration) -> Result<(), BrokerError> {
        self.park_message(carried.message(self.received), &carried.id, wait)
            .await
    }

    /// What only a later version can go on with waits for one, as it is.
    async fn park_whole(&self) -> Result<(), BrokerError> {
        let envelope = &self.received.envelope;
        let (since, id) = (
            envelope.prior.received.unwrap_or(self.received.arrived.0),
            envelope.message_id.as_deref().unwrap_or_default(),
        );
        let message = self
            .received
            .forward()
            .header(header::ROUTING_KEY, &envelope.routing_key)
            .count_header(header::RECEIVED_AT, since.as_millisecond());
        tracing::warn!(
            job = id,
            "a job carries what a later version wrote; it waits for a worker of that version"
        );
        self.park_message(message, id, FOR_A_LATER_VERSION).await
    }

    async fn park_message(
        &self,
        message: Message,
        id: &str,
        wait: Duration,
    ) -> Result<(), BrokerError> {
        let now = Timestamp::now().as_millisecond();
        let due = now.saturating_add(wait.as_millis().try_into().unwrap_or(i64::MAX / 2));
        let message = message.without(&[header::SUSPECT]);
        let message = message
            .count_header(header::DUE_AT, due)
            .count_header(header::PARKED_AT, now);
        let step = retry::step(&self.worker.settings.retry.delays, wait);
        let queue = self.worker.names.delay(step);
        self.pass_on(Route::Queue(&queue), message, (id, id)).await
    }

    /// Behind the others of its queue. A copy, since the broker counts how often it hands the same one out.
    pub(super) async fn put_back(&self, message: Message, id: &str) -> Result<(), BrokerError> {
        let names = &self.worker.names;
        let key = self.received.envelope.routing_key.as_str();
        if self.received.suspect {
            let Address { provider, lane } = Address::of(key);
            let queue = names.suspects(provider, lane.unwrap_or(Lane::Bulk));
            return self.pass_on(Route::Queue(&queue), message, (id, id)).await;
        }
        let exchange = names.jobs_exchange();
        let route = Route::Exchange {
            exchange: &exchange,
            key,
        };
        self.pass_on(route, message, (id, id)).await
    }

    /// To one of the worker's own queues.
    async fn pass_on(
        &self,
        route: Route<'_>,
        message: Message,
        ids: (&str, &str),
    ) -> Result<(), BrokerError> {
        pass_on(self.publisher, route, message, ids, self.span).await
    }
}

/// `NAME.STATUS`, within the 255 bytes of a routing key: the name came with the job and may be as long.
fn result_key(answer: &Answer) -> String {
    let name = answer
        .provider
        .char_indices()
        .nth(60)
        .map_or(&*answer.provider, |(end, _)| &answer.provider[..end]);
    [name, ".", answer.status].concat()
}

#[cfg(test)]
mod tests;
