//! Among the suspects calls come first.

use std::{rc::Rc, time::Duration};

use super::feed::{Against, Feed};
use crate::broker::Session;

/// What came back, when the session before ended, has been delivered again after this.
const BEGINNING: Duration = Duration::from_secs(1);

/// Between two looks whether there are calls among the suspects.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Lets suspects come, those of bulk while there are no calls among them, as long as the session goes on.
pub async fn calls_first(session: Rc<Session>, calls: Rc<Feed>, bulk: Rc<Feed>) {
    tokio::time::sleep(BEGINNING).await;
    calls.release(Against::Others);
    loop {
        calls.load.empty().await;
        if session
            .ready(&calls.queue)
            .await
            .is_some_and(|ready| ready > 0)
        {
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        }
        bulk.release(Against::Others);
        calls.load.occupied().await;
        bulk.hold(Against::Others);
    }
}
