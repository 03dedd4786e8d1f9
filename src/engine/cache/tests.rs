use std::time::Duration;

use url::Url;

use super::*;
use crate::{
    customer::Customer,
    failure::{ErrorKind, Failure},
    provider::Adapter,
};

fn lookup(phone: u32, raw: bool) -> Rc<Lookup> {
    let table = [("token", "t")].map(|(key, value)| (key.to_owned(), ::config::Value::from(value)));
    let table = ::config::Value::from(std::collections::HashMap::from(table));
    let base = Url::parse("https://example.com").unwrap();
    let (configured, _) = Adapter::configure("providers.a", "antsomi", &base, table);
    let (adapter, _) = configured.unwrap();
    let raw_value = |text: String| serde_json::value::RawValue::from_string(text).unwrap();
    let query = raw_value(format!(r#"{{"phone":"{phone}"}}"#));
    let options = raw_value(format!(r#"{{"raw":{raw}}}"#));
    Rc::new(adapter.lookup(&query, Some(&options)).unwrap())
}

fn cache(ttl: u64, not_found_ttl: u64, capacity: usize) -> Cache {
    let seconds = Duration::from_secs;
    Cache::new(&config::Cache {
        ttl: seconds(ttl),
        not_found_ttl: seconds(not_found_ttl),
        capacity,
    })
}

fn at(seconds: u64) -> Moment {
    Moment::at(Duration::from_secs(seconds))
}

fn found() -> Outcome {
    Outcome::Found(vec![Customer::default()], None)
}

#[test]
fn what_was_found_and_nobody_have_their_own_times_and_a_failure_none() {
    let cache = cache(10, 5, 100);
    cache.remember(&lookup(1, false), &found(), None, 100, at(0));
    cache.remember(
        &lookup(2, false),
        &Outcome::NotFound(None),
        None,
        100,
        at(0),
    );
    cache.remember(
        &lookup(3, false),
        &Outcome::Failed(Failure::new(ErrorKind::Rejected, "")),
        None,
        100,
        at(0),
    );
    let known = |phone, second| {
        cache
            .recall(&lookup(phone, false), at(second))
            .map(|(outcome, _)| outcome)
    };
    assert_eq!(
        [known(1, 4), known(2, 4), known(3, 4)],
        [Some(found()), Some(Outcome::NotFound(None)), None]
    );
    assert_eq!([known(1, 5), known(2, 5)], [Some(found()), None]);
    assert_eq!(known(1, 10), None);
    assert_eq!(cache.state.borrow().bytes, 0);
}

#[test]
fn it_is_off_unless_configured() {
    let settings = config::Cache::default();
    let cache = Cache::new(&settings);
    cache.remember(&lookup(1, false), &found(), None, 100, at(0));
    assert_eq!(cache.recall(&lookup(1, false), at(0)), None);
}

#[test]
fn it_is_bounded_by_number_and_by_bytes_and_forgets_what_was_used_longest_ago() {
    let cache = cache(10, 10, 3);
    for phone in [1, 2, 3] {
        cache.remember(&lookup(phone, false), &found(), None, 100, at(0));
    }
    assert!(cache.recall(&lookup(1, false), at(1)).is_some());
    cache.remember(&lookup(4, false), &found(), None, 100, at(1));
    let known = [1, 2, 3, 4].map(|phone| cache.recall(&lookup(phone, false), at(1)).is_some());
    assert_eq!(known, [true, false, true, true]);

    let cache = self::cache(10, 10, 10_000);
    for phone in 0..100 {
        cache.remember(
            &lookup(phone, false),
            &found(),
            None,
            MOST_BYTES / 10,
            at(0),
        );
    }
    let state = cache.state.borrow();
    assert!(
        state.bytes <= MOST_BYTES && state.answers.len() == 9,
        "{} in {}",
        state.answers.len(),
        state.bytes
    );
}

#[test]
fn an_answer_without_a_payload_is_none_for_who_wants_one() {
    let cache = cache(10, 10, 10);
    cache.remember(&lookup(1, false), &found(), None, 100, at(0));
    assert_eq!(cache.recall(&lookup(1, true), at(1)), None);
    let payload = Bytes::from_static(b"{}");
    cache.remember(&lookup(1, true), &found(), Some(&payload), 100, at(1));
    assert_eq!(
        cache.recall(&lookup(1, true), at(1)),
        Some((found(), Some(payload)))
    );
    assert_eq!(
        cache.recall(&lookup(1, false), at(1)),
        Some((found(), None))
    );
}
