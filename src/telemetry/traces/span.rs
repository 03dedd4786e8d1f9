//! One span: what is recorded of a job, of a request made for it, of the publish of what replaces it.

use std::{collections::HashMap, fmt, rc::Rc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator,
    trace::{Link, SpanBuilder, SpanId, SpanKind, Status, TraceContextExt},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use super::Recorder;
use crate::{failure::Failure, message::header};

/// What the exchange without a name is called in traces.
pub const DEFAULT_EXCHANGE: &str = "amq.default";

/// A span of one job's way; none where traces are off. A clone is the same span.
#[derive(Clone, Default)]
pub struct Span(pub(super) Option<Open>);

/// A span that is recorded, or whose trace is not sampled.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) recorder: Rc<Recorder>,
    pub(super) context: Context,
    pub(super) parent: SpanId,
}

impl Span {
    /// Whether traces are on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A request on behalf of `asking`, each with the number of requests made for it before: a child of the first,
    /// linked to the others. Its context goes along where that is configured.
    #[must_use]
    pub fn request(asking: &[(Self, u32)], provider: &str, request: &mut Request<Bytes>) -> Self {
        let Some((Self(Some(first)), before)) = asking.first() else {
            return Self::default();
        };
        let uri = request.uri();
        let port = uri
            .port_u16()
            .unwrap_or(if uri.scheme_str() == Some("http") {
                80
            } else {
                443
            });
        let mut attributes = vec![
            KeyValue::new("http.request.method", request.method().to_string()),
            KeyValue::new("server.address", uri.host().unwrap_or_default().to_owned()),
            KeyValue::new("server.port", i64::from(port)),
            KeyValue::new("lookup.provider", provider.to_owned()),
        ];
        if *before > 0 {
            attributes.push(KeyValue::new(
                "http.request.resend_count",
                i64::from(*before),
            ));
        }
        let others = asking[1..]
            .iter()
            .filter_map(|(other, _)| Some(link(&other.0.as_ref()?.context)))
            .collect();
        let builder = SpanBuilder::from_name(request.method().to_string());
        let builder = builder
            .with_kind(SpanKind::Client)
            .with_attributes(attributes)
            .with_links(others);
        let span = first.recorder.open(builder, &first.context);
        if first.recorder.propagate {
            span.go_along(request.headers_mut());
        }
        span
    }

    /// A step of this job's lookup, which asks this provider.
    #[must_use]
    pub fn step(&self, provider: &str) -> Self {
        let Some(job) = &self.0 else {
            return Self::default();
        };
        let builder = SpanBuilder::from_name(format!("step {provider}"))
            .with_kind(SpanKind::Internal)
            .with_attributes([KeyValue::new("lookup.provider", provider.to_owned())]);
        job.recorder.open(builder, &job.context)
    }

    /// This job is answered by a request that was made for another.
    pub fn shares(&self, request: &Self) {
        let (Some(job), Some(request)) = (&self.0, &request.0) else {
            return;
        };
        if request.parent != job.span_id() {
            job.context
                .span()
                .add_link(request.context.span().span_context().clone(), Vec::new());
        }
    }

    /// The publish of what replaces the job `job_id`, as the message `id`: to `place`, an exchange and a routing key
    /// that are the worker's own, or to a reply queue.
    #[must_use]
    pub fn publish(&self, place: Option<(&str, &str)>, id: &str, job_id: &str) -> Self {
        let Some(job) = &self.0 else {
            return Self::default();
        };
        let (destination, key) = match place {
            Some((exchange, "")) => (exchange.to_owned(), None),
            Some((exchange, key)) => (format!("{exchange}:{key}"), Some(key.to_owned())),
            None => (DEFAULT_EXCHANGE.to_owned(), None),
        };
        let mut attributes = job.recorder.messaging("publish", "send", destination, key);
        if place.is_none() {
            attributes.push(KeyValue::new(
                "messaging.destination.template",
                "{reply_to}",
            ));
        }
        attributes.push(KeyValue::new("messaging.message.id", id.to_owned()));
        attributes.push(KeyValue::new("lookup.job.id", job_id.to_owned()));
        let builder = named("publish", &attributes).with_kind(SpanKind::Producer);
        job.recorder
            .open(builder.with_attributes(attributes), &job.context)
    }

    /// `traceparent` and, where there is one, `tracestate` of what continues from here.
    #[must_use]
    pub fn carried(&self) -> Option<(String, Option<String>)> {
        let open = self.0.as_ref()?;
        let mut carrier = HashMap::new();
        TraceContextPropagator::new().inject_context(&open.context, &mut carrier);
        let state = carrier
            .remove(header::TRACESTATE)
            .filter(|state| !state.is_empty());
        Some((carrier.remove(header::TRACEPARENT)?, state))
    }

    fn go_along(&self, headers: &mut HeaderMap) {
        let Some((parent, state)) = self.carried() else {
            return;
        };
        let state = state.map(|state| (header::TRACESTATE, state));
        for (name, value) in std::iter::once((header::TRACEPARENT, parent)).chain(state) {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }

    /// It failed, by this class.
    pub fn fail(&self, class: &'static str) {
        self.set(KeyValue::new("error.type", class));
        self.set_failed();
    }

    /// How a request ended: the status of its answer, and the failure that this means.
    pub fn heard(&self, status: Option<u16>, failure: Option<&Failure>) {
        if !self.is_on() {
            return;
        }
        if let Some(status) = status {
            self.set(KeyValue::new(
                "http.response.status_code",
                i64::from(status),
            ));
        }
        if let Some(failure) = failure {
            let of_status = status
                .filter(|status| *status >= 400)
                .map(|status| status.to_string());
            let class = of_status.unwrap_or_else(|| failure.kind.as_str().to_owned());
            self.set(KeyValue::new("error.type", class));
            self.set_failed();
        }
        self.end();
    }

    /// What became of the job: `found`, `parked`, …; and the class of its failure, if it failed.
    pub fn outcome(&self, outcome: &'static str, error: &'static str) {
        self.set(KeyValue::new("lookup.outcome", outcome));
        if !error.is_empty() {
            self.fail(error);
        }
    }

    /// It is over. One that is dropped without is over too.
    pub fn end(&self) {
        if let Some(open) = &self.0 {
            open.context.span().end();
        }
    }

    fn set(&self, attribute: KeyValue) {
        if let Some(open) = &self.0 {
            open.context.span().set_attribute(attribute);
        }
    }

    fn set_failed(&self) {
        if let Some(open) = &self.0 {
            open.context.span().set_status(Status::error(""));
        }
    }
}

impl Open {
    fn span_id(&self) -> SpanId {
        self.context.span().span_context().span_id()
    }
}

/// Shows nothing of where spans go.
impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_tuple("Span").field(&self.is_on()).finish()
    }
}

/// `OPERATION DESTINATION`; the template where there is one, since names of reply queues are many.
pub(super) fn named(operation: &str, attributes: &[KeyValue]) -> SpanBuilder {
    let of = |key: &str| {
        attributes
            .iter()
            .find(|attribute| attribute.key.as_str() == key)
    };
    let destination =
        of("messaging.destination.template").or_else(|| of("messaging.destination.name"));
    SpanBuilder::from_name(format!(
        "{operation} {}",
        destination.map(|it| it.value.as_str()).unwrap_or_default()
    ))
}

pub(super) fn link(context: &Context) -> Link {
    Link::with_context(context.span().span_context().clone())
}
