use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::customer::Phone;

/// The page of which a full one has no fewer.
const PAGE: usize = 25;

fn customer(id: usize, number: &str) -> Customer {
    let phones = vec![Phone {
        number: number.to_owned(),
        ..Phone::default()
    }];
    Customer {
        customer_id: format!("c-{id}"),
        phones,
        ..Customer::default()
    }
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("8490{n:07}")).collect()
}

fn asked(numbers: &[String]) -> Vec<&str> {
    numbers.iter().map(String::as_str).collect()
}

/// As one provider writes a number and the next.
fn written(number: &str, form: u8) -> String {
    match form % 3 {
        0 => number.to_owned(),
        1 => format!("+{number}"),
        _ => format!("+{} {}", &number[..2], &number[2..]),
    }
}

/// Customers of some of `count` numbers, several of one and none of another, in any order.
fn answer(count: usize) -> impl Strategy<Value = (Vec<String>, Vec<(usize, Customer)>)> {
    vec((0..count, any::<u8>()), 0..40).prop_map(move |entries| {
        let numbers = numbers(count);
        let entry = |(id, (owner, form)): (usize, (usize, u8))| {
            (owner, customer(id, &written(&numbers[owner], form)))
        };
        let entries = entries.into_iter().enumerate().map(entry).collect();
        (numbers, entries)
    })
}

proptest! {
    #[test]
    fn each_lookup_has_exactly_its_own_customers((numbers, entries) in (1_usize..30).prop_flat_map(answer)) {
        let everybody: Vec<Customer> = entries.iter().map(|(_, customer)| customer.clone()).collect();
        let total = Some(everybody.len() as u64);
        let outcomes = split(&asked(&numbers), everybody, total, PAGE).expect("nothing is uncertain");
        for (at, outcome) in outcomes.into_iter().enumerate() {
            let own: Vec<Customer> =
                entries.iter().filter(|(owner, _)| *owner == at).map(|(_, customer)| customer.clone()).collect();
            let page = Page { total: Some(own.len() as u64), ..Page::default() };
            prop_assert_eq!(outcome, Outcome::of(own, Some(page)));
        }
    }

    #[test]
    fn one_customer_too_many_and_nothing_is_split(
        (numbers, entries) in answer(5),
        at in any::<Index>(),
        stranger in prop_oneof![
            Just(customer(99, "84999999999")),
            Just(customer(99, "8490000000")),
            Just(customer(99, "849000000000")),
            Just(customer(99, "84900000000 ext 1")),
            Just(customer(99, "somebody")),
            Just(Customer { customer_id: "c-99".into(), ..Customer::default() }),
        ],
        told in any::<bool>(),
    ) {
        let mut everybody: Vec<Customer> = entries.into_iter().map(|(_, customer)| customer).collect();
        everybody.insert(at.index(everybody.len() + 1), stranger);
        let total = told.then_some(everybody.len() as u64);
        prop_assert_eq!(split(&asked(&numbers), everybody, total, usize::MAX), None);
    }

    #[test]
    fn another_total_than_there_are_customers_and_nothing_is_split(
        (numbers, entries) in answer(5),
        total in 0_u64..100,
    ) {
        let everybody: Vec<Customer> = entries.into_iter().map(|(_, customer)| customer).collect();
        prop_assume!(total != everybody.len() as u64);
        prop_assert_eq!(split(&asked(&numbers), everybody, Some(total), PAGE), None);
    }

    #[test]
    fn without_a_total_a_page_that_may_be_full_is_not_split((numbers, entries) in answer(5)) {
        let everybody: Vec<Customer> = entries.into_iter().map(|(_, customer)| customer).collect();
        let may_be_full = everybody.len() >= PAGE;
        prop_assert_eq!(split(&asked(&numbers), everybody, None, PAGE).is_none(), may_be_full);
    }
}

#[test]
fn a_number_longer_than_a_part_may_be_goes_alone() {
    let longest = "9".repeat(LONGEST_PART);
    assert!(is_part(&longest) && !is_part(&(longest.clone() + "9")));
}

#[test]
fn what_is_not_digits_alone_goes_alone() {
    assert!(is_part("84907089782"));
    for number in ["+84907089782", "84 907", "call me", "٠١٢٣"] {
        assert!(!is_part(number), "{number}");
    }
}
