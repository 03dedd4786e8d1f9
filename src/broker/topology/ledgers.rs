//! The ledgers of a quota at the broker: what they are declared with, and what becomes of one that is otherwise.

use lapin::{
    options::{QueueDeclareOptions, QueueDeleteOptions},
    protocol::AMQPSoftError,
};

use super::{Kind, QueueSpec, answered, is_soft};
use crate::{
    broker::{BrokerError, CALL_LIMIT, CLOSE_LIMIT, Session},
    lane::Lane,
    message::{Names, names},
    policy::quota::Terms,
};

/// What a worker may do where a ledger is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum Making {
    /// It only looks whether it is there.
    Looks,
    /// It sees whether it is as it should be, and leaves it as it is.
    Compares,
    /// It declares it, also in place of one that counts another quota and is empty.
    Declares,
}

/// What to do where a window has another number of ledgers at the broker.
pub(in crate::broker) const OTHER_LEDGERS: &str = "Others count this quota in another number of ledgers (amqp.quota_ledgers): give \
    all workers the same; a number is changed while all are stopped, as docs/upgrading.md says";

/// Whether the broker found a seal where a ledger was expected: it alone keeps what lies in it.
pub(in crate::broker) fn is_sealed(problem: &str) -> bool {
    problem.contains("'x-message-ttl'") && problem.contains("current is none")
}

impl QueueSpec {
    /// All of one window of a provider's quota, in so many ledgers.
    pub(super) fn of_window(names: &Names, owner: &str, terms: &Terms, of: u32) -> Vec<Self> {
        let seal = (of > 1).then(|| Self::seal(names, owner, of));
        let parts = (0..of).zip(Names::parts(owner, of));
        let ledgers = parts.flat_map(|(number, owner)| {
            let (ledgers, spread) = Self::ledgers(names, &owner, &terms.part(number, of));
            ledgers.into_iter().chain(spread)
        });
        seal.into_iter().chain(ledgers).collect()
    }

    /// What has the single ledger's name, where a window has so many.
    pub(in crate::broker) fn seal(names: &Names, owner: &str, ledgers: u32) -> Self {
        Self {
            name: names.quota(owner),
            kind: Kind::Seal {
                ledgers,
                forgets_to: names.room(),
            },
            bindings: Vec::new(),
        }
    }

    /// The ledgers of one window of a provider's quota: that of all requests and that of bulk's; and what keeps these
    /// apart, where it does.
    pub(in crate::broker) fn ledgers(
        names: &Names,
        owner: &str,
        terms: &Terms,
    ) -> ([Self; 2], Option<Self>) {
        let ledger = |name, room, ttl| Self {
            name,
            kind: Kind::Ledger {
                room,
                ttl,
                forgets_to: names.room(),
            },
            bindings: Vec::new(),
        };
        let spread = names.quota_spread(owner);
        let spread = ledger(spread, terms.together(), terms.longest_spacing());
        let counted = [
            ledger(names.quota(owner), terms.requests, terms.ttl),
            ledger(names.quota_share(owner, Lane::Bulk), terms.bulk, terms.ttl),
        ];
        (counted, terms.spreads.then_some(spread))
    }

    /// The one that takes its place where another quota counts.
    pub(in crate::broker) fn next(&self) -> Self {
        Self {
            name: names::next(&self.name),
            ..self.clone()
        }
    }

    /// Deletes a ledger that counts no more.
    ///
    /// # Errors
    /// Where the broker does not answer in time.
    pub(in crate::broker) async fn delete_ledger(
        &self,
        session: &Session,
    ) -> Result<(), BrokerError> {
        let channel = session.publishing_channel().await?;
        let deletion =
            channel.queue_delete(self.name.as_str().into(), QueueDeleteOptions::default());
        crate::broker::bounded(
            &format!("delete the queue {}", self.name),
            CALL_LIMIT,
            deletion,
        )
        .await?;
        let _ = tokio::time::timeout(CLOSE_LIMIT, channel.close(200, "deleted".into())).await;
        Ok(())
    }

