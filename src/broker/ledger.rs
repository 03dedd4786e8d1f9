//! A quota's ledger at the broker: a message stored there is one permission. Why that counts rightly stands in
//! [`policy::quota`](crate::policy::quota).
//!
//! A ledger is one of two: while the quota is changed, both are there, and each permission is counted in both.

mod book; // one ledger queue
mod part; // one of several ledgers
mod parts; // a quota's ledgers, of which each counts a part
mod seal; // what keeps others from counting in one where there are several

use std::{cell::Cell, rc::Rc, time::Duration};

use futures_util::future::{LocalBoxFuture, try_join};

use super::{
    BrokerError, Session,
    topology::{Making, QueueSpec},
};
use crate::{
    clock::Moment,
    lane::Lane,
    message::Names,
    policy::quota::{Counts, Decision, Permission, Terms, Turn},
    quota::{Ledger, Unheard},
};
use book::{Book, Entered, Entry};

pub use parts::QuotaLedgers;

/// Those who ask within this time of each other share one look at what counts.
const LOOK_LASTS: Duration = Duration::from_millis(10);

/// The ledger of a quota or of a part of it, as one session reaches it.
struct QuotaLedger {
    session: Rc<Session>,
    making: Making,
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
    /// The ledger of a provider, of a longer window ([`Names::longer`]), or of a part of it ([`Names::parts`]). A
    /// worker that runs `already` follows one that counts another quota.
    ///
    /// # Errors
    /// [`BrokerError::Foreign`] where another quota is counted, and in use.
    async fn open(
        session: &Rc<Session>,
        names: &Names,
        making: Making,
        owner: &str,
        terms: Terms,
        already: bool,
    ) -> Result<Rc<Self>, BrokerError> {
        let made = |mine| Self::new(session, names, making, owner, terms, mine);
        let mut ledger = made(0);
        let here = ledger.there().await?;
        let first = usize::from(here == [false, true]);
        if first != ledger.mine {
            ledger = made(first);
        }
        match ledger.pair[first].establish(session, making).await {
            Err(BrokerError::Foreign(_)) if here == [true, true] => {
                ledger = made(1);
                ledger.pair[1].establish(session, making).await?;
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
        making: Making,
        owner: &str,
        terms: Terms,
        mine: usize,
    ) -> Self {
        let queues = |number: usize| {
            let (counted, spread) = QueueSpec::ledgers(names, owner, &terms);
            let named = |spec: QueueSpec| if number == 0 { spec } else { spec.next() };
            let specs = (counted.map(named), spread.map(named));
            Queues::new(specs, &terms, number == mine, making)
        };
        Self {
            session: Rc::clone(session),
            making,
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

    /// The ledger of another quota, which takes this one's place: from now on both count. It is declared `by` a session
    /// that may be with another node.
    ///
    /// # Errors
    /// [`BrokerError::Foreign`] where the change before this one is not over yet.
    async fn change(
        &self,
        by: &Session,
        names: &Names,
        owner: &str,
        terms: Terms,
    ) -> Result<Rc<Self>, BrokerError> {
        let next = 1 - self.mine;
        let ledger = Self::new(&self.session, names, self.making, owner, terms, next);
        let making = match self.making {
            Making::Looks => Making::Looks,
            Making::Compares | Making::Declares => Making::Declares,
        };
        ledger.pair[next].establish(by, making).await?;
        Ok(Rc::new(ledger))
    }

    /// Deletes the ledger of the terms before.
    ///
    /// # Errors
    /// Where the broker does not answer in time.
    async fn retire(&self) -> Result<(), BrokerError> {
        self.pair[1 - self.mine].retire(&self.session).await
    }

    /// The queue that counts all requests.
    fn queue(&self) -> &str {
        self.pair[self.counting.get()].all.name()
    }

    /// Whether it was found as it should be, or may be as it is.
    fn is_trusted(&self) -> bool {
        let Queues { all, bulk, .. } = &self.pair[self.mine];
        all.is_trusted() && bulk.is_trusted()
    }

    /// Since when a part of it was not there; none while all are.
    fn missing_since(&self) -> Option<Moment> {
        let books = self.pair[self.mine].books();
        books.filter_map(Book::missing_since).min()
    }

    /// All of it is there.
    fn is_back(&self) {
        self.pair[self.mine].books().for_each(Book::is_there);
    }

    /// Whether one of the two is there now.
    async fn is_there(&self) -> Result<bool, BrokerError> {
        Ok(self.there().await? != [false, false])
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

    async fn ask_all(&self, lane: Lane, waiting: usize) -> Result<Decision, BrokerError> {
        if lane == Lane::Bulk && self.terms.spreads && !self.may_go(waiting).await? {
            return Ok(self.reserved());
        }
        let asked = Moment::now();
        let of_bulk = if lane == Lane::Bulk {
            self.enter(|queues| &queues.bulk).await?
        } else {
            Some(Counted::ByMine)
        };
        let Some(of_bulk) = of_bulk else {
            return Ok(Decision::Full(self.pair[self.mine].bulk.next_expiry()));
        };
        let Some(of_all) = self.enter(|queues| &queues.all).await? else {
            return Ok(Decision::Full(self.pair[self.mine].all.next_expiry()));
        };
        Ok(Decision::Granted(
            if of_bulk == Counted::ByMine && of_all == Counted::ByMine {
                self.terms.permission(asked)
            } else {
                Permission::of_others(asked)
            },
        ))
    }

    /// Bulk is kept back: until something is forgotten, or for a moment.
    fn reserved(&self) -> Decision {
        let is_full = |counts| self.terms.turn(counts, 1) == Turn::Reserved;
        match self.seen.get() {
            Some((counts, _)) if is_full(counts) => {
                Decision::Reserved(self.pair[self.mine].all.next_expiry())
            }
            _ => Decision::Full(None),
        }
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
            Turn::Reserved => Ok(false),
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
    /// Of `mine` the terms are known.
    fn new(
        ([all, bulk], spread): ([QueueSpec; 2], Option<QueueSpec>),
        terms: &Terms,
        mine: bool,
        making: Making,
    ) -> Self {
        let of_several = terms.parts > 1;
        let book = |queue, room: u32| {
            Book::new(queue, mine.then_some((room, terms.ttl)), making, of_several)
        };
        Self {
            all: book(all, terms.requests),
            bulk: book(bulk, terms.bulk),
            spread: spread.map(|spread| Book::new(spread, None, making, of_several)),
        }
    }

    async fn establish(&self, session: &Session, making: Making) -> Result<(), BrokerError> {
        self.all.establish(session, making).await?;
        if !self.all.is_trusted() {
            // They are all on the node that is away, and seen to once it is back.
            return Ok(());
        }
        self.bulk.establish(session, making).await?;
        let Some(spread) = &self.spread else {
            return Ok(());
        };
        match spread.establish(session, making).await {
            // It holds nothing that must be kept.
            Err(BrokerError::Foreign(_)) if making == Making::Declares => {
                spread.delete(session).await?;
                spread.establish(session, making).await
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
    fn ask(self: Rc<Self>, lane: Lane, waiting: usize) -> LocalBoxFuture<'static, Decision> {
        let unheard = Rc::clone(&self.unheard);
        unheard.or_ask(lane, async move {
            match self.ask_all(lane, waiting).await {
                Ok(decision) => decision,
                Err(error) => {
                    self.session.health.fail(error.to_string());
                    Decision::Gone
                }
            }
        })
    }
}
