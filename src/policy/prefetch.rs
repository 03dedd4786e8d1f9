//! How many deliveries a consumer may hold unsettled: as many as can be in flight, as long as they fit into memory.
//!
//! RabbitMQ bounds them by number alone, and everything within the number arrives at once, before a size is known. So
//! a consumer of jobs begins with a few, and takes a prefetch that fits the sizes seen. A size counts less with each
//! delivery after it, so that one large message does not slow its queue for long.
//!
//! A consumer that holds what it is given for long begins with all: to change a prefetch a consumer is cancelled, and
//! RabbitMQ 3.10 gives what a cancelled one still holds to nobody, if then the node that it was connected to dies.

/// The prefetch of a consumer that has seen nothing yet.
pub const FIRST_LOOK: u16 = 8;

/// The prefetch of one consumer.
#[derive(Debug)]
pub struct Prefetch {
    most: u16,
    budget: usize,
    current: u16,
    /// Bytes that the next deliveries are expected to have.
    expected: usize,
    seen: u16,
}

impl Prefetch {
    /// At most `most` deliveries, `first` of them at first, and about `budget` bytes.
    #[must_use]
    pub fn new(most: u16, first: u16, budget: usize) -> Self {
        Self {
            most,
            budget,
            current: most.min(first),
            expected: 0,
            seen: 0,
        }
    }

    /// No more than this many from now on.
    pub fn bound(&mut self, most: u16) {
        self.most = most;
        self.current = self.current.min(most);
    }

    /// The prefetch to consume with.
    #[must_use]
    pub fn current(&self) -> u16 {
        self.current
    }

    /// Bytes that may be held.
    #[must_use]
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// A body of this many bytes was delivered. Whether another prefetch is worth a new consumer.
    pub fn delivered(&mut self, size: usize) -> bool {
        self.expected = size.max(self.expected - self.expected / 8);
        self.seen = self.seen.saturating_add(1);
        let fitting = self.fitting();
        let grows =
            fitting >= self.current.saturating_mul(2).min(self.most) && fitting > self.current;
        fitting <= self.current / 2 || (grows && self.seen >= self.current)
    }

    /// Takes what fits.
    pub fn adapt(&mut self) {
        if self.seen > 0 {
            self.current = self.fitting();
            self.seen = 0;
        }
    }

    fn fitting(&self) -> u16 {
        let fitting = self.budget / self.expected.max(1);
        u16::try_from(fitting)
            .unwrap_or(u16::MAX)
            .clamp(1, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    /// The prefetch after this many deliveries of one size.
    fn after(prefetch: &mut Prefetch, deliveries: usize, size: usize) -> u16 {
        for _ in 0..deliveries {
            if prefetch.delivered(size) {
                prefetch.adapt();
            }
        }
        prefetch.current()
    }

    #[test]
    fn usual_jobs_have_as_many_as_can_be_in_flight_after_the_first_look() {
        let mut prefetch = Prefetch::new(128, FIRST_LOOK, 32 * MIB);
        assert_eq!(prefetch.current(), FIRST_LOOK);
        assert_eq!(after(&mut prefetch, FIRST_LOOK.into(), 200), 128);
        assert_eq!(
            after(&mut prefetch, 1000, MIB / 4),
            128,
            "so have the largest that may be"
        );
        assert_eq!(after(&mut Prefetch::new(1, FIRST_LOOK, 1), 10, 200), 1);
        assert_eq!(Prefetch::new(5, FIRST_LOOK, MIB).current(), 5);
    }

    #[test]
    fn large_messages_come_by_few_and_small_ones_behind_them_by_many_again() {
        let mut prefetch = Prefetch::new(128, FIRST_LOOK, 32 * MIB);
        after(&mut prefetch, 100, 200);
        assert_eq!(after(&mut prefetch, 1, 100 * MIB), 1, "one is enough");
        assert_eq!(after(&mut prefetch, 100, 200), 128);
        assert_eq!(after(&mut prefetch, 3, 4 * MIB), 8);
    }

    #[test]
    fn sizes_that_vary_a_little_do_not_make_new_consumers() {
        let mut prefetch = Prefetch::new(128, FIRST_LOOK, 32 * MIB);
        after(&mut prefetch, 100, MIB);
        let mut changes = 0;
        for n in 0..1000 {
            if prefetch.delivered(MIB + n % 7 * 1000) {
                prefetch.adapt();
                changes += 1;
            }
        }
        assert_eq!(changes, 0, "at {}", prefetch.current());
    }
}
