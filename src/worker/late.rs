//! What the broker takes back: it closes the channel of whoever holds a message longer than its consumer timeout, and
//! delivers anew all that came by it. Whether or not the channel is still consumed from, none of that is ours.

use std::{rc::Rc, time::Duration};

use super::{Worker, feed::Feed};
use crate::{broker::Session, policy::timeout};

/// Lets go of what came by channels that the broker closes, as long as the session goes on.
pub async fn watch(worker: Rc<Worker>, session: Rc<Session>, feeds: Vec<Rc<Feed>>) {
    loop {
        let words = session.health.channel_closed().await;
        for feed in &feeds {
            feed.lose_what_is_closed();
        }
        worker.forget_lost();
        if let Some(told) = timeout::told_by(&words) {
            worker.holds_less(told);
        }
    }
}

impl Worker {
    fn holds_less(&self, timeout: Duration) {
        self.timeout.told(timeout);
        let trouble = format!(
            "its consumer timeout is {} ms, and what is held longer is taken back and delivered again; jobs are held for \
             less. Better is consumer_timeout = 1800000 in rabbitmq.conf, RabbitMQ's own default, or as much by a policy",
            timeout.as_millis()
        );
        tracing::warn!("the broker took back jobs: {trouble}");
        self.readiness.note_broker(trouble);
    }
}
