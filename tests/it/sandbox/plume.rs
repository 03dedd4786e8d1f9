use lookup_worker::sandbox::{Kind::Plume, Options};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Local, answer};

async fn ask(local: &Local, rest: &str) -> Answer {
    answer(local.lookup(Plume, &format!("/api/Partners/customers/search/{rest}"))).await
}

async fn accounts(local: &Local, rest: &str) -> Vec<String> {
    let answer = ask(local, rest).await;
    assert_eq!(answer.status, 200, "{rest}: {}", answer.text);
    let Value::Array(customers) = answer.json() else {
        panic!("{rest}: no array")
    };
    customers
        .iter()
        .map(|customer| customer["accountId"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn plume_answers_in_the_documents_shape_to_the_byte() {
    let local = Local::start().await;
    let answer = ask(
        &local,
        "acc-1001?field=accountId&exactMatch=true&startsWith=true",
    )
    .await;
    assert_eq!(
        answer.text,
        r#"[{"id":"5f8d0d55b54764421b7156d9","accountId":"acc-1001","name":"Ada Lovelace","locations":[{"id":"loc-1"},{"id":"loc-2"}],"email":"ada@example.com"}]"#
    );
    let bare = ask(&local, "acc-2001?field=accountId").await;
    assert_eq!(
        bare.text,
        r#"[{"id":"5f8d0d55b54764421b7156db","accountId":"acc-2001"}]"#
    );
}

#[tokio::test]
async fn plume_searches_all_four_fields_and_as_the_flags_say() {
    let local = Local::start().await;
    let cases: [(&str, &[&str]); 10] = [
        ("loc-2?field=locationId", &["acc-1001"]),
        ("Ada%20King?field=name", &["acc-1002"]),
        ("zoe%2Bhome%40example.com?field=email", &["b/c?d=1 & e"]),
        ("b%2Fc%3Fd%3D1%20%26%20e?field=accountId", &["b/c?d=1 & e"]),
        ("Ada?field=name", &[]),
        ("Ada?field=name&exactMatch=false", &["acc-1001", "acc-1002"]),
        ("King?field=name&exactMatch=false", &[]),
        (
            "King?field=name&exactMatch=false&startsWith=false",
            &["acc-1002"],
        ),
        ("84955512345?field=accountId", &["84955512345"]),
        ("84900000404?field=accountId", &[]),
    ];
    for (rest, expected) in cases {
        assert_eq!(accounts(&local, rest).await, expected, "{rest}");
    }
}

#[tokio::test]
async fn plume_refuses_an_illegal_field_and_an_illegal_keyword_with_422() {
    let local = Local::start().await;
    for rest in [
        "acc-1001",
        "acc-1001?field=accountId%7D",
        "acc-1001?field=phone",
        "null?field=name",
        "NULL?field=name",
        "?field=name",
        "acc-1001?field=accountId&exactMatch=yes",
    ] {
        let answer = ask(&local, rest).await;
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status.as_u16(), &error["code"]),
            (422, &json!("CUS00001")),
            "{rest}"
        );
        assert_eq!(error["statusCode"], 422);
    }
}

#[tokio::test]
async fn plume_tells_an_unknown_location_and_a_missing_token() {
    let local = Local::start().await;
    let unknown = ask(&local, "loc-9?field=locationId").await;
    assert_eq!(
        (unknown.status.as_u16(), &unknown.json()["error"]["message"]),
        (404, &json!("Location not found"))
    );
    let target = "/api/Partners/customers/search/acc-1001?field=accountId";
    let request = || local.request(Plume, Method::GET, target);
    for request in [request(), request().bearer_auth("wrong")] {
        let answer = answer(request).await;
        assert_eq!(
            (
                answer.status.as_u16(),
                &answer.json()["error"]["statusCode"]
            ),
            (401, &json!(401))
        );
    }
    assert_eq!(
        answer(local.lookup(Plume, "/customers"))
            .await
            .header("content-type"),
        Some("text/html")
    );
}

#[tokio::test]
async fn plume_is_guarded_by_a_firewall_that_knows_no_429() {
    let limit = "1/1h".parse().unwrap();
    let local = Local::with(Options {
        rate_limits: [(Plume, limit)].into(),
        ..Options::default()
    })
    .await;
    ask(&local, "acc-1001?field=accountId").await;
    let refused = ask(&local, "acc-1001?field=accountId").await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("content-type")),
        (403, Some("text/html"))
    );
    assert!(refused.text.contains("403 Forbidden"));
}

#[tokio::test]
async fn plume_issues_tokens_to_a_client_that_uses_basic() {
    let local = Local::start().await;
    let form = "grant_type=client_credentials&scope=partnerId%3Aabc+role%3ApartnerIdAdmin";
    let request = |form: &str| {
        let request = local
            .request(Plume, Method::POST, "/oauth2/cloud-7/v1/token")
            .body(form.to_owned());
        request.header("content-type", "application/x-www-form-urlencoded")
    };
    let issued = answer(request(form).basic_auth("sandbox-client", Some("sandbox-secret")))
        .await
        .json();
    assert_eq!(issued["expires_in"], 3600);
    let target = "/api/Partners/customers/search/acc-1001?field=accountId";
    let with_it = local
        .request(Plume, Method::GET, target)
        .bearer_auth(issued["access_token"].as_str().unwrap());
    assert_eq!(answer(with_it).await.status, 200);
    let in_form = request(&format!(
        "{form}&client_id=sandbox-client&client_secret=sandbox-secret"
    ));
    assert_eq!(answer(in_form).await.status, 401);
    let unscoped = request("grant_type=client_credentials")
        .basic_auth("sandbox-client", Some("sandbox-secret"));
    assert_eq!(answer(unscoped).await.json()["error"], "invalid_scope");
}
