//! What lies in queues, looked at without touching it.

use std::cell::RefCell;

use futures_util::future::join_all;
use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    types::FieldTable,
};

use super::{BrokerError, CLOSE_LIMIT, Session, asks, topology::answered};

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
        let idle = RefCell::default();
        let depths = asks::each(queues, |queue| self.look(queue, &idle)).await;
        let close = async |channel: Channel| {
            let close = channel.close(200, "seen".into());
            let _ = tokio::time::timeout(CLOSE_LIMIT, close).await;
        };
        join_all(idle.into_inner().into_iter().map(close)).await;
        depths
    }

    /// One of them, by a channel that nobody uses just now.
    async fn look(
        &self,
        queue: &str,
        idle: &RefCell<Vec<Channel>>,
    ) -> Result<Option<Depth>, BrokerError> {
        let kept = idle.borrow_mut().pop();
        let channel = match kept {
            Some(channel) => channel,
            None => self.publishing_channel().await?,
        };
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let look = self.ask_for_queue(&channel, queue, passive, FieldTable::default());
        match look.await {
            Some(Ok(queue)) => {
                idle.borrow_mut().push(channel);
                Ok(Some(Depth {
                    ready: queue.message_count(),
                    consumers: queue.consumer_count(),
                }))
            }
            Some(Err(error)) if !error.is_amqp_soft_error() => Err(BrokerError::Lost(format!(
                "look at the queue {queue}: {error}"
            ))),
            // The broker has closed the channel, or is busy with it.
            _ => Ok(None),
        }
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
