use super::*;

fn sent(phone: &str) -> Result<String, String> {
    written(phone, PhoneFormat::Digits, "query.phone").map_err(|refusal| refusal.to_string())
}

#[test]
fn separators_go_and_digits_stay() {
    for phone in [
        "+84 907 089 782",
        "84907089782",
        "+84-907.089/782",
        "(+84) 907 089 782",
        "\u{202a}+84\u{a0}907\u{2011}089782\u{202c}",
    ] {
        assert_eq!(sent(phone).unwrap(), "84907089782", "{phone:?}");
    }
}

#[test]
fn what_would_be_another_number_is_refused() {
    for phone in [
        "",
        "  ",
        "+",
        "++84907089782",
        "call me",
        "1-800-FLOWERS",
        "84+907",
        "84907 ext 5",
        "84907;ext=5",
        "tel:+84907089782",
        "٠١٢٣",
        "8.4907089782e10",
    ] {
        let refusal = sent(phone).unwrap_err();
        assert!(
            refusal.starts_with("`query.phone`: expected a telephone number"),
            "{phone:?}: {refusal}"
        );
        assert!(!refusal.contains("hidden"), "{phone:?}: {refusal}");
    }
}

#[test]
fn a_trunk_zero_in_brackets_behind_a_country_code_is_left_out() {
    for (phone, digits) in [
        ("+84 (0)907 089 782", "84907089782"),
        ("+44 (0)20 7946 0018", "442079460018"),
        ("+44(0)2079460018", "442079460018"),
        ("+44 ( 0 ) 20 7946 0018", "442079460018"),
        ("(+44) (0) 20-7946-0018", "442079460018"),
        ("44 (0)20 7946 0018", "442079460018"),
        ("0044 (0)20 7946 0018", "00442079460018"),
        ("+353 (0)1 234 5678", "35312345678"),
        // There is no country code before it, so it is the number's own.
        ("(0)20 7946 0018", "02079460018"),
        ("(020) 7946 0018", "02079460018"),
        // Italy's numbers keep it.
        ("+39 (0)6 1234 5678", "390612345678"),
        // Nothing is known about it.
        ("0044 20 7946 0018", "00442079460018"),
    ] {
        assert_eq!(sent(phone).as_deref(), Ok(digits), "{phone:?}");
    }
    for phone in ["+4420 (0)7946 0018", "020 (0)7946 0018", "+44 (0)(0)20"] {
        let refusal = sent(phone).unwrap_err();
        assert!(refusal.contains("'(0)' behind a country code"), "{refusal}");
    }
}

#[test]
fn a_country_code_alone_is_nobodys_number() {
    for phone in ["+84 (0)", "84(0) ", "+39 ( 0 ) -"] {
        let refusal = sent(phone).unwrap_err();
        assert!(refusal.contains("behind '(0)'"), "{refusal}");
    }
}

#[test]
fn a_number_that_went_through_a_float_is_refused() {
    for phone in [
        "84907089782.0",
        "+84907089782.0",
        " 84907089782.00 ",
        "84907089782.000",
        "84907089782.5",
        "+84 907089782.0",
        "84.907.089.782.0",
        "(+84) 907-089-782.0 ",
    ] {
        let refusal = sent(phone).unwrap_err();
        assert!(refusal.contains("a fraction"), "{phone:?}: {refusal}");
    }
    for phone in [
        "555.1234",
        "01.23.45.67.89",
        "01.23.45.67.00",
        "+33.123456789",
        "+49 30 12345-0",
    ] {
        assert!(sent(phone).is_ok(), "{phone:?}");
    }
}

#[test]
fn two_numbers_in_one_field_are_refused() {
    for phone in [
        "84907089782 / 84907089783",
        "84907089782/84907089783",
        "5551234 / 5555678",
        "555-1234/555-5678",
        "5551234\n5555678",
        "5551234 5555678",
    ] {
        let refusal = sent(phone).unwrap_err();
        assert!(refusal.contains("got two in one"), "{phone:?}: {refusal}");
    }
    for phone in ["089 / 12 34 56", "+49 171/1234567", "+84 907089782"] {
        assert!(sent(phone).is_ok(), "{phone:?}");
    }
}

#[test]
fn more_than_15_digits_are_no_number() {
    assert_eq!(sent(&"9".repeat(15)), Ok("9".repeat(15)));
    for count in [16, 40] {
        let expected =
            format!("`query.phone`: expected a telephone number of at most 15 digits, got {count}");
        assert_eq!(sent(&"9".repeat(count)), Err(expected));
    }
    assert!(sent("+44 (0)20 7946 0018 1234").is_err());
    // A trunk zero is none of them.
    assert_eq!(sent("+84 (0)123 456 789 012 3").unwrap().len(), 15);
}

#[test]
fn a_word_for_a_hidden_caller_is_told_as_one() {
    for word in [
        "anonymous",
        "Anonymous",
        "Restricted",
        "Unavailable",
        "Withheld",
        "PRIVATE NUMBER",
        "No Caller ID",
        "unknown",
        "sip:anonymous@anonymous.invalid",
        "anonymous@192.0.2.1",
        "Numéro privé",
    ] {
        let refusal = sent(word).unwrap_err();
        assert!(refusal.contains("a hidden caller"), "{word:?}: {refusal}");
        assert!(refusal.contains("leave such calls out"), "{refusal}");
        assert!(!refusal.contains(word), "{refusal}");
    }
}

#[test]
fn as_is_leaves_all_but_the_empty_as_it_is() {
    assert_eq!(
        written("+84 907 x5", PhoneFormat::AsIs, "query.phone").unwrap(),
        "+84 907 x5"
    );
    assert!(written(" ", PhoneFormat::AsIs, "query.phone").is_err());
}

#[test]
fn two_notations_may_be_one_number() {
    for (one, other) in [
        ("84907089782", "+84 907-089-782"),
        ("84907089782", "0907089782"),
        ("84907089782", "0084907089782"),
        ("84907089782", "84907089782.0"),
        ("+84 (0)907 089 782", "84907089782"),
        ("907089782", "84907089782"),
        ("0012", "12"),
        ("", ""),
    ] {
        assert!(may_be_one(one, other), "{one} {other}");
        assert!(may_be_one(other, one), "{other} {one}");
    }
    for (one, other) in [
        ("84907089782", "84907089783"),
        ("84907089782", "089782"),
        ("112", "84112"),
        ("84907089782", "84908089782"),
        ("84907089782", ""),
    ] {
        assert!(!may_be_one(one, other), "{one} {other}");
        assert!(!may_be_one(other, one), "{other} {one}");
    }
}
