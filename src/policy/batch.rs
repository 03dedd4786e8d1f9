//! How many lookups may share one request, and whether that is worth its requests.
//!
//! Where the answer cannot be split among them, the lookups are asked again, fewer at a time, at last each alone.

use std::{cell::Cell, time::Duration};

use crate::clock::Moment;

/// Servers refuse a request whose address is longer than 8 KiB, most often; half of it leaves room for the rest.
const LONGEST_ADDRESS: usize = 4096;

/// Bytes of a request's address that a part takes beside itself, its parameter's name, and the rest of it as a
/// share.
const BESIDE_PART: usize = 40;

/// What a lookup is asked by, at most, in bytes; a longer one goes alone.
pub const LONGEST_PART: usize = 32;

/// How many lookups may go together, where up to `max_size` are configured and `failed` attempts of `max_attempts`
/// were made.
///
/// A failure may be the fault of one lookup among them. So each failure makes the next company much smaller, and
/// the last attempt is made alone: no lookup fails for good by another's fault.
#[must_use]
pub fn largest(max_size: usize, failed: u32, max_attempts: u32) -> usize {
    if failed + 1 >= max_attempts {
        return 1;
    }
    let max_size = max_size.min(LONGEST_ADDRESS / (LONGEST_PART + BESIDE_PART));
    (0..failed.min(8))
        .fold(max_size, |size, _| size.isqrt())
        .max(1)
}

/// After so many batches in a row that brought nothing, batches are not tried for a while.
const MOST_IN_VAIN: u32 = 8;

/// How long they are not tried. Then one is, and the next rest begins or all is well.
const REST: Duration = Duration::from_mins(10);

/// Whether batches are worth their requests: a provider that refuses every one of them, or answers so that none
/// can be split, is asked for each lookup alone.
#[derive(Debug, Default)]
pub struct Worth {
    in_vain: Cell<u32>,
    rest_until: Cell<Moment>,
}

impl Worth {
    /// A batch was split, or came to nothing. Says whether a rest begins with it.
    pub fn note(&self, split: bool, now: Moment) -> bool {
        self.in_vain.set(if split {
            0
        } else {
            self.in_vain.get().saturating_add(1)
        });
        let begins = self.in_vain.get() >= MOST_IN_VAIN && !self.rests(now);
        if begins {
            self.rest_until.set(now.after(REST));
        }
        begins
    }

    /// Whether none are tried now.
    #[must_use]
    pub fn rests(&self, now: Moment) -> bool {
        now < self.rest_until.get()
    }
}

#[cfg(test)]
mod tests;
