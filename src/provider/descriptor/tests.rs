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
    descriptor.read(&Values::new(), &response, Timestamp::UNIX_EPOCH)
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
        match crm().read(
            &Values::new(),
            &response,
            Timestamp::from_second(1000).unwrap(),
        ) {
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
            "Accept = \"application/json\"",
            "Content-Type = \"application/x-www-form-urlencoded\"",
            "`request.headers.Content-Type`: got \"application/x-www-form-urlencoded\", but a body is JSON",
        ),
        (
            "method = \"GET\"",
            "when = [\"fax\"]",
            "`request.when`: \"fax\" is no criterion; expected one of email, phone",
        ),
        (
            "phones = { each = \"$.phones[*]\", number = \"$.value\", kind = \"$.label\", primary = \"$.main\" }",
            "phones = \"$.phone\"",
            "`answer.customer.phones`: got string \"$.phone\", expected a table",
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
            "\"$.results[*]\"",
            "\"results\"",
            "`answer.customers`: expected a JSONPath such as \"$.results[*]\": no `$`, which stands for the whole, at character 1",
        ),
        (
            "[\"v3\", \"contacts\", \"{query.phone}\"]",
            "\"v3\"",
            "`request.path`: got string \"v3\", expected a list",
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
    let class = |status: &str, condition: &str| {
        format!("[[classes]]\nstatus = [{status}]\n{condition}\nclass = \"rejected\"\n")
    };
    let exists = "where = { path = \"$.a\", exists = true }";
    let absent = "where = { path = \"$.a\", exists = false }";
    let json = "where = { path = \"$\", exists = true }";
    let holds = |text: &str| format!("where = {{ path = \"$['a']\", contains = \"{text}\" }}");
    let is = |value: &str| format!("where = {{ path = \"$.a\", equals = {value} }}");
    let header = "where = { header = \"X-A\", exists = true }";
    for (before, condition, hidden) in [
        (vec![class("\"4xx\"", "")], String::new(), true),
        (vec![class("\"4xx\"", "")], exists.to_owned(), true),
        (vec![class("404", exists)], exists.to_owned(), true),
        (vec![class("404", exists)], is("1"), true),
        (vec![class("404", exists)], holds("x"), true),
        (vec![class("404", exists)], absent.to_owned(), false),
        (vec![class("404", exists)], String::new(), false),
        (
            vec![class("404", exists), class("404", absent)],
            String::new(),
            true,
        ),
        (
            vec![class("404", exists), class("404", absent)],
            header.to_owned(),
            true,
        ),
        (vec![class("404", &holds("x"))], is("\"axb\""), true),
        (vec![class("404", &holds("x"))], holds("axb"), true),
        (vec![class("404", &holds("axb"))], holds("x"), false),
        (vec![class("404", &is("1"))], is("1"), true),
        (vec![class("404", &is("1"))], is("\"1\""), false),
        (vec![class("404", json)], is("1"), true),
        (vec![class("404", json)], absent.to_owned(), false),
        (vec![class("404", json)], header.to_owned(), false),
        (vec![class("403", "")], String::new(), false),
    ] {
        let classes = [before.concat(), class("404", &condition)].concat();
        let told = changed("[wait]", &format!("{classes}[wait]"))
            .err()
            .unwrap_or_default();
        let expected = format!("`classes[{}]`: cannot be reached", before.len() + 1);
        assert_eq!(told.starts_with(&expected), hidden, "{classes}: {told}");
    }
    let parts = [
        class("404", ""),
        class("403", ""),
        class("403, 404", exists),
    ]
    .concat();
    let told = mistake("[wait]", &format!("{parts}[wait]"));
    assert!(
        told.starts_with("`classes[3]`: cannot be reached"),
        "{told}"
    );
}

