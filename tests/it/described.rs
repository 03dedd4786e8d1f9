//! A provider that a file describes is one like any other: in the worker, at the command line, and in what goes wrong.

mod guarantees; // as of every kind

use std::{path::Path, time::Duration};

use lookup_worker::provider::descriptor::{Descriptor, testing};
use serde_json::{Value, json};

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    commands::{Call, Ran},
    road::SOON,
    scripted::{Scripted, answer, token},
    worker::Worker,
};

/// The contract's own example.
const CRM: &str = include_str!("described/crm.toml");

const ADA: &str = r#"{"results":[{"id":123456789012345678901234567890,"first":"Ada","last":" ","createdAt":"2026-01-02T03:04:05Z","phones":[{"value":"14085550100","label":"mobile","main":true}],"email":"ada@example.com"}],"total":1}"#;

fn ada() -> Vec<u8> {
    answer("200 OK", "Content-Type: application/json\r\n", ADA)
}

/// A worker's configuration: `crm` at this address, described by that file.
fn crm(url: &str, base: &str, keys: &str) -> String {
    format!(
        "[amqp]\nurl = \"{url}\"\n[retry]\ninitial_delay = \"5ms\"\nmax_delay = \"50ms\"\nmax_attempts = 4\n\
         [providers.crm]\nkind = \"http\"\ndescriptor = \"crm.toml\"\nbase_url = \"{base}/base\"\n{keys}\n"
    )
}

const TOKEN: &str = "token = \"s3cret\"";

/// `lookup` at this address by this descriptor.
async fn lookup(descriptor: &str, base: &str, keys: &str, query: &Value) -> Ran {
    Call::new(&["lookup", "crm", "--query", &query.to_string()])
        .config(&crm("amqp://127.0.0.1", base, keys))
        .file("crm.toml", descriptor)
        .run()
        .await
}

/// The contract's example with another `[auth]`.
fn with_auth(auth: &str) -> String {
    let header = "kind = \"header\"\nname = \"Authorization\"\nvalue = \"Bearer {token}\"\n";
    assert!(CRM.contains(header));
    CRM.replace(header, auth)
}

/// A server that finds Ada, and the heads of the requests that it was sent.
async fn server() -> (Scripted, std::sync::mpsc::Receiver<String>) {
    let (heads, seen) = std::sync::mpsc::channel();
    let server = Scripted::start(move |_, head| {
        let _ = heads.send(head.to_owned());
        if head.starts_with("POST /token ") {
            token("fetched")
        } else {
            ada()
        }
    })
    .await;
    (server, seen)
}

/// The head of the lookup's request.
fn asked(seen: &std::sync::mpsc::Receiver<String>) -> String {
    seen.try_iter().last().expect("a request")
}

#[tokio::test]
async fn a_described_provider_answers_a_job_over_the_broker_like_any_other() {
    let vhost = Broker::shared().vhost();
    let (server, seen) = server().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("crm.toml"), CRM).unwrap();
    let path = folder.path().join("crm.toml");
    let config = crm(&vhost.url(), &server.base, TOKEN)
        .replace("\"crm.toml\"", &format!("\"{}\"", path.display()));
    let mut worker = Worker::start(&config);
    worker.wait_ready().await;
    let client = Client::connect(&vhost.url()).await;
    let job = json!({"query": {"phone": "+1 408 555 0100"}, "options": {"raw": true}, "context": {"call": 7}});
    let job = Job::json(&job).id("j-1");
    client.publish("lookup.jobs", "crm.interactive", job).await;

    let result = client.take("lookup.results", 1, SOON).await.remove(0);
    assert_eq!(result.routing_key, "crm.found");
    let shown = result.json();
    assert_eq!(
        shown["customers"],
        json!([{
            "customer_id": "123456789012345678901234567890", "name": "Ada",
            "phones": [{"number": "14085550100", "kind": "mobile", "primary": true}],
            "emails": [{"address": "ada@example.com"}],
            "created_at": "2026-01-02T03:04:05Z",
        }])
    );
    assert_eq!(shown["page"], json!({"total": 1}));
    assert_eq!(shown["context"], json!({"call": 7}));
    let text = String::from_utf8(result.body.clone()).unwrap();
    assert!(text.contains(ADA), "the payload is verbatim: {text}");
    let head = asked(&seen);
    assert!(
        head.starts_with("GET /base/v3/contacts/14085550100?limit=25 HTTP/1.1"),
        "{head}"
    );
    assert!(head.to_lowercase().contains("authorization: bearer s3cret"));
    let (_, metrics) = worker.get("/metrics").await.unwrap();
    assert!(
        metrics.contains(r#"lookup_provider_requests_total{outcome="found",provider="crm"} 1"#),
        "{metrics}"
    );
    for private in ["s3cret", "14085550100", "Ada"] {
        assert!(!worker.log().contains(private), "{}", worker.log());
    }
    drop(worker);
}

