//! `check` as a doctor: what is not well is told, each time with what mends it, and that does mend it.

use std::{io::Write, net::TcpListener, thread};

use lookup_worker::sandbox::Kind;
use serde_json::{Value, json};

use crate::{
    broker::{Broker, Vhost},
    commands::Call,
    keeper::free_ports,
    road::{Road, Served, config},
    worker::{Worker, program},
};

/// What was found out about one thing, as JSON.
async fn found(toml: &str, code: i32, check: &str) -> Vec<Value> {
    let lines = Call::new(&["check", "--json"])
        .config(toml)
        .run()
        .await
        .expect(code)
        .lines();
    lines
        .into_iter()
        .filter(|line| line["check"] == check)
        .collect()
}

fn text<'a>(finding: &'a Value, key: &str) -> &'a str {
    finding[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {finding}"))
}

#[tokio::test]
async fn every_queue_that_was_declared_otherwise_is_named_with_the_command_that_mends_it() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    let other =
        config(&vhost.url(), &road.sandbox, "").replace("[amqp]", "[amqp]\ndelivery_limit = 7");
    road.worker.sigterm();
    road.worker.wait_exit().await;
    road.publish(
        "omeda.bulk",
        "waits",
        &json!({"query": {"customer_id": 12345}}),
    )
    .await;

    let findings = found(&other, 1, "topology").await;
    // Two lanes of jobs and of suspects of five providers, two delay queues, and what nobody knows.
    assert_eq!(findings.len(), 4 * 5 + 2 + 1, "{findings:?}");
    assert!(
        findings.iter().all(|finding| finding["ok"] == false),
        "{findings:?}"
    );
    for finding in &findings {
        assert!(
            text(finding, "message").contains("x-delivery-limit"),
            "{finding}"
        );
        if text(finding, "message").contains("lookup.jobs.omeda.bulk") {
            assert!(
                text(finding, "advice").starts_with("1 messages lie in it"),
                "{finding}"
            );
            continue;
        }
        run_rabbitmqctl(&vhost, text(finding, "advice"));
    }
    road.client.purge("lookup.jobs.omeda.bulk").await;
    let findings = found(&other, 1, "topology").await;
    let [last, ..] = findings.as_slice() else {
        panic!("{findings:?}")
    };
    run_rabbitmqctl(&vhost, text(last, "advice"));
    let findings = found(&other, 0, "topology").await;
    assert!(
        text(&findings[0], "message").contains("23 not declared yet"),
        "{findings:?}"
    );
}

/// The advice, as it stands there; the node is told to `rabbitmqctl` by the test.
fn run_rabbitmqctl(vhost: &Vhost, advice: &str) {
    let command = advice.split_once(": rabbitmqctl ").expect("a command").1;
    let arguments: Vec<&str> = command.split(' ').collect();
    assert_eq!(arguments[..2], ["--vhost", vhost.name()]);
    Broker::shared().rabbitmqctl(&arguments);
}

#[tokio::test]
async fn broker_dead_letters_and_replies_are_told() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    road.publish("omeda", "no-job", &json!({"query": {}})).await;
    road.client
        .wait_for_depth("lookup.dead", 1, crate::road::SOON)
        .await;
    let toml = config(
        &vhost.url(),
        &road.sandbox,
        "[reply]\nallow = [\"crm.*\"]\n",
    );
    let broker = &found(&toml, 0, "broker").await[0];
    let version = Broker::shared().evaluate("rabbit_misc:version().");
    let version = version.trim().trim_matches('"');
    assert!(
        text(broker, "message").contains(&format!(
            "virtual host {}: RabbitMQ {version}",
            vhost.name()
        )),
        "{broker}"
    );
    let dead = &found(&toml, 0, "dead letters").await[0];
    assert!(
        dead["ok"] == true && text(dead, "advice").contains("dead list"),
        "{dead}"
    );
    let replies = &found(&toml, 0, "replies").await[0];
    assert!(
        text(replies, "message").contains("crm.*, not to direct reply-to; 1 lie in lookup.results"),
        "{replies}"
    );
    let holds = &found(&toml.replace("\"1s\", \"2s\"", "\"20m\""), 0, "holds").await[0];
    assert!(
        text(holds, "message").contains("up to 20m") && holds["advice"].is_null(),
        "{holds}"
    );
    let holds = &found(
        &toml.replace("max_attempts = 4", "max_attempts = 400"),
        0,
        "holds",
    )
    .await[0];
    assert!(
        text(holds, "advice").contains("consumer_timeout"),
        "{holds}"
    );

    // Of several addresses one that does not answer is no failure.
    let both = toml.replace(
        &format!("url = \"{}\"", vhost.url()),
        &format!("urls = [\"amqp://127.0.0.1:1\", \"{}\"]", vhost.url()),
    );
    let [lost, reached] = &found(&both, 0, "broker").await[..] else {
        panic!("two addresses")
    };
    assert!(
        text(lost, "message").contains("127.0.0.1:1") && text(lost, "advice").contains("another"),
        "{lost}"
    );
    assert!(text(reached, "message").contains("RabbitMQ"), "{reached}");
}

