//! Who waits for leave to send a request, and who waits for an answer that is on its way.
//!
//! An *inquiry* is one question, shared by every lookup that asks just that. Inquiries that wait board a *batch*,
//! which waits for leave in the line of its lane; most batches have room for one. Once a batch may go, it takes
//! those along who wait elsewhere and fit, and all of them go as one *call*. Both the wait and the call are futures
//! that everybody concerned shares: whoever waits drives them, so they go on while anybody waits, and end when
//! nobody does.

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

use super::call::Call;
use crate::{
    clock::Moment, job::Lane, provider::Lookup, quota::Unpermitted, telemetry::traces::Span,
};

/// Longest wait of bulk lookups for company after a full batch, whose answers bring it.
const LONGEST_FILLING: Duration = Duration::from_secs(1);

/// The wait of a batch, up to when it goes.
pub(super) type Boarding = Shared<LocalBoxFuture<'static, Result<(), Unpermitted>>>;

/// One question and those who ask it.
pub(super) struct Inquiry {
    pub lookup: Rc<Lookup>,
    /// Its place changed by another's doing.
    pub moved: Notify,
    place: RefCell<Option<Place>>,
    /// Those who wait for it, by lane.
    members: [Cell<u32>; 2],
    /// Most inquiries, this one included, that it may go with.
    size: Cell<usize>,
    /// The jobs that it was asked for, each known by some number of its own.
    jobs: RefCell<SmallVec<[u64; 1]>>,
    /// The spans of those who wait for it, each with the requests made before; none where traces are off.
    spans: RefCell<Vec<(Span, u32)>>,
}

/// Where an inquiry is.
#[derive(Clone)]
pub(super) enum Place {
    /// It waits for leave.
    Waiting(Seat),
    /// It is on its way, or answered: the call, and its number there.
    Called(Call, usize),
}

/// A batch and its wait.
#[derive(Clone)]
pub(super) struct Seat {
    pub batch: Rc<Batch>,
    pub boarding: Boarding,
}

/// Inquiries that will go together.
pub(super) struct Batch {
    pub lane: Lane,
    size: usize,
    riders: RefCell<Vec<Rc<Inquiry>>>,
    /// Somebody in it cannot wait for company.
    hurried: Cell<bool>,
    boarded: Notify,
}

/// One provider's inquiries.
pub(super) struct Pool {
    inquiries: RefCell<HashMap<Rc<Lookup>, Rc<Inquiry>, RandomState>>,
    /// Batches for more than one, by lane, the oldest first.
    filling: RefCell<[Vec<Seat>; 2]>,
    /// Most inquiries in a batch; those that are fewer by choice wait for nobody.
    max_size: usize,
    /// So many are a full house: no more may be in flight anyway.
    enough: usize,
    /// How long after a full batch the next bulk batch waits for company.
    filling_time: Duration,
    last_full: Cell<Option<Moment>>,
    /// A batch stands in line no more.
    departed: Notify,
}

