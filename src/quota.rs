//! Leave for each request: whoever wants to send one waits with the others of its lane until a ledger grants it.
//!
//! [`policy::quota`](crate::policy::quota) says why the count holds. Here is the wait: first come, first served in
//! each lane; while there is room many ask at once, while there is none one of each lane asks, when the ledger lets
//! know that it has room.

mod count;
mod guard;
mod own;
mod unheard;
mod waiters; // those of one lane

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use jiff::Timestamp;
use tokio::{sync::Notify, time::timeout};

use crate::{
    clock::Moment,
    config::{QuotaLimit, QuotaScope},
    lane::Lane,
    policy::quota::{Calls, Decision, Permission, Terms},
    provider::class::until,
    telemetry::metrics::QuotaMetrics,
};

pub use count::ProviderCount;
pub use guard::CountGuard;
use own::Own;
pub use unheard::Unheard;
use waiters::Waiters;

/// Where permissions are counted.
pub trait Ledger {
    /// Asks for one; so many of the lane wait, whoever asks included.
    fn ask(self: Rc<Self>, lane: Lane, waiting: usize) -> LocalBoxFuture<'static, Decision>;

    /// Other terms count, where that is this ledger's own affair.
    fn change(&self, _terms: Terms) {}

    /// Asks for one where that takes no time; most cannot.
    fn ask_at_once(&self, _lane: Lane, _waiting: usize) -> Option<Decision> {
        None
    }
}

/// Why there is no permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpermitted {
    /// The job's deadline came first.
    TooLate,
    /// The ledger went away, and with it the session that the job came by; or the worker stops.
    Gone,
    /// It takes too long: the broker takes back what is held for half an hour.
    NotSoon,
}

/// Longest wait for a permission.
const PATIENCE: Duration = Duration::from_mins(10);

/// One provider's quota.
pub struct Quota {
    /// By lane; none where there is no limit.
    waiters: Option<[Waiters; 2]>,
    limit: RefCell<Option<QuotaLimit>>,
    /// The terms that are on their way out.
    before: Cell<Option<Terms>>,
    ledger: RefCell<Option<Rc<dyn Ledger>>>,
    /// Those of longer windows, shortest first: a request needs a permission of each.
    longer: RefCell<Vec<Rc<dyn Ledger>>>,
    /// Which of all of them refused last; 0 is the shortest.
    tightest: Cell<usize>,
    /// What the provider says is left.
    pub count: ProviderCount,
    /// Whoever waits is to give up.
    dismissal: Notify,
    /// Jobs in bulk that are worked on here.
    in_hand: Cell<usize>,
    /// Jobs by lane that wait here for their request to go; several may wait for one.
    unsent: [Cell<usize>; 2],
    /// More than these cannot be: where there are as many, any number may be behind them.
    most_in_hand: usize,
    metrics: QuotaMetrics,
}

impl Quota {
    /// Counts here, whatever the scope: where there is no broker, or its scope is this worker. No more than
    /// `concurrency` jobs in bulk are worked on at once. The provider's own word holds nothing back for longer than
    /// `longest`.
    #[must_use]
    pub fn new(
        limit: Option<&QuotaLimit>,
        longer: &[QuotaLimit],
        concurrency: usize,
        longest: Duration,
        metrics: QuotaMetrics,
    ) -> Self {
        let terms = limit.map(Terms::of);
        metrics
            .limit
            .set(terms.map_or(0, |limit: Terms| limit.requests.into()));
        let own = |terms| Rc::new(Own::new(terms)) as Rc<dyn Ledger>;
        let longer = longer.iter().map(|limit| own(Terms::of_longer(limit)));
        let waiters = |terms| Lane::ALL.map(|lane| Waiters::new(lane, &terms));
        Self {
            waiters: terms.map(waiters),
            limit: RefCell::new(limit.cloned()),
            before: Cell::default(),
            ledger: RefCell::new(terms.map(own)),
            longer: RefCell::new(longer.collect()),
            tightest: Cell::default(),
            count: ProviderCount::new(limit, longest),
            dismissal: Notify::new(),
            in_hand: Cell::default(),
            unsent: Default::default(),
            most_in_hand: concurrency,
            metrics,
        }
    }

    /// Counts there from now on; none is for the time between two, when nothing is sent. Who waits gives up.
    pub fn count_at(&self, ledger: Option<Rc<dyn Ledger>>, longer: Vec<Rc<dyn Ledger>>) {
        self.ledger.replace(ledger);
        self.longer.replace(longer);
        self.dismiss();
    }

