//! What a delivery says: its body, and what its properties and headers mean to a worker.

use bytes::Bytes;
use jiff::Timestamp;
use lapin::{
    BasicProperties,
    types::{AMQPValue, ShortString},
};

use super::{
    Message,
    legible::SUBSTITUTE,
    tail::{self, Tail},
};
use crate::{
    clock::Moment,
    job::{Envelope, PriorAttempts, is_traceparent},
    message::{Names, header},
};

/// More attempts than any job has.
const MOST_ATTEMPTS: u32 = 1_000_000;

/// A message as it was received.
#[derive(Debug)]
pub struct Received {
    /// What came with the body.
    pub envelope: Envelope,
    /// The body.
    pub body: Bytes,
    /// What stands behind it.
    pub tail: Tail,
    /// How often it was delivered before and came back, as far as that counts towards the queue's delivery limit.
    pub redeliveries: u64,
    /// Whether it was delivered before at all.
    pub came_back: bool,
    /// When it came.
    pub arrived: (Timestamp, Moment),
    /// The routing key that a parked job or a dead letter came with at first.
    pub first_routing_key: Option<String>,
    /// Whether it lies in its provider's queue of suspects (`policy::poison`).
    pub suspect: bool,
    /// When a parked job is to go on.
    pub due: Option<Timestamp>,
    /// When it was parked.
    pub parked: Option<Timestamp>,
    whole: Bytes,
    pub(super) properties: BasicProperties,
}

impl Received {
    pub(super) fn read(delivery: lapin::message::Delivery, names: &Names) -> Self {
        let properties = delivery.properties;
        let first_routing_key =
            string(&properties, header::ROUTING_KEY).filter(|key| key.len() <= 255);
        // Sent to its queue by the queue's name: the key that the job came with stands in the header.
        let suspect = delivery.exchange.as_str().is_empty()
            && integer(&properties, header::SUSPECT).is_some();
        let key = delivery.routing_key.as_str();
        // Who published to a queue of jobs itself meant its provider and its lane.
        let queue = Some(key).filter(|_| delivery.exchange.as_str().is_empty());
        let routing_key = first_routing_key
            .as_deref()
            .filter(|_| suspect)
            .or_else(|| names.key_of_jobs(queue?))
            .unwrap_or(key);
        let redeliveries = integer(&properties, "x-delivery-count").map_or_else(
            || u64::from(delivery.redelivered),
            |count| count.try_into().unwrap_or(0),
        );
        let whole = Bytes::from(delivery.data);
        let (body, tail) = tail::cut(&whole, string(&properties, header::TAIL).as_deref());
        Self {
            envelope: envelope(routing_key, &properties),
            body,
            tail,
            whole,
            redeliveries,
            came_back: delivery.redelivered
                || redeliveries > 0
                || integer(&properties, "x-acquired-count").is_some_and(|count| count > 0),
            arrived: (Timestamp::now(), Moment::now()),
            first_routing_key,
            suspect,
            due: time(&properties, header::DUE_AT),
            parked: time(&properties, header::PARKED_AT),
            properties,
        }
    }

    /// The same message, to be sent on as it is: put back, or to where it waits.
    #[must_use]
    pub fn forward(&self) -> Message {
        Message::forwarded(self.whole.clone(), &self.properties)
    }

    /// The same message without what stands behind its body: parked, dead-lettered.
    #[must_use]
    pub fn forward_body(&self) -> Message {
        Message::forwarded(self.body.clone(), &self.properties).without(&[header::TAIL])
    }

    /// Bytes of the message, without its headers.
    #[must_use]
    pub fn size(&self) -> usize {
        self.whole.len()
    }
}