impl Inquiry {
    pub fn new(lookup: &Rc<Lookup>, lane: Lane, size: usize) -> Rc<Self> {
        let members = Lane::ALL.map(|other| Cell::new(u32::from(other == lane)));
        let (moved, place, size) = (Notify::new(), RefCell::default(), Cell::new(size));
        Rc::new(Self {
            lookup: Rc::clone(lookup),
            moved,
            place,
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

    /// It goes: the spans of those who waited for it.
    pub fn take_spans(&self) -> Vec<(Span, u32)> {
        self.spans.take()
    }

    /// Where it is. It is somewhere from its first moment on.
    pub fn place(&self) -> Option<Place> {
        self.place.borrow().clone()
    }

    /// It is on its way.
    pub fn called(&self, call: Call, number: usize) {
        self.put(Place::Called(call, number));
    }

    /// Whether its answer is there, or its wait ended without leave. Whoever asks then is to hear another, or to wait
    /// anew: those who waited are told once, and must not meet the wait that is over again.
    fn is_over(&self) -> bool {
        match &*self.place.borrow() {
            Some(Place::Called(call, _)) => call.peek().is_some(),
            Some(Place::Waiting(seat)) => seat.boarding.peek().is_some_and(Result::is_err),
            None => false,
        }
    }

    fn put(&self, place: Place) {
        self.place.replace(Some(place));
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

    fn seat(&self) -> Option<Seat> {
        match &*self.place.borrow() {
            Some(Place::Waiting(seat)) => Some(seat.clone()),
            _ => None,
        }
    }
}

impl Batch {
    pub fn new(lane: Lane, size: usize) -> Rc<Self> {
        let (riders, hurried, boarded) = (RefCell::default(), Cell::new(false), Notify::new());
        Rc::new(Self {
            lane,
            size,
            riders,
            hurried,
            boarded,
        })
    }

    /// Somebody in it cannot wait for company.
    pub fn hurry(&self) {
        self.hurried.set(true);
        self.boarded.notify_waiters();
    }

    fn len(&self) -> usize {
        self.riders.borrow().len()
    }
}

impl Pool {
    /// For batches of up to `max_size` out of `concurrency` lookups at once; `pace` is the mean time between two
    /// requests.
    pub fn new(max_size: usize, concurrency: usize, pace: Duration) -> Self {
        Self {
            inquiries: RefCell::default(),
            filling: RefCell::default(),
            max_size,
            enough: max_size.min(concurrency),
            filling_time: (4 * pace).min(LONGEST_FILLING),
            last_full: Cell::default(),
            departed: Notify::new(),
        }
    }

    /// Makes an inquiry known, so that equal lookups join it.
    pub fn enter(&self, inquiry: &Rc<Inquiry>) {
        self.inquiries
            .borrow_mut()
            .insert(Rc::clone(&inquiry.lookup), Rc::clone(inquiry));
    }

    /// Joins the inquiry that asks the same and is not over yet, if there is one. Says whether it must board another
    /// batch: it became more urgent, or may go with fewer.
    pub fn join(&self, lookup: &Lookup, lane: Lane, size: usize) -> Option<(Rc<Inquiry>, bool)> {
        let inquiry = self
            .inquiries
            .borrow()
            .get(lookup)
            .filter(|inquiry| !inquiry.is_over())
            .cloned()?;
        inquiry.count(lane, 1);
        inquiry.size.set(inquiry.size().min(size));
        let displaced = self.unseat_if(&inquiry, |batch| {
            batch.lane != inquiry.lane() || batch.size > inquiry.size()
        });
        Some((inquiry, displaced))
    }

    /// One of those who wait for it waits no more. Says whether it must board another batch, for those who do.
    pub fn leave(&self, inquiry: &Rc<Inquiry>, lane: Lane) -> bool {
        inquiry.count(lane, -1);
        if !inquiry.is_forsaken() {
            return self.unseat_if(inquiry, |batch| batch.lane != inquiry.lane());
        }
        if let Entry::Occupied(known) = self
            .inquiries
            .borrow_mut()
            .entry(Rc::clone(&inquiry.lookup))
            && Rc::ptr_eq(known.get(), inquiry)
        {
            known.remove();
        }
        self.unseat_if(inquiry, |_| true);
        inquiry.place.take();
        false
    }

    fn unseat_if(&self, inquiry: &Rc<Inquiry>, wrong: impl Fn(&Batch) -> bool) -> bool {
        let Some(Seat { batch, .. }) = inquiry.seat().filter(|seat| wrong(&seat.batch)) else {
            return false;
        };
        let mut riders = batch.riders.borrow_mut();
        let before = riders.len();
        riders.retain(|rider| !Rc::ptr_eq(rider, inquiry));
        if riders.is_empty() {
            self.close(&batch);
        }
        riders.len() < before
    }

    /// Seats the inquiry in a batch of its lane that has room, else in a new one; `open` begins its wait.
    pub fn seat(&self, inquiry: &Rc<Inquiry>, open: impl FnOnce(Rc<Batch>) -> Boarding) -> Seat {
        let (lane, size) = (inquiry.lane(), inquiry.size());
        let mut filling = self.filling.borrow_mut();
        let lane_filling = &mut filling[lane as usize];
        let with_room = lane_filling
            .iter()
            .find(|seat| seat.batch.size == size && seat.batch.len() < size);
        let seat = with_room.cloned().unwrap_or_else(|| {
            let batch = Batch::new(lane, size);
            let seat = Seat {
                boarding: open(Rc::clone(&batch)),
                batch,
            };
            if size > 1 {
                lane_filling.push(seat.clone());
            }
            seat
        });
        seat.batch.riders.borrow_mut().push(Rc::clone(inquiry));
        if size > 1 {
            seat.batch.boarded.notify_waiters();
        }
        inquiry.put(Place::Waiting(seat.clone()));
        seat
    }

    /// Waits for company, where it will surely come: in bulk, while full batches stand before it, and for a few of
    /// the quota's mean intervals after the last of them went.
    pub async fn filled(&self, batch: &Rc<Batch>) {
        if batch.size == 1 || batch.lane == Lane::Interactive {
            return;
        }
        // Those who are ready are no company to wait for.
        yield_now().await;
        while batch.size == self.max_size && batch.len() < self.enough && !batch.hurried.get() {
            let (boarded, departed) = (batch.boarded.notified(), self.departed.notified());
            if self.is_behind_a_full_one(batch) {
                tokio::select! {
                    () = boarded => {}
                    () = departed => {}
                }
            } else if timeout(self.time_to_fill(), boarded).await.is_err() {
                return;
            }
        }
    }

    fn is_behind_a_full_one(&self, batch: &Rc<Batch>) -> bool {
        let full = |seat: &Seat| seat.batch.size == batch.size && seat.batch.len() >= self.enough;
        self.filling.borrow()[batch.lane as usize]
            .iter()
            .any(|seat| full(seat) && !Rc::ptr_eq(&seat.batch, batch))
    }

    fn time_to_fill(&self) -> Duration {
        let Some(full) = self.last_full.get() else {
            return Duration::ZERO;
        };
        full.after(self.filling_time).since(Moment::now())
    }

    /// No more may board.
    pub fn close(&self, batch: &Rc<Batch>) {
        if batch.size > 1 {
            self.filling.borrow_mut()[batch.lane as usize]
                .retain(|seat| !Rc::ptr_eq(&seat.batch, batch));
            self.departed.notify_waiters();
        }
    }

    /// The batch goes: those who are in it, then those who wait in others, the urgent ones first, and of bulk the
    /// last, since the first are next anyway.
    pub fn depart(&self, batch: &Rc<Batch>) -> Vec<Rc<Inquiry>> {
        self.close(batch);
        let mut riders = std::mem::take(&mut *batch.riders.borrow_mut());
        if batch.size > 1 {
            let [interactive, bulk] = &*self.filling.borrow();
            for other in interactive
                .iter()
                .chain(bulk.iter().rev())
                .filter(|seat| seat.batch.size == batch.size)
            {
                let mut others = other.batch.riders.borrow_mut();
                let taken = (batch.size - riders.len()).min(others.len());
                riders.extend(others.drain(..taken));
            }
        }
        if riders.is_empty() || batch.size == 1 {
            return riders;
        }
        self.filling
            .borrow_mut()
            .iter_mut()
            .for_each(|lane| lane.retain(|seat| seat.batch.len() > 0));
        if batch.size == self.max_size && riders.len() >= self.enough {
            self.last_full.set(Some(Moment::now()));
        }
        riders
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
    fn a_wait_that_ended_without_leave_is_joined_by_nobody() {
        let (pool, lookup) = (Pool::new(1, 1, Duration::ZERO), lookup());
        let inquiry = Inquiry::new(&lookup, Lane::Bulk, 1);
        pool.enter(&inquiry);
        let ended = async { Err(Unpermitted::NotSoon) };
        let seat = pool.seat(&inquiry, |_| ended.boxed_local().shared());
        assert!(
            pool.join(&lookup, Lane::Bulk, 1).is_some(),
            "it still waits"
        );

        assert!(
            seat.boarding
                .now_or_never()
                .is_some_and(|ended| ended.is_err())
        );
        assert!(pool.join(&lookup, Lane::Bulk, 1).is_none());

        let next = Inquiry::new(&lookup, Lane::Bulk, 1);
        pool.enter(&next);
        pool.leave(&inquiry, Lane::Bulk);
        pool.leave(&inquiry, Lane::Bulk);
        let (joined, _) = pool
            .join(&lookup, Lane::Bulk, 1)
            .expect("the one that waits now");
        assert!(Rc::ptr_eq(&joined, &next));
    }
}
