//! One ledger queue, and what this worker knows of it.
//!
//! Each entry has a channel of its own with one outstanding publish, mandatory: a publish without a route is no
//! permission, and confirms and returns are not mixed up.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use lapin::{BasicProperties, Channel, options::QueueDeclareOptions, types::FieldTable};

use crate::{
    broker::{
        BrokerError, CLOSE_LIMIT, Session, publisher,
        topology::{Making, QueueSpec},
        word::Word,
    },
    clock::Moment,
    policy::quota::Log,
};

/// A ledger queue.
pub(super) struct Book {
    queue: QueueSpec,
    making: Making,
    /// Others count the rest of the quota: a node that says nothing costs its share, and not the session.
    of_several: bool,
    log: Option<RefCell<Log>>,
    ttl: Duration,
    idle: RefCell<Vec<Desk>>,
    /// For looks at what counts.
    looking: RefCell<Option<Channel>>,
    missing_since: Cell<Option<Moment>>,
    /// It was found as it should be, or may be as it is; before that nothing is asked of it.
    trusted: Cell<bool>,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    /// It counts.
    Taken,
    /// There is no room.
    Refused,
    /// There is no such ledger, or it is away with its node.
    Missing,
}

/// What is entered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry {
    /// It counts for the ledger's time, and outlives the broker.
    Permission,
    /// It counts for this time, and need not outlive anything.
    Spacing(Duration),
}

/// A channel for one entry at a time.
struct Desk {
    channel: Channel,
    opened: Moment,
}

impl Book {
    /// Of so much room, and with so long a memory, where these are known.
    pub fn new(
        queue: QueueSpec,
        terms: Option<(u32, Duration)>,
        making: Making,
        of_several: bool,
    ) -> Self {
        Self {
            queue,
            making,
            of_several,
            log: terms.map(|(room, ttl)| RefCell::new(Log::new(room, ttl))),
            ttl: terms.map_or(Duration::ZERO, |(_, ttl)| ttl),
            idle: RefCell::default(),
            looking: RefCell::default(),
            missing_since: Cell::default(),
            trusted: Cell::new(terms.is_none()),
        }
    }

    /// What became of the entry.
    pub async fn enter(&self, session: &Session, entry: Entry) -> Result<Entered, BrokerError> {
        let is_full = |log: &RefCell<Log>| log.borrow_mut().is_full(Moment::now());
        if self.log.as_ref().is_some_and(is_full) {
            return Ok(Entered::Refused);
        }
        if !self.trusted.get() {
            self.establish(session, self.making).await?;
            if !self.trusted.get() {
                return Ok(Entered::Missing);
            }
        }
        let desk = self.desk(session).await?;
        let word = session.publisher.send(
            &desk.channel,
            "",
            &self.queue.name,
            true,
            b"",
            entry.properties(),
        );
        match word.await? {
            Word::Ack => {
                self.taken();
                self.idle.borrow_mut().push(desk);
                return Ok(Entered::Taken);
            }
            Word::Returned => {
                self.idle.borrow_mut().push(desk);
                return Ok(Entered::Missing);
            }
            // Whether it counts nobody knows, so it is no permission.
            Word::Silence if self.of_several => return Ok(Entered::Refused),
            Word::Silence => return Err(publisher::silence()),
            // A channel that was opened at a bad moment may go on nacking for ever.
            _ if Moment::now().since(desk.opened) < self.ttl.max(OLD) => {
                self.idle.borrow_mut().push(desk);
            }
            _ => close(desk.channel, "nacked").await,
        }
        self.is_there();
        Ok(Entered::Refused)
    }

    /// Whether it is there at all. The question goes by the consuming connection: a broker that takes no publishes for
    /// now must not keep a session from being opened.
    pub async fn exists(&self, session: &Session) -> Result<bool, BrokerError> {
        let channel = session.consuming_channel().await?;
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let name = self.queue.name.as_str();
        let arguments = FieldTable::default();
        let look = session.ask_for_queue(&channel, name, passive, arguments);
        match look.await {
            Some(Ok(_)) => {
                close(channel, "seen").await;
                Ok(true)
            }
            Some(Err(error)) if !error.is_amqp_soft_error() => Err(BrokerError::Lost(format!(
                "look for the queue {name}: {error}"
            ))),
            // The broker has closed the channel, or is busy with it.
            _ => Ok(false),
        }
    }

