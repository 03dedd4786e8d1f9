//! Traces, where a collector is configured: a job's `process` span continues the trace that the job came with; the HTTP
//! requests made for it and each publish of what replaces it (its result, a dead letter, a copy that waits) are its
//! children, and what was published carries on from there.
//!
//! Names and attributes are those of OpenTelemetry's conventions for messaging (RabbitMQ) and HTTP. What may be
//! private is left out: addresses of requests but for their host (`url.full`), names of reply queues, correlation
//! ids, and what failures say. Where traces are off, a [`Span`] is nothing, and all that is asked of it a branch.

mod export; // from the thread that gathers spans to the collector
mod span; // what is recorded of a job, its requests and what replaces it

use std::{collections::HashMap, rc::Rc, time::Duration};

use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    propagation::TextMapPropagator,
    trace::{SpanBuilder, SpanKind, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider},
};
use secrecy::ExposeSecret;
use tokio::{
    task::{spawn_blocking, spawn_local},
    time::timeout,
};
use url::Url;
use uuid::Uuid;

use crate::{
    config::{AmqpSettings, TracesSettings},
    job::{Address, Envelope},
    message::{Names, header},
};
pub use span::{DEFAULT_EXCHANGE, Span};
use span::{Open, link, named};

/// Longest wait at the end for spans that are not sent yet.
const LAST_SPANS: Duration = Duration::from_secs(3);
/// Spans that wait to be sent; those beyond are lost.
const MOST_WAITING: usize = 16 * 1024;

/// Makes spans; none where traces are off.
#[derive(Clone, Default)]
pub struct Traces(Option<Rc<Recorder>>);

struct Recorder {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    names: Names,
    broker: Vec<KeyValue>,
    propagate: bool,
}

impl Traces {
    /// As `[traces]` says; the spans are sent by a task of the worker's own thread.
    ///
    /// # Errors
    /// Where no HTTP client can be made.
    pub fn begin(settings: &TracesSettings, amqp: &AmqpSettings) -> Result<Self, String> {
        let Some(endpoint) = &settings.endpoint else {
            return Ok(Self::default());
        };
        let (exporter, sending) = export::pair(endpoint, &settings.headers)?;
        spawn_local(sending);
        let waiting = BatchConfigBuilder::default()
            .with_max_queue_size(MOST_WAITING)
            .build();
        let resource = Resource::builder()
            .with_service_name(settings.service.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new(
                "service.instance.id",
                Uuid::new_v4().to_string(),
            ))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
                settings.sample,
            ))))
            .with_resource(resource)
            .with_span_processor(
                BatchSpanProcessor::builder(exporter)
                    .with_batch_config(waiting)
                    .build(),
            )
            .build();
        let scope = InstrumentationScope::builder("lookup-worker")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Ok(Self(Some(Rc::new(Recorder {
            tracer: provider.tracer_with_scope(scope),
            provider,
            names: Names::new(&amqp.prefix),
            broker: server_of(amqp),
            propagate: settings.propagate,
        }))))
    }

    /// A job's way from its delivery to its acknowledgement. The names in a routing key are shown where they are the
    /// worker's own: `provider` is that of a configured one.
    #[must_use]
    pub fn process(&self, provider: Option<&str>, envelope: &Envelope) -> Span {
        let Some(recorder) = &self.0 else {
            return Span::default();
        };
        let exchange = recorder.names.jobs_exchange();
        let known = provider.zip(Address::of(&envelope.routing_key).lane);
        let destination = known.map(|(provider, lane)| {
            format!(
                "{exchange}:{}:{}",
                envelope.routing_key,
                recorder.names.jobs(provider, lane)
            )
        });
        let key = known.map(|_| envelope.routing_key.clone());
        let mut attributes =
            recorder.messaging("process", "process", destination.unwrap_or(exchange), key);
        attributes.extend(
            envelope
                .message_id
                .clone()
                .map(|id| KeyValue::new("messaging.message.id", id)),
        );
        attributes.extend(provider.map(|name| KeyValue::new("lookup.provider", name.to_owned())));
        let came_with = carried(envelope);
        let links = if came_with.span().span_context().is_valid() {
            vec![link(&came_with)]
        } else {
            Vec::new()
        };
        let builder = named("process", &attributes)
            .with_kind(SpanKind::Consumer)
            .with_links(links);
        recorder.open(builder.with_attributes(attributes), &came_with)
    }

    /// Sends what is not sent yet, for a short while.
    pub async fn finish(&self) {
        let Some(recorder) = &self.0 else { return };
        let provider = recorder.provider.clone();
        // It blocks, while the spans are sent from this thread.
        let sent = spawn_blocking(move || provider.shutdown_with_timeout(LAST_SPANS));
        if !matches!(timeout(LAST_SPANS * 2, sent).await, Ok(Ok(Ok(())))) {
            tracing::warn!("the collector did not take the last spans in time");
        }
    }
}

impl Recorder {
    fn open(self: &Rc<Self>, builder: SpanBuilder, parent: &Context) -> Span {
        let span = self.tracer.build_with_context(builder, parent);
        let (context, parent) = (
            Context::new().with_span(span),
            parent.span().span_context().span_id(),
        );
        Span(Some(Open {
            recorder: Rc::clone(self),
            context,
            parent,
        }))
    }

    fn messaging(
        &self,
        name: &'static str,
        kind: &'static str,
        destination: String,
        key: Option<String>,
    ) -> Vec<KeyValue> {
        let mut attributes = vec![
            KeyValue::new("messaging.system", "rabbitmq"),
            KeyValue::new("messaging.operation.name", name),
            KeyValue::new("messaging.operation.type", kind),
            KeyValue::new("messaging.destination.name", destination),
        ];
        attributes.extend(
            key.map(|key| KeyValue::new("messaging.rabbitmq.destination.routing_key", key)),
        );
        attributes.extend_from_slice(&self.broker);
        attributes
    }
}

/// The trace that a job came with; one without a span, if it came with none.
fn carried(envelope: &Envelope) -> Context {
    let headers = [
        (header::TRACEPARENT, &envelope.traceparent),
        (header::TRACESTATE, &envelope.tracestate),
    ];
    let carrier: HashMap<String, String> = headers
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)))
        .collect();
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

/// The broker's host and port, where there is but one.
fn server_of(amqp: &AmqpSettings) -> Vec<KeyValue> {
    let addresses = amqp.addresses();
    let [address] = addresses.as_slice() else {
        return Vec::new();
    };
    let Ok(url) = Url::parse(address.expose_secret()) else {
        return Vec::new();
    };
    let port = url
        .port()
        .unwrap_or(if url.scheme() == "amqps" { 5671 } else { 5672 });
    let host = url.host_str().unwrap_or_default().to_owned();
    vec![
        KeyValue::new("server.address", host),
        KeyValue::new("server.port", i64::from(port)),
    ]
}
