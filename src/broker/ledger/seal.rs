//! The seal on a single ledger's name, where the quota is counted in several. It is a queue with room for one message,
//! and that message stays: whoever would count in one ledger is refused there, be it an older worker or one that is
//! configured otherwise, and a queue that is not empty is replaced by nobody. Why that is needed stands in
//! [`policy::quota`](crate::policy::quota).

use lapin::BasicProperties;

use crate::{
    broker::{
        BrokerError, CLOSE_LIMIT, Session, publisher,
        topology::{Making, OTHER_LEDGERS, QueueSpec, is_sealed},
        word::Word,
    },
    message::Names,
    policy::quota::Terms,
};

/// What whoever finds the message may read.
const TEXT: &str = "This quota is counted in several ledgers, whose names end in a number. This message keeps workers \
    that count it in one from doing so.";

/// The seal of one window.
pub(super) struct Seal {
    queue: QueueSpec,
    /// What a single ledger may have left, and what has nothing that must be kept.
    leftovers: Vec<QueueSpec>,
    spread: Option<QueueSpec>,
}

/// Whether the name is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sealed {
    /// It is, and so it stays.
    Surely,
    /// It is away with its node. A part that is there was declared after it was sealed; no other may be declared.
    AsItWas,
}

impl Seal {
    pub fn new(names: &Names, owner: &str, terms: &Terms, ledgers: u32) -> Self {
        let ([all, bulk], spread) = QueueSpec::ledgers(names, owner, terms);
        Self {
            queue: QueueSpec::seal(names, owner, ledgers),
            leftovers: vec![all.next(), bulk.next(), bulk],
            spread,
        }
    }

    /// Seals the name, where that was not done yet and nothing counts under it any more.
    ///
    /// # Errors
    /// [`BrokerError::Foreign`] where a single ledger, or another number of them, counts the quota.
    pub async fn establish(
        &self,
        session: &Session,
        making: Making,
    ) -> Result<Sealed, BrokerError> {
        let declare = making != Making::Looks;
        let is_there = match self.queue.declare_classic(session, declare).await {
            Err(BrokerError::Foreign(problem)) if declare => {
                self.replace(session, &problem).await?
            }
            outcome => outcome?,
        };
        if !is_there {
            return Ok(Sealed::AsItWas);
        }
        if session.depth(&self.queue.name).await?.unwrap_or(0) > 0 {
            return Ok(Sealed::Surely);
        }
        if declare {
            self.clear(session).await?;
        }
        self.close(session).await?;
        // An older worker may have replaced it while it was empty.
        let is_there = self.queue.declare_classic(session, declare).await?;
        let is_full = session.depth(&self.queue.name).await? == Some(1);
        Ok(if is_there && is_full {
            Sealed::Surely
        } else {
            Sealed::AsItWas
        })
    }

    /// The single ledger makes room for the seal where it counts nothing any more.
    async fn replace(&self, session: &Session, problem: &str) -> Result<bool, BrokerError> {
        if self.queue.delete_if_empty(session).await? {
            return self.queue.declare_classic(session, true).await;
        }
        let why = if is_sealed(problem) || problem.contains("'x-dead-letter-routing-key'") {
            OTHER_LEDGERS
        } else {
            "The queue counts this quota in one ledger, and what it counted is not forgotten yet: stop all workers, and \
             start this one again once the quota's window has passed; or set amqp.quota_ledgers = 1"
        };
        Err(BrokerError::Foreign(format!("{problem}. {why}")))
    }

    /// Deletes what a single ledger has left. Where something counts there yet, nothing is sealed.
    async fn clear(&self, session: &Session) -> Result<(), BrokerError> {
        for queue in &self.leftovers {
            if !queue.delete_if_empty(session).await? {
                return Err(BrokerError::Foreign(format!(
                    "the queue {} counts this quota in one ledger, or is away with its node: stop all workers, and start \
                     this one again once the quota's window has passed and the node is back; or set amqp.quota_ledgers \
                     = 1",
                    queue.name
                )));
            }
        }
        if let Some(spread) = &self.spread {
            spread.delete_ledger(session).await?;
        }
        Ok(())
    }

    /// Puts the message into it. Where another worker was first, there is no room for a second.
    async fn close(&self, session: &Session) -> Result<(), BrokerError> {
        let channel = session.publisher.confirming_channel().await?;
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("text/plain".into());
        let name = &self.queue.name;
        let text = TEXT.as_bytes();
        let word = session
            .publisher
            .send(&channel, "", name, true, text, properties)
            .await?;
        if word == Word::Silence {
            return Err(publisher::silence());
        }
        let _ = tokio::time::timeout(CLOSE_LIMIT, channel.close(200, "sealed".into())).await;
        Ok(())
    }
}
