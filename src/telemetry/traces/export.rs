//! Spans to the collector: OTLP over HTTP, as protobuf.
//!
//! The batches are gathered and encoded on a thread of the OpenTelemetry SDK's, which may wait; they are sent from
//! the worker's own, by the one HTTP client that there is, so that nothing there is ever blocked.

use std::{cell::Cell, future::Future, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request,
    header::{CONTENT_TYPE, USER_AGENT},
};
use opentelemetry_proto::{
    tonic::collector::trace::v1::ExportTraceServiceRequest,
    transform::{
        common::tonic::ResourceAttributesWithSchema,
        trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter},
};
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use url::Url;

use crate::http::{Client, Options};

/// Longest wait for the collector's answer.
const LIMIT: Duration = Duration::from_secs(2);
/// Largest answer that is read: it says how many spans were not taken.
const MOST_BYTES: usize = 64 * 1024;

/// One encoded batch, and whether it was taken.
type Batch = (Bytes, oneshot::Sender<bool>);

/// The end on the SDK's thread.
#[derive(Debug)]
pub(super) struct Exporter {
    batches: mpsc::Sender<Batch>,
    resource: ResourceAttributesWithSchema,
}

/// Both ends: what takes batches, and what sends them until there will be no more.
pub(super) fn pair(
    endpoint: &Url,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<(Exporter, impl Future<Output = ()> + use<>), String> {
    let client = Client::new(Options {
        max_response_bytes: MOST_BYTES,
        ..Options::default()
    })?;
    let collector = Collector {
        url: format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')),
        headers: headers.to_vec(),
        client,
        is_well: Cell::new(true),
    };
    // The SDK exports one batch at a time.
    let (batches, mut waiting) = mpsc::channel::<Batch>(1);
    let sending = async move {
        while let Some((body, taken)) = waiting.recv().await {
            let _ = taken.send(collector.send(body).await);
        }
    };
    Ok((
        Exporter {
            batches,
            resource: ResourceAttributesWithSchema::default(),
        },
        sending,
    ))
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let (taken, is_taken) = oneshot::channel();
        let handed_over = self.batches.send((body.into(), taken)).await.is_ok();
        if handed_over && is_taken.await == Ok(true) {
            return Ok(());
        }
        Err(OTelSdkError::InternalFailure("not taken".into()))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

struct Collector {
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    client: Client,
    /// It took the last batch.
    is_well: Cell<bool>,
}

impl Collector {
    /// Whether the batch was taken. One that was not is lost: spans are no reason to keep memory.
    async fn send(&self, body: Bytes) -> bool {
        let mut request = Request::new(body);
        *request.method_mut() = http::Method::POST;
        let Ok(uri) = self.url.parse() else {
            return false;
        };
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("lookup-worker/", env!("CARGO_PKG_VERSION"))),
        );
        headers.extend(self.headers.iter().cloned());
        let problem = match self.client.send(request, LIMIT).await {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status().as_u16())),
            Err(failure) => Some(failure.message.to_string()),
        };
        match (&problem, self.is_well.replace(problem.is_none())) {
            (Some(problem), true) => {
                tracing::warn!(problem, "the collector takes no spans; they are lost");
            }
            (None, false) => tracing::info!("the collector takes spans again"),
            _ => {}
        }
        problem.is_none()
    }
}
