//! A look through a queue, one message after the other: what is not settled stays where it was.

use std::{fmt::Write, rc::Rc};

use jiff::Timestamp;
use lapin::{
    Channel,
    options::BasicGetOptions,
    types::{AMQPValue, FieldTable},
};
use serde_json::{Map, Value};

use super::{
    BrokerError, CALL_LIMIT, CLOSE_LIMIT, Delivery, Session,
    acks::Acks,
    bounded,
    consumer::{ROUND, depth, received, taken_in},
};

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
        let depth = depth(&channel, queue, CALL_LIMIT).await.map_err(|error| {
            if self.health.is_well() {
                BrokerError::Foreign(format!(
                    "the queue {queue} cannot be looked through: {error}"
                ))
            } else {
                error
            }
        })?;
        Ok(Browse {
            session: Rc::clone(self),
            channel,
            queue: queue.to_owned(),
            depth,
            seen: 0,
        })
    }
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
    pub async fn next(&mut self) -> Result<Option<Box<Delivery>>, BrokerError> {
        if self.seen == self.depth {
            return Ok(None);
        }
        let get = self
            .channel
            .basic_get(self.queue.as_str().into(), BasicGetOptions::default());
        let Some(message) = bounded("basic.get", CALL_LIMIT, get).await? else {
            return Ok(None);
        };
        self.seen += 1;
        Ok(Some(received(
            message.delivery,
            Acks::single(self.channel.clone()),
            &self.session,
        )))
    }

    /// Ends the look, of which `taken` messages were acknowledged; the others are in their queue again.
    ///
    /// # Errors
    /// Where it is not known whether the broker heard all that was acknowledged.
    pub async fn close(self, taken: u32) -> Result<(), BrokerError> {
        taken_in(&self.channel, &self.queue).await?;
        bounded(
            "close a channel",
            CALL_LIMIT,
            self.channel.close(200, "seen".into()),
        )
        .await?;
        let back = self.back(self.seen.saturating_sub(taken));
        // Somebody else may take them meanwhile.
        tokio::time::timeout(CLOSE_LIMIT, back)
            .await
            .unwrap_or(Ok(()))
    }

    /// The queue puts back what was unsettled after the channel is closed; who looks again at once must see it.
    async fn back(&self, left: u32) -> Result<(), BrokerError> {
        let channel = self.session.consuming_channel().await?;
        while depth(&channel, &self.queue, CALL_LIMIT).await? < left {
            tokio::time::sleep(ROUND).await;
        }
        // One that is dropped open is closed at the same time as the connection, which the client then just drops.
        let close = channel.close(200, "seen".into());
        bounded("close a channel", CALL_LIMIT, close).await
    }
}

impl Delivery {
    /// All headers, those of the broker included.
    #[must_use]
    pub fn headers(&self) -> Map<String, Value> {
        self.properties
            .headers()
            .as_ref()
            .map(table)
            .unwrap_or_default()
    }

    /// What the message says of who sent it: where to reply, by which id, and the sender's name.
    #[must_use]
    pub fn sender(&self) -> Map<String, Value> {
        let given = [
            ("reply_to", self.properties.reply_to()),
            ("correlation_id", self.properties.correlation_id()),
            ("app_id", self.properties.app_id()),
            ("user_id", self.properties.user_id()),
        ];
        let given = given.into_iter().filter_map(|(name, value)| {
            let value = value.as_ref()?.as_str();
            Some((name.to_owned(), value.into()))
        });
        given.collect()
    }

    /// The property `type`.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.properties
            .kind()
            .as_ref()
            .map(lapin::types::ShortString::as_str)
    }

    /// The property `timestamp`.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        Timestamp::from_second((*self.properties.timestamp())?.try_into().ok()?).ok()
    }
}

pub(super) fn table(fields: &FieldTable) -> Map<String, Value> {
    fields
        .inner()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), json(value)))
        .collect()
}

/// A decimal is a number, bytes are text where they are; what JSON has no type for at all is null.
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
        AMQPValue::DecimalValue(decimal) => {
            (f64::from(decimal.value) / 10f64.powi(decimal.scale.into())).into()
        }
        AMQPValue::ByteArray(bytes) => bytes_as_text(bytes.as_slice()).into(),
        AMQPValue::Void => Value::Null,
    }
}

/// Bytes that are no text are written as `0x` and their digits.
fn bytes_as_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("0x".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
    }
}