#[tokio::test]
async fn every_way_to_be_let_in_puts_its_secret_where_the_descriptor_says() {
    let (server, seen) = server().await;
    let phone = json!({"phone": "14085550100"});
    let oauth = |more: &str| {
        let base = &server.base;
        format!(
            "oauth = {{ token_url = \"{base}/token\", client_id = \"me\", client_secret = \"hush\"{more} }}"
        )
    };
    for (auth, keys, expected) in [
        (
            "kind = \"header\"\nname = \"X-Api-Key\"\nvalue = \"{token}\"\n",
            TOKEN.to_owned(),
            "\r\nx-api-key: s3cret\r\n",
        ),
        (
            "kind = \"query\"\nname = \"api_key\"\nvalue = \"{token}\"\n",
            "token = \"s3c&ret\"".to_owned(),
            "/14085550100?limit=25&api_key=s3c%26ret http/1.1",
        ),
        (
            "kind = \"basic\"\n",
            "username = \"me\"\npassword = \"s3cret\"".to_owned(),
            "\r\nauthorization: basic bwu6cznjcmv0\r\n",
        ),
        (
            "kind = \"oauth\"\n",
            oauth(""),
            "\r\nauthorization: bearer fetched\r\n",
        ),
        (
            "kind = \"oauth\"\n",
            oauth(", auth = \"basic\""),
            "\r\nauthorization: bearer fetched\r\n",
        ),
        (
            "kind = \"oauth\"\ngrant = \"refresh_token\"\n",
            oauth(", refresh_token = \"r-1\""),
            "\r\nauthorization: bearer fetched\r\n",
        ),
        ("kind = \"none\"\n", String::new(), "?limit=25 http/1.1"),
    ] {
        let ran = lookup(&with_auth(auth), &server.base, &keys, &phone).await;
        let ran = ran.expect(0);
        assert!(!ran.err.contains("s3c"), "{ran:?}");
        let head = asked(&seen).to_lowercase();
        let expected = expected.replace(' ', "");
        assert!(head.replace(' ', "").contains(&expected), "{auth}: {head}");
        if auth.contains("none") {
            assert!(!head.contains("authorization"), "{head}");
        }
    }
}

#[tokio::test]
async fn what_the_descriptor_asks_to_be_let_in_by_must_stand_in_the_configuration_and_nothing_else()
{
    for (auth, keys, expected) in [
        (
            "kind = \"basic\"\n",
            TOKEN,
            "`providers.crm.token`: is of no use",
        ),
        (
            "kind = \"basic\"\n",
            "username = \"me\"",
            "`providers.crm.password`: missing key; the descriptor's auth is basic",
        ),
        (
            "kind = \"oauth\"\n",
            TOKEN,
            "`providers.crm.token`: is of no use: the descriptor's auth is oauth; expected oauth",
        ),
        (
            "kind = \"none\"\n",
            TOKEN,
            "`providers.crm.token`: is of no use",
        ),
        (
            "kind = \"oauth\"\ngrant = \"refresh_token\"\n",
            "oauth = { token_url = \"http://127.0.0.1/\", client_id = \"me\", client_secret = \"hush\" }",
            "`providers.crm.oauth.refresh_token`: missing key; the grant is refresh_token",
        ),
    ] {
        let ran = lookup(&with_auth(auth), "http://127.0.0.1:9", keys, &json!({})).await;
        let ran = ran.expect(2);
        assert!(ran.err.contains(expected), "{expected}: {}", ran.err);
    }
}

