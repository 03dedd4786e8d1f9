//! Leave for each request: whoever wants to send one stands in its lane's line until a ledger grants it.
//!
//! [`policy::quota`](crate::policy::quota) says why the count holds. Here is the line: first come, first served in
//! each lane; while there is room many ask at once, while there is none one of each lane asks, when the ledger lets
//! know that it has room.

mod count;
mod own;
mod unheard;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use jiff::Timestamp;
use tokio::{
    sync::{Notify, Semaphore},
    time::{sleep, timeout},
};

use crate::{
    clock::Moment,
    config::{QuotaLimit, QuotaScope},
    lane::Lane,
    policy::quota::{Answer, Calls, Pace, Permission, Rush, Terms},
    provider::class::until,
    telemetry::metrics::QuotaMetrics,
};

pub use count::ProviderCount;
use own::Own;
pub use unheard::Unheard;

/// Where permissions are counted.
pub trait Ledger {
    /// Asks for one; so many wait in the lane's line, whoever asks included.
    fn ask(self: Rc<Self>, lane: Lane, waiting: usize) -> LocalBoxFuture<'static, Answer>;

    /// Other terms count, where that is this ledger's own affair.
    fn change(&self, _terms: Terms) {}

    /// Asks for one where that takes no time; most cannot.
    fn ask_at_once(&self, _lane: Lane, _waiting: usize) -> Option<Answer> {
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

/// A request in bulk asks after this time at the earliest, or two of the quota's mean intervals: whether it is one of
/// a few or the first of many can be told only once the others are there.
const SETTLE: Duration = Duration::from_millis(100);

/// Longest wait in line.
const PATIENCE: Duration = Duration::from_mins(10);

/// One provider's quota.
pub struct Quota {
    /// None where there is no limit.
    lines: Option<[Line; 2]>,
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

/// Those of one lane who wait.
struct Line {
    turns: Semaphore,
    /// Turns where nobody has one.
    widest: usize,
    pace: RefCell<Pace>,
    /// The ledger has room.
    room: Notify,
    waiting: Cell<usize>,
    /// Nobody asks sooner.
    settle: Duration,
    /// When there will be room at the latest, as the ledger said when it refused last, if it did.
    room_at: Cell<Option<Moment>>,
    /// The ledger refused.
    full: Notify,
    rush: RefCell<Rush>,
}

/// One who is counted, until dropped.
#[derive(Debug)]
#[must_use = "dropped, it counts no more"]
pub struct Place<'a>(&'a Cell<usize>);

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
        let line = |lane, terms: &Terms| Line {
            turns: Semaphore::new(terms.widest(lane)),
            widest: terms.widest(lane),
            pace: RefCell::new(Pace::new(lane, terms)),
            room: Notify::new(),
            waiting: Cell::default(),
            room_at: Cell::default(),
            full: Notify::new(),
            rush: RefCell::default(),
            settle: match lane {
                Lane::Interactive => Duration::ZERO,
                Lane::Bulk => SETTLE.min(2 * terms.pace),
            },
        };
        let own = |terms| Rc::new(Own::new(terms)) as Rc<dyn Ledger>;
        let longer = longer.iter().map(|limit| own(Terms::of_longer(limit)));
        let lines = terms.map(|terms| Lane::ALL.map(|lane| line(lane, &terms)));
        Self {
            lines,
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
        let (terms, Some(lines)) = (Terms::of(limit), &self.lines) else {
            return;
        };
        self.metrics.limit.set(terms.requests.into());
        self.count.change(limit);
        let before = self.limit.replace(Some(limit.clone()));
        self.before.set(before.as_ref().map(Terms::of));
        for line in lines {
            line.pace.borrow_mut().change(&terms);
            line.room.notify_one();
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
        for line in self
            .lines
            .iter()
            .flat_map(|lines| lanes.iter().map(|lane| &lines[*lane as usize]))
        {
            line.room.notify_one();
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
        let Some(lines) = &self.lines else {
            return Ok(Permission::UNLIMITED);
        };
        let begun = Moment::now();
        let _waiting = (
            self.metrics.waits(lane),
            Place::new(&lines[lane as usize].waiting),
        );
        let granted = async {
            tokio::select! {
                permission = self.in_line(&lines[lane as usize], lane, begun) => permission,
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
        lines[lane as usize].gave(now);
        self.metrics.permitted(lane, now.since(begun));
        Ok(permission)
    }

    /// Whether the lane uses the quota up here faster than it lasts: the last burst of requests went in less time than
    /// the quota has for as many.
    #[must_use]
    pub fn is_rushed(&self, lane: Lane) -> bool {
        self.lines
            .as_ref()
            .is_some_and(|lines| lines[lane as usize].is_rushed(Moment::now()))
    }

    /// Returns once it is known that whoever waits in the lane's line will have no permission before the deadline; never
    /// where there is none. Of a call that cannot be told is taken for no: others may serve it.
    pub async fn none_before(&self, lane: Lane, deadline: Option<Timestamp>) {
        let (Some(lines), Some(deadline)) = (&self.lines, deadline) else {
            return std::future::pending().await;
        };
        let line = &lines[lane as usize];
        let turn = line.turn_of_the_last(Moment::now());
        loop {
            let full = line.full.notified();
            let now = Moment::now();
            let end = now.after(until(deadline, Timestamp::now()));
            let by_then =
                line.has_room_by(end, turn, now, lane) && self.count.opens_by(end, lane, now);
            if !by_then {
                return;
            }
            tokio::select! {
                () = full => {}
                () = self.count.changed() => {}
            }
        }
    }

    /// A permission that need not be waited for, where nobody else waits in the lane's line.
    #[must_use]
    pub fn permission_at_once(&self, lane: Lane) -> Option<Permission> {
        let Some(lines) = &self.lines else {
            return Some(Permission::UNLIMITED);
        };
        let line = &lines[lane as usize];
        if !line.settle.is_zero() || line.turns.available_permits() < line.widest {
            return None;
        }
        let waiting = self.waiting(line, 1);
        let left = self.count.one_left(lane)?;
        let mut given = Permission::UNLIMITED;
        for (number, ledger) in self.ledgers()? {
            let Answer::Granted(one) = ledger.ask_at_once(lane, waiting)? else {
                self.tightest.set(number);
                return None;
            };
            given = given.and(one);
        }
        left.spend();
        line.gave(Moment::now());
        self.metrics.permitted_at_once(lane);
        Some(given)
    }

    /// Asks each window's ledger, until one has no room.
    async fn ask(&self, lane: Lane, waiting: usize) -> Answer {
        let Some(ledgers) = self.ledgers() else {
            return Answer::Gone;
        };
        let mut given = Permission::UNLIMITED;
        for (number, ledger) in ledgers {
            match ledger.ask(lane, waiting).await {
                Answer::Granted(one) => given = given.and(one),
                refused => {
                    self.tightest.set(number);
                    return refused;
                }
            }
        }
        Answer::Granted(given)
    }

    /// Each window's ledger with its number, the shortest's first; but before all others the one that refused last: while
    /// it is full, nothing is to be lost in the others.
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
    pub fn in_hand(&self) -> Place<'_> {
        Place::new(&self.in_hand)
    }

    /// A job that waits from now on for its request to go.
    pub fn waits(&self, lane: Lane) -> Place<'_> {
        Place::new(&self.unsent[lane as usize])
    }

    /// Jobs by lane that wait for their request to go.
    #[must_use]
    pub fn unsent(&self) -> [usize; 2] {
        self.unsent.each_ref().map(Cell::get)
    }

    /// How many wait in the line, and so many more; `usize::MAX` where those behind them are not seen.
    fn waiting(&self, line: &Line, more: usize) -> usize {
        if self.in_hand.get() < self.most_in_hand {
            line.waiting.get() + more
        } else {
            usize::MAX
        }
    }

    async fn in_line(
        &self,
        line: &Line,
        lane: Lane,
        begun: Moment,
    ) -> Result<Permission, Unpermitted> {
        loop {
            let Ok(turn) = line.turns.acquire().await else {
                return Err(Unpermitted::Gone);
            };
            let unsettled = line.settle.saturating_sub(Moment::now().since(begun));
            if !unsettled.is_zero() {
                sleep(unsettled).await;
            }
            loop {
                line.due().await;
                let left = self.count.left(lane).await;
                match self.ask(lane, self.waiting(line, 0)).await {
                    // A process that was frozen meanwhile asks again.
                    Answer::Granted(given) if given.is_void(Moment::now()) => {
                        self.metrics.void.inc();
                    }
                    Answer::Granted(given) => {
                        line.granted();
                        left.spend();
                        return Ok(given);
                    }
                    Answer::Full(room_at) => {
                        if line.refused(room_at, room_at) {
                            turn.forget();
                            break;
                        }
                    }
                    Answer::Held(room_at) => {
                        if line.refused(room_at, None) {
                            turn.forget();
                            break;
                        }
                    }
                    Answer::Gone => return Err(Unpermitted::Gone),
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

impl Line {
    /// Returns when it is time to ask.
    async fn due(&self) {
        loop {
            let pause = self.pace.borrow().pause(Moment::now());
            if pause.is_zero() {
                return;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.room.notified() => self.pace.borrow_mut().announced(Moment::now()),
            }
        }
    }

    fn granted(&self) {
        if self.pace.borrow_mut().granted() {
            self.turns.add_permits(1);
        }
    }

    fn gave(&self, now: Moment) {
        self.rush.borrow_mut().gave(now);
    }

    fn is_rushed(&self, now: Moment) -> bool {
        self.rush.borrow().is_on(self.pace.borrow().mean(), now)
    }

    /// When whoever came last may have its turn, at the quota's mean rate.
    fn turn_of_the_last(&self, now: Moment) -> Moment {
        let others = u32::try_from(self.waiting.get().saturating_sub(1)).unwrap_or(u32::MAX);
        now.after(self.pace.borrow().mean().saturating_mul(others))
    }

    /// Whether whose turn comes then may have room by the end. Where the ledger is full and tells no time, others used
    /// it: bulk may have room at the quota's mean rate, and a call is not to wait for that.
    fn has_room_by(&self, end: Moment, turn: Moment, now: Moment, lane: Lane) -> bool {
        let pace = self.pace.borrow();
        let is_full = !pace.pause(now).is_zero();
        let likely = (lane == Lane::Bulk).then(|| now.after(pace.mean()));
        let room_at = self.room_at.get().or(likely);
        !is_full || room_at.is_some_and(|room_at| room_at.max(turn) <= end)
    }

    /// There is room at that time at the latest, as far as it is known; to be asked again `soon` at the earliest.
    fn refused(&self, room_at: Option<Moment>, soon: Option<Moment>) -> bool {
        self.room_at.set(room_at);
        let steps_back =
            self.pace
                .borrow_mut()
                .refused(Moment::now(), soon, rand::random_range(0.5..1.0));
        self.full.notify_waiters();
        steps_back
    }
}

impl<'a> Place<'a> {
    fn new(counter: &'a Cell<usize>) -> Self {
        counter.set(counter.get() + 1);
        Self(counter)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
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
            .field("limited", &self.lines.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
