//! Two connections, one for consuming and one for publishing: what the broker blocks for publishing, it must
//! not block for acknowledging. Together they are a [`Session`], which ends as a whole when a part of it fails.
//!
//! Why it is so: `docs/decisions/0001-two-connections.md`.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::{BTreeSet, VecDeque},
    io,
    rc::Rc,
    time::Duration,
};

use futures_util::StreamExt;
use lapin::{
    Channel, Connection, ConnectionProperties, ErrorKind, Event,
    uri::{AMQPScheme, AMQPUri},
};
use rand::seq::SliceRandom;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use url::{Host, Url};

use super::{
    BrokerError, CALL_LIMIT, CLOSE_LIMIT, CONNECT_LIMIT, Publisher, bounded, told, transport,
};
use crate::{
    config::AmqpSettings,
    message::Names,
    tls::{self, TlsMaterial},
};

/// The broker notices a dead worker, and the worker a dead broker, after about two of these, in seconds.
const HEARTBEAT: u16 = 10;

/// Frames of the consuming connection, in bytes: RabbitMQ's own default, so that whatever it accepted fits, since a
/// message's headers come in one frame. Asked for rather than left to the broker: the client, which keeps two buffers
/// of 32 frames for each connection, makes them at once then, and touches no more of them than has passed through.
const LARGE_FRAME: u32 = 128 * 1024;

/// Frames of the publishing connection, in bytes. Its buffers pass through the processor's cache round and round, and
/// nearly all messages do with less; the others go by the consuming connection.
pub(super) const SMALL_FRAME: u32 = 8 * 1024;

/// Closed channels of which the reason is kept.
const MOST_WORDS: usize = 64;

/// What is open at the broker, until any part of it fails.
#[derive(Debug)]
pub struct Session {
    /// Of everything on this broker.
    pub names: Names,
    consuming: Rc<Connection>,
    publishing: Rc<Connection>,
    /// For looks at queues, one at a time.
    pub(super) looking: RefCell<Option<Channel>>,
    /// Queues of which the broker owes a word: they are away.
    pub(super) unanswered: Rc<RefCell<BTreeSet<String>>>,
    /// Publishes with confirms.
    pub publisher: Publisher,
    /// Whether it goes on, shared with everything that may notice that it does not.
    pub health: Rc<Health>,
}

/// The state of a session, as its parts report it.
#[derive(Debug, Default)]
pub struct Health {
    reason: OnceCell<String>,
    ended: Notify,
    blocked: Cell<bool>,
    alarm: Notify,
    /// Why channels were closed, each until it is asked for.
    closed_channels: RefCell<VecDeque<String>>,
    channel_is_closed: Notify,
}

impl Health {
    /// Ends the session; the first reason counts.
    pub fn fail(&self, reason: impl Into<String>) {
        let _ = self.reason.set(reason.into());
        self.ended.notify_waiters();
    }

