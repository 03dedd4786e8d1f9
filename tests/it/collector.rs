//! An OpenTelemetry collector in the test's own process: what is exported to it, decoded.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value},
    trace::v1::{Span as Sent, span::SpanKind, status::StatusCode},
};
use prost::Message;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::road::SOON;

/// It takes spans until dropped.
pub struct Collector {
    /// Its address, for `traces.endpoint`.
    pub endpoint: String,
    heard: Heard,
    serving: JoinHandle<()>,
}

type Heard = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// One span, ids in hexadecimal.
#[derive(Debug, Clone)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub name: String,
    pub kind: SpanKind,
    pub failed: bool,
    pub links: Vec<String>,
    pub attributes: BTreeMap<String, String>,
    pub begun: u64,
}

impl Collector {
    pub async fn start() -> Self {
        let heard = Heard::default();
        let take = async |State(heard): State<Heard>, headers: HeaderMap, body: Bytes| {
            heard.lock().unwrap().push((headers, body));
        };
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&heard));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
        let serving =
            tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") });
        Self {
            endpoint,
            heard,
            serving,
        }
    }

    /// The configuration that sends spans here.
    pub fn config(&self, more: &str) -> String {
        format!("[traces]\nendpoint = \"{}\"\n{more}\n", self.endpoint)
    }

    /// Every batch, as it came.
    pub fn batches(&self) -> Vec<ExportTraceServiceRequest> {
        let decoded =
            |(_, body): &(_, Bytes)| ExportTraceServiceRequest::decode(body.clone()).expect("OTLP");
        self.heard.lock().unwrap().iter().map(decoded).collect()
    }

    /// The headers of every batch.
    pub fn headers(&self) -> Vec<HeaderMap> {
        self.heard
            .lock()
            .unwrap()
            .iter()
            .map(|(headers, _)| headers.clone())
            .collect()
    }

    /// Every span, in the order of their beginnings.
    pub fn spans(&self) -> Vec<Span> {
        let batches = self.batches();
        let scopes = batches
            .iter()
            .flat_map(|batch| &batch.resource_spans)
            .flat_map(|of| &of.scope_spans);
        let mut spans: Vec<Span> = scopes
            .flat_map(|scope| &scope.spans)
            .map(Span::of)
            .collect();
        spans.sort_by_key(|span| span.begun);
        spans
    }

    /// The spans, once there are `count`.
    pub async fn wait_for(&self, count: usize) -> Vec<Span> {
        let give_up = Instant::now() + SOON;
        loop {
            let spans = self.spans();
            if spans.len() >= count {
                return spans;
            }
            assert!(
                Instant::now() < give_up,
                "{count} spans are awaited, these came: {spans:#?}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Span {
    fn of(sent: &Sent) -> Self {
        Self {
            trace: hex(&sent.trace_id),
            id: hex(&sent.span_id),
            parent: hex(&sent.parent_span_id),
            name: sent.name.clone(),
            kind: sent.kind(),
            failed: sent
                .status
                .as_ref()
                .is_some_and(|status| status.code() == StatusCode::Error),
            links: sent.links.iter().map(|link| hex(&link.span_id)).collect(),
            attributes: sent.attributes.iter().map(pair).collect(),
            begun: sent.start_time_unix_nano,
        }
    }

    /// An attribute, numbers as text; nothing where there is none.
    pub fn get(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

fn pair(attribute: &KeyValue) -> (String, String) {
    let value = match attribute
        .value
        .as_ref()
        .and_then(|value| value.value.as_ref())
    {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    (attribute.key.clone(), value)
}

fn hex(id: &[u8]) -> String {
    let text = id.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    text.filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
