//! One of a quota's ledgers, as it is asked: a node that does not answer is let be.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use tokio::{task::spawn_local, time::timeout};

use super::QuotaLedger;
use crate::{
    clock::Moment,
    lane::Lane,
    policy::quota::{Decision, Terms},
    quota::Ledger,
};

/// A part that was not there is not asked for so long.
const REST: Duration = Duration::from_secs(1);

/// A node has so long at least to answer, or as long as a permission is good.
const PATIENCE: Duration = Duration::from_millis(500);

/// One of several ledgers.
pub(super) struct Part {
    pub owner: String,
    pub terms: Terms,
    /// None until it was found.
    pub ledger: RefCell<Option<Rc<QuotaLedger>>>,
    rests_until: Cell<Moment>,
    /// Asks that its node did not answer in time.
    unanswered: Rc<Cell<usize>>,
    pub told: Told,
}

/// What was wrong when it was told last: nobody reads it every two seconds.
#[derive(Default)]
pub(super) struct Told(RefCell<String>);

impl Part {
    /// One that was not found yet.
    pub fn new(owner: String, terms: Terms) -> Self {
        Self {
            owner,
            terms,
            ledger: RefCell::default(),
            rests_until: Cell::default(),
            unanswered: Rc::default(),
            told: Told::default(),
        }
    }

    /// Whether it is to be looked for: it was not found yet, or it is missing for so long that what it counted is past.
    pub fn is_wanted(&self, now: Moment) -> bool {
        let ledger = self.ledger.borrow();
        let Some(ledger) = &*ledger else { return true };
        let is_past = |since| now.since(since) > self.terms.ttl;
        ledger.missing_since().is_some_and(is_past)
    }

    /// None where it cannot be asked now.
    pub async fn ask(&self, lane: Lane, waiting: usize) -> Option<Decision> {
        let now = Moment::now();
        let ledger = self.ledger.borrow().clone()?;
        if self.unanswered.get() > 0 || !self.rests_until.get().since(now).is_zero() {
            return None;
        }
        let mut asking = Rc::clone(&ledger).ask(lane, waiting);
        let patience = self.terms.validity.max(PATIENCE);
        let Ok(decision) = timeout(patience, &mut asking).await else {
            // It is asked again once it has answered; what it gives so late is void.
            let unanswered = Rc::clone(&self.unanswered);
            unanswered.set(unanswered.get() + 1);
            spawn_local(async move {
                let _ = asking.await;
                unanswered.set(unanswered.get() - 1);
            });
            return None;
        };
        if ledger.missing_since().is_some() {
            self.rests_until.set(now.after(REST));
        }
        Some(decision)
    }
}

impl Told {
    pub fn tell(&self, owner: &str, problem: &str) {
        if self.0.replace(problem.to_owned()) != problem {
            tracing::warn!(
                ledger = owner,
                problem,
                "no ledger; its share of the quota is not used until there is one"
            );
        }
    }
}

/// Whoever has room first tells when there is some.
pub(super) fn refused_by_all(refusals: &[Decision]) -> Decision {
    let room_at = refusals.iter().filter_map(|refusal| match refusal {
        Decision::Full(room_at) | Decision::Reserved(room_at) => *room_at,
        Decision::Granted(_) | Decision::Gone => None,
    });
    let room_at = room_at.min();
    let reserved = |refusal: &Decision| matches!(refusal, Decision::Reserved(_));
    if !refusals.is_empty() && refusals.iter().all(reserved) {
        Decision::Reserved(room_at)
    } else {
        Decision::Full(room_at)
    }
}
