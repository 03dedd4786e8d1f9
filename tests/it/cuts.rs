//! A connection that is cut in the middle of whatever, loses no job.

use std::time::Duration;

use crate::{
    amqp::Client,
    broker::Broker,
    losses::some_moment,
    proxy::{Point, Proxy},
    road::{Served, config},
    tally::{Load, Tally},
    worker::Worker,
};

/// Jobs that are there at each cut.
const ENOUGH: u32 = 300;

/// A worker that reaches its broker by way of the proxy.
struct Line {
    proxy: Proxy,
    client: Client,
    worker: Worker,
    load: Load,
    _sandbox: Served,
}

impl Line {
    async fn open(url: &str) -> Self {
        let port = Broker::shared().port();
        let proxy = Proxy::before(port).await;
        let sandbox = Served::start().await;
        // A job may be under way at more cuts than a broker allows by default: here it is to be answered all the same.
        let config = config(&proxy.url(url, port), &sandbox, "")
            .replace("[amqp]", "[amqp]\ndelivery_limit = 1000");
        let mut worker = Worker::start(&config);
        worker.wait_ready().await;
        Self {
            proxy,
            client: Client::connect(url).await,
            worker,
            load: Load::default(),
            _sandbox: sandbox,
        }
    }

    async fn cut_at(&mut self, point: Point, nth: u32) {
        let jobs = async {
            loop {
                self.load.keep_up(&self.client, ENOUGH).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            () = self.proxy.cut_at(point, nth) => {}
            never = jobs => never,
        }
    }
}

/// Every named point so many times, after another number of those that pass.
pub async fn at_each_point(times: u32) -> Tally {
    let vhost = Broker::shared().vhost();
    let mut line = Line::open(&vhost.url()).await;
    for nth in (0..times).map(|time| 1 + 7 * (time % 8)) {
        for point in Point::ALL {
            line.cut_at(point, nth).await;
        }
    }
    line.load.tally(&line.client).await
}

/// Both connections so many times, wherever they are.
pub async fn at_random(times: u32) -> Tally {
    let vhost = Broker::shared().vhost();
    let mut line = Line::open(&vhost.url()).await;
    for n in 0..times {
        // Now and then while the last cut is not yet mended.
        if n % 5 != 4 {
            line.worker.wait_ready().await;
        }
        line.load.keep_up(&line.client, ENOUGH).await;
        some_moment(Duration::from_millis(300)).await;
        line.proxy.cut_all();
    }
    line.load.tally(&line.client).await
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_publish_confirm_and_ack_loses_no_job() {
    at_each_point(2).await.assert_all_answered();
}

#[tokio::test]
async fn connections_cut_at_random_moments_lose_no_job() {
    at_random(8).await.assert_all_answered();
}

#[tokio::test]
async fn an_ack_that_the_broker_never_heard_repeats_the_result_under_the_same_id() {
    let vhost = Broker::shared().vhost();
    let mut line = Line::open(&vhost.url()).await;
    // Other acknowledgements than those of jobs go by the same way.
    line.load.add(&line.client, ENOUGH).await;
    line.cut_at(Point::BeforeAck, 1).await;
    let tally = line.load.tally(&line.client).await;
    tally.assert_all_answered();
    assert!(tally.repeated >= 1, "{tally}");
}
