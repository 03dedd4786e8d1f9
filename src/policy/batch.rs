//! Which lookups may share one request, and whose each part of its answer is: never a guess.
//!
//! A provider is asked for several numbers at once, and answers with one list of customers. A customer belongs to
//! the lookup whose number it has. The list is split only where it is certain to be the whole answer and nothing
//! in it belongs to nobody; else the lookups are asked again, fewer at a time, at last each alone.

use std::{cell::Cell, time::Duration};

use crate::{
    clock::Moment,
    config::PhoneFormat,
    customer::{Customer, Page},
    provider::{Outcome, phone},
};

/// Servers refuse a request whose address is longer than 8 KiB, most often; half of it leaves room for the rest.
const LONGEST_ADDRESS: usize = 4096;

/// Bytes of a request's address that a part takes beside itself, its parameter's name, and the rest of it as a
/// share.
const BESIDE_PART: usize = 40;

/// A longer number is none; it would go alone.
const LONGEST_PART: usize = 32;

/// Whether a number can be told from others in an answer.
#[must_use]
pub fn is_part(number: &str) -> bool {
    number.len() <= LONGEST_PART && number.bytes().all(|byte| byte.is_ascii_digit())
}

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

/// Each lookup's own outcome, in the order of `asked`, which are different numbers; none where it is not certain
/// whose is what. `total` is what the provider says that there is; where it does not, a list shorter than
/// `shortest_page`, the least that a full page has, is the whole.
#[must_use]
pub fn split(
    asked: &[&str],
    customers: Vec<Customer>,
    total: Option<u64>,
    shortest_page: usize,
) -> Option<Vec<Outcome>> {
    let whole = total.map_or(customers.len() < shortest_page, |total| {
        total == customers.len() as u64
    });
    if !whole {
        return None;
    }
    let mut shares = vec![Vec::new(); asked.len()];
    for customer in customers {
        let [given] = &*customer.phones else {
            return None;
        };
        let digits = phone::written(&given.number, PhoneFormat::Digits, "").ok()?;
        let owner = asked.iter().position(|number| *number == digits)?;
        shares[owner].push(customer);
    }
    let outcome = |share: Vec<Customer>| {
        let page = Page {
            total: Some(share.len() as u64),
            ..Page::default()
        };
        Outcome::of(share, Some(page))
    };
    Some(shares.into_iter().map(outcome).collect())
}

#[cfg(test)]
mod tests;
