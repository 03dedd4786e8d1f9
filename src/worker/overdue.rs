//! What waits in an inbox does not wait for ever: a call is answered at its deadline, whatever it waits for, and what
//! may not be held any longer goes back to its queue.

use std::{rc::Rc, time::Duration};

use jiff::Timestamp;
use tokio::task::spawn_local;

use super::{Worker, load::Held};
use crate::{clock::Moment, engine::Waiting, lane::Lane};

/// While something waits it is looked through this often; what is taken before the first look is not read for it.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks through a provider's inbox as long as the session goes on.
pub async fn watch(worker: Rc<Worker>, name: String) {
    let inbox = &worker.providers[&name].inbox;
    loop {
        inbox.occupied().await;
        tokio::time::sleep(LOOK_EVERY).await;
        let now = (Moment::now(), Timestamp::now());
        for lane in Lane::ALL {
            let usual = worker.providers[&name].usual_deadline(lane);
            for job in inbox.take_if(lane, |job| worker.is_overdue(lane, job, usual, now)) {
                spawn_local(end(Rc::clone(&worker), name.clone(), lane, job));
            }
        }
        if inbox.is_held() {
            for job in inbox.take_if(Lane::Interactive, |job| job.redeliveries > 0) {
                spawn_local(renew(Rc::clone(&worker), job));
            }
        }
    }
}

/// It finds out by itself that there is no time left.
async fn end(worker: Rc<Worker>, name: String, lane: Lane, job: Held) {
    let provider = &worker.providers[&name];
    worker.begin(provider, lane, job, Waiting::Queued).await;
}

/// While a call that came back is held, no suspect is begun; this one may be held for long.
async fn renew(worker: Rc<Worker>, job: Held) {
    if let Err(error) = worker.put_copy(&job).await {
        tracing::debug!(%error, "a call is left to redelivery");
    }
}

impl Worker {
    fn is_overdue(
        &self,
        lane: Lane,
        job: &Held,
        usual: Option<Duration>,
        now: (Moment, Timestamp),
    ) -> bool {
        let too_late = || {
            let deadline = job.deadline(self.settings.amqp.max_job_bytes, usual);
            deadline.is_some_and(|deadline| deadline <= now.1)
        };
        now.0.since(job.arrived.1) >= self.timeout.to_begin()
            || (lane == Lane::Interactive && too_late())
    }
}
