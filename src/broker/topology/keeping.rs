//! How long a queue keeps for a consumer what it holds, once the consumer's node is gone: a node of a cluster that was
//! killed, or that the others cannot see. RabbitMQ 4.3 keeps it for a minute by itself, so that a call which a worker
//! held by that node waits as long, though the worker has long connected to another one. Up to 4.2 it gives it to
//! others at once, and passes over the argument.
//!
//! Why it is so: `docs/decisions/0011-what-a-lost-node-held.md`.
//!
//! A queue that was declared without it, as earlier versions did, or with another time, is taken as it is: nothing that
//! lies in it depends on it, and a policy can do the same for it.

use std::cell::Cell;

/// The argument that queues are declared with.
pub(super) const ARGUMENT: &str = "x-consumer-disconnected-timeout";

/// The same, as the key of a policy.
pub(in crate::broker) const POLICY: &str = "consumer-disconnected-timeout";

/// What a worker asks for, in milliseconds. A node that is back sooner gives up what its consumers held anyway.
pub(in crate::broker) const WANTED: i32 = 1000;

/// What queues that are there are declared with: as wanted, until one is found to be otherwise, as most likely all of
/// one broker are. So a broker has one refusal in its log for each connection, and not one for each queue.
pub(in crate::broker) struct Keeping(Cell<Option<i32>>);

impl Default for Keeping {
    fn default() -> Self {
        Self(Cell::new(Some(WANTED)))
    }
}

impl Keeping {
    /// The argument of the next declaration.
    pub fn get(&self) -> Option<i32> {
        self.0.get()
    }

    /// What the next declaration has, where the broker refused one for this argument alone.
    pub fn adopt(&self, refusal: &str) -> Option<There> {
        let there = there(refusal)?;
        self.0.set(there.value());
        Some(there)
    }
}

/// What a queue was declared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum There {
    Nothing,
    Value(i32),
}

impl There {
    pub fn value(self) -> Option<i32> {
        match self {
            Self::Nothing => None,
            Self::Value(value) => Some(value),
        }
    }
}

/// What is there, as the broker says that it is not what was asked for.
fn there(refusal: &str) -> Option<There> {
    let (_, rest) = refusal.split_once(&format!("inequivalent arg '{ARGUMENT}'"))?;
    let (_, current) = rest.split_once("but current is ")?;
    if current.starts_with("none") {
        return Some(There::Nothing);
    }
    let value = current.strip_prefix("the value '")?.split('\'').next()?;
    value.parse().ok().map(There::Value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_queue_was_declared_with_is_read_from_the_refusal_of_another_time() {
        let refusal = |argument: &str, current: &str| {
            format!(
                "PRECONDITION_FAILED - inequivalent arg '{argument}' for queue 'q' in vhost '/': received the value \
                 '1000' of type 'signedint' but current is {current}; advice"
            )
        };
        assert_eq!(there(&refusal(ARGUMENT, "none")), Some(There::Nothing));
        let other = "the value '5000' of type 'long'";
        assert_eq!(there(&refusal(ARGUMENT, other)), Some(There::Value(5000)));
        assert_eq!(there(&refusal("x-delivery-limit", other)), None);
        assert_eq!(there("no such thing"), None);

        let keeping = Keeping::default();
        assert_eq!(keeping.adopt(&refusal("x-delivery-limit", "none")), None);
        assert_eq!(keeping.get(), Some(WANTED));
        assert_eq!(
            keeping.adopt(&refusal(ARGUMENT, "none")),
            Some(There::Nothing)
        );
        assert_eq!(keeping.get(), None);
    }
}
