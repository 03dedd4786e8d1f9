//! `explain`: where a job is, whoever has it, and what it says where nobody can know.

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};
use lookup_worker::sandbox::Kind;
use serde_json::{Value, json};

use crate::{
    amqp::{Client, Job},
    broker::Broker,
    commands::Call,
    road::{Road, SOON, Served, config},
    worker::Worker,
};

const NUMBER: &str = "84907089782";

/// What `explain --json` says of a job, until it is this.
async fn explained(toml: &str, id: &str, fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let give_up = std::time::Instant::now() + SOON;
    loop {
        let call = Call::new(&["explain", "--id", id, "--json"]).config(toml);
        let ran = call.run().await;
        let said: Vec<Value> = ran
            .out
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert!(!ran.out.contains(NUMBER), "{ran:?}");
        if fits(&said) {
            return said;
        }
        assert!(std::time::Instant::now() < give_up, "{ran:?}");
    }
}

fn is(place: &str) -> impl Fn(&[Value]) -> bool {
    move |said: &[Value]| said.first().is_some_and(|first| first["where"] == *place)
}

fn plume(account: &str) -> Value {
    json!({"query": {"account_id": account}})
}

#[tokio::test]
async fn jobs_that_wait_for_the_quota_have_a_place_at_whichever_worker_has_them() {
    let vhost = Broker::shared().vhost();
    let sandbox = Served::start().await;
    let toml = config(&vhost.url(), &sandbox, "").replace(
        "[providers.plume]",
        "[providers.plume]\nconcurrency = 4\nquota = { requests = 1, per = \"2m\" }",
    );
    let mut worker = Worker::start(&toml);
    worker.wait_ready().await;
    let client = Client::connect(&vhost.url()).await;
    let publish = async |id: &str| {
        let job = Job::json(&plume(&format!("84{NUMBER}{id}"))).id(id);
        client.publish("lookup.jobs", "plume.bulk", job).await;
    };
    // One by one, since those that come together ask for their permissions in any order.
    publish("0").await;
    client.wait_for_depth("lookup.results", 1, SOON).await;
    for (id, place) in [("1", 1), ("2", 2), ("3", 3)] {
        publish(id).await;
        let line = json!({"place": place, "of": place, "calls": 0});
        let waits = |said: &[Value]| is("waits_for_quota")(said) && said[0]["line"] == line;
        let said = explained(&toml, id, waits).await;
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(
            (&said[0]["provider"], &said[0]["lane"]),
            (&json!("plume"), &json!("bulk"))
        );
    }
    // Each worker has four in hand, and the rest lies at the broker.
    for id in ["4", "5", "6", "7", "8", "9"] {
        publish(id).await;
    }
    let mut second = Worker::start(&toml);
    second.wait_ready().await;
    for id in ["4", "5"] {
        // A worker on a busy machine may be silent for once.
        explained(&toml, id, |said: &[Value]| {
            is("waits_for_quota")(said)
                && said[0]["line"]["place"].as_u64() >= Some(1)
                && said.iter().all(|line| line["note"] != "silent_workers")
        })
        .await;
    }
    // The broker counts what lies ready a moment later.
    let ready = json!({"lookup.jobs.plume.bulk": 1});
    explained(&toml, "9", |said: &[Value]| {
        is("unseen")(said) && said[0]["ready"] == ready
    })
    .await;
    let told = Call::new(&["explain", "--id", "1"])
        .config(&toml)
        .run()
        .await;
    let told = told.expect(0).out;
    assert!(
        told.contains("it waits for the quota, at place 1 of "),
        "{told}"
    );
}

