//! SIGHUP: new secrets count at once, no job is lost by it, and what is wrong changes nothing.

use std::fs;

use lookup_worker::sandbox::Kind;
use serde_json::json;

use crate::{
    broker::Broker,
    commands::Call,
    road::{Road, SOON, by_job},
};

const TOKEN: &str = "token = \"sandbox-antsomi-token\"";
const READ_AGAIN: &str = "the configuration was read again";
const REFUSED: &str = "the configuration that was read again is refused";

/// With the static token replaced by other lines, in inline TOML.
fn instead_of_token(config: &str, lines: &str) -> String {
    assert!(config.contains(TOKEN), "{config}");
    config.replace(TOKEN, lines)
}

/// The address of the first provider, which is antsomi.
fn first_base(config: &str) -> String {
    let behind = config.split("base_url = \"").nth(1).unwrap();
    behind.split('"').next().unwrap().to_owned()
}

fn phone(n: usize) -> serde_json::Value {
    json!({"query": {"phone": format!("8491{n:07}")}})
}

/// The credentials stand in `file` and are wrong until they are renewed; the circuit would probe in an hour.
async fn renewed_secrets_are_used_at_once(lines: &dyn Fn(&str, &str) -> String, secret: &str) {
    let vhost = Broker::shared().vhost();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "hunter2\n").unwrap();
    let road = Road::open_with(&vhost.url(), |config| {
        let base = first_base(&config);
        let circuit = "auth_failure_limit = 5\nconcurrency = 1\nbreaker = { cooldown = \"1h\" }";
        instead_of_token(
            &config,
            &format!("{}\n{circuit}", lines(&base, file.to_str().unwrap())),
        )
    })
    .await;
    for n in 0..30 {
        road.publish("antsomi", &format!("j-{n}"), &phone(n)).await;
    }
    let refused = road.results(5).await;
    assert!(
        refused.values().all(|result| result["status"] == "failed"),
        "{refused:?}"
    );
    road.worker
        .wait_for_log("refusing the credentials", 1)
        .await;

    fs::write(&file, secret).unwrap();
    road.worker.sighup();
    let rest = road.client.take_up_to("lookup.results", 25, SOON).await;
    assert_eq!(rest.len(), 25, "{}", road.worker.log());
    let rest = by_job(rest);
    assert!(
        rest.values().all(|result| result["status"] == "found"),
        "{rest:?}"
    );
    assert_eq!(
        road.client.depth("lookup.dead").await,
        Some(5),
        "they can be sent back"
    );
    let log = road.worker.log();
    assert!(
        log.contains(READ_AGAIN) && log.contains("providers.antsomi."),
        "{log}"
    );
    assert!(!log.contains(secret) && !log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn a_token_that_was_refused_and_renewed_is_used_at_once_and_the_waiting_jobs_are_answered() {
    renewed_secrets_are_used_at_once(
        &|_, file| format!("token_file = \"{file}\""),
        "sandbox-antsomi-token",
    )
    .await;
}

#[tokio::test]
async fn so_is_the_secret_of_an_oauth_client() {
    let lines = |base: &str, file: &str| {
        format!(
            "oauth = {{ token_url = \"{base}/oauth/token\", scope = \"profile\", client_id = \"sandbox-client\", \
             client_secret_file = \"{file}\" }}"
        )
    };
    renewed_secrets_are_used_at_once(&lines, "sandbox-secret").await;
}

/// As Kubernetes replaces it: the worker reads one secret at start, another stands there when the first job comes, and
/// nobody says so.
async fn a_replaced_file_is_read_again(
    provider: &str,
    old: &str,
    lines: &dyn Fn(&str, &str) -> String,
    secret: &str,
) {
    const JOBS: usize = 60;
    let vhost = Broker::shared().vhost();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "hunter2\n").unwrap();
    let road = Road::open_with(&vhost.url(), |config| {
        assert!(config.contains(old), "{config}");
        let lines = lines(&first_base(&config), file.to_str().unwrap());
        config.replace(old, &lines)
    })
    .await;
    fs::write(&file, secret).unwrap();
    for n in 0..JOBS {
        let body = match provider {
            "plume" => {
                json!({"query": {"account_id": format!("acc-{n}")}, "options": {"exact_match": false}})
            }
            _ => phone(n),
        };
        road.publish(provider, &format!("j-{n}"), &body).await;
    }
    let results = road.results(JOBS).await;
    let failed: Vec<_> = results
        .values()
        .filter(|result| result["status"] == "failed")
        .collect();
    assert!(failed.is_empty(), "{failed:?}\n{}", road.worker.log());
    let log = road.worker.log();
    assert!(!log.contains(secret) && !log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn a_token_whose_file_was_replaced_is_read_again_before_a_job_is_unauthorized() {
    for (provider, token) in [
        ("plume", "sandbox-plume-token"),
        ("antsomi", "sandbox-antsomi-token"),
    ] {
        let old = format!("token = \"{token}\"");
        let lines = |_: &str, file: &str| format!("token_file = \"{file}\"");
        a_replaced_file_is_read_again(provider, &old, &lines, token).await;
    }
}

#[tokio::test]
async fn so_is_the_secret_of_an_oauth_client_whose_file_was_replaced() {
    let lines = |base: &str, file: &str| {
        format!(
            "oauth = {{ token_url = \"{base}/oauth/token\", scope = \"profile\", client_id = \"sandbox-client\", \
             client_secret_file = \"{file}\" }}"
        )
    };
    a_replaced_file_is_read_again("antsomi", TOKEN, &lines, "sandbox-secret").await;
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_as_at_start_and_the_one_before_stays() {
    let vhost = Broker::shared().vhost();
    let mut good = String::new();
    let road = Road::open_with(&vhost.url(), |config| {
        good.clone_from(&config);
        config
    })
    .await;
    let wrong = [
        good.replace(TOKEN, "token_file = \"/no/such/secret\""),
        good.replace(TOKEN, "token = \"x\"\ntimeout = \"never\""),
        good.replace(TOKEN, "token = \"x\"\nca_file = \"/no/such/ca\""),
        "[amqp]\n".to_owned(),
        "not = toml = at all".to_owned(),
    ];
    for (n, wrong) in (1..).zip(&wrong) {
        road.worker.configure(wrong);
        road.worker.sighup();
        road.worker.wait_for_log(REFUSED, n).await;
        // The file's own path differs; what is said of it is the same.
        let ran = Call::new(&["check"]).config(wrong).run().await.expect(2);
        let said = ran.err.trim().trim_start_matches("lookup-worker: ");
        let said = said.rsplit("config.toml: ").next().unwrap();
        let log = road.worker.log();
        assert!(log.replace("\\\"", "\"").contains(said), "{said}\n{log}");
        assert_eq!(
            road.ask("antsomi", &phone(n)).await.json()["status"],
            "found"
        );
    }

    // What takes a restart is named, each time, and what does not is taken over.
    road.worker.configure(
        &good
            .replace(TOKEN, "token = \"hunter2\"\ntimeout = \"7s\"")
            .replace("5ms", "6ms"),
    );
    road.worker.sighup();
    road.worker
        .wait_for_log("counts from the next start only", 1)
        .await;
    let log = road.worker.log();
    assert!(
        log.contains("providers.antsomi.timeout, retry.initial_delay"),
        "{log}"
    );
    road.worker.wait_for_log(READ_AGAIN, 1).await;
    assert_eq!(
        road.ask("antsomi", &phone(99)).await.json()["error"]["kind"],
        "forbidden"
    );
    assert!(!road.worker.log().contains("hunter2"));
}

#[tokio::test]
async fn a_new_token_is_not_sent_to_the_address_that_it_is_not_for() {
    let vhost = Broker::shared().vhost();
    let mut good = String::new();
    let road = Road::open_with(&vhost.url(), |config| {
        good.clone_from(&config);
        config
    })
    .await;
    let base = road.sandbox.base(Kind::Antsomi);
    road.worker.configure(
        &good
            .replace(TOKEN, "token = \"hunter2\"")
            .replace(base, "https://elsewhere.example"),
    );
    road.worker.sighup();
    road.worker
        .wait_for_log("counts from the next start only", 1)
        .await;
    let log = road.worker.log();
    assert!(
        log.contains("providers.antsomi.base_url, providers.antsomi.token"),
        "{log}"
    );
    assert_eq!(
        road.ask("antsomi", &phone(1)).await.json()["status"],
        "found"
    );
}

#[tokio::test]
async fn jobs_that_flow_while_secrets_change_again_and_again_are_answered_exactly_once() {
    const JOBS: usize = 400;
    const TIMES: usize = 12;
    let vhost = Broker::shared().vhost();
    let mut with_token = String::new();
    let road = Road::open_with(&vhost.url(), |config| {
        with_token = config.replace(TOKEN, &format!("{TOKEN}\nconcurrency = 8"));
        with_token.clone()
    })
    .await;
    let oauth = format!(
        "oauth = {{ token_url = \"{}/oauth/token\", scope = \"profile\", client_id = \"sandbox-client\", client_secret = \"sandbox-secret\" }}",
        road.sandbox.base(Kind::Antsomi)
    );
    let with_oauth = instead_of_token(&with_token, &oauth);
    road.sandbox
        .fault(Kind::Antsomi, "8491", json!({"latency": "50ms"}), None)
        .await;
    for n in 0..JOBS {
        road.publish("antsomi", &format!("j-{n}"), &phone(n)).await;
    }
    for times in 1..=TIMES {
        road.worker.configure(if times % 2 == 0 {
            &with_token
        } else {
            &with_oauth
        });
        road.worker.sighup();
        road.worker.wait_for_log(READ_AGAIN, times).await;
    }
    let left = road.client.depth("lookup.results").await.unwrap();
    assert!(
        left < u32::try_from(JOBS).unwrap(),
        "jobs were still on their way"
    );
    let results = road.client.take("lookup.results", JOBS, 3 * SOON).await;
    let mut results = by_job(results);
    assert_eq!(results.len(), JOBS);
    results.retain(|_, result| result["status"] != "found" || result["attempts"] != 1);
    assert!(results.is_empty(), "{results:?}\n{}", road.worker.log());
    assert_eq!(
        road.client.depth("lookup.results").await,
        Some(0),
        "none twice"
    );
    assert_eq!(road.client.depth("lookup.dead").await, Some(0));
}

#[tokio::test]
async fn a_lookup_that_was_not_touched_is_not_told_of_and_a_step_that_was_is_by_its_key() {
    const CALLER: &str = "[lookups.caller]\nmode = \"first\"\ncriteria = [\"phone\"]\nsteps = [\n\
        { provider = \"antsomi\", query = { phone = \"{query.phone}\" }, wanted = [\"name\"] },\n\
        { provider = \"kapture\", query = { phone = \"{query.phone}\" }, options = { extra = { shop = \"x\" } } },\n]\n";
    const RESTART: &str = "counts from the next start only";
    let vhost = Broker::shared().vhost();
    let mut sound = String::new();
    let road = Road::open_with(&vhost.url(), |config| {
        sound = config + CALLER;
        sound.clone()
    })
    .await;
    for times in 1..=8 {
        road.worker.sighup();
        road.worker.wait_for_log(READ_AGAIN, times).await;
        let log = road.worker.log();
        assert!(!log.contains(RESTART), "{log}");
    }
    road.worker
        .configure(&sound.replace("shop = \"x\"", "shop = \"y\""));
    road.worker.sighup();
    road.worker.wait_for_log(RESTART, 1).await;
    let log = road.worker.log();
    let told = log.lines().find(|line| line.contains(RESTART)).unwrap();
    assert!(
        told.contains("lookups.caller.steps[1].options.extra.shop") && !told.contains("steps[0]"),
        "{told}"
    );
}
