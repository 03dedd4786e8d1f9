//! The class table of contract §5, over every status and every code that a body can have.

use bytes::Bytes;
use http::Response;
use lookup_worker::{outcome::Outcome, provider::Adapter};
use serde_json::value::to_raw_value;

use super::target;

/// What an answer comes to, as the table says it.
fn class(adapter: &Adapter, status: u16, body: &str) -> String {
    match outcome(adapter, status, body) {
        Outcome::Found(customers, _) => format!("found {}", customers.len()),
        Outcome::NotFound(_) => "not_found".into(),
        Outcome::Failed(failure) => {
            assert_eq!(failure.http_status, Some(status));
            failure.kind.as_str().into()
        }
    }
}

/// Whether an answer is a refusal: final, and no word on the customer.
fn is_refusal(adapter: &Adapter, status: u16, body: &str) -> bool {
    matches!(outcome(adapter, status, body), Outcome::Failed(failure) if failure.is_refusal())
}

fn outcome(adapter: &Adapter, status: u16, body: &str) -> Outcome {
    let lookup = adapter
        .lookup(&to_raw_value(&target::query(adapter.kind())).unwrap(), None)
        .unwrap();
    let response = Response::builder()
        .status(status)
        .body(Bytes::copy_from_slice(body.as_bytes()))
        .unwrap();
    adapter.read(&lookup, &response, jiff::Timestamp::UNIX_EPOCH)
}

/// Statuses from..=to, and their class for a body that is a JSON object of no meaning.
const TABLE: &[(u16, u16, &str)] = &[
    (100, 199, "bad_response"),
    (200, 200, "bad_response"), // {} is no answer of any kind
    (201, 299, "bad_response"), // but eGain's 204
    (300, 399, "bad_response"),
    (400, 400, "rejected"),
    (401, 401, "unauthorized"),
    (402, 402, "rejected"),
    (403, 403, "forbidden"),
    (404, 404, "endpoint_not_found"), // but Omeda's, Kapture's and Plume's
    (405, 407, "rejected"),
    (408, 408, "timeout"),
    (409, 428, "rejected"),
    (429, 429, "rate_limited"),
    (430, 499, "rejected"),
    (500, 599, "provider_error"),
];

/// The kinds' own documents.
const EXCEPTIONS: &[(&str, u16, &str)] = &[
    ("egain", 204, "not_found"),
    ("omeda", 404, "not_found"),
    ("kapture", 404, "not_found"),
    ("plume", 404, "not_found"),
];

fn by_the_table(kind: &str, status: u16) -> &'static str {
    let exception = EXCEPTIONS
        .iter()
        .find(|(of, at, _)| (*of, *at) == (kind, status))
        .map(|(.., class)| *class);
    exception.unwrap_or_else(|| {
        let row = TABLE
            .iter()
            .find(|(from, to, _)| (*from..=*to).contains(&status));
        row.expect("every status is in the table").2
    })
}

#[test]
fn every_status_of_every_kind_has_the_class_of_the_table() {
    for kind in target::KINDS {
        let adapter = target::plain(kind);
        for status in 100..=599 {
            assert_eq!(
                class(&adapter, status, "{}"),
                by_the_table(kind, status),
                "{kind}, HTTP {status}"
            );
        }
    }
}

/// The classes that say nothing of the customer, whatever the body is.
const REFUSALS: [&str; 4] = [
    "bad_response",
    "endpoint_not_found",
    "forbidden",
    "unauthorized",
];

#[test]
fn every_final_class_is_a_refusal_unless_the_provider_itself_speaks_of_the_customer() {
    for kind in target::KINDS {
        let adapter = target::plain(kind);
        for status in 100..=599 {
            let by_json = by_the_table(kind, status);
            assert_eq!(
                is_refusal(&adapter, status, "{}"),
                REFUSALS.contains(&by_json),
                "{kind}, HTTP {status} with JSON"
            );
            for page in ["<html>502</html>", "", "\"no\""] {
                let by_page = class(&adapter, status, page);
                let refuses = REFUSALS.contains(&&*by_page) || by_page == "rejected";
                assert_eq!(
                    is_refusal(&adapter, status, page),
                    refuses,
                    "{kind}, HTTP {status}, {page:?}"
                );
            }
        }
    }
}

