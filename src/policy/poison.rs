//! Poison: a job that ends the process that begins it. When is a job suspected of it, and how often is it begun?
//!
//! The broker counts how often it hands a message out again, and dead-letters it beyond the queue's delivery limit.
//! But it counts alike for the job that killed the worker and for those that were only held beside it. So a job that
//! came back [`BEFORE_SUSPECT`] times goes on alone, by a queue of its own kind with a limit of its own: there the
//! poison dies by itself. Together the two queues let a job be begun as often as `amqp.delivery_limit` says.

/// Times that a job comes back to its queue before it is a suspect.
pub const BEFORE_SUSPECT: u32 = 3;

/// What follows from `amqp.delivery_limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspicion {
    before: u32,
    limit: u32,
}

impl Suspicion {
    /// With this `amqp.delivery_limit`, of at least 1. A message is delivered once more than its queue's limit says.
    #[must_use]
    pub fn new(delivery_limit: u32) -> Self {
        let before = BEFORE_SUSPECT.min(delivery_limit);
        Self {
            before,
            limit: delivery_limit - before,
        }
    }

    /// Whether a job that came back this often is a suspect, and not begun beside others.
    #[must_use]
    pub fn falls_on(self, redeliveries: u64) -> bool {
        redeliveries >= self.before.into()
    }

    /// The delivery limit of the suspects' queue; 0 lets a suspect be begun once.
    #[must_use]
    pub fn limit(self) -> u32 {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_begun_as_often_as_without_a_suspects_queue() {
        for limit in [1, 2, 3, 4, 5, 20, u32::MAX - 1] {
            let suspicion = Suspicion::new(limit);
            let beside_others = (0..=u64::from(limit))
                .take(10)
                .filter(|n| !suspicion.falls_on(*n))
                .count();
            let alone = u64::from(suspicion.limit()) + 1;
            assert_eq!(
                beside_others as u64 + alone,
                u64::from(limit) + 1,
                "limit {limit}"
            );
        }
    }

    #[test]
    fn a_suspect_still_reaches_the_worker_that_sets_it_aside() {
        for limit in 1..30 {
            let suspicion = Suspicion::new(limit);
            assert!(!suspicion.falls_on(0), "what is new is no suspect");
            assert!(
                suspicion.falls_on(limit.into()),
                "the broker hands it out {limit} times again, and no more"
            );
        }
    }
}
