//! The ledgers of one window of a quota: one, or several of which each counts a part, on a node of its own. Then a node
//! that is away costs its share. Why the parts together hold the quota stands in
//! [`policy::quota`](crate::policy::quota).
//!
//! A part is declared by way of its node's own address, since a classic queue lives where it was declared. What is not
//! there now is looked for again and again, beside the work.

mod search; // what is not there is looked for

use std::{cell::Cell, rc::Rc, time::Duration};

use futures_util::future::LocalBoxFuture;
use tokio::{
    sync::oneshot,
    task::spawn_local,
    time::{sleep, timeout},
};

use self::search::keep;
use super::{
    QuotaLedger,
    part::{Part, Told, refused_by_all},
    seal::Seal,
};
use crate::{
    broker::{BrokerError, Session, topology::Making},
    clock::Moment,
    config::AmqpSettings,
    lane::Lane,
    message::Names,
    policy::quota::{Decision, Terms},
    quota::Ledger,
};

/// A session waits for so long at most until all parts that are there are known: more may be learned later.
const SOON: Duration = Duration::from_millis(1500);

/// Between two looks for parts that are not there.
pub(super) const AGAIN: Duration = Duration::from_secs(2);

/// One window's ledgers, as one session reaches them.
pub struct QuotaLedgers {
    pub(super) session: Rc<Session>,
    pub(super) names: Names,
    /// Where the nodes are.
    pub(super) amqp: AmqpSettings,
    pub(super) making: Making,
    pub(super) owner: String,
    terms: Terms,
    pub(super) parts: Vec<Part>,
    /// None where there is but one.
    pub(super) seal: Option<Seal>,
    /// A worker that runs follows a ledger that counts another quota.
    pub(super) already: Cell<bool>,
    /// Who is asked first: each in turn, so that all are used alike.
    first: Cell<usize>,
    pub(super) told: Told,
}

impl QuotaLedgers {
    /// The ledgers of a provider, or of a longer window ([`Names::longer`]); what is missing is declared. A worker that
    /// runs `already` follows those that count another quota.
    ///
    /// # Errors
    /// [`BrokerError::Foreign`] where another quota is counted, or this one in another number of ledgers, and in use.
    pub async fn open(
        session: &Rc<Session>,
        amqp: &AmqpSettings,
        owner: &str,
        terms: Terms,
        already: bool,
    ) -> Result<Rc<Self>, BrokerError> {
        let making = if amqp.declare {
            Making::Declares
        } else {
            Making::Looks
        };
        let ledgers = Self::new(session, amqp, making, owner, terms, already);
        if let [only] = &*ledgers.parts {
            let names = &ledgers.names;
            let ledger = QuotaLedger::open(session, names, making, owner, terms, already).await?;
            only.ledger.replace(Some(ledger));
        } else {
            ledgers.look_now_and_later().await?;
        }
        Ok(ledgers)
    }

    fn new(
        session: &Rc<Session>,
        amqp: &AmqpSettings,
        making: Making,
        owner: &str,
        terms: Terms,
        already: bool,
    ) -> Rc<Self> {
        let (names, of) = (Names::new(&amqp.prefix), amqp.quota_ledgers);
        let parts = (0..of).zip(Names::parts(owner, of));
        let parts = parts.map(|(number, owner)| Part::new(owner, terms.part(number, of)));
        Rc::new(Self {
            session: Rc::clone(session),
            seal: (of > 1).then(|| Seal::new(&names, owner, &terms, of)),
            names,
            amqp: amqp.clone(),
            making,
            owner: owner.to_owned(),
            terms,
            parts: parts.collect(),
            already: Cell::new(already),
            first: Cell::default(),
            told: Told::default(),
        })
    }

