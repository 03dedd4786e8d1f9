//! The consumers of one session: jobs into inboxes, what has no route to an answer, what waits to its parking.
//!
//! Each queue has a consumer on a channel of its own, so that one provider's unsettled jobs never hold up
//! another's. A consumer that the broker cancels is started again.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use tokio::task::{JoinHandle, spawn_local};

use super::{Worker, guard, journey, parking};
use crate::{
    broker::{BrokerError, Deliveries, Delivery, Session, Subscription},
    config::Step,
    job::{Address, Lane},
};

/// Jobs of a delay queue that are held until they are due. The queue is in the order of arrival, and so nearly
/// in the order of being due; what comes behind these waits in the broker.
const PARKED_PREFETCH: u16 = 1000;

/// Messages without a route are few.
const UNROUTED_PREFETCH: u16 = 16;

/// After a cancel, what was on its way arrives at once.
const LAST_DELIVERIES_LIMIT: Duration = Duration::from_secs(2);

/// The consumers of one session.
pub struct Intake {
    feeds: Vec<Rc<Feed>>,
    guards: Vec<JoinHandle<()>>,
}

/// One consumer, and where its deliveries go.
pub(super) struct Feed {
    queue: String,
    sink: Sink,
    subscription: RefCell<Option<Subscription>>,
    task: RefCell<Option<JoinHandle<()>>>,
    /// It is we who end it.
    stopping: Cell<bool>,
}

#[derive(Clone)]
enum Sink {
    Jobs(Lane, String),
    Unrouted,
    Parked(Step),
}

impl Intake {
    /// Starts every consumer.
    ///
    /// # Errors
    /// Where the broker does not start one in time.
    pub async fn start(worker: &Rc<Worker>, session: &Rc<Session>) -> Result<Self, BrokerError> {
        let (mut feeds, mut guards) = (Vec::new(), Vec::new());
        for (name, provider) in &worker.providers {
            let lanes = Lane::ALL.map(|lane| Feed::new(worker.names.jobs(name, lane), Sink::Jobs(lane, name.clone())));
            if provider.engine.circuit.why().is_none() {
                for lane in &lanes {
                    lane.start(worker, session).await?;
                }
            }
            feeds.extend(lanes.iter().cloned());
            let guard = guard::watch(Rc::clone(worker), name.clone(), Rc::clone(session), lanes);
            guards.push(spawn_local(guard));
        }
        let parked = worker.settings.retry.delays.iter();
        let others = parked.map(|step| Feed::new(worker.names.delay(step), Sink::Parked(step.clone())));
        for feed in others.chain([Feed::new(worker.names.unrouted(), Sink::Unrouted)]) {
            feed.start(worker, session).await?;
            feeds.push(feed);
        }
        Ok(Self { feeds, guards })
    }

    /// Lets no more deliveries come, for good; those on their way still arrive.
    pub async fn cancel(&self) {
        self.guards.iter().for_each(JoinHandle::abort);
        futures_util::future::join_all(self.feeds.iter().map(|feed| feed.stop())).await;
    }

    /// Closes the channels. The broker answers once it has every acknowledgement that was sent before; a
    /// connection that is closed at once may leave some behind.
    pub async fn close(&self) {
        let closing = self.feeds.iter().filter_map(|feed| feed.subscription.borrow_mut().take());
        futures_util::future::join_all(closing.map(|subscription| async move { subscription.close().await })).await;
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.guards.iter().for_each(JoinHandle::abort);
    }
}

impl Feed {
    fn new(queue: String, sink: Sink) -> Rc<Self> {
        let (subscription, task, stopping) = (RefCell::default(), RefCell::default(), Cell::new(false));
        Rc::new(Self { queue, sink, subscription, task, stopping })
    }

    /// Begins to consume.
    pub(super) async fn start(self: &Rc<Self>, worker: &Rc<Worker>, session: &Rc<Session>) -> Result<(), BrokerError> {
        self.stopping.set(false);
        let deliveries = self.subscribe(worker, session).await?;
        let task = spawn_local(Rc::clone(self).run(Rc::clone(worker), Rc::clone(session), deliveries));
        *self.task.borrow_mut() = Some(task);
        Ok(())
    }

    async fn subscribe(&self, worker: &Worker, session: &Rc<Session>) -> Result<Deliveries, BrokerError> {
        let prefetch = match &self.sink {
            Sink::Jobs(_, provider) => worker.providers[provider].engine.settings.concurrency,
            Sink::Unrouted => UNROUTED_PREFETCH,
            Sink::Parked(_) => PARKED_PREFETCH,
        };
        let (subscription, deliveries) = session.subscribe(&self.queue, prefetch).await?;
        *self.subscription.borrow_mut() = Some(subscription);
        Ok(deliveries)
    }

    /// Lets no more deliveries come; those on their way still arrive.
    pub(super) async fn stop(&self) {
        self.stopping.set(true);
        let subscription = self.subscription.borrow().clone();
        if let Some(subscription) = subscription {
            subscription.cancel().await;
        }
        let task = self.task.borrow_mut().take();
        if let Some(task) = task {
            let _ = tokio::time::timeout(LAST_DELIVERIES_LIMIT, task).await;
        }
    }

    /// Delivers as long as the session goes on.
    async fn run(self: Rc<Self>, worker: Rc<Worker>, session: Rc<Session>, mut deliveries: Deliveries) {
        loop {
            while let Some(delivery) = deliveries.next().await {
                self.sink.put(&worker, delivery);
            }
            if self.stopping.get() || !session.health.is_well() {
                return;
            }
            // Most often somebody deleted the queue: declare it again, and go on.
            tracing::warn!(queue = self.queue, "the broker cancelled a consumer; starting it again");
            let again = async {
                worker.expected().establish(&session).await?;
                self.subscribe(&worker, &session).await
            };
            match again.await {
                Ok(again) => deliveries = again,
                Err(error) => return session.health.fail(error.to_string()),
            }
        }
    }
}

impl Sink {
    fn put(&self, worker: &Rc<Worker>, delivery: Delivery) {
        match self {
            Self::Jobs(lane, provider) => worker.providers[provider].inbox.put(*lane, delivery),
            Self::Parked(step) => {
                spawn_local(parking::hold(Rc::clone(worker), step.clone(), delivery));
            }
            Self::Unrouted => {
                // A provider that was configured since is served; anybody else is told.
                let address = Address::of(&delivery.envelope.routing_key);
                match (worker.providers.get(address.provider), address.lane) {
                    (Some(provider), Some(lane)) => provider.inbox.put(lane, delivery),
                    _ => {
                        spawn_local(journey::refuse(Rc::clone(worker), delivery));
                    }
                }
            }
        }
    }
}
