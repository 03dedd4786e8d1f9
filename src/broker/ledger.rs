//! A quota's ledger at the broker: a message stored there is one permission. Why that counts rightly stands in
//! [`policy::quota`](crate::policy::quota).
//!
//! A quota has one of two ledgers: while it is changed, both are there, and each permission is counted in both.

mod book; // one ledger queue

use std::{cell::Cell, rc::Rc, time::Duration};

use futures_util::future::{LocalBoxFuture, try_join};

use super::{BrokerError, Names, Session, topology::QueueSpec};
use crate::{
    clock::Moment,
    config::AmqpSettings,
    job::Lane,
    policy::quota::{Answer, Counts, Permission, Terms, Turn},
    quota::{Ledger, Unheard},
};
use book::{Book, Entered, Entry};

/// Those who ask within this time of each other share one look at what counts.
const LOOK_LASTS: Duration = Duration::from_millis(10);

/// One provider's ledgers, as one session reaches them.
pub struct QuotaLedger {
    session: Rc<Session>,
    terms: Terms,
    pair: [Queues; 2],
    /// Which of the two is as this worker's terms say.
    mine: usize,
    /// Which was there when last seen; this worker's where both were.
    counting: Cell<usize>,
    /// Only one was there.
    alone: Cell<bool>,
    /// Which refused last: it is asked first.
    tighter: Cell<usize>,
    seen: Cell<Option<(Counts, Moment)>>,
    unheard: Rc<Unheard>,
}

/// The queues of one ledger.
struct Queues {
    all: Book,
    /// What bulk needs besides.
    bulk: Book,
    /// What keeps bulk's requests apart, where it does.
    spread: Option<Book>,
}

/// Who counts a permission.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// The ledger of this worker's terms, and no other.
    ByMine,
    /// Another, alone or too.
    ByOther,
}

impl QuotaLedger {
    /// The ledgers of a provider, or of a longer window ([`Names::longer`]); what is missing is declared. A worker that
    /// runs `already` follows one that counts another quota.
    ///
    /// # Errors
    /// [`BrokerError::Foreign`] where another quota is counted, and in use.
    pub async fn open(
        session: &Rc<Session>,
        names: &Names,
        amqp: &AmqpSettings,
        owner: &str,
        terms: Terms,
        already: bool,
    ) -> Result<Rc<Self>, BrokerError> {
        let made = |mine| Self::new(session, names, amqp, owner, terms, mine);
        let mut ledger = made(0);
        let here = ledger.there().await?;
        let first = usize::from(here == [false, true]);
        if first != ledger.mine {
            ledger = made(first);
        }
        match ledger.pair[first].establish(session).await {
            Err(BrokerError::Foreign(_)) if here == [true, true] => {
                ledger = made(1);
                ledger.pair[1].establish(session).await?;
            }
            Err(BrokerError::Foreign(problem)) if already => {
                tracing::warn!(
                    provider = owner,
                    problem,
                    "another quota is counted than this worker's; it counts for this worker too"
                );
                ledger = made(1 - first);
                ledger.pair[ledger.mine].trust();
                ledger.counting.set(first);
            }
            established => established?,
        }
        if here == [true, true]
            && !ledger.pair[1 - ledger.mine]
                .retire_if_empty(session)
                .await?
        {
            tracing::warn!(
                provider = owner,
                "two quotas are counted, and the smaller holds: one takes the other's place"
            );
        }
        Ok(Rc::new(ledger))
    }

    fn new(
        session: &Rc<Session>,
        names: &Names,
        amqp: &AmqpSettings,
        owner: &str,
        terms: Terms,
        mine: usize,
    ) -> Self {
        let queues = |number: usize| {
            let (counted, spread) = QueueSpec::ledgers(names, owner, &terms);
            let named = |spec: QueueSpec| if number == 0 { spec } else { spec.next() };
            let specs = (counted.map(named), spread.map(named));
            Queues::new(specs, (number == mine).then_some(&terms), amqp.declare)
        };
        Self {
            session: Rc::clone(session),
            terms,
            pair: [queues(0), queues(1)],
            mine,
            counting: Cell::new(mine),
            alone: Cell::default(),
            tighter: Cell::new(mine),
            seen: Cell::default(),
            unheard: Rc::default(),
        }
    }

