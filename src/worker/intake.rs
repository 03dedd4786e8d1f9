//! The consumers of one session: jobs into inboxes, what has no route to an answer, what waits to its parking.
//!
//! Each queue has a consumer on a channel of its own, so that one provider's unsettled jobs never hold up
//! another's. Beside them stand those who watch the session: the guards of the providers, the broker's alarm, and
//! whether there is progress.

use std::rc::Rc;

use futures_util::future::join_all;
use tokio::task::{JoinHandle, spawn_local};

use super::{
    Worker, alarm,
    feed::{Against, Feed},
    guard, journey, late,
    load::{Held, Load},
    overdue, parking, progress, suspects,
};
use crate::{
    broker::{BrokerError, Delivery, Session},
    config::Step,
    job::{Address, Lane},
    policy::prefetch::{FIRST_LOOK, Prefetch},
};

/// Calls that are held, whatever a provider's concurrency: each is to hear by its deadline, also while the provider is
/// left in peace.
pub(super) const CALLS_PREFETCH: u16 = 1000;

/// Jobs of a delay queue that are held until they are due. The queue is in the order of arrival, and so nearly
/// in the order of being due; what comes behind these waits in the broker.
const PARKED_PREFETCH: u16 = 1000;

/// Messages without a route are few.
const UNROUTED_PREFETCH: u16 = 16;

/// Parked jobs are held in as many bytes as this many of the largest have.
const PARKED_BUDGET: u16 = 128;

/// The consumers of one session.
pub struct Intake {
    feeds: Vec<Rc<Feed>>,
    tasks: Vec<JoinHandle<()>>,
}

/// Where the deliveries of a queue go.
#[derive(Clone)]
pub(super) enum Sink {
    Jobs(Lane, String),
    Suspects(Lane, String),
    Unrouted,
    Parked(Step),
}

impl Intake {
    /// Starts every consumer.
    ///
    /// # Errors
    /// Where the broker does not start one in time.
    pub async fn start(worker: &Rc<Worker>, session: &Rc<Session>) -> Result<Self, BrokerError> {
        let mut intake = Self {
            feeds: Vec::new(),
            tasks: Vec::new(),
        };
        for (name, provider) in &worker.providers {
            let open = provider.engine.circuit.why().map(|_| Against::Circuit);
            let calls = Sink::Jobs(Lane::Interactive, name.clone());
            let [urgent, others] = Lane::ALL.map(|lane| Sink::Suspects(lane, name.clone()));
            let feeds = [Sink::Jobs(Lane::Bulk, name.clone()), urgent, others]
                .map(|sink| worker.feed(sink, open));
            intake.run(suspects::calls_first(
                Rc::clone(session),
                Rc::clone(&feeds[1]),
                Rc::clone(&feeds[2]),
            ));
            intake.feeds.push(worker.feed(calls, None));
            intake.feeds.extend(feeds.iter().cloned());
            intake.run(overdue::watch(Rc::clone(worker), name.clone()));
            intake.run(guard::watch(
                Rc::clone(worker),
                name.clone(),
                Rc::clone(session),
                feeds.to_vec(),
            ));
        }
        let parked = worker
            .settings
            .retry
            .delays
            .iter()
            .map(|step| Sink::Parked(step.clone()));
        intake.feeds.extend(
            parked
                .chain([Sink::Unrouted])
                .map(|sink| worker.feed(sink, None)),
        );
        for feed in intake.feeds.clone() {
            intake.run(feed.run(Rc::clone(worker), Rc::clone(session)));
        }
        tokio::select! {
            _ = join_all(intake.feeds.iter().map(|feed| feed.started())) => {}
            reason = session.health.ended() => return Err(BrokerError::Lost(reason)),
        }
        intake.run(alarm::watch(
            Rc::clone(worker),
            Rc::clone(session),
            intake.feeds.clone(),
        ));
        intake.run(late::watch(
            Rc::clone(worker),
            Rc::clone(session),
            intake.feeds.clone(),
        ));
        intake.run(progress::watch(
            Rc::clone(worker),
            Rc::clone(session),
            intake.feeds.clone(),
        ));
        Ok(intake)
    }

    fn run(&mut self, task: impl Future<Output = ()> + 'static) {
        self.tasks.push(spawn_local(task));
    }

    /// Lets no more deliveries come, for good; those on their way still arrive.
    pub async fn cancel(&self) {
        for feed in &self.feeds {
            feed.hold(Against::Stop);
        }
        join_all(self.feeds.iter().map(|feed| feed.quiet())).await;
    }

