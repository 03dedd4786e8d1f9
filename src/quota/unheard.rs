//! Asks that are seen to their end, also where whoever asked has given up; what is granted then is for the next.

use std::{cell::RefCell, rc::Rc};

use futures_util::future::LocalBoxFuture;
use tokio::{sync::oneshot, task::spawn_local};

use crate::{
    lane::Lane,
    policy::quota::{Decision, Permission},
};

/// Permissions that were granted to nobody, by lane.
#[derive(Debug, Default)]
pub struct Unheard([RefCell<Vec<Permission>>; 2]);

impl Unheard {
    /// A permission that nobody heard of, else what `asking` brings, on a task of its own. Whether the permission is
    /// void by now, whoever is given it must see, as with any other.
    pub fn or_ask(
        self: &Rc<Self>,
        lane: Lane,
        asking: impl Future<Output = Decision> + 'static,
    ) -> LocalBoxFuture<'static, Decision> {
        if let Some(given) = self.0[lane as usize].borrow_mut().pop() {
            return Box::pin(async move { Decision::Granted(given) });
        }
        let (decided, heard) = oneshot::channel();
        let unheard = Rc::clone(self);
        // It is large, and would stand in the task twice.
        let asking = Box::pin(asking);
        spawn_local(async move {
            if let Err(Decision::Granted(given)) = decided.send(asking.await) {
                unheard.0[lane as usize].borrow_mut().push(given);
            }
        });
        Box::pin(async move { heard.await.unwrap_or(Decision::Gone) })
    }
}

#[cfg(test)]
mod tests {
    use std::{future::ready, time::Duration};

    use tokio::task::{LocalSet, yield_now};

    use super::*;
    use crate::{
        clock::Moment,
        config::{QuotaLimit, QuotaScope},
        policy::quota::Terms,
    };

    fn permission(asked: Moment) -> Permission {
        let per = Duration::from_mins(1);
        Terms::of(&QuotaLimit {
            requests: 1,
            per,
            reserve: 0.0,
            scope: QuotaScope::Broker,
        })
        .permission(asked)
    }

    #[tokio::test]
    async fn what_is_granted_to_one_who_gave_up_is_the_next_ones_in_the_same_lane_once() {
        let test = async {
            let (unheard, given) = (Rc::<Unheard>::default(), permission(Moment::now()));
            let (grant, granted) = oneshot::channel();
            let given_up = unheard.or_ask(Lane::Bulk, async { granted.await.expect("an answer") });
            drop(given_up);
            grant
                .send(Decision::Granted(given))
                .expect("it is still asked for");
            yield_now().await;

            let other = |lane| unheard.or_ask(lane, ready(Decision::Full(None)));
            assert_eq!(other(Lane::Interactive).await, Decision::Full(None));
            assert_eq!(other(Lane::Bulk).await, Decision::Granted(given));
            assert_eq!(other(Lane::Bulk).await, Decision::Full(None));
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn what_is_heard_is_nobody_elses() {
        let test = async {
            let (unheard, given) = (Rc::<Unheard>::default(), permission(Moment::now()));
            let granted = Decision::Granted(given);
            assert_eq!(unheard.or_ask(Lane::Bulk, ready(granted)).await, granted);
            assert_eq!(
                unheard.or_ask(Lane::Bulk, ready(Decision::Gone)).await,
                Decision::Gone
            );
        };
        LocalSet::new().run_until(test).await;
    }
}
