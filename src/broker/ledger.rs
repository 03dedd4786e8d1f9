//! A quota's ledger at the broker: a message stored there is one permission. Why that counts rightly stands in
//! [`policy::quota`](crate::policy::quota).
//!
//! Each ask has a channel of its own with one outstanding publish, mandatory: a publish without a route is no
//! permission, and confirms and returns are not mixed up.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures_util::future::LocalBoxFuture;
use lapin::{BasicProperties, Channel};

use super::{BrokerError, Names, Session, publisher::Word, topology::QueueSpec};
use crate::{
    clock::Moment,
    config::{AmqpSettings, QuotaLimit},
    job::Lane,
    policy::quota::{Answer, Log, Terms},
    quota::{Ledger, Unheard},
};

/// One provider's ledgers, as one session reaches them.
pub struct QuotaLedger {
    session: Rc<Session>,
    terms: Terms,
    declare: bool,
    all: Book,
    /// What bulk needs besides.
    bulk: Option<Book>,
    unheard: Rc<Unheard>,
}

/// One ledger queue, and what this worker knows of it.
struct Book {
    queue: QueueSpec,
    log: RefCell<Log>,
    idle: RefCell<Vec<Desk>>,
    /// It refused the last who asked.
    full: Cell<bool>,
    missing_since: Cell<Option<Moment>>,
    /// In this session it was there, and as it should be; before that nothing is asked of it.
    found: Cell<bool>,
}

/// A channel for one ask at a time.
struct Desk {
    channel: Channel,
    opened: Moment,
}

impl QuotaLedger {
    /// The ledgers of a provider, which were declared before.
    ///
    /// # Panics
    /// Never: there is always a ledger for all requests.
    #[must_use]
    pub fn new(
        session: &Rc<Session>,
        names: &Names,
        amqp: &AmqpSettings,
        provider: &str,
        limit: &QuotaLimit,
    ) -> Rc<Self> {
        let terms = Terms::of(limit);
        let mut queues = QueueSpec::ledgers(names, provider, &terms).into_iter();
        let all = Book::new(
            queues.next().expect("the first is for all"),
            terms.requests,
            &terms,
        );
        let bulk = queues
            .next()
            .map(|queue| Book::new(queue, terms.bulk, &terms));
        Rc::new(Self {
            session: Rc::clone(session),
            terms,
            declare: amqp.declare,
            all,
            bulk,
            unheard: Rc::default(),
        })
    }

    async fn ask_both(&self, lane: Lane) -> Result<Answer, BrokerError> {
        let asked = Moment::now();
        if let Some(bulk) = self.bulk.as_ref().filter(|_| lane == Lane::Bulk) {
            // An entry there without one in the other ledger would be wasted.
            // Where it is missing, whoever publishes there notices.
            let room = async || {
                let depth = self.session.depth(&self.all.queue.name).await?;
                Ok::<_, BrokerError>(depth.is_none_or(|depth| depth < self.terms.requests))
            };
            if self.all.full.get() && !room().await? {
                return Ok(Answer::Full(self.all.next_expiry()));
            }
            if !self.enter(bulk).await? {
                return Ok(Answer::Full(bulk.next_expiry()));
            }
        }
        Ok(if self.enter(&self.all).await? {
            Answer::Granted(self.terms.permission(asked))
        } else {
            Answer::Full(self.all.next_expiry())
        })
    }

    /// Whether the book took an entry.
    async fn enter(&self, book: &Book) -> Result<bool, BrokerError> {
        if book.log.borrow_mut().is_full(Moment::now()) {
            return Ok(false);
        }
        if !book.found.get()
            && !book
                .queue
                .establish_ledger(&self.session, self.declare)
                .await?
        {
            return Ok(false);
        }
        book.found.set(true);
        let idle = book.idle.borrow_mut().pop();
        let desk = match idle {
            Some(desk) => desk,
            None => Desk {
                channel: self.session.publisher.confirming_channel().await?,
                opened: Moment::now(),
            },
        };
        let properties = BasicProperties::default().with_delivery_mode(2);
        match self
            .session
            .publisher
            .send(&desk.channel, "", &book.queue.name, true, b"", properties)
            .await?
        {
            Word::Ack => {
                book.taken();
                book.idle.borrow_mut().push(desk);
                return Ok(true);
            }
            Word::Returned => {
                book.idle.borrow_mut().push(desk);
                self.look_for(book).await?;
            }
            _ => {
                book.full.set(true);
                // A channel that was opened at a bad moment may go on nacking for ever.
                if Moment::now().since(desk.opened) < self.terms.ttl {
                    book.idle.borrow_mut().push(desk);
                } else {
                    let _ = tokio::time::timeout(
                        super::CLOSE_LIMIT,
                        desk.channel.close(200, "nacked".into()),
                    )
                    .await;
                }
            }
        }
        Ok(false)
    }

    /// The queue is not there. It may come back, with the node that it lives on. Or somebody deleted it, and what
    /// it counted: then it is declared anew only after all that is forgotten.
    async fn look_for(&self, book: &Book) -> Result<(), BrokerError> {
        let now = Moment::now();
        let Some(since) = book.missing_since.get() else {
            tracing::warn!(
                queue = book.queue.name,
                "a quota's ledger is missing; nothing is sent until it is back"
            );
            book.missing_since.set(Some(now));
            return Ok(());
        };
        if self.declare && now.since(since) > self.terms.ttl {
            book.missing_since.set(Some(now));
            book.queue.establish_ledger(&self.session, true).await?;
        }
        Ok(())
    }
}

impl Book {
    fn new(queue: QueueSpec, room: u32, terms: &Terms) -> Self {
        Self {
            queue,
            log: RefCell::new(Log::new(room, terms.ttl)),
            idle: RefCell::default(),
            full: Cell::default(),
            missing_since: Cell::default(),
            found: Cell::default(),
        }
    }

    fn taken(&self) {
        self.log.borrow_mut().add(Moment::now());
        self.full.set(false);
        if self.missing_since.take().is_some() {
            tracing::info!(queue = self.queue.name, "a quota's ledger is back");
        }
    }

    fn next_expiry(&self) -> Option<Moment> {
        self.log.borrow_mut().next_expiry(Moment::now())
    }
}

impl Ledger for QuotaLedger {
    /// Whoever asks may give up, but what is outstanding on a channel must be seen to its end.
    fn ask(self: Rc<Self>, lane: Lane) -> LocalBoxFuture<'static, Answer> {
        let unheard = Rc::clone(&self.unheard);
        unheard.or_ask(lane, async move {
            match self.ask_both(lane).await {
                Ok(answer) => answer,
                Err(error) => {
                    self.session.health.fail(error.to_string());
                    Answer::Gone
                }
            }
        })
    }
}
