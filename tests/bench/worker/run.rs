//! One run of each sort, on queues of its own. Whatever is not right ends the program.

use std::{
    thread,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use lapin::{Confirmation, Consumer, options::BasicConsumeOptions, types::FieldTable};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::{
    amqp::Client,
    broker::{Broker, Vhost},
    figures::Figure,
    jobs::{self, Results},
    process::{cpu_seconds, peak_mib},
    provider::Provider,
    setup::{Asked, Setup},
    wire::Wire,
    worker::Worker,
};

/// A run that gives no result for so long has failed.
const QUIET: Duration = Duration::from_secs(60);
/// How often the queue of results is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// What is run before latency counts.
const WARM_UP_SECONDS: u32 = 2;
const WARM_UP: Duration = Duration::from_secs(2);
/// Where calls are answered.
const ANSWERS: &str = "answers";
/// Less processor time than this is too coarsely counted to be told.
const LEAST_CPU_SECONDS: f64 = 0.1;

/// What runs have in common.
pub struct Place {
    broker: Broker,
    wire: Wire,
    /// One for each of [`Wire::ALL`].
    fast: Vec<Provider>,
    slow: Provider,
    delay: Duration,
}

/// What a run with a full queue gave.
pub struct Throughput {
    pub jobs_per_second: f64,
    /// Of all workers together, for 1,000 jobs; none where it is too little to be told.
    pub cpu: Option<f64>,
    /// The same of the broker.
    pub broker_cpu: Option<f64>,
    /// Of the largest worker.
    pub peak_mib: f64,
}

impl Place {
    /// Broker and providers, started; this wire is the usual one.
    pub fn open(wire: Wire, delay: Duration) -> Self {
        let fast = Wire::ALL.map(|wire| Provider::start(wire, Duration::ZERO));
        Self {
            broker: Broker::start(),
            wire,
            fast: fast.into(),
            slow: Provider::start(wire, delay),
            delay,
        }
    }

    fn fast(&self, wire: Wire) -> &Provider {
        let at = Wire::ALL.iter().position(|one| *one == wire);
        &self.fast[at.expect("one of all")]
    }

    /// As RabbitMQ tells it.
    pub fn broker_version(&self) -> String {
        self.broker.rabbitmqctl(&["version"]).trim().to_owned()
    }

    /// Jobs wait, the workers are started: how fast they are done, and what it costs. From the first look that
    /// shows results to the one that shows them all: without start, but with warming up.
    pub async fn throughput(&self, setup: Setup) -> Throughput {
        self.throughput_over(self.wire, setup).await
    }

    /// The same, over a wire that may not be the usual one.
    pub async fn throughput_over(&self, wire: Wire, setup: Setup) -> Throughput {
        let (vhost, provider) = (self.broker.vhost(), self.fast(wire));
        let mut workers = vec![declared(&vhost, provider, &setup).await];
        let client = Client::connect(&vhost.url()).await;
        jobs::publish(&client, &setup).await;

        workers[0].start_again();
        workers.extend((1..setup.workers).map(|_| Worker::start(&setup.config(&vhost, provider))));
        let used = |workers: &[Worker]| {
            let cpu: f64 = workers.iter().map(|worker| cpu_seconds(worker.pid())).sum();
            (cpu, cpu_seconds(self.broker.pid()))
        };
        let channel = client.new_channel().await;
        let (mut first, mut last_news, mut done) = (None, (0, Instant::now()), 0);
        while done < setup.jobs {
            tokio::time::sleep(LOOK).await;
            done = jobs::count(&channel).await;
            let now = Instant::now();
            if done > last_news.0 {
                last_news = (done, now);
                first.get_or_insert_with(|| (now, done, used(&workers)));
            }
            assert!(
                last_news.1 + QUIET > now,
                "{done} of {} results, no more for {QUIET:?}",
                setup.jobs
            );
        }
        let (ended, (cpu, broker_cpu)) = (Instant::now(), used(&workers));
        let peak_mib = workers
            .iter()
            .map(|worker| peak_mib(worker.pid()))
            .fold(0.0, f64::max);

        for worker in &mut workers {
            stop(worker).await;
        }
        assert_eq!(
            jobs::count(&channel).await,
            setup.jobs,
            "one result for each job"
        );
        Results::of(&client, setup.jobs).await.all().await;
        assert_nothing_left(&client, &setup).await;
        let (began, before, (cpu_before, broker_before)) = first.expect("results");
        let counted = f64::from(setup.jobs - before);
        let per_1000 =
            |spent: f64| (spent >= LEAST_CPU_SECONDS).then_some(1000.0 * spent / counted);
        Throughput {
            jobs_per_second: counted / (ended - began).as_secs_f64(),
            cpu: per_1000(cpu - cpu_before),
            broker_cpu: per_1000(broker_cpu - broker_before),
            peak_mib,
        }
    }

    /// Open loop: jobs come on a schedule that waits for nobody. Milliseconds from a job's time on the schedule to
    /// its result's arrival, less what the provider takes.
    pub async fn latency(&self, concurrency: u16, rate: u32, seconds: u32) -> Figure {
        let (warm_up, jobs) = (WARM_UP_SECONDS * rate, (WARM_UP_SECONDS + seconds) * rate);
        let setup = Setup::new(jobs, concurrency);
        let vhost = self.broker.vhost();
        let mut worker = declared(&vhost, &self.slow, &setup).await;
        worker.start_again();
        worker.wait_ready().await;
        let client = Client::connect(&vhost.url()).await;
        let mut results = Results::of(&client, jobs).await;

        let (mut latencies, mut confirms, key) =
            (Figure::default(), Vec::new(), jobs::key(0, setup.asked));
        let (began, period) = (Instant::now(), Duration::from_secs(1) / rate);
        let mut due = schedule(began, period, jobs);
        while results.left() > 0 {
            tokio::select! {
                Some(n) = due.recv() => confirms.push(client.send("lookup.jobs", &key, &jobs::job(n, setup.asked)).await),
                n = results.next() => if n >= warm_up {
                    latencies.add((began + n * period).elapsed().saturating_sub(self.delay).as_secs_f64() * 1000.0);
                },
            }
        }
        for confirm in confirms {
            assert_eq!(confirm.await.expect("a confirm"), Confirmation::Ack(None));
        }
        stop(&mut worker).await;
        latencies
    }

    /// Calls on a schedule that waits for nobody, first at an idle worker, then beside bulk jobs for as long as those
    /// last: milliseconds from a call's publish to its answer.
    pub async fn calls(&self, setup: Setup, rate: u32, seconds: u32) -> [Figure; 2] {
        let vhost = self.broker.vhost();
        let mut worker = declared(&vhost, &self.slow, &setup).await;
        worker.start_again();
        worker.wait_ready().await;
        let client = Client::connect(&vhost.url()).await;
        let mut caller = Caller::new(&vhost.url(), &setup, rate).await;
        caller.calls_during(tokio::time::sleep(WARM_UP)).await;
        let idle = Duration::from_secs(seconds.into());
        let idle = caller.calls_during(tokio::time::sleep(idle)).await;

        jobs::publish(&client, &setup).await;
        let channel = client.new_channel().await;
        let bulk = async {
            while jobs::count(&channel).await < setup.jobs {
                tokio::time::sleep(LOOK).await;
            }
        };
        let beside = caller.calls_during(bulk).await;
        stop(&mut worker).await;
        Results::of(&client, setup.jobs).await.all().await;
        assert_nothing_left(&client, &setup).await;
        [idle, beside]
    }

    /// Milliseconds from the start of the process to the result of a job that waited for it.
    pub async fn start(&self, concurrency: u16) -> f64 {
        let setup = Setup::new(1, concurrency);
        let vhost = self.broker.vhost();
        let mut worker = declared(&vhost, self.fast(self.wire), &setup).await;
        let client = Client::connect(&vhost.url()).await;
        jobs::publish(&client, &setup).await;
        let mut results = Results::of(&client, 1).await;
        let began = Instant::now();
        worker.start_again();
        results.next().await;
        let taken = began.elapsed();
        stop(&mut worker).await;
        taken.as_secs_f64() * 1000.0
    }
}

/// Who calls, and has a queue for the answers.
struct Caller {
    client: Client,
    answers: Consumer,
    asked: Asked,
    key: String,
    period: Duration,
    /// When each was published; those of bulk have the numbers before.
    published: Vec<Instant>,
    first: u32,
}

impl Caller {
    async fn new(url: &str, setup: &Setup, rate: u32) -> Self {
        let client = Client::connect(url).await;
        client.declare_queue(ANSWERS).await;
        let options = BasicConsumeOptions {
            no_ack: true,
            ..Default::default()
        };
        let consume = client.channel().basic_consume(
            ANSWERS.into(),
            "".into(),
            options,
            FieldTable::default(),
        );
        Self {
            answers: consume.await.expect("a consumer"),
            client,
            asked: setup.asked,
            key: format!("{}.interactive", jobs::key(0, setup.asked)),
            period: Duration::from_secs(1) / rate,
            published: Vec::new(),
            first: setup.jobs,
        }
    }

    async fn calls_during(&mut self, time: impl Future<Output = ()>) -> Figure {
        let (mut took, mut open) = (Figure::default(), 0);
        let mut time = std::pin::pin!(time);
        let (mut next, mut is_over) = (Instant::now(), false);
        while !is_over || open > 0 {
            tokio::select! {
                () = &mut time, if !is_over => is_over = true,
                () = tokio::time::sleep_until(next.into()), if !is_over => {
                    let n = self.first + u32::try_from(self.published.len()).expect("not so many");
                    self.published.push(Instant::now());
                    let call = jobs::job(n, self.asked).reply_to(ANSWERS);
                    drop(self.client.send("lookup.jobs", &self.key, &call).await);
                    open += 1;
                    next += self.period;
                }
                answer = self.answers.next() => {
                    let answer = answer.expect("answers go on").expect("answers go on");
                    let n = jobs::read(&answer) - self.first;
                    took.add(self.published[n as usize].elapsed().as_secs_f64() * 1000.0);
                    open -= 1;
                }
            }
        }
        took
    }
}

/// The numbers of so many jobs, each at its time. A thread's sleep is more exact than the runtime's milliseconds.
fn schedule(began: Instant, period: Duration, jobs: u32) -> UnboundedReceiver<u32> {
    let (due, receiver) = unbounded_channel();
    thread::spawn(move || {
        for n in 0..jobs {
            thread::sleep((began + n * period).saturating_duration_since(Instant::now()));
            if due.send(n).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A worker that has declared its queues, and ended.
async fn declared(vhost: &Vhost<'_>, provider: &Provider, setup: &Setup) -> Worker {
    let mut worker = Worker::start(&setup.config(vhost, provider));
    worker.wait_ready().await;
    stop(&mut worker).await;
    worker
}

async fn stop(worker: &mut Worker) {
    worker.sigterm();
    let status = worker.wait_exit().await;
    assert!(
        status.success(),
        "the worker ended with {status}:\n{}",
        worker.log()
    );
}

/// No job waits, and none was given up. Asked after the workers' end: what they had not acknowledged would be back.
async fn assert_nothing_left(client: &Client, setup: &Setup) {
    let jobs =
        (0..setup.providers).map(|n| format!("lookup.jobs.{}.bulk", jobs::key(n, setup.asked)));
    for queue in jobs.chain(["lookup.dead".to_owned(), "lookup.unrouted".to_owned()]) {
        assert_eq!(client.depth(&queue).await, Some(0), "{queue} is empty");
    }
}
