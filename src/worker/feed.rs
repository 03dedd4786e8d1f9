//! One consumer as long as its session goes on: it runs while no reason stands against it.
//!
//! Reasons come from several sides (the stop, a circuit, the broker's alarm) and know nothing of each other. None of
//! them starts or stops a consumer: each adds its reason and takes it back, and what follows from all of them is done
//! here alone, by the feed's own task.
//!
//! A consumer that begins again does so on a channel of its own. The one before stays open until all that came by it is
//! settled, since to close a channel can lose acknowledgements on their way. Then it is closed: what was on its way to
//! a cancelled consumer when its queue's leader died is given to nobody else before.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{sync::watch, task::spawn_local};

use super::{Worker, load::Load, sink::Sink};
use crate::{
    broker::{BrokerError, Deliveries, Session, Subscription},
    failpoint,
    policy::{prefetch::Prefetch, timeout},
};

/// After a cancel, what was on its way arrives at once.
const LAST_DELIVERIES_LIMIT: Duration = Duration::from_secs(2);

/// Why a consumer is not to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Against {
    /// The session has just begun, or there are calls among the suspects; other queues are first.
    Others,
    /// The provider is left in peace.
    Circuit,
    /// The broker takes no publishes, so nothing could be answered.
    Alarm,
    /// The worker stops.
    Stop,
}

/// One consumer, and where its deliveries go.
pub(super) struct Feed {
    /// The queue's name.
    pub queue: String,
    /// What it holds.
    pub load: Rc<Load>,
    /// Where its deliveries go.
    pub sink: Sink,
    prefetch: RefCell<Prefetch>,
    against: watch::Sender<BTreeSet<Against>>,
    state: watch::Sender<State>,
    subscription: RefCell<Option<Subscription>>,
    /// Those before, not all of whose deliveries are settled.
    ended: RefCell<Vec<Subscription>>,
    /// As a failpoint was told to.
    silent: Cell<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No consumer, and nothing on its way.
    Quiet,
    /// One of it being started or ended.
    Changing,
    Consuming,
}

/// Why a consumer ended.
enum End {
    /// The broker ended it.
    Theirs,
    /// A reason stands against it, or another prefetch fits better.
    Ours,
}

impl Feed {
    pub fn new(
        queue: String,
        sink: Sink,
        prefetch: Prefetch,
        load: Rc<Load>,
        against: impl Iterator<Item = Against>,
    ) -> Rc<Self> {
        Rc::new(Self {
            queue,
            load,
            sink,
            prefetch: prefetch.into(),
            against: watch::Sender::new(against.collect()),
            state: watch::Sender::new(State::Quiet),
            subscription: RefCell::default(),
            ended: RefCell::default(),
            silent: Cell::default(),
        })
    }

    /// Adds a reason. What was on its way may still arrive: see [`Self::quiet`].
    pub fn hold(&self, reason: Against) {
        self.against
            .send_if_modified(|against| against.insert(reason));
    }

    /// Takes a reason back.
    pub fn release(&self, reason: Against) {
        self.against
            .send_if_modified(|against| against.remove(&reason));
    }

    /// Whether this reason stands against it.
    pub fn is_held(&self, reason: Against) -> bool {
        self.against.borrow().contains(&reason)
    }

    /// Waits until this reason stands against it.
    pub async fn held(&self, reason: Against) {
        let _ = self
            .against
            .subscribe()
            .wait_for(|against| against.contains(&reason))
            .await;
    }

    /// Whether it should be given whatever lies in its queue.
    pub fn is_hungry(&self) -> bool {
        self.against.borrow().is_empty() && self.load.messages() == 0
    }

    /// Waits until no more deliveries come.
    pub async fn quiet(&self) {
        let _ = self
            .state
            .subscribe()
            .wait_for(|state| *state == State::Quiet)
            .await;
    }

    /// Waits until it consumes, or may not.
    pub async fn started(&self) {
        let (mut state, mut against) = (self.state.subscribe(), self.against.subscribe());
        tokio::select! {
            _ = state.wait_for(|state| *state == State::Consuming) => {}
            _ = against.wait_for(|against| !against.is_empty()) => {}
        }
    }

    /// Closes the channels. The broker answers once it has every acknowledgement that was sent before; a connection
    /// that is closed at once may leave some behind.
    pub async fn close(&self) {
        let current = self.subscription.borrow_mut().take();
        let ended = self.ended.take();
        join_all(ended.iter().chain(&current).map(Subscription::close)).await;
    }

    /// Closes a channel that is consumed from no more, once it may be.
    async fn retire(self: Rc<Self>, before: Subscription, session: Rc<Session>) {
        tokio::select! {
            () = before.settled() => {}
            _ = session.health.ended() => return,
        }
        let mine = self.ended.borrow().contains(&before);
        if mine {
            before.close().await;
            self.ended.borrow_mut().retain(|ended| *ended != before);
        }
    }