#[test]
fn what_a_body_under_200_rejects_is_the_providers_own_word() {
    for (kind, body) in [
        ("antsomi", r#"{"code":400,"message":"no such operator"}"#),
        ("kapture", r#"{"status":"failed","message":"Try again."}"#),
        (
            "omeda",
            r#"{"Errors":[{"Error":"No phone number found."}]}"#,
        ),
    ] {
        let adapter = target::plain(kind);
        assert_eq!(class(&adapter, 200, body), "rejected", "{kind}");
        assert!(!is_refusal(&adapter, 200, body), "{kind}");
    }
    let antsomi = target::plain("antsomi");
    assert!(is_refusal(&antsomi, 200, r#"{"code":301,"message":"no"}"#));
}

#[test]
fn a_404_that_is_a_page_is_a_wrong_address_for_every_kind() {
    for kind in target::KINDS {
        let adapter = target::plain(kind);
        for body in [
            "",
            "<html>404</html>",
            "not found",
            "\"not found\"",
            "null",
            "404",
            "{",
        ] {
            assert_eq!(
                class(&adapter, 404, body),
                "endpoint_not_found",
                "{kind}, {body}"
            );
        }
    }
}

#[test]
fn every_code_in_antsomis_body_has_its_class() {
    let adapter = target::plain("antsomi");
    for code in -1..=1000 {
        let expected = match code {
            200 => "bad_response", // there is no data
            301 => "forbidden",
            500 => "provider_error",
            _ => "rejected",
        };
        let body = format!(r#"{{"code":{code},"message":"…"}}"#);
        assert_eq!(class(&adapter, 200, &body), expected, "code {code}");
    }
    let limited = r#"{"code":500,"message":"<html><title>429 Too Many Requests</title></html>"}"#;
    assert_eq!(class(&adapter, 200, limited), "rate_limited");
    assert_eq!(class(&adapter, 200, r#"{"code":"five"}"#), "bad_response");
}

#[test]
fn every_status_in_kaptures_body_has_its_class() {
    let adapter = target::plain("kapture");
    for (body, expected) in [
        (
            r#"{"Customer Details":{"id":1},"status":"success"}"#,
            "found 1",
        ),
        (
            r#"{"Customer Details":{"id":1},"Status":"SUCCESS"}"#,
            "found 1",
        ),
        (r#"{"Customer Details":{"id":1}}"#, "found 1"),
        (
            r#"{"Customer Details":{"id":1},"status":"failed"}"#,
            "rejected",
        ),
        (
            r#"{"Customer Details":"It does not exist in our system.","status":"failed"}"#,
            "not_found",
        ),
        (
            r#"{"Customer Details":"It DOES NOT EXIST.","status":"Failed"}"#,
            "not_found",
        ),
        (r#"{"Customer Details":"It does not exist."}"#, "not_found"),
        (
            r#"{"Customer Details":"It does not exist.","status":"success"}"#,
            "bad_response",
        ),
        (
            r#"{"Customer Details":"Try again.","status":"failed"}"#,
            "rejected",
        ),
        (
            r#"{"message":"It does not exist.","status":"failed"}"#,
            "rejected",
        ),
        (
            r#"{"message":"Invalid Auth Key","status":"failed"}"#,
            "unauthorized",
        ),
        (
            r#"{"Message":"invalid auth key","Status":"FAILED"}"#,
            "unauthorized",
        ),
        (r#"{"message":"Invalid Auth Key"}"#, "unauthorized"),
        (r#"{"status":"failed"}"#, "rejected"),
        (r#"{"status":"success"}"#, "bad_response"),
        (
            r#"{"Customer Details":null,"status":"success"}"#,
            "bad_response",
        ),
        (
            r#"{"Customer Details":[],"status":"success"}"#,
            "bad_response",
        ),
    ] {
        assert_eq!(class(&adapter, 200, body), expected, "{body}");
    }
}

#[test]
fn every_error_in_omedas_body_has_its_class_under_every_status_that_bears_one() {
    let adapter = target::plain("omeda");
    let plain =
        r#"{"SubmissionId":"s","Errors":[{"Error":"No phone number found for customer 12345."}]}"#;
    let merged = r#"{"Errors":[{"Error":"Customer id 22 is valid but not active."}],"MergedIntoCustomerId":99999}"#;
    let pending = r#"{"Errors":[{"Error":"OmedaCustomerId 22 is pending deactivation. Please try again later."}]}"#;
    for (status, body, expected) in [
        (200, plain, "rejected"),
        (200, merged, "rejected"),
        (200, pending, "provider_error"),
        (400, plain, "rejected"),
        (400, merged, "rejected"),
        (400, pending, "provider_error"),
        (403, merged, "forbidden"),
        (404, plain, "not_found"),
        (404, merged, "rejected"),
        (404, pending, "provider_error"),
        (500, plain, "provider_error"),
    ] {
        assert_eq!(
            class(&adapter, status, body),
            expected,
            "HTTP {status}, {body}"
        );
    }
}
