//! A test's own AMQP client: publish jobs, take results, count what lies in a queue.
//!
//! Each wait has a bound and each surprise panics with what was asked. Use one client on one thread.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions,
        BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
        QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable},
};
use serde_json::Value;

/// Bound of one exchange with the broker.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A connection, and a channel in confirm mode.
pub struct Client {
    connection: Connection,
    channel: Channel,
}

impl Client {
    /// Connects; the broker is expected to be there.
    pub async fn connect(url: &str) -> Self {
        let connection = answer(
            "connect",
            Connection::connect(url, ConnectionProperties::default()),
        )
        .await;
        let channel = answer("open a channel", connection.create_channel()).await;
        answer(
            "ask for confirms",
            channel.confirm_select(ConfirmSelectOptions::default()),
        )
        .await;
        Self {
            connection,
            channel,
        }
    }

    /// Declares a durable classic queue: a reply queue, say.
    pub async fn declare_queue(&self, name: &str) {
        self.declare_queue_with(name, FieldTable::default()).await;
    }

    /// Declares a durable queue with these arguments.
    pub async fn declare_queue_with(&self, name: &str, arguments: FieldTable) {
        let options = QueueDeclareOptions {
            durable: true,
            ..Default::default()
        };
        answer(
            name,
            self.channel.queue_declare(name.into(), options, arguments),
        )
        .await;
    }

    /// Publishes one job; it must reach a queue and be confirmed.
    pub async fn publish(&self, exchange: &str, routing_key: &str, job: Job) {
        let confirmation = self.try_publish(exchange, routing_key, job).await;
        let confirmation =
            confirmation.unwrap_or_else(|error| panic!("{exchange} {routing_key}: {error}"));
        assert_eq!(
            confirmation,
            Confirmation::Ack(None),
            "{exchange} {routing_key}: not in a queue"
        );
    }

