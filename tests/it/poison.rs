//! A job that ends the process each time it is begun dies alone.

#[cfg(feature = "failpoints")]
use std::collections::BTreeSet;

use lapin::options::BasicGetOptions;
use serde_json::json;

use crate::{
    amqp::Job,
    broker::Broker,
    road::{Road, SOON},
};
#[cfg(feature = "failpoints")]
use crate::{amqp::Received, commands::Call};

const POISON: &str = "taken:kill:id=poison";

fn job(id: &str) -> Job {
    Job::json(&json!({"query": {"phone": "84907089782"}})).id(id)
}

/// Worker and broker, with these keys; the worker is not running.
async fn road_with(url: &str, delivery_limit: u32, provider: &str) -> Road {
    let mut road = Road::open_with(url, |config| {
        let config = config.replace(
            "[amqp]",
            &format!("[amqp]\ndelivery_limit = {delivery_limit}"),
        );
        config.replace(
            "kind = \"antsomi\"",
            &format!("kind = \"antsomi\"\n{provider}"),
        )
    })
    .await;
    road.worker.sigterm();
    assert!(road.worker.wait_exit().await.success());
    road
}

/// Starts the worker until the poison is dead; how often it died of it.
#[cfg(feature = "failpoints")]
async fn die_of_it(road: &mut Road, deaths: u32) {
    for death in 0..deaths {
        road.worker.start_to_fail(POISON);
        assert!(!road.worker.wait_exit().await.success(), "death {death}");
    }
    road.worker.start_to_fail(POISON);
    road.worker.wait_ready().await;
}