    /// Consumes whenever it may, as long as the session goes on.
    pub async fn run(self: Rc<Self>, worker: Rc<Worker>, session: Rc<Session>) {
        if let Err(error) = self.consume(&worker, &session).await {
            session.health.fail(error.to_string());
        }
        self.state.send_replace(State::Quiet);
    }

    async fn consume(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        session: &Rc<Session>,
    ) -> Result<(), BrokerError> {
        let mut against = self.against.subscribe();
        loop {
            let _ = against.wait_for(BTreeSet::is_empty).await;
            self.state.send_replace(State::Changing);
            let mut deliveries = self.subscribe(worker, session).await?;
            self.state.send_replace(State::Consuming);
            let end = self.deliver(worker, &mut deliveries).await;
            self.state.send_replace(State::Changing);
            match end {
                End::Theirs if !session.health.is_well() => return Ok(()),
                End::Theirs => {
                    self.ended_by_broker(worker, session, deliveries.closed())
                        .await;
                    worker.expected().establish(session).await?;
                }
                End::Ours => self.end(worker, deliveries).await,
            }
            self.state.send_replace(State::Quiet);
            self.room().await;
        }
    }

    /// The broker ended the consumer: with its channel, or by a cancel. Unless the queue is gone, with all that was in
    /// it, the broker delivers anew what is held.
    async fn ended_by_broker(&self, worker: &Worker, session: &Rc<Session>, closed: Option<&str>) {
        let queue = &self.queue;
        match closed {
            Some(words) => tracing::info!(
                queue,
                words,
                "a consumer's channel was closed; starting it again"
            ),
            None if session.ready(queue).await.is_none() => {
                tracing::warn!(
                    queue,
                    "the broker cancelled a consumer, and its queue is gone; starting it again"
                );
                return;
            }
            None => tracing::warn!(
                queue,
                "the broker cancelled a consumer, as RabbitMQ does from 4.3 on where an acknowledgement is late; \
                 what it held is delivered again"
            ),
        }
        if let Some(subscription) = &*self.subscription.borrow() {
            subscription.lose();
        }
        worker.forget_lost();
    }

    /// What came by a channel that the broker has closed is ours no more.
    pub fn lose_what_is_closed(&self) {
        let (current, ended) = (self.subscription.borrow(), self.ended.borrow());
        for subscription in ended.iter().chain(&*current) {
            if !subscription.is_open() {
                subscription.lose();
            }
        }
    }

    async fn subscribe(
        self: &Rc<Self>,
        worker: &Worker,
        session: &Rc<Session>,
    ) -> Result<Deliveries, BrokerError> {
        if let Some(before) = self.subscription.borrow_mut().take() {
            self.ended.borrow_mut().push(before.clone());
            spawn_local(Rc::clone(self).retire(before, Rc::clone(session)));
        }
        let prefetch = {
            let mut prefetch = self.prefetch.borrow_mut();
            prefetch.bound(worker.most_held(&self.sink));
            prefetch.current()
        };
        let (subscription, deliveries) = session
            .subscribe(&self.queue, prefetch, timeout::USUAL)
            .await?;
        self.silent.set(failpoint::is_silent(&self.queue));
        if self.silent.get() {
            subscription.close().await;
        }
        *self.subscription.borrow_mut() = Some(subscription);
        Ok(deliveries)
    }

    async fn deliver(&self, worker: &Rc<Worker>, deliveries: &mut Deliveries) -> End {
        let mut against = self.against.subscribe();
        loop {
            tokio::select! {
                biased;
                _ = against.wait_for(|against| !against.is_empty()) => return End::Ours,
                delivery = deliveries.next(), if !self.silent.get() => {
                    let Some(delivery) = delivery else { return End::Theirs };
                    let another_fits = self.prefetch.borrow_mut().delivered(delivery.body.len());
                    self.sink.put(worker, &self.load, delivery);
                    if another_fits || self.load.bytes() > self.budget() {
                        self.prefetch.borrow_mut().adapt();
                        return End::Ours;
                    }
                }
            }
        }
    }

    /// Cancels the consumer; what is on its way still arrives.
    async fn end(&self, worker: &Rc<Worker>, mut deliveries: Deliveries) {
        let subscription = self.subscription.borrow().clone();
        if let Some(subscription) = subscription {
            subscription.cancel().await;
        }
        let last = async {
            while let Some(delivery) = deliveries.next().await {
                self.prefetch.borrow_mut().delivered(delivery.body.len());
                self.sink.put(worker, &self.load, delivery);
            }
        };
        let _ = tokio::time::timeout(LAST_DELIVERIES_LIMIT, last).await;
    }

    /// Where too much is held, waits until that is half done.
    async fn room(&self) {
        if self.load.bytes() > self.budget() {
            self.load.at_most(self.budget() / 2).await;
        }
    }

    fn budget(&self) -> usize {
        self.prefetch.borrow().budget()
    }
}
