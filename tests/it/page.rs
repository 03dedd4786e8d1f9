//! The page at `/`: what it is served with, and what a browser makes of it.
//!
//! Pictures of it go to the folder that `PAGE_PICTURES` names, if it does.

use std::{env, path::Path, time::Duration};

use lookup_worker::sandbox::Kind;
use serde_json::{Value, json};

use crate::{
    amqp::Job,
    broker::Broker,
    browser::Browser,
    road::{Road, SOON},
};

const BREAKER: &str = "breaker = { failures = 3, cooldown = \"300ms\" }";

const DESKTOP: (u32, u32) = (1280, 800);
const TELEPHONE: (u32, u32) = (360, 740);

async fn road(url: &str) -> Road {
    Road::open_with(url, |config| {
        let config = config.replace(
            "quota = \"none\"",
            "quota = { requests = 200, per = \"1m\" }",
        );
        config.replace("kind = \"plume\"", &format!("kind = \"plume\"\n{BREAKER}"))
    })
    .await
}

/// The card of a provider holds this text, as people see it.
fn card_says(provider: &str, text: &str) -> String {
    format!(
        "document.getElementById('provider-{provider}')?.innerText.includes({}) ?? false",
        json!(text)
    )
}

async fn publish(road: &Road, provider: &str, jobs: std::ops::Range<u32>, query: Value) {
    for n in jobs {
        road.publish(
            provider,
            &format!("{provider}-{n}"),
            &json!({ "query": query }),
        )
        .await;
    }
}

async fn picture(browser: &Browser, name: &str) {
    if let Ok(folder) = env::var("PAGE_PICTURES") {
        browser.picture(&Path::new(&folder).join(name)).await;
    }
}

#[tokio::test]
async fn the_page_is_served_with_a_policy_that_lets_it_ask_nobody_else() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    for (path, kind) in [
        ("", "text/html"),
        ("page.css", "text/css"),
        ("page.js", "text/javascript"),
    ] {
        let url = format!("http://127.0.0.1:{}/{path}", road.worker.http_port());
        let answer = client.get(url).send().await.expect("the worker");
        let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        assert_eq!(answer.status(), 200, "{path}");
        assert!(header("content-type").starts_with(kind), "{path}");
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(header("x-content-type-options"), "nosniff");
        let text = answer.text().await.expect("its answer");
        // The name of a format that looks like an address.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !text.contains("http://") && !text.contains("https://"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn status_json_counts_jobs_and_names_no_customer() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    road.ask("antsomi", &json!({"query": {"phone": "84907089782"}}))
        .await;
    let (code, text) = road.worker.get("/status.json").await.expect("an answer");
    let status: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (code, &status["ready"], &status["connects"]),
        (200, &json!(true), &json!(1)),
        "{text}"
    );
    assert_eq!(
        status["providers"]["antsomi"]["results"]["found"], 1,
        "{text}"
    );
    assert_eq!(
        status["providers"]["plume"]["quota"]["limit"], 2000,
        "{text}"
    );
    assert!(!text.contains("84907089782"), "{text}");
}

#[tokio::test]
async fn what_lies_in_the_dead_letter_queue_is_told_whoever_put_it_there() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    road.publish("omeda", "none", &json!({"query": {}})).await;
    road.results(1).await;
    road.client
        .publish("lookup.dead", "", Job::new("a letter of somebody else's"))
        .await;
    let told = async {
        while !road
            .worker
            .metrics()
            .await
            .contains("\nlookup_dead_letters 2\n")
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, told)
        .await
        .expect("both letters");
    let (_, text) = road.worker.get("/status.json").await.expect("an answer");
    let status: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (
            &status["dead_letters"],
            &status["providers"]["omeda"]["dead_letters"]["invalid_job"]
        ),
        (&json!(2), &json!(1))
    );
}