#[tokio::test]
async fn before_the_first_start_it_tells_what_is_not_there_yet_in_short() {
    let vhost = Broker::shared().vhost();
    let sandbox = Served::start().await;
    let toml = config(&vhost.url(), &sandbox, "")
        .replace("quota = \"none\"", "quota = { requests = 9, per = \"1m\" }");
    let topology = &found(&toml, 0, "topology").await[0];
    let message = text(topology, "message");
    assert!(
        message.contains("not declared yet; `run` does it: lookup.dead, ")
            && message.contains(" more"),
        "{message}"
    );
    assert!(message.len() < 200, "{message}");
    let backlog = &found(&toml, 0, "backlog antsomi").await[0];
    assert!(
        text(backlog, "message").contains("9 requests per 1m, its ledger is not there yet"),
        "{backlog}"
    );
    let alone = toml.replace("per = \"1m\"", "per = \"1m\", scope = \"worker\"");
    let backlog = &found(&alone, 0, "backlog antsomi").await[0];
    assert!(
        text(backlog, "message").contains("each worker counts for itself"),
        "{backlog}"
    );
}

#[tokio::test]
async fn what_is_out_of_reach_is_named_by_its_address_with_what_to_look_at() {
    let [nobody] = free_ports();
    let toml = format!(
        "[amqp]\nurl = \"amqp://127.0.0.1:{nobody}\"\n[providers.away]\nkind = \"plume\"\ntoken = \"x\"\n\
         base_url = \"http://127.0.0.1:{nobody}/below\"\n"
    );
    let broker = &found(&toml, 1, "broker").await[0];
    assert!(
        text(broker, "message").contains(&format!("127.0.0.1:{nobody}")),
        "{broker}"
    );
    assert!(text(broker, "advice").contains("virtual host"), "{broker}");
    let provider = &found(&toml, 1, "provider away").await[0];
    assert!(
        text(provider, "message").starts_with(&format!("127.0.0.1:{nobody}: no connection")),
        "{provider}"
    );
    assert!(
        text(provider, "advice").contains("providers.away.base_url"),
        "{provider}"
    );
}

#[tokio::test]
async fn an_alarm_of_the_brokers_memory_is_told() {
    let broker = Broker::start();
    let sandbox = Served::start().await;
    let toml = config(&broker.url(), &sandbox, "");
    assert_eq!(found(&toml, 0, "alarms").await[0]["ok"], true);
    broker.rabbitmqctl(&["set_vm_memory_high_watermark", "0.00001"]);
    let told = async {
        loop {
            let lines = Call::new(&["check", "--json"])
                .config(&toml)
                .run()
                .await
                .lines();
            let alarm = lines
                .into_iter()
                .find(|line| line["check"] == "alarms")
                .expect("a line");
            if alarm["ok"] == false {
                return alarm;
            }
        }
    };
    let alarm = tokio::time::timeout(crate::road::SOON, told)
        .await
        .expect("the alarm");
    assert!(
        text(&alarm, "advice").contains("rabbitmq-diagnostics alarms"),
        "{alarm}"
    );
}

#[tokio::test]
async fn oauth_credentials_are_tried_and_fixed_tokens_are_said_not_to_be() {
    let vhost = Broker::shared().vhost();
    let sandbox = Served::start().await;
    let oauth = |secret: &str| {
        config(&vhost.url(), &sandbox, "").replace(
            "token = \"sandbox-antsomi-token\"",
            &format!(
                "oauth = {{ token_url = \"{}/oauth/token\", scope = \"profile\", client_id = \"sandbox-client\", \
                 client_secret = \"{secret}\" }}",
                sandbox.base(Kind::Antsomi)
            ),
        )
    };
    let tried = &found(&oauth("sandbox-secret"), 0, "credentials antsomi").await[0];
    assert!(text(tried, "message").contains("gave a token"), "{tried}");
    let tried = &found(&oauth("hunter2"), 1, "credentials antsomi").await[0];
    assert!(
        text(tried, "message").contains("oauth.client_secret"),
        "{tried}"
    );
    assert!(!tried.to_string().contains("hunter2"));
    let fixed = &found(&oauth("sandbox-secret"), 0, "credentials omeda").await[0];
    assert!(
        text(fixed, "message").contains("lookup-worker lookup omeda"),
        "{fixed}"
    );
    assert_eq!(
        sandbox.stats(Kind::Omeda).await["lookups"],
        3,
        "its root alone, once a check"
    );
}

