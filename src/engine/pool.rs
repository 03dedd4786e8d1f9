//! The lookups of one provider that wait for a permit or for a reply.
//!
//! A *coalesced lookup* is one question with all the jobs that ask just that. It waits in a *batch* of its lane until
//! that has a *permit*; most batches have room for one. A batch with a permit takes lookups out of other batches as
//! far as they fit, and they are sent as one *request*. Waits and requests are futures that all the jobs concerned
//! share: each of them drives the future, so it goes on while one of them is there, and ends when none is.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, hash_map::Entry},
    rc::Rc,
    time::Duration,
};

use foldhash::fast::RandomState;
use futures_util::future::{LocalBoxFuture, Shared};
use smallvec::SmallVec;
use tokio::{sync::Notify, task::yield_now, time::timeout};

use super::request::SharedRequest;
use crate::{
    clock::Moment, lane::Lane, provider::Lookup, quota::Unpermitted, telemetry::traces::Span,
};

/// After a full batch, whose replies bring more jobs, bulk lookups wait so long for others to share a request.
const LONGEST_FILLING: Duration = Duration::from_secs(1);

/// Calls wait so long for others to share a request, where more come than the quota lasts for.
const LONGEST_FILLING_OF_CALLS: Duration = Duration::from_millis(250);

/// A call with less time than this does not wait for others to share its request.
pub(super) const IN_A_HURRY: Duration = Duration::from_secs(1);

/// The wait of a batch for its permit.
pub(super) type PermitWait = Shared<LocalBoxFuture<'static, Result<(), Unpermitted>>>;

/// One lookup and the jobs that ask it.
pub(super) struct CoalescedLookup {
    pub lookup: Rc<Lookup>,
    /// Another job changed its state.
    pub moved: Notify,
    pending: RefCell<Option<Pending>>,
    /// Those who wait for it, by lane.
    members: [Cell<u32>; 2],
    /// Most lookups, this one included, that may share its request.
    size: Cell<usize>,
    /// The jobs that it was asked for, each known by some number of its own.
    jobs: RefCell<SmallVec<[u64; 1]>>,
    /// The spans of those who wait for it, each with the requests made before; none where traces are off.
    spans: RefCell<Vec<(Span, u32)>>,
}

/// How far a coalesced lookup has come.
#[derive(Clone)]
pub(super) enum Pending {
    /// It waits for a permit.
    Waiting(BatchWait),
    /// It was sent: the request, and the lookup's number in it.
    Requested(SharedRequest, usize),
}

/// A batch and its wait.
#[derive(Clone)]
pub(super) struct BatchWait {
    pub batch: Rc<Batch>,
    pub permit: PermitWait,
}

/// Lookups that will share a request.
pub(super) struct Batch {
    pub lane: Lane,
    size: usize,
    lookups: RefCell<Vec<Rc<CoalescedLookup>>>,
    /// One of them cannot wait for others.
    hurried: Cell<bool>,
    joined: Notify,
}

/// One provider's coalesced lookups.
pub(super) struct Pool {
    coalesced: RefCell<HashMap<Rc<Lookup>, Rc<CoalescedLookup>, RandomState>>,
    /// Batches for more than one, by lane, the oldest first.
    open: RefCell<[Vec<BatchWait>; 2]>,
    /// Most lookups in a batch. A batch with a lower limit waits for no others.
    max_size: usize,
    /// A batch with so many waits for no others: no more jobs are in flight.
    enough: usize,
    /// How long after a full batch the next bulk batch waits for others.
    filling_time: Duration,
    /// How long a batch of calls does while more come than the quota lasts for.
    filling_time_of_calls: Duration,
    last_full: Cell<Option<Moment>>,
    /// A batch was closed.
    closed: Notify,
}

impl CoalescedLookup {
    pub fn new(lookup: &Rc<Lookup>, lane: Lane, size: usize) -> Rc<Self> {
        let members = Lane::ALL.map(|other| Cell::new(u32::from(other == lane)));
        let (moved, pending, size) = (Notify::new(), RefCell::default(), Cell::new(size));
        Rc::new(Self {
            lookup: Rc::clone(lookup),
            moved,
            pending,
            members,
            size,
            jobs: RefCell::default(),
            spans: RefCell::default(),
        })
    }

