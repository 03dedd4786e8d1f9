//! What every worker is to hear at once: a ledger has room again, a provider is to be left alone for a while.
//!
//! Each session has a queue of its own for it, which goes with its connection. What is said while a worker is away
//! is lost to it; a pause therefore lies in a queue besides, for as long as it lasts.

use std::{rc::Rc, time::Duration};

use futures_util::StreamExt;
use jiff::Timestamp;
use lapin::{
    Channel, Consumer,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicGetOptions, QueueBindOptions,
        QueueDeclareOptions, QueuePurgeOptions,
    },
    types::FieldTable,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    BrokerError, CALL_LIMIT, CLOSE_LIMIT, Fate, Message, Route, Session, bounded,
    counts::CountNotice, question::Asked,
};
use crate::{message::Names, policy::pause::By};

/// What a message's time to live can express; more is heard of again then.
const LONGEST_PAUSE: Duration = Duration::from_millis(u32::MAX as u64);

/// The word that ends a pause lies in the queue of pauses until this is purged, and no longer than this.
const RESUME_LIES: Duration = Duration::from_secs(1);

/// So many messages of pauses are read; one worker tells of few.
const MOST_PAUSES: usize = 100;

/// What is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A ledger, by its queue's name, has forgotten a request.
    Room(String),
    /// A provider, by its name, is to be left alone from now on.
    Pause(String, PauseNotice),
    /// A provider, by its name, is to be asked again, whatever was said before.
    Resume(String),
    /// Somebody asks where a job is.
    Question(Asked),
    /// A worker tells what a provider said is left.
    Count(CountNotice),
}

/// For how long a provider is to be left alone, and by whose word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PauseNotice {
    /// By whose word.
    pub by: By,
    /// For how long from when it was told; none until it is resumed.
    pub wait: Option<Duration>,
    /// When it was told, by the clock of who told it.
    pub told: Option<Timestamp>,
}

impl PauseNotice {
    /// What is left of it for who reads it later; none until it is resumed. A clock that is behind makes it no longer
    /// than it was.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> Option<Duration> {
        let gone = self.told.map_or(Duration::ZERO, |told| {
            Duration::try_from(now.duration_since(told)).unwrap_or_default()
        });
        self.wait.map(|wait| wait.saturating_sub(gone))
    }
}

/// The notices of one session.
pub struct Notices {
    consumer: Consumer,
    room: String,
    questions: String,
    counts: String,
}

/// The message that tells of a pause or of its end. For those who hear it at once a length of time counts and no point
/// in it: clocks may be apart.
#[derive(Debug, Serialize, Deserialize)]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remaining_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told_at_ms: Option<i64>,
    #[serde(default)]
    by: By,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    resume: bool,
}

