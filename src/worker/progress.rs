//! Looks whether consuming goes on, and ends a session in which it does not. The decision is `policy::progress`.

use std::{rc::Rc, time::Duration};

use super::{Worker, feed::Feed};
use crate::{
    broker::Session,
    failpoint,
    policy::progress::{Advice, Look},
};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks at the queues of these feeds as long as the session goes on.
pub async fn watch(worker: Rc<Worker>, session: Rc<Session>, feeds: Vec<Rc<Feed>>) {
    worker.progress.borrow_mut().begin();
    loop {
        tokio::time::sleep(failpoint::look_every(LOOK_EVERY)).await;
        for feed in &feeds {
            // Nothing is asked of the broker where it is clear without.
            let ready = if feed.is_hungry() {
                session.ready(&feed.queue).await
            } else {
                Some(0)
            };
            let Some(ready) = ready else { continue };
            let (hungry, given) = (feed.is_hungry(), feed.load.given());
            let advice = worker.progress.borrow_mut().note(Look {
                queue: &feed.queue,
                hungry,
                ready,
                given,
            });
            match advice {
                Advice::GoOn => {}
                Advice::Mend(reason) => return session.health.fail(reason),
                Advice::GiveUp(reason) => {
                    tracing::error!(
                        reason,
                        "new sessions do not help; /livez fails until a job is delivered"
                    );
                    worker.readiness.stuck(Some(reason.clone()));
                    return session.health.fail(reason);
                }
            }
        }
        if !worker.progress.borrow().has_given_up() {
            worker.readiness.stuck(None);
        }
    }
}
