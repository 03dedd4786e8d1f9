//! Where the deliveries of a queue go, and how many of them are held.

use std::rc::Rc;

use tokio::task::spawn_local;

use super::{
    Worker, journey,
    load::{Held, Load},
    parking, suspects,
};
use crate::{broker::Delivery, config::Step, job::Address, lane::Lane, slots::spare};

/// Calls that are held, whatever a provider's concurrency: each is to hear by its deadline, also while the provider is
/// left in peace.
pub(super) const CALLS_PREFETCH: u16 = 1000;

/// Jobs of a delay queue that are held until they are due. The queue is in the order of arrival, and so nearly
/// in the order of being due; what comes behind these waits in the broker.
const PARKED_PREFETCH: u16 = 1000;

/// Messages without a route are few.
const UNROUTED_PREFETCH: u16 = 16;

/// Parked jobs are held in as many bytes as this many of the largest have.
pub(super) const PARKED_BUDGET: u16 = 128;

/// Where the deliveries of a queue go.
#[derive(Clone)]
pub(super) enum Sink {
    Jobs(Lane, String),
    Suspects(Lane, String),
    Unrouted,
    Parked(Step),
}

impl Worker {
    /// Messages of a consumer that are held at most. Of bulk no more than can be begun before the broker would take
    /// them back.
    pub(super) fn most_held(&self, sink: &Sink) -> u16 {
        match sink {
            Sink::Jobs(Lane::Interactive, provider) => {
                self.concurrency(provider).max(CALLS_PREFETCH)
            }
            Sink::Jobs(Lane::Bulk, provider) => {
                let engines = self.providers[provider].engines().iter();
                let most = engines.map(|engine| {
                    let company = engine.adapter().most_in_batch();
                    self.timeout.most(engine.pace, company)
                });
                let concurrency = self.concurrency(provider);
                let held = concurrency.saturating_add(spare(concurrency));
                most.min().map_or(held, |most| held.min(most))
            }
            Sink::Suspects(..) => 1,
            Sink::Unrouted => UNROUTED_PREFETCH,
            Sink::Parked(_) => PARKED_PREFETCH,
        }
    }

    pub(super) fn concurrency(&self, provider: &str) -> u16 {
        self.providers[provider].concurrency
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