    /// Publishes one job; returns what the broker said.
    pub async fn try_publish(
        &self,
        exchange: &str,
        routing_key: &str,
        job: Job,
    ) -> lapin::Result<Confirmation> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let confirm = self
            .channel
            .basic_publish(
                exchange.into(),
                routing_key.into(),
                options,
                &job.body,
                job.properties(),
            )
            .await?;
        within(exchange, ANSWER_WITHIN, confirm).await
    }

    /// Publishes one job without a wait for its confirm. Not mandatory, as in [`Self::publish_all`].
    pub async fn send(&self, exchange: &str, routing_key: &str, job: &Job) -> PublisherConfirm {
        let (options, properties) = (BasicPublishOptions::default(), job.properties());
        let publish = self.channel.basic_publish(
            exchange.into(),
            routing_key.into(),
            options,
            &job.body,
            properties,
        );
        answer(exchange, publish).await
    }

    /// Publishes many jobs without a wait between them. Not mandatory, since lapin may give a return to the wrong
    /// one: the exchange is expected to have a queue for each.
    pub async fn publish_all(
        &self,
        exchange: &str,
        routing_key: &str,
        jobs: impl IntoIterator<Item = Job>,
    ) {
        let mut confirms = Vec::new();
        for job in jobs {
            confirms.push(self.send(exchange, routing_key, &job).await);
        }
        for confirm in confirms {
            assert_eq!(
                answer(exchange, confirm).await,
                Confirmation::Ack(None),
                "{exchange} {routing_key}"
            );
        }
    }

    /// As [`Self::publish_all`], while queues may be electing their leaders: what is nacked is published again, on a
    /// new channel, since the old one may go on nacking.
    pub async fn publish_for_sure(
        &self,
        exchange: &str,
        routing_key: &str,
        jobs: impl IntoIterator<Item = Job>,
    ) {
        let mut jobs: Vec<Job> = jobs.into_iter().collect();
        let give_up = Instant::now() + ANSWER_WITHIN;
        while !jobs.is_empty() {
            assert!(
                Instant::now() < give_up,
                "{exchange} {routing_key}: nacked for {ANSWER_WITHIN:?}"
            );
            let channel = self.new_channel().await;
            answer(
                "ask for confirms",
                channel.confirm_select(ConfirmSelectOptions::default()),
            )
            .await;
            let mut confirms = Vec::new();
            for job in &jobs {
                let (options, properties) = (BasicPublishOptions::default(), job.properties());
                let publish = channel.basic_publish(
                    exchange.into(),
                    routing_key.into(),
                    options,
                    &job.body,
                    properties,
                );
                confirms.push(answer(exchange, publish).await);
            }
            let mut nacked = Vec::new();
            for (job, confirm) in jobs.into_iter().zip(confirms) {
                if let Confirmation::Nack(_) = answer(exchange, confirm).await {
                    nacked.push(job);
                }
            }
            jobs = nacked;
            answer("close a channel", channel.close(200, "published".into())).await;
        }
    }

    /// Takes up to `count` messages off a queue, fewer if the time passes before; never more. The others stay
    /// untouched.
    pub async fn take_up_to(&self, queue: &str, count: usize, wait: Duration) -> Vec<Received> {
        let prefetch = u16::try_from(count).expect("a count that a prefetch can be");
        let channel = answer("open a channel", self.connection.create_channel()).await;
        // The prefetch is the count, and nothing is acked before the end: the broker hands out no message too many.
        answer(
            queue,
            channel.basic_qos(prefetch, BasicQosOptions::default()),
        )
        .await;
        let options = BasicConsumeOptions::default();
        let consume =
            channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let mut consumer = answer(queue, consume).await;

        let give_up = tokio::time::sleep(wait);
        tokio::pin!(give_up);
        let mut taken = Vec::new();
        while taken.len() < count {
            tokio::select! {
                delivery = consumer.next() => match delivery {
                    Some(Ok(delivery)) => taken.push(delivery),
                    broken => panic!("{queue}: the consumer broke off: {broken:?}"),
                },
                () = &mut give_up => break,
            }
        }
        // Cancelled before the ack, which would make room for more.
        answer(
            queue,
            channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()),
        )
        .await;
        if let Some(last) = taken.last() {
            answer(queue, last.ack(BasicAckOptions { multiple: true })).await;
        }
        answer(queue, channel.close(200, "enough".into())).await;
        taken.into_iter().map(Received::from).collect()
    }

    /// Takes exactly `count` messages off a queue.
    pub async fn take(&self, queue: &str, count: usize, wait: Duration) -> Vec<Received> {
        let taken = self.take_up_to(queue, count, wait).await;
        assert_eq!(
            taken.len(),
            count,
            "{queue}: not as many messages within {wait:?}"
        );
        taken
    }

    /// Whether there is a message in a queue, or will be by then.
    pub async fn keeps_a_message(&self, queue: &str, wait: Duration) -> bool {
        let give_up = Instant::now() + wait;
        while Instant::now() < give_up {
            if self.depth(queue).await.is_some_and(|depth| depth > 0) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// Messages that are ready in a queue; `None` if there is no such queue.
    pub async fn depth(&self, queue: &str) -> Option<u32> {
        let channel = answer("open a channel", self.connection.create_channel()).await;
        let options = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let declare = channel.queue_declare(queue.into(), options, FieldTable::default());
        match within(queue, ANSWER_WITHIN, declare).await {
            Ok(found) => {
                answer(queue, channel.close(200, "counted".into())).await;
                Some(found.message_count())
            }
            // The broker has closed the channel.
            Err(_) => None,
        }
    }

    /// Returns when the queue holds `count` ready messages.
    pub async fn wait_for_depth(&self, queue: &str, count: u32, wait: Duration) {
        self.wait_for(queue, |depth| depth == count, wait).await;
    }

    /// Returns when the queue holds `count` ready messages or more.
    pub async fn wait_for_at_least(&self, queue: &str, count: u32, wait: Duration) {
        self.wait_for(queue, |depth| depth >= count, wait).await;
    }

    async fn wait_for(&self, queue: &str, fits: impl Fn(u32) -> bool, wait: Duration) {
        let give_up = Instant::now() + wait;
        loop {
            let depth = self.depth(queue).await;
            if depth.is_some_and(&fits) {
                return;
            }
            assert!(
                Instant::now() < give_up,
                "{queue}: holds {depth:?} messages after {wait:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Throws away the ready messages of a queue.
    pub async fn purge(&self, queue: &str) {
        answer(
            queue,
            self.channel
                .queue_purge(queue.into(), QueuePurgeOptions::default()),
        )
        .await;
    }

    /// Deletes a queue.
    pub async fn delete_queue(&self, queue: &str) {
        answer(
            queue,
            self.channel
                .queue_delete(queue.into(), QueueDeleteOptions::default()),
        )
        .await;
    }

    /// A channel of the caller's own.
    pub async fn new_channel(&self) -> Channel {
        answer("open a channel", self.connection.create_channel()).await
    }

    /// The channel in confirm mode, for what has no method here.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }
}

/// A message to publish: persistent, `application/json`.
#[derive(Clone)]
pub struct Job {
    body: Vec<u8>,
    properties: BasicProperties,
    headers: FieldTable,
}

impl Job {
    /// A job of these bytes, which need not be JSON.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into());
        Self {
            body: body.into(),
            properties,
            headers: FieldTable::default(),
        }
    }

    /// A job of this JSON.
    pub fn json(body: &Value) -> Self {
        Self::new(body.to_string())
    }

    /// With a `message_id`.
    pub fn id(self, id: &str) -> Self {
        self.with(|properties| properties.with_message_id(id.into()))
    }

    /// With a `correlation_id`.
    pub fn correlation_id(self, id: &str) -> Self {
        self.with(|properties| properties.with_correlation_id(id.into()))
    }

    /// With a `reply_to`.
    pub fn reply_to(self, queue: &str) -> Self {
        self.with(|properties| properties.with_reply_to(queue.into()))
    }

    /// With the broker's own time to live.
    pub fn expiration(self, time: Duration) -> Self {
        self.with(|properties| properties.with_expiration(time.as_millis().to_string().into()))
    }

    /// With a header of text.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .insert(name.into(), AMQPValue::LongString(value.into()));
        self
    }

    /// With a header of any type.
    pub fn any_header(mut self, name: &str, value: AMQPValue) -> Self {
        self.headers.insert(name.into(), value);
        self
    }

    /// With a header that counts, or that is text where it is no number.
    pub fn number_header(mut self, name: &str, value: &str) -> Self {
        match value.parse() {
            Ok(number) => {
                self.headers
                    .insert(name.into(), AMQPValue::LongLongInt(number));
                self
            }
            Err(_) => self.header(name, value),
        }
    }

    /// With any other property.
    pub fn with(mut self, change: impl FnOnce(BasicProperties) -> BasicProperties) -> Self {
        self.properties = change(self.properties);
        self
    }

    fn properties(&self) -> BasicProperties {
        self.properties.clone().with_headers(self.headers.clone())
    }
}

/// A message that was taken off a queue.
#[derive(Debug, Clone)]
pub struct Received {
    pub exchange: String,
    pub routing_key: String,
    pub redelivered: bool,
    pub properties: BasicProperties,
    pub body: Vec<u8>,
}

impl From<Delivery> for Received {
    fn from(delivery: Delivery) -> Self {
        Self {
            exchange: delivery.exchange.to_string(),
            routing_key: delivery.routing_key.to_string(),
            redelivered: delivery.redelivered,
            properties: delivery.properties,
            body: delivery.data,
        }
    }
}

impl Received {
    /// The body, which must be JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!(
                "not JSON ({error}): {}",
                String::from_utf8_lossy(&self.body)
            )
        })
    }

    /// Its `message_id`.
    pub fn id(&self) -> Option<&str> {
        self.properties
            .message_id()
            .as_ref()
            .map(lapin::types::ShortString::as_str)
    }

    /// Its `correlation_id`.
    pub fn correlation_id(&self) -> Option<&str> {
        self.properties
            .correlation_id()
            .as_ref()
            .map(lapin::types::ShortString::as_str)
    }

    /// A header, numbers as text.
    pub fn header(&self, name: &str) -> Option<String> {
        match self.properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(text) => Some(text.to_string()),
            AMQPValue::ShortString(text) => Some(text.to_string()),
            AMQPValue::LongLongInt(number) => Some(number.to_string()),
            AMQPValue::LongInt(number) => Some(number.to_string()),
            AMQPValue::LongUInt(number) => Some(number.to_string()),
            other => Some(format!("{other:?}")),
        }
    }
}

async fn within<T>(what: &str, bound: Duration, call: impl IntoFuture<Output = T>) -> T {
    let Ok(answer) = tokio::time::timeout(bound, call.into_future()).await else {
        panic!("{what}: the broker did not answer within {bound:?}")
    };
    answer
}

async fn answer<T>(what: &str, call: impl Future<Output = lapin::Result<T>>) -> T {
    within(what, ANSWER_WITHIN, call)
        .await
        .unwrap_or_else(|error| panic!("{what}: {error}"))
}