    /// By one more job.
    pub fn asked_for(&self, job: u64) {
        self.jobs.borrow_mut().push(job);
    }

    /// The jobs that it was asked for.
    pub fn jobs(&self) -> SmallVec<[u64; 1]> {
        self.jobs.borrow().clone()
    }

    /// Of one who waits for it, and of the requests made for that before.
    pub fn traced(&self, span: &Span, attempts: u32) {
        if span.is_on() {
            self.spans.borrow_mut().push((span.clone(), attempts));
        }
    }

    /// It is sent: the spans of those that waited for it.
    pub fn take_spans(&self) -> Vec<(Span, u32)> {
        self.spans.take()
    }

    /// How far it has come; it has a stage from the beginning on.
    pub fn pending(&self) -> Option<Pending> {
        self.pending.borrow().clone()
    }

    /// It was sent.
    pub fn requested(&self, request: SharedRequest, number: usize) {
        self.put(Pending::Requested(request, number));
    }

    /// Whether its answer is there, or its wait ended without a permit. Then another is begun for the jobs that ask it
    /// from now on; those that waited would meet the same end again.
    fn is_over(&self) -> bool {
        match &*self.pending.borrow() {
            Some(Pending::Requested(request, _)) => request.peek().is_some(),
            Some(Pending::Waiting(wait)) => wait.permit.peek().is_some_and(Result::is_err),
            None => false,
        }
    }

    fn put(&self, pending: Pending) {
        self.pending.replace(Some(pending));
        self.moved.notify_waiters();
    }

    /// That of the most urgent who wait for it.
    pub fn lane(&self) -> Lane {
        if self.members[Lane::Interactive as usize].get() > 0 {
            Lane::Interactive
        } else {
            Lane::Bulk
        }
    }

    pub fn size(&self) -> usize {
        self.size.get()
    }

    fn count(&self, lane: Lane, change: i32) {
        let members = &self.members[lane as usize];
        members.set(members.get().saturating_add_signed(change));
    }

    fn is_forsaken(&self) -> bool {
        self.members.iter().all(|members| members.get() == 0)
    }

    fn wait(&self) -> Option<BatchWait> {
        match &*self.pending.borrow() {
            Some(Pending::Waiting(wait)) => Some(wait.clone()),
            _ => None,
        }
    }
}

impl Batch {
    pub fn new(lane: Lane, size: usize) -> Rc<Self> {
        let (lookups, hurried, joined) = (RefCell::default(), Cell::new(false), Notify::new());
        Rc::new(Self {
            lane,
            size,
            lookups,
            hurried,
            joined,
        })
    }

    /// One of them cannot wait for others.
    pub fn hurry(&self) {
        self.hurried.set(true);
        self.joined.notify_waiters();
    }

    fn len(&self) -> usize {
        self.lookups.borrow().len()
    }
}

impl Pool {
    /// For batches of up to `max_size` out of `concurrency` lookups at once; `pace` is the mean time between two
    /// requests.
    pub fn new(max_size: usize, concurrency: usize, pace: Duration) -> Self {
        Self {
            coalesced: RefCell::default(),
            open: RefCell::default(),
            max_size,
            enough: max_size.min(concurrency),
            filling_time: (4 * pace).min(LONGEST_FILLING),
            filling_time_of_calls: pace.min(LONGEST_FILLING_OF_CALLS),
            last_full: Cell::default(),
            closed: Notify::new(),
        }
    }

    /// Makes a coalesced lookup known, so that equal lookups join it.
    pub fn insert(&self, coalesced: &Rc<CoalescedLookup>) {
        self.coalesced
            .borrow_mut()
            .insert(Rc::clone(&coalesced.lookup), Rc::clone(coalesced));
    }