    /// Those of another quota, which take the place of these: from now on both count.
    ///
    /// # Errors
    /// [`BrokerError::Foreign`] where the change before this one is not over yet, and [`BrokerError::Lost`] where one
    /// of the ledgers is away.
    pub async fn change(&self, terms: Terms) -> Result<Rc<Self>, BrokerError> {
        let (owner, session) = (&*self.owner, &self.session);
        let next = Self::new(session, &self.amqp, self.making, owner, terms, true);
        let mut pairs = Vec::new();
        for (part, next) in self.parts.iter().zip(&next.parts) {
            let ledger = part.ledger.borrow().clone();
            match ledger {
                Some(ledger) if self.seal.is_none() || ledger.is_there().await? => {
                    pairs.push((ledger, next));
                }
                _ => {
                    return Err(BrokerError::Lost(format!(
                        "the ledger {} is away with its node; change the quota once it is back",
                        self.names.quota(&part.owner)
                    )));
                }
            }
        }
        for (number, (ledger, next)) in pairs.into_iter().enumerate() {
            let home = match &self.seal {
                Some(_) => Some(Session::open_at(&self.amqp, number).await?),
                None => None,
            };
            let by = home.as_ref().unwrap_or(session);
            let changed = ledger
                .change(by, &self.names, &next.owner, next.terms)
                .await;
            if let Some(home) = home {
                home.close().await;
            }
            next.ledger.replace(Some(changed?));
        }
        if next.seal.is_some() {
            let (first_look, _) = oneshot::channel();
            spawn_local(keep(Rc::downgrade(&next), first_look));
        }
        Ok(next)
    }

    /// Deletes the ledgers of the terms before, once what they counted is past; one that is away, once it is back.
    ///
    /// # Errors
    /// Where the broker does not answer in time.
    pub async fn retire(&self, before: &Terms) -> Result<(), BrokerError> {
        let over = Moment::now().after(self.terms.overlap(before));
        loop {
            let left = over.since(Moment::now());
            if left.is_zero() {
                break;
            }
            sleep(left).await;
        }
        for part in &self.parts {
            loop {
                let ledger = part.ledger.borrow().clone();
                if let Some(ledger) = ledger
                    && (self.seal.is_none() || ledger.is_there().await?)
                {
                    ledger.retire().await?;
                    break;
                }
                sleep(AGAIN).await;
            }
        }
        Ok(())
    }

    /// The session that they are reached by.
    #[must_use]
    pub fn session(&self) -> Rc<Session> {
        Rc::clone(&self.session)
    }

    /// The queues that count all requests, without those that are not there.
    #[must_use]
    pub fn queues(&self) -> Vec<String> {
        let ledgers = self.parts.iter().filter_map(|part| {
            let ledger = part.ledger.borrow();
            let ledger = ledger.as_ref()?;
            let is_counted = self.seal.is_none() || ledger.missing_since().is_none();
            is_counted.then(|| ledger.queue().to_owned())
        });
        ledgers.collect()
    }

    async fn look_now_and_later(self: &Rc<Self>) -> Result<(), BrokerError> {
        let (first_look, seen) = oneshot::channel();
        spawn_local(keep(Rc::downgrade(self), first_look));
        match timeout(SOON, seen).await {
            Ok(Ok(seen)) => seen,
            _ => Ok(()),
        }
    }

    async fn ask_each(&self, lane: Lane, waiting: usize) -> Decision {
        let (first, of) = (self.first.get(), self.parts.len());
        self.first.set((first + 1) % of);
        let mut refusals = Vec::new();
        for part in (first..first + of).map(|number| &self.parts[number % of]) {
            match part.ask(lane, waiting).await {
                Some(decision @ (Decision::Granted(_) | Decision::Gone)) => return decision,
                refusal => refusals.extend(refusal),
            }
        }
        refused_by_all(&refusals)
    }
}

impl Ledger for QuotaLedgers {
    fn ask(self: Rc<Self>, lane: Lane, waiting: usize) -> LocalBoxFuture<'static, Decision> {
        let only = match &*self.parts {
            [only] => only.ledger.borrow().clone(),
            _ => None,
        };
        match only {
            Some(ledger) => ledger.ask(lane, waiting),
            None => Box::pin(async move { self.ask_each(lane, waiting).await }),
        }
    }
}