#[tokio::test]
async fn a_providers_clock_that_differs_is_told_and_so_is_a_variable_that_is_not_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It goes with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = "HTTP/1.1 204 No Content\r\ndate: Thu, 01 Jan 2015 00:00:00 GMT\r\nconnection: close\r\n\r\n";
            let mut stream = stream.unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let toml = format!(
        "[amqp]\nurl = \"amqp://127.0.0.1:1\"\n[providers.late]\nkind = \"plume\"\ntoken = \"x\"\n\
         base_url = \"http://{address}\"\n"
    );
    let call = Call::new(&["check"])
        .config(&toml)
        .env("LOOKUP_AMQP_URL", "hunter2");
    let ran = call.run().await.expect(1);
    let line = |part: &str| {
        ran.out
            .lines()
            .find(|line| line.contains(part))
            .unwrap_or_else(|| panic!("{part}: {ran:?}"))
    };
    assert!(
        line("provider late").starts_with("note")
            && line("provider late").contains("ahead of its clock"),
        "{ran:?}"
    );
    assert!(
        line("LOOKUP_AMQP_URL").starts_with("note") && !ran.out.contains("hunter2"),
        "{ran:?}"
    );
    let help = program()
        .args(["check", "--help"])
        .output()
        .expect("the program");
    assert!(String::from_utf8(help.stdout).unwrap().contains("--json"));
}

/// The lines of `check` about these, and its exit code; it asks this worker.
async fn asked(toml: &str, worker: &Worker, checks: &[&str]) -> (i32, Vec<Value>) {
    let call = Call::new(&["check", "--json"]).config(toml);
    let listen = format!("127.0.0.1:{}", worker.http_port());
    let ran = call.env("LOOKUP__HTTP__LISTEN", &listen).run().await;
    let named = |line: &Value| checks.iter().any(|check| line["check"] == *check);
    (ran.code, ran.lines().into_iter().filter(named).collect())
}

#[tokio::test]
async fn a_provider_that_the_worker_does_not_know_is_told_with_the_restart_that_it_needs() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let known = config(&vhost.url(), &road.sandbox, "");
    let newer = known.replace("[providers.plume]", "[providers.desk]");
    assert_ne!(newer, known);
    let (_, lines) = asked(&known, &road.worker, &["state plume", "state desk"]).await;
    assert!(lines.is_empty(), "{lines:?}");

    let (code, lines) = asked(&newer, &road.worker, &["state desk"]).await;
    assert_eq!(code, 1);
    assert!(
        text(&lines[0], "message").contains("does not know it")
            && text(&lines[0], "advice").contains("restart it"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_worker_that_leaves_a_provider_alone_is_asked_why() {
    let vhost = Broker::shared().vhost();
    let road = Road::open_with(&vhost.url(), |config| {
        let breaker = "breaker = { failures = 3, cooldown = \"5m\" }";
        config.replacen(
            "quota = \"none\"",
            &format!("quota = \"none\"\n{breaker}"),
            1,
        )
    })
    .await;
    let toml = config(&vhost.url(), &road.sandbox, "");
    let checks = [
        "worker",
        "state antsomi",
        "backlog antsomi",
        "pause antsomi",
    ];
    let (code, lines) = asked(&toml, &road.worker, &checks).await;
    assert_eq!((code, lines.len()), (0, 2), "{lines:?}");
    let worker = lines.iter().find(|line| line["check"] == "worker").unwrap();
    assert!(text(worker, "message").starts_with("ready, on 127.0.0.1:"));

    // Three different jobs fail, the circuit opens, and what comes then waits.
    road.sandbox
        .fault(Kind::Antsomi, "8491", json!({"status": 503}), None)
        .await;
    for n in 0..10 {
        let query = json!({"query": {"phone": format!("8491{n:07}")}});
        road.publish("antsomi.bulk", &format!("j-{n}"), &query)
            .await;
    }
    let open = async {
        loop {
            let (code, lines) = asked(&toml, &road.worker, &checks).await;
            if code == 1 && lines.len() == 3 {
                return lines;
            }
        }
    };
    let lines = tokio::time::timeout(crate::road::SOON, open).await;
    let lines = lines.expect("the circuit to open");
    let line = |check: &str| {
        let is_it = |line: &&Value| line["check"] == check;
        lines
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{lines:?}"))
    };
    let state = line("state antsomi");
    assert_eq!(state["ok"], false);
    assert!(
        text(state, "message").contains("503") && text(state, "message").contains("the next about")
    );
    assert!(text(state, "advice").contains("SIGHUP"), "{state}");

    // By hand it is paused, and of another worker's word nothing is known.
    let told = Call::new(&["pause", "antsomi"]).config(&toml).run().await;
    told.expect(0);
    let (code, lines) = asked(&toml, &road.worker, &["pause antsomi"]).await;
    assert_eq!((code, lines[0]["ok"].as_bool()), (1, Some(false)));
    assert!(text(&lines[0], "advice").contains("lookup-worker resume antsomi"));
    let told = Call::new(&["resume", "antsomi"]).config(&toml).run().await;
    told.expect(0);
    let nobody = &found(&toml, 1, "worker").await[0];
    assert!(text(nobody, "message").contains("is not known"), "{nobody}");
}

#[tokio::test]
async fn jobs_that_nobody_takes_are_told() {
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), "").await;
    road.worker.sigterm();
    road.worker.wait_exit().await;
    road.publish("omeda", "waits", &json!({"query": {"customer_id": 12345}}))
        .await;
    let toml = config(&vhost.url(), &road.sandbox, "");
    let backlog = &found(&toml, 1, "backlog omeda").await[0];
    assert!(
        text(backlog, "message").contains("nobody takes 1 of them")
            && text(backlog, "advice").contains("does a worker run?"),
        "{backlog}"
    );
}

