//! `connection.blocked`: the broker is short of memory or disk and takes no publishes, so nothing could be answered.
//!
//! Consuming pauses: what was not begun goes back to its queue, and what is in flight is finished, and published once
//! the broker takes publishes again. Then the consumers go on.
//!
//! RabbitMQ tells of its alarm only whom it stops, and it stops a connection when that publishes. A worker that is
//! idle when the alarm begins hears of it with its first result, and so begins, and holds, no more jobs than it has
//! slots. It costs no lookup twice: the results wait here.

use std::rc::Rc;

use super::{
    Worker,
    feed::{Against, Feed},
};
use crate::{broker::Session, lane::Lane};

/// Pauses the feeds of a session while the broker is blocked, as long as the session goes on.
pub async fn watch(worker: Rc<Worker>, session: Rc<Session>, feeds: Vec<Rc<Feed>>) {
    loop {
        session.health.blocked().await;
        worker
            .readiness
            .pause("the broker takes no publishes: an alarm of its memory or disk");
        for feed in &feeds {
            feed.hold(Against::Alarm);
        }
        for feed in &feeds {
            feed.quiet().await;
        }
        for provider in worker.providers.values() {
            if let Err(error) = worker.hand_back(provider, &Lane::ALL).await {
                return session.health.fail(error.to_string());
            }
        }
        session.health.unblocked().await;
        for feed in &feeds {
            feed.release(Against::Alarm);
        }
        worker.readiness.resume();
    }
}
