use std::{
    error::Error,
    io,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use lookup_worker::sandbox::{Kind::Antsomi, Options, Rates};
use reqwest::RequestBuilder;
use serde_json::json;

use super::{Local, answer};

fn phone(local: &Local, phone: &str) -> RequestBuilder {
    let path = "/access/api/profile/get-customer-id-by-phone";
    local.lookup(
        Antsomi,
        &format!("{path}?operator=equals&phone_number={phone}"),
    )
}

fn with(local: &Local, fault: &str) -> RequestBuilder {
    phone(local, "84907089782").header("x-sandbox-fault", fault)
}

async fn statuses<const N: usize>(local: &Local, number: &str) -> [u16; N] {
    let mut statuses = [0; N];
    for status in &mut statuses {
        *status = answer(phone(local, number)).await.status.as_u16();
    }
    statuses
}

/// The client saw a reset, no orderly end.
fn was_reset(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::ConnectionReset;
        }
        cause = error.source();
    }
    false
}

#[tokio::test]
async fn a_header_asks_for_a_status_as_often_as_it_says() {
    let local = Local::start().await;
    for expected in [503, 503, 200] {
        assert_eq!(
            answer(with(&local, "status=503; retry-after=3; count=2"))
                .await
                .status
                .as_u16(),
            expected
        );
    }
    let limited = answer(with(&local, "status=429;retry-after=3")).await;
    assert_eq!(
        (limited.status.as_u16(), limited.header("retry-after")),
        (429, Some("3"))
    );
}

#[tokio::test]
async fn a_header_asks_for_a_reset() {
    let local = Local::start().await;
    let error = with(&local, "reset").send().await.unwrap_err();
    assert!(was_reset(&error), "{error:?}");
}

#[tokio::test]
async fn a_truncated_body_begins_and_does_not_end() {
    let local = Local::start().await;
    let mut response = with(&local, "truncate").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let announced = response.content_length().unwrap();
    let mut came = 0;
    let end = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => came += chunk.len() as u64,
            end => break end,
        }
    };
    assert!(end.is_err());
    assert_eq!(came, announced / 2);
}

#[tokio::test]
async fn a_hanging_request_gets_nothing_and_leaves_when_the_client_does() {
    let local = Local::start().await;
    let error = with(&local, "hang")
        .timeout(Duration::from_millis(50))
        .send()
        .await
        .unwrap_err();
    assert!(error.is_timeout());
    // The sandbox hears of it a moment later; the test's own bound is that of the loop.
    for _ in 0..1000 {
        let stats = local.stats(Antsomi).await;
        if stats["in_flight"] == 0 {
            assert_eq!(stats["by_status"], json!({ "hang": 1 }));
            return;
        }
    }
    panic!("still in flight");
}

#[tokio::test]
async fn a_header_asks_for_latency_and_for_a_page() {
    let local = Local::start().await;
    let began = Instant::now();
    assert_eq!(answer(with(&local, "latency=60ms")).await.status, 200);
    assert!(began.elapsed() >= Duration::from_millis(60));
    let page = answer(with(&local, "html")).await;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (200, Some("text/html"))
    );
    assert!(page.text.starts_with("<html>"));
}

#[tokio::test]
async fn a_fault_that_nobody_knows_is_refused_by_name() {
    let local = Local::start().await;
    for fault in [
        "status",
        "status=99",
        "reset=1",
        "explode",
        "latency=soon",
        "count=2",
        "",
    ] {
        let answer = answer(with(&local, fault)).await;
        assert_eq!(answer.status, 400, "{fault}");
        assert!(
            answer.text.starts_with("x-sandbox-fault: "),
            "{}",
            answer.text
        );
    }
}