#[tokio::test]
async fn history_json_keeps_what_was_and_a_typo_makes_no_provider() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    road.ask("antsomi", &json!({"query": {"phone": "84907089782"}}))
        .await;
    road.publish(
        "antsome",
        "typo",
        &json!({"query": {"phone": "84907089782"}}),
    )
    .await;
    road.results(1).await;
    let kept = async {
        loop {
            let (code, text) = road.worker.get("/history.json").await.expect("an answer");
            assert_eq!(code, 200, "{text}");
            let looks: Vec<Value> = serde_json::from_str(&text).expect("JSON");
            let answered = |look: &Value| look["providers"]["antsomi"]["answered"] == 1;
            if looks.iter().any(answered) {
                return looks;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let looks = tokio::time::timeout(SOON, kept).await.expect("a look");
    assert!(
        looks
            .iter()
            .all(|look| look["providers"].get("unknown").is_none()),
        "{looks:?}"
    );
    let (_, text) = road.worker.get("/status.json").await.expect("an answer");
    let status: Value = serde_json::from_str(&text).expect("JSON");
    assert!(status["providers"].get("unknown").is_none(), "{text}");
    assert_eq!(
        status["for_nobody"]["dead_letters"]["unknown_provider"], 1,
        "{text}"
    );
}

#[tokio::test]
#[ignore = "needs Chromium and its driver: deploy/test"]
async fn in_a_browser_it_shows_what_happens_while_it_happens() {
    let vhost = Broker::shared().vhost();
    let mut road = road(&vhost.url()).await;
    let browser = Browser::start().await;
    browser.screen(DESKTOP, false, "light").await;
    let url = format!("http://127.0.0.1:{}/", road.worker.http_port());
    browser.open(&url).await;
    browser
        .wait_for("document.getElementById('state').innerText.includes('connected and consuming')")
        .await;
    browser.wait_for(&card_says("antsomi", "ready")).await;
    browser.wait_for(&card_says("antsomi", "0 found")).await;

    publish(&road, "omeda", 0..40, json!({"customer_id": 12345})).await;
    publish(&road, "antsomi", 0..9, json!({"phone": "84907089782"})).await;
    publish(&road, "kapture", 0..2, json!({})).await;
    browser.wait_for(&card_says("omeda", "40 found")).await;
    browser.wait_for(&card_says("antsomi", "9 found")).await;
    browser.wait_for(&card_says("antsomi", "of 200")).await;
    browser
        .wait_for(
            "document.querySelector('#dead-letters tbody')?.innerText.includes('invalid_job')",
        )
        .await;
    browser
        .wait_for("document.getElementById('dead').innerText === '2'")
        .await;
    publish(&road, "omeda", 40..60, json!({"customer_id": 12345})).await;
    browser.wait_for(&card_says("omeda", "60 found")).await;
    browser.wait_for(&card_says("omeda", "99 % within")).await;

    road.sandbox
        .fault(Kind::Plume, "search", json!({"status": 503}), None)
        .await;
    publish(
        &road,
        "plume",
        0..12,
        json!({"account_id": "5f8d0d55b54764421b7156d9"}),
    )
    .await;
    browser.wait_for(&card_says("plume", "circuit open")).await;
    browser
        .wait_for(&card_says("plume", "the provider keeps failing"))
        .await;
    browser.wait_for(&card_says("plume", "; since ")).await;
    browser.wait_for("document.title.startsWith('(1)')").await;
    picture(&browser, "desktop-light.png").await;

    // Who opens it only now is told what was before.
    let page_knows = "looks.some((look) => look.providers.plume?.state === 'circuit_open' && \
                      look.uptime_seconds < answers[0].uptime_seconds)";
    tokio::time::timeout(SOON, async {
        while !road
            .worker
            .get("/history.json")
            .await
            .expect("an answer")
            .1
            .contains("circuit_open")
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("a look at an open circuit");
    road.sandbox.clear_faults(Kind::Plume).await;
    browser.open(&url).await;
    browser
        .wait_for(&card_says("plume", "circuit open for"))
        .await;
    browser.wait_for(page_knows).await;
    browser
        .wait_for("document.querySelector('#provider-plume path.unwell').getBBox().width > 0")
        .await;

    for (screen, mobile, scheme) in [
        (TELEPHONE, true, "dark"),
        (TELEPHONE, true, "light"),
        (DESKTOP, false, "dark"),
    ] {
        browser.screen(screen, mobile, scheme).await;
        let overflow =
            "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.value(overflow).await, 0, "{screen:?}");
        assert_eq!(browser.value("innerWidth").await, screen.0);
        let ground = browser
            .value("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g)[0] < 60")
            .await;
        assert_eq!(ground, scheme == "dark");
        picture(&browser, &format!("{}-{scheme}.png", screen.0)).await;
    }
    let requested = browser.requested().await;
    assert!(
        requested
            .iter()
            .filter(|address| **address == format!("{url}status.json"))
            .count()
            > 1,
        "{requested:?}"
    );
    let elsewhere: Vec<_> = requested
        .iter()
        .filter(|address| !address.starts_with(&url) && !address.starts_with("data:"))
        .collect();
    assert_eq!(elsewhere, Vec::<&String>::new());
    assert_eq!(browser.console().await, Vec::<Value>::new());

    // Each of them takes a request, since it wants its payload.
    let alone = |n: u32| {
        let query = json!({"phone": format!("8491{n:07}")});
        Job::json(&json!({"query": query, "options": {"raw": true}})).id(&format!("alone-{n}"))
    };
    road.client
        .publish_all("lookup.jobs", "antsomi.bulk", (0..600).map(alone))
        .await;
    browser
        .wait_for(&card_says("antsomi", "waits for quota, about"))
        .await;
    browser
        .wait_for("Number(document.getElementById('waiting').innerText) > 300")
        .await;
    picture(&browser, "quota.png").await;

    road.worker.kill9();
    browser
        .wait_for("document.getElementById('trouble').innerText.includes('has not answered since')")
        .await;
    picture(&browser, "gone.png").await;
    // Another process, which finds no broker, counts from nothing.
    road.worker
        .start_with(&[("LOOKUP__AMQP__URL", "amqp://127.0.0.1:1")]);
    browser
        .wait_for("document.getElementById('trouble').innerText.startsWith('no broker')")
        .await;
    browser.wait_for(&card_says("antsomi", "0 found")).await;
    browser
        .wait_for("document.getElementById('waiting').innerText === '–'")
        .await;
    browser.wait_for(&card_says("antsomi", "not asked")).await;
    picture(&browser, "no-broker.png").await;
    browser.close().await;
}

/// By what WCAG 2 calls contrast, AA.
#[tokio::test]
#[ignore = "needs Chromium and its driver: deploy/test"]
async fn in_a_browser_its_words_stand_out_by_day_and_by_night() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let browser = Browser::start().await;
    browser
        .open(&format!("http://127.0.0.1:{}/", road.worker.http_port()))
        .await;
    browser.wait_for(&card_says("antsomi", "ready")).await;
    let contrast = "(() => {
        const light = (name) => {
            const probe = document.body.appendChild(document.createElement('i'));
            probe.style.color = `var(--${name})`;
            const parts = getComputedStyle(probe).color.match(/[0-9.]+/g).slice(0, 3).map((part) => part / 255);
            probe.remove();
            const [r, g, b] = parts.map((part) => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
            return .2126 * r + .7152 * g + .0722 * b;
        };
        const pairs = ['text', 'quiet', 'accent', 'good', 'pause', 'bad'].flatMap((ink) => ['ground', 'card'].map((on) => [ink, on]));
        pairs.push(['text', 'bad-ground']);
        return pairs.filter(([ink, on]) => {
            const [a, b] = [light(ink), light(on)];
            return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) < 4.5;
        });
    })()";
    for scheme in ["light", "dark"] {
        browser.screen(DESKTOP, false, scheme).await;
        assert_eq!(browser.value(contrast).await, json!([]), "{scheme}");
    }
    // Cards have headings below the section's, and tables say what their columns are.
    let headings = browser
        .value("[...document.querySelectorAll('h1, h2, h3')].map((each) => each.tagName)")
        .await;
    assert_eq!(
        headings,
        json!(["H1", "H2", "H2", "H3", "H3", "H3", "H3", "H3", "H2"])
    );
    browser.close().await;
}
