//! One attempt of one job: it joins an equal lookup that is under way, or waits in a batch for a permit, and takes its
//! part of the reply.

use std::{rc::Rc, sync::Arc, time::Duration};

use futures_util::future::FutureExt;
use jiff::Timestamp;
use tokio::time::timeout;

use super::{
    Engine, Waiting,
    attempts::{Attempted, Attempts, NOT_SOON, NotMade},
    pool::{Batch, CoalescedLookup, IN_A_HURRY, Pending, PermitWait},
    reply::Reply,
    request::{self, Askers, Permit, SharedRequest},
};
use crate::{
    clock::Moment,
    job::{Job, Stage},
    lane::Lane,
    policy::{batch, circuit::Purpose, quota::Permission},
    provider::class,
    quota::Unpermitted,
};

/// A job that waits for a coalesced lookup, until dropped.
struct Member<'a> {
    engine: &'a Rc<Engine>,
    coalesced: Rc<CoalescedLookup>,
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

    /// One attempt: waits until the lookup is sent, and for its reply. The request is counted as made.
    pub(super) async fn attempt(
        self: &Rc<Self>,
        job: &Job,
        waiting: Waiting,
        attempts: &mut Attempts<'_>,
    ) -> Result<Attempted, NotMade> {
        // First, since the deadline of a job holds also while the provider is left in peace.
        let too_late = || self.too_late("no time was left");
        self.time_left(job.deadline).ok_or_else(too_late)?;
        if !job.lease.lasts_beyond(Moment::now()) {
            return Err(NotMade::LeaseOver);
        }
        if waiting == Waiting::Queued && self.circuit.why().is_some() {
            return Err(NotMade::CircuitOpen);
        }
        if job.step.as_ref().is_some_and(|step| step.is_forsaken()) {
            return Err(NotMade::Forsaken);
        }
        let member = self.member(job, waiting, attempts);
        let mut unsent = Some(self.quota.waits(job.ticket.lane));
        loop {
            let wait = match member.coalesced.pending() {
                Some(Pending::Waiting(wait)) => {
                    job.mark.at(Stage::Waits);
                    wait
                }
                Some(Pending::Requested(request, number)) => {
                    unsent.take();
                    let limit = self.time_left(job.deadline).ok_or_else(too_late)?;
                    attempts.made += 1;
                    job.mark.at(Stage::Asked(attempts.made));
                    let reply = self.await_reply(job, request, limit).await;
                    if let Some(reply) = &reply {
                        attempts.span.shares(&reply.span);
                    }
                    // Whoever is the last to hear it need not copy it.
                    drop(member);
                    return Ok(Attempted::of(reply, number, limit));
                }
                None => return Err(NotMade::Gone),
            };
            tokio::select! {
                biased;
                () = self.circuit.opened(), if waiting == Waiting::Queued => return Err(NotMade::CircuitOpen),
                permitted = wait.permit => permitted.map_err(|problem| self.unpermitted(problem, job))?,
                () = member.coalesced.moved.notified() => {}
                () = until(job.deadline) => return Err(self.unpermitted(Unpermitted::TooLate, job)),
                () = job.lease.over() => return Err(NotMade::LeaseOver),
                not_made = self.ends_step(job) => return Err(not_made),
            }
        }
    }

    fn unpermitted(&self, problem: Unpermitted, job: &Job) -> NotMade {
        match problem {
            Unpermitted::Gone => NotMade::Gone,
            Unpermitted::NotSoon => NotMade::NotSoon,
            Unpermitted::TooLate if self.quota.limit().is_some() => {
                self.missed_quota(job);
                self.too_late("its quota gave no permission")
            }
            Unpermitted::TooLate => self.too_late("no time was left"),
        }
    }

    /// The deadline comes before a permission, unless the provider is left alone and none is asked for.
    fn missed_quota(&self, job: &Job) {
        if !self.circuit.is_open() && self.circuit.paused().is_none() {
            self.quota.missed(job.ticket.lane);
        }
    }

    /// The deadline came before an attempt; for `why`, where the provider is not left alone.
    fn too_late(&self, why: &str) -> NotMade {
        NotMade::TooLate(match (self.circuit.open_by(), self.circuit.paused()) {
            (Some((_, last)), _) => format!("its circuit is open ({})", last.kind.as_str()),
            (None, Some(_)) => "it is paused".to_owned(),
            (None, None) => why.to_owned(),
        })
    }

    /// Returns when a step is not to wait for a permit any longer; a job of the provider's own goes on.
    async fn ends_step(&self, job: &Job) -> NotMade {
        let Some(step) = &job.step else {
            return std::future::pending().await;
        };
        tokio::select! {
            () = step.forsaken() => NotMade::Forsaken,
            () = self.quota.none_before(job.ticket.lane, job.deadline) => {
                self.missed_quota(job);
                NotMade::OutOfQuota
            }
        }
    }

    /// The reply; none where the job's own time was over first. The request goes on for the others.
    async fn await_reply(
        &self,
        job: &Job,
        request: SharedRequest,
        limit: Duration,
    ) -> Option<Rc<Reply>> {
        match job.deadline {
            None => Some(request.await),
            Some(_) => timeout(limit, request).await.ok(),
        }
    }

    /// Joins the coalesced lookup that asks the same, or begins one.
    fn member(self: &Rc<Self>, job: &Job, waiting: Waiting, attempts: &Attempts) -> Member<'_> {
        let (lane, lookup) = (job.ticket.lane, &job.lookup);
        let size = self.batch_limit(job, waiting, attempts);
        let known = (waiting.purpose() == Purpose::Lookup)
            .then(|| self.pool.join(lookup, lane, size))
            .flatten();
        let coalesced = match known {
            Some((coalesced, displaced)) => {
                self.metrics.coalesced.inc();
                if displaced {
                    self.enqueue(&coalesced, Purpose::Lookup);
                }
                coalesced.asked_for(attempts.job);
                coalesced.traced(attempts.span, attempts.made);
                coalesced
            }
            None => self.begin(job, waiting, attempts, size),
        };
        if in_a_hurry(job)
            && let Some(Pending::Waiting(wait)) = coalesced.pending()
        {
            wait.batch.hurry();
        }
        Member {
            engine: self,
            coalesced,
            lane,
        }
    }

    /// Most lookups, this one included, that it may share a request with.
    fn batch_limit(&self, job: &Job, waiting: Waiting, attempts: &Attempts) -> usize {
        let alone = job.lookup.part.is_none()
            || waiting.purpose() == Purpose::Probe
            || self.settings.quota.is_none();
        if alone || self.batches.rests(Moment::now()) {
            return 1;
        }
        let most = self.adapter().most_in_batch();
        batch::largest(most, attempts.failed(), self.settings.retry.max_attempts)
            .min(attempts.batch_limit)
    }

    fn begin(
        self: &Rc<Self>,
        job: &Job,
        waiting: Waiting,
        attempts: &Attempts,
        size: usize,
    ) -> Rc<CoalescedLookup> {
        let coalesced = CoalescedLookup::new(&job.lookup, job.ticket.lane, size);
        coalesced.asked_for(attempts.job);
        coalesced.traced(attempts.span, attempts.made);
        let purpose = waiting.purpose();
        if purpose == Purpose::Lookup {
            self.pool.insert(&coalesced);
        }
        let rushed = size > 1 && self.quota.is_rushed(coalesced.lane());
        let permit = if rushed {
            None
        } else {
            self.permit_at_once(coalesced.lane())
        };
        match permit {
            Some(permit) => self.send(&[Rc::clone(&coalesced)], permit, purpose),
            None => self.enqueue(&coalesced, purpose),
        }
        coalesced
    }

    fn enqueue(self: &Rc<Self>, coalesced: &Rc<CoalescedLookup>, purpose: Purpose) {
        self.pool
            .enqueue(coalesced, |batch| self.permit_wait(batch, purpose));
    }

    /// The wait of a batch, up to when its request begins.
    fn permit_wait(self: &Rc<Self>, batch: Rc<Batch>, purpose: Purpose) -> PermitWait {
        let engine = Rc::clone(self);
        let wait = async move {
            let rushed = engine.quota.is_rushed(Lane::Interactive);
            engine.pool.wait_for_more(&batch, rushed).await;
            let permit = engine
                .permit(batch.lane)
                .await
                .inspect_err(|_| engine.pool.close(&batch))?;
            let together = engine.pool.dispatch(&batch);
            if together.is_empty() {
                engine.quota.wasted();
            } else {
                engine.send(&together, permit, purpose);
            }
            Ok(())
        };
        wait.boxed_local().shared()
    }

    fn send(self: &Rc<Self>, together: &[Rc<CoalescedLookup>], permit: Permit, purpose: Purpose) {
        let lookups = together
            .iter()
            .map(|coalesced| Rc::clone(&coalesced.lookup))
            .collect();
        let spans = together
            .iter()
            .flat_map(|coalesced| coalesced.take_spans())
            .collect();
        let jobs = together
            .iter()
            .flat_map(|coalesced| coalesced.jobs())
            .collect();
        // That of the most urgent, who may share a batch with bulk.
        let urgent = together
            .iter()
            .any(|coalesced| coalesced.lane() == Lane::Interactive);
        let lane = if urgent {
            Lane::Interactive
        } else {
            Lane::Bulk
        };
        let askers = Askers {
            jobs,
            spans,
            purpose,
        };
        let request = request::run(Rc::clone(self), lookups, askers, permit, lane)
            .boxed_local()
            .shared();
        for (number, coalesced) in together.iter().enumerate() {
            coalesced.requested(request.clone(), number);
        }
    }

    /// Everything that a request waits for, where none of it has to be waited for.
    fn permit_at_once(&self, lane: Lane) -> Option<Permit> {
        if self.circuit.paused().is_some() || self.stopping.get() {
            return None;
        }
        let authorization = Ok(self.tokens.at_hand()?);
        let slot = Arc::clone(&self.places).try_acquire_owned().ok()?;
        // Last, since it is good for a moment only and counts.
        let permission = self.quota.permission_at_once(lane)?;
        Some(Permit {
            authorization,
            permission,
            slot: Some(slot),
        })
    }

    /// Everything that a request waits for. A token that has to be fetched is fetched first: a permission is good
    /// for a moment only.
    async fn permit(&self, lane: Lane) -> Result<Permit, Unpermitted> {
        let limit = self.settings.timeout;
        loop {
            self.resumed().await?;
            let client = self.client.borrow().clone();
            let authorization = self.tokens.authorization(&client, limit).await;
            if authorization.is_err() {
                return Ok(Permit {
                    authorization,
                    permission: Permission::UNLIMITED,
                    slot: None,
                });
            }
            if self.stopping.get() && self.settings.quota.is_some() {
                return Err(Unpermitted::Gone);
            }
            // It is asked for once there is room: a permission that waits for room is soon void.
            drop(self.places.acquire().await);
            let permission = self.quota.permission(lane, None).await?;
            let slot = Arc::clone(&self.places).acquire_owned().await.ok();
            // From memory, unless it expired during the wait.
            let authorization = self.tokens.authorization(&client, limit).await;
            if !permission.is_void(Moment::now()) && self.circuit.paused().is_none() {
                return Ok(Permit {
                    authorization,
                    permission,
                    slot,
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

/// Whether it cannot wait for others to share its request. A bulk job with a deadline is rare, a call with one usual.
fn in_a_hurry(job: &Job) -> bool {
    job.deadline.is_some_and(|deadline| {
        job.ticket.lane == Lane::Bulk || class::until(deadline, Timestamp::now()) < IN_A_HURRY
    })
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
        if self.engine.pool.leave(&self.coalesced, self.lane) {
            self.engine.enqueue(&self.coalesced, Purpose::Lookup);
        }
    }
}
