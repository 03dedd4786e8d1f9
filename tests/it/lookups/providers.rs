//! Providers that answer as the path before their base says: `/found`, `/none`, `/500`, …

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::scripted::{Scripted, answer};

/// One server that plays them all.
pub struct Cast {
    server: Scripted,
    /// Whom each request asked.
    asked: Arc<Mutex<Vec<(String, Instant)>>>,
    well: Arc<AtomicBool>,
}

impl Cast {
    pub async fn start() -> Self {
        let asked = Arc::<Mutex<Vec<(String, Instant)>>>::default();
        let well = Arc::<AtomicBool>::default();
        let (heard, now_well) = (Arc::clone(&asked), Arc::clone(&well));
        let server = Scripted::start(move |_, head| {
            let (name, part) = named(head);
            let mut heard = heard.lock().expect("no panic");
            let before = heard.iter().filter(|(other, _)| other == name).count();
            heard.push((name.to_owned(), Instant::now()));
            reply(name, part, before, now_well.load(Ordering::Relaxed))
        });
        Self {
            server: server.await,
            asked,
            well,
        }
    }

    /// The same providers as another's, played by this one.
    pub fn like(&self, other: &Self, providers: &str) -> String {
        providers.replace(&other.server.base, &self.server.base)
    }

    /// Whoever fails until then answers from now on.
    pub fn recover(&self) {
        self.well.store(true, Ordering::Relaxed);
    }

    /// A provider of this name that plays this part; `keys` are more of its keys.
    pub fn provider(&self, name: &str, part: &str, keys: &str) -> String {
        let base = &self.server.base;
        format!(
            "[providers.{name}]\nkind = \"plume\"\nbase_url = \"{base}/{name}/{part}\"\ntoken = \"t\"\n\
             {keys}\n"
        )
    }

    /// Requests of a provider so far.
    pub fn requests_of(&self, name: &str) -> usize {
        self.times_of(name).len()
    }

    /// When a provider was asked.
    pub fn times_of(&self, name: &str) -> Vec<Instant> {
        let asked = self.asked.lock().expect("no panic");
        let times = asked.iter().filter(|(other, _)| other == name);
        times.map(|(_, time)| *time).collect()
    }

    /// The time between its first two requests.
    pub fn pause_of(&self, name: &str) -> Duration {
        let times = self.times_of(name);
        times[1] - times[0]
    }
}

/// `/NAME/PART/api/Partners/customers/search/VALUE?…`
fn named(head: &str) -> (&str, &str) {
    let target = head.split(' ').nth(1).unwrap_or_default();
    let mut parts = target.split(['/', '?']).skip(1);
    let mut next = || parts.next().unwrap_or_default();
    (next(), next())
}

/// To a request before which so many came.
fn reply(name: &str, part: &str, before: usize, well: bool) -> Vec<u8> {
    let json = "Content-Type: application/json\r\n";
    let people = |customers: &Value| answer("200 OK", json, &customers.to_string());
    match part {
        "later" | "much-later" if before == 0 => {
            let wait = if part == "later" { 3 } else { 6 };
            let headers = format!("{json}Retry-After: {wait}\r\n");
            answer("503 Service Unavailable", &headers, "{}")
        }
        "away" if !well => {
            let headers = format!("{json}Retry-After: 5\r\n");
            answer("503 Service Unavailable", &headers, "{}")
        }
        "recovers" if !well => answer("500 Internal Server Error", json, "{}"),
        "found" | "later" | "much-later" | "recovers" | "away" => people(&json!([person(name)])),
        "lacking" => people(&json!([{"id": "c-1", "accountId": "acc-1"}])),
        "two" => people(&json!([person(name), {"id": "c-2", "name": "Ben"}])),
        "slow" => {
            std::thread::sleep(Duration::from_millis(300));
            people(&json!([person(name)]))
        }
        "tardy" | "silent" => {
            std::thread::sleep(Duration::from_secs(if part == "tardy" { 2 } else { 8 }));
            people(&json!([person(name)]))
        }
        "none" => people(&json!([])),
        "403" => answer("403 Forbidden", json, r#"{"message":"no"}"#),
        "503" => answer("503 Service Unavailable", json, "{}"),
        "429" => answer(
            "429 Too Many Requests",
            &format!("{json}Retry-After: 60\r\n"),
            "{}",
        ),
        _ => answer("500 Internal Server Error", json, "{}"),
    }
}

fn person(name: &str) -> Value {
    json!({"id": "c-1", "accountId": "acc-1", "name": format!("Ann of {name}"), "locations": [{"id": name}]})
}
