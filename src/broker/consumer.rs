//! Consuming: deliveries in, each with the means to settle it.

use std::{ops::Deref, rc::Rc, time::Duration};

use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    options::{
        BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{
    BrokerError, CALL_LIMIT, CLOSE_LIMIT, Received, Session, acks::Acks, asks, bounded, told,
    topology::answered,
};
use crate::lease::Lease;

/// What a consumer asks for where the broker lets it: from RabbitMQ 4.3 on, and of a quorum queue alone. Older ones
/// pass over it.
const CONSUMER_TIMEOUT: &str = "x-consumer-timeout";

/// See [`taken_in`].
const ROUNDS_BEFORE_CLOSE: u32 = 4;
pub(super) const ROUND: Duration = Duration::from_millis(50);

/// One consumer on a channel of its own.
#[derive(Debug, Clone)]
pub struct Subscription {
    queue: ShortString,
    acks: Rc<Acks>,
    tag: ShortString,
}

/// The deliveries of one subscription. It ends when the broker cancels the consumer or the channel closes.
pub struct Deliveries {
    consumer: Consumer,
    acks: Rc<Acks>,
    session: Rc<Session>,
    closed: Option<String>,
}

/// A message that is ours until it is settled.
#[derive(Debug)]
pub struct Delivery {
    /// What was received.
    pub received: Received,
    /// The session that it belongs to; with its end the broker takes the message back.
    pub session: Rc<Session>,
    acks: Rc<Acks>,
    tag: u64,
}

impl Session {
    /// Consumes from a queue of jobs, with up to `prefetch` deliveries that are not finished with, each held up to
    /// `timeout` where the broker lets a consumer choose.
    ///
    /// # Errors
    /// Where the broker does not start a consumer in time.
    pub async fn subscribe(
        self: &Rc<Self>,
        queue: &str,
        prefetch: u16,
        timeout: Duration,
    ) -> Result<(Subscription, Deliveries), BrokerError> {
        let mut arguments = FieldTable::default();
        let milliseconds = timeout.as_millis().try_into().unwrap_or(i64::MAX);
        arguments.insert(
            CONSUMER_TIMEOUT.into(),
            AMQPValue::LongLongInt(milliseconds),
        );
        match self.consume(queue, prefetch, arguments).await {
            // It is no quorum queue, most likely.
            Err(BrokerError::Refused(_)) => {
                self.consume(queue, prefetch, FieldTable::default()).await
            }
            consuming => consuming,
        }
    }

    pub(super) async fn consume(
        self: &Rc<Self>,
        queue: &str,
        prefetch: u16,
        arguments: FieldTable,
    ) -> Result<(Subscription, Deliveries), BrokerError> {
        let acks = Acks::joined(self.consuming_channel().await?);
        let channel = &acks.channel;
        let unsettled = prefetch.saturating_add(acks.hold_at_most(prefetch));
        bounded(
            "basic.qos",
            CALL_LIMIT,
            channel.basic_qos(unsettled, BasicQosOptions::default()),
        )
        .await?;
        let consume = channel.basic_consume(
            queue.into(),
            "".into(),
            BasicConsumeOptions::default(),
            arguments,
        );
        let consuming = async {
            match consume.await {
                Err(error) if error.is_amqp_soft_error() => Ok(Err(error)),
                answer => answer.map(Ok),
            }
        };
        let what = format!("consume from {queue}");
        let consumer = bounded(&what, CALL_LIMIT, consuming)
            .await?
            .map_err(|refusal| BrokerError::Refused(format!("{what}: {refusal}")))?;
        let subscription = Subscription {
            queue: queue.into(),
            acks: Rc::clone(&acks),
            tag: consumer.tag(),
        };
        Ok((
            subscription,
            Deliveries {
                consumer,
                acks,
                session: Rc::clone(self),
                closed: None,
            },
        ))
    }
}

impl Session {
    /// Deliveries of a queue of this connection's own, which goes with it.
    ///
    /// # Errors
    /// Where the broker does not make one in time, or not for this user.
    pub async fn replies(self: &Rc<Self>, name: &str) -> Result<Deliveries, BrokerError> {
        let channel = self.consuming_channel().await?;
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        let declare = channel.queue_declare(name.into(), options, FieldTable::default());
        answered("queue", name, true, declare).await?;
        let (_, deliveries) = self.consume(name, 1000, FieldTable::default()).await?;
        Ok(deliveries)
    }
}

impl Session {
    /// One message of the first of the queues that has one.
    ///
    /// # Errors
    /// Where the broker does not answer in time.
    pub async fn take_one(
        self: &Rc<Self>,
        queues: &[String],
    ) -> Result<Option<Box<Delivery>>, BrokerError> {
        let channel = self.consuming_channel().await?;
        for queue in queues {
            let get = channel.basic_get(queue.as_str().into(), BasicGetOptions::default());
            if let Some(got) = bounded("basic.get", CALL_LIMIT, get).await? {
                return Ok(Some(received(got.delivery, Acks::single(channel), self)));
            }
        }
        let _ = tokio::time::timeout(CLOSE_LIMIT, channel.close(200, "empty".into())).await;
        Ok(None)
    }
}

impl Session {
    /// How many messages lie ready in a queue, asked on the connection that the broker does not block; none if it
    /// cannot be told.
    pub async fn ready(&self, queue: &str) -> Option<u32> {
        let open = self
            .looking
            .take()
            .filter(|channel| channel.status().connected());
        let channel = match open {
            Some(channel) => channel,
            None => self.consuming_channel().await.ok()?,
        };
        let ready = depth(&channel, queue, CALL_LIMIT).await.ok()?;
        self.looking.replace(Some(channel));
        Some(ready)
    }
}

/// Each has a channel of its own.
impl PartialEq for Subscription {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.acks, &other.acks)
    }
}