fn envelope(routing_key: &str, properties: &BasicProperties) -> Envelope {
    let text = |value: &Option<ShortString>| {
        value
            .as_ref()
            .map(|value| value.as_str().to_owned())
            .filter(|value| !value.is_empty() && is_legible(value))
    };
    // A tracestate has a meaning beside its traceparent alone (W3C Trace Context, 3.3).
    let traceparent = string(properties, header::TRACEPARENT).filter(|it| is_traceparent(it));
    let tracestate = traceparent
        .as_ref()
        .and_then(|_| string(properties, header::TRACESTATE));
    Envelope {
        illegible: illegible(properties),
        routing_key: routing_key.to_owned(),
        message_id: text(properties.message_id()),
        correlation_id: text(properties.correlation_id()),
        reply_to: text(properties.reply_to()),
        // Longer ones would not fit beside our own headers.
        traceparent: traceparent.filter(|trace| trace.len() <= 128),
        tracestate: tracestate.filter(|state| state.len() <= 8192),
        content_encoding: text(properties.content_encoding()),
        compression: string(properties, header::COMPRESSION),
        prior: prior_attempts(properties),
    }
}

fn is_legible(text: &str) -> bool {
    !text.contains(SUBSTITUTE)
}

/// The first property whose text the producer wrote in bytes that are none.
fn illegible(properties: &BasicProperties) -> Option<&'static str> {
    let texts = [
        ("message_id", properties.message_id()),
        ("correlation_id", properties.correlation_id()),
        ("reply_to", properties.reply_to()),
        ("type", properties.kind()),
        ("app_id", properties.app_id()),
        ("content_type", properties.content_type()),
        ("content_encoding", properties.content_encoding()),
    ];
    let illegible =
        |text: &Option<ShortString>| text.as_ref().is_some_and(|text| !is_legible(text.as_str()));
    texts
        .into_iter()
        .find_map(|(name, text)| illegible(text).then_some(name))
}

/// What a parked job carries. Anybody can write these headers, so they are held within reason.
fn prior_attempts(properties: &BasicProperties) -> PriorAttempts {
    let count = |name| {
        integer(properties, name)
            .and_then(|n| n.try_into().ok())
            .unwrap_or(0)
            .min(MOST_ATTEMPTS)
    };
    let attempts = count(header::ATTEMPTS);
    PriorAttempts {
        attempts,
        spared: count(header::SPARED).min(attempts),
        received: time(properties, header::RECEIVED_AT),
        http_status: integer(properties, header::HTTP_STATUS).and_then(|n| n.try_into().ok()),
    }
}

fn value<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    properties.headers().as_ref()?.inner().get(name)
}

fn string(properties: &BasicProperties, name: &str) -> Option<String> {
    match value(properties, name)? {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

fn integer(properties: &BasicProperties, name: &str) -> Option<i64> {
    match *value(properties, name)? {
        AMQPValue::ShortShortInt(n) => Some(n.into()),
        AMQPValue::ShortShortUInt(n) => Some(n.into()),
        AMQPValue::ShortInt(n) => Some(n.into()),
        AMQPValue::ShortUInt(n) => Some(n.into()),
        AMQPValue::LongInt(n) => Some(n.into()),
        AMQPValue::LongUInt(n) => Some(n.into()),
        AMQPValue::LongLongInt(n) => Some(n),
        _ => None,
    }
}

fn time(properties: &BasicProperties, name: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(integer(properties, name)?).ok()
}

#[cfg(test)]
impl Received {
    /// As if it came by the exchange of jobs, with this `reply_to`; a suspect as if by its queue.
    pub fn example(key: &str, reply_to: Option<&str>, suspect: bool) -> Self {
        let mut headers = lapin::types::FieldTable::default();
        let exchange = if suspect {
            headers.insert(header::SUSPECT.into(), AMQPValue::LongLongInt(3));
            headers.insert(
                header::ROUTING_KEY.into(),
                AMQPValue::LongString(key.into()),
            );
            ""
        } else {
            "lookup.jobs"
        };
        let mut properties = BasicProperties::default()
            .with_message_id("j".into())
            .with_headers(headers);
        if let Some(queue) = reply_to {
            properties = properties.with_reply_to(queue.into());
        }
        let body = br#"{"query":{"phone":"1"}}"#.to_vec();
        let delivery = lapin::message::Delivery::mock(1, exchange.into(), key.into(), false, body);
        let delivery = lapin::message::Delivery {
            properties,
            ..delivery
        };
        Self::read(delivery, &Names::new("lookup"))
    }
}
