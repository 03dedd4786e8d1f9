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
    guard, late,
    load::Load,
    overdue, precedence, progress,
    sink::{PARKED_BUDGET, Sink},
};
use crate::{
    broker::{BrokerError, Session},
    lane::Lane,
    policy::prefetch::{FIRST_LOOK, Prefetch},
};

/// The consumers of one session.
pub struct Intake {
    feeds: Vec<Rc<Feed>>,
    tasks: Vec<JoinHandle<()>>,
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
            let circuit = provider.engine().map(|engine| &engine.circuit);
            let open = circuit.and_then(|it| it.why().map(|_| Against::Circuit));
            let calls = Sink::Jobs(Lane::Interactive, name.clone());
            let [urgent, others] = Lane::ALL.map(|lane| Sink::Suspects(lane, name.clone()));
            let feeds = [Sink::Jobs(Lane::Bulk, name.clone()), urgent, others]
                .map(|sink| worker.feed(sink, open));
            intake.run(precedence::calls_first(
                Rc::clone(session),
                Rc::clone(&feeds[1]),
                Rc::clone(&feeds[2]),
            ));
            intake.feeds.push(worker.feed(calls, None));
            intake.feeds.extend(feeds.iter().cloned());
            intake.run(overdue::watch(Rc::clone(worker), name.clone()));
            if provider.engine().is_some() {
                intake.run(guard::watch(
                    Rc::clone(worker),
                    name.clone(),
                    Rc::clone(session),
                    feeds.to_vec(),
                ));
            }
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
}