    /// Joins the coalesced lookup that asks the same and is not over yet, if there is one. Says whether it must change
    /// to another batch: it became more urgent, or may share a request with fewer.
    pub fn join(
        &self,
        lookup: &Lookup,
        lane: Lane,
        size: usize,
    ) -> Option<(Rc<CoalescedLookup>, bool)> {
        let coalesced = self
            .coalesced
            .borrow()
            .get(lookup)
            .filter(|coalesced| !coalesced.is_over())
            .cloned()?;
        coalesced.count(lane, 1);
        coalesced.size.set(coalesced.size().min(size));
        let displaced = self.take_out_if(&coalesced, |batch| {
            batch.lane != coalesced.lane() || batch.size > coalesced.size()
        });
        Some((coalesced, displaced))
    }

    /// A job waits for it no more. Says whether it must change to another batch, for the jobs that still wait.
    pub fn leave(&self, coalesced: &Rc<CoalescedLookup>, lane: Lane) -> bool {
        coalesced.count(lane, -1);
        if !coalesced.is_forsaken() {
            return self.take_out_if(coalesced, |batch| batch.lane != coalesced.lane());
        }
        if let Entry::Occupied(known) = self
            .coalesced
            .borrow_mut()
            .entry(Rc::clone(&coalesced.lookup))
            && Rc::ptr_eq(known.get(), coalesced)
        {
            known.remove();
        }
        self.take_out_if(coalesced, |_| true);
        coalesced.pending.take();
        false
    }

    fn take_out_if(&self, coalesced: &Rc<CoalescedLookup>, wrong: impl Fn(&Batch) -> bool) -> bool {
        let Some(BatchWait { batch, .. }) = coalesced.wait().filter(|wait| wrong(&wait.batch))
        else {
            return false;
        };
        let mut lookups = batch.lookups.borrow_mut();
        let before = lookups.len();
        lookups.retain(|other| !Rc::ptr_eq(other, coalesced));
        if lookups.is_empty() {
            self.close(&batch);
        }
        lookups.len() < before
    }

    /// Puts it into a batch of its lane that has room, else into a new one, whose wait `wait_for_permit` begins.
    pub fn enqueue(
        &self,
        coalesced: &Rc<CoalescedLookup>,
        wait_for_permit: impl FnOnce(Rc<Batch>) -> PermitWait,
    ) -> BatchWait {
        let (lane, size) = (coalesced.lane(), coalesced.size());
        let mut open = self.open.borrow_mut();
        let batches = &mut open[lane as usize];
        let with_room = batches
            .iter()
            .find(|wait| wait.batch.size == size && wait.batch.len() < size);
        let wait = with_room.cloned().unwrap_or_else(|| {
            let batch = Batch::new(lane, size);
            let wait = BatchWait {
                permit: wait_for_permit(Rc::clone(&batch)),
                batch,
            };
            if size > 1 {
                batches.push(wait.clone());
            }
            wait
        });
        wait.batch.lookups.borrow_mut().push(Rc::clone(coalesced));
        if size > 1 {
            wait.batch.joined.notify_waiters();
        }
        coalesced.put(Pending::Waiting(wait.clone()));
        wait
    }

    /// Waits for lookups to share the request, where they will surely come. A batch of bulk waits while full batches
    /// are before it, and for a few of the quota's mean intervals after the last of them was sent. A batch of calls
    /// waits while they are `rushed`, for one such interval at most: calls that come later would wait for a whole
    /// window.
    pub async fn wait_for_more(&self, batch: &Rc<Batch>, rushed: bool) {
        if batch.size == 1 || (batch.lane == Lane::Interactive && !rushed) {
            return;
        }
        if batch.lane == Lane::Interactive {
            // If no call comes in that time, it is sent as it is.
            let _ = timeout(self.filling_time_of_calls, self.full(batch)).await;
            return;
        }
        // Jobs that are ready now join it before it looks whether to wait.
        yield_now().await;
        while batch.size == self.max_size && batch.len() < self.enough && !batch.hurried.get() {
            let (joined, closed) = (batch.joined.notified(), self.closed.notified());
            if self.is_behind_a_full_one(batch) {
                tokio::select! {
                    () = joined => {}
                    () = closed => {}
                }
            } else if timeout(self.time_to_fill(), joined).await.is_err() {
                return;
            }
        }
    }

    /// Waits until it is full, or somebody in it cannot wait.
    async fn full(&self, batch: &Batch) {
        loop {
            let joined = batch.joined.notified();
            if batch.len() >= batch.size.min(self.enough) || batch.hurried.get() {
                return;
            }
            joined.await;
        }
    }