    /// The ledger of another quota, which takes this one's place: from now on both count.
    ///
    /// # Errors
    /// [`BrokerError::Foreign`] where the change before this one is not over yet.
    pub async fn change(
        &self,
        names: &Names,
        amqp: &AmqpSettings,
        owner: &str,
        terms: Terms,
    ) -> Result<Rc<Self>, BrokerError> {
        let next = 1 - self.mine;
        let ledger = Self::new(&self.session, names, amqp, owner, terms, next);
        ledger.pair[next].establish(&self.session).await?;
        Ok(Rc::new(ledger))
    }

    /// Deletes the ledger of the terms before, once what it counted is past; says whether it could.
    ///
    /// # Errors
    /// Where the broker does not answer in time.
    pub async fn retire(&self, before: &Terms) -> Result<(), BrokerError> {
        let over = Moment::now().after(self.terms.overlap(before));
        loop {
            let left = over.since(Moment::now());
            if left.is_zero() {
                return self.pair[1 - self.mine].retire(&self.session).await;
            }
            tokio::time::sleep(left).await;
        }
    }

    /// The session that it is reached by.
    #[must_use]
    pub fn session(&self) -> Rc<Session> {
        Rc::clone(&self.session)
    }

    /// The queue that counts all requests.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.pair[self.counting.get()].all.name()
    }

    async fn there(&self) -> Result<[bool; 2], BrokerError> {
        let [first, second] = &self.pair;
        let (first, second) = try_join(
            first.all.exists(&self.session),
            second.all.exists(&self.session),
        )
        .await?;
        Ok([first, second])
    }

    async fn ask_all(&self, lane: Lane, waiting: usize) -> Result<Answer, BrokerError> {
        if lane == Lane::Bulk && self.terms.spreads && !self.may_go(waiting).await? {
            return Ok(Answer::Full(None));
        }
        let asked = Moment::now();
        let of_bulk = if lane == Lane::Bulk {
            self.enter(|queues| &queues.bulk).await?
        } else {
            Some(Counted::ByMine)
        };
        let Some(of_bulk) = of_bulk else {
            return Ok(Answer::Full(self.pair[self.mine].bulk.next_expiry()));
        };
        let Some(of_all) = self.enter(|queues| &queues.all).await? else {
            return Ok(Answer::Full(self.pair[self.mine].all.next_expiry()));
        };
        Ok(Answer::Granted(
            if of_bulk == Counted::ByMine && of_all == Counted::ByMine {
                self.terms.permission(asked)
            } else {
                Permission::of_others(asked)
            },
        ))
    }

    /// An entry in each of the two that is there; none where one refuses it.
    async fn enter(&self, book: fn(&Queues) -> &Book) -> Result<Option<Counted>, BrokerError> {
        let enter = async |number: usize| {
            book(&self.pair[number])
                .enter(&self.session, Entry::Permission)
                .await
        };
        let first = self.tighter.get();
        let (at_first, at_second) = if self.alone.get() {
            try_join(enter(first), enter(1 - first)).await?
        } else {
            // What one refuses is not to be counted by the other in vain.
            match enter(first).await? {
                Entered::Refused => return Ok(None),
                entered => (entered, enter(1 - first).await?),
            }
        };
        let missing = [at_first, at_second].map(|entered| entered == Entered::Missing);
        self.alone.set(missing[0] != missing[1]);
        if missing == [true, true] {
            book(&self.pair[self.mine]).look_for(&self.session).await?;
            return Ok(None);
        }
        self.counting.set(match missing {
            [true, _] => 1 - first,
            [_, true] => first,
            _ => self.mine,
        });
        if let Some(refused) = [(first, at_first), (1 - first, at_second)]
            .iter()
            .find(|(_, entered)| *entered == Entered::Refused)
        {
            self.tighter.set(refused.0);
            return Ok(None);
        }
        let by_mine = self.alone.get() && self.counting.get() == self.mine;
        Ok(Some(if by_mine {
            Counted::ByMine
        } else {
            Counted::ByOther
        }))
    }

    /// Whether a request in bulk may ask for its permission now.
    async fn may_go(&self, waiting: usize) -> Result<bool, BrokerError> {
        let Some(counts) = self.counts().await? else {
            return Ok(false);
        };
        let enter = async |spacing| {
            let Some(spread) = &self.pair[self.counting.get()].spread else {
                return Ok(true);
            };
            let entered = spread.enter(&self.session, Entry::Spacing(spacing)).await?;
            if entered == Entered::Missing {
                spread.look_for(&self.session).await?;
            }
            Ok(entered == Entered::Taken)
        };
        match self.terms.turn(counts, waiting) {
            Turn::Held => Ok(false),
            Turn::Spaced(spacing) => enter(spacing).await,
            Turn::AtOnce(spacing) => enter(spacing).await.map(|_| true),
        }
    }

    /// What counts at the broker; none while the ledger is away.
    async fn counts(&self) -> Result<Option<Counts>, BrokerError> {
        let now = Moment::now();
        if let Some((counts, at)) = self.seen.get()
            && now.since(at) < LOOK_LASTS
        {
            return Ok(Some(counts));
        }
        let Queues { all, bulk, .. } = &self.pair[self.counting.get()];
        let depths = try_join(all.depth(&self.session), bulk.depth(&self.session)).await?;
        let counts = if let (Some(all), Some(bulk)) = depths {
            Some(Counts { all, bulk })
        } else {
            self.look_for_other().await?;
            None
        };
        self.seen.set(counts.map(|counts| (counts, now)));
        Ok(counts)
    }

    /// The ledger that counted is not there: the other may have taken its place.
    async fn look_for_other(&self) -> Result<(), BrokerError> {
        let other = 1 - self.counting.get();
        if self.pair[other].all.exists(&self.session).await? {
            self.counting.set(other);
            return Ok(());
        }
        let Queues { all, bulk, .. } = &self.pair[self.mine];
        all.look_for(&self.session).await?;
        bulk.look_for(&self.session).await
    }
}

