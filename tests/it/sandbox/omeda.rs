use lookup_worker::sandbox::Kind::Omeda;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Local, answer};

async fn ask(local: &Local, id: &str) -> Answer {
    answer(local.lookup(
        Omeda,
        &format!("/webservices/rest/brand/FOO/customer/{id}/phone/*"),
    ))
    .await
}

fn error(answer: &Answer) -> String {
    let body = answer.json();
    assert!(body["SubmissionId"].is_string());
    body["Errors"][0]["Error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn omeda_answers_the_documents_example_as_json() {
    let local = Local::start().await;
    let expected = json!({
        "Customer": "https://ows.omedastaging.com/webservices/rest/brand/FOO/customer/12345/*",
        "PhoneNumbers": [
            {
                "Id": 472_517, "PhoneContactType": 200, "PhoneNumber": "8475648900", "Extension": "999",
                "StatusCode": 1, "ChangedDate": "2015-03-08 21:23:34"
            },
            {
                "Id": 472_518, "PhoneContactType": 210, "PhoneNumber": "8475648901",
                "StatusCode": 1, "ChangedDate": "2015-03-08 21:23:34"
            }
        ],
        "SubmissionId": "24B9BF6F-0677-462B-942A-D87EEBD10F77"
    });
    for id in ["12345", "0123A4567890B2C"] {
        let answer = ask(&local, id).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()),
            (200, expected.clone()),
            "{id}"
        );
    }
}

#[tokio::test]
async fn omeda_tells_that_there_is_no_phone_in_the_documents_shape() {
    let local = Local::start().await;
    let answer = ask(&local, "12346").await;
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.text,
        r#"{"SubmissionId":"ec0c2ba6-13f4-4934-8efa-74c2ccb33f1d","Errors":[{"Error":"No phone number found for customer 12346."}]}"#
    );
}

#[tokio::test]
async fn omeda_refuses_a_missing_or_wrong_app_id() {
    let local = Local::start().await;
    let target = "/webservices/rest/brand/FOO/customer/12345/phone/*";
    let request = || local.request(Omeda, Method::GET, target);
    for request in [
        request(),
        request().header("x-omeda-appid", "wrong"),
        request().bearer_auth(Omeda.token()),
    ] {
        let answer = answer(request).await;
        assert_eq!(answer.status, 403);
        assert!(error(&answer).contains("x-omeda-appid"));
    }
}

#[tokio::test]
async fn omeda_takes_the_literal_star_and_no_other_path() {
    let local = Local::start().await;
    let customer = "/webservices/rest/brand/FOO/customer/12345";
    for target in [
        customer,
        "/webservices/rest/brand/FOO/customer/12345/phone",
        "/webservices/rest/brand/FOO/customer/12345/phone/",
        "/webservices/rest/brand/BAR/customer/12345/phone/*",
        "/webservices/rest/brand/FOO/customer/123%2F45/phone/*",
        "/webservices/rest/brand/FOO/customer//phone/*",
    ] {
        let answer = answer(local.lookup(Omeda, target)).await;
        assert_eq!(answer.status, 404, "{target}");
        error(&answer);
    }
    let outside = answer(local.lookup(Omeda, "/customer/12345/phone/*")).await;
    assert_eq!(
        (outside.status.as_u16(), outside.header("content-type")),
        (404, Some("text/html"))
    );
    assert_eq!(
        answer(
            local
                .lookup(Omeda, customer)
                .header("x-sandbox-fault", "status=500")
        )
        .await
        .status,
        500
    );
}

#[tokio::test]
async fn omeda_has_its_traps() {
    let local = Local::start().await;
    assert!(serde_json::from_str::<Value>(&ask(&local, "12348").await.text).is_err());
    let types = ask(&local, "12347").await.json();
    let types: Vec<&Value> = types["PhoneNumbers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["PhoneContactType"])
        .collect();
    assert_eq!(types, [0, 200, 210, 230, 240, 250, 260, 270, 999]);
    for (id, status, words) in [
        ("12349", 200, "No phone number"),
        ("22", 404, "Please use 99999"),
        ("24", 200, "Please use 99999"),
        ("23", 404, "pending deactivation"),
        ("25", 200, "pending deactivation"),
        ("777", 404, "Customer 777 was not found."),
    ] {
        let answer = ask(&local, id).await;
        assert_eq!(answer.status, status, "{id}");
        assert!(error(&answer).contains(words), "{id}");
    }
    assert_eq!(
        ask(&local, "22").await.json()["MergedIntoCustomerId"],
        99_999
    );
}