impl Wire {
    fn read(body: &[u8]) -> Result<Option<PauseNotice>, serde_json::Error> {
        let Self {
            remaining_ms,
            told_at_ms,
            by,
            resume,
        } = serde_json::from_slice(body)?;
        let notice = PauseNotice {
            by,
            wait: remaining_ms.map(|ms| Duration::from_millis(ms).min(LONGEST_PAUSE)),
            told: told_at_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        };
        Ok((!resume).then_some(notice))
    }
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
        let (questions, counts) = (names.questions(), names.counts());
        let keys = ledgers
            .iter()
            .map(|ledger| (&room, ledger))
            .chain(providers.iter().map(|name| (&pauses, name)))
            .chain([(&room, &questions), (&room, &counts)]);
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
        Ok(Some(Notices {
            consumer,
            room,
            questions,
            counts,
        }))
    }

    /// Lets all workers know that a provider is to be left alone for so long; without an end, until it is resumed.
    ///
    /// # Errors
    /// Where it is not known whether they will hear it.
    pub async fn tell_pause(
        &self,
        names: &Names,
        provider: &str,
        by: By,
        wait: Option<Duration>,
    ) -> Result<(), BrokerError> {
        // Rounded up: it must not be undercut.
        let round = |wait: Duration| {
            u64::try_from(wait.min(LONGEST_PAUSE).as_millis()).unwrap_or_default() + 1
        };
        let remaining_ms = wait.map(round);
        let wire = Wire {
            remaining_ms,
            told_at_ms: Some(Timestamp::now().as_millisecond()),
            by,
            resume: false,
        };
        self.tell(
            names,
            provider,
            &wire,
            remaining_ms.map(Duration::from_millis),
        )
        .await
    }

    /// Lets all workers know that a provider is to be asked again.
    ///
    /// # Errors
    /// As [`Self::tell_pause`].
    pub async fn tell_resume(&self, names: &Names, provider: &str) -> Result<(), BrokerError> {
        let wire = Wire {
            remaining_ms: Some(0),
            told_at_ms: None,
            by: By::Hand,
            resume: true,
        };
        self.tell(names, provider, &wire, Some(RESUME_LIES)).await?;
        self.purge(&names.pause(provider)).await
    }

    async fn tell(
        &self,
        names: &Names,
        provider: &str,
        wire: &Wire,
        lies: Option<Duration>,
    ) -> Result<(), BrokerError> {
        let message = Message::json(serde_json::to_vec(wire).unwrap_or_default().into());
        let message = match lies {
            Some(lies) => message.expiration(lies),
            None => message,
        };
        let (exchange, key) = (names.pauses(), provider);
        let route = Route::Exchange {
            exchange: &exchange,
            key,
        };
        match self.publisher.publish(route, &|| message.clone()).await? {
            Fate::Confirmed => Ok(()),
            _ => Err(BrokerError::Lost(format!(
                "the worker's own queue {} is gone",
                names.pause(provider)
            ))),
        }
    }

    async fn purge(&self, queue: &str) -> Result<(), BrokerError> {
        let channel = self.publishing_channel().await?;
        let purge = channel.queue_purge(queue.into(), QueuePurgeOptions::default());
        bounded(&format!("purge the queue {queue}"), CALL_LIMIT, purge).await?;
        let _ = tokio::time::timeout(CLOSE_LIMIT, channel.close(200, "done".into())).await;
        Ok(())
    }

    /// The pauses of a provider that were told before and last, each with what is left of it. They stay where they lie.
    ///
    /// # Errors
    /// Where the broker does not answer in time.
    pub async fn lying_pauses(
        &self,
        names: &Names,
        provider: &str,
    ) -> Result<Vec<PauseNotice>, BrokerError> {
        let channel = self.consuming_channel().await?;
        let mut pauses = Vec::new();
        for (_, notice) in lying(&channel, &names.pause(provider)).await? {
            match notice {
                Some(pause) => pauses.push(pause),
                // Somebody ended those before.
                None => pauses.clear(),
            }
        }
        // With the channel all of them go back to where they lay.
        let _ = tokio::time::timeout(CLOSE_LIMIT, channel.close(200, "seen".into())).await;
        Ok(pauses)
    }

    /// Lets all workers know that a person wants a provider to be left alone, instead of what a person wanted before.
    ///
    /// # Errors
    /// As [`Self::tell_pause`].
    pub async fn pause_by_hand(
        &self,
        names: &Names,
        provider: &str,
        wait: Option<Duration>,
    ) -> Result<(), BrokerError> {
        let channel = self.consuming_channel().await?;
        let before = lying(&channel, &names.pause(provider)).await?;
        self.tell_pause(names, provider, By::Hand, wait).await?;
        for (tag, notice) in before {
            if notice.is_none_or(|pause| pause.by == By::Hand) {
                let ack = channel.basic_ack(tag, BasicAckOptions::default());
                bounded("basic.ack", CALL_LIMIT, ack).await?;
            }
        }
        let close = channel.close(200, "done".into());
        bounded("close a channel", CALL_LIMIT, close).await
    }
}

/// What lies in a queue of pauses, the oldest first; it is ours until the channel is closed. None is the end of those
/// before.
async fn lying(
    channel: &Channel,
    queue: &str,
) -> Result<Vec<(u64, Option<PauseNotice>)>, BrokerError> {
    let mut all = Vec::new();
    while all.len() < MOST_PAUSES {
        let get = channel.basic_get(queue.into(), BasicGetOptions::default());
        let Some(got) = bounded("basic.get", CALL_LIMIT, get).await? else {
            break;
        };
        // What cannot be read is no pause.
        if let Ok(notice) = Wire::read(&got.delivery.data) {
            all.push((got.delivery.delivery_tag, notice));
        }
    }
    Ok(all)
}

impl Notices {
    /// The next one; none when there will be no more. What cannot be read is passed over.
    pub async fn next(&mut self) -> Option<Notice> {
        loop {
            let delivery = self.consumer.next().await?.ok()?;
            let key = delivery.routing_key.as_str().to_owned();
            if key == self.questions {
                match Asked::read(&delivery.data, &delivery.properties) {
                    Some(asked) => return Some(Notice::Question(asked)),
                    None => continue,
                }
            }
            if key == self.counts {
                match serde_json::from_slice(&delivery.data) {
                    Ok(notice) => return Some(Notice::Count(notice)),
                    Err(_) => continue,
                }
            }
            if delivery.exchange.as_str() == self.room {
                return Some(Notice::Room(key));
            }
            match Wire::read(&delivery.data) {
                Ok(Some(pause)) => return Some(Notice::Pause(key, pause)),
                Ok(None) => return Some(Notice::Resume(key)),
                Err(error) => tracing::warn!(key, %error, "a notice that is none was passed over"),
            }
        }
    }
}
