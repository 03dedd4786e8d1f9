//! The jobs of one run, and what became of each: answered once, repeated, dead-lettered, or lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use futures_util::StreamExt;
use lapin::{
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use serde_json::json;

use crate::amqp::{Client, Job, Received};

/// The bound of a whole run, on a slow machine.
pub const LONG: Duration = Duration::from_secs(120);

/// A job of which nothing was heard for this long, after the last one that was heard of, is lost.
const QUIET: Duration = Duration::from_secs(60);

/// The queue of the jobs.
pub const JOBS: &str = "lookup.jobs.antsomi.bulk";
/// The queue of their results.
pub const RESULTS: &str = "lookup.results";
const DEAD: &str = "lookup.dead";

/// The jobs that were published, and confirmed.
#[derive(Debug, Default)]
pub struct Load {
    published: u32,
}

/// What became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub jobs: usize,
    /// Jobs with one answer or more.
    pub answered: usize,
    /// Answers beside the first of a job.
    pub repeated: usize,
    /// Jobs in the dead-letter queue.
    pub dead: usize,
    /// Jobs of which there is nothing.
    pub lost: usize,
}

/// A number of its own for each job; the sandbox has a customer of the same id.
fn phone(job: u32) -> String {
    format!("8491{job:07}")
}

impl Load {
    /// So many jobs on their way.
    pub async fn of(client: &Client, jobs: u32) -> Self {
        let mut load = Self::default();
        load.add(client, jobs).await;
        load
    }

    /// More of them.
    pub async fn add(&mut self, client: &Client, jobs: u32) {
        let job = |n: u32| {
            Job::json(&json!({"query": {"phone": phone(n)}, "context": {"n": n}}))
                .id(&format!("j-{n}"))
        };
        let more = self.published..self.published + jobs;
        client
            .publish_for_sure("lookup.jobs", "antsomi", more.clone().map(job))
            .await;
        self.published = more.end;
    }

    /// So many more, if fewer than that wait in their queue: what goes wrong is to meet jobs.
    pub async fn keep_up(&mut self, client: &Client, jobs: u32) {
        if client.depth(JOBS).await.unwrap_or(0) < jobs {
            self.add(client, jobs).await;
        }
    }

    /// How many there are.
    pub fn jobs(&self) -> u32 {
        self.published
    }

    /// Waits until something is heard of every job, and counts. Each answer is the right one.
    pub async fn tally(&self, client: &Client) -> Tally {
        let jobs = self.published as usize;
        let mut answers = Answers::default();
        answers.collect(client, RESULTS, jobs).await;
        let letters = client.depth(DEAD).await.unwrap_or(0) as usize;
        let dead: BTreeSet<String> = client
            .take(DEAD, letters, LONG)
            .await
            .iter()
            .filter_map(job_of)
            .collect();
        let heard_of = answers
            .by_job
            .keys()
            .chain(&dead)
            .collect::<BTreeSet<_>>()
            .len();
        Tally {
            jobs,
            answered: answers.by_job.len(),
            repeated: answers.repeated,
            dead: dead.len(),
            lost: jobs - heard_of,
        }
    }
}

/// The id of the job that a letter is, or answers.
fn job_of(letter: &Received) -> Option<String> {
    letter.id().map(str::to_owned)
}

#[derive(Default)]
struct Answers {
    /// The message id of the first answer to each job.
    by_job: BTreeMap<String, String>,
    repeated: usize,
}

impl Answers {
    /// Takes results until each job has one, or no more come.
    async fn collect(&mut self, client: &Client, queue: &str, jobs: usize) {
        let channel = client.new_channel().await;
        channel
            .basic_qos(1000, BasicQosOptions::default())
            .await
            .expect("a prefetch");
        let options = BasicConsumeOptions::default();
        let consume =
            channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let mut results = consume.await.expect("a consumer");
        let mut unsettled = None;
        let mut taken = 0;
        while self.by_job.len() < jobs {
            let Ok(next) = tokio::time::timeout(QUIET, results.next()).await else {
                break;
            };
            let delivery = next.expect("results go on").expect("results go on");
            taken += 1;
            if taken % 500 == 0 {
                delivery
                    .ack(BasicAckOptions { multiple: true })
                    .await
                    .expect("an ack");
                unsettled = None;
            } else {
                unsettled = Some(delivery.acker.clone());
            }
            self.count(&Received::from(delivery));
        }
        if let Some(last) = unsettled {
            last.ack(BasicAckOptions { multiple: true })
                .await
                .expect("an ack");
        }
        channel
            .close(200, "counted".into())
            .await
            .expect("a channel that closes");
    }

    fn count(&mut self, result: &Received) {
        let shown = result.json();
        let n = u32::try_from(shown["context"]["n"].as_u64().expect("the context"))
            .expect("a job's number");
        assert_eq!(shown["job_id"], format!("j-{n}"));
        assert_eq!(
            shown["customers"][0]["customer_id"],
            phone(n).as_str(),
            "the right customer: {shown}"
        );
        let id = result.id().expect("a message id").to_owned();
        match self.by_job.get(&format!("j-{n}")) {
            None => {
                self.by_job.insert(format!("j-{n}"), id);
            }
            Some(first) => {
                assert_eq!(first, &id, "a repeat can be told by its message id");
                self.repeated += 1;
            }
        }
    }
}

impl Tally {
    /// Every job is answered, and none is in the dead-letter queue.
    pub fn assert_all_answered(&self) {
        assert_eq!(
            (self.lost, self.dead, self.answered),
            (0, 0, self.jobs),
            "{self}"
        );
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            jobs,
            answered,
            repeated,
            dead,
            lost,
        } = self;
        write!(
            f,
            "{jobs} jobs, {answered} answered, {repeated} repeats, {dead} dead-lettered, {lost} LOST"
        )
    }
}
