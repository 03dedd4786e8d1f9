//! Odd words in an answer: what a customer can be without never costs the customer, and what it cannot be without is
//! never guessed.

use bytes::Bytes;
use http::Response;
use lookup_worker::{failure::ErrorKind, outcome::Outcome};
use serde_json::{Value, json, value::to_raw_value};

use super::target;

/// A kind's documented answer with all that a result reads of it; what of it may be odd, and what may not.
type Answer = (&'static str, Value, Vec<&'static str>, Vec<&'static str>);

/// Of each kind; the customer's id is `1`, or for omeda that which was asked for.
fn answers() -> [Answer; 5] {
    [antsomi(), omeda(), kapture(), egain(), plume()]
}

fn antsomi() -> Answer {
    (
        "antsomi",
        json!({ "code": 200, "message": "Success", "codeMessage": null, "data": {
                "entries": [{ "customer_id": { "value": "1" }, "phone": { "value": "84907089782" } }],
                "meta": { "total": 1 } } }),
        vec![
            "/message",
            "/codeMessage",
            "/data/meta",
            "/data/meta/total",
            "/data/entries/0/phone",
        ],
        vec!["/data/entries/0/customer_id/value"],
    )
}

fn omeda() -> Answer {
    (
        "omeda",
        json!({ "Customer": "https://x/brand/FOO/customer/12345/*", "SubmissionId": "s", "PhoneNumbers": [
                { "Id": 1, "PhoneContactType": 200, "PhoneNumber": "1", "Extension": "2",
                  "ChangedDate": "2015-03-08 21:23:34", "StatusCode": 1 }, { "PhoneNumber": "2" }] }),
        vec![
            "/Customer",
            "/SubmissionId",
            "/PhoneNumbers",
            "/PhoneNumbers/0",
            "/PhoneNumbers/0/Id",
            "/PhoneNumbers/0/PhoneContactType",
            "/PhoneNumbers/0/PhoneNumber",
            "/PhoneNumbers/0/Extension",
            "/PhoneNumbers/0/ChangedDate",
            "/PhoneNumbers/0/StatusCode",
        ],
        vec![],
    )
}

fn kapture() -> Answer {
    (
        "kapture",
        json!({ "status": "success", "message": "found", "Customer Details": { "id": 1, "name": "Ann",
                "customerType": "gold", "generationDate": { "year": 2024, "month": 4, "dayOfMonth": 2,
                "hourOfDay": 1, "minute": 2, "second": 3 }, "contacts": [{ "id": 7, "contactPerson": "Bob",
                "phone": "1", "additionalPhone": "2", "email": "a@b.c", "isPrimaryContact": true }] } }),
        vec![
            "/message",
            "/Customer Details/name",
            "/Customer Details/customerType",
            "/Customer Details/generationDate",
            "/Customer Details/generationDate/year",
            "/Customer Details/generationDate/month",
            "/Customer Details/generationDate/dayOfMonth",
            "/Customer Details/generationDate/hourOfDay",
            "/Customer Details/generationDate/minute",
            "/Customer Details/generationDate/second",
            "/Customer Details/contacts",
            "/Customer Details/contacts/0",
            "/Customer Details/contacts/0/id",
            "/Customer Details/contacts/0/contactPerson",
            "/Customer Details/contacts/0/phone",
            "/Customer Details/contacts/0/additionalPhone",
            "/Customer Details/contacts/0/email",
            "/Customer Details/contacts/0/isPrimaryContact",
        ],
        vec!["/Customer Details/id"],
    )
}

fn egain() -> Answer {
    (
        "egain",
        json!({ "link": [], "paginationInfo": { "count": 1, "pagenum": 1, "pagesize": 25 }, "customer": [{
                "id": "1", "customerName": "Acme", "type": { "value": "corporate" }, "created": { "date":
                "2021-10-25T14:53:31.000Z" }, "lastModified": "2021-10-25T14:53:31.000Z", "contacts": { "contact": [{
                "systemCreated": false, "id": "2", "firstName": "Ann", "middleName": "B", "lastName": "C",
                "email": [{ "emailAddress": "a@b.c" }], "phone": [{ "id": "3", "type": { "value": "pager" },
                "countryCode": "1", "areaCode": "408", "phoneNo": "234", "extension": "5" }] }] } }] }),
        vec![
            "/link",
            "/paginationInfo",
            "/paginationInfo/count",
            "/paginationInfo/pagenum",
            "/paginationInfo/pagesize",
            "/customer/0/customerName",
            "/customer/0/type",
            "/customer/0/type/value",
            "/customer/0/created",
            "/customer/0/created/date",
            "/customer/0/lastModified",
            "/customer/0/contacts",
            "/customer/0/contacts/contact",
            "/customer/0/contacts/contact/0",
            "/customer/0/contacts/contact/0/systemCreated",
            "/customer/0/contacts/contact/0/id",
            "/customer/0/contacts/contact/0/firstName",
            "/customer/0/contacts/contact/0/middleName",
            "/customer/0/contacts/contact/0/lastName",
            "/customer/0/contacts/contact/0/email",
            "/customer/0/contacts/contact/0/email/0",
            "/customer/0/contacts/contact/0/email/0/emailAddress",
            "/customer/0/contacts/contact/0/phone",
            "/customer/0/contacts/contact/0/phone/0",
            "/customer/0/contacts/contact/0/phone/0/id",
            "/customer/0/contacts/contact/0/phone/0/type",
            "/customer/0/contacts/contact/0/phone/0/type/value",
            "/customer/0/contacts/contact/0/phone/0/countryCode",
            "/customer/0/contacts/contact/0/phone/0/areaCode",
            "/customer/0/contacts/contact/0/phone/0/phoneNo",
            "/customer/0/contacts/contact/0/phone/0/extension",
        ],
        vec!["/customer/0/id"],
    )
}

fn plume() -> Answer {
    (
        "plume",
        json!([{ "id": "1", "accountId": "A-1", "name": "Ann", "email": "a@b.c", "locations": [{ "id": "l" }] }]),
        vec![
            "/0/accountId",
            "/0/name",
            "/0/email",
            "/0/locations",
            "/0/locations/0",
            "/0/locations/0/id",
        ],
        vec!["/0/id"],
    )
}

/// Values that are no text and no whole number.
const NO_ID: [&str; 14] = [
    "null",
    "\"\"",
    "\" \\n\"",
    "true",
    "false",
    "[]",
    "{}",
    "[[null]]",
    "{\"value\":{}}",
    "1.5",
    "-0.001e-7",
    "1e999",
    "9.007199254740993E20",
    "\"x\\ud83d\"",
];

/// Values that are an id, and how it is written.
const IDS: [(&str, &str); 7] = [
    ("\" x \"", "x"),
    ("0", "0"),
    ("84907089782.0", "84907089782"),
    ("1.91121684E8", "191121684"),
    ("2e3", "2000"),
    (
        "123456789012345678901234567890",
        "123456789012345678901234567890",
    ),
    ("\"1.5\"", "1.5"),
];

/// The answer with `token`, as it is, in the place of the value at `pointer`.
fn with(answer: &Value, pointer: &str, token: &str) -> String {
    let mut answer = answer.clone();
    *answer.pointer_mut(pointer).expect(pointer) = json!("@here@");
    answer.to_string().replace("\"@here@\"", token)
}

/// The answer with the member at `pointer` twice.
fn with_twice(answer: &Value, pointer: &str) -> String {
    let (_, name) = pointer.rsplit_once('/').unwrap();
    let value = answer.pointer(pointer).unwrap();
    with(answer, pointer, &format!("{value},\"{name}\":{value}"))
}

fn read(kind: &str, body: &str) -> Outcome {
    let adapter = target::plain(kind);
    let query = to_raw_value(&target::query(kind)).unwrap();
    let lookup = adapter.lookup(&query, None).unwrap();
    let response = Response::new(Bytes::copy_from_slice(body.as_bytes()));
    adapter.read(&lookup, &response, jiff::Timestamp::UNIX_EPOCH)
}

/// The ids of the customers who are found.
fn ids(kind: &str, body: &str) -> Vec<String> {
    match read(kind, body) {
        Outcome::Found(customers, _) => customers
            .into_iter()
            .map(|customer| customer.customer_id)
            .collect(),
        other => panic!("{kind} makes {other:?} of {body}"),
    }
}

fn id_of(kind: &str) -> &'static str {
    if kind == "omeda" { "12345" } else { "1" }
}

