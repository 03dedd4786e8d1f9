use lookup_worker::sandbox::{Kind::Egain, Options};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Local, answer};

const PATH: &str = "/core/customermgr/v3/customer";
const EXAMPLE: &str = "phone=14082343456102&$sort=type&$order=desc&$pagenum=4&$pagesize=1";

async fn ask(local: &Local, query: &str) -> Answer {
    answer(local.lookup(Egain, &format!("{PATH}?{query}"))).await
}

async fn ids(local: &Local, query: &str) -> Vec<String> {
    let answer = ask(local, query).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    let body = answer.json();
    body["customer"]
        .as_array()
        .unwrap()
        .iter()
        .map(|customer| customer["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn egain_answers_the_documents_example() {
    let local = Local::start().await;
    let body = ask(&local, EXAMPLE).await.json();
    let info = &body["paginationInfo"];
    assert_eq!(
        [&info["count"], &info["pagenum"], &info["pagesize"]],
        [&json!(4), &json!(4), &json!(1)]
    );
    assert_eq!(info["link"].as_array().unwrap().len(), 1);
    assert_eq!(info["link"][0]["rel"], "prev");
    assert_eq!(
        body["link"],
        json!([{ "rel": "self", "href": format!("{PATH}?{EXAMPLE}") }])
    );
    let customer = json!({
        "id": "1009", "customerName": "Unichem Laboratories Limited",
        "type": { "value": "corporate", "displayValue": "Corporate" },
        "lastModified": "2021-10-25T14:53:31.000Z",
        "contacts": { "contact": [
            { "systemCreated": true, "firstName": "#*Default CP#1009*#", "id": "1009" },
            {
                "systemCreated": false, "firstName": "David", "lastName": "Stewart", "id": "1010",
                "email": [{ "emailAddress": "david.Stewart@customer.com", "id": "1011" }],
                "phone": [{
                    "type": { "value": "pager" }, "phoneNo": "234 3456", "countryCode": "1", "areaCode": "408",
                    "extension": "102", "id": "1012"
                }]
            }
        ] }
    });
    assert_eq!(body["customer"], json!([customer]));
}

#[tokio::test]
async fn egain_answers_204_for_nobody_and_for_a_page_past_the_end() {
    let local = Local::start().await;
    for query in [
        "email=dean.paul%40example.com",
        "phone=84900000404",
        &EXAMPLE.replace("pagenum=4", "pagenum=5"),
        "phone=14082343456102&$rangestart=5",
    ] {
        let answer = ask(&local, query).await;
        assert_eq!(
            (answer.status.as_u16(), &*answer.text),
            (204, ""),
            "{query}"
        );
    }
}

#[tokio::test]
async fn egain_finds_by_each_criterion() {
    let local = Local::start().await;
    let custom = "custom=%5B%7B%22object%22%3A%22customer%22%2C%22name%22%3A%22preferredlang%22%2C%22value%22%3A%22English%22%7D%5D";
    for query in [
        "phone=442079460018",
        "email=ada%40example.com",
        "facebookId=ada.fb",
        "twitterId=ada_tw",
        "instagramId=ada_ig",
        "appleOpaqueId=ada-apple",
        "youTubeId=ada-yt",
        "customerName=lovelace",
        "created=%5B%2C2016-01-01T00%3A00%3A00.000Z%5D",
        "activity=%7B%22type%22%3A%22email%22%2C%22isRead%22%3A%22false%22%7D",
        custom,
        "department=Service&customerName=Ada&type=individual",
    ] {
        assert_eq!(ids(&local, query).await, ["1021"], "{query}");
    }
    assert_eq!(ids(&local, "department=Sales").await, ["1023", "1041"]);
    assert_eq!(
        ids(&local, "department=Sales&$sort=customerName&$order=desc").await,
        ["1041", "1023"]
    );
    assert_eq!(ids(&local, "phone=84955512345").await, ["84955512345"]);
}

#[tokio::test]
async fn egain_tells_no_count_with_a_range() {
    let local = Local::start().await;
    let body = ask(&local, "phone=14082343456102&$rangestart=2&$rangesize=2")
        .await
        .json();
    assert_eq!(body["customer"].as_array().unwrap().len(), 2);
    assert!(body["paginationInfo"].get("count").is_none());
}

#[tokio::test]
async fn egain_refuses_what_its_rules_forbid() {
    let local = Local::start().await;
    for query in [
        "",
        "type=corporate",
        "$sort=id",
        "phone=1&$order=asc",
        "phone=1&$sort=id&$order=up",
        "phone=1&$sort=age",
        "phone=1&$pagenum=1&$rangesize=2",
        "phone=1&$pagenum=0",
        "phone=1&$rangesize=x",
        "phone=1&$attribute=everything",
        "phone=1&type=person",
        "phone=1&nonsense=1",
        "phone=",
        "custom=x",
        "custom=%5B%5D",
        "custom=%5B%7B%22object%22%3A%22case%22%2C%22name%22%3A%22a%22%2C%22value%22%3A%22b%22%7D%5D",
        "activity=%7B%7D",
        "activity=%7B%22sentDate%22%3A%22yesterday%22%7D",
        "created=%5B%2C%5D",
        "created=2021-01-01",
    ] {
        let answer = ask(&local, query).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["code"]),
            (400, &json!("400-101")),
            "{query}"
        );
        assert!(answer.json()["details"][0]["key"].is_string());
    }
}

