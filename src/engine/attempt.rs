//! One attempt of one job: it joins who asks the same, or boards a batch, and hears what came of the request.

use std::{rc::Rc, sync::Arc, time::Duration};

use futures_util::future::FutureExt;
use jiff::Timestamp;
use tokio::time::timeout;

use super::{
    Engine, Waiting,
    call::{self, Asking, Call, Heard, Leave},
    course::{Answer, Course, NOT_SOON},
    pool::{Batch, Boarding, Inquiry, Place},
};
use crate::{
    clock::Moment,
    job::{Job, Lane},
    policy::{batch, circuit::Purpose, quota::Permission},
    provider::class,
    quota::Unpermitted,
};

/// Why an attempt was not made.
pub(super) enum Obstacle {
    /// There is no leave.
    Unpermitted(Unpermitted),
    /// The circuit opened.
    Suspended,
    /// The job may not be held here any longer.
    Overdue,
}

/// A job that waits for an inquiry, until dropped.
struct Member<'a> {
    engine: &'a Rc<Engine>,
    inquiry: Rc<Inquiry>,
    lane: Lane,
}

impl Engine {
    /// How long a request may take now; none if it may not begin.
    fn time_left(&self, deadline: Option<Timestamp>) -> Option<Duration> {
        let Some(deadline) = deadline else {
            return Some(self.settings.timeout);
        };
        let left = class::until(deadline, Timestamp::now());
        (!left.is_zero()).then(|| left.min(self.settings.timeout))
    }

    /// One attempt: waits until the inquiry goes, and for what comes of it. Its request is counted as made.
    pub(super) async fn attempt(
        self: &Rc<Self>,
        job: &Job,
        waiting: Waiting,
        course: &mut Course,
    ) -> Result<Answer, Obstacle> {
        // First, since the deadline of a job holds also while the provider is left in peace.
        let too_late = || Obstacle::Unpermitted(Unpermitted::TooLate);
        self.time_left(job.deadline).ok_or_else(too_late)?;
        if !job.lease.lasts_beyond(Moment::now()) {
            return Err(Obstacle::Overdue);
        }
        if waiting == Waiting::Queued && self.circuit.why().is_some() {
            return Err(Obstacle::Suspended);
        }
        let member = self.member(job, waiting, course);
        loop {
            let seat = match member.inquiry.place() {
                Some(Place::Waiting(seat)) => seat,
                Some(Place::Called(call, number)) => {
                    let limit = self.time_left(job.deadline).ok_or_else(too_late)?;
                    course.attempts += 1;
                    let heard = self.hear(job, call, limit).await;
                    if let Some(heard) = &heard {
                        job.span.shares(&heard.span);
                    }
                    // Whoever is the last to hear it need not copy it.
                    drop(member);
                    return Ok(Answer::of(heard, number, limit));
                }
                None => return Err(Obstacle::Unpermitted(Unpermitted::Gone)),
            };
            tokio::select! {
                biased;
                () = self.circuit.opened(), if waiting == Waiting::Queued => return Err(Obstacle::Suspended),
                boarded = seat.boarding => boarded.map_err(Obstacle::Unpermitted)?,
                () = member.inquiry.moved.notified() => {}
                () = until(job.deadline) => return Err(too_late()),
                () = job.lease.over() => return Err(Obstacle::Overdue),
            }
        }
    }

    /// What came of the call; none where the job's own time was over first. The call goes on for the others.
    async fn hear(&self, job: &Job, call: Call, limit: Duration) -> Option<Rc<Heard>> {
        match job.deadline {
            None => Some(call.await),
            Some(_) => timeout(limit, call).await.ok(),
        }
    }

