use super::*;
use crate::telemetry::metrics::Metrics;

/// Has room or not, and counts who took of it.
#[derive(Default)]
struct Window {
    full: Cell<bool>,
    taken: Cell<u32>,
}

impl Ledger for Window {
    fn ask(self: Rc<Self>, _lane: Lane, _waiting: usize) -> LocalBoxFuture<'static, Decision> {
        Box::pin(async move {
            if self.full.get() {
                return Decision::Full(None);
            }
            self.taken.set(self.taken.get() + 1);
            Decision::Granted(Permission::UNLIMITED)
        })
    }
}

#[tokio::test]
async fn while_one_window_is_full_the_others_lose_but_one_permission() {
    let limit = QuotaLimit {
        requests: 10,
        per: Duration::from_secs(1),
        reserve: 0.0,
        scope: QuotaScope::Broker,
    };
    let quota = Quota::new(Some(&limit), &[], 1, limit.per, Metrics::new().quota("a"));
    let windows: [Rc<Window>; 3] = Default::default();
    let [shortest, longer @ ..] = windows.clone().map(|window| window as Rc<dyn Ledger>);
    quota.count_at(Some(shortest), longer.to_vec());
    let taken = || windows.each_ref().map(|window| window.taken.get());

    assert!(matches!(
        quota.ask(Lane::Bulk, 1).await,
        Decision::Granted(_)
    ));
    assert_eq!(taken(), [1, 1, 1]);
    windows[2].full.set(true);
    for _ in 0..5 {
        assert_eq!(quota.ask(Lane::Bulk, 1).await, Decision::Full(None));
    }
    assert_eq!(taken(), [2, 2, 1]);
    windows[2].full.set(false);
    assert!(matches!(
        quota.ask(Lane::Bulk, 1).await,
        Decision::Granted(_)
    ));
    assert_eq!(taken(), [3, 3, 2]);
}