#[test]
fn nothing_in_what_may_be_absent_costs_the_customer() {
    let all = NO_ID.into_iter().chain(IDS.map(|(token, _)| token));
    for (kind, answer, optional, _) in answers() {
        for pointer in optional {
            for token in all.clone() {
                let body = with(&answer, pointer, token);
                assert_eq!(
                    ids(kind, &body),
                    [id_of(kind)],
                    "{kind}, {pointer}: {token}"
                );
            }
            if pointer.rsplit('/').next().unwrap().parse::<u32>().is_err() {
                let body = with_twice(&answer, pointer);
                assert_eq!(ids(kind, &body), [id_of(kind)], "{kind}, {pointer} twice");
            }
        }
    }
}

#[test]
fn an_id_is_written_in_full_and_what_is_none_is_a_bad_answer() {
    for (kind, answer, _, required) in answers() {
        for pointer in required {
            for (token, id) in IDS {
                assert_eq!(
                    ids(kind, &with(&answer, pointer, token)),
                    [id],
                    "{kind}, {pointer}: {token}"
                );
            }
            let bad = NO_ID.map(|token| with(&answer, pointer, token));
            for body in bad.into_iter().chain([with_twice(&answer, pointer)]) {
                let outcome = read(kind, &body);
                assert!(
                    matches!(&outcome, Outcome::Failed(failure) if failure.kind == ErrorKind::BadResponse),
                    "{kind} makes {outcome:?} of {body}"
                );
            }
        }
    }
}

