//! A requester's reply queue that outlasts its connection: results wait in it until their requester is there again.

use std::{rc::Rc, time::Duration};

use lapin::{
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};

use super::{BrokerError, CALL_LIMIT, Deliveries, Session, bounded};
use crate::message::Names;

/// How long results wait for a requester who does not come back.
const KEPT_FOR: Duration = Duration::from_hours(7 * 24);

/// Results that are on their way to us.
const PREFETCH: u16 = 200;

/// A reply queue, and what comes by it.
pub struct KeptReplies {
    /// Its name, for `reply_to`.
    pub queue: String,
    /// Whether it was made just now, so that no result of an earlier time can be in it.
    pub is_new: bool,
    /// The results.
    pub deliveries: Deliveries,
}

impl Session {
    /// The reply queue `PREFIX.replies.TOKEN`, made where it is missing; it goes a week after its last use.
    ///
    /// # Errors
    /// Where the broker does not make one, or not in time.
    pub async fn kept_replies(
        self: &Rc<Self>,
        prefix: &str,
        token: &str,
    ) -> Result<KeptReplies, BrokerError> {
        let queue = Names::new(prefix).replies(token);
        let is_new = self.depth(&queue).await?.is_none();
        let mut arguments = FieldTable::default();
        arguments.insert(
            "x-queue-type".into(),
            AMQPValue::LongString("quorum".into()),
        );
        let expires = i64::try_from(KEPT_FOR.as_millis()).unwrap_or(i64::MAX);
        arguments.insert("x-expires".into(), AMQPValue::LongLongInt(expires));
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let channel = self.consuming_channel().await?;
        let declare = channel.queue_declare(queue.as_str().into(), options, arguments);
        bounded(&format!("declare {queue}"), CALL_LIMIT, declare).await?;
        let (_, deliveries) = self
            .consume(&queue, PREFETCH, FieldTable::default())
            .await?;
        Ok(KeptReplies {
            queue,
            is_new,
            deliveries,
        })
    }

    /// Removes a reply queue that is needed no more.
    ///
    /// # Errors
    /// Where the broker does not answer in time.
    pub async fn drop_replies(&self, queue: &str) -> Result<(), BrokerError> {
        let channel = self.consuming_channel().await?;
        let delete = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
        bounded(&format!("delete {queue}"), CALL_LIMIT, delete).await?;
        Ok(())
    }
}