#[tokio::test]
async fn magic_numbers_fail_as_often_as_the_table_says() {
    let local = Local::start().await;
    assert_eq!(statuses(&local, "84900000403").await, [403, 403]);
    assert_eq!(statuses(&local, "84900000429").await, [429, 429, 200, 200]);
    assert_eq!(statuses(&local, "84900000500").await, [500, 500]);
    assert_eq!(statuses(&local, "84900000503").await, [503, 200]);
    assert_eq!(statuses(&local, "84900000605").await, [200]);
    assert_eq!(statuses(&local, "84900000606").await, [404]);
    let none = answer(phone(&local, "84900000404")).await.json();
    assert_eq!(
        none["data"],
        json!({ "entries": [], "meta": { "total": 0 } })
    );
    assert!(was_reset(
        &phone(&local, "84900000601").send().await.unwrap_err()
    ));
    assert_eq!(statuses(&local, "84900000601").await, [200]);
    local
        .control(Antsomi, reqwest::Method::POST, "reset", "")
        .await;
    assert_eq!(statuses(&local, "84900000429").await, [429, 429, 200]);
}

#[tokio::test]
async fn a_magic_number_counts_in_a_batch_too_whatever_stands_beside_it() {
    let local = Local::start().await;
    let path = "/access/api/profile/get-customer-id-by-phone?operator=matches";
    let batch = async |numbers: &[&str]| {
        let mut target = path.to_owned();
        for number in numbers {
            target.extend(["&phone_number%5B%5D=", number]);
        }
        answer(local.lookup(Antsomi, &target)).await
    };
    let beside = ["84907089782", "84900000404"];
    for (number, expected) in [
        ("84900000500", 500),
        // A token is let in or not, whoever is asked for.
        ("84900000403", 400),
        ("84900000401", 400),
        ("84900000503", 503),
        ("84900000503", 200),
    ] {
        let numbers = [beside[0], beside[1], number];
        assert_eq!(batch(&numbers).await.status, expected, "{number}");
    }
    assert_eq!(batch(&beside).await.status, 200);
}

#[tokio::test]
async fn the_journal_shows_who_follows_a_redirect() {
    let local = Local::start().await;
    assert_eq!(answer(phone(&local, "84900000302")).await.status, 404);
    let journal = local
        .control(Antsomi, reqwest::Method::GET, "requests", "")
        .await
        .json();
    assert_eq!(journal["requests"][0]["answer"], "302");
    assert_eq!(journal["requests"][1]["target"], "/redirected");
}

#[tokio::test]
async fn rates_are_shares_and_the_same_seed_draws_the_same() {
    let rates = Rates {
        failing: 0.5,
        status: 502,
        ..Rates::default()
    };
    let options = Options {
        rates,
        seed: 7,
        retry_after: Some(2),
        ..Options::default()
    };
    let (one, other) = (
        Local::with(options.clone()).await,
        Local::with(options).await,
    );
    let drawn: [u16; 40] = statuses(&one, "84907089782").await;
    assert_eq!(drawn, statuses(&other, "84907089782").await);
    assert!(drawn.contains(&502) && drawn.contains(&200));
}

#[tokio::test]
async fn rates_that_are_no_shares_are_refused() {
    let rates = Rates {
        reset: 0.6,
        hang: 0.6,
        ..Rates::default()
    };
    let refused = lookup_worker::sandbox::Sandbox::bind(&Options {
        rates,
        ..Options::default()
    })
    .await;
    assert!(
        refused
            .err()
            .unwrap()
            .to_string()
            .contains("at most 1 together")
    );
}

#[tokio::test]
async fn retry_after_goes_with_every_429_and_503_on_request() {
    let local = Local::with(Options {
        retry_after: Some(2),
        ..Options::default()
    })
    .await;
    for (number, expected) in [
        ("84900000429", Some("2")),
        ("84900000503", Some("2")),
        ("84900000500", None),
    ] {
        assert_eq!(
            answer(phone(&local, number)).await.header("retry-after"),
            expected,
            "{number}"
        );
    }
    assert_eq!(
        answer(phone(&local, "84900000513"))
            .await
            .header("retry-after"),
        Some("1")
    );
}

#[tokio::test]
async fn the_peak_of_lookups_in_flight_is_counted() {
    let local = Local::start().await;
    let slow = (0..5).map(|_| answer(with(&local, "latency=200ms")));
    join_all(slow).await;
    assert_eq!(local.stats(Antsomi).await["peak_in_flight"], 5);
}