    /// Declares it, or checks that it is there.
    pub async fn establish(&self, session: &Session, making: Making) -> Result<(), BrokerError> {
        let there = self.queue.establish_ledger(session, making).await?;
        self.trusted.set(there || self.trusted.get());
        Ok(())
    }

    pub fn trust(&self) {
        self.trusted.set(true);
    }

    /// Whether it was found as it should be.
    pub fn is_trusted(&self) -> bool {
        self.trusted.get()
    }

    /// Since when it was not there; none while it is.
    pub fn missing_since(&self) -> Option<Moment> {
        self.missing_since.get()
    }

    /// What it counted matters no more.
    pub async fn delete(&self, session: &Session) -> Result<(), BrokerError> {
        self.queue.delete_ledger(session).await
    }

    /// If it counts nothing.
    pub async fn delete_if_empty(&self, session: &Session) -> Result<bool, BrokerError> {
        self.queue.delete_if_empty(session).await
    }

    pub fn name(&self) -> &str {
        &self.queue.name
    }

    /// How many entries count; none where it is not there, or away with its node.
    pub async fn depth(&self, session: &Session) -> Result<Option<u32>, BrokerError> {
        let kept = self.looking.take();
        let channel = match kept {
            Some(channel) => channel,
            None => session.publishing_channel().await?,
        };
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let name = self.queue.name.as_str();
        let arguments = FieldTable::default();
        let look = session.ask_for_queue(&channel, name, options, arguments);
        match look.await {
            Some(Ok(queue)) => {
                self.is_there();
                self.looking.replace(Some(channel));
                Ok(Some(queue.message_count()))
            }
            Some(Err(error)) if !error.is_amqp_soft_error() => Err(BrokerError::Lost(format!(
                "look at the queue {name}: {error}"
            ))),
            // The broker has closed the channel, or is busy with it.
            _ => Ok(None),
        }
    }

    pub fn next_expiry(&self) -> Option<Moment> {
        let log = self.log.as_ref()?;
        log.borrow_mut().next_expiry(Moment::now())
    }

    async fn desk(&self, session: &Session) -> Result<Desk, BrokerError> {
        let idle = self.idle.borrow_mut().pop();
        match idle {
            Some(desk) => Ok(desk),
            None => Ok(Desk {
                channel: session.publisher.confirming_channel().await?,
                opened: Moment::now(),
            }),
        }
    }

    /// The queue is not there. It may come back, with the node that it lives on. Or somebody deleted it, and what
    /// it counted: then it is declared anew only after all that is forgotten.
    pub async fn look_for(&self, session: &Session) -> Result<(), BrokerError> {
        let now = Moment::now();
        let Some(since) = self.missing_since.get() else {
            let until = if self.of_several {
                "its share of the quota is not used until it is back"
            } else {
                "nothing is sent until it is back"
            };
            tracing::warn!(
                queue = self.queue.name,
                "a quota's ledger is missing; {until}"
            );
            self.missing_since.set(Some(now));
            return Ok(());
        };
        if self.making == Making::Declares && now.since(since) > self.ttl {
            self.missing_since.set(Some(now));
            self.queue.establish_ledger(session, self.making).await?;
        }
        Ok(())
    }

    fn taken(&self) {
        if let Some(log) = &self.log {
            log.borrow_mut().add(Moment::now());
        }
        self.is_there();
    }

    /// It is there, as was seen.
    pub fn is_there(&self) {
        if self.missing_since.take().is_some() {
            tracing::info!(queue = self.queue.name, "a quota's ledger is back");
        }
    }
}

/// A channel that nacks is kept for this long at least.
const OLD: Duration = Duration::from_secs(30);

impl Entry {
    fn properties(self) -> BasicProperties {
        let properties = BasicProperties::default();
        match self {
            Self::Permission => properties.with_delivery_mode(2),
            Self::Spacing(time) => {
                let milliseconds = time.as_millis().max(1).to_string();
                properties
                    .with_delivery_mode(1)
                    .with_expiration(milliseconds.into())
            }
        }
    }
}

async fn close(channel: Channel, reason: &str) {
    let _ = tokio::time::timeout(CLOSE_LIMIT, channel.close(200, reason.into())).await;
}
