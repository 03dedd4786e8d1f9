//! The contract's own example, and what a descriptor may not say.

use super::*;
use serde_json::json;

const CRM: &str = r#"
title = "Contacts of Example CRM"
need = [["phone"], ["phone", "email"]]

[auth]
kind = "header"
name = "Authorization"
value = "Bearer {token}"

[criteria.phone]
type = "string"
format = "digits"
[criteria.email]
type = "string"
[options.limit]
type = "integer"
default = 25

[request]
method = "GET"
path = ["v3", "contacts", "{query.phone}"]
query = { q = "{query.email}", limit = "{options.limit}" }
headers = { Accept = "application/json" }

[answer]
customers = "$.results[*]"
[answer.customer]
customer_id = "$.id"
name = { join = ["$.first", "$.last"], with = " " }
created_at = { path = "$.createdAt", format = "rfc3339" }
phones = { each = "$.phones[*]", number = "$.value", kind = "$.label", primary = "$.main" }
emails = { each = "$.email", address = "$" }
[answer.page]
total = "$.total"

[[classes]]
status = [200]
where = { path = "$.code", equals = 301 }
class = "forbidden"
message = "$.message"

[wait]
header = "X-RateLimit-Reset"
as = "epoch_s"
"#;

fn crm() -> Descriptor {
    Descriptor::parse(CRM).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn raw(value: &serde_json::Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).unwrap()
}

fn request(
    descriptor: &Descriptor,
    query: &serde_json::Value,
    options: Option<&serde_json::Value>,
) -> Result<http::Request<Bytes>, String> {
    let options = options.map(raw);
    descriptor
        .request("https://crm.test/base", &raw(query), options.as_deref())
        .map(|asked| asked.request)
        .map_err(|problem| problem.to_string())
}

fn uri(descriptor: &Descriptor, query: &serde_json::Value) -> Result<String, String> {
    request(descriptor, query, None).map(|request| request.uri().to_string())
}

fn read(descriptor: &Descriptor, status: u16, body: &str) -> Outcome {
    let response = Response::builder()
        .status(status)
        .body(Bytes::from(body.to_owned()))
        .unwrap();
    descriptor.read(&response, Timestamp::UNIX_EPOCH)
}

/// The example with one text replaced.
fn changed(from: &str, to: &str) -> Result<Descriptor, String> {
    assert!(CRM.contains(from), "{from}");
    Descriptor::parse(&CRM.replacen(from, to, 1))
}

fn mistake(from: &str, to: &str) -> String {
    changed(from, to).unwrap_err()
}

#[test]
fn the_request_has_each_value_in_its_place() {
    assert_eq!(
        uri(&crm(), &json!({"phone": "+1 408 555 0100"})).unwrap(),
        "https://crm.test/base/v3/contacts/14085550100?limit=25"
    );
    let asked = json!({"phone": "14085550100", "email": "a&b=c@x.test"});
    assert_eq!(
        request(&crm(), &asked, Some(&json!({"limit": 3.0})))
            .unwrap()
            .uri()
            .to_string(),
        "https://crm.test/base/v3/contacts/14085550100?q=a%26b%3Dc%40x.test&limit=3"
    );
    assert_eq!(
        request(&crm(), &asked, None).unwrap().headers()["accept"],
        "application/json"
    );
}

#[test]
fn what_is_no_job_is_told_by_its_field() {
    let crm = crm();
    for (query, expected) in [
        (json!({}), "`query`: expected phone, or phone with email"),
        (
            json!({"email": "a@b.test"}),
            "`query`: expected phone, or phone with email",
        ),
        (
            json!({"phone": 7}),
            "`query.phone`: expected a string, got an integer",
        ),
        (
            json!({"phone": ""}),
            "`query.phone`: expected a string that is not blank, got a blank one",
        ),
        (
            json!({"phon": "7"}),
            "`query.phon`: unknown field `phon`, expected email or phone",
        ),
    ] {
        assert_eq!(uri(&crm, &query).unwrap_err(), expected);
    }
    let options = json!({"limit": 2.5});
    assert_eq!(
        request(&crm, &json!({"phone": "7"}), Some(&options)).unwrap_err(),
        "`options.limit`: expected an integer, got a number that is no integer"
    );
    assert!(uri(&crm, &json!({"phone": "7", "email": null, "other": null})).is_ok());
}