#[tokio::test]
async fn egain_needs_its_headers() {
    let local = Local::start().await;
    let target = format!("{PATH}?{EXAMPLE}");
    for (accept, language, token, expected) in [
        (None, Some("en-US"), true, 400),
        (Some("application/json"), None, true, 400),
        (Some("text/html"), Some("en-US"), true, 406),
        (Some("application/json"), Some("tlh"), true, 406),
        (Some("application/json"), Some("fr-FR"), true, 200),
        (Some("application/json"), Some("en-US"), false, 401),
    ] {
        // The client always sends an Accept; one that is no text counts as none.
        let mut request = local.request(Egain, Method::GET, &target);
        request = match accept {
            Some(accept) => request.header("accept", accept),
            None => request.header(
                "accept",
                reqwest::header::HeaderValue::from_bytes(b"\xff").unwrap(),
            ),
        };
        request = language.into_iter().fold(request, |request, language| {
            request.header("accept-language", language)
        });
        let request = if token {
            request.bearer_auth(Egain.token())
        } else {
            request
        };
        assert_eq!(
            answer(request).await.status,
            expected,
            "{accept:?} {language:?} {token}"
        );
    }
    assert_eq!(
        answer(local.lookup(Egain, "/core/customer"))
            .await
            .header("content-type"),
        Some("text/html")
    );
}

#[tokio::test]
async fn egain_returns_secrets_with_all_attributes() {
    let local = Local::start().await;
    let customer = async |query: &str| ask(&local, query).await.json()["customer"][0].clone();
    let all = customer("email=ada%40example.com&$attribute=all").await;
    let keys =
        ["pin", "secretAnswer", "created", "custom.preferredlang"].map(|key| all[key].is_string());
    assert_eq!(keys, [true; 4]);
    assert_eq!(customer("email=ada%40example.com").await.get("pin"), None);
    let some = customer("email=ada%40example.com&$attribute=level,role").await;
    assert_eq!((&some["level"], some.get("pin")), (&json!("Gold"), None));
}

#[tokio::test]
async fn egain_limits_with_a_time_of_reset() {
    let limit = "1/1h".parse().unwrap();
    let local = Local::with(Options {
        rate_limits: [(Egain, limit)].into(),
        ..Options::default()
    })
    .await;
    ask(&local, EXAMPLE).await;
    let limited = ask(&local, EXAMPLE).await;
    assert_eq!(
        (limited.status.as_u16(), &limited.json()["code"]),
        (429, &json!("429-001"))
    );
    let headers = ["x-ratelimit-limit", "x-ratelimit-remaining"].map(|name| limited.header(name));
    assert_eq!(headers, [Some("1"), Some("0")]);
    let reset: jiff::Timestamp = limited
        .header("x-ratelimit-reset")
        .unwrap()
        .parse()
        .unwrap();
    assert!(reset > jiff::Timestamp::now());
}

#[tokio::test]
async fn egain_issues_tokens() {
    let local = Local::start().await;
    let scope = "https%3A%2F%2Fapi.egain.cloud%2Fauth%2F.default";
    let form = format!(
        "grant_type=client_credentials&client_id=sandbox-client&client_secret=sandbox-secret&scope={scope}"
    );
    let issued: Value = local.token(Egain, &form).await.json();
    assert_eq!(issued["expires_in"], 3600);
    let request = local
        .request(Egain, Method::GET, &format!("{PATH}?{EXAMPLE}"))
        .bearer_auth(issued["access_token"].as_str().unwrap());
    assert_eq!(
        answer(
            request
                .header("accept", "application/json")
                .header("accept-language", "en-US")
        )
        .await
        .status,
        200
    );
    let refused = local
        .token(Egain, &form.replace("sandbox-secret", "wrong"))
        .await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["error"]),
        (401, &json!("invalid_client"))
    );
}