#[tokio::test]
async fn a_job_is_in_flight_then_delayed_then_answered_and_its_letter_lies_there() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open_with(&vhost.url(), |config| {
        config.replace("delays = [\"1s\", \"2s\"]", "delays = [\"5m\"]")
    })
    .await;
    let toml = config(&vhost.url(), &road.sandbox, "")
        .replace("delays = [\"1s\", \"2s\"]", "delays = [\"5m\"]");
    let number = NUMBER.to_owned();
    road.sandbox
        .fault(Kind::Plume, &number, json!({"latency": "60s"}), Some(1))
        .await;
    road.publish("plume.interactive", "slow", &plume(&number))
        .await;
    let said = explained(&toml, "slow", is("in_flight")).await;
    assert_eq!(said[0]["attempts"], 1, "{said:?}");

    road.sandbox
        .fault(
            Kind::Kapture,
            &number,
            json!({"status": 503, "retry_after": 240}),
            None,
        )
        .await;
    let query = json!({"query": {"phone": number}});
    road.publish("kapture.bulk", "later", &query).await;
    let said = explained(&toml, "later", is("delayed")).await;
    assert_eq!(said[0]["queue"], "lookup.delay.5m", "{said:?}");
    let until: jiff::Timestamp = said[0]["until"]
        .as_str()
        .expect("a time")
        .parse()
        .expect("one");
    let left = until.duration_since(jiff::Timestamp::now());
    assert!((1..=241).contains(&left.as_secs()), "{said:?}");

    let omeda = json!({"query": {"customer_id": 12345}});
    road.publish("omeda.bulk", "done", &omeda).await;
    let said = explained(&toml, "done", is("answered")).await;
    assert_eq!(said[0]["result"]["status"], "found", "{said:?}");
    assert_eq!(said[0]["result"]["confirmed"], true, "{said:?}");
    assert_eq!(
        said[1],
        json!({"note": "results", "queue": "lookup.results", "ready": 1})
    );
    road.publish("omeda.bulk", "wrong", &json!({"query": {"phone": number}}))
        .await;
    let is_dead = |said: &[Value]| said.iter().any(|line| line["where"] == "dead");
    let said = explained(&toml, "wrong", is_dead).await;
    let dead = said
        .iter()
        .find(|line| line["where"] == "dead")
        .expect("it");
    assert_eq!(
        (&dead["error"], &dead["asks_for"], &dead["provider"]),
        (&json!("invalid_job"), &json!("nobody"), &json!("omeda"))
    );
    road.worker.kill9();
}

#[tokio::test]
async fn what_no_worker_was_given_is_counted_and_never_touched() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    let toml = config(&vhost.url(), &road.sandbox, "");
    road.worker.sigterm();
    road.worker.wait_exit().await;
    road.publish("plume.bulk", "j-1", &plume(NUMBER)).await;
    road.client
        .wait_for_depth("lookup.jobs.plume.bulk", 1, SOON)
        .await;
    for _ in 0..5 {
        let call = Call::new(&["explain", "--id", "j-1"]).config(&toml);
        let told = call.run().await.expect(1).out;
        assert!(told.starts_with("no worker takes jobs, and it is no dead letter"));
        assert!(told.contains("1 in lookup.jobs.plume.bulk."), "{told}");
        let call = Call::new(&["explain", "--id", "j-2"]).config(&toml);
        call.run().await.expect(1);
    }
    let job = road
        .client
        .take("lookup.jobs.plume.bulk", 1, SOON)
        .await
        .remove(0);
    assert_eq!(
        (job.redelivered, job.header("x-delivery-count")),
        (false, None)
    );
}

#[tokio::test]
async fn a_frozen_worker_is_told_of_and_costs_two_seconds() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    let toml = config(&vhost.url(), &road.sandbox, "");
    let mut second = Worker::start(&toml);
    second.wait_ready().await;
    road.worker.sigstop();
    let said = explained(&toml, "j-1", is("unseen")).await;
    assert_eq!(said[0]["workers"], 2, "{said:?}");
    assert_eq!(
        said[1],
        json!({"note": "silent_workers", "silent": 1, "workers": 2})
    );
    road.worker.sigcont();
    let answered = |said: &[Value]| said.len() == 1;
    explained(&toml, "j-1", answered).await;
    road.worker.kill9();
}