#[tokio::test]
async fn so_are_those_of_a_lookup() {
    const CALLER: &str = "[lookups.caller]\nmode = \"first\"\ncriteria = [\"phone\"]\nsteps = [\n\
        { provider = \"antsomi\", query = { phone = \"{query.phone}\" } },\n]\n";
    let vhost = Broker::shared().vhost();
    let mut road = Road::open(&vhost.url(), CALLER).await;
    let toml = config(&vhost.url(), &road.sandbox, CALLER);
    let backlog = &found(&toml, 0, "backlog caller").await[0];
    assert_eq!(text(backlog, "message"), "0 jobs wait");
    road.worker.sigterm();
    road.worker.wait_exit().await;
    for key in ["caller", "caller.interactive"] {
        let job = json!({"query": {"phone": "84907089782"}});
        road.publish(key, key, &job).await;
    }
    let backlog = &found(&toml, 1, "backlog caller").await[0];
    assert!(
        text(backlog, "message").contains("2 jobs wait; nobody takes 2 of them")
            && text(backlog, "advice").contains("does a worker run?"),
        "{backlog}"
    );
    let of_provider = &found(&toml, 1, "backlog antsomi").await[0];
    assert_eq!(of_provider["ok"], true, "{of_provider}");
}

#[tokio::test]
async fn before_the_first_start_no_job_waits_for_a_lookup() {
    let vhost = Broker::shared().vhost();
    let sandbox = Served::start().await;
    let caller = "[lookups.caller]\nmode = \"first\"\ncriteria = [\"phone\"]\nsteps = [\n\
        { provider = \"antsomi\", query = { phone = \"{query.phone}\" } },\n]\n";
    let toml = config(&vhost.url(), &sandbox, caller);
    let backlog = &found(&toml, 0, "backlog caller").await[0];
    assert_eq!(text(backlog, "message"), "0 jobs wait");
}

#[tokio::test]
async fn what_a_lookup_never_gets_and_whom_its_calls_do_not_wait_for_is_noted() {
    let vhost = Broker::shared().vhost();
    let sandbox = Served::start().await;
    let caller = |mode: &str, deadline: &str| {
        format!(
            "[lookups.caller]\nmode = \"{mode}\"\ncriteria = [\"phone\"]\n{deadline}\nsteps = [\n\
             {{ provider = \"kapture\", query = {{ phone = \"{{query.phone}}\" }} }},\n\
             {{ provider = \"antsomi\", query = {{ phone = \"{{query.phone}}\" }}, wanted = [\"phones\", \"name\"] }},\n]\n"
        )
    };
    let noted = async |mode: &str, deadline: &str| {
        let toml = config(&vhost.url(), &sandbox, &caller(mode, deadline)).replace(
            "[providers.antsomi]",
            "[providers.antsomi]\ntimeout = \"2s\"",
        );
        let lines = found(&toml, 0, "lookup caller").await;
        let notes = lines.into_iter().filter(|line| line["advice"].is_string());
        notes
            .map(|line| format!("{} -> {}", text(&line, "message"), text(&line, "advice")))
            .collect::<Vec<_>>()
    };
    let [wanted] = &noted("first", "").await[..] else {
        panic!("one note, of what is wanted")
    };
    assert!(wanted.contains("antsomi never fills name"), "{wanted}");
    let [late, _] = &noted("first", "deadline = \"3s\"").await[..] else {
        panic!("two notes")
    };
    assert!(
        late.contains("kapture may take 10s of a call's 3s")
            && late.contains("go on to the next after their share"),
        "{late}"
    );
    let [late, _] = &noted("race", "deadline = \"3s\"").await[..] else {
        panic!("two notes")
    };
    assert!(late.contains("without those that are late"), "{late}");
    assert_eq!(noted("first", "deadline = \"30s\"").await.len(), 1);
}
