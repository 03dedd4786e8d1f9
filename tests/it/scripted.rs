//! A provider that answers as a test tells it, request by request, and remembers when it was asked.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

/// What is answered: to the request of this number, from 0, with this head.
type Script = dyn Fn(usize, &str) -> Vec<u8> + Send + Sync;

/// The server, until it is dropped. It has a thread of its own.
pub struct Scripted {
    pub base: String,
    script: Arc<Mutex<Arc<Script>>>,
    asked: Arc<Mutex<Vec<Instant>>>,
    _end: oneshot::Sender<()>,
}

impl Scripted {
    pub async fn start(script: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let ((end, ended), (bound, is_bound)) = (oneshot::channel::<()>(), oneshot::channel());
        let script: Arc<Mutex<Arc<Script>>> = Arc::new(Mutex::new(Arc::new(script)));
        let asked = Arc::<Mutex<Vec<Instant>>>::default();
        let (said, times) = (Arc::clone(&script), Arc::clone(&asked));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let address = listener.local_addr().expect("its address");
                let _ = bound.send(format!("http://{address}"));
                let serve = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(talk(stream, Arc::clone(&said), Arc::clone(&times)));
                    }
                };
                tokio::select! {
                    () = serve => {}
                    _ = ended => {}
                }
            });
        });
        Self {
            base: is_bound.await.expect("a server"),
            script,
            asked,
            _end: end,
        }
    }

    /// Answers otherwise from now on; requests are counted on.
    pub fn say(&self, script: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static) {
        *self.script.lock().expect("no panic") = Arc::new(script);
    }

    /// When each request came.
    pub fn asked(&self) -> Vec<Instant> {
        self.asked.lock().expect("no panic").clone()
    }

    /// The time between one request and the next.
    pub fn pauses(&self) -> Vec<Duration> {
        let asked = self.asked();
        asked.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

/// One connection, until the other side closes it.
async fn talk(
    mut stream: TcpStream,
    script: Arc<Mutex<Arc<Script>>>,
    asked: Arc<Mutex<Vec<Instant>>>,
) {
    let mut read = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&read[..end]).into_owned();
                let body = head
                    .lines()
                    .filter_map(|line| line.split_once(':'))
                    .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                    .map_or(0, |(_, length)| length.trim().parse().unwrap_or(0));
                if read.len() >= end + 4 + body {
                    read.drain(..end + 4 + body);
                    break head;
                }
            }
            if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
                return;
            }
        };
        // So `check` asks whether there is anybody.
        if head.starts_with("GET / ") {
            if stream
                .write_all(&answer("404 Not Found", "", "{}"))
                .await
                .is_err()
            {
                return;
            }
            continue;
        }
        let number = {
            let mut asked = asked.lock().expect("no panic");
            asked.push(Instant::now());
            asked.len() - 1
        };
        let answer = Arc::clone(&script.lock().expect("no panic"))(number, &head);
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// An answer of this status line and these headers, each line ended by CR LF, with this body.
pub fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A customer, as Plume answers.
pub fn found() -> Vec<u8> {
    let body = r#"[{"id":"p1","accountId":"acc-1","name":"Ann","locations":[{"id":"l1"}]}]"#;
    answer("200 OK", "Content-Type: application/json\r\n", body)
}

/// A token endpoint's answer.
pub fn token(token: &str) -> Vec<u8> {
    let body = format!(r#"{{"access_token":"{token}","expires_in":3600}}"#);
    answer("200 OK", "Content-Type: application/json\r\n", &body)
}

/// What stands where the API should be: a page.
pub fn page(status: &str) -> Vec<u8> {
    let body = "<html><title>Maintenance</title>Back in five minutes</html>";
    answer(status, "Content-Type: text/html\r\n", body)
}
