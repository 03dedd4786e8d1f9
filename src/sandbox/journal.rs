//! What a port has seen: counts for `/_sandbox/stats`, the last requests for `/_sandbox/requests`.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{limit::Window, wire::Ask};

/// So many requests are remembered.
const REMEMBERED: usize = 1000;
/// Headers worth an assertion; the first ones are secrets, of which only the presence is told.
const SECRET_HEADERS: [&str; 2] = ["authorization", "x-omeda-appid"];
const HEADERS: [&str; 8] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "content-type",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-sandbox-fault",
];

/// The counts.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Stats {
    /// Lookups and token requests; not those to the control routes.
    requests: u64,
    lookups: u64,
    token_requests: u64,
    /// By status; `reset` and `hang` for those that got none.
    by_status: BTreeMap<String, u64>,
    /// Most lookups in any rolling window of `window_ms`, refused ones included.
    largest_window: usize,
    window_ms: u128,
    in_flight: u64,
    peak_in_flight: u64,
    rejected_by_rate_limit: u64,
}

/// One remembered request.
#[derive(Debug, Serialize)]
struct Entry {
    #[serde(skip)]
    number: u64,
    method: String,
    /// Path and query, as they were sent.
    target: String,
    headers: BTreeMap<String, String>,
    body: String,
    /// Milliseconds since the sandbox began.
    at_ms: u128,
    /// What it got: a status, `reset` or `hang`.
    answer: Option<String>,
}

/// The memory of one port.
#[derive(Debug)]
pub(super) struct Journal {
    began: Instant,
    window: Window,
    stats: Stats,
    entries: VecDeque<Entry>,
    numbers: u64,
}

impl Journal {
    pub fn new(began: Instant, window: Duration) -> Self {
        let stats = Stats {
            window_ms: window.as_millis(),
            ..Stats::default()
        };
        Self {
            began,
            window: Window::new(window),
            stats,
            entries: VecDeque::new(),
            numbers: 0,
        }
    }

    /// Forgets all but what is still in flight.
    pub fn reset(&mut self, window: Duration) {
        let in_flight = self.stats.in_flight;
        let numbers = self.numbers;
        *self = Self::new(self.began, window);
        self.numbers = numbers;
        self.stats.in_flight = in_flight;
        self.stats.peak_in_flight = in_flight;
    }

    /// A request came; its number.
    pub fn enter(&mut self, ask: &Ask, arrived: Instant, lookup: bool) -> u64 {
        self.stats.requests += 1;
        if lookup {
            self.stats.lookups += 1;
            self.stats.largest_window = self.stats.largest_window.max(self.window.add(arrived));
        } else {
            self.stats.token_requests += 1;
        }
        self.stats.in_flight += 1;
        self.stats.peak_in_flight = self.stats.peak_in_flight.max(self.stats.in_flight);
        self.numbers += 1;
        if self.entries.len() == REMEMBERED {
            self.entries.pop_front();
        }
        self.entries.push_back(self.entry(ask, arrived, lookup));
        self.numbers
    }

    fn entry(&self, ask: &Ask, arrived: Instant, lookup: bool) -> Entry {
        Entry {
            number: self.numbers,
            method: ask.method.to_string(),
            target: ask.target.clone(),
            headers: headers(ask),
            // A token request's body is the client's secret.
            body: if lookup {
                String::from_utf8_lossy(&ask.body).into_owned()
            } else {
                masked(ask)
            },
            at_ms: arrived.saturating_duration_since(self.began).as_millis(),
            answer: None,
        }
    }

    /// What the request of that number gets.
    pub fn answered(&mut self, number: u64, answer: &str) {
        *self.stats.by_status.entry(answer.to_owned()).or_default() += 1;
        // The request may be forgotten already.
        if let Ok(at) = self
            .entries
            .binary_search_by_key(&number, |entry| entry.number)
        {
            self.entries[at].answer = Some(answer.to_owned());
        }
    }

    pub fn rejected(&mut self) {
        self.stats.rejected_by_rate_limit += 1;
    }

    pub fn left(&mut self) {
        self.stats.in_flight = self.stats.in_flight.saturating_sub(1);
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    pub fn requests(&self) -> serde_json::Value {
        serde_json::json!({ "requests": self.entries })
    }
}

fn headers(ask: &Ask) -> BTreeMap<String, String> {
    let shown = HEADERS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), ask.header(name)?.to_owned())));
    let secret = SECRET_HEADERS.iter().filter_map(|name| {
        let value = ask.header(name)?;
        let scheme = value
            .split_once(' ')
            .map_or(String::new(), |(scheme, _)| format!("{scheme} "));
        Some(((*name).to_owned(), format!("{scheme}***")))
    });
    shown.chain(secret).collect()
}

fn masked(ask: &Ask) -> String {
    let form = ask.form().unwrap_or_default();
    let shown = form.iter().map(|(key, value)| match key.as_str() {
        "client_secret" => format!("{key}=***"),
        _ => format!("{key}={value}"),
    });
    shown.collect::<Vec<_>>().join("&")
}
