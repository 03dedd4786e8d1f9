//! What the broker tells of itself, asked for by `check` alone.

use std::{fmt, io, time::Duration};

use amq_protocol::{
    auth::Credentials,
    protocol::connection::{
        AMQPMethod, Close, Open, StartOk, TuneOk, gen_connection, parse_connection,
    },
};
use lapin::{
    options::BasicPublishOptions, protocol::BasicProperties, types::FieldTable, uri::AMQPScheme,
    uri::AMQPUri,
};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    BrokerError, CONNECT_LIMIT, Session,
    browse::table,
    connection::uri_of,
    transport::{self, Socket},
};
use crate::tls::TlsMaterial;

/// Before anything else.
const PROTOCOL: &[u8] = b"AMQP\0\x00\x09\x01";
/// A frame's type, channel and size.
const HEAD: usize = 7;
/// The type of a frame that holds a method.
const METHOD: u8 = 1;
/// The class of a connection's methods, with which each begins; `gen_connection` writes it too.
const CONNECTION: [u8; 2] = 10_u16.to_be_bytes();
/// The byte at a frame's end.
const END: u8 = 0xCE;
/// More is no part of a greeting.
const LONGEST: usize = 64 * 1024;

/// How a broker greets whoever connects. The client library keeps it to itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Greeting {
    /// Host and port, and whether by TLS.
    pub at: String,
    /// As `RabbitMQ`.
    pub product: String,
    /// As `3.10.8`.
    pub version: String,
}

/// A version as numbers: major, minor, patch; what is no number is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl Greeting {
    /// Connects, reads the greeting and goes, as politely as any client: who just closes the connection leaves a
    /// warning in the broker's log.
    ///
    /// # Errors
    /// Where none comes in time.
    pub async fn of(address: &SecretString, tls: &TlsMaterial) -> Result<Self, BrokerError> {
        let uri = uri_of(address)?;
        let by_tls = if uri.scheme == AMQPScheme::AMQPS {
            " by TLS"
        } else {
            ""
        };
        let at = format!("{}:{}{by_tls}", uri.authority.host, uri.authority.port);
        let greeted = async {
            let encryption = transport::encryption(&uri, tls)?;
            let socket = transport::open(&uri, &encryption).await?;
            Conversation { socket }.greet(&uri).await
        };
        let lost = |problem: String| BrokerError::Lost(format!("the broker's greeting: {problem}"));
        let properties = tokio::time::timeout(CONNECT_LIMIT, greeted).await;
        let properties = properties
            .map_err(|_| lost("none in time".into()))?
            .map_err(|error| lost(error.to_string()))?;
        Ok(Self::read(at, &properties))
    }

    fn read(at: String, properties: &FieldTable) -> Self {
        let properties = table(properties);
        let text = |key: &str| {
            properties
                .get(key)
                .and_then(|value| value.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            at,
            product: text("product"),
            version: text("version"),
        }
    }

    /// The version, to be compared.
    #[must_use]
    pub fn number(&self) -> Version {
        let digits = |part: &str| {
            let end = part.find(|c: char| !c.is_ascii_digit());
            part[..end.unwrap_or(part.len())].parse().unwrap_or(0)
        };
        let mut parts = self.version.split('.').map(digits);
        let mut next = || parts.next().unwrap_or(0);
        Version(next(), next(), next())
    }
}

/// A connection of which nothing but its begin and its end is wanted.
struct Conversation {
    socket: Box<dyn Socket>,
}

impl Conversation {
    /// What the broker says of itself.
    async fn greet(mut self, uri: &AMQPUri) -> io::Result<FieldTable> {
        self.send(PROTOCOL).await?;
        let AMQPMethod::Start(start) = self.receive().await? else {
            return Err(io::Error::other("it is none that can be read"));
        };
        // It was said; how the rest goes is no matter.
        let _ = self.leave(uri).await;
        Ok(start.server_properties)
    }

    async fn leave(&mut self, uri: &AMQPUri) -> io::Result<()> {
        let mechanism = uri.query.auth_mechanism.unwrap_or_default();
        let credentials = Credentials::from(uri.authority.userinfo.clone());
        self.say(AMQPMethod::StartOk(StartOk {
            client_properties: FieldTable::default(),
            mechanism: mechanism.name().into(),
            response: credentials.sasl_auth_string(mechanism),
            locale: "en_US".into(),
        }))
        .await?;
        let AMQPMethod::Tune(tune) = self.receive().await? else {
            return Ok(());
        };
        self.say(AMQPMethod::TuneOk(TuneOk {
            channel_max: tune.channel_max,
            frame_max: tune.frame_max,
            heartbeat: 0,
        }))
        .await?;
        self.say(AMQPMethod::Open(Open {
            virtual_host: uri.vhost.as_str().into(),
        }))
        .await?;
        self.receive().await?;
        self.say(AMQPMethod::Close(Close {
            reply_code: 200,
            reply_text: "goodbye".into(),
            class_id: 0,
            method_id: 0,
        }))
        .await?;
        self.receive().await.map(drop)
    }

    /// Frames are put together by hand: the library's functions for whole frames bring all of AMQP's methods along.
    async fn say(&mut self, method: AMQPMethod) -> io::Result<()> {
        let written = gen_connection(&method)(Vec::new().into()).map_err(io::Error::other)?;
        let (method, _) = written.into_inner();
        let size = u32::try_from(method.len()).map_err(io::Error::other)?;
        let head = [METHOD, 0, 0];
        self.send(&[&head[..], &size.to_be_bytes(), &method, &[END]].concat())
            .await
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }

    async fn receive(&mut self) -> io::Result<AMQPMethod> {
        let unreadable = || io::Error::other("it is none that can be read");
        let mut head = [0; HEAD];
        self.socket.read_exact(&mut head).await?;
        let [METHOD, 0, 0, size @ ..] = head else {
            return Err(unreadable());
        };
        let size = u32::from_be_bytes(size) as usize;
        let mut frame = vec![0; size.min(LONGEST) + 1];
        self.socket.read_exact(&mut frame).await?;
        let method = frame.strip_prefix(&CONNECTION);
        let method = method.and_then(|method| method.strip_suffix(&[END]));
        let parsed = parse_connection(method.ok_or_else(unreadable)?);
        parsed.map(|(_, method)| method).map_err(|_| unreadable())
    }
}

impl Session {
    /// Whether the broker accepts publishes; while its memory or disk runs short it does not, and says so only to
    /// those who publish. To be asked last: the connection is of no use then.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn accepts_publishes(&self) -> Result<bool, BrokerError> {
        let channel = self.publishing_channel().await?;
        // To a queue that nobody has: the message goes nowhere.
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let publish = channel.basic_publish(
            "".into(),
            "lookup-worker.check".into(),
            options,
            b"",
            properties,
        );
        super::bounded("basic.publish", super::CALL_LIMIT, publish).await?;
        let blocked = async {
            while !self.health.is_blocked() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Whom it blocks it does not read any further, so that no answer comes.
        tokio::select! {
            () = blocked => Ok(false),
            answer = self.publishing_channel() => answer.map(|_| !self.health.is_blocked()),
        }
    }
}