    /// Another quota counts from now on, there; without a ledger, in this worker as before. Who waits goes on waiting.
    pub fn change(&self, limit: &QuotaLimit, ledger: Option<Rc<dyn Ledger>>) {
        let (terms, Some(waiters)) = (Terms::of(limit), &self.waiters) else {
            return;
        };
        self.metrics.limit.set(terms.requests.into());
        self.count.change(limit);
        let before = self.limit.replace(Some(limit.clone()));
        self.before.set(before.as_ref().map(Terms::of));
        for waiters in waiters {
            waiters.change(&terms);
        }
        match ledger {
            Some(_) => _ = self.ledger.replace(ledger),
            None => {
                if let Some(ledger) = &*self.ledger.borrow() {
                    ledger.change(terms);
                }
            }
        }
    }

    /// What counts.
    #[must_use]
    pub fn limit(&self) -> Option<QuotaLimit> {
        self.limit.borrow().clone()
    }

    /// The terms that counted before, until their ledger is no more.
    #[must_use]
    pub fn before(&self) -> Option<Terms> {
        self.before.get()
    }

    /// The terms before count no more.
    pub fn is_changed(&self) {
        self.before.take();
    }

    /// Lets those who wait give up; who asks afterwards waits again.
    pub fn dismiss(&self) {
        self.dismissal.notify_waiters();
    }

    /// There is room for these lanes again, most likely.
    pub fn has_room(&self, lanes: &[Lane]) {
        for waiters in lanes.iter().filter_map(|lane| self.waiters(*lane)) {
            waiters.has_room();
        }
    }

    /// A permission, waited for up to the deadline.
    ///
    /// # Errors
    /// Where there will be none.
    pub async fn permission(
        &self,
        lane: Lane,
        deadline: Option<Timestamp>,
    ) -> Result<Permission, Unpermitted> {
        let Some(waiters) = self.waiters(lane) else {
            return Ok(Permission::UNLIMITED);
        };
        let begun = Moment::now();
        let _waiting = (self.metrics.waits(lane), waiters.join());
        let granted = async {
            tokio::select! {
                permission = self.waited_for(waiters, lane, begun) => permission,
                () = self.dismissal.notified() => Err(Unpermitted::Gone),
            }
        };
        let left = deadline
            .map(|deadline| until(deadline, Timestamp::now()))
            .filter(|left| *left < PATIENCE);
        let too_long = if left.is_some() {
            Unpermitted::TooLate
        } else {
            Unpermitted::NotSoon
        };
        let permission = timeout(left.unwrap_or(PATIENCE), granted)
            .await
            .unwrap_or(Err(too_long))?;
        let now = Moment::now();
        waiters.gave(now);
        self.metrics.permitted(lane, now.since(begun));
        Ok(permission)
    }

    /// Whether the lane uses the quota up here faster than it lasts: the last burst of requests went in less time than
    /// the quota has for as many.
    #[must_use]
    pub fn is_rushed(&self, lane: Lane) -> bool {
        self.waiters(lane)
            .is_some_and(|waiters| waiters.is_rushed(Moment::now()))
    }

    /// Returns once it is known that whoever waits in this lane will have no permission before the deadline; never
    /// where there is none. Of a call that cannot be told is taken for no: others may serve it.
    pub async fn none_before(&self, lane: Lane, deadline: Option<Timestamp>) {
        let (Some(waiters), Some(deadline)) = (self.waiters(lane), deadline) else {
            return std::future::pending().await;
        };
        let turn = waiters.turn_of_the_last(Moment::now());
        loop {
            let full = waiters.refusal();
            let now = Moment::now();
            let end = now.after(until(deadline, Timestamp::now()));
            let by_then =
                waiters.has_room_by(end, turn, now) && self.count.opens_by(end, lane, now);
            if !by_then {
                return;
            }
            tokio::select! {
                () = full => {}
                () = self.count.changed() => {}
            }
        }
    }

    /// A permission that need not be waited for, where nobody else of the lane waits.
    #[must_use]
    pub fn permission_at_once(&self, lane: Lane) -> Option<Permission> {
        let Some(waiters) = self.waiters(lane) else {
            return Some(Permission::UNLIMITED);
        };
        if !waiters.may_ask_at_once() {
            return None;
        }
        let waiting = self.waiting(waiters, 1);
        let left = self.count.one_left(lane)?;
        let mut given = Permission::UNLIMITED;
        for (number, ledger) in self.ledgers()? {
            let Decision::Granted(one) = ledger.ask_at_once(lane, waiting)? else {
                self.tightest.set(number);
                return None;
            };
            given = given.and(one);
        }
        left.spend();
        waiters.gave(Moment::now());
        self.metrics.permitted_at_once(lane);
        Some(given)
    }

