//! Which lookups may share one request, and whose each part of its answer is: never a guess.
//!
//! The provider is asked for several numbers at once, and answers with one list of customers. A customer belongs to
//! the lookup whose number it has. The list is split only where it is certain to be the whole answer and nothing
//! in it belongs to nobody.

use crate::{
    config::PhoneFormat,
    customer::{Customer, Page},
    outcome::Outcome,
    policy::batch::LONGEST_PART,
    provider::phone,
};

/// Whether a number can be told from others in an answer.
#[must_use]
pub fn is_part(number: &str) -> bool {
    number.len() <= LONGEST_PART && number.bytes().all(|byte| byte.is_ascii_digit())
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
