//! A dead letter, read: whose it is, why it is here, where it belongs.
//!
//! Three kinds lie among the dead letters: jobs that a worker gave up (our headers say why), results that could
//! not be delivered (by a worker, with our headers, or by the results exchange, without), and what the broker
//! dead-lettered itself (its `x-death` says why).

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::mask::{HIDDEN, is_key, is_name};
use crate::{
    broker::Delivery,
    dead_letter::{AsksFor, UNDELIVERABLE_RESULT},
    job::{Address, Envelope},
    message::{DIRECT_REPLY_TO, Names, header},
    result::MESSAGE_TYPE,
};

/// The broker handed it out as often as its queue's limit says.
const DELIVERY_LIMIT: &str = "delivery_limit";

/// What is known of a letter, beside its body.
#[derive(Debug)]
pub(in crate::cli) struct Letter {
    /// The job's id; empty where it has none.
    pub id: String,
    /// The provider's name, where there is one that could be a name.
    pub provider: Option<String>,
    /// The class of failure, or the broker's own reason.
    pub error: String,
    /// What was expected, what came, what to do.
    pub message: Option<String>,
    /// HTTP requests made for it.
    pub attempts: u64,
    /// How often it was sent back before.
    pub replays: u64,
    /// When it died, as far as it can be told.
    pub died: Option<Timestamp>,
    /// Where it goes when it is sent back.
    pub home: Home,
    /// Of a result, the routing key by which it goes to the results queue.
    pub result_key: Option<String>,
    /// All headers.
    pub headers: Map<String, Value>,
    /// Who sent it, as its properties say.
    pub sender: Map<String, Value>,
}

/// Where a letter belongs.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) enum Home {
    /// A job: to the jobs exchange, under this routing key.
    Jobs(String),
    /// A result: to this reply queue.
    Reply(String),
    /// A result: to the results exchange, under this routing key.
    Results(String),
}

/// What the message itself says, be it a job or a result.
#[derive(Deserialize, Default)]
struct Identity {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    job_id: Value,
    #[serde(default)]
    provider: Value,
}

impl Letter {
    pub fn of(delivery: &Delivery) -> Self {
        let letter = Self::read(
            &delivery.session.names,
            &delivery.envelope,
            &delivery.body,
            delivery.kind(),
            delivery.timestamp(),
            delivery.headers(),
        );
        Self {
            sender: delivery.sender(),
            ..letter
        }
    }

    fn read(
        names: &Names,
        envelope: &Envelope,
        body: &[u8],
        kind: Option<&str>,
        sent: Option<Timestamp>,
        headers: Map<String, Value>,
    ) -> Self {
        let identity: Identity = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| {
            headers
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let count = |name: &str| {
            headers
                .get(name)
                .and_then(Value::as_u64)
                .unwrap_or_default()
        };
        let is_result = kind == Some(MESSAGE_TYPE);
        let death = FirstDeath::of(&headers);

        let key = death.routing_key.unwrap_or(&envelope.routing_key);
        let home = match (is_result, text(header::ROUTING_KEY)) {
            (false, original) => Home::of_job(names, original.unwrap_or(key)),
            (true, Some(queue)) => Home::Reply(queue.to_owned()),
            (true, None) => Home::Results(key.to_owned()),
        };
        let provider = match &home {
            Home::Jobs(key) | Home::Results(key) => Address::of(key).provider,
            Home::Reply(_) => identity.provider.as_str().unwrap_or_default(),
        };
        let id = match (&envelope.message_id, is_result) {
            (Some(id), false) => Some(id.as_str()),
            (None, false) => identity.id.as_str(),
            (_, true) => identity.job_id.as_str(),
        };
        // A result that came here through the results exchange is one that could not be delivered, like any other.
        let unknown = if is_result {
            UNDELIVERABLE_RESULT
        } else {
            "unknown"
        };
        let result_key = match &home {
            Home::Jobs(_) => None,
            Home::Results(key) => Some(key.clone()),
            Home::Reply(_) => Some(format!(
                "{provider}.{}",
                text(header::STATUS).unwrap_or("failed")
            )),
        };
        Self {
            id: id.unwrap_or_default().to_owned(),
            provider: is_name(provider).then(|| provider.to_owned()),
            error: text(header::ERROR)
                .or(death.reason)
                .unwrap_or(unknown)
                .to_owned(),
            message: text(header::MESSAGE).or(death.message()).map(str::to_owned),
            attempts: count(header::ATTEMPTS),
            replays: count(header::REPLAYS),
            died: millisecond(&headers).or(death.time).or(sent),
            home,
            result_key,
            headers,
            sender: Map::new(),
        }
    }
}

impl Letter {
    /// By its error, so that letters of earlier versions are told apart too.
    pub fn asks_for(&self) -> AsksFor {
        AsksFor::by(&self.error)
    }
}

impl Home {
    /// A job that was published to its queue itself has the queue's name in its routing key's place.
    fn of_job(names: &Names, key: &str) -> Self {
        Self::Jobs(names.key_of_jobs(key).unwrap_or(key).to_owned())
    }

