//! Results that are larger than the broker takes.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    keeper::Node,
    road::{SOON, Served, config},
    worker::Worker,
};

/// A provider of kind antsomi that answers every request with one customer and much beside.
async fn talkative(bytes: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let body = format!(
        r#"{{"code":200,"data":{{"entries":[{{"customer_id":{{"value":"84907089782"}}}}],"more":"{}"}}}}"#,
        "x".repeat(bytes)
    );
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = [head.as_bytes(), body.as_bytes()].concat();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 8192]).await;
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    base
}

/// Asks for the whole answer of `bytes`, with others beside it, at a broker that takes messages up to `most` bytes.
async fn a_result_that_is_too_large(most: usize, bytes: usize) {
    let broker = Broker::launch(Node {
        settings: format!("max_message_size = {most}"),
        ..Node::alone()
    });
    broker.wait_ready();
    let (sandbox, base) = (Served::start().await, talkative(bytes).await);
    let extra = format!(
        "[providers.talks]\nkind = \"antsomi\"\ntoken = \"x\"\nquota = \"none\"\nbase_url = \"{base}\"\n\
         max_response_bytes = 100000000\ntimeout = \"60s\"\n"
    );
    let mut worker = Worker::start(&config(&broker.url(), &sandbox, &extra));
    worker.wait_ready().await;
    let client = Client::connect(&broker.url()).await;
    client.declare_queue("replies").await;
    let raw = json!({"query": {"phone": "84907089782"}, "options": {"raw": true}, "context": {"call": 7}});
    let small = json!({"query": {"customer_id": 12345}});
    for (id, reply_to) in [("to-results", None), ("to-a-queue", Some("replies"))] {
        let mut job = Job::json(&raw).id(id);
        if let Some(queue) = reply_to {
            job = job.reply_to(queue);
        }
        client.publish("lookup.jobs", "talks.bulk", job).await;
        client
            .publish("lookup.jobs", "omeda", Job::json(&small).id("beside"))
            .await;
        let queue = reply_to.unwrap_or("lookup.results");
        let mut results = client
            .take("lookup.results", 1 + usize::from(reply_to.is_none()), SOON)
            .await;
        if reply_to.is_some() {
            results.extend(client.take(queue, 1, SOON).await);
        }
        let results: Vec<_> = results.iter().map(crate::amqp::Received::json).collect();
        let failed = results
            .iter()
            .find(|result| result["job_id"] == id)
            .expect(id);
        assert_eq!(
            (
                &failed["status"],
                &failed["error"]["kind"],
                &failed["context"]
            ),
            (
                &json!("failed"),
                &json!("bad_response"),
                &json!({"call": 7})
            ),
            "{failed}"
        );
        let message = failed["error"]["message"].as_str().expect("a message");
        assert!(message.contains("max_message_size"), "{message}");
        let beside = results
            .iter()
            .find(|result| result["job_id"] == "beside")
            .expect("the other");
        assert_eq!(beside["status"], "found");
    }
    assert_eq!(
        client.take("lookup.dead", 2, SOON).await.len(),
        2,
        "the jobs, to be asked otherwise"
    );
    assert!(
        !worker.log().contains("the broker is gone"),
        "{}",
        worker.log()
    );
    let metrics = worker.metrics().await;
    let requests = metrics.lines().filter(|line| {
        line.starts_with("lookup_provider_requests_total{") && line.contains("provider=\"talks\"")
    });
    let made = requests.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    assert!(
        (made.sum::<f64>() - 2.0).abs() < 0.5,
        "one a job: {metrics}"
    );
}

#[tokio::test]
async fn a_result_that_the_broker_does_not_take_is_answered_as_failed_and_costs_nobody_the_connection()
 {
    a_result_that_is_too_large(128 * 1024, 200_000).await;
}

#[tokio::test]
async fn so_is_one_of_more_than_sixteen_mebibytes() {
    a_result_that_is_too_large(16 * 1024 * 1024, 17_000_000).await;
}
