//! Whether the user may do on this broker what a worker does there, tried without leaving anything behind.

use std::future::ready;

use lapin::{BasicProperties, Channel, ErrorKind, options::BasicPublishOptions, types::FieldTable};
use tokio::time::timeout;

use super::{BrokerError, CALL_LIMIT, CLOSE_LIMIT, Cures, Expected, Session, topology::answered};

/// How often a publish is tried whose refusal may have been missed.
const TRIES: u32 = 10;

/// A right that the user lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRight {
    /// Which, as the broker says.
    pub problem: String,
    /// The command that gives the user what a worker needs.
    pub mend: String,
}

impl Expected {
    /// The first right that is missing, of those that no declaration tries: to publish, to be answered. To be asked
    /// where the broker accepts publishes; what is not there is passed over, since that is an error in the broker's
    /// log.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn missing_right(
        &self,
        session: &Session,
        cures: &Cures,
        is_there: impl Fn(&str) -> bool,
    ) -> Result<Option<MissingRight>, BrokerError> {
        let names = &self.names;
        let (jobs, dead) = (names.jobs_exchange(), names.dead());
        // The default exchange leads to reply queues, delay queues and ledgers.
        let exchanges = ["", &jobs, names.results(), &dead];
        for exchange in exchanges.into_iter().filter(|name| is_there(name)) {
            if let Some(problem) = refused(may_publish(session, exchange).await)? {
                let mend = self.permit(session, cures, &problem);
                return Ok(Some(MissingRight { problem, mend }));
            }
        }
        if !is_there(&names.room()) {
            return Ok(None);
        }
        // As notices are heard.
        let bound = may_bind(session, &dead, &names.room()).await;
        Ok(refused(bound)?.map(|problem| MissingRight {
            mend: self.permit(session, cures, &problem),
            problem,
        }))
    }
}

fn refused(tried: Result<(), BrokerError>) -> Result<Option<String>, BrokerError> {
    match tried {
        Ok(()) | Err(BrokerError::Foreign(_)) => Ok(None),
        Err(BrokerError::Refused(problem)) => Ok(Some(problem)),
        Err(lost @ BrokerError::Lost(_)) => Err(lost),
    }
}

/// The broker's refusal closes the channel. Where that happens before the channel is used again, the client tells of
/// the closed channel and not of the refusal; then it is tried on another one.
async fn may_publish(session: &Session, exchange: &str) -> Result<(), BrokerError> {
    let name = if exchange.is_empty() {
        "amq.default"
    } else {
        exchange
    };
    let mut tries = 1;
    loop {
        let channel = session.publishing_channel().await?;
        let published = timeout(CALL_LIMIT, publish_nothing(&channel, exchange)).await;
        let is_closed = |error: &lapin::Error| {
            matches!(error.kind(), ErrorKind::InvalidChannelState(..)) && tries < TRIES
        };
        match published {
            Ok(Err(error)) if is_closed(&error) => tries += 1,
            Ok(published) => {
                answered("exchange", name, false, ready(published)).await?;
                let _ = timeout(CLOSE_LIMIT, channel.close(200, "seen".into())).await;
                return Ok(());
            }
            Err(_) => {
                let problem = format!("publish to {name}: no answer in time");
                return Err(BrokerError::Lost(problem));
            }
        }
    }
}

/// What a transaction publishes is nowhere until it is committed; the right is looked at before.
async fn publish_nothing(channel: &Channel, exchange: &str) -> lapin::Result<()> {
    channel.tx_select().await?;
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let key = "lookup-worker.check".into();
    let publish = channel.basic_publish(exchange.into(), key, options, b"", properties);
    publish.await?;
    channel.tx_rollback().await
}

/// To undo a binding takes the rights that it takes to make one, and nothing is wrong where there is none.
async fn may_bind(session: &Session, queue: &str, exchange: &str) -> Result<(), BrokerError> {
    let channel = session.publishing_channel().await?;
    let key = "lookup-worker.check".into();
    let unbind = channel.queue_unbind(queue.into(), exchange.into(), key, FieldTable::default());
    answered("exchange", exchange, false, unbind).await?;
    let _ = timeout(CLOSE_LIMIT, channel.close(200, "seen".into())).await;
    Ok(())
}
