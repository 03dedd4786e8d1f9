//! What the consumers were given and have not settled: counted from a delivery until its [`Held`] is dropped.

use std::{
    cell::{Cell, OnceCell},
    ops::Deref,
    rc::Rc,
    time::Duration,
};

use jiff::Timestamp;
use prometheus::IntGauge;
use tokio::sync::Notify;

use crate::{
    broker::Delivery,
    job::{Job, PriorAttempts},
};

/// What one consumer holds.
#[derive(Debug)]
pub struct Load {
    messages: Cell<usize>,
    bytes: Cell<usize>,
    given: Cell<u64>,
    changed: Notify,
    gauge: IntGauge,
}

/// Deliveries in the whole worker that a death of its process would bring nearer to the delivery limit, and that were
/// there before.
#[derive(Debug, Default)]
pub struct Exposed {
    count: Cell<usize>,
    fewer: Notify,
}

/// A delivery, counted until it is dropped.
#[derive(Debug)]
pub struct Held {
    delivery: Box<Delivery>,
    load: Rc<Load>,
    exposed: Option<Rc<Exposed>>,
    /// Read once it is asked for.
    deadline: OnceCell<Option<Timestamp>>,
}

impl Load {
    /// Nothing; the bytes are shown by `gauge`.
    #[must_use]
    pub fn new(gauge: IntGauge) -> Rc<Self> {
        let (messages, bytes, given, changed) = Default::default();
        Rc::new(Self {
            messages,
            bytes,
            given,
            changed,
            gauge,
        })
    }

    /// Messages that are not settled.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.messages.get()
    }

    /// The bytes of their bodies.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Deliveries so far.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.given.get()
    }

    /// Waits until no more than this many bytes are held.
    pub async fn at_most(&self, bytes: usize) {
        self.until(|| self.bytes() <= bytes).await;
    }

    /// Waits until nothing is held.
    pub async fn empty(&self) {
        self.until(|| self.messages() == 0).await;
    }

    /// Waits until something is held.
    pub async fn occupied(&self) {
        self.until(|| self.messages() > 0).await;
    }

    async fn until(&self, reached: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            if reached() {
                return;
            }
            changed.await;
        }
    }
}

impl Exposed {
    /// Waits until there are none.
    pub async fn none(&self) {
        loop {
            let fewer = self.fewer.notified();
            if self.count.get() == 0 {
                return;
            }
            fewer.await;
        }
    }
}

impl Held {
    /// Counts a delivery of the consumer with this load; `exposed` where it counts among those too.
    #[must_use]
    pub fn new(delivery: Box<Delivery>, load: &Rc<Load>, exposed: Option<&Rc<Exposed>>) -> Self {
        load.messages.set(load.messages.get() + 1);
        load.bytes.set(load.bytes.get() + delivery.size());
        load.given.set(load.given.get() + 1);
        load.gauge.add(size(&delivery));
        load.changed.notify_waiters();
        if let Some(exposed) = exposed {
            exposed.count.set(exposed.count.get() + 1);
        }
        Self {
            delivery,
            load: Rc::clone(load),
            exposed: exposed.cloned(),
            deadline: OnceCell::new(),
        }
    }

    /// The deadline of a job that waits; for what is no job and can be answered at once, the moment when it came.
    /// `usual` is the time of one that brings no deadline.
    pub fn deadline(&self, max_bytes: usize, usual: Option<Duration>) -> Option<Timestamp> {
        *self.deadline.get_or_init(|| {
            Job::deadline_of(&self.envelope, &self.body, max_bytes, usual, self.arrived.0)
        })
    }

    /// Whether the broker still takes it for ours.
    pub fn is_ours(&self) -> bool {
        !self.is_lost() && self.session.health.is_well()
    }

    /// What the job has come to.
    pub fn goes_on(&mut self, prior: PriorAttempts) {
        self.delivery.received.envelope.prior = prior;
    }
}

impl Deref for Held {
    type Target = Delivery;

    fn deref(&self) -> &Delivery {
        &self.delivery
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let load = &self.load;
        load.messages.set(load.messages.get() - 1);
        load.bytes.set(load.bytes.get() - self.delivery.size());
        load.gauge.sub(size(&self.delivery));
        load.changed.notify_waiters();
        if let Some(exposed) = &self.exposed {
            exposed.count.set(exposed.count.get() - 1);
            exposed.fewer.notify_waiters();
        }
    }
}

fn size(delivery: &Delivery) -> i64 {
    delivery.size().try_into().unwrap_or(i64::MAX)
}