    /// Joins an inquiry for the same, or begins one.
    fn member(self: &Rc<Self>, job: &Job, waiting: Waiting, course: &Course) -> Member<'_> {
        let (lane, lookup) = (job.ticket.lane, &job.lookup);
        let size = self.company(job, waiting, course);
        let known = (waiting.purpose() == Purpose::Lookup)
            .then(|| self.pool.join(lookup, lane, size))
            .flatten();
        let inquiry = match known {
            Some((inquiry, displaced)) => {
                self.metrics.coalesced.inc();
                if displaced {
                    self.board(&inquiry, Purpose::Lookup);
                }
                inquiry.asked_for(course.job);
                inquiry.traced(&job.span, course.attempts);
                inquiry
            }
            None => self.begin(job, waiting, course, size),
        };
        if job.deadline.is_some()
            && let Some(Place::Waiting(seat)) = inquiry.place()
        {
            seat.batch.hurry();
        }
        Member {
            engine: self,
            inquiry,
            lane,
        }
    }

    /// Most lookups, this one included, that it may share a request with.
    fn company(&self, job: &Job, waiting: Waiting, course: &Course) -> usize {
        let alone = job.lookup.part.is_none()
            || waiting.purpose() == Purpose::Probe
            || self.settings.quota.is_none();
        if alone || self.batches.rests(Moment::now()) {
            return 1;
        }
        let most = self.adapter().most_in_batch();
        batch::largest(most, course.failed(), self.settings.retry.max_attempts).min(course.company)
    }

    fn begin(
        self: &Rc<Self>,
        job: &Job,
        waiting: Waiting,
        course: &Course,
        size: usize,
    ) -> Rc<Inquiry> {
        let inquiry = Inquiry::new(&job.lookup, job.ticket.lane, size);
        inquiry.asked_for(course.job);
        inquiry.traced(&job.span, course.attempts);
        let purpose = waiting.purpose();
        if purpose == Purpose::Lookup {
            self.pool.enter(&inquiry);
        }
        match self.leave_at_once(inquiry.lane()) {
            Some(leave) => self.send(&[Rc::clone(&inquiry)], leave, purpose),
            None => self.board(&inquiry, purpose),
        }
        inquiry
    }

    fn board(self: &Rc<Self>, inquiry: &Rc<Inquiry>, purpose: Purpose) {
        self.pool
            .seat(inquiry, |batch| self.boarding(batch, purpose));
    }

    /// The wait of a batch, up to when its call begins.
    fn boarding(self: &Rc<Self>, batch: Rc<Batch>, purpose: Purpose) -> Boarding {
        let engine = Rc::clone(self);
        let boarding = async move {
            engine.pool.filled(&batch).await;
            let leave = engine
                .leave(batch.lane)
                .await
                .inspect_err(|_| engine.pool.close(&batch))?;
            let riders = engine.pool.depart(&batch);
            if riders.is_empty() {
                engine.quota.wasted();
            } else {
                engine.send(&riders, leave, purpose);
            }
            Ok(())
        };
        boarding.boxed_local().shared()
    }

    fn send(self: &Rc<Self>, riders: &[Rc<Inquiry>], leave: Leave, purpose: Purpose) {
        let lookups = riders
            .iter()
            .map(|inquiry| Rc::clone(&inquiry.lookup))
            .collect();
        let spans = riders
            .iter()
            .flat_map(|inquiry| inquiry.take_spans())
            .collect();
        let jobs = riders.iter().flat_map(|inquiry| inquiry.jobs()).collect();
        // That of the most urgent, who may ride with a batch of bulk.
        let urgent = riders
            .iter()
            .any(|inquiry| inquiry.lane() == Lane::Interactive);
        let lane = if urgent {
            Lane::Interactive
        } else {
            Lane::Bulk
        };
        let asking = Asking {
            jobs,
            spans,
            purpose,
        };
        let call = call::run(Rc::clone(self), lookups, asking, leave, lane)
            .boxed_local()
            .shared();
        for (number, inquiry) in riders.iter().enumerate() {
            inquiry.called(call.clone(), number);
        }
    }

    /// Everything that a request waits for, where none of it has to be waited for.
    fn leave_at_once(&self, lane: Lane) -> Option<Leave> {
        if self.circuit.paused().is_some() || self.stopping.get() {
            return None;
        }
        let authorization = Ok(self.tokens.at_hand()?);
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        // Last, since it is good for a moment only and counts.
        let permission = self.quota.permission_at_once(lane)?;
        Some(Leave {
            authorization,
            permission,
            place: Some(place),
        })
    }

    /// Everything that a request waits for. A token that has to be fetched is fetched first: a permission is good
    /// for a moment only.
    async fn leave(&self, lane: Lane) -> Result<Leave, Unpermitted> {
        let limit = self.settings.timeout;
        loop {
            self.resumed().await?;
            let client = self.client.borrow().clone();
            let authorization = self.tokens.authorization(&client, limit).await;
            if authorization.is_err() {
                return Ok(Leave {
                    authorization,
                    permission: Permission::UNLIMITED,
                    place: None,
                });
            }
            if self.stopping.get() && self.settings.quota.is_some() {
                return Err(Unpermitted::Gone);
            }
            // It is asked for once there is room: a permission that waits for room is soon void.
            drop(self.places.acquire().await);
            let permission = self.quota.permission(lane, None).await?;
            let place = Arc::clone(&self.places).acquire_owned().await.ok();
            // From memory, unless it expired during the wait.
            let authorization = self.tokens.authorization(&client, limit).await;
            if !permission.is_void(Moment::now()) && self.circuit.paused().is_none() {
                return Ok(Leave {
                    authorization,
                    permission,
                    place,
                });
            }
            self.quota.wasted();
        }
    }

    /// Waits while the provider is to be left alone.
    async fn resumed(&self) -> Result<(), Unpermitted> {
        timeout(NOT_SOON, self.circuit.resumed())
            .await
            .map_err(|_| Unpermitted::NotSoon)
    }
}

/// Returns at the deadline; where there is none, never.
async fn until(deadline: Option<Timestamp>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(class::until(deadline, Timestamp::now())).await,
        None => std::future::pending().await,
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        if self.engine.pool.leave(&self.inquiry, self.lane) {
            self.engine.board(&self.inquiry, Purpose::Lookup);
        }
    }
}