    /// Waits until everything is settled that is not parked.
    pub async fn settled(&self) {
        let feeds = self
            .feeds
            .iter()
            .filter(|feed| !matches!(feed.sink, Sink::Parked(_)));
        join_all(feeds.map(|feed| feed.load.empty())).await;
    }

    /// Closes the channels.
    pub async fn close(&self) {
        join_all(self.feeds.iter().map(|feed| feed.close())).await;
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Worker {
    /// The consumer of a queue; it is not running yet.
    fn feed(&self, sink: Sink, against: Option<Against>) -> Rc<Feed> {
        let queue = match &sink {
            Sink::Jobs(lane, provider) => self.names.jobs(provider, *lane),
            Sink::Suspects(lane, provider) => self.names.suspects(provider, *lane),
            Sink::Unrouted => self.names.unrouted(),
            Sink::Parked(step) => self.names.delay(step),
        };
        let most = self.most_held(&sink);
        // Jobs that are none of them too large are never short of it.
        let (largest, first) = match &sink {
            Sink::Parked(_) => (PARKED_BUDGET, most),
            Sink::Jobs(_, provider) => (self.concurrency(provider), FIRST_LOOK),
            Sink::Suspects(..) | Sink::Unrouted => (most, FIRST_LOOK),
        };
        let prefetch = Prefetch::new(
            most,
            first,
            usize::from(largest).saturating_mul(self.settings.amqp.max_job_bytes),
        );
        let load = Load::new(self.metrics.unsettled_bytes(&queue));
        let others = matches!(sink, Sink::Suspects(..)).then_some(Against::Others);
        Feed::new(
            queue,
            sink,
            prefetch,
            load,
            against.into_iter().chain(others),
        )
    }

    /// Messages of a consumer that are held at most. Of bulk no more than can be begun before the broker would take
    /// them back.
    pub(super) fn most_held(&self, sink: &Sink) -> u16 {
        match sink {
            Sink::Jobs(Lane::Interactive, provider) => {
                self.concurrency(provider).max(CALLS_PREFETCH)
            }
            Sink::Jobs(Lane::Bulk, provider) => {
                let engine = &self.providers[provider].engine;
                let company = engine.adapter().most_in_batch();
                let most = self.timeout.most(engine.pace, company);
                self.concurrency(provider).min(most)
            }
            Sink::Suspects(..) => 1,
            Sink::Unrouted => UNROUTED_PREFETCH,
            Sink::Parked(_) => PARKED_PREFETCH,
        }
    }

    fn concurrency(&self, provider: &str) -> u16 {
        self.providers[provider].engine.settings.concurrency
    }
}

impl Sink {
    /// Passes a delivery on.
    pub fn put(&self, worker: &Rc<Worker>, load: &Rc<Load>, delivery: Box<Delivery>) {
        let came_back = delivery.redeliveries > 0;
        let crowded = 2 * load.messages() > PARKED_PREFETCH.into()
            || load.bytes() > usize::from(PARKED_BUDGET / 2) * worker.settings.amqp.max_job_bytes;
        let exposed = match self {
            Self::Jobs(..) | Self::Unrouted => came_back,
            Self::Suspects(..) => false,
            Self::Parked(_) => worker.is_suspicious(&delivery),
        };
        let delivery = Held::new(delivery, load, exposed.then_some(&worker.exposed));
        match self {
            Self::Jobs(lane, provider) => put_job(worker, provider, *lane, delivery),
            Self::Suspects(_, provider) => {
                let lane = Address::of(&delivery.envelope.routing_key)
                    .lane
                    .unwrap_or(Lane::Bulk);
                worker.providers[provider].suspects.put(lane, delivery);
            }
            Self::Parked(step) => {
                let worker = Rc::clone(worker);
                spawn_local(parking::hold(worker, step.clone(), delivery, crowded));
            }
            Self::Unrouted => {
                // A provider that was configured since is served; anybody else is told.
                let address = Address::of(&delivery.envelope.routing_key);
                match (
                    worker.providers.get_key_value(address.provider),
                    address.lane,
                ) {
                    (Some((provider, _)), Some(lane)) => put_job(worker, provider, lane, delivery),
                    _ => {
                        spawn_local(journey::refuse(Rc::clone(worker), delivery));
                    }
                }
            }
        }
    }
}

fn put_job(worker: &Rc<Worker>, provider: &str, lane: Lane, delivery: Held) {
    if worker.is_suspicious(&delivery) {
        spawn_local(suspects::set_aside(
            Rc::clone(worker),
            provider.to_owned(),
            delivery,
        ));
    } else {
        worker.providers[provider].inbox.put(lane, delivery);
    }
}