#[test]
fn one_mistake_is_told_once() {
    for (from, to, expected) in [
        (
            "type = \"string\"\nformat = \"digits\"",
            "type = \"strin\"",
            "`criteria.phone.type`",
        ),
        (
            "format = \"digits\"",
            "pattern = \"(\"",
            "`criteria.phone.pattern`",
        ),
        (
            "[criteria.email]\ntype = \"string\"",
            "[criteria.email]\nkind = \"string\"",
            "`criteria.email",
        ),
        ("default = 25", "default = \"x\"", "`options.limit.default`"),
        (
            "where = { path = \"$.code\", equals = 301 }",
            "where = { path = \"$.\", equals = 301 }",
            "`classes[0].where.path`",
        ),
        ("\"$.id\"", "\"$.\"", "`answer.customer.customer_id`"),
        ("kind = \"header\"", "kind = \"heade\"", "`auth"),
        (
            "customer_id = \"$.id\"\n",
            "",
            "`answer.customer.customer_id`",
        ),
    ] {
        let told = mistake(from, to);
        assert_eq!(told.lines().count(), 1, "{from} -> {to}: {told}");
        assert!(told.starts_with(expected), "{told}");
    }
    let none = CRM
        .replace(
            "[criteria.phone]\ntype = \"string\"\nformat = \"digits\"\n",
            "",
        )
        .replace("[criteria.email]\ntype = \"string\"\n", "");
    assert_eq!(
        Descriptor::parse(&none).unwrap_err(),
        "`criteria`: missing; expected at least one [criteria.NAME]"
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

/// The one customer that an answer's body comes to, by the example with other fields.
fn customer(fields: &str, body: &str) -> serde_json::Value {
    let from = "created_at = { path = \"$.createdAt\", format = \"rfc3339\" }";
    let descriptor = changed(from, fields).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    match read(&descriptor, 200, &format!(r#"{{"results":[{body}]}}"#)) {
        Outcome::Found(customers, _) => serde_json::to_value(&customers[0]).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_several_places_and_forms_the_first_that_fits_is_read() {
    let fields = r#"type = { path = ["$.type.value", "$.type"] }
created_at = { path = ["$.a", "$.b"], format = ["epoch_ms", "%b %d, %Y %I:%M %p GMT%:z", "%b %d, %Y"] }"#;
    for (body, kind, created) in [
        (
            r#"{"id":1,"type":{"value":"x"},"a":"","b":86400000}"#,
            "x",
            "1970-01-02T00:00:00Z",
        ),
        (
            r#"{"id":1,"type":"y","b":"May 2, 2024"}"#,
            "y",
            "2024-05-02T00:00:00",
        ),
        (
            r#"{"id":1,"type":"y","a":"May 2, 2024 4:15 PM GMT+05:30","b":1}"#,
            "y",
            "2024-05-02T16:15:00+05:30",
        ),
    ] {
        let customer = customer(fields, body);
        assert_eq!(customer["type"], kind, "{body}");
        assert_eq!(customer["created_at"], created, "{body}");
    }
    let short = r#"{"id":1,"b":"May 2, 24"}"#;
    assert!(customer(fields, short).get("created_at").is_none());
}

#[test]
fn parts_are_put_together_each_with_what_stands_before_it() {
    let fields = r#"account_id = { join = [{ path = "$.country", pattern = '^\+?(.+)$', before = "+" }, "$.area", "$.no"], with = " " }"#;
    for (body, number) in [
        (
            r#"{"id":1,"country":"+1","area":408,"no":"234 3456"}"#,
            "+1 408 234 3456",
        ),
        (r#"{"id":1,"country":" ","area":408,"no":"234"}"#, "408 234"),
    ] {
        assert_eq!(customer(fields, body)["account_id"], number);
    }
    assert!(customer(fields, r#"{"id":1}"#).get("account_id").is_none());
}

#[test]
fn a_list_may_be_left_out_around_one_element() {
    let fields = "locations = { each = \"$.places\", id = \"$.id\" }\n\
                  contacts = { each = \"$.people\", name = \"$.name\" }";
    for body in [
        r#"{"id":1,"places":[{"id":7},null,{"id":""}],"people":[{"name":"Ann"},"x",3]}"#,
        r#"{"id":1,"places":{"id":7},"people":{"name":"Ann"}}"#,
    ] {
        let customer = customer(fields, body);
        assert_eq!(customer["locations"], json!([{"id": "7"}]), "{body}");
        assert_eq!(customer["contacts"], json!([{"name": "Ann"}]), "{body}");
    }
    let unread = customer(fields, r#"{"id":1,"people":[{"other":1}]}"#);
    assert_eq!(
        unread["contacts"],
        json!([{}]),
        "it is a person all the same"
    );
}

#[test]
fn what_was_asked_for_stands_in_where_the_answer_does_not_repeat_it() {
    let descriptor = changed(
        "customer_id = \"$.id\"",
        "customer_id = { path = \"$.id\", or = \"{query.phone}\" }",
    )
    .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let asked = descriptor
        .request("https://crm.test", &raw(&json!({"phone": "+1 408"})), None)
        .unwrap();
    let id = |body: &str| {
        let response = Response::new(Bytes::from(body.to_owned()));
        match descriptor.read(&asked.values, &response, Timestamp::UNIX_EPOCH) {
            Outcome::Found(customers, _) => customers[0].customer_id.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(id(r#"{"results":[{"id":7}]}"#), "7");
    assert_eq!(id(r#"{"results":[{"name":"x"}]}"#), "1408");
    // A value that is not sent is not what was asked for: two jobs that send the same request may share its answer.
    let two = CRM
        .replacen(
            "customer_id = \"$.id\"",
            "customer_id = { path = \"$.id\", or = \"{query.email}\" }",
            1,
        )
        .replacen("query = { q = \"{query.email}\",", "query = {", 1)
        .replacen("[request]", "[[request]]", 1)
        .replacen(
            "[answer]",
            "[[request]]\npath = [\"{query.email}\"]\n[answer]",
            1,
        );
    let two = Descriptor::parse(&two).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let query = raw(&json!({"phone": "1", "email": "a@b.test"}));
    let asked = two.request("https://crm.test", &query, None).unwrap();
    let response = Response::new(Bytes::from_static(br#"{"results":[{}]}"#));
    assert!(matches!(
        two.read(&asked.values, &response, Timestamp::UNIX_EPOCH),
        Outcome::Failed(_)
    ));
}

#[test]
fn an_id_is_a_text_or_a_whole_number_and_goes_as_text() {
    let ids = changed("format = \"digits\"", "")
        .and_then(|_| {
            Descriptor::parse(&CRM.replacen(
                "type = \"string\"\nformat = \"digits\"",
                "type = \"id\"\npattern = \"[A-Z0-9]*[A-Z1-9][A-Z0-9]*\"",
                1,
            ))
        })
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    for (id, path) in [(json!(7), "7"), (json!("0A1"), "0A1"), (json!(7.0), "7")] {
        let uri = uri(&ids, &json!({"phone": id})).unwrap();
        assert!(uri.starts_with("https://crm.test/base/v3/contacts/"));
        assert!(uri.ends_with(&format!("/{path}?limit=25")), "{uri}");
    }
    let long = "123456789012345678901234567890";
    let query = RawValue::from_string(format!(r#"{{"phone":{long}}}"#)).unwrap();
    let asked = ids.request("https://crm.test", &query, None).unwrap();
    assert!(asked.request.uri().path().ends_with(long));
    for id in [
        json!(0),
        json!(-1),
        json!(1.5),
        json!(true),
        json!([1]),
        json!(""),
        json!("a"),
    ] {
        let told = uri(&ids, &json!({"phone": id})).unwrap_err();
        assert!(told.starts_with("`query.phone`: expected "), "{told}");
    }
}

#[test]
fn what_an_option_needs_excludes_and_must_be_at_least_is_told() {
    let tied = changed(
        "[options.limit]\ntype = \"integer\"\ndefault = 25",
        "[options.limit]\ntype = \"integer\"\nminimum = 1\nneeds = [\"page\"]\nexcludes = [\"from\"]\n\
         [options.page]\ntype = \"integer\"\n[options.from]\ntype = \"integer\"\ndefault = 1",
    );
    let told = tied.as_ref().err().map_or("", String::as_str);
    assert!(told.contains("no request uses it"), "{told}");
    let text = CRM
        .replacen(
            "[options.limit]\ntype = \"integer\"\ndefault = 25",
            "[options.limit]\ntype = \"integer\"\nminimum = 1\nneeds = [\"page\"]\nexcludes = [\"from\"]\n\
             [options.page]\ntype = \"integer\"\n[options.from]\ntype = \"integer\"\ndefault = 1",
            1,
        )
        .replacen("limit = \"{options.limit}\"", "limit = \"{options.limit}\", p = \"{options.page}\", f = \"{options.from}\"", 1);
    let tied = Descriptor::parse(&text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let asked = |options| {
        request(&tied, &json!({"phone": "7"}), Some(&options))
            .map(|request| request.uri().to_string())
    };
    assert!(
        asked(json!({"limit": 5, "page": 1}))
            .unwrap()
            .ends_with("limit=5&p=1&f=1")
    );
    assert!(asked(json!({"page": 0})).unwrap().ends_with("?p=0&f=1"));
    for (options, expected) in [
        (
            json!({"limit": 0, "page": 1}),
            "`options.limit`: expected an integer of at least 1",
        ),
        (
            json!({"limit": 5}),
            "`options.limit`: expected with options.page",
        ),
        (
            json!({"limit": 5, "page": 1, "from": 1}),
            "`options.limit`: expected without options.from",
        ),
    ] {
        assert_eq!(asked(options).unwrap_err(), expected);
    }
    let told = mistake("default = 25", "needs = [\"limit\", \"pag\"]");
    assert_eq!(
        told.matches("expected another name of [options]").count(),
        2,
        "{told}"
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

/// A POST search by one of two criteria.
const SEARCH: &str = r#"
[auth]
kind = "none"
[criteria.phone]
type = "string"
[criteria.email]
type = "string"
[[request]]
when = ["email"]
method = "POST"
path = ["search"]
body = { field = "email", value = "{query.email}" }
[[request]]
when = ["phone"]
method = "POST"
path = ["search"]
body = { field = "phone", value = "{query.phone}" }
[answer]
customers = "$.data[*]"
[answer.customer]
customer_id = "$.id"
"#;

#[test]
fn a_request_is_sent_where_its_criteria_are_there() {
    let search = Descriptor::parse(SEARCH).unwrap();
    for (query, sent) in [
        (
            json!({"phone": "1"}),
            json!({"field": "phone", "value": "1"}),
        ),
        (
            json!({"email": "a@b.test"}),
            json!({"field": "email", "value": "a@b.test"}),
        ),
        (
            json!({"phone": "1", "email": "a@b.test"}),
            json!({"field": "email", "value": "a@b.test"}),
        ),
    ] {
        let body = request(&search, &query, None).unwrap().into_body();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body, sent);
    }
    let needed = search.query_schema()["allOf"][0]["anyOf"].clone();
    assert_eq!(needed[1]["required"], json!(["phone"]));
}

#[test]
fn a_request_that_can_never_be_sent_is_told() {
    for first in ["", "when = [\"phone\"]\n"] {
        let text = SEARCH.replacen("when = [\"email\"]\n", first, 1);
        let problem = Descriptor::parse(&text).unwrap_err();
        assert!(
            problem.contains("`request[1]`: can never be sent: request[0]"),
            "{problem}"
        );
    }
}

#[test]
fn an_answer_that_says_nothing_of_customers_is_doubtful() {
    let doubt = |body: &'static str| crm().doubt(&Response::new(Bytes::from(body)));
    let missing = doubt(r#"{"error":"rate limit"}"#).unwrap();
    assert!(missing.contains("nothing stands at $.results"), "{missing}");
    let counted = doubt(r#"{"results":[],"total":1}"#).unwrap();
    assert!(counted.contains("total is 1"), "{counted}");
    assert_eq!(doubt(r#"{"results":[],"total":0}"#), None);
    assert_eq!(doubt(r#"{"results":[]}"#), None);
}

#[test]
fn a_value_of_any_kind_inside_other_text_is_told() {
    assert_eq!(crm().loose(), Vec::<&str>::new());
    let inside = changed("q = \"{query.email}\"", "q = \"email = '{query.email}'\"").unwrap();
    assert_eq!(inside.loose(), ["query.email"]);
    let patterned = CRM
        .replace("q = \"{query.email}\"", "q = \"email = '{query.email}'\"")
        .replace(
            "[criteria.email]\ntype = \"string\"",
            "[criteria.email]\ntype = \"string\"\npattern = \"[^']+\"",
        );
    assert_eq!(
        Descriptor::parse(&patterned).unwrap().loose(),
        Vec::<&str>::new()
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

#[test]
fn a_compiled_kind_fills_what_its_descriptor_does() {
    use crate::provider::{Kind, antsomi, egain, kapture, omeda, plume};
    for (kind, fills) in [
        ("antsomi", antsomi::Antsomi::FILLS),
        ("egain", egain::EGain::FILLS),
        ("kapture", kapture::Kapture::FILLS),
        ("omeda", omeda::Omeda::FILLS),
        ("plume", plume::Plume::FILLS),
    ] {
        let file = format!(
            "{}/examples/providers/{kind}.toml",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(Descriptor::parse(&text).unwrap().fills(), fills, "{kind}");
    }
}
