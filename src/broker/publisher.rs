//! Publishing: a message counts as delivered when the broker has confirmed it, and not before.

use std::{cell::RefCell, collections::HashSet, pin::pin, rc::Rc, time::Duration};

use lapin::{
    BasicProperties, Channel, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::FieldTable,
};
use tokio::{
    sync::{Mutex, Semaphore},
    task::yield_now,
};

use super::{
    BrokerError, CALL_LIMIT, CONFIRM_LIMIT, Message, connection::Health, pipeline::Pipeline,
    word::Word,
};

/// A nack is most often a queue that elects its leader, which takes a second or so. Each try is on a new channel.
const NACK_WAITS_MS: [u64; 6] = [50, 250, 500, 1000, 2000, 4000];

/// Publishes that have a channel of their own, at once.
const MOST_ALONE: usize = 128;

/// How long a confirm of a queue is waited for that let [`CONFIRM_LIMIT`] go by before.
const DEAF_LIMIT: Duration = Duration::from_secs(1);

/// Names of silent queues that are kept in mind.
const MOST_DEAF: usize = 1000;

/// Where a message goes.
#[derive(Debug, Clone, Copy)]
pub enum Route<'a> {
    /// To an exchange that keeps what has no route (by its alternate exchange): nothing is ever returned.
    Kept {
        /// The exchange.
        exchange: &'a str,
        /// The routing key.
        key: &'a str,
    },
    /// To an exchange; what has no route is returned.
    Exchange {
        /// The exchange.
        exchange: &'a str,
        /// The routing key.
        key: &'a str,
    },
    /// To a queue; if there is none, the message is returned.
    Queue(&'a str),
    /// To a requester by direct reply-to.
    Direct(&'a str),
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The broker has it.
    Confirmed,
    /// There is no such queue.
    Returned,
    /// The broker refuses it, as it says or time and again: a right that is missing, a full queue.
    Refused,
    /// The broker takes no message of this size (`max_message_size`).
    TooLarge,
    /// The broker answers, and says nothing of this message: the queue has no leader, as after the loss of most of its
    /// nodes, or where a broker died within a second or so of its declaration. The queue may have it all the same.
    Silent,
}

/// Where messages are published: with the broker's word on each.
pub trait Publish {
    /// Publishes and waits for the broker's word. The message is made anew for each try.
    ///
    /// # Errors
    /// Where it is not known what became of the message: it must be taken for lost.
    fn publish(
        &self,
        route: Route<'_>,
        message: &dyn Fn() -> Message,
    ) -> impl Future<Output = Result<Fate, BrokerError>>;

    /// The state of the session that it belongs to.
    fn health(&self) -> &Rc<Health>;
}

impl Publish for Publisher {
    fn publish(
        &self,
        route: Route<'_>,
        message: &dyn Fn() -> Message,
    ) -> impl Future<Output = Result<Fate, BrokerError>> {
        Self::publish(self, route, message)
    }

    fn health(&self) -> &Rc<Health> {
        &self.health
    }
}

/// Publishes on one connection and one thread.
#[derive(Debug)]
pub struct Publisher {
    /// With frames that hold nearly every message's headers.
    small: Channels,
    /// With frames that hold those of every message.
    large: Channels,
    health: Rc<Health>,
    /// Many outstanding publishes; none of them can be returned.
    pipeline: RefCell<Option<Rc<Pipeline>>>,
    /// One opens the next for all who wait for it.
    opening: Mutex<()>,
    /// A connection has some two thousand channels.
    room: Semaphore,
    /// Requesters' queues that confirmed nothing when they were last asked to.
    deaf: RefCell<HashSet<String>>,
}

/// The channels of one connection for one outstanding publish each.
#[derive(Debug)]
struct Channels {
    connection: Rc<Connection>,
    idle: RefCell<Vec<Channel>>,
}

impl Publisher {
    pub(super) fn new(small: Rc<Connection>, large: Rc<Connection>, health: Rc<Health>) -> Self {
        let [small, large] = [small, large].map(|connection| Channels {
            connection,
            idle: RefCell::default(),
        });
        let (pipeline, opening, room) = (
            RefCell::default(),
            Mutex::default(),
            Semaphore::new(MOST_ALONE),
        );
        Self {
            small,
            large,
            health,
            pipeline,
            opening,
            room,
            deaf: RefCell::default(),
        }
    }

    /// Publishes and waits for the broker's word. Where there is none, the session ends; a refusal of this one
    /// message, on a channel of its own, is a [`Fate`]. The message is made anew for each try.
    ///
    /// # Errors
    /// Where it is not known what became of the message: it must be taken for lost.
    pub async fn publish(
        &self,
        route: Route<'_>,
        message: &dyn Fn() -> Message,
    ) -> Result<Fate, BrokerError> {
        let fate = match route {
            Route::Kept { exchange, key } => self.pipelined(exchange, key, message).await,
            // Its future is large: boxed, since the room for it would be in every job's future.
            _ => Box::pin(self.by_itself(route, message)).await,
        };
        let fate = match fate {
            // One requester's queue is to cost nobody else the session.
            Ok(Fate::Silent) => self.silent(route).await,
            fate => fate,
        };
        if let Err(error) = &fate {
            self.health.fail(error.to_string());
        }
        fate
    }

    /// Whether the queue alone says nothing, or the broker.
    async fn silent(&self, route: Route<'_>) -> Result<Fate, BrokerError> {
        let Route::Queue(queue) = route else {
            return Err(silence());
        };
        self.confirming_channel().await?;
        let mut deaf = self.deaf.borrow_mut();
        if deaf.len() >= MOST_DEAF {
            deaf.clear();
        }
        deaf.insert(queue.to_owned());
        Ok(Fate::Silent)
    }

    /// A queue that was silent for long is not waited for as long again: what waits holds a job's slot.
    async fn to_queue(
        &self,
        queue: &str,
        message: &dyn Fn() -> Message,
    ) -> Result<Fate, BrokerError> {
        let publish = self.alone("", queue, true, message);
        if self.health.is_blocked() || !self.deaf.borrow().contains(queue) {
            return publish.await;
        }
        let fate = tokio::time::timeout(DEAF_LIMIT, publish).await;
        let fate = fate.unwrap_or(Ok(Fate::Silent))?;
        if fate == Fate::Confirmed {
            self.deaf.borrow_mut().remove(queue);
        }
        Ok(fate)
    }

    async fn pipelined(
        &self,
        exchange: &str,
        key: &str,
        message: &dyn Fn() -> Message,
    ) -> Result<Fate, BrokerError> {
        check_key(key)?;
        for wait in NACK_WAITS_MS {
            let made = Box::new(message());
            if !made.is_small() || made.is_risky() {
                return Box::pin(self.alone(exchange, key, true, message)).await;
            }
            let pipeline = self.current_pipeline().await?;
            let word = pipeline.publish(exchange, key, made);
            let word = self
                .confirmed(async { word.await.unwrap_or(Ok(Word::Nack)) })
                .await?;
            match word {
                Word::Nack => {}
                Word::Silence => return Ok(Fate::Silent),
                _ => return Ok(Fate::Confirmed),
            }
            self.pipeline
                .borrow_mut()
                .take_if(|current| Rc::ptr_eq(current, &pipeline));
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        Ok(Fate::Refused)
    }

    async fn current_pipeline(&self) -> Result<Rc<Pipeline>, BrokerError> {
        let current = || self.pipeline.borrow().clone();
        if let Some(pipeline) = current() {
            return Ok(pipeline);
        }
        // Rare, and large: boxed, since the room for it would be in every job's future.
        Box::pin(async {
            let _mine = self.opening.lock().await;
            if let Some(pipeline) = current() {
                return Ok(pipeline);
            }
            let opened = Pipeline::new(self.confirming_channel().await?);
            Ok(Rc::clone(self.pipeline.borrow_mut().insert(opened)))
        })
        .await
    }

    async fn by_itself(
        &self,
        route: Route<'_>,
        message: &dyn Fn() -> Message,
    ) -> Result<Fate, BrokerError> {
        match route {
            Route::Kept { exchange, key } | Route::Exchange { exchange, key } => {
                self.alone(exchange, key, true, message).await
            }
            Route::Queue(queue) => self.to_queue(queue, message).await,
            Route::Direct(name) if self.is_there(name).await? => {
                self.alone("", name, false, message).await
            }
            Route::Direct(_) => Ok(Fate::Returned),
        }
    }

    async fn alone(
        &self,
        exchange: &str,
        key: &str,
        mandatory: bool,
        message: &dyn Fn() -> Message,
    ) -> Result<Fate, BrokerError> {
        let _room = self
            .room
            .acquire()
            .await
            .map_err(|_| BrokerError::Lost("publish: the session is over".into()))?;
        for wait in NACK_WAITS_MS {
            let message = message();
            let channels = if message.is_small() {
                &self.small
            } else {
                &self.large
            };
            let idle = channels.idle.borrow_mut().pop();
            let channel = match idle {
                Some(channel) => channel,
                None => self.confirming_channel_of(&channels.connection).await?,
            };
            let (body, properties) = message.into_parts();
            let word = match self
                .send(&channel, exchange, key, mandatory, &body, properties)
                .await
            {
                // It can be of no other publish: none shares the channel.
                Err(BrokerError::Refused(reason)) if is_too_large(&reason) => {
                    return Ok(Fate::TooLarge);
                }
                Err(BrokerError::Refused(reason)) => {
                    tracing::warn!(reason, "the broker refuses a message");
                    return Ok(Fate::Refused);
                }
                word => word?,
            };
            match word {
                Word::Ack | Word::Returned => {
                    channels.idle.borrow_mut().push(channel);
                    return Ok(if word == Word::Ack {
                        Fate::Confirmed
                    } else {
                        Fate::Returned
                    });
                }
                Word::Silence => return Ok(Fate::Silent),
                // The channel is not used again: it may go on nacking.
                _ => tokio::time::sleep(Duration::from_millis(wait)).await,
            }
        }
        Ok(Fate::Refused)
    }

    /// Publishes once, on a channel with no other outstanding publish if it is mandatory.
    pub(super) async fn send(
        &self,
        channel: &Channel,
        exchange: &str,
        key: &str,
        mandatory: bool,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<Word, BrokerError> {
        check_key(key)?;
        // With what else is published in this turn of the event loop, the client's thread is woken once.
        yield_now().await;
        let options = BasicPublishOptions {
            mandatory,
            ..BasicPublishOptions::default()
        };
        let publish = channel.basic_publish(exchange.into(), key.into(), options, body, properties);
        self.confirmed(async { publish.await?.await.map(Word::from) })
            .await
    }

    /// The broker's word on one publish.
    async fn confirmed(
        &self,
        word: impl Future<Output = lapin::Result<Word>>,
    ) -> Result<Word, BrokerError> {
        let mut word = pin!(word);
        let word = loop {
            match tokio::time::timeout(CONFIRM_LIMIT, &mut word).await {
                Ok(word) => break word,
                // The broker said that it takes nothing for now, so its silence proves nothing.
                Err(_) if self.health.is_blocked() && self.health.is_well() => {}
                Err(_) => return Ok(Word::Silence),
            }
        };
        match word {
            Ok(Word::None) => Err(BrokerError::Lost(
                "publish: the channel does not confirm".into(),
            )),
            Ok(word) => Ok(word),
            Err(error) if error.is_amqp_soft_error() => {
                Err(BrokerError::Refused(format!("publish: {error}")))
            }
            Err(error) => Err(BrokerError::Lost(format!("publish: {error}"))),
        }
    }

    pub(super) async fn confirming_channel(&self) -> Result<Channel, BrokerError> {
        self.confirming_channel_of(&self.small.connection).await
    }

    async fn confirming_channel_of(&self, connection: &Connection) -> Result<Channel, BrokerError> {
        let channel = self
            .health
            .bounded("open a channel", CALL_LIMIT, connection.create_channel())
            .await?;
        let select = channel.confirm_select(ConfirmSelectOptions::default());
        self.health
            .bounded("confirm.select", CALL_LIMIT, select)
            .await?;
        Ok(channel)
    }

    /// Whether a requester still waits at a direct reply-to name. A return would mean nothing there: some
    /// brokers return what has arrived.
    async fn is_there(&self, name: &str) -> Result<bool, BrokerError> {
        let channel = self
            .health
            .bounded(
                "open a channel",
                CALL_LIMIT,
                self.small.connection.create_channel(),
            )
            .await?;
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let declare = channel.queue_declare(name.into(), options, FieldTable::default());
        let look = async {
            match declare.await {
                Ok(_) => Ok(true),
                Err(error) if error.is_amqp_soft_error() => Ok(false),
                Err(error) => Err(error),
            }
        };
        let there = self
            .health
            .bounded("look for the requester", CALL_LIMIT, look)
            .await?;
        if !there {
            // The broker has closed the channel.
            return Ok(false);
        }
        let _ = tokio::time::timeout(super::CLOSE_LIMIT, channel.close(200, "seen".into())).await;
        Ok(there)
    }
}

/// The broker's word did not come.
pub(super) fn silence() -> BrokerError {
    let limit = CONFIRM_LIMIT.as_secs();
    BrokerError::Lost(format!("publish: not confirmed within {limit} s"))
}

/// As RabbitMQ says it: "message size 17000000 is larger than configured max size 16777216".
fn is_too_large(reason: &str) -> bool {
    reason.contains("message size")
}

/// AMQP's routing keys end at 255 bytes.
fn check_key(key: &str) -> Result<(), BrokerError> {
    if key.len() > 255 {
        return Err(BrokerError::Refused(
            "publish: the routing key is longer than 255 bytes".into(),
        ));
    }
    Ok(())
}