    /// Asks each window's ledger, until one has no room.
    async fn ask(&self, lane: Lane, waiting: usize) -> Decision {
        let Some(ledgers) = self.ledgers() else {
            return Decision::Gone;
        };
        let mut given = Permission::UNLIMITED;
        for (number, ledger) in ledgers {
            match ledger.ask(lane, waiting).await {
                Decision::Granted(one) => given = given.and(one),
                refused => {
                    self.tightest.set(number);
                    return refused;
                }
            }
        }
        Decision::Granted(given)
    }

    /// Each window's ledger with its number, the shortest's first; but before all others the one that refused last:
    /// while it is full, nothing is to be lost in the others.
    fn ledgers(&self) -> Option<Vec<(usize, Rc<dyn Ledger>)>> {
        let shortest = self.ledger.borrow().clone()?;
        let longer = self.longer.borrow();
        let all = std::iter::once(&shortest).chain(&*longer);
        let mut ledgers: Vec<_> = all.cloned().enumerate().collect();
        let tightest = self.tightest.get().min(longer.len());
        ledgers[..=tightest].rotate_right(1);
        Some(ledgers)
    }

    /// A job in bulk that is worked on from now on.
    pub fn in_hand(&self) -> CountGuard<'_> {
        CountGuard::new(&self.in_hand)
    }

    /// A job that waits from now on for its request to go.
    pub fn waits(&self, lane: Lane) -> CountGuard<'_> {
        CountGuard::new(&self.unsent[lane as usize])
    }

    /// Jobs by lane that wait for their request to go.
    #[must_use]
    pub fn unsent(&self) -> [usize; 2] {
        self.unsent.each_ref().map(Cell::get)
    }

    /// None where there is no limit.
    fn waiters(&self, lane: Lane) -> Option<&Waiters> {
        Some(&self.waiters.as_ref()?[lane as usize])
    }

    /// How many wait, and so many more; `usize::MAX` where those behind them are not seen.
    fn waiting(&self, waiters: &Waiters, more: usize) -> usize {
        if self.in_hand.get() < self.most_in_hand {
            waiters.count() + more
        } else {
            usize::MAX
        }
    }

    async fn waited_for(
        &self,
        waiters: &Waiters,
        lane: Lane,
        begun: Moment,
    ) -> Result<Permission, Unpermitted> {
        loop {
            let Some(turn) = waiters.turn(begun).await else {
                return Err(Unpermitted::Gone);
            };
            loop {
                waiters.due().await;
                let left = self.count.left(lane).await;
                match self.ask(lane, self.waiting(waiters, 0)).await {
                    // A process that was frozen meanwhile asks again.
                    Decision::Granted(given) if given.is_void(Moment::now()) => {
                        self.metrics.void.inc();
                    }
                    Decision::Granted(given) => {
                        waiters.granted();
                        left.spend();
                        return Ok(given);
                    }
                    Decision::Full(room_at) => {
                        if waiters.refused(room_at, room_at) {
                            turn.forget();
                            break;
                        }
                    }
                    Decision::Reserved(room_at) => {
                        if waiters.refused(room_at, None) {
                            turn.forget();
                            break;
                        }
                    }
                    Decision::Gone => return Err(Unpermitted::Gone),
                }
            }
        }
    }

    /// A permission that nobody used in time.
    pub fn wasted(&self) {
        self.metrics.void.inc();
    }

    /// A job's deadline came before a permission.
    pub fn missed(&self, lane: Lane) {
        self.metrics.missed(lane);
    }

    /// How the calls of the last two minutes fared, where they wait too long.
    #[must_use]
    pub fn calls_that_wait(&self) -> Option<(Calls, Terms)> {
        let terms = Terms::of(self.limit.borrow().as_ref()?);
        let calls = self.metrics.calls(Moment::now());
        calls.wait_too_long(&terms).then_some((calls, terms))
    }
}

/// Whether workers of one broker count this together.
#[must_use]
pub fn is_common(limit: &QuotaLimit) -> bool {
    limit.scope == QuotaScope::Broker
}

impl std::fmt::Debug for Quota {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Quota")
            .field("limited", &self.waiters.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
