//! What every worker is to hear at once: a ledger has room again, a provider is to be left alone for a while.
//!
//! Each session has a queue of its own for it, which goes with its connection. What is said while a worker is away
//! is lost to it; a pause therefore lies in a queue besides, for as long as it lasts.

use std::{rc::Rc, time::Duration};

use futures_util::StreamExt;
use lapin::{
    Consumer,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{BrokerError, CALL_LIMIT, Fate, Message, Names, Route, Session, bounded};

/// What a message's time to live can express; more is heard of again then.
const LONGEST_PAUSE: Duration = Duration::from_millis(u32::MAX as u64);

/// What is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A ledger, by its queue's name, has forgotten a request.
    Room(String),
    /// A provider, by its name, is to be left alone for this long from now on.
    Pause(String, Duration),
}

/// The notices of one session.
pub struct Notices {
    consumer: Consumer,
    room: String,
}

/// The message that tells of a pause. A length of time and no point in it: clocks may be apart.
#[derive(Debug, Serialize, Deserialize)]
struct Pause {
    remaining_ms: u64,
}

impl Session {
    /// Begins to listen to these ledgers and of these providers; none where the worker's user may not have a queue of
    /// its own.
    ///
    /// # Errors
    /// Where the broker does not make the queue in time.
    pub async fn notices(
        self: &Rc<Self>,
        names: &Names,
        ledgers: &[String],
        providers: &[String],
    ) -> Result<Option<Notices>, BrokerError> {
        let channel = self.consuming_channel().await?;
        let queue = names.notices(&Uuid::new_v4().to_string());
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        let declare = async {
            match channel
                .queue_declare(queue.as_str().into(), options, FieldTable::default())
                .await
            {
                Err(error) if error.is_amqp_soft_error() => Ok(Some(error)),
                answer => answer.map(|_| None),
            }
        };
        if let Some(refusal) =
            bounded(&format!("declare the queue {queue}"), CALL_LIMIT, declare).await?
        {
            tracing::warn!(%refusal, "no notices are heard: what other workers are told is looked for now and then");
            return Ok(None);
        }
        let (room, pauses) = (names.room(), names.pauses());
        let keys = ledgers
            .iter()
            .map(|ledger| (&room, ledger))
            .chain(providers.iter().map(|name| (&pauses, name)));
        for (exchange, key) in keys {
            let (queue, exchange, key) = (
                queue.as_str().into(),
                exchange.as_str().into(),
                key.as_str().into(),
            );
            let bind = channel.queue_bind(
                queue,
                exchange,
                key,
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            bounded("bind the queue of notices", CALL_LIMIT, bind).await?;
        }
        let options = BasicConsumeOptions {
            no_ack: true,
            exclusive: true,
            ..BasicConsumeOptions::default()
        };
        let consume = channel.basic_consume(
            queue.as_str().into(),
            "".into(),
            options,
            FieldTable::default(),
        );
        let consumer = bounded(&format!("consume from {queue}"), CALL_LIMIT, consume).await?;
        Ok(Some(Notices { consumer, room }))
    }

    /// Lets all workers know that a provider is to be left alone for so long.
    ///
    /// # Errors
    /// Where it is not known whether they will hear it.
    pub async fn tell_pause(
        &self,
        names: &Names,
        provider: &str,
        remaining: Duration,
    ) -> Result<(), BrokerError> {
        // Rounded up: it must not be undercut.
        let remaining_ms =
            u64::try_from(remaining.min(LONGEST_PAUSE).as_millis()).unwrap_or_default() + 1;
        let body = serde_json::to_vec(&Pause { remaining_ms }).unwrap_or_default();
        let message = Message::json(body.into()).expiration(Duration::from_millis(remaining_ms));
        let exchange = names.pauses();
        match self
            .publisher
            .publish(
                Route::Exchange {
                    exchange: &exchange,
                    key: provider,
                },
                &|| message.clone(),
            )
            .await?
        {
            Fate::Confirmed => Ok(()),
            _ => Err(BrokerError::Lost(format!(
                "the worker's own queue {} is gone",
                names.pause(provider)
            ))),
        }
    }
}

impl Notices {
    /// The next one; none when there will be no more. What cannot be read is passed over.
    pub async fn next(&mut self) -> Option<Notice> {
        loop {
            let delivery = self.consumer.next().await?.ok()?;
            let key = delivery.routing_key.as_str().to_owned();
            if delivery.exchange.as_str() == self.room {
                return Some(Notice::Room(key));
            }
            match serde_json::from_slice(&delivery.data) {
                Ok(Pause { remaining_ms }) => {
                    return Some(Notice::Pause(
                        key,
                        Duration::from_millis(remaining_ms).min(LONGEST_PAUSE),
                    ));
                }
                Err(error) => tracing::warn!(key, %error, "a notice that is none was passed over"),
            }
        }
    }
}