    /// Whether the session goes on.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.reason.get().is_none()
    }

    /// Waits for the end of the session and tells why.
    pub async fn ended(&self) -> String {
        loop {
            let ended = self.ended.notified();
            if let Some(reason) = self.reason.get() {
                return reason.clone();
            }
            ended.await;
        }
    }

    /// Whether the broker accepts no publishes for the moment (an alarm of memory or disk).
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// Waits until the broker accepts no publishes.
    pub async fn blocked(&self) {
        self.alarm_is(true).await;
    }

    /// Waits until the broker accepts publishes.
    pub async fn unblocked(&self) {
        self.alarm_is(false).await;
    }

    async fn alarm_is(&self, blocked: bool) {
        loop {
            let changed = self.alarm.notified();
            if self.blocked.get() == blocked {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the broker closes a channel, and tells why, in its words. For one listener.
    pub async fn channel_closed(&self) -> String {
        loop {
            let closed = self.channel_is_closed.notified();
            if let Some(words) = self.closed_channels.borrow_mut().pop_front() {
                return words;
            }
            closed.await;
        }
    }

    fn set_closed(&self, words: String) {
        let mut closed = self.closed_channels.borrow_mut();
        // Where nobody listens, as in a command.
        closed.truncate(MOST_WORDS);
        closed.push_back(words);
        self.channel_is_closed.notify_waiters();
    }

    fn set_blocked(&self, blocked: bool) {
        self.blocked.set(blocked);
        self.alarm.notify_waiters();
    }

    /// Waits for the broker's answer on the publishing connection. While that is blocked nothing is sent on it and
    /// nothing read from it, so silence proves nothing then.
    pub(super) async fn bounded<T>(
        &self,
        what: &str,
        limit: Duration,
        answer: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, BrokerError> {
        let mut answer = std::pin::pin!(answer);
        loop {
            match tokio::time::timeout(limit, &mut answer).await {
                Err(_) if self.is_blocked() && self.is_well() => {}
                answered => return told(what, limit, answered.ok()),
            }
        }
    }
}

impl Session {
    /// Connects to one of the addresses, tried in a random order.
    ///
    /// # Errors
    /// Why the last of them failed.
    pub async fn open(settings: &AmqpSettings) -> Result<Rc<Self>, BrokerError> {
        let mut addresses = settings.addresses();
        // Read anew for each session: certificates are renewed more often than workers are started.
        let tls = settings
            .tls()
            .read()
            .map_err(|problem| BrokerError::Lost(format!("amqp.{problem}")))?;
        addresses.shuffle(&mut rand::rng());
        let mut last = BrokerError::Lost("no broker address is configured".into());
        for address in &addresses {
            match Self::open_one(address, &tls, &settings.prefix).await {
                Ok(session) => return Ok(session),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Connects to the address of this number, and to no other.
    ///
    /// # Errors
    /// Why there is no connection.
    pub(super) async fn open_at(
        settings: &AmqpSettings,
        number: usize,
    ) -> Result<Rc<Self>, BrokerError> {
        let tls = settings
            .tls()
            .read()
            .map_err(|problem| BrokerError::Lost(format!("amqp.{problem}")))?;
        let addresses = settings.addresses();
        let address = addresses.get(number).ok_or_else(|| {
            BrokerError::Lost(format!("no broker address of number {}", number + 1))
        })?;
        Self::open_one(address, &tls, &settings.prefix).await
    }

    async fn open_one(
        address: &SecretString,
        tls: &TlsMaterial,
        prefix: &str,
    ) -> Result<Rc<Self>, BrokerError> {
        let health = Rc::<Health>::default();
        let consuming = connect_once(address, tls, LARGE_FRAME, "lookup-worker consumes").await?;
        let publishing = connect_once(address, tls, SMALL_FRAME, "lookup-worker publishes").await?;
        watch(&consuming, &health, "the consuming connection");
        watch(&publishing, &health, "the publishing connection");
        let (consuming, publishing) = (Rc::new(consuming), Rc::new(publishing));
        let publisher = Publisher::new(
            Rc::clone(&publishing),
            Rc::clone(&consuming),
            Rc::clone(&health),
        );
        Ok(Rc::new(Self {
            names: Names::new(prefix),
            consuming,
            publishing,
            looking: RefCell::default(),
            unanswered: Rc::default(),
            publisher,
            health,
        }))
    }

    /// The virtual host.
    #[must_use]
    pub fn vhost(&self) -> String {
        self.publishing.status().vhost().to_string()
    }

    /// Who the address says that we are; with a client certificate the broker may know better.
    #[must_use]
    pub fn user(&self) -> String {
        self.publishing.status().username()
    }

    /// A channel for consuming.
    ///
    /// # Errors
    /// Where the broker does not open one in time.
    pub(super) async fn consuming_channel(&self) -> Result<Channel, BrokerError> {
        bounded(
            "open a channel",
            CALL_LIMIT,
            self.consuming.create_channel(),
        )
        .await
    }

    /// A channel for everything else.
    ///
    /// # Errors
    /// Where the broker does not open one in time.
    pub(super) async fn publishing_channel(&self) -> Result<Channel, BrokerError> {
        self.health
            .bounded(
                "open a channel",
                CALL_LIMIT,
                self.publishing.create_channel(),
            )
            .await
    }

    /// Closes both connections; what the broker does not confirm soon is dropped.
    pub async fn close(&self) {
        let close = async |connection: &Connection| {
            let _ =
                tokio::time::timeout(CLOSE_LIMIT, connection.close(200, "goodbye".into())).await;
        };
        // On a blocked connection the broker reads nothing.
        let publishing = async {
            if !self.health.is_blocked() {
                close(&self.publishing).await;
            }
        };
        tokio::join!(close(&self.consuming), publishing);
    }
}

/// One connection, without recovery of its own.
///
/// # Errors
/// Why there is none; the address, which holds a password, is not shown.
async fn connect_once(
    address: &SecretString,
    tls: &TlsMaterial,
    frame_max: u32,
    name: &str,
) -> Result<Connection, BrokerError> {
    let mut uri = uri_of(address)?;
    uri.query.frame_max = uri.query.frame_max.or(Some(frame_max));
    uri.query.heartbeat = uri.query.heartbeat.or(Some(HEARTBEAT));
    let host = format!("{}:{}", uri.authority.host, uri.authority.port);
    let encrypted = uri.scheme == AMQPScheme::AMQPS;
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connect = async {
        let encryption = transport::encryption(&uri, tls)?;
        transport::connect(uri, properties, encryption).await
    };
    match tokio::time::timeout(CONNECT_LIMIT, connect).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(BrokerError::Lost(format!(
            "connect to {host}: {}",
            plainly(&error, encrypted)
        ))),
        Err(_) => Err(BrokerError::Lost(format!(
            "connect to {host}: no answer within {} s",
            CONNECT_LIMIT.as_secs()
        ))),
    }
}

/// The parts of an address. The library takes `localhost` for each host of IP version 6
/// (`findings/amq-protocol-uri-ipv6-is-localhost.sh`).
pub(super) fn uri_of(address: &SecretString) -> Result<AMQPUri, BrokerError> {
    let address = address.expose_secret();
    let mut uri: AMQPUri = address.parse().map_err(|error| {
        BrokerError::Lost(format!("the broker's address cannot be used: {error}"))
    })?;
    if let Ok(Some(host @ Host::Ipv6(_))) = Url::parse(address).as_ref().map(Url::host) {
        uri.authority.host = host.to_string();
    }
    Ok(uri)
}

/// Why there is no connection; where TLS failed, what that means.
pub(super) fn plainly(error: &lapin::Error, encrypted: bool) -> String {
    let ErrorKind::IOError(broken) = error.kind() else {
        return error.to_string();
    };
    match tls::explain(&**broken) {
        Some(meaning) => meaning.to_owned(),
        // The reason was on its way, and was lost with the connection.
        None if encrypted && broken.kind() == io::ErrorKind::ConnectionReset => {
            format!(
                "{error}; where it asks for a client certificate, it may have refused it, or missed it"
            )
        }
        None => error.to_string(),
    }
}

/// Lets `health` know what happens to the connection.
fn watch(connection: &Connection, health: &Rc<Health>, name: &'static str) {
    let mut events = connection.events_listener();
    let health = Rc::downgrade(health);
    tokio::task::spawn_local(async move {
        while let Some(event) = events.next().await {
            let Some(health) = health.upgrade() else {
                return;
            };
            match event {
                Event::ConnectionBlocked(_) => {
                    tracing::warn!(
                        "the broker accepts no publishes for now: an alarm of its memory or disk"
                    );
                    health.set_blocked(true);
                }
                Event::ConnectionUnblocked => {
                    tracing::info!("the broker accepts publishes again");
                    health.set_blocked(false);
                }
                // A channel's own failure is seen by whoever uses that channel; the connection goes on.
                Event::Error(error) if error.is_amqp_soft_error() => {
                    health.set_closed(error.to_string());
                }
                Event::Error(error) => return health.fail(format!("{name} failed: {error}")),
                _ => {}
            }
        }
    });
}

/// The wait before the next attempt to connect: 0.2 s to 2 s, each up to twice the last, with jitter. It grows no
/// further, so that the worker consumes again within 2 s after the broker is back, in the mean: an attempt costs a
/// broker that starts next to nothing, and a worker that waits costs somebody their answer.
#[must_use]
pub fn reconnect_delay(failures: u32) -> Duration {
    let bound = Duration::from_millis(200)
        .saturating_mul(2u32.saturating_pow(failures.min(16)))
        .min(Duration::from_secs(2));
    bound.mul_f64(rand::random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_that_is_connected_to_is_the_one_that_was_named() {
        let host = |address: &str| uri_of(&address.into()).expect("an address").authority.host;
        for (address, named) in [
            (
                "amqp://user:secret@broker.example:5672/%2f",
                "broker.example",
            ),
            ("amqp://192.0.2.7", "192.0.2.7"),
            (
                "amqps://user:secret@[2001:db8::7]:5671/%2f",
                "[2001:db8::7]",
            ),
        ] {
            assert_eq!(host(address), named);
        }
    }

    #[test]
    fn the_waits_between_attempts_begin_small_and_end_at_two_seconds() {
        let longest = |failures| (0..1000).map(|_| reconnect_delay(failures)).max().unwrap();
        assert!(longest(0) <= Duration::from_millis(200));
        for failures in [3, 10, 1000, u32::MAX] {
            assert!(
                (Duration::from_millis(800)..=Duration::from_secs(2)).contains(&longest(failures)),
                "{failures}"
            );
        }
    }
}
