//! What lies in queues, looked at without touching it.

use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    types::FieldTable,
};

use super::{AWAY_LIMIT, BrokerError, CLOSE_LIMIT, Session, topology::answered};

/// A queue at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages that nobody has been given.
    pub ready: u32,
    /// Those who consume from it.
    pub consumers: u32,
}

impl Session {
    /// How much lies in each of these queues; none where there is no such queue, or it is away with its node.
    ///
    /// # Errors
    /// Where the connection is lost.
    pub async fn depths(&self, queues: &[String]) -> Result<Vec<Option<Depth>>, BrokerError> {
        let mut depths = Vec::new();
        let mut channel = self.publishing_channel().await?;
        for queue in queues {
            let options = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            let declare =
                channel.queue_declare(queue.as_str().into(), options, FieldTable::default());
            match tokio::time::timeout(AWAY_LIMIT, declare).await {
                Ok(Ok(queue)) => {
                    depths.push(Some(Depth {
                        ready: queue.message_count(),
                        consumers: queue.consumer_count(),
                    }));
                }
                Ok(Err(error)) if !error.is_amqp_soft_error() => {
                    return Err(BrokerError::Lost(format!(
                        "look at the queue {queue}: {error}"
                    )));
                }
                _ => {
                    depths.push(None);
                    // The broker has closed the other, or is busy with it.
                    channel = self.publishing_channel().await?;
                }
            }
        }
        let _ = tokio::time::timeout(CLOSE_LIMIT, channel.close(200, "seen".into())).await;
        Ok(depths)
    }

    /// Whether there is an exchange of this name. Where the user may not even look, it is taken to be there.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn has_exchange(&self, name: &str) -> Result<bool, BrokerError> {
        let channel = self.publishing_channel().await?;
        let options = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let (kind, arguments) = (ExchangeKind::Topic, FieldTable::default());
        let look = channel.exchange_declare(name.into(), kind, options, arguments);
        match answered("exchange", name, false, look).await {
            Ok(()) => {
                let close = channel.close(200, "seen".into());
                let _ = tokio::time::timeout(CLOSE_LIMIT, close).await;
                Ok(true)
            }
            Err(BrokerError::Foreign(_)) => Ok(false),
            Err(BrokerError::Refused(_)) => Ok(true),
            Err(lost) => Err(lost),
        }
    }

    /// How many messages lie ready in a queue; none if there is no such queue, or it is away with its node.
    ///
    /// # Errors
    /// Where the connection is lost.
    pub async fn depth(&self, queue: &str) -> Result<Option<u32>, BrokerError> {
        let depths = self.depths(&[queue.to_owned()]).await?;
        Ok(depths[0].map(|depth| depth.ready))
    }
}
