//! Connections: requests in, deliveries out, whole or broken as they were decided to be.

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header::CONTENT_LENGTH};
use http_body_util::{BodyExt, Limited};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    control,
    fault::Damage,
    port::{Delivery, Port},
    wire::{Ask, Reply},
};

/// Longest request body; lookups are short.
const MAX_BODY: usize = 1024 * 1024;

/// Accepts connections for ever; dropping it ends them all.
pub(super) async fn accept(listener: TcpListener, port: Arc<Port>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(converse(stream, Arc::clone(&port)))),
            // Out of file descriptors, most likely: some come back as connections end.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, port: Arc<Port>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| respond(Arc::clone(&port), request));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = (&mut connection).await
        && error.source().is_some_and(<dyn Error>::is::<Reset>)
    {
        // Closing with nothing to linger for makes the kernel send RST instead of FIN.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

async fn respond(port: Arc<Port>, request: Request<Incoming>) -> Result<Response<Parcel>, Reset> {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return Ok(response(
            Reply::text(413, "text/plain", "the body is too long or was cut short\n"),
            false,
        ));
    };
    let ask = Ask::new(head, body.to_bytes());
    if let Some(reply) = control::answer(&port, &ask) {
        return Ok(response(reply, false));
    }
    let (delivery, _in_flight) = port.take(&ask, arrived);
    let outcome = deliver(delivery).await;
    if port.log {
        let status = outcome.as_ref().map_or("reset".to_owned(), |response| {
            response.status().as_u16().to_string()
        });
        eprintln!(
            "{} {} {} {status} {} ms",
            port.kind,
            ask.method,
            ask.target,
            arrived.elapsed().as_millis()
        );
    }
    outcome
}

async fn deliver(delivery: Delivery) -> Result<Response<Parcel>, Reset> {
    if !delivery.latency.is_zero() {
        tokio::time::sleep(delivery.latency).await;
    }
    match delivery.damage {
        Some(Damage::Reset) => Err(Reset),
        Some(Damage::Hang) => std::future::pending().await,
        // Where there is no body to cut, the cut comes before it.
        Some(Damage::Truncate) if delivery.reply.body.len() < 2 => Err(Reset),
        damage => Ok(response(delivery.reply, damage == Some(Damage::Truncate))),
    }
}

fn response(reply: Reply, cut: bool) -> Response<Parcel> {
    let mut builder = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        builder = builder.header(name, value);
    }
    // The descriptor's tests may hold what no header can.
    for (name, value) in reply.more {
        let (name, value) = (HeaderName::try_from(name), HeaderValue::try_from(value));
        if let (Ok(name), Ok(value), Some(headers)) = (name, value, builder.headers_mut()) {
            headers.insert(name, value);
        }
    }
    let whole = reply.body.len();
    let parcel = if cut {
        builder = builder.header(CONTENT_LENGTH, whole);
        Parcel {
            data: Some(reply.body.slice(..whole / 2)),
            cut: Cut::Coming,
        }
    } else {
        Parcel {
            data: Some(reply.body).filter(|body| !body.is_empty()),
            cut: Cut::No,
        }
    };
    builder
        .body(parcel)
        .expect("headers of the sandbox's own making")
}

/// A response's body, which may end too early.
struct Parcel {
    data: Option<Bytes>,
    cut: Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    No,
    Coming,
    Now,
}

impl Body for Parcel {
    type Data = Bytes;
    type Error = Reset;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context,
    ) -> Poll<Option<Result<Frame<Bytes>, Reset>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match self.cut {
            Cut::No => Poll::Ready(None),
            Cut::Coming => {
                // The server flushes while the body is pending: so the first half does arrive.
                self.cut = Cut::Now;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Cut::Now => Poll::Ready(Some(Err(Reset))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.cut == Cut::No
    }

    fn size_hint(&self) -> SizeHint {
        match (self.cut, &self.data) {
            (Cut::No, data) => {
                SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64))
            }
            _ => SizeHint::default(),
        }
    }
}

/// The exchange ends here, without an answer.
#[derive(Debug)]
struct Reset;

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("ended on request")
    }
}

impl Error for Reset {}
