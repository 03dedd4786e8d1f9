use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn company_grows_smaller_with_each_failure_and_the_last_attempt_is_made_alone(
        max_size in 1_usize..2000,
        max_attempts in 1_u32..20,
    ) {
        let sizes: Vec<usize> = (0..max_attempts).map(|failed| largest(max_size, failed, max_attempts)).collect();
        prop_assert!(sizes.is_sorted_by(|before, after| before >= after), "{:?}", sizes);
        prop_assert!(sizes.iter().all(|size| (1..=max_size).contains(size)));
        prop_assert_eq!(sizes.last(), Some(&1));
    }
}

#[test]
fn a_batch_fits_into_an_address_whatever_is_configured() {
    let longest = "9".repeat(LONGEST_PART);
    let address = format!("&phone_number%5B%5D={longest}").repeat(largest(usize::MAX, 0, 8));
    assert!(address.len() < LONGEST_ADDRESS, "{}", address.len());
    assert_eq!(
        [0, 1, 2, 3].map(|failed| largest(25, failed, 8)),
        [25, 5, 2, 1]
    );
}

#[test]
fn batches_that_come_to_nothing_time_and_again_are_not_tried_for_a_while() {
    let (worth, at) = (Worth::default(), |seconds| {
        Moment::at(Duration::from_secs(seconds))
    });
    for _ in 0..3 {
        assert!((1..MOST_IN_VAIN).all(|_| !worth.note(false, at(1))));
        assert!(!worth.note(true, at(1)), "a good one makes up for them");
    }
    assert!((1..MOST_IN_VAIN).all(|_| !worth.note(false, at(1))));
    assert!(!worth.rests(at(1)) && worth.note(false, at(1)) && worth.rests(at(1)));
    assert!(!worth.note(false, at(2)), "told once");
    assert!(worth.rests(at(600)) && !worth.rests(at(601)));
    assert!(
        worth.note(false, at(601)) && worth.rests(at(602)),
        "one is enough for the next rest"
    );
    assert!(!worth.note(true, at(1300)) && !worth.rests(at(1300)));
}
