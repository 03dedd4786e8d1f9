//! Messages out: what is published.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{connection::SMALL_FRAME, tail::header_of};
use crate::message::header;

/// A message to publish; always persistent.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// The bytes.
    pub body: Bytes,
    properties: BasicProperties,
    headers: FieldTable,
}

impl Message {
    /// A JSON message.
    #[must_use]
    pub fn json(body: Bytes) -> Self {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(2);
        Self {
            body,
            properties,
            headers: FieldTable::default(),
        }
    }

    /// With a `message_id`; ids of more than 255 bytes are cut, AMQP carries no more.
    #[must_use]
    pub fn message_id(mut self, id: &str) -> Self {
        self.properties = self.properties.with_message_id(short(id));
        self
    }

    /// With a `correlation_id`.
    #[must_use]
    pub fn correlation_id(mut self, id: &str) -> Self {
        self.properties = self.properties.with_correlation_id(short(id));
        self
    }

    /// With a `reply_to`.
    #[must_use]
    pub fn reply_to(mut self, queue: &str) -> Self {
        self.properties = self.properties.with_reply_to(short(queue));
        self
    }

    /// With a time after which the broker forgets it, at most its 49 days.
    #[must_use]
    pub fn expiration(mut self, time: Duration) -> Self {
        let ms = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        self.properties = self.properties.with_expiration(ms.to_string().into());
        self
    }

    /// With `type`, `app_id` and the present time.
    #[must_use]
    pub fn of_type(mut self, kind: &str) -> Self {
        let now = Timestamp::now().as_second().try_into().unwrap_or_default();
        self.properties = self
            .properties
            .with_type(short(kind))
            .with_app_id("lookup-worker".into())
            .with_timestamp(now);
        self
    }

    /// With a header of text.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .insert(name.into(), AMQPValue::LongString(value.into()));
        self
    }

    /// With a header of text, where there is one.
    #[must_use]
    pub fn optional_header(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// With a header that counts.
    #[must_use]
    pub fn count_header(mut self, name: &str, value: i64) -> Self {
        self.headers
            .insert(name.into(), AMQPValue::LongLongInt(value));
        self
    }

    /// With this behind the body; what stood there before was left out.
    #[must_use]
    pub fn tail(mut self, tail: &[u8]) -> Self {
        if tail.is_empty() {
            return self;
        }
        let length = tail.len();
        self.body = [&self.body, tail].concat().into();
        self.header(header::TAIL, &header_of(length))
    }

    /// Without these headers.
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        let kept = self
            .headers
            .inner()
            .iter()
            .filter(|(name, _)| !names.contains(&name.as_str()));
        self.headers = kept
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect::<BTreeMap<_, _>>()
            .into();
        self
    }

    /// Without a `reply_to`.
    #[must_use]
    pub fn without_reply_to(mut self) -> Self {
        self.properties = kept(&self.properties, false).with_delivery_mode(2);
        self
    }

    /// The same message that was received, to be sent on: its properties and headers, but for those of the
    /// broker, and with delivery mode 2.
    pub(super) fn forwarded(body: Bytes, properties: &BasicProperties) -> Self {
        let mut headers = FieldTable::default();
        let mut room = ROOM_FOR_HEADERS;
        for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
            let size = name.as_str().len() + size_of(value);
            if is_brokers_own(name.as_str()) || size > room {
                continue;
            }
            room -= size;
            headers.insert(name.clone(), value.clone());
        }
        // The broker checks a user id against the connection's own; an expiration would run anew.
        let properties = kept(properties, true).with_delivery_mode(2);
        Self {
            body,
            properties,
            headers,
        }
    }

    /// Whether the body is so large that the broker may find it too large, and closes the channel then.
    pub(super) fn is_risky(&self) -> bool {
        self.body.len() >= RISKY_BODY
    }

    /// Whether headers and properties surely fit a small frame.
    pub(super) fn is_small(&self) -> bool {
        let headers = self.headers.inner().iter();
        headers
            .map(|(name, value)| name.as_str().len() + 1 + size_of(value))
            .sum::<usize>()
            <= SMALL_HEADERS
    }

    pub(super) fn into_parts(self) -> (Bytes, BasicProperties) {
        (self.body, self.properties.with_headers(self.headers))
    }
}

/// A message's headers must fit into one frame, 128 KiB by RabbitMQ's default, with ours beside them. What came
/// near that leaves the largest of its own behind.
const ROOM_FOR_HEADERS: usize = 96 * 1024;

/// What a small frame has left beside the properties, each of which has at most 255 bytes.
const SMALL_HEADERS: usize = SMALL_FRAME as usize - 4 * 1024;

/// RabbitMQ takes messages of 16 MiB and less by default, and brokers that are set to take less than this are rare:
/// they cost the session each time.
const RISKY_BODY: usize = 64 * 1024;

fn is_brokers_own(name: &str) -> bool {
    ["x-death", "x-first-death", "x-last-death"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || matches!(name, "x-delivery-count" | "x-acquired-count" | "CC" | "BCC")
}

/// About as many bytes as a header's value takes.
fn size_of(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::LongString(text) => text.as_bytes().len() + 5,
        AMQPValue::ByteArray(bytes) => bytes.len() + 5,
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(size_of).sum::<usize>() + 5,
        AMQPValue::FieldTable(table) => {
            table
                .inner()
                .iter()
                .map(|(name, value)| name.as_str().len() + 1 + size_of(value))
                .sum::<usize>()
                + 5
        }
        _ => 16,
    }
}

/// All but the user, the expiration and, where it is not wanted, the `reply_to`.
fn kept(properties: &BasicProperties, with_reply_to: bool) -> BasicProperties {
    let mut kept = BasicProperties::default();
    macro_rules! keep {
        ($($get:ident $set:ident),+) => {
            $(if let Some(value) = properties.$get() {
                kept = kept.$set(value.clone());
            })+
        };
    }
    keep!(
        content_type with_content_type, content_encoding with_content_encoding, priority with_priority,
        correlation_id with_correlation_id, message_id with_message_id, timestamp with_timestamp, kind with_type,
        app_id with_app_id
    );
    if with_reply_to {
        keep!(reply_to with_reply_to);
    }
    kept
}

/// AMQP's short strings end at 255 bytes.
fn short(text: &str) -> ShortString {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

#[cfg(test)]
impl Message {
    /// What a header says, text or number.
    pub fn said(&self, name: &str) -> Option<String> {
        match self.headers.inner().get(name)? {
            AMQPValue::LongString(text) => Some(text.to_string()),
            AMQPValue::LongLongInt(number) => Some(number.to_string()),
            _ => None,
        }
    }
}