/// The results of so many different jobs.
#[cfg(feature = "failpoints")]
async fn answers(road: &Road, jobs: usize) -> Vec<Received> {
    let mut results: Vec<Received> = Vec::new();
    let mut answered = BTreeSet::new();
    while answered.len() < jobs {
        let more = road
            .client
            .take_up_to("lookup.results", jobs - answered.len(), SOON)
            .await;
        assert!(
            !more.is_empty(),
            "{} of {jobs} neighbours are answered",
            answered.len()
        );
        answered.extend(
            more.iter()
                .map(|result| result.json()["job_id"].to_string()),
        );
        results.extend(more);
    }
    results
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn poison_among_two_hundred_neighbours_is_dead_lettered_alone() {
    const LIMIT: u32 = 5;
    let vhost = Broker::shared().vhost();
    let mut road = road_with(&vhost.url(), LIMIT, "concurrency = 8").await;
    let neighbour = |n: u32| job(&format!("n-{n}"));
    road.client
        .publish_all("lookup.jobs", "antsomi", (0..100).map(neighbour))
        .await;
    road.client
        .publish("lookup.jobs", "antsomi", job("poison"))
        .await;
    road.client
        .publish_all("lookup.jobs", "antsomi", (100..200).map(neighbour))
        .await;

    // It is begun as often as the limit says: once, and LIMIT times again.
    die_of_it(&mut road, LIMIT + 1).await;
    let results = answers(&road, 200).await;
    assert!(
        results
            .iter()
            .all(|result| result.json()["status"] == "found")
    );

    let ran = Call::new(&["dead", "list", "--json"])
        .env("LOOKUP__AMQP__URL", &vhost.url())
        .run()
        .await
        .expect(0);
    assert_eq!(
        (&ran.lines()[0]["error"], &ran.lines()[0]["provider"]),
        (&json!("delivery_limit"), &json!("antsomi"))
    );
    let ran = Call::new(&["dead", "show", "--all"])
        .env("LOOKUP__AMQP__URL", &vhost.url())
        .run()
        .await
        .expect(0);
    assert!(
        ran.out.contains("poison") && ran.out.contains("ended each time"),
        "{ran:?}"
    );
    let letter = road.client.take("lookup.dead", 1, SOON).await.remove(0);
    assert_eq!(letter.id(), Some("poison"));
    assert_eq!(
        letter.header("x-lookup-routing-key").as_deref(),
        Some("antsomi")
    );
    for queue in [
        "lookup.dead",
        "lookup.suspect.antsomi",
        "lookup.jobs.antsomi.bulk",
    ] {
        assert_eq!(road.client.depth(queue).await, Some(0), "{queue}");
    }
}

#[tokio::test]
async fn calls_that_came_back_often_go_before_bulk_that_did() {
    let vhost = Broker::shared().vhost();
    let mut road = road_with(&vhost.url(), 20, "").await;
    let queues = [
        "lookup.jobs.antsomi.bulk",
        "lookup.jobs.antsomi.interactive",
    ];
    for (key, kind, jobs) in [
        ("antsomi.bulk", "bulk", 12),
        ("antsomi.interactive", "call", 4),
    ] {
        let jobs = (0..jobs).map(|n| job(&format!("{kind}-{n}")));
        road.client.publish_all("lookup.jobs", key, jobs).await;
    }
    // As when the worker's connection is lost three times.
    for _ in 0..3 {
        let channel = road.client.new_channel().await;
        for (queue, count) in queues.into_iter().zip([12, 4]) {
            road.client.wait_for_depth(queue, count, SOON).await;
            for _ in 0..count {
                let get = channel.basic_get(queue.into(), BasicGetOptions::default());
                get.await.expect("an answer").expect("a job");
            }
        }
        channel.close(200, "lost".into()).await.expect("a close");
    }
    road.worker.start_again();
    let results = road.client.take("lookup.results", 16, SOON).await;
    let first: Vec<_> = results[..4]
        .iter()
        .map(|result| result.json()["job_id"].to_string())
        .collect();
    assert!(first.iter().all(|job| job.contains("call")), "{first:?}");
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn parked_jobs_do_not_die_of_a_poison_beside_them() {
    const LIMIT: u32 = 4;
    let vhost = Broker::shared().vhost();
    let mut road = road_with(&vhost.url(), LIMIT, "").await;
    let due = (jiff::Timestamp::now().as_millisecond() + 3_600_000).to_string();
    let parked = |n: u32| {
        let headers = [
            ("x-lookup-routing-key", "antsomi"),
            ("x-lookup-due-at", due.as_str()),
        ];
        headers
            .into_iter()
            .fold(job(&format!("p-{n}")), |job, (name, value)| {
                job.number_header(name, value)
            })
    };
    road.client
        .publish_all("", "lookup.delay.2s", (0..20).map(parked))
        .await;
    road.client
        .publish("lookup.jobs", "antsomi", job("poison"))
        .await;
    die_of_it(&mut road, LIMIT + 1).await;
    road.worker.sigterm();
    assert!(road.worker.wait_exit().await.success());
    let letters = road
        .client
        .take_up_to("lookup.dead", 21, std::time::Duration::from_secs(1))
        .await;
    assert_eq!(
        letters
            .iter()
            .filter_map(|letter| letter.id())
            .collect::<Vec<_>>(),
        ["poison"]
    );
}

#[tokio::test]
async fn a_job_that_is_handed_back_again_and_again_is_no_suspect() {
    const JOBS: u32 = 8;
    let vhost = Broker::shared().vhost();
    // Each worker may ask once: at each stop the others wait for quota, in the worker, and go back.
    let mut road = Road::open_with(&vhost.url(), |config| {
        config.replace(
            "quota = \"none\"",
            "quota = { requests = 1, per = \"1h\", scope = \"worker\" }\nbatch = { max_size = 1 }",
        )
    })
    .await;
    // Each asks for another: equal ones would share the answer.
    let job = |n: u32| {
        Job::json(&json!({"query": {"phone": format!("8491{n:07}")}})).id(&format!("j-{n}"))
    };
    road.client
        .publish_all("lookup.jobs", "antsomi.interactive", (0..JOBS).map(job))
        .await;
    for answered in 1..=JOBS {
        road.client
            .wait_for_depth("lookup.results", answered, SOON)
            .await;
        road.worker.sigterm();
        assert!(road.worker.wait_exit().await.success());
        road.worker.start_again();
    }
    assert!(
        !road.worker.log().contains("goes on alone"),
        "{}",
        road.worker.log()
    );
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
}

#[tokio::test]
async fn a_suspect_waits_for_its_provider_and_is_answered_under_its_own_name() {
    let vhost = Broker::shared().vhost();
    let mut road = road_with(
        &vhost.url(),
        20,
        "breaker = { failures = 2, cooldown = \"300ms\" }\nconcurrency = 4",
    )
    .await;
    road.sandbox
        .fault(
            lookup_worker::sandbox::Kind::Antsomi,
            "8491",
            json!({"status": 503}),
            None,
        )
        .await;
    let dark = |n: u32| {
        let job =
            Job::json(&json!({"query": {"phone": format!("8491{n:07}")}})).id(&format!("s-{n}"));
        job.header("x-lookup-routing-key", "antsomi.interactive")
            .number_header("x-lookup-suspect", "3")
    };
    road.client
        .publish_all("", "lookup.suspect.antsomi.interactive", (0..5).map(dark))
        .await;
    // Suspects go one by one, and what one alone meets is its own affair: others show that the provider is dark.
    let other = |n: u32| {
        Job::json(&json!({"query": {"phone": format!("8491{:07}", 100 + n)}})).id(&format!("o-{n}"))
    };
    road.client
        .publish_all("lookup.jobs", "antsomi.bulk", (0..5).map(other))
        .await;
    road.worker.start_again();
    road.worker.wait_ready().await;
    let opened = async {
        while road
            .worker
            .metric("lookup_circuit_open{provider=\"antsomi\"}")
            .await
            < 0.5
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, opened)
        .await
        .expect("the circuit opens");
    road.client
        .wait_for_at_least("lookup.suspect.antsomi.interactive", 4, SOON)
        .await;
    road.sandbox
        .clear_faults(lookup_worker::sandbox::Kind::Antsomi)
        .await;
    let results = road.results(10).await;
    assert!(
        results
            .values()
            .all(|result| result["status"] == "found" && result["provider"] == "antsomi")
    );
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn several_poisons_at_once_take_nobody_along() {
    const LIMIT: u32 = 6;
    let vhost = Broker::shared().vhost();
    let mut road = road_with(&vhost.url(), LIMIT, "concurrency = 8").await;
    for part in 0..3 {
        road.client
            .publish_all(
                "lookup.jobs",
                "antsomi",
                (0..20).map(|n| job(&format!("n-{part}-{n}"))),
            )
            .await;
        road.client
            .publish("lookup.jobs", "antsomi", job("poison"))
            .await;
    }
    let mut deaths = 0;
    loop {
        road.worker.start_to_fail(POISON);
        // The broker dead-letters what a worker died of some time after that: another may have started meanwhile.
        tokio::select! {
            ended = road.worker.wait_exit() => assert!(!ended.success()),
            () = road.client.wait_for_depth("lookup.dead", 3, SOON) => break,
        }
        deaths += 1;
        assert!(
            deaths <= 3 * (LIMIT + 1),
            "none is begun more often than the limit says"
        );
    }
    // The last one has nothing left to die of, unless it has just died.
    road.worker.kill9();
    road.worker.start_again();
    answers(&road, 60).await;
    let letters = road
        .client
        .take_up_to("lookup.dead", 10, std::time::Duration::from_secs(1))
        .await;
    assert_eq!(
        letters
            .iter()
            .filter_map(|letter| letter.id())
            .collect::<Vec<_>>(),
        ["poison"; 3]
    );
}
