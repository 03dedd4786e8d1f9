//! A provider's bad hour costs waiting, not jobs, and slows nobody else's.

use lookup_worker::sandbox::Kind;
use serde_json::json;

use crate::{
    broker::Broker,
    road::{Road, SOON},
};

const BREAKER: &str = "breaker = { failures = 3, cooldown = \"300ms\" }\nauth_failure_limit = 5";

fn omeda(customer: &str) -> serde_json::Value {
    json!({"query": {"customer_id": customer}})
}

/// Returns when `/readyz` says so.
async fn wait_for_readyz(road: &Road, fits: impl Fn(&str) -> bool) {
    let waited = async {
        while !road.worker.get("/readyz").await.is_some_and(|(_, text)| fits(&text)) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, waited).await.expect("the state to change");
}

async fn road_with_breaker(url: &str) -> Road {
    Road::open_with(url, |config| config.replace("kind = \"antsomi\"", &format!("kind = \"antsomi\"\n{BREAKER}"))).await
}

#[tokio::test]
async fn while_a_provider_is_dark_its_jobs_wait_in_their_queue_and_none_is_used_up() {
    let vhost = Broker::shared().vhost();
    let road = road_with_breaker(&vhost.url()).await;
    road.sandbox.fault(Kind::Antsomi, "8491", json!({"status": 503}), None).await;
    for n in 0..40 {
        road.publish("antsomi", &format!("dark-{n}"), &json!({"query": {"phone": format!("8491{n:07}")}})).await;
    }
    wait_for_readyz(&road, |text| text.starts_with("ready") && text.contains("provider antsomi: circuit open")).await;
    assert!((road.worker.metric("lookup_circuit_open{provider=\"antsomi\"}").await - 1.0).abs() < f64::EPSILON);

    // The other provider goes on as if nothing were.
    for n in 0..20 {
        road.publish("omeda", &format!("well-{n}"), &omeda("12345")).await;
    }
    let results = road.results(20).await;
    assert!(results.iter().all(|(id, result)| id.starts_with("well-") && result["status"] == "found"), "{results:?}");

    // Probes alone are spent, many more than a job has attempts, and the jobs are in the queue, not in memory.
    let spent = async || road.sandbox.stats(Kind::Antsomi).await["requests"].as_u64().unwrap();
    let before = spent().await;
    let probes = async {
        while spent().await < before + 6 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, probes).await.expect("probes");
    assert!(road.client.depth("lookup.jobs.antsomi.bulk").await.unwrap() >= 39);

    road.sandbox.clear_faults(Kind::Antsomi).await;
    let results = road.results(40).await;
    assert!(results.values().all(|result| result["status"] == "found"), "{results:?}");
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
    wait_for_readyz(&road, |text| text == "ready\n").await;
}

#[tokio::test]
async fn credentials_that_stopped_working_use_up_no_more_jobs_than_the_limit() {
    let vhost = Broker::shared().vhost();
    let road = Road::open_with(&vhost.url(), |config| {
        config.replace("kind = \"antsomi\"", &format!("kind = \"antsomi\"\nconcurrency = 1\n{BREAKER}"))
    })
    .await;
    road.sandbox.fault(Kind::Antsomi, "8491", json!({"status": 403}), None).await;
    for n in 0..30 {
        road.publish("antsomi", &format!("refused-{n}"), &json!({"query": {"phone": format!("8491{n:07}")}})).await;
    }
    wait_for_readyz(&road, |text| text.contains("refusing the credentials")).await;
    let refused = road.results(5).await;
    assert!(refused.values().all(|result| result["error"]["kind"] == "forbidden"), "{refused:?}");
    road.sandbox.clear_faults(Kind::Antsomi).await;
    let rest = road.results(25).await;
    assert!(rest.values().all(|result| result["status"] == "found"), "{rest:?}");
}

#[tokio::test]
async fn omedas_500_is_never_repeated_quickly() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    road.sandbox.fault(Kind::Omeda, "12345", json!({"status": 500}), Some(1)).await;
    let begun = std::time::Instant::now();
    let result = road.ask("omeda", &omeda("12345")).await.json();
    assert_eq!((&result["status"], &result["attempts"]), (&json!("found"), &json!(2)), "{result}");
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1), "it waited for the first delay step");
}