impl Subscription {
    /// Lets no more deliveries come; those that came stay ours.
    pub async fn cancel(&self) {
        let cancel = self
            .acks
            .channel
            .basic_cancel(self.tag.clone(), BasicCancelOptions::default());
        let _ = bounded("basic.cancel", CALL_LIMIT, cancel).await;
    }

    /// Whether its channel is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.acks.channel.status().connected()
    }

    /// What came by it and is not settled is ours no more: the broker delivers it anew, at the latest once the
    /// channel is closed.
    pub fn lose(&self) {
        self.acks.claim.lose();
    }

    /// Waits until everything that came by it is settled, or ours no more.
    pub async fn settled(&self) {
        self.acks.settled().await;
    }

    /// Closes the channel; what is unsettled goes back to its queue.
    pub async fn close(&self) {
        self.acks.flush();
        if taken_in(&self.acks.channel, self.queue.as_str())
            .await
            .is_err()
        {
            return;
        }
        let _ =
            tokio::time::timeout(CLOSE_LIMIT, self.acks.channel.close(200, "done".into())).await;
    }
}

/// Waits until the queue has every acknowledgement, before the channel is closed.
///
/// The broker passes acknowledgements on to a quorum queue by the few dozen, keeps back what comes meanwhile,
/// and forgets that when the channel closes: the jobs would be delivered again. Nothing tells that none are
/// kept back, but it takes one round through the queue's log, so a few round trips are waited for.
pub(super) async fn taken_in(channel: &Channel, queue: &str) -> Result<(), BrokerError> {
    for _ in 0..ROUNDS_BEFORE_CLOSE {
        depth(channel, queue, CLOSE_LIMIT).await?;
        tokio::time::sleep(ROUND).await;
    }
    Ok(())
}

/// How many messages are ready in a queue.
pub(super) async fn depth(
    channel: &Channel,
    queue: &str,
    limit: Duration,
) -> Result<u32, BrokerError> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let (channel, queue) = (channel.clone(), ShortString::from(queue));
    let look = async move {
        channel
            .queue_declare(queue, passive, FieldTable::default())
            .await
    };
    let seen = asks::in_time(limit, look).await;
    Ok(told("queue.declare", limit, seen)?.message_count())
}

impl Deliveries {
    /// The next delivery; none when there will be no more.
    pub async fn next(&mut self) -> Option<Box<Delivery>> {
        match self.consumer.next().await? {
            Ok(delivery) => {
                self.acks.opened(delivery.delivery_tag);
                Some(received(delivery, Rc::clone(&self.acks), &self.session))
            }
            Err(error) => {
                tracing::debug!(%error, "a consumer ends");
                self.closed = Some(error.to_string());
                None
            }
        }
    }

    /// Why the channel was closed, in the broker's words; none where it was not.
    #[must_use]
    pub fn closed(&self) -> Option<&str> {
        self.closed.as_deref()
    }
}

impl Delivery {
    /// Tells the broker that what replaces the message is safe, so that it may forget the message. Whether the
    /// broker heard it is not known: if not, it delivers the message again.
    pub async fn ack(&self) {
        self.acks.ack(self.tag, self.redeliveries > 0).await;
    }

    /// Whether the message is ours no more: the broker has taken it back, and delivers it anew.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.acks.claim.is_lost()
    }

    /// Waits until the message is ours no more.
    pub async fn lost(&self) {
        self.acks.claim.lost().await;
    }

    /// The message may wait for so long, from when it came.
    #[must_use]
    pub fn lease(&self, length: Duration) -> Lease {
        Lease::until(&self.acks.claim, self.arrived.1.after(length))
    }

    /// Puts the message back into its queue.
    pub async fn hand_back(&self) {
        self.acks.hand_back(self.tag).await;
    }
}

impl Deref for Delivery {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.received
    }
}

/// Boxed, since it is large and goes from hand to hand.
pub(super) fn received(
    delivery: lapin::message::Delivery,
    acks: Rc<Acks>,
    session: &Rc<Session>,
) -> Box<Delivery> {
    let tag = delivery.delivery_tag;
    Box::new(Delivery {
        received: Received::read(delivery, &session.names),
        session: Rc::clone(session),
        acks,
        tag,
    })
}