#[tokio::test]
async fn every_mistake_of_a_descriptor_is_told_at_start_with_file_key_and_what_was_expected() {
    let wrong = CRM
        .replace("\"{query.phone}\"]", "\"{query.telephone}\"]")
        .replace("\"$.id\"", "\"$.id[\"")
        .replace("class = \"forbidden\"", "class = \"forbiden\"")
        .replace("title = ", "titel = ");
    let ran = lookup(&wrong, "http://127.0.0.1:9", TOKEN, &json!({}))
        .await
        .expect(2);
    for expected in [
        "`providers.crm.descriptor`: crm.toml: `request.path[2]`: nothing fills {query.telephone}",
        "crm.toml: `answer.customer.customer_id`: expected a JSONPath",
        "at character 5 of \"$.id[\"",
        "crm.toml: `classes[0].class`: unknown value `forbiden`, expected one of",
        "crm.toml: `titel`: unknown key; expected title, need",
    ] {
        assert!(ran.err.contains(expected), "{expected}: {}", ran.err);
    }
    let absent =
        Call::new(&["check"]).config(&crm("amqp://127.0.0.1", "http://127.0.0.1:9", TOKEN));
    let ran = absent.run().await.expect(2);
    assert!(
        ran.err
            .contains("`providers.crm.descriptor`: crm.toml cannot be read"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn a_429_waits_as_long_as_the_descriptors_header_says_and_a_404_is_the_address() {
    let server = Scripted::start(|number, _| match number {
        0 => {
            let reset = jiff::Timestamp::now().as_second() + 2;
            answer(
                "429 Too Many Requests",
                &format!("X-RateLimit-Reset: {reset}\r\nRetry-After: 0\r\n"),
                "{}",
            )
        }
        1 => ada(),
        _ => answer("404 Not Found", "", r#"{"message":"no route"}"#),
    })
    .await;
    let phone = json!({"phone": "14085550100"});
    lookup(CRM, &server.base, TOKEN, &phone).await.expect(0);
    let pause = server.pauses()[0];
    let bounds = Duration::from_millis(900)..Duration::from_secs(15);
    assert!(bounds.contains(&pause), "{pause:?}");
    let ran = lookup(CRM, &server.base, TOKEN, &phone).await.expect(1);
    let result: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(result["error"]["kind"], "endpoint_not_found");
    let says_so = format!("{CRM}\n[[classes]]\nstatus = [404]\nclass = \"not_found\"\n");
    let ran = lookup(&says_so, &server.base, TOKEN, &phone)
        .await
        .expect(0);
    let result: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(result["status"], "not_found");
}

#[tokio::test]
async fn no_value_of_a_job_changes_path_parameters_or_headers() {
    let (server, seen) = server().await;
    let as_text = CRM
        .replace("format = \"digits\"", "format = \"as_is\"")
        .replace(
            "headers = { Accept",
            "headers = { X-Asked = \"{query.phone}\", Accept",
        );
    for (value, path) in [
        ("a/b?c=d&e=f#g", "a%2Fb%3Fc%3Dd%26e%3Df%23g"),
        ("../../admin", "..%2F..%2Fadmin"),
        ("a%2e%2e%2fb", "a%252e%252e%252fb"),
        ("@evil.test/", "%40evil.test%2F"),
        ("{query.email}", "%7Bquery.email%7D"),
    ] {
        let query = json!({"phone": value, "email": "x&limit=1"});
        lookup(&as_text, &server.base, TOKEN, &query)
            .await
            .expect(0);
        let head = asked(&seen);
        let expected =
            format!("GET /base/v3/contacts/{path}?q=x%26limit%3D1&limit=25 HTTP/1.1\r\n");
        assert!(head.starts_with(&expected), "{value}: {head}");
        assert!(head.contains(&format!("x-asked: {value}")), "{head}");
    }
    for value in ["..", ".", "", "a\r\nHost: evil.test", "a\u{0}b"] {
        let query = json!({"phone": value});
        let ran = lookup(&as_text, &server.base, TOKEN, &query)
            .await
            .expect(2);
        assert!(ran.out.contains("query.phone"), "{value:?}: {ran:?}");
    }
    assert!(
        seen.try_iter().next().is_none(),
        "nothing was sent for them"
    );
}

#[tokio::test]
async fn a_refresh_token_that_the_endpoint_replaced_is_what_the_next_start_comes_with() {
    let (forms, sent) = std::sync::mpsc::channel();
    let server = Scripted::start(move |number, head| {
        if !head.starts_with("POST /token ") {
            return ada();
        }
        let _ = forms.send(head.to_owned());
        let body = format!(r#"{{"access_token":"a-{number}","refresh_token":"rotated-{number}"}}"#);
        answer("200 OK", "", &body)
    })
    .await;
    let state = tempfile::tempdir().unwrap();
    let keys = format!(
        "oauth = {{ token_url = \"{}/token\", client_id = \"me\", client_secret = \"hush\", refresh_token = \"first\" }}",
        server.base
    );
    let descriptor = with_auth("kind = \"oauth\"\ngrant = \"refresh_token\"\n");
    for expected in ["first\nrotated-0\n", "first\nrotated-2\n"] {
        Call::new(&["lookup", "crm", "--query", r#"{"phone":"14085550100"}"#])
            .config(&crm("amqp://127.0.0.1", &server.base, &keys))
            .file("crm.toml", &descriptor)
            .env("STATE_DIRECTORY", state.path().to_str().unwrap())
            .run()
            .await
            .expect(0);
        let kept = std::fs::read_to_string(state.path().join("crm.refresh-token")).unwrap();
        assert_eq!(kept, expected);
    }
    assert_eq!(sent.try_iter().count(), 2);
}

#[tokio::test]
async fn the_contracts_own_example_passes_its_tests() {
    let test = Call::new(&["provider", "test", "crm.toml"]).file("crm.toml", CRM);
    let ran = test.run().await.expect(0);
    assert!(
        ran.out.contains("crm.toml: one contact by phone: ok"),
        "{}",
        ran.out
    );
    let wrong = CRM.replace("customer_id = \"7\"", "customer_id = \"8\"");
    let test = Call::new(&["provider", "test", "crm.toml"]).file("crm.toml", &wrong);
    let ran = test.run().await.expect(1);
    assert!(
        ran.out
            .contains("result.customers[0].customer_id: expected \"8\", got \"7\""),
        "{}",
        ran.out
    );
    let (server, _) = server().await;
    let query = json!({"phone": "14085550100"});
    lookup(&wrong, &server.base, TOKEN, &query).await.expect(0);
    let unknown = CRM.replace("answer = { status = 200", "anser = { status = 200");
    lookup(&unknown, &server.base, TOKEN, &query)
        .await
        .expect(2);
}

#[tokio::test]
async fn try_shows_one_request_without_its_secret_and_saves_it_without_the_person() {
    let (server, seen) = server().await;
    let query = r#"{"phone":"+1 408 555 0100"}"#;
    let call = Call::new(&["provider", "try", "crm", "--save", "--query", query])
        .config(&crm("amqp://127.0.0.1", &server.base, TOKEN))
        .file("crm.toml", CRM);
    let folder = call.folder.path().to_owned();
    let file = folder.join("crm.toml");
    let kept = tempfile::tempdir().unwrap();
    let copy = kept.path().join("crm.toml");
    // The folder goes with the call, so a link leads out of it.
    std::fs::copy(&file, &copy).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&copy, &file).unwrap();
    let ran = call.run().await.expect(0);
    for expected in [
        "/base/v3/contacts/14085550100?limit=25\n",
        "authorization: ***",
        "answer: HTTP 200",
        "result: found",
        "customers[0].customer_id = \"123456789012345678901234567890\"   $.id",
        "customers[0].phones[0].number = \"14085550100\"   $.value",
        "page.total = 1   $.total",
    ] {
        assert!(ran.out.contains(expected), "{expected}: {}", ran.out);
    }
    assert!(!ran.out.contains("s3cret"), "{}", ran.out);
    assert_eq!(seen.try_iter().count(), 1);
    let saved = std::fs::read_to_string(&copy).unwrap();
    let new = saved.strip_prefix(CRM).expect("it is appended");
    for private in [
        "14085550100",
        "408 555",
        "Ada",
        "ada@",
        "123456789",
        "s3cret",
    ] {
        assert!(!new.contains(private), "{new}");
    }
    let test = Call::new(&["provider", "test", "crm.toml"]).file("crm.toml", &saved);
    let ran = test.run().await.expect(0);
    assert_eq!(ran.out.matches(": ok").count(), 3, "{}", ran.out);
}

#[tokio::test]
async fn try_shows_the_paths_of_an_answer_in_which_it_found_nobody() {
    let server = Scripted::start(|_, _| {
        let body = r#"{"data":{"items":[{"id":81234,"full name":"Ada","since":"2024-05-06 07:08:09"},{"id":2}]},"next":null,"tags":[]}"#;
        answer("200 OK", "", body)
    })
    .await;
    let attempt = |descriptor: &str| {
        let query = r#"{"phone":"+1 408 555 0100"}"#;
        Call::new(&["provider", "try", "crm", "--query", query])
            .config(&crm("amqp://127.0.0.1", &server.base, TOKEN))
            .file("crm.toml", descriptor)
    };
    let ran = attempt(CRM).run().await.expect(0);
    let (_, shown) = ran.out.split_once("result: not_found\n").expect("nobody");
    let (note, shown) = shown.split_once('\n').expect("a note before the paths");
    assert!(
        note.starts_with("note: nothing stands at $.results"),
        "{note}"
    );
    let expected = "in the answer stand, for the paths of the descriptor:\n  \
        $.data.items[*].id   a number\n  \
        $.data.items[*].since   a text\n  \
        $.data.items[*][\"full name\"]   a text\n  \
        $.next   null\n  $.tags   an empty array\n";
    assert_eq!(shown, expected);
    let mended = CRM.replace("$.results[*]", "$.data.items[*]").replace(
        "{ path = \"$.createdAt\", format = \"rfc3339\" }",
        "\"$.since\"",
    );
    let ran = attempt(&mended).run().await.expect(0);
    assert!(!ran.out.contains("in the answer stand"), "{}", ran.out);
}

#[tokio::test]
async fn try_makes_one_request_and_exits_as_lookup_does() {
    let server = Scripted::start(|_, _| answer("503 Service Unavailable", "", "{}")).await;
    let attempt = |query: &str, name: &str| {
        Call::new(&["provider", "try", name, "--query", query])
            .config(&crm("amqp://127.0.0.1", &server.base, TOKEN))
            .file("crm.toml", CRM)
    };
    attempt(r#"{"phone":"14085550100"}"#, "crm")
        .run()
        .await
        .expect(1);
    assert_eq!(server.asked().len(), 1);
    attempt(r#"{"phone":7}"#, "crm").run().await.expect(2);
    attempt(r#"{"phone":"14085550100"}"#, "other")
        .run()
        .await
        .expect(2);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn the_schemas_say_what_the_files_may_hold() {
    let validator = |schema: &Value| jsonschema::draft202012::new(schema).expect("a schema");
    let as_json = |text: &str| -> Value {
        let table: toml::Table = text.parse().expect("TOML");
        serde_json::to_value(table).expect("JSON")
    };
    let provider = validator(&lookup_worker::schema::provider());
    assert!(provider.is_valid(&as_json(CRM)));
    for (from, to) in [
        ("title = ", "titel = "),
        ("class = \"forbidden\"", "class = \"forbiden\""),
        ("customer_id = \"$.id\"", "customer_idd = \"$.id\""),
    ] {
        assert!(CRM.contains(from), "{from}");
        assert!(
            !provider.is_valid(&as_json(&CRM.replacen(from, to, 1))),
            "{to}"
        );
    }
    let config = validator(&lookup_worker::schema::config());
    let good = crm("amqp://127.0.0.1", "http://127.0.0.1:9", TOKEN);
    for text in [
        good.clone(),
        good.replace("token = ", "token_file = "),
        good.clone()
            + "quota = { requests = 5, per = \"1s\" }\ntimeout = \"5s\"\n[providers.p]\nkind = \"plume\"\nbase_url = \"https://p.test\"\ntoken = \"t\"\n",
    ] {
        let problem = config
            .validate(&as_json(&text))
            .err()
            .map(|error| error.to_string());
        assert_eq!(problem, None, "{text}");
    }
    for wrong in ["timeout = 5", "tokens = \"t\"", "quota = \"some\""] {
        assert!(
            !config.is_valid(&as_json(&format!("{good}{wrong}\n"))),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn the_schema_of_jobs_knows_the_described_providers_and_lookups_of_a_configuration() {
    let tied = CRM.replace(
        "default = 25",
        "minimum = 1\nneeds = [\"page\"]\n[options.page]\ntype = \"integer\"\ndefault = 1",
    );
    let tied = tied.replace(
        "limit = \"{options.limit}\"",
        "limit = \"{options.limit}\", p = \"{options.page}\"",
    );
    let config = crm("amqp://127.0.0.1", "http://127.0.0.1:9", TOKEN)
        + "[providers.p]\nkind = \"plume\"\nbase_url = \"https://p.test\"\ntoken = \"t\"\n\
           [lookups.caller]\nmode = \"first\"\ncriteria = [\"tel\"]\n\
           [[lookups.caller.steps]]\nprovider = \"crm\"\nquery = { phone = \"{query.tel}\" }\n";
    let call = Call::new(&["schema", "job"])
        .config(&config)
        .file("crm.toml", &tied);
    let schema: Value = serde_json::from_str(&call.run().await.expect(0).out).unwrap();
    jsonschema::draft202012::meta::validate(&schema).expect("a schema");
    let jobs = jsonschema::draft202012::new(&schema).expect("a schema");
    for job in [
        json!({"query": {"phone": "1"}}),
        json!({"query": {"phone": "1", "email": null, "account_id": null}, "options": {"raw": true, "exact_match": null}}),
        json!({"query": {"phone": "1", "email": "a@b.test"}, "options": {"limit": 1, "page": 2}}),
        json!({"query": {"account_id": "A"}, "options": {"exact_match": true}}),
        json!({"query": {"tel": "1"}, "options": {"raw": true}}),
    ] {
        let problem = jobs.validate(&job).err().map(|error| error.to_string());
        assert_eq!(problem, None, "{job}");
    }
    for none in [
        json!({"query": {"email": "a@b.test"}, "options": {"page": 1}}),
        json!({"query": {"phone": " "}}),
        json!({"query": {"phone": 1}}),
        json!({"query": {"phone": "1", "fax": "1"}}),
        json!({"query": {"phone": "1"}, "options": {"limit": 0, "page": 1}}),
        json!({"query": {"phone": "1"}, "options": {"limit": 1}}),
        json!({"query": {"customer_id": 7}}),
        json!({"query": {"tel": null}}),
        json!({"query": {"tel": "1"}, "options": {"limit": 1}}),
    ] {
        assert!(!jobs.is_valid(&none), "{none}");
    }
}

#[tokio::test]
async fn the_sandbox_plays_a_descriptor_as_its_tests_say_and_is_strict() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("crm.toml"), CRM).unwrap();
    let mut sandbox = crate::worker::program()
        .args([
            "sandbox",
            "--descriptor",
            &at("crm.toml"),
            "--descriptor-port",
            "0",
        ])
        .args(["--write-config", &at("config.toml")])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let written = async {
        while !std::fs::read_to_string(at("config.toml")).is_ok_and(|text| text.contains("token")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, written).await.unwrap();
    let config = at("config.toml");
    let lookup = |query: &'static str, config: &str| {
        Call::new(&["lookup", "crm", "--query", query, "--config", config])
    };
    let ran = lookup(r#"{"phone":"+1 408 555 0100"}"#, &config)
        .run()
        .await
        .expect(0);
    assert!(
        ran.out.contains(r#""customer_id":"7","name":"Ada""#),
        "{}",
        ran.out
    );
    let ran = lookup(r#"{"phone":"14085550100","email":"x@y.test"}"#, &config)
        .run()
        .await
        .expect(1);
    assert!(ran.out.contains(r#""kind":"rejected""#), "{}", ran.out);
    let ran = lookup(r#"{"phone":"14085550199"}"#, &config)
        .run()
        .await
        .expect(1);
    assert!(ran.out.contains("endpoint_not_found"), "{}", ran.out);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        at("wrong.toml"),
        text.replace("sandbox-http-token", "another"),
    )
    .unwrap();
    let ran = lookup(r#"{"phone":"14085550100"}"#, &at("wrong.toml"))
        .run()
        .await
        .expect(1);
    assert!(ran.out.contains("unauthorized"), "{}", ran.out);
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    let print = ["sandbox", "--descriptor", "crm.toml", "--print-config"];
    let ran = Call::new(&print)
        .file("crm.toml", CRM)
        .run()
        .await
        .expect(0);
    assert_eq!(ran.out.matches("[providers.").count(), 1, "{}", ran.out);
}

#[test]
fn keys_that_no_test_exercises_are_named_and_fail_nothing() {
    let report = |text: &str| {
        let descriptor = Descriptor::parse(text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        testing::run(&descriptor, text)
    };
    let untested = |text: &str| report(text).untested;
    let expected = [
        "answer.customer.created_at",
        "answer.customer.phones.kind",
        "answer.customer.phones.primary",
        "answer.customer.emails.address",
        "classes[0].message",
        "classes[0]",
    ];
    assert_eq!(untested(CRM), expected);
    assert!(report(CRM).passed());
    let forbidden = |message: &str, result: &str| {
        let test = format!(
            "\n[[tests]]\nname = \"no\"\nquery = {{ phone = \"1\" }}\n\
             answer = {{ body = '{{\"code\":301,\"message\":\"no\"}}' }}\n\
             result = {{ status = \"failed\", error = {{ {result} }} }}\n"
        );
        CRM.replace(
            "message = \"$.message\"",
            &format!("message = \"{message}\""),
        ) + &test
    };
    let told = untested(&forbidden(
        "$.message",
        "kind = \"forbidden\", message = \"no\"",
    ));
    assert_eq!(told, expected[..4]);
    // A path that leads nowhere in any test is told, and so is one whose words no test looks at.
    for (message, result) in [
        ("$.mesage", "kind = \"forbidden\", message = \"forbidden\""),
        ("$.message", "kind = \"forbidden\""),
    ] {
        assert_eq!(
            untested(&forbidden(message, result)),
            expected[..5],
            "{message}"
        );
    }
}

#[test]
fn every_example_of_a_descriptor_passes_its_own_tests_and_leaves_no_key_untested() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/providers");
    let mut count = 0;
    for file in folder.read_dir().expect("our folder") {
        let path = file.expect("our folder").path();
        let text = std::fs::read_to_string(&path).expect("a descriptor");
        let descriptor = Descriptor::parse(&text)
            .unwrap_or_else(|mistakes| panic!("{}: {mistakes}", path.display()));
        let report = testing::run(&descriptor, &text);
        assert!(report.passed(), "{}: {report:?}", path.display());
        assert_eq!(report.untested, Vec::<String>::new(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 4, "{count}");
}

/// What descriptors of the compiled kinds cannot say, by the fixtures of these kinds.
const DIFFERS: [(&str, &[&str]); 5] = [
    (
        "antsomi",
        &[
            // An answer is not compared with what was asked.
            "an-answer-of-another-number-than-was-asked-for-is-a-bad-answer",
            // A criterion has one type, and a parameter stands once.
            "one-number-with-matches-goes-as-an-array",
            "the-default-operator-of-an-array-is-matches",
            "the-operator-exists-takes-no-number",
            "the-operator-matches-takes-several-numbers",
            "the-operator-not-exists-takes-no-number",
            "the-operator-not-matches-takes-several-numbers",
        ],
    ),
    (
        "omeda",
        &[
            // The brand stands in `base_url`.
            "a-brand-that-has-a-slash-is-refused",
            "a-brand-that-is-empty-is-refused",
            "a-brand-that-walks-up-the-path-is-refused",
            // The provider's words are told without our own between them.
            "the-new-id-is-told-where-the-text-lacks-it",
        ],
    ),
    (
        "kapture",
        &[
            // An object is not merged into another.
            "extra-members-are-merged-into-the-element",
            // Numbers are not reckoned with.
            "month-0-is-january",
            "month-11-is-december",
            "no-extra-members-are-merged-from-an-empty-object",
            "the-date-object-counts-months-from-0",
        ],
    ),
    (
        "egain",
        &[
            // What stands in an array or object goes as it came.
            "a-custom-attribute-as-an-array-is-refused",
            "a-custom-attribute-of-another-object-is-refused",
            "a-custom-attribute-with-a-blank-name-is-refused",
            "a-custom-attribute-without-a-value-is-refused",
            // The elements of an array are not put together.
            "all-further-attributes",
            "an-activity-with-a-date-that-is-no-range-is-refused",
            // A list with a condition is a list.
            "one-contact-that-is-no-array",
            // `raw` is verbatim.
            "secrets-are-left-out-of-raw-at-any-depth",
            "several-further-attributes",
            "the-document-s-custom-attributes",
        ],
    ),
    (
        "plume",
        &[
            // Of a member that stands twice the last counts.
            "a-key-twice-in-what-may-be-absent-is-left-out",
            "an-id-twice-is-a-bad-answer",
            // A node of a list is read in one way.
            "locations-that-are-their-ids-alone",
        ],
    ),
];

#[test]
fn descriptors_of_the_compiled_kinds_do_what_those_do() {
    let (mut all, mut differ) = (0, 0);
    let mut wrong = Vec::new();
    for (kind, expected) in DIFFERS {
        let (count, differing) = crate::conformance::differing(kind);
        let names: Vec<&str> = differing.iter().map(|(name, _)| name.as_str()).collect();
        if names != expected {
            wrong.push((kind, differing.clone()));
        }
        all += count;
        differ += differing.len();
    }
    assert!(wrong.is_empty(), "{differ} of {all}: {wrong:#?}");
    assert!(differ * 10 <= all, "{differ} of {all}");
}