    /// Declares a ledger, or checks that it is there, and says whether it is. One that is away for now, with the node
    /// that it lives on, is no error: its quota gives nothing until it is back, and other providers go on.
    ///
    /// # Errors
    /// [`BrokerError::Foreign`] where it counts another quota and is in use.
    pub(in crate::broker) async fn establish_ledger(
        &self,
        session: &Session,
        making: Making,
    ) -> Result<bool, BrokerError> {
        let declare = making != Making::Looks;
        let declared = self.declare_classic(session, declare).await;
        if making != Making::Declares {
            return declared;
        }
        match declared {
            Err(BrokerError::Foreign(problem)) if is_sealed(&problem) => {
                Err(BrokerError::Foreign(format!("{problem}. {OTHER_LEDGERS}")))
            }
            Err(BrokerError::Foreign(_)) if self.delete_if_empty(session).await? => {
                tracing::info!(
                    queue = self.name,
                    "the quota was changed; its ledger, which was empty, is made anew"
                );
                self.declare_classic(session, declare).await
            }
            Err(BrokerError::Foreign(problem)) => Err(BrokerError::Foreign(format!(
                "{problem}. The queue counts the requests of another quota, and they are not forgotten yet: give the \
                 workers that run this one's quota and send them SIGHUP, or start this one again once all are stopped \
                 and the quota's window has passed; it then replaces the queue by itself"
            ))),
            outcome => outcome,
        }
    }

    /// Declares a classic queue; says whether it is there. It may be away, with the node that it lives on.
    pub(in crate::broker) async fn declare_classic(
        &self,
        session: &Session,
        declare: bool,
    ) -> Result<bool, BrokerError> {
        // What is refused closes the channel.
        let channel = session.publishing_channel().await?;
        let options = QueueDeclareOptions {
            durable: true,
            passive: !declare,
            ..QueueDeclareOptions::default()
        };
        let arguments = self.arguments_of_classic();
        let declaration = session.ask_for_queue(&channel, &self.name, options, arguments);
        let away = |reason: &dyn std::fmt::Display| {
            // A seal that is away holds nothing up.
            if !matches!(self.kind, Kind::Seal { .. }) {
                tracing::warn!(queue = self.name, %reason, "a queue is away with its node; a quota gives nothing without");
            }
            Ok(false)
        };
        match declaration.await {
            Some(Err(error)) if declare && is_soft(&error, AMQPSoftError::NOTFOUND) => {
                return away(&error);
            }
            Some(outcome) => {
                answered("queue", &self.name, declare, std::future::ready(outcome)).await?;
            }
            None if session.health.is_well() => return away(&"no answer in time"),
            None => {
                return Err(BrokerError::Lost(format!(
                    "declare the queue {}: no answer in time",
                    self.name
                )));
            }
        }
        let _ = tokio::time::timeout(CLOSE_LIMIT, channel.close(200, "declared".into())).await;
        Ok(true)
    }

    /// An empty ledger counts nothing any more, so nothing is forgotten with it.
    pub(in crate::broker) async fn delete_if_empty(
        &self,
        session: &Session,
    ) -> Result<bool, BrokerError> {
        let channel = session.publishing_channel().await?;
        let options = QueueDeleteOptions {
            if_empty: true,
            ..QueueDeleteOptions::default()
        };
        let deletion = channel.queue_delete(self.name.as_str().into(), options);
        let deleted = match tokio::time::timeout(CALL_LIMIT, deletion).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) if error.is_amqp_soft_error() => return Ok(false),
            Ok(Err(error)) => {
                return Err(BrokerError::Lost(format!(
                    "delete the queue {}: {error}",
                    self.name
                )));
            }
            Err(_) => {
                return Err(BrokerError::Lost(format!(
                    "delete the queue {}: no answer in time",
                    self.name
                )));
            }
        };
        let _ = tokio::time::timeout(CLOSE_LIMIT, channel.close(200, "deleted".into())).await;
        Ok(deleted)
    }

    /// Whether it counts a quota, or keeps others from counting it otherwise.
    pub(in crate::broker) fn is_ledger(&self) -> bool {
        matches!(self.kind, Kind::Ledger { .. } | Kind::Seal { .. })
    }

    /// Whether another may have taken its place.
    pub(in crate::broker) fn has_next(&self) -> bool {
        matches!(self.kind, Kind::Ledger { .. })
    }
}
