//! A provider that answers as Antsomi and as Plume do: what it is asked for is the customer. In a process of its own,
//! so that what it costs is not counted as the worker's.

use std::{
    convert::Infallible,
    env,
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};

use crate::{
    keeper::free_ports,
    wire::{Certificate, Certified, Wire},
    worker::Process,
};

/// What the worker has to show.
pub const TOKEN: &str = "a-token-for-the-benchmark";

/// A process that runs [`serve`]; dropped, it ends.
pub struct Provider {
    port: u16,
    wire: Wire,
    certificate: Option<Certificate>,
    _process: Process,
}

impl Provider {
    /// One that takes so long for an answer.
    pub fn start(wire: Wire, delay: Duration) -> Self {
        let [port] = free_ports();
        let certificate = (wire != Wire::Plain).then(Certificate::new);
        let mut command = Command::new(env::current_exe().expect("this program"));
        command.args([
            "--provider",
            &port.to_string(),
            "--delay-ms",
            &delay.as_millis().to_string(),
            "--wire",
            &wire.word(),
        ]);
        if let Some(certificate) = &certificate {
            command.arg("--certificate");
            command.args([certificate.file(), certificate.key()]);
        }
        let process = Process::start(command.stdin(Stdio::null()));
        let give_up = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < give_up, "the provider does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        Self {
            port,
            wire,
            certificate,
            _process: process,
        }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.wire.scheme(), self.port)
    }

    /// What is to be trusted, where it speaks https.
    pub fn certificate(&self) -> Option<PathBuf> {
        self.certificate.as_ref().map(Certificate::file)
    }
}

/// Answers for ever.
pub async fn serve(port: u16, certified: Option<Certified>, delay: Duration) {
    let certified = certified.map(Rc::new);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("the port");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let Some(certified) = certified.clone() else {
            tokio::spawn(converse(stream, false, delay));
            continue;
        };
        tokio::task::spawn_local(async move {
            if let Ok(stream) = certified.accept(stream).await {
                converse(stream, certified.speaks_h2, delay).await;
            }
        });
    }
}

/// Over one connection, until it ends.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    h2: bool,
    delay: Duration,
) {
    let service = service_fn(move |request| async move {
        if !delay.is_zero() {
            // A thread's sleep is more exact than the runtime's milliseconds.
            let _ = tokio::task::spawn_blocking(move || thread::sleep(delay)).await;
        }
        Ok::<_, Infallible>(answer(&request))
    });
    let stream = TokioIo::new(stream);
    let _ = if h2 {
        http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(128)
            .serve_connection(stream, service)
            .await
    } else {
        http1::Builder::new()
            .serve_connection(stream, service)
            .await
    };
}

fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let token = request
        .headers()
        .get(AUTHORIZATION)
        .map(|header| header.to_str().unwrap_or_default())
        .map(|header| header.strip_prefix("Bearer ").unwrap_or(header));
    let body = Some(request.uri())
        .filter(|_| token == Some(TOKEN))
        .and_then(|address| antsomi(address.query()?).or_else(|| plume(address.path())));
    let status = match body {
        Some(_) => StatusCode::OK,
        None => StatusCode::FORBIDDEN,
    };
    let body = body.unwrap_or_else(|| json!({ "code": 301, "message": "Permission denied" }));
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("application/json"),
    );
    response
}

/// Asked for a number, it knows the customer of that number.
fn antsomi(parameters: &str) -> Option<Value> {
    let number = parameters
        .split('&')
        .find_map(|parameter| parameter.strip_prefix("phone_number="))?;
    let entry = json!({ "customer_id": { "value": number }, "phone": { "value": number } });
    let data = json!({ "entries": [entry], "meta": { "total": 1 } });
    Some(json!({ "code": 200, "message": "Success", "data": data, "codeMessage": null }))
}

/// Asked for an account, it knows the customer of that account.
fn plume(path: &str) -> Option<Value> {
    let account = path.strip_prefix("/api/Partners/customers/search/")?;
    let customer = json!({
        "id": account, "accountId": account, "name": "Ann Arbour", "email": "ann@example.com",
        "locations": [{ "id": "5f4e3d2c1b0a99887766554a", "name": "Home" }],
    });
    Some(json!([customer]))
}
