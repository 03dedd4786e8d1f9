use lookup_worker::sandbox::Kind::{Antsomi, Plume};
use reqwest::Method;
use serde_json::json;

use super::{Local, answer};

const PATH: &str = "/access/api/profile/get-customer-id-by-phone";

async fn status(local: &Local, phone: &str) -> u16 {
    answer(local.lookup(
        Antsomi,
        &format!("{PATH}?operator=equals&phone_number={phone}"),
    ))
    .await
    .status
    .as_u16()
}

#[tokio::test]
async fn a_rule_hits_what_it_matches_as_often_as_it_says() {
    let local = Local::start().await;
    let rule = r#"{"match":"=84911111111","fault":{"status":503,"retry_after":3},"count":2}"#;
    assert_eq!(
        local
            .control(Antsomi, Method::POST, "faults", rule)
            .await
            .status,
        201
    );
    assert_eq!(status(&local, "84907089782").await, 200);
    for expected in [503, 503, 200] {
        assert_eq!(status(&local, "84911111111").await, expected);
    }
}

#[tokio::test]
async fn a_rule_without_match_and_count_hits_everything_until_it_is_deleted() {
    let local = Local::start().await;
    local
        .control(
            Antsomi,
            Method::POST,
            "faults",
            r#"{"fault":{"status":500}}"#,
        )
        .await;
    assert_eq!(
        [
            status(&local, "84907089782").await,
            status(&local, "1").await
        ],
        [500, 500]
    );
    let listed = local
        .control(Antsomi, Method::GET, "faults", "")
        .await
        .json();
    assert_eq!(listed["faults"].as_array().unwrap().len(), 1);
    local.control(Antsomi, Method::DELETE, "faults", "").await;
    assert_eq!(status(&local, "84907089782").await, 200);
}

#[tokio::test]
async fn a_rule_of_one_port_leaves_the_others_alone() {
    let local = Local::start().await;
    local
        .control(Plume, Method::POST, "faults", r#"{"fault":{"status":500}}"#)
        .await;
    assert_eq!(status(&local, "84907089782").await, 200);
}

#[tokio::test]
async fn a_rule_that_is_none_is_refused() {
    let local = Local::start().await;
    for rule in [
        "",
        "[]",
        r#"{"fault":{}}"#,
        r#"{"fault":{"statsu":500}}"#,
        r#"{"fault":{"status":99}}"#,
        r#"{"fault":{"latency":"soon"}}"#,
    ] {
        assert_eq!(
            local
                .control(Antsomi, Method::POST, "faults", rule)
                .await
                .status,
            400,
            "{rule}"
        );
    }
    assert_eq!(
        local
            .control(Antsomi, Method::GET, "nothing", "")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn the_journal_tells_what_was_sent_and_no_secret() {
    let local = Local::start().await;
    status(&local, "%2B84 907").await;
    local
        .token(
            Antsomi,
            "grant_type=client_credentials&client_id=sandbox-client&client_secret=sandbox-secret",
        )
        .await;
    let journal = local.control(Antsomi, Method::GET, "requests", "").await;
    assert!(
        !journal.text.contains("sandbox-antsomi-token") && !journal.text.contains("sandbox-secret")
    );
    let requests = &journal.json()["requests"];
    assert_eq!(requests[0]["method"], "GET");
    assert_eq!(
        requests[0]["target"],
        format!("{PATH}?operator=equals&phone_number=%2B84%20907")
    );
    assert_eq!(requests[0]["headers"]["authorization"], "Bearer ***");
    assert_eq!(requests[0]["answer"], "200");
    assert_eq!(
        requests[1]["body"],
        "grant_type=client_credentials&client_id=sandbox-client&client_secret=***"
    );
}

#[tokio::test]
async fn token_requests_are_no_lookups() {
    let local = Local::start().await;
    status(&local, "84907089782").await;
    local.token(Antsomi, "").await;
    let stats = local.stats(Antsomi).await;
    let counts = [
        "requests",
        "lookups",
        "token_requests",
        "largest_window",
        "window_ms",
    ]
    .map(|key| stats[key].clone());
    assert_eq!(
        counts,
        [json!(2), json!(1), json!(1), json!(1), json!(60_000)]
    );
}

#[tokio::test]
async fn a_reset_forgets_counts_and_faults() {
    let local = Local::start().await;
    local
        .control(
            Antsomi,
            Method::POST,
            "faults",
            r#"{"fault":{"status":500}}"#,
        )
        .await;
    status(&local, "84907089782").await;
    local.control(Antsomi, Method::POST, "reset", "").await;
    assert_eq!(local.stats(Antsomi).await["requests"], 0);
    assert_eq!(status(&local, "84907089782").await, 200);
}