#[test]
fn no_value_leaves_its_place() {
    let as_text = changed("format = \"digits\"", "").unwrap();
    for (value, path) in [
        ("a/b", "a%2Fb"),
        ("../x", "..%2Fx"),
        ("a?b#c", "a%3Fb%23c"),
        ("%2e%2e", "%252e%252e"),
        ("é", "%C3%A9"),
        ("...", "..."),
    ] {
        assert_eq!(
            uri(&as_text, &json!({"phone": value})).unwrap(),
            format!("https://crm.test/base/v3/contacts/{path}?limit=25"),
        );
    }
    for value in [".", ".."] {
        assert!(uri(&as_text, &json!({"phone": value})).is_err(), "{value}");
    }
    let in_a_header = changed(
        "Accept = \"application/json\"",
        "X-Mail = \"{query.email}\"",
    )
    .unwrap();
    let asked = |mail: &str| request(&in_a_header, &json!({"phone": "7", "email": mail}), None);
    assert_eq!(
        asked("é").unwrap().headers()["x-mail"].as_bytes(),
        "é".as_bytes()
    );
    for value in ["a\r\nX-Admin: 1", "a\0b"] {
        assert!(
            asked(value).unwrap_err().starts_with("`query.email`: "),
            "{value:?}"
        );
    }
}

#[test]
fn an_answer_becomes_customers() {
    let body = r#"{"total":2,"results":[
        {"id":12345678901234567890123,"first":"Ada","last":null,"createdAt":"2021-10-25T14:53:31Z",
         "phones":[{"value":"14085550100","label":"mobile","main":"true"},{"value":null}],"email":"ada@x.test"},
        {"id":1.91121684E8,"first":" ","phones":{},"email":""}]}"#;
    let Outcome::Found(customers, page) = read(&crm(), 200, body) else {
        panic!("expected customers");
    };
    assert_eq!(
        serde_json::to_value((customers, page)).unwrap(),
        json!([[
            {"customer_id": "12345678901234567890123", "name": "Ada", "created_at": "2021-10-25T14:53:31Z",
             "phones": [{"number": "14085550100", "kind": "mobile", "primary": true}],
             "emails": [{"address": "ada@x.test"}]},
            {"customer_id": "191121684"}
        ], {"total": 2}])
    );
}

