use lookup_worker::sandbox::Kind::Kapture;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Local, answer};

const PATH: &str = "/search-customer-by-customer-id.html";

async fn ask(local: &Local, body: &str) -> Answer {
    let request = local
        .lookup(Kapture, PATH)
        .header("content-type", "application/json");
    answer(request.body(body.to_owned())).await
}

async fn details(local: &Local, body: &str) -> Value {
    let answer = ask(local, body).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["status"]),
        (200, &json!("success")),
        "{body}"
    );
    answer.json()["Customer Details"].clone()
}

#[tokio::test]
async fn kapture_answers_the_documents_example() {
    let local = Local::start().await;
    let request =
        r#"[{"kapture_customer_id":"191121684","email_id":"xyz@gmail.com","phone":"1234567890"}]"#;
    let found = details(&local, request).await;
    let shown =
        ["id", "name", "address", "generationDate", "maxCreditAmt"].map(|key| found[key].clone());
    assert_eq!(
        shown,
        [
            json!(191_121_684),
            json!("Sashank"),
            json!(" "),
            json!("May 2, 2024 4:15:42 PM"),
            json!(0.0)
        ]
    );
    assert_eq!(found["contacts"][0]["phone"], "9380491326");
    assert_eq!(found["contacts"][0]["generationDate"]["month"], 4);
    assert!(
        ask(&local, request)
            .await
            .text
            .contains(r#""maxCreditAmt": 0.0,"#)
    );
}

#[tokio::test]
async fn kapture_finds_by_each_criterion_and_by_numbers() {
    let local = Local::start().await;
    for body in [
        r#"[{"kapture_customer_id":191121684}]"#,
        r#"[{"email_id":"sashank@gmail.com"}]"#,
        r#"[{"phone":"9380491326"}]"#,
        r#"[{"phone":9380491326,"extra":{"of":"mine"}}]"#,
    ] {
        assert_eq!(details(&local, body).await["id"], 191_121_684, "{body}");
    }
    assert_eq!(
        details(&local, r#"[{"phone":"84955512345"}]"#).await["id"],
        84_955_512_345_u64
    );
}

#[tokio::test]
async fn kapture_tells_under_200_that_nobody_exists() {
    let local = Local::start().await;
    for body in [
        r#"[{"phone":"1"}]"#,
        r#"[{"kapture_customer_id":"84900000404"}]"#,
        r#"[{"email_id":"9380491326"}]"#,
    ] {
        let answer = ask(&local, body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.text,
            r#"{"Customer Details":"Information given by you does not exist in our sytsem.","status":"failed"}"#
        );
    }
}

#[tokio::test]
async fn kapture_tells_under_200_that_the_key_is_invalid() {
    let local = Local::start().await;
    let request = || local.request(Kapture, Method::POST, PATH).body("[]");
    let encoded = request().basic_auth(Kapture.token(), Some(""));
    for request in [
        request(),
        request().header("authorization", "Basic wrong"),
        request().bearer_auth(Kapture.token()),
        encoded,
    ] {
        let answer = answer(request).await;
        assert_eq!(
            (answer.status.as_u16(), &*answer.text),
            (200, r#"{"message":"Invalid Auth Key","status":"failed"}"#)
        );
    }
}

#[tokio::test]
async fn kapture_refuses_a_body_that_is_not_an_array_of_one_object_with_a_criterion() {
    let local = Local::start().await;
    for body in [
        "",
        "{",
        r#"{"phone":"9380491326"}"#,
        "[]",
        "[1]",
        r#"[{"phone":"1"},{"phone":"2"}]"#,
        "[{}]",
        r#"[{"customer_id":"191121684"}]"#,
        r#"[{"phone":""}]"#,
        r#"[{"phone":null}]"#,
        r#"[{"email_id":7}]"#,
    ] {
        let answer = ask(&local, body).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["status"]),
            (400, &json!("failed")),
            "{body}"
        );
    }
    let plain = local
        .lookup(Kapture, PATH)
        .header("content-type", "text/plain")
        .body(r#"[{"phone":"9380491326"}]"#);
    assert_eq!(answer(plain).await.status, 400);
    assert_eq!(
        answer(local.request(Kapture, Method::GET, PATH))
            .await
            .status,
        405
    );
    assert_eq!(
        answer(local.lookup(Kapture, "/search.html"))
            .await
            .header("content-type"),
        Some("text/html")
    );
}

#[tokio::test]
async fn kapture_has_its_traps() {
    let local = Local::start().await;
    let dates = details(&local, r#"[{"kapture_customer_id":"191121685"}]"#).await;
    assert_eq!(dates["generationDate"], "May 2, 2024, 4:15:42\u{202f}PM");
    let blank = details(&local, r#"[{"kapture_customer_id":"191121686"}]"#).await;
    let primary: Vec<&Value> = blank["contacts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["isPrimaryContact"])
        .collect();
    assert_eq!(primary, [false, true]);
    let strange = ask(&local, r#"[{"kapture_customer_id":"191121690"}]"#).await;
    assert_eq!(
        (strange.status.as_u16(), &strange.json()["status"]),
        (200, &json!("failed"))
    );
    let old = ask(&local, r#"[{"kapture_customer_id":"191121691"}]"#).await;
    assert_eq!(
        old.text,
        r#"{"Message":"Invalid Auth Key","Status":"failed"}"#
    );
    for expected in [503, 200] {
        assert_eq!(
            ask(&local, r#"[{"phone":"84900000503"}]"#)
                .await
                .status
                .as_u16(),
            expected
        );
    }
}
