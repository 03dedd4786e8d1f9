//! A quota's ledger at the broker: a message stored there is one permission. Why that counts rightly stands in
//! [`policy::quota`](crate::policy::quota).

mod book; // one ledger queue

use std::{cell::Cell, rc::Rc, time::Duration};

use futures_util::future::{LocalBoxFuture, try_join};

use super::{BrokerError, Names, Session, topology::QueueSpec};
use crate::{
    clock::Moment,
    config::{AmqpSettings, QuotaLimit},
    job::Lane,
    policy::quota::{Answer, Counts, Terms, Turn},
    quota::{Ledger, Unheard},
};
use book::{Book, Entry};

/// Those who ask within this time of each other share one look at what counts.
const LOOK_LASTS: Duration = Duration::from_millis(10);

/// One provider's ledgers, as one session reaches them.
pub struct QuotaLedger {
    session: Rc<Session>,
    terms: Terms,
    all: Book,
    /// What bulk needs besides.
    bulk: Book,
    /// What keeps bulk's requests apart.
    spread: Book,
    seen: Cell<Option<(Counts, Moment)>>,
    unheard: Rc<Unheard>,
}

impl QuotaLedger {
    /// The ledgers of a provider, which were declared before.
    #[must_use]
    pub fn new(
        session: &Rc<Session>,
        names: &Names,
        amqp: &AmqpSettings,
        provider: &str,
        limit: &QuotaLimit,
    ) -> Rc<Self> {
        let terms = Terms::of(limit);
        let [all, bulk, spread] = QueueSpec::ledgers(names, provider, &terms);
        Rc::new(Self {
            session: Rc::clone(session),
            terms,
            all: Book::new(all, terms.requests, terms.ttl, amqp.declare),
            bulk: Book::new(bulk, terms.bulk, terms.ttl, amqp.declare),
            spread: Book::new(spread, u32::MAX, Duration::ZERO, amqp.declare),
            seen: Cell::default(),
            unheard: Rc::default(),
        })
    }

    async fn ask_all(&self, lane: Lane, waiting: usize) -> Result<Answer, BrokerError> {
        if lane == Lane::Bulk && !self.may_go(waiting).await? {
            return Ok(Answer::Full(None));
        }
        let asked = Moment::now();
        if lane == Lane::Bulk && !self.bulk.enter(&self.session, Entry::Permission).await? {
            return Ok(Answer::Full(self.bulk.next_expiry()));
        }
        Ok(if self.all.enter(&self.session, Entry::Permission).await? {
            Answer::Granted(self.terms.permission(asked))
        } else {
            Answer::Full(self.all.next_expiry())
        })
    }

    /// Whether a request in bulk may ask for its permission now.
    async fn may_go(&self, waiting: usize) -> Result<bool, BrokerError> {
        let Some(counts) = self.counts().await? else {
            return Ok(false);
        };
        let enter = async |spacing| {
            self.spread
                .enter(&self.session, Entry::Spacing(spacing))
                .await
        };
        Ok(match self.terms.turn(counts, waiting) {
            Turn::Held => false,
            Turn::Spaced(spacing) => enter(spacing).await?,
            Turn::AtOnce(spacing) => {
                enter(spacing).await?;
                true
            }
        })
    }

    /// What counts at the broker; none while one of the ledgers is away.
    async fn counts(&self) -> Result<Option<Counts>, BrokerError> {
        let now = Moment::now();
        if let Some((counts, at)) = self.seen.get()
            && now.since(at) < LOOK_LASTS
        {
            return Ok(Some(counts));
        }
        let looks = try_join(
            self.all.depth(&self.session),
            self.bulk.depth(&self.session),
        );
        let counts = match looks.await? {
            (Some(all), Some(bulk)) => Some(Counts { all, bulk }),
            _ => None,
        };
        self.seen.set(counts.map(|counts| (counts, now)));
        Ok(counts)
    }
}

impl Ledger for QuotaLedger {
    /// Whoever asks may give up, but what is outstanding on a channel must be seen to its end.
    fn ask(self: Rc<Self>, lane: Lane, waiting: usize) -> LocalBoxFuture<'static, Answer> {
        let unheard = Rc::clone(&self.unheard);
        unheard.or_ask(lane, async move {
            match self.ask_all(lane, waiting).await {
                Ok(answer) => answer,
                Err(error) => {
                    self.session.health.fail(error.to_string());
                    Answer::Gone
                }
            }
        })
    }
}