    /// In words, and with `reveal` in those that may be private; the token of a direct reply is nobody's business.
    pub fn describe(&self, reveal: bool) -> String {
        let shown = |name: &str| {
            if reveal || is_key(name) {
                name.to_owned()
            } else {
                HIDDEN.to_owned()
            }
        };
        match self {
            Self::Jobs(key) => format!("jobs, routing key {}", shown(key)),
            Self::Reply(queue) if queue.starts_with(DIRECT_REPLY_TO) => "a direct reply".into(),
            Self::Reply(queue) => format!("reply queue {}", shown(queue)),
            Self::Results(key) => format!("results, routing key {}", shown(key)),
        }
    }
}

fn millisecond(headers: &Map<String, Value>) -> Option<Timestamp> {
    Timestamp::from_millisecond(headers.get(header::DIED_AT)?.as_i64()?).ok()
}

/// The broker's own record, newest death first: the oldest names the routing key that the message came with.
#[derive(Default)]
struct FirstDeath<'a> {
    reason: Option<&'a str>,
    routing_key: Option<&'a str>,
    time: Option<Timestamp>,
}

impl<'a> FirstDeath<'a> {
    fn of(headers: &'a Map<String, Value>) -> Self {
        let deaths = headers.get("x-death").and_then(Value::as_array);
        let Some(death) = deaths.and_then(|deaths| deaths.last()) else {
            return Self::default();
        };
        Self {
            reason: death["reason"].as_str(),
            routing_key: death["routing-keys"][0].as_str(),
            time: death["time"]
                .as_i64()
                .and_then(|seconds| Timestamp::from_second(seconds).ok()),
        }
    }

    /// The broker's reason, in words.
    fn message(&self) -> Option<&'static str> {
        match self.reason? {
            DELIVERY_LIMIT => Some(
                "the worker or its connection ended each time that it held the job; see its log",
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(key: &str, body: &[u8], kind: Option<&str>, headers: Value) -> Letter {
        let envelope = Envelope {
            routing_key: key.into(),
            ..Envelope::default()
        };
        let Value::Object(headers) = headers else {
            panic!("a table")
        };
        let names = Names::new("lookup");
        Letter::read(&names, &envelope, body, kind, None, headers)
    }

    #[test]
    fn each_kind_of_letter_knows_why_it_is_here_and_where_it_belongs() {
        let ours = json!({"x-lookup-error": "timeout", "x-lookup-routing-key": "a.interactive", "x-lookup-attempts": 4});
        let letter = read("", br#"{"id":"j"}"#, None, ours);
        assert_eq!(
            (letter.id.as_str(), letter.error.as_str(), letter.attempts),
            ("j", "timeout", 4)
        );
        assert_eq!(
            (letter.home, letter.provider.as_deref()),
            (Home::Jobs("a.interactive".into()), Some("a"))
        );

        let death = json!({"x-death": [
            {"reason": "expired", "routing-keys": ["x"], "time": 9},
            {"reason": "delivery_limit", "routing-keys": ["a.bulk"], "time": 7},
        ]});
        let letter = read("lookup.x", b"no JSON", None, death);
        assert_eq!(
            (letter.error.as_str(), letter.home),
            ("delivery_limit", Home::Jobs("a.bulk".into()))
        );
        assert_eq!(letter.died, Timestamp::from_second(7).ok());

        let to_the_queue = json!({"x-death": [
            {"reason": "expired", "exchange": "", "routing-keys": ["lookup.jobs.a.bulk"], "time": 7},
        ]});
        let letter = read("lookup.jobs.a.bulk", b"{}", None, to_the_queue);
        assert_eq!(
            (letter.home, letter.provider.as_deref()),
            (Home::Jobs("a.bulk".into()), Some("a"))
        );

        let body = br#"{"job_id":"j","provider":"b"}"#;
        let reply =
            json!({"x-lookup-error": UNDELIVERABLE_RESULT, "x-lookup-routing-key": "replies"});
        let letter = read("", body, Some(MESSAGE_TYPE), reply);
        assert_eq!(
            (letter.home, letter.provider.as_deref()),
            (Home::Reply("replies".into()), Some("b"))
        );
        let letter = read("a.found", body, Some(MESSAGE_TYPE), json!({}));
        assert_eq!(
            (letter.error.as_str(), letter.home),
            (UNDELIVERABLE_RESULT, Home::Results("a.found".into()))
        );
    }

    #[test]
    fn what_a_stranger_put_there_is_read_too() {
        for (key, headers) in [
            ("", json!({})),
            ("84907089782", json!({"x-death": []})),
            (
                "a b",
                json!({"x-death": [{"routing-keys": []}], "x-lookup-attempts": "many", "x-lookup-error": 5}),
            ),
        ] {
            let letter = read(key, b"\xff", None, headers);
            assert_eq!((letter.provider, letter.error.as_str()), (None, "unknown"));
            assert_eq!(letter.home, Home::Jobs(key.into()));
        }
    }
}
