//! A road of one's own: a virtual host or broker, a sandbox in this process, a worker process, a client.

use std::{collections::BTreeMap, pin::pin, thread, time::Duration};

use lookup_worker::sandbox::{Kind, Options, Sandbox};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{
    amqp::{Client, Job, Received},
    worker::Worker,
};

/// The bound of what takes no time on an idle machine.
pub const SOON: Duration = Duration::from_secs(20);

/// The sandbox, served until it is dropped. It has a thread of its own: what a test does must not make it count late.
pub struct Served {
    config: String,
    bases: BTreeMap<Kind, String>,
    client: reqwest::Client,
    _end: oneshot::Sender<()>,
}

impl Served {
    /// All kinds, on free ports.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// As [`Self::start`], with other options.
    pub async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::default();
        options.ports.values_mut().for_each(|port| *port = 0);
        change(&mut options);
        let ((end, ended), (bound, is_bound)) = (oneshot::channel::<()>(), oneshot::channel());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let sandbox = Sandbox::bind(&options).await.expect("free ports");
                let bases = Kind::ALL
                    .into_iter()
                    .filter_map(|kind| Some((kind, sandbox.base_url(kind)?)))
                    .collect();
                let _ = bound.send((bases, sandbox.config()));
                let _ = futures_util::future::select(
                    pin!(sandbox.serve(std::future::pending())),
                    ended,
                )
                .await;
            });
        });
        let (bases, config) = is_bound.await.expect("a sandbox");
        // One for all calls: a new one reads the system's certificates, which takes its time.
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        Self {
            config,
            bases,
            client,
            _end: end,
        }
    }

    /// The address of a kind.
    pub fn base(&self, kind: Kind) -> &str {
        &self.bases[&kind]
    }

    /// What the sandbox counted for a kind.
    pub async fn stats(&self, kind: Kind) -> Value {
        self.get(kind, "stats").await
    }

    /// The last requests of a kind.
    pub async fn requests(&self, kind: Kind) -> Vec<Value> {
        self.get(kind, "requests").await["requests"]
            .as_array()
            .expect("requests")
            .clone()
    }

    async fn get(&self, kind: Kind, route: &str) -> Value {
        let url = format!("{}/_sandbox/{route}", self.base(kind));
        let answer = self.client.get(url).send().await.expect("the sandbox");
        serde_json::from_str(&answer.text().await.expect("its answer")).expect("JSON")
    }

    /// The last requests of a kind, as they were sent: path and query.
    pub async fn targets(&self, kind: Kind) -> Vec<String> {
        let target = |entry: &Value| entry["target"].as_str().expect("a target").to_owned();
        self.requests(kind).await.iter().map(target).collect()
    }

    /// Ends every fault of a kind.
    pub async fn clear_faults(&self, kind: Kind) {
        let url = format!("{}/_sandbox/faults", self.base(kind));
        self.client.delete(url).send().await.expect("the sandbox");
    }

    /// Lets a fault befall the requests that hold `part` in their address or body.
    pub async fn fault(&self, kind: Kind, part: &str, fault: Value, count: Option<u32>) {
        let mut rule = json!({ "match": part, "fault": fault });
        if let Some(count) = count {
            rule["count"] = count.into();
        }
        let url = format!("{}/_sandbox/faults", self.base(kind));
        let request = self.client.post(url).body(rule.to_string());
        let answer = request
            .header("content-type", "application/json")
            .send()
            .await
            .expect("the sandbox");
        assert!(
            answer.status().is_success(),
            "{}",
            answer.text().await.unwrap_or_default()
        );
    }
}

/// Everything joined, the worker ready.
pub struct Road {
    pub client: Client,
    pub worker: Worker,
    pub sandbox: Served,
}

impl Road {
    /// On the broker at `url`; `extra` is more configuration, tables of its own.
    pub async fn open(url: &str, extra: &str) -> Self {
        Self::open_with(url, |config| config + extra).await
    }

    /// As [`Self::open`], with any change to the configuration.
    pub async fn open_with(url: &str, change: impl FnOnce(String) -> String) -> Self {
        let sandbox = Served::start().await;
        let mut worker = Worker::start(&change(config(url, &sandbox, "")));
        worker.wait_ready().await;
        Self {
            client: Client::connect(url).await,
            worker,
            sandbox,
        }
    }

    /// Publishes a job with this id to `PREFIX.jobs`, its result to `PREFIX.results`.
    pub async fn publish(&self, key: &str, id: &str, body: &Value) {
        self.client
            .publish("lookup.jobs", key, Job::json(body).id(id))
            .await;
    }

    /// The results of `count` jobs without a `reply_to`, by job id.
    pub async fn results(&self, count: usize) -> BTreeMap<String, Value> {
        by_job(self.client.take("lookup.results", count, SOON).await)
    }

    /// One job, there and back.
    pub async fn ask(&self, key: &str, body: &Value) -> Received {
        self.publish(key, "the-job", body).await;
        self.client.take("lookup.results", 1, SOON).await.remove(0)
    }
}

/// The worker's configuration: the broker, all kinds of the sandbox without quotas, fast retries;
/// `extra` is more, tables of its own.
pub fn config(url: &str, sandbox: &Served, extra: &str) -> String {
    let providers = sandbox.config.replace(
        "[providers.antsomi]",
        "[providers.antsomi]\nquota = \"none\"",
    );
    format!(
        "[amqp]\nurl = \"{url}\"\n\n[retry]\ninitial_delay = \"5ms\"\nmax_delay = \"50ms\"\nmax_attempts = 4\n\
         delays = [\"1s\", \"2s\"]\n\n{providers}\n{extra}\n"
    )
}

/// By the job that each answers.
pub fn by_job(results: Vec<Received>) -> BTreeMap<String, Value> {
    let named = |result: Received| {
        let result = result.json();
        (result["job_id"].as_str().expect("an id").to_owned(), result)
    };
    results.into_iter().map(named).collect()
}
