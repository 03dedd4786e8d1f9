//! What people see of a lookup: spans, the page, the commands.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

use super::{
    Cast,
    worker::{RESULTS, Road, job, lookup, statuses},
};
use crate::{
    collector::{Collector, Span},
    commands::Call,
    road::SOON,
};

fn two(cast: &Cast) -> String {
    cast.provider("a", "none", "quota = \"none\"")
        + &cast.provider("b", "found", "quota = \"none\"")
        + &cast.provider("broken", "403", "quota = \"none\"")
        + &lookup("caller", "first", &["a", "b"])
        + &lookup("hopeless", "first", &["broken"])
}

#[tokio::test]
async fn each_step_is_a_span_of_the_job_s_and_the_requests_are_the_step_s() {
    let (cast, collector) = (Cast::start().await, Collector::start().await);
    let config = two(&cast) + &collector.config("");
    let mut road = Road::open(&config).await;
    road.ask("caller.interactive", "traced", &job()).await;
    road.worker.sigterm();
    assert!(road.worker.wait_exit().await.success());
    let spans = collector.spans();
    let named = |name: &str| -> &Span {
        let span = spans.iter().find(|span| span.name.starts_with(name));
        span.unwrap_or_else(|| panic!("{name} in {spans:#?}"))
    };
    let process = named("process lookup.jobs:caller.interactive");
    assert_eq!(process.get("lookup.provider"), "caller");
    for (provider, outcome) in [("a", "not_found"), ("b", "found")] {
        let step = named(&format!("step {provider}"));
        assert_eq!((step.kind, &step.parent), (SpanKind::Internal, &process.id));
        assert_eq!(step.get("lookup.outcome"), outcome);
        let requests: Vec<&Span> = spans.iter().filter(|span| span.parent == step.id).collect();
        assert_eq!(requests.len(), 1, "{spans:#?}");
        assert_eq!(requests[0].get("lookup.provider"), provider);
    }
}

#[tokio::test]
async fn the_page_shows_a_lookup_with_its_steps() {
    let cast = Cast::start().await;
    let road = Road::open(&two(&cast)).await;
    road.ask("caller", "shown", &job()).await;
    let (_, text) = road.worker.get("/status.json").await.expect("the page");
    let status: Value = serde_json::from_str(&text).expect("JSON");
    let caller = &status["providers"]["caller"];
    assert_eq!(caller["results"]["found"], 1, "{caller:#}");
    assert_eq!(caller["steps"]["a"]["not_found"], 1, "{caller:#}");
    assert_eq!(caller["steps"]["b"]["found"], 1, "{caller:#}");
    assert!(status["providers"]["a"]["steps"].is_null(), "{status:#}");
}

#[tokio::test]
async fn send_and_dead_take_a_lookup_s_name_and_pause_names_its_providers() {
    let cast = Cast::start().await;
    let road = Road::open(&two(&cast)).await;
    let config = format!("[amqp]\nurl = \"{}\"\n{}", road.url(), two(&cast));
    let lines = [
        json!({"id": "known", "provider": "caller", "query": {"account_id": "acc-1"}}).to_string(),
        json!({"id": "refused", "provider": "hopeless", "query": {"account_id": "acc-1"}})
            .to_string(),
    ];
    let sent = Call::new(&["send"])
        .config(&config)
        .input(lines.join("\n"))
        .run()
        .await
        .expect(0);
    for result in sent.lines() {
        let expected = match result["job_id"].as_str() {
            Some("known") => vec!["not_found", "found"],
            _ => vec!["failed forbidden"],
        };
        assert_eq!(statuses(&result), expected, "{result:#}");
    }
    let list = Call::new(&["dead", "list", "--provider", "hopeless", "--json"]);
    let listed = list.config(&config).run().await.expect(0);
    assert!(listed.out.contains("forbidden"), "{listed:?}");
    let replay = Call::new(&["dead", "replay", "--id", "refused"]);
    replay.config(&config).run().await.expect(0);
    // Its reply queue went with `send`: the second answer is a dead letter, like the job.
    road.client.wait_for_depth("lookup.dead", 2, SOON).await;
    assert_eq!(road.client.depth(RESULTS).await, Some(0));
    let pause = Call::new(&["pause", "caller"]).config(&config);
    let refused = pause.run().await.expect(2);
    assert!(
        refused.err.contains("caller is a lookup") && refused.err.contains("a, b"),
        "{refused:?}"
    );
    let unknown = Call::new(&["lookup", "nobody", "--query", "{}"]).config(&config);
    assert!(unknown.run().await.expect(2).err.contains("caller"));
}

#[tokio::test]
async fn a_lookup_is_as_well_as_the_best_of_its_providers_and_a_chain_as_its_first() {
    let cast = Cast::start().await;
    let dark = "quota = \"none\"\nbreaker = { failures = 3, cooldown = \"5m\" }";
    let config = cast.provider("dark", "503", dark)
        + &cast.provider("well", "found", "quota = \"none\"")
        + &lookup("both", "first", &["dark", "well"])
        + &lookup("alone", "race", &["dark"])
        + &lookup("chained", "chain", &["dark", "well"]);
    let road = Road::open(&config).await;
    for n in 0..6 {
        let body = json!({"query": {"account_id": format!("herald-{n}")}, "deadline_ms": 2000});
        road.publish("dark.interactive", &format!("h{n}"), &body)
            .await;
    }
    let readyz = async {
        loop {
            let (code, text) = road.worker.get("/readyz").await.expect("an answer");
            if text.contains("provider dark: circuit open") {
                return (code, text);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let (code, readyz) = tokio::time::timeout(SOON, readyz).await.expect("a circuit");
    assert_eq!(code, 200, "{readyz}");
    for told in [
        "lookup alone: none of its providers is well: dark",
        "lookup chained: its first provider is not well: dark",
    ] {
        assert!(readyz.contains(told), "{told} in {readyz}");
    }
    assert!(!readyz.contains("lookup both"), "{readyz}");
    let (_, text) = road.worker.get("/status.json").await.expect("the page");
    let status: Value = serde_json::from_str(&text).expect("JSON");
    let told = |name: &str| &status["providers"][name];
    assert_eq!(told("both")["state"], "ready", "{status:#}");
    assert!(told("both")["trouble"].is_null(), "{status:#}");
    for name in ["alone", "chained"] {
        assert_eq!(told(name)["state"], "circuit_open", "{status:#}");
        let trouble = told(name)["trouble"].as_str().expect("words");
        assert!(trouble.contains("dark"), "{trouble}");
    }
}