#[test]
fn classes_decide_before_the_table() {
    let kind = |status: u16, body: &str| match read(&crm(), status, body) {
        Outcome::Failed(failure) => failure.kind.as_str(),
        Outcome::Found(..) => "found",
        Outcome::NotFound(_) => "not_found",
    };
    assert_eq!(kind(200, r#"{"code":301,"message":"no"}"#), "forbidden");
    assert_eq!(kind(200, r#"{"code":"301","results":[]}"#), "not_found");
    assert_eq!(kind(200, r#"{"results":[{"id":1.5}]}"#), "bad_response");
    assert_eq!(kind(200, ""), "bad_response");
    assert_eq!(kind(204, ""), "bad_response");
    assert_eq!(kind(404, "{}"), "endpoint_not_found");
    assert_eq!(kind(503, "{}"), "provider_error");
    let many: Vec<_> = (0..1001).map(|id| json!({"id": id})).collect();
    assert_eq!(
        kind(200, &json!({"results": many}).to_string()),
        "bad_response"
    );
    assert_eq!(
        kind(200, &json!({"results": many[..1000]}).to_string()),
        "found"
    );
    let Outcome::Failed(failure) = read(&crm(), 200, r#"{"code":301,"message":"no"}"#) else {
        panic!("expected a failure");
    };
    assert_eq!(failure.said.as_deref(), Some("no"));
}

#[test]
fn of_two_waits_the_later_counts_and_only_where_a_retry_helps() {
    let wait = |status: u16, after: &str, reset: &str| {
        let response = Response::builder()
            .status(status)
            .header("Retry-After", after)
            .header("X-RateLimit-Reset", reset)
            .body(Bytes::new())
            .unwrap();
        match crm().read(&response, Timestamp::from_second(1000).unwrap()) {
            Outcome::Failed(failure) => failure.retry_after.map(|wait| wait.as_secs()),
            _ => None,
        }
    };
    assert_eq!(wait(429, "5", "1030"), Some(30));
    assert_eq!(wait(429, "50", "1030"), Some(50));
    assert_eq!(wait(503, "soon", "1030"), Some(30));
    assert_eq!(wait(400, "5", "1030"), None);
}

#[test]
#[allow(
    clippy::too_many_lines,
    reason = "a table of cases is as long as it has cases"
)]
fn every_mistake_is_told_by_its_key_and_all_at_once() {
    for (from, to, expected) in [
        ("[auth]", "[aut]", "`auth`: missing; expected a table"),
        ("[auth]", "[aut]", "`aut`: unknown key; expected title"),
        ("kind = \"header\"", "kind = \"heade\"", "`auth"),
        (
            "{token}",
            "{tokn}",
            "`auth.value`: expected a text that holds {token} once",
        ),
        (
            "format = \"digits\"",
            "format = \"digit\"",
            "`criteria.phone.format`: unknown value `digit`",
        ),
        (
            "format = \"digits\"",
            "pattern = \"[\"",
            "`criteria.phone.pattern`: expected a regular expression",
        ),
        (
            "{query.email}",
            "{query.mail}",
            "`request.query.q`: nothing fills {query.mail}",
        ),
        (
            "\"v3\"",
            "\"v3/x\"",
            "`request.path[0]`: '/' cannot stand in a segment",
        ),
        (
            "\"v3\"",
            "\"..\"",
            "`request.path[0]`: expected another segment",
        ),
        (
            "\"v3\"",
            "\"%2e%2E\"",
            "`request.path[0]`: expected another segment",
        ),
        (
            "$.results[*]",
            "$.results[",
            "`answer.customers`: expected a JSONPath",
        ),
        (
            "\"$.id\"",
            "7",
            "`answer.customer.customer_id`: expected a path",
        ),
        ("name = {", "nam = {", "`answer.customer.nam`: unknown key"),
        (
            "format = \"rfc3339\"",
            "format = \"rfc339\"",
            "`answer.customer.created_at.format`: got \"rfc339\"",
        ),
        (
            "status = [200]",
            "status = [700]",
            "`classes[0].status[0]`: expected a status",
        ),
        (
            "class = \"forbidden\"",
            "class = \"forbiden\"",
            "`classes[0].class`: unknown value `forbiden`",
        ),
        (
            "need = [[\"phone\"]",
            "need = [[\"email\"]",
            "`need`: phone stands in the path of every request",
        ),
        (
            "need = [[\"phone\"]",
            "need = [[\"fax\"]",
            "`need[0]`: \"fax\" is no criterion",
        ),
        (
            "[criteria.email]",
            "[criteria.fax]\ntype = \"string\"\n[criteria.email]",
            "`criteria.fax`: no request uses it",
        ),
        (
            "default = 25",
            "default = \"x\"",
            "`options.limit.default`: expected an integer",
        ),
        (
            "type = \"string\"",
            "type = \"array\"",
            "`criteria.phone.format`: expected a criterion of type string",
        ),
        (
            "method = \"GET\"",
            "body = {}",
            "`request.body`: a GET has no body",
        ),
        (
            "Accept",
            "Host",
            "`request.headers.Host`: the client writes this header itself",
        ),
        (
            "as = \"epoch_s\"",
            "as = \"epoch\"",
            "`wait.as`: unknown value `epoch`",
        ),
        (
            "title",
            "title = \"a\"\ntitle",
            "expected TOML: duplicate key",
        ),
    ] {
        let told = mistake(from, to);
        assert!(
            told.lines().any(|line| line.starts_with(expected)),
            "{from} -> {to}: {told}"
        );
    }
    let twice = CRM
        .replacen("{query.email}", "{query.x}", 1)
        .replacen("$.total", "$.", 1);
    assert_eq!(Descriptor::parse(&twice).unwrap_err().lines().count(), 2);
}

#[test]
fn a_class_that_cannot_be_reached_is_told() {
    let told = mistake(
        "[wait]",
        "[[classes]]\nstatus = [\"4xx\"]\nclass = \"rejected\"\n[[classes]]\nstatus = [404]\nclass = \"not_found\"\n[wait]",
    );
    assert!(
        told.starts_with("`classes[2]`: cannot be reached"),
        "{told}"
    );
}

#[test]
fn a_body_keeps_types_and_leaves_out_what_is_absent() {
    let posts = r#"
        [auth]
        kind = "none"
        [criteria.phone]
        type = "string"
        [criteria.id]
        type = "integer"
        [criteria.tags]
        type = "array"
        [request]
        method = "POST"
        path = ["search", "*"]
        query = { where = { value = { ids = ["{query.id}"] }, json = true } }
        body = { phone = "tel:{query.phone}", id = "{query.id}", tags = "{query.tags}", deep = { id = "{query.id}" }, all = ["{query.id}", 1], on = true }
        [answer]
        customers = "$[*]"
        customer = { customer_id = "$.id" }
    "#;
    let posts = Descriptor::parse(posts).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let sent = |query| {
        let request = request(&posts, &query, None).unwrap();
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        (request.uri().to_string(), body)
    };
    let (uri, body) = sent(json!({"id": 7}));
    assert_eq!(
        uri,
        "https://crm.test/base/search/*?where=%7B%22ids%22%3A%5B7%5D%7D"
    );
    assert_eq!(body, r#"{"id":7,"deep":{"id":7},"all":[7,1],"on":true}"#);
    let (uri, body) = sent(json!({"phone": "a\"b", "tags": ["x", {"y": null}]}));
    assert_eq!(
        uri,
        "https://crm.test/base/search/*?where=%7B%22ids%22%3A%5B%5D%7D"
    );
    assert_eq!(
        body,
        r#"{"phone":"tel:a\"b","tags":["x",{"y":null}],"deep":{},"all":[1],"on":true}"#
    );
}

#[test]
fn codes_become_words_and_truths_and_a_number_inside_an_address_is_found() {
    let descriptor = changed(
        "phones = { each = \"$.phones[*]\", number = \"$.value\", kind = \"$.label\", primary = \"$.main\" }",
        r#"phones = { each = "$.phones[*]", number = "$.value", kind = { path = "$.type", map = { "1" = "business" } }, kind_code = "$.type", primary = { path = "$.status", equals = 1 } }
account_id = { path = "$.link", pattern = "/accounts/([0-9]+)/" }
changed_at = { path = "$.changed", format = "epoch_s" }"#,
    )
    .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let body = r#"{"results":[{"id":"a","link":"/api/accounts/991/x","changed":86400,
        "phones":[{"value":1,"type":1,"status":1},{"value":"2","type":9,"status":"1"}]}]}"#;
    let Outcome::Found(customers, _) = read(&descriptor, 200, body) else {
        panic!("expected customers");
    };
    assert_eq!(
        serde_json::to_value(&customers[0]).unwrap(),
        json!({"customer_id": "a", "account_id": "991", "changed_at": "1970-01-02T00:00:00Z", "phones": [
            {"number": "1", "kind": "business", "kind_code": 1, "primary": true},
            {"number": "2", "kind_code": 9, "primary": false}
        ]})
    );
}

#[test]
fn of_several_requests_the_first_that_can_be_filled_is_sent() {
    let two = CRM.replacen("[request]", "[[request]]", 1).replacen(
        "[answer]",
        "[[request]]\npath = [\"v3\", \"mail\", \"{query.email}\"]\n[answer]",
        1,
    );
    let two = two.replacen("[\"phone\", \"email\"]", "[\"email\"]", 1);
    let two = Descriptor::parse(&two).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert!(
        uri(&two, &json!({"phone": "7"}))
            .unwrap()
            .contains("/contacts/7")
    );
    assert!(
        uri(&two, &json!({"email": "a"}))
            .unwrap()
            .ends_with("/v3/mail/a")
    );
    assert!(
        uri(&two, &json!({"email": "a", "phone": "7"}))
            .unwrap()
            .contains("/contacts/7?q=a")
    );
}

mod property {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_value_adds_a_segment_a_parameter_a_header_or_a_member(value in ".*") {
            let text = CRM
                .replace("format = \"digits\"", "format = \"as_is\"")
                .replace("method = \"GET\"", "method = \"POST\"")
                .replace(
                    "headers = {",
                    "body = { a = \"{query.phone}\", b = [\"x{query.email}\"] }\nheaders = { X-Asked = \"{query.email}\",",
                );
            let descriptor = Descriptor::parse(&text).unwrap();
            let asked = json!({"phone": value, "email": value});
            if let Ok(request) = request(&descriptor, &asked, None) {
                let uri = request.uri();
                prop_assert_eq!(uri.authority().unwrap().as_str(), "crm.test");
                prop_assert_eq!(uri.path().split('/').count(), 5);
                prop_assert!(uri.path().starts_with("/base/v3/contacts/"));
                let names: Vec<_> = url::form_urlencoded::parse(uri.query().unwrap().as_bytes())
                    .map(|(name, _)| name.into_owned())
                    .collect();
                prop_assert_eq!(names, ["q", "limit"]);
                prop_assert_eq!(request.headers().len(), 3);
                let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
                prop_assert_eq!(body, json!({"a": value, "b": [format!("x{value}")]}));
            }
        }
    }
}
