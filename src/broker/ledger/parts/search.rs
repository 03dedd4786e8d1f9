//! The search for ledgers that are not there: they are found where they are, or made on their node.

use std::rc::{Rc, Weak};

use futures_util::future::join_all;
use tokio::{sync::oneshot, time::sleep};

use super::{AGAIN, QuotaLedgers};
use crate::{
    broker::{
        BrokerError, Session,
        ledger::{QuotaLedger, part::Part, seal::Sealed},
        topology::Making,
    },
    clock::Moment,
};

/// Looks as long as the session and the ledgers are in use.
pub(super) async fn keep(
    ledgers: Weak<QuotaLedgers>,
    first_look: oneshot::Sender<Result<(), BrokerError>>,
) {
    let mut first_look = Some(first_look);
    while let Some(ledgers) = ledgers.upgrade() {
        let ended = ledgers.session.health.ended();
        let looked = tokio::select! {
            looked = ledgers.look() => looked,
            _ = ended => return,
        };
        let is_first = first_look.take();
        match looked {
            Err(BrokerError::Lost(reason)) => return ledgers.session.health.fail(reason),
            Err(problem) if ledgers.already.get() || is_first.is_none() => {
                ledgers.told.tell(&ledgers.owner, &problem.to_string());
            }
            Err(problem) => {
                if let Some(first_look) = is_first {
                    let _ = first_look.send(Err(problem));
                }
                return;
            }
            Ok(()) => {
                if let Some(first_look) = is_first {
                    let _ = first_look.send(Ok(()));
                }
                ledgers.already.set(true);
            }
        }
        drop(ledgers);
        sleep(AGAIN).await;
    }
}

impl QuotaLedgers {
    /// Looks for what is not there, and declares it where it may.
    async fn look(&self) -> Result<(), BrokerError> {
        let now = Moment::now();
        if !self.parts.iter().any(|part| part.is_wanted(now)) {
            return Ok(());
        }
        let Some(seal) = &self.seal else {
            return Ok(());
        };
        let sealed = seal.establish(&self.session, self.making).await?;
        let wanted = self
            .parts
            .iter()
            .enumerate()
            .filter(|(_, part)| part.is_wanted(now));
        let looks = join_all(wanted.map(|(number, part)| self.find(number, part, sealed))).await;
        looks.into_iter().collect()
    }

    /// Finds a part, or makes it on its node; a part that is away, or whose node is, stays away.
    async fn find(&self, number: usize, part: &Part, sealed: Sealed) -> Result<(), BrokerError> {
        let known = part.ledger.borrow().clone();
        if known.is_none() && self.take(part).await? {
            return Ok(());
        }
        if self.making == Making::Looks || sealed != Sealed::Surely {
            return Ok(());
        }
        let made = match Session::open_at(&self.amqp, number).await {
            Ok(home) => {
                let made = self.make(&home, part).await;
                home.close().await;
                made
            }
            Err(error) => Err(error),
        };
        match made {
            Ok(made) if made.is_trusted() => match known {
                Some(known) => known.is_back(),
                None => _ = self.take(part).await?,
            },
            Ok(_) => {}
            Err(BrokerError::Lost(reason)) => part.told.tell(&part.owner, &reason),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Declares what is not there, by way of its node.
    async fn make(&self, home: &Rc<Session>, part: &Part) -> Result<Rc<QuotaLedger>, BrokerError> {
        let (names, already) = (&self.names, self.already.get());
        let (owner, terms) = (&part.owner, part.terms);
        QuotaLedger::open(home, names, Making::Declares, owner, terms, already).await
    }

    /// Counts in it from now on, if it is there and as it should be.
    async fn take(&self, part: &Part) -> Result<bool, BrokerError> {
        let making = match self.making {
            Making::Looks => Making::Looks,
            Making::Compares | Making::Declares => Making::Compares,
        };
        let (session, names, already) = (&self.session, &self.names, self.already.get());
        let probe = QuotaLedger::new(session, names, making, &part.owner, part.terms, 0);
        if !probe.is_there().await? {
            return Ok(false);
        }
        match QuotaLedger::open(session, names, making, &part.owner, part.terms, already).await {
            Ok(ledger) if ledger.is_trusted() => {
                part.ledger.replace(Some(ledger));
                Ok(true)
            }
            Ok(_) => Ok(true),
            Err(BrokerError::Foreign(_)) if making == Making::Compares => Ok(false),
            Err(error) => Err(error),
        }
    }
}