#[test]
fn one_that_is_no_array_is_an_array_of_one() {
    for (kind, answer, optional, _) in answers() {
        let lists = optional
            .into_iter()
            .filter(|pointer| answer.pointer(pointer).is_some_and(Value::is_array));
        for pointer in lists {
            let first = answer.pointer(pointer).unwrap().get(0);
            let Some(first) = first.filter(|first| first.is_object()) else {
                continue;
            };
            let (one, array) = (first.to_string(), json!([first]).to_string());
            assert_eq!(
                read(kind, &with(&answer, pointer, &one)),
                read(kind, &with(&answer, pointer, &array)),
                "{kind}, {pointer}"
            );
        }
    }
}

#[test]
fn what_nobody_reads_may_be_anything_that_is_json() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let odd =
        format!(r#""odd":{deep},"odd":{{"x":1,"x":-1e999}},"odd":"\ud83d\u0000","\udead":[]"#);
    for (kind, answer, _, _) in answers() {
        let body = answer.to_string().replace('{', &format!("{{{odd},"));
        assert_eq!(ids(kind, &body), [id_of(kind)], "{kind}");
        let marked = format!("\u{feff}{answer}");
        assert_eq!(ids(kind, &marked), [id_of(kind)], "{kind}");
    }
}

#[test]
fn a_payload_that_no_reader_could_read_is_not_handed_on() {
    let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for kind in target::KINDS {
        let raw = |levels| target::plain(kind).raw(nested(levels).as_bytes());
        assert_eq!(raw(100).unwrap().get(), nested(100), "{kind}");
        assert!(raw(10_000).is_none(), "{kind}");
        let halves = target::plain(kind).raw(br#"{"name":"Ann \ud83d"}"#);
        assert_eq!(halves.unwrap().get(), r#"{"name":"Ann \ufffd"}"#, "{kind}");
    }
}
