//! Connections over HTTP/1.1: those that are used again and break by that, and those that never come about.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use lookup_worker::{
    embedded::Embedded,
    job::Envelope,
    result::{LookupResult, Status},
    settings,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 34\r\n\r\n\
                        {\"code\":200,\"data\":{\"entries\":[]}}";

/// A provider that answers so many requests on each connection, and closes it when it has read one more.
struct Provider {
    base: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Provider {
    async fn start(answers: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self {
            base: format!("http://{}", listener.local_addr().unwrap()),
            connections: Arc::default(),
            requests: Arc::default(),
        };
        let (connections, requests) = (
            Arc::clone(&provider.connections),
            Arc::clone(&provider.requests),
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, answers, Arc::clone(&requests)));
            }
        });
        provider
    }

    fn seen(&self) -> (usize, usize) {
        (
            self.connections.load(Ordering::Relaxed),
            self.requests.load(Ordering::Relaxed),
        )
    }
}

pub async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answers: usize,
    requests: Arc<AtomicUsize>,
) {
    let (mut head, mut left) = (Vec::new(), answers);
    while stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        head.clear();
        requests.fetch_add(1, Ordering::Relaxed);
        if left == 0 {
            return;
        }
        left -= 1;
        stream.write_all(ANSWER).await.unwrap();
    }
}

struct Asking(Embedded);

impl Asking {
    fn new(base: &str, keys: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        // Whoever waits for a backoff fails the test.
        write!(
            file,
            "[retry]\nmax_attempts = 2\ninitial_delay = \"10m\"\nmax_delay = \"10m\"\n[providers.antsomi]\nkind = \
             \"antsomi\"\nbase_url = \"{base}\"\ntoken = \"the-secret\"\nbatch = {{ max_size = 1 }}\n{keys}\n"
        )
        .unwrap();
        Self(Embedded::new(&settings::load(Some(file.path())).unwrap()).unwrap())
    }

    async fn ask(&self, phone: u32) -> LookupResult {
        let envelope = Envelope {
            routing_key: "antsomi".into(),
            ..Envelope::default()
        };
        let body = format!(r#"{{"query":{{"phone":"84907{phone:06}"}},"deadline_ms":60000}}"#);
        let job = self.0.read(&envelope, body.as_bytes()).unwrap();
        self.0.answer(job).await
    }
}

#[tokio::test]
async fn a_used_connection_that_closes_before_the_answer_is_another_attempt_at_once_on_a_new_one() {
    let provider = Provider::start(1).await;
    // Were each a failure for the circuit, the third would wait.
    let keys = "quota = \"none\"\nbreaker = { failures = 1, cooldown = \"1h\" }";
    let asking = Asking::new(&provider.base, keys);
    for number in 0..20 {
        let result = asking.ask(number).await;
        assert_eq!(result.status, Status::NotFound, "{number}: {result:?}");
        // The one that the second request of each two was made on again is not kept.
        assert_eq!(result.attempts, 1 + number % 2, "{number}");
    }
    assert_eq!(provider.seen(), (20, 30));
}

#[tokio::test]
async fn it_counts_for_the_quota() {
    let provider = Provider::start(1).await;
    let quota = "quota = { requests = 5, per = \"1h\", scope = \"worker\", reserve = 0.0 }";
    let asking = Asking::new(&provider.base, quota);
    // One request, two, and one; then the fifth breaks, and there is no leave for a sixth.
    for number in 0..3 {
        assert_eq!(asking.ask(number).await.status, Status::NotFound);
    }
    let last = tokio::time::timeout(Duration::from_secs(2), asking.ask(3)).await;
    assert!(last.is_err(), "{last:?}");
    assert_eq!(provider.seen().1, 5);
}

#[tokio::test]
async fn a_new_connection_that_closes_before_the_answer_is_a_failure() {
    let provider = Provider::start(0).await;
    let asking = Asking::new(
        &provider.base,
        "quota = \"none\"\nretry = { max_attempts = 1 }",
    );
    let result = asking.ask(0).await;
    // There is no further attempt that the deadline could come before.
    assert_eq!(result.error.unwrap().kind.as_str(), "connection");
    assert_eq!(provider.seen(), (1, 1));
}

/// An address that takes connections into its queue and no more: those beyond get no answer at all.
async fn silent() -> (TcpListener, Vec<TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket
        .bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0).into())
        .unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        queued.push(stream);
    }
    (listener, queued)
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_given_up_after_the_connect_timeout() {
    let (listener, _queued) = silent().await;
    let base = format!("http://{}", listener.local_addr().unwrap());
    let keys = "quota = \"none\"\nconnect_timeout = \"200ms\"\ntimeout = \"40s\"\nretry = { max_attempts = 1 }";
    let begun = Instant::now();
    let result = Asking::new(&base, keys).ask(0).await;
    let message = result.error.unwrap().message;
    assert!(
        message.contains("no connection to the provider within 200 ms"),
        "{message}"
    );
    assert!(begun.elapsed() < Duration::from_secs(20));
}
