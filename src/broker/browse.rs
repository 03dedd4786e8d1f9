//! A look through a queue, one message after the other: what is not settled stays where it was.

use std::rc::Rc;

use jiff::Timestamp;
use lapin::{
    Channel,
    options::{BasicGetOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use serde_json::{Map, Value};

use super::{BrokerError, CALL_LIMIT, Delivery, Session, bounded};

/// Queues that are looked through are quorum queues: the broker passes acknowledgements on to one by the few
/// dozen, and forgets what it keeps back when the channel closes. A few round trips let it pass on the last.
const ROUNDS_BEFORE_CLOSE: u32 = 4;
const ROUND: std::time::Duration = std::time::Duration::from_millis(50);

/// Every message that lay in the queue at the beginning is seen once, in the queue's order. All of them stay
/// unsettled until the end, since one that is put back earlier would come again; then those that were not
/// acknowledged are put back together, which keeps their order.
#[derive(Debug)]
pub struct Browse {
    session: Rc<Session>,
    channel: Channel,
    queue: String,
    depth: u32,
    seen: u32,
}

impl Session {
    /// Begins to look through `queue`. What comes into it later is not looked at, so that the look ends.
    ///
    /// # Errors
    /// [`BrokerError::Foreign`] where there is no such queue.
    pub async fn browse(self: &Rc<Self>, queue: &str) -> Result<Browse, BrokerError> {
        let channel = self.consuming_channel().await?;
        let depth = depth(&channel, queue).await.map_err(|error| match self.health.is_well() {
            true => BrokerError::Foreign(format!("the queue {queue} cannot be looked through: {error}")),
            false => error,
        })?;
        Ok(Browse { session: Rc::clone(self), channel, queue: queue.to_owned(), depth, seen: 0 })
    }
}

async fn depth(channel: &Channel, queue: &str) -> Result<u32, BrokerError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let declare = channel.queue_declare(queue.into(), passive, FieldTable::default());
    Ok(bounded("queue.declare", CALL_LIMIT, declare).await?.message_count())
}

impl Browse {
    /// How many messages there are to see.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// The next message; none when all have been seen.
    ///
    /// # Errors
    /// Where the broker does not give it in time.
    pub async fn next(&mut self) -> Result<Option<Delivery>, BrokerError> {
        if self.seen == self.depth {
            return Ok(None);
        }
        let get = self.channel.basic_get(self.queue.as_str().into(), BasicGetOptions::default());
        let Some(message) = bounded("basic.get", CALL_LIMIT, get).await? else { return Ok(None) };
        self.seen += 1;
        Ok(Some(Delivery::of(message.delivery, &self.channel, &self.session)))
    }

    /// Ends the look; what is unsettled is in its queue again.
    ///
    /// # Errors
    /// Where it is not known whether the broker heard all that was acknowledged.
    pub async fn close(self) -> Result<(), BrokerError> {
        for _ in 0..ROUNDS_BEFORE_CLOSE {
            depth(&self.channel, &self.queue).await?;
            tokio::time::sleep(ROUND).await;
        }
        bounded("close a channel", CALL_LIMIT, self.channel.close(200, "seen".into())).await
    }
}

impl Delivery {
    /// All headers, those of the broker included.
    #[must_use]
    pub fn headers(&self) -> Map<String, Value> {
        self.properties.headers().as_ref().map(table).unwrap_or_default()
    }

    /// The property `type`.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.properties.kind().as_ref().map(lapin::types::ShortString::as_str)
    }

    /// The property `timestamp`.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        Timestamp::from_second((*self.properties.timestamp())?.try_into().ok()?).ok()
    }
}

fn table(fields: &FieldTable) -> Map<String, Value> {
    fields.inner().iter().map(|(name, value)| (name.as_str().to_owned(), json(value))).collect()
}

/// What JSON has no type for is left out.
fn json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(n) => (*n).into(),
        AMQPValue::ShortShortUInt(n) => (*n).into(),
        AMQPValue::ShortInt(n) => (*n).into(),
        AMQPValue::ShortUInt(n) => (*n).into(),
        AMQPValue::LongInt(n) => (*n).into(),
        AMQPValue::LongUInt(n) => (*n).into(),
        AMQPValue::LongLongInt(n) => (*n).into(),
        AMQPValue::Timestamp(seconds) => (*seconds).into(),
        AMQPValue::Float(n) => f64::from(*n).into(),
        AMQPValue::Double(n) => (*n).into(),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into(),
        AMQPValue::FieldArray(items) => items.as_slice().iter().map(json).collect(),
        AMQPValue::FieldTable(fields) => Value::Object(table(fields)),
        AMQPValue::ByteArray(_) | AMQPValue::DecimalValue(_) | AMQPValue::Void => Value::Null,
    }
}
