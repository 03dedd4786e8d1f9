//! What the broker tells of itself, asked for by `check` alone.

use std::{io, time::Duration};

use futures_util::{AsyncReadExt, AsyncWriteExt};
use lapin::{
    options::BasicPublishOptions,
    protocol::BasicProperties,
    tcp::AMQPUriTcpExt,
    types::{FieldTable, parsing::parse_field_table},
    uri::AMQPScheme,
};
use secrecy::SecretString;

use super::{
    BrokerError, CONNECT_LIMIT, Session,
    browse::table,
    connection::{client_tls, uri_of},
};
use crate::tls::TlsMaterial;

/// The first frame of a broker: type 1, channel 0, its size; class 10, method 10, version 0.9.
const HEAD: usize = 7;
const METHOD: usize = 6;
/// More is no greeting.
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

impl Greeting {
    /// Connects, reads the greeting and goes.
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
            let runtime = lapin::runtime::default_runtime().map_err(io::Error::other)?;
            let mut stream = uri
                .connect_with_config_async(client_tls(tls).as_ref(), &runtime)
                .await?;
            stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
            stream.flush().await?;
            let mut head = [0; HEAD];
            stream.read_exact(&mut head).await?;
            let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
            let mut payload = vec![0; size.min(LONGEST)];
            stream.read_exact(&mut payload).await?;
            io::Result::Ok(payload)
        };
        let lost = |problem: String| BrokerError::Lost(format!("the broker's greeting: {problem}"));
        let payload = tokio::time::timeout(CONNECT_LIMIT, greeted).await;
        let payload = payload
            .map_err(|_| lost("none in time".into()))?
            .map_err(|error| lost(error.to_string()))?;
        Self::read(at, &payload).ok_or_else(|| lost("it is none that can be read".into()))
    }

    /// Of the payload of `connection.start`.
    fn read(at: String, payload: &[u8]) -> Option<Self> {
        let properties = payload
            .strip_prefix(&[0, 10, 0, 10, 0, 9])
            .filter(|rest| rest.len() < LONGEST - METHOD)?;
        let (_, properties): (&[u8], FieldTable) = parse_field_table(properties).ok()?;
        let properties = table(&properties);
        let text = |key: &str| {
            properties
                .get(key)
                .and_then(|value| value.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        Some(Self {
            at,
            product: text("product"),
            version: text("version"),
        })
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
