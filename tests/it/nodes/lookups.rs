//! A lookup's jobs in a cluster of which a node dies.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;

use super::{cluster, home};
use crate::{
    amqp::{Client, Job},
    lookups::{
        Cast,
        worker::{RESULTS, lookup, statuses},
    },
    road::SOON,
    tally::LONG,
    worker::Worker,
};

/// Returns when jobs were put into a delay queue so often.
async fn wait_for_parked(worker: &Worker, times: usize) {
    let often = async {
        while worker.metric("lookup_retries_total").await < times as f64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(LONG, often).await;
    assert!(waited.is_ok(), "{}", worker.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_with_jobs_and_with_what_their_steps_said_loses_neither() {
    const JOBS: usize = 300;
    let cluster = cluster().await;
    let (cast, vhost) = (Cast::start().await, cluster.node(0).vhost());
    let urls = cluster.urls_of(vhost.name());
    // The second is away at first: what the first said waits with its job in a delay queue.
    let config = format!(
        "[amqp]\nurls = {urls:?}\n[retry]\nmax_attempts = 1000\ndelays = [\"5s\"]\n{}{}{}",
        cast.provider("a", "lacking", "quota = \"none\""),
        cast.provider(
            "b",
            "away",
            "quota = \"none\"\nbreaker = { failures = 1000000, cooldown = \"1s\" }"
        ),
        lookup("caller", "first", &["a", "b"]).replacen("}\n", "}\nwanted = [\"name\"]\n", 1)
    );
    let mut worker = Worker::start(&config);
    worker.wait_ready().await;
    let beside = |node: usize| urls[(node + 1) % urls.len()].clone();
    let job = |n| {
        let body = json!({"query": {"account_id": format!("acc-{n}")}});
        Job::json(&body).id(&format!("j{n}"))
    };

    let client = Client::connect(&beside(0)).await;
    let all = (0..JOBS).map(job);
    client
        .publish_for_sure("lookup.jobs", "caller.bulk", all)
        .await;
    // In the middle of it the node that leads the queue of the jobs dies, and then that of those which wait.
    wait_for_parked(&worker, 20).await;
    let victim = home(&cluster, vhost.name(), "lookup.jobs.caller.bulk");
    cluster.kill(victim);
    let client = Client::connect(&beside(victim)).await;
    worker.wait_ready().await;
    cluster.mend();
    wait_for_parked(&worker, JOBS).await;
    let victim = home(&cluster, vhost.name(), "lookup.delay.5s");
    cluster.kill(victim);
    drop(client);
    cast.recover();
    worker.wait_ready().await;

    let client = Client::connect(&beside(victim)).await;
    let mut answered = BTreeSet::new();
    while answered.len() < JOBS {
        let results = client.take_up_to(RESULTS, JOBS, SOON).await;
        assert!(!results.is_empty(), "{} of {JOBS}", answered.len());
        for result in results {
            let result = result.json();
            assert_eq!(statuses(&result), ["found", "found"], "{result:#}");
            answered.insert(result["job_id"].to_string());
        }
    }
    client
        .wait_for_depth("lookup.jobs.caller.bulk", 0, LONG)
        .await;
    assert_eq!(client.depth("lookup.dead").await, Some(0));
    cluster.mend();
}
