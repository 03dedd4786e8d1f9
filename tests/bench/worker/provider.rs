//! A provider of kind antsomi that does nothing else: the number that it is asked for is the customer. In a process
//! of its own, so that what it costs is not counted as the worker's.

use std::{
    convert::Infallible,
    env,
    net::{Ipv4Addr, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{keeper::free_ports, worker::Process};

/// What the worker has to show.
pub const TOKEN: &str = "a-token-for-the-benchmark";

/// A process that runs [`serve`]; dropped, it ends.
pub struct Provider {
    port: u16,
    _process: Process,
}

impl Provider {
    /// One that takes so long for an answer.
    pub fn start(delay: Duration) -> Self {
        let [port] = free_ports();
        let mut command = Command::new(env::current_exe().expect("this program"));
        command.args([
            "--provider",
            &port.to_string(),
            "--delay-ms",
            &delay.as_millis().to_string(),
        ]);
        let process = Process::start(command.stdin(Stdio::null()));
        let give_up = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < give_up, "the provider does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        Self {
            port,
            _process: process,
        }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Answers for ever.
pub async fn serve(port: u16, delay: Duration) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("the port");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request| async move {
            if !delay.is_zero() {
                // A thread's sleep is more exact than the runtime's milliseconds.
                let _ = tokio::task::spawn_blocking(move || thread::sleep(delay)).await;
            }
            Ok::<_, Infallible>(answer(&request))
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let token = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "));
    let parameters = request.uri().query().unwrap_or_default();
    let number = parameters
        .split('&')
        .find_map(|parameter| parameter.strip_prefix("phone_number="));
    let (status, body) = match (token, number) {
        (Some(TOKEN), Some(number)) => {
            let entry = json!({ "customer_id": { "value": number }, "phone": { "value": number } });
            let data = json!({ "entries": [entry], "meta": { "total": 1 } });
            let answer =
                json!({ "code": 200, "message": "Success", "data": data, "codeMessage": null });
            (StatusCode::OK, answer)
        }
        _ => (
            StatusCode::FORBIDDEN,
            json!({ "code": 301, "message": "Permission denied" }),
        ),
    };
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("application/json"),
    );
    response
}
