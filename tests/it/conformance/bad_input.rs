//! What no document describes: every kind says what it expected and where, and never makes a customer of it.

use bytes::Bytes;
use http::Response;
use lookup_worker::{failure::ErrorKind, outcome::Outcome, provider::Adapter};
use serde_json::value::to_raw_value;

use super::target;

fn message(adapter: &Adapter, body: &[u8]) -> String {
    let lookup = adapter
        .lookup(&to_raw_value(&target::query(adapter.kind())).unwrap(), None)
        .unwrap();
    let response = Response::new(Bytes::copy_from_slice(body));
    match adapter.read(&lookup, &response, jiff::Timestamp::UNIX_EPOCH) {
        Outcome::Failed(failure) => {
            assert_eq!(
                (failure.kind, failure.http_status),
                (ErrorKind::BadResponse, Some(200))
            );
            let whole = failure.message.into_owned();
            let problem =
                whole.strip_prefix("HTTP 200, but the body is not as the document says: ");
            problem.unwrap_or_else(|| panic!("{whole}")).to_owned()
        }
        other => panic!("{} makes {other:?} of it", adapter.kind()),
    }
}

/// A documented answer with one customer.
fn answer(kind: &str) -> &'static str {
    match kind {
        "antsomi" => {
            r#"{"code":200,"data":{"entries":[{"customer_id":{"value":"1"}}],"meta":{"total":1}}}"#
        }
        "omeda" => r#"{"Customer":"https://x/customer/1/*","PhoneNumbers":[{"PhoneNumber":"1"}]}"#,
        "kapture" => r#"{"Customer Details":{"id":1,"contacts":[]},"status":"success"}"#,
        "egain" => r#"{"customer":[{"id":"1","contacts":{"contact":[]}}]}"#,
        _ => r#"[{"id":"1","locations":[{"id":"2"}]}]"#,
    }
}

#[test]
fn what_is_no_json_is_said_to_be_none_with_the_place() {
    for kind in target::KINDS {
        let adapter = target::plain(kind);
        let deep = ["[", r#"{"a":"#].map(|open| open.repeat(10_000));
        for (body, expected) in [
            (
                "",
                "expected JSON: EOF while parsing a value at line 1 column 0",
            ),
            (
                "<html>200</html>",
                "expected JSON, got a page (HTML or XML): a proxy's, a login's or a notice of maintenance; \
                 check the provider's base_url, and what stands between",
            ),
            (
                "not found",
                "expected JSON: expected ident at line 1 column 2",
            ),
            (
                "{'a':1}",
                "expected JSON: key must be a string at line 1 column 2",
            ),
            (
                "{\"a\":1}}",
                "expected JSON: trailing characters at line 1 column 8",
            ),
            (
                &deep[0],
                "expected JSON: EOF while parsing a list at line 1 column 10000",
            ),
            (
                &deep[1],
                "expected JSON: EOF while parsing a value at line 1 column 50000",
            ),
        ] {
            assert_eq!(message(&adapter, body.as_bytes()), expected, "{kind}");
        }
        assert_eq!(
            message(&adapter, b"{\"a\":\"\xff\"}"),
            "expected UTF-8, other bytes came",
            "{kind}"
        );
        assert_eq!(
            message(&adapter, b"\x1f\x8b\x08\0\0\0\0\0"),
            "expected UTF-8, other bytes came",
            "{kind}"
        );
    }
}

#[test]
fn an_answer_cut_short_anywhere_is_no_answer() {
    for kind in target::KINDS {
        let adapter = target::plain(kind);
        let whole = answer(kind);
        for end in 0..whole.len() {
            assert!(
                message(&adapter, &whole.as_bytes()[..end]).starts_with("expected JSON: EOF"),
                "{kind} at {end}"
            );
        }
    }
}

#[test]
fn json_of_another_shape_is_said_to_be_so_with_the_field() {
    for (kind, body, expected) in [
        ("antsomi", "[]", "expected an object, got an array"),
        ("antsomi", "{}", "`data`: missing; expected an object"),
        (
            "antsomi",
            r#"{"code":200,"data":"none"}"#,
            "`data`: expected an object, got a string",
        ),
        (
            "antsomi",
            r#"{"data":{"entries":{}}}"#,
            "`data.entries`: expected an array, got an object",
        ),
        (
            "antsomi",
            r#"{"data":{"entries":[{}]}}"#,
            "`data.entries[0].customer_id.value`: missing; expected a string that is not blank, or a whole number",
        ),
        ("omeda", "null", "expected an object, got null"),
        ("omeda", "{}", "`PhoneNumbers`: missing; expected an array"),
        (
            "omeda",
            r#"{"PhoneNumbers":"none"}"#,
            "`PhoneNumbers`: expected an array, got a string",
        ),
        (
            "omeda",
            r#"{"PhoneNumbers":[7]}"#,
            "`Customer`: missing; expected the customer's address, there is no number either",
        ),
        ("kapture", "7", "expected an object, got an integer"),
        (
            "kapture",
            "{}",
            "`Customer Details`: missing; expected an object",
        ),
        (
            "kapture",
            r#"{"Customer Details":[]}"#,
            "`Customer Details`: expected an object, got an array",
        ),
        ("egain", "{}", "`customer`: missing; expected an array"),
        (
            "egain",
            r#"{"customer":{}}"#,
            "`customer`: expected an array, got an object",
        ),
        (
            "egain",
            r#"{"customer":[{}]}"#,
            "`customer[0].id`: missing; expected a string that is not blank, or a whole number",
        ),
        ("egain", "[[]]", "expected an object, got an array"),
        ("plume", "[[]]", "`[0]`: expected an object, got an array"),
        ("plume", "{}", "expected an array, got an object"),
        (
            "plume",
            "[{}]",
            "`[0].id`: missing; expected a string that is not blank, or a whole number",
        ),
        (
            "plume",
            r#"[{"id":{}}]"#,
            "`[0].id`: expected a string that is not blank, or a whole number, got an object",
        ),
    ] {
        assert_eq!(
            message(&target::plain(kind), body.as_bytes()),
            expected,
            "{kind}: {body}"
        );
    }
}