#[tokio::test]
async fn the_steps_of_a_lookup_are_told_with_their_providers() {
    let vhost = Broker::shared().vhost();
    let extra = "[lookups.caller]\nmode = \"race\"\ncriteria = [\"phone\"]\nsteps = [\n\
                 { provider = \"kapture\", query = { phone = \"{query.phone}\" } },\n\
                 { provider = \"antsomi\", query = { phone = \"{query.phone}\" } },\n]\n";
    let road = Road::open(&vhost.url(), extra).await;
    let toml = config(&vhost.url(), &road.sandbox, extra);
    for kind in [Kind::Kapture, Kind::Antsomi] {
        let slow = json!({"latency": "60s"});
        road.sandbox.fault(kind, NUMBER, slow, None).await;
    }
    let query = json!({"query": {"phone": NUMBER}});
    road.publish("caller.bulk", "j-1", &query).await;
    let both = |said: &[Value]| {
        said.iter()
            .filter(|line| line["where"] == "in_flight")
            .count()
            == 2
    };
    let said = explained(&toml, "j-1", both).await;
    let mut steps: Vec<_> = said
        .iter()
        .filter_map(|line| line["step"].as_str())
        .collect();
    steps.sort_unstable();
    assert_eq!(steps, ["antsomi", "kapture"]);
    assert!(
        said.iter().all(|line| line["provider"] == "caller"),
        "{said:?}"
    );
}

#[tokio::test]
async fn where_an_answer_went_is_where_it_is_and_not_where_it_was_asked_for() {
    let vhost = Broker::shared().vhost();
    let extra = "[reply]\nallow = [\"crm.*\"]\n";
    let road = Road::open(&vhost.url(), extra).await;
    let toml = config(&vhost.url(), &road.sandbox, extra);
    road.client.declare_queue("crm.there").await;
    road.client.declare_queue("elsewhere").await;
    for (id, reply_to, to, told) in [
        (
            "read",
            "crm.there",
            "reply",
            "went to its requester's queue",
        ),
        (
            "refused",
            "elsewhere",
            "results",
            "went to the queue of results",
        ),
        (
            "gone",
            "crm.gone",
            "dead_letters",
            "went to the dead letters",
        ),
    ] {
        let body = json!({"query": {"customer_id": 12345}});
        let job = Job::json(&body).id(id).reply_to(reply_to);
        road.client.publish("lookup.jobs", "omeda.bulk", job).await;
        let confirmed =
            |said: &[Value]| is("answered")(said) && said[0]["result"]["confirmed"] == true;
        let said = explained(&toml, id, confirmed).await;
        assert_eq!(said[0]["result"]["to"], to, "{said:?}");
        let lies = said.iter().any(|line| line["note"] == "results");
        assert_eq!(lies, to == "results", "{said:?}");
        let call = Call::new(&["explain", "--id", id]).config(&toml);
        let text = call.run().await.expect(0).out;
        assert!(text.contains(told), "{text}");
    }
    let kept = Duration::from_millis(200);
    assert!(!road.client.keeps_a_message("elsewhere", kept).await);
}

/// A question from a queue of somebody else's is not answered: nobody is to be written to for the asking.
#[tokio::test]
async fn a_worker_writes_its_answer_into_no_queue() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    road.client.declare_queue_with("somebody", arguments).await;
    let question = Job::json(&json!({"job": "j-1"})).reply_to("somebody");
    road.client
        .publish("lookup.room", "lookup.questions", question)
        .await;
    // What comes behind it is heard.
    let said = explained(
        &config(&vhost.url(), &road.sandbox, ""),
        "j-1",
        is("unseen"),
    )
    .await;
    assert_eq!(said.len(), 1, "{said:?}");
    let kept = road
        .client
        .keeps_a_message("somebody", Duration::from_millis(200))
        .await;
    assert!(!kept);
}
