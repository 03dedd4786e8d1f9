use std::time::Duration;

use lookup_worker::sandbox::{Kind::Antsomi, Options};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Local, answer};

const PATH: &str = "/access/api/profile/get-customer-id-by-phone";

/// The status that Antsomi's document shows, to the byte.
const LIMITED: &str = r#"{"code":500,"message":"<html>\r\n<head><title>429 Too Many Requests</title></head>\r\n<body bgcolor=\"white\">\r\n<center><h1>429 Too Many Requests</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n","duration":"0.35 ms"}"#;

async fn ask(local: &Local, query: &str) -> Answer {
    answer(local.lookup(Antsomi, &format!("{PATH}?{query}"))).await
}

async fn ids(local: &Local, query: &str) -> Vec<String> {
    let body = ask(local, query).await.json();
    let entries = body["data"]["entries"]
        .as_array()
        .unwrap_or_else(|| panic!("{query}: {body}"));
    entries
        .iter()
        .map(|entry| entry["customer_id"]["value"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn antsomi_answers_the_documents_example_to_the_byte() {
    let local = Local::start().await;
    let answer = ask(&local, "operator=equals&phone_number=84907089782").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.text,
        r#"{"code":200,"message":"Success","data":{"entries":[{"customer_id":{"value":"84907089782"},"phone":{"value":"84907089782"}}],"meta":{"total":1}},"codeMessage":null,"duration":"1.872 ms"}"#
    );
}

#[tokio::test]
async fn antsomi_refuses_a_missing_or_wrong_token_with_code_301() {
    let local = Local::start().await;
    let target = format!("{PATH}?operator=equals&phone_number=84907089782");
    let request = || local.request(Antsomi, Method::GET, &target);
    for request in [
        request(),
        request().bearer_auth("wrong"),
        request().basic_auth("sandbox-antsomi-token", Some("")),
    ] {
        let answer = answer(request).await;
        assert_eq!(answer.status, 403);
        assert_eq!(
            answer.text,
            r#"{"code":301,"message":"Permission denied","data":"You don't have permission to access this request!"}"#
        );
    }
}

#[tokio::test]
async fn antsomi_knows_all_twelve_operators() {
    let local = Local::start().await;
    let cases: [(&str, &[&str]); 12] = [
        (
            "operator=equals&phone_number=84911111111",
            &["c-2001", "c-2002"],
        ),
        (
            "operator=contains&phone_number=9876543",
            &["c-1001", "c-1002"],
        ),
        ("operator=start_with&phone_number=1415", &["c-3001"]),
        ("operator=end_with&phone_number=4321", &["c-1001"]),
        (
            "operator=matches&phone_number%5B%5D=84987654322&phone_number%5B%5D=84912345678",
            &["84912345678", "c-1002"],
        ),
        ("operator=exists&limit=2", &["84907089782", "84912345678"]),
        ("operator=not_exists", &["c-4001"]),
        (
            "operator=not_equals&phone_number=84911111111&limit=1&page=5",
            &["c-3001"],
        ),
        ("operator=doesnt_contain&phone_number=84", &["c-3001"]),
        ("operator=not_start_with&phone_number=84", &["c-3001"]),
        (
            "operator=not_end_with&phone_number=1",
            &["84907089782", "84912345678", "c-1002", "c-3001"],
        ),
        (
            "operator=not_matches&phone_number%5B%5D=84911111111&phone_number%5B%5D=14155550100&limit=2",
            &["84907089782", "84912345678"],
        ),
    ];
    for (query, expected) in cases {
        assert_eq!(ids(&local, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn antsomi_finds_any_number_that_begins_with_849_under_its_own_id() {
    let local = Local::start().await;
    assert_eq!(
        ids(&local, "operator=equals&phone_number=84955512345").await,
        ["84955512345"]
    );
    assert!(
        ids(&local, "operator=equals&phone_number=84855512345")
            .await
            .is_empty()
    );
    assert!(
        ids(&local, "operator=equals&phone_number=8495551234")
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn antsomi_pages_and_its_total_is_the_whole_count() {
    let local = Local::start().await;
    let phones: Vec<String> = (0..30)
        .map(|n| format!("&phone_number%5B%5D=849555000{n:02}"))
        .collect();
    let phones = phones.concat();
    let page = async |more: &str| {
        ask(&local, &format!("operator=matches{phones}{more}"))
            .await
            .json()
    };
    let entries = |body: &Value| body["data"]["entries"].as_array().unwrap().len();
    for (more, expected) in [
        ("", 25),
        ("&page=2", 5),
        ("&limit=30", 30),
        ("&page=9", 0),
        ("&limit=7&page=5", 2),
    ] {
        let body = page(more).await;
        assert_eq!(
            (entries(&body), &body["data"]["meta"]["total"]),
            (expected, &json!(30)),
            "{more}"
        );
    }
}

#[tokio::test]
async fn antsomi_rejects_what_makes_no_sense() {
    let local = Local::start().await;
    let cases = [
        "phone_number=84907089782",
        "operator=is&phone_number=84907089782",
        "operator=equals",
        "operator=equals&phone_number=",
        "operator=equals&phone_number%5B%5D=84907089782",
        "operator=matches&phone_number=84907089782",
        "operator=not_matches",
        "operator=exists&phone_number=84907089782",
        "operator=equals&phone_number=84907089782&page=0",
        "operator=equals&phone_number=84907089782&limit=many",
    ];
    for query in cases {
        let answer = ask(&local, query).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["code"]),
            (400, &json!(400)),
            "{query}"
        );
    }
    assert_eq!(
        answer(local.lookup(Antsomi, "/access/api"))
            .await
            .header("content-type"),
        Some("text/html")
    );
    assert_eq!(
        answer(local.request(Antsomi, Method::POST, PATH))
            .await
            .status,
        405
    );
}

#[tokio::test]
async fn antsomi_has_bodies_that_contradict_their_status() {
    let local = Local::start().await;
    for (phone, code) in [
        ("84900000520", 500),
        ("84900000521", 500),
        ("84900000522", 999),
    ] {
        let answer = ask(&local, &format!("operator=equals&phone_number={phone}")).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["code"]),
            (200, &json!(code)),
            "{phone}"
        );
    }
    let body = ask(&local, "operator=equals&phone_number=84922222222")
        .await
        .json();
    assert_eq!(
        body["data"]["entries"][0]["customer_id"]["value"],
        json!(84_922_222_222_u64)
    );
}

#[tokio::test]
async fn antsomi_limits_as_its_document_says() {
    let limit = "2/1h".parse().unwrap();
    let local = Local::with(Options {
        rate_limits: [(Antsomi, limit)].into(),
        ..Options::default()
    })
    .await;
    for _ in 0..2 {
        assert_eq!(
            ask(&local, "operator=equals&phone_number=84907089782")
                .await
                .status,
            200
        );
    }
    let refused = ask(&local, "operator=equals&phone_number=84907089782").await;
    assert_eq!(
        (refused.status.as_u16(), refused.text.as_str()),
        (429, LIMITED)
    );
    let stats = local.stats(Antsomi).await;
    assert_eq!(
        (&stats["rejected_by_rate_limit"], &stats["largest_window"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(stats["by_status"], json!({ "200": 2, "429": 1 }));
}

#[tokio::test]
async fn antsomi_issues_tokens_in_its_own_way_and_forgets_them() {
    let local = Local::start().await;
    let form = "grant_type=client_credentials&client_id=sandbox-client&client_secret=sandbox-secret&scope=item%2Cevent";
    let issued = local.token(Antsomi, form).await.json();
    assert_eq!(issued["scope"], "item,event");
    let expiry: jiff::Timestamp = issued["accessTokenExpiresAt"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(expiry > jiff::Timestamp::now());
    let target = format!("{PATH}?operator=equals&phone_number=84907089782");
    let with_it = || {
        answer(
            local
                .request(Antsomi, Method::GET, &target)
                .bearer_auth(issued["accessToken"].as_str().unwrap()),
        )
    };
    assert_eq!(with_it().await.status, 200);
    local.control(Antsomi, Method::DELETE, "tokens", "").await;
    assert_eq!(with_it().await.status, 403);
    let bad = local.token(Antsomi, &form.replace("item", "items")).await;
    assert_eq!(
        bad.text,
        r#"{"code":400,"message":"Invalid scope: items,event","name":"invalid_scope","status":400,"statusCode":400}"#
    );
    assert_eq!(
        local
            .token(Antsomi, &form.replace("sandbox-secret", "wrong"))
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn a_token_is_void_at_the_end_of_its_life() {
    let local = Local::with(Options {
        token_lifetime: Duration::ZERO,
        ..Options::default()
    })
    .await;
    let form = "grant_type=client_credentials&client_id=sandbox-client&client_secret=sandbox-secret&scope=item";
    let issued = local.token(Antsomi, form).await.json();
    let target = format!("{PATH}?operator=equals&phone_number=84907089782");
    let request = local
        .request(Antsomi, Method::GET, &target)
        .bearer_auth(issued["accessToken"].as_str().unwrap());
    assert_eq!(answer(request).await.status, 403);
}