impl Queues {
    /// With the terms where they are known.
    fn new(
        ([all, bulk], spread): ([QueueSpec; 2], Option<QueueSpec>),
        terms: Option<&Terms>,
        declare: bool,
    ) -> Self {
        let book = |queue, room: fn(&Terms) -> u32| {
            Book::new(queue, terms.map(|terms| (room(terms), terms.ttl)), declare)
        };
        Self {
            all: book(all, |terms| terms.requests),
            bulk: book(bulk, |terms| terms.bulk),
            spread: spread.map(|spread| Book::new(spread, None, declare)),
        }
    }

    async fn establish(&self, session: &Session) -> Result<(), BrokerError> {
        self.all.establish(session).await?;
        self.bulk.establish(session).await?;
        let Some(spread) = &self.spread else {
            return Ok(());
        };
        match spread.establish(session).await {
            // It holds nothing that must be kept.
            Err(BrokerError::Foreign(_)) => {
                spread.delete(session).await?;
                spread.establish(session).await
            }
            established => established,
        }
    }

    fn books(&self) -> impl Iterator<Item = &Book> {
        [&self.all, &self.bulk].into_iter().chain(&self.spread)
    }

    /// They are as they should be, or not there.
    fn trust(&self) {
        self.books().for_each(Book::trust);
    }

    async fn retire(&self, session: &Session) -> Result<(), BrokerError> {
        for book in self.books() {
            book.delete(session).await?;
        }
        Ok(())
    }

    async fn retire_if_empty(&self, session: &Session) -> Result<bool, BrokerError> {
        let empty = self.all.delete_if_empty(session).await?;
        if empty {
            for book in self.books().skip(1) {
                book.delete(session).await?;
            }
        }
        Ok(empty)
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
