//! Jobs out, results in. Each result is checked: the right customer, for each job one.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    amqp::{Client, Job},
    setup::{Asked, Setup},
};

/// Where a worker publishes results.
pub const RESULTS: &str = "lookup.results";
/// No result for so long: none will come.
const QUIET: Duration = Duration::from_secs(60);
/// Published before the confirms are awaited.
const AT_ONCE: u32 = 5000;

/// Job `n`, of about 240 bytes, with a number of its own.
pub fn job(n: u32, asked: Asked) -> Job {
    let criterion = match asked {
        Asked::Antsomi | Asked::AntsomiByLookup => "phone",
        Asked::Plume | Asked::PlumeByDescriptor => "account_id",
    };
    let body = json!({
        "query": { criterion: phone(n) },
        "deadline_ms": 86_400_000,
        "context": { "n": n, "note": "What a caller wants to have back with the result, and the worker returns as it \
            is: a ticket, a queue, who asked, and the like; some hundred bytes." },
    });
    Job::json(&body).id(&format!("j-{n}"))
}

fn phone(n: u32) -> String {
    format!("849{n:09}")
}

/// The name of the `n`th provider.
pub fn name(n: u32) -> String {
    format!("p{n}")
}

/// The routing key of its jobs: its name, or that of the lookup whose step it is.
pub fn key(n: u32, asked: Asked) -> String {
    match asked {
        Asked::AntsomiByLookup => format!("l{n}"),
        _ => name(n),
    }
}

/// Publishes a run's jobs, the same share to each provider, and returns when all are confirmed.
pub async fn publish(client: &Client, setup: &Setup) {
    for of in 0..setup.providers {
        let key = key(of, setup.asked);
        let mut numbers = (of..setup.jobs)
            .step_by(setup.providers as usize)
            .peekable();
        while numbers.peek().is_some() {
            client
                .publish_all(
                    "lookup.jobs",
                    &key,
                    numbers
                        .by_ref()
                        .take(AT_ONCE as usize)
                        .map(|n| job(n, setup.asked)),
                )
                .await;
        }
    }
}

/// How many results there are, asked on a channel that stays open.
pub async fn count(channel: &Channel) -> u32 {
    let options = QueueDeclareOptions {
        passive: true,
        ..Default::default()
    };
    let declare = channel.queue_declare(RESULTS.into(), options, FieldTable::default());
    declare.await.expect("the queue of results").message_count()
}

/// The results, as they come.
pub struct Results {
    consumer: Consumer,
    answered: Vec<bool>,
    left: usize,
}

impl Results {
    /// Of so many jobs.
    pub async fn of(client: &Client, jobs: u32) -> Self {
        let channel = client.new_channel().await;
        channel
            .basic_qos(1000, BasicQosOptions::default())
            .await
            .expect("a prefetch");
        let options = BasicConsumeOptions::default();
        let consume =
            channel.basic_consume(RESULTS.into(), "".into(), options, FieldTable::default());
        let consumer = consume.await.expect("a consumer");
        Self {
            consumer,
            answered: vec![false; jobs as usize],
            left: jobs as usize,
        }
    }

    /// How many are still to come.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The next one: the number of its job.
    pub async fn next(&mut self) -> u32 {
        let next = tokio::time::timeout(QUIET, self.consumer.next()).await;
        let left = self.left;
        let delivery = next
            .unwrap_or_else(|_| panic!("{left} jobs are not answered: no result for {QUIET:?}"));
        let delivery = delivery.expect("results go on").expect("results go on");
        let n = read(&delivery);
        let answered = self
            .answered
            .get_mut(n as usize)
            .expect("a job of this run");
        assert!(!*answered, "job {n} is answered twice");
        *answered = true;
        self.left -= 1;
        if self.left.is_multiple_of(500) {
            delivery
                .acker
                .ack(BasicAckOptions { multiple: true })
                .await
                .expect("an ack");
        }
        n
    }

    /// Takes all that are to come.
    pub async fn all(mut self) {
        while self.left > 0 {
            self.next().await;
        }
    }
}

/// The job that a result answers, if it is the right answer.
pub fn read(delivery: &Delivery) -> u32 {
    #[derive(Deserialize)]
    struct Answer {
        job_id: String,
        status: String,
        customers: Vec<Customer>,
        context: Context,
    }
    #[derive(Deserialize)]
    struct Customer {
        customer_id: String,
    }
    #[derive(Deserialize)]
    struct Context {
        n: u32,
    }
    let shown = || String::from_utf8_lossy(&delivery.data);
    let answer: Answer = serde_json::from_slice(&delivery.data)
        .unwrap_or_else(|error| panic!("no right result ({error}): {}", shown()));
    let n = answer.context.n;
    let right = answer.status == "found"
        && answer.job_id == format!("j-{n}")
        && answer.customers.len() == 1
        && answer.customers[0].customer_id == phone(n);
    assert!(right, "not the right result: {}", shown());
    n
}