    fn is_behind_a_full_one(&self, batch: &Rc<Batch>) -> bool {
        let full =
            |wait: &BatchWait| wait.batch.size == batch.size && wait.batch.len() >= self.enough;
        self.open.borrow()[batch.lane as usize]
            .iter()
            .any(|wait| full(wait) && !Rc::ptr_eq(&wait.batch, batch))
    }

    fn time_to_fill(&self) -> Duration {
        let Some(full) = self.last_full.get() else {
            return Duration::ZERO;
        };
        full.after(self.filling_time).since(Moment::now())
    }

    /// No more lookups may join it.
    pub fn close(&self, batch: &Rc<Batch>) {
        if batch.size > 1 {
            self.open.borrow_mut()[batch.lane as usize]
                .retain(|wait| !Rc::ptr_eq(&wait.batch, batch));
            self.closed.notify_waiters();
        }
    }

    /// Closes the batch and returns what to send: its lookups, then as many of other batches as fit. Calls are taken
    /// first; of bulk the last batch is, since the first ones are next anyway.
    pub fn dispatch(&self, batch: &Rc<Batch>) -> Vec<Rc<CoalescedLookup>> {
        self.close(batch);
        let mut lookups = std::mem::take(&mut *batch.lookups.borrow_mut());
        if batch.size > 1 {
            let [interactive, bulk] = &*self.open.borrow();
            for other in interactive
                .iter()
                .chain(bulk.iter().rev())
                .filter(|wait| wait.batch.size == batch.size)
            {
                let mut others = other.batch.lookups.borrow_mut();
                let taken = (batch.size - lookups.len()).min(others.len());
                lookups.extend(others.drain(..taken));
            }
        }
        if lookups.is_empty() || batch.size == 1 {
            return lookups;
        }
        self.open
            .borrow_mut()
            .iter_mut()
            .for_each(|lane| lane.retain(|wait| wait.batch.len() > 0));
        if batch.size == self.max_size && lookups.len() >= self.enough {
            self.last_full.set(Some(Moment::now()));
        }
        lookups
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use serde_json::value::to_raw_value;
    use url::Url;

    use super::*;
    use crate::provider::Adapter;

    fn lookup() -> Rc<Lookup> {
        let token = ("token".to_owned(), ::config::Value::from("unused"));
        let table = ::config::ValueKind::Table(std::iter::once(token).collect());
        let table = ::config::Value::new(None, table);
        let url = Url::parse("https://plume.example").unwrap();
        let (configured, _) = Adapter::configure("providers.p", "plume", &url, table);
        let (adapter, _) = configured.unwrap();
        let query = to_raw_value(&serde_json::json!({ "account_id": "a" })).unwrap();
        Rc::new(adapter.lookup(&query, None).unwrap())
    }

    /// Whoever joined a wait that is over would meet its end at once, again and again, and never let the others go on.
    #[test]
    fn a_wait_that_ended_without_a_permit_is_joined_by_nobody() {
        let (pool, lookup) = (Pool::new(1, 1, Duration::ZERO), lookup());
        let coalesced = CoalescedLookup::new(&lookup, Lane::Bulk, 1);
        pool.insert(&coalesced);
        let ended = async { Err(Unpermitted::NotSoon) };
        let wait = pool.enqueue(&coalesced, |_| ended.boxed_local().shared());
        assert!(
            pool.join(&lookup, Lane::Bulk, 1).is_some(),
            "it still waits"
        );

        assert!(
            wait.permit
                .now_or_never()
                .is_some_and(|ended| ended.is_err())
        );
        assert!(pool.join(&lookup, Lane::Bulk, 1).is_none());

        let next = CoalescedLookup::new(&lookup, Lane::Bulk, 1);
        pool.insert(&next);
        pool.leave(&coalesced, Lane::Bulk);
        pool.leave(&coalesced, Lane::Bulk);
        let (joined, _) = pool
            .join(&lookup, Lane::Bulk, 1)
            .expect("the one that waits now");
        assert!(Rc::ptr_eq(&joined, &next));
    }
}
