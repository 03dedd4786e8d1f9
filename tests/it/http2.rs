//! HTTP/2: a provider that refuses streams, says goodbye, resets, breaks or falls silent at any moment. Each job is
//! answered once, and what the provider says it did not process counts as none.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use lookup_worker::{
    embedded::Embedded,
    job::Envelope,
    result::{LookupResult, Status},
    settings,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use crate::{reuse, tls::Authority};

/// What the provider makes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Answer,
    /// `REFUSED_STREAM`.
    Refuse,
    /// `GOAWAY` that leaves this request out, with this code; then it closes.
    Goodbye(u32),
    /// `GOAWAY` that takes this request in, which it does not answer; then it closes.
    GoodbyeAfter,
    /// Another `RST_STREAM`.
    Reset,
    /// Closes the connection.
    Cut,
    /// Reads and answers nothing any more, not even pings.
    Silence,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    /// Of them those on which HTTP/2 was agreed on.
    agreed: usize,
    /// Requests that it processed, whether or not it answered.
    processed: usize,
    requests: usize,
    /// Connections that are there.
    open: usize,
    most_at_once: usize,
}

/// A provider that speaks HTTP/2 without TLS, frame by frame.
struct Provider {
    base: String,
    seen: Arc<Mutex<Seen>>,
}

/// Its mood by the number of the connection and the number of the request on it, both from 0.
type Moods = Arc<dyn Fn(usize, usize) -> Mood + Send + Sync>;

impl Provider {
    async fn start(moods: impl Fn(usize, usize) -> Mood + Send + Sync + 'static) -> Self {
        Self::with_room(100, moods).await
    }

    /// With so many streams at once on a connection.
    async fn with_room(
        room: u32,
        moods: impl Fn(usize, usize) -> Mood + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (seen, moods): (Arc<Mutex<Seen>>, Moods) = (Arc::default(), Arc::new(moods));
        let all = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = all.lock().unwrap().connections;
                all.lock().unwrap().connections += 1;
                let (seen, moods) = (Arc::clone(&all), Arc::clone(&moods));
                tokio::spawn(async move {
                    let _ = serve(stream, number, room, &seen, &moods).await;
                });
            }
        });
        Self { base, seen }
    }

    /// One that speaks TLS and lets its clients choose.
    async fn behind(acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("https://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let (all, moods): (_, Moods) = (Arc::clone(&seen), Arc::new(|_, _| Mood::Answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                all.lock().unwrap().connections += 1;
                all.lock().unwrap().open += 1;
                let (acceptor, all) = (acceptor.clone(), Arc::clone(&all));
                let moods = Arc::clone(&moods);
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                            all.lock().unwrap().agreed += 1;
                            let _ = serve(stream, 0, 250, &all, &moods).await;
                        } else {
                            reuse::serve(stream, usize::MAX, Arc::default()).await;
                        }
                    }
                    all.lock().unwrap().open -= 1;
                });
            }
        });
        Self { base, seen }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    async fn nobody_connected(&self) {
        while self.seen().open > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

const BODY: &[u8] = br#"{"code":200,"message":"Success","data":{"entries":[]}}"#;

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    room: u32,
    seen: &Mutex<Seen>,
    moods: &Moods,
) -> std::io::Result<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    let mut settings = vec![0, 3];
    settings.extend(room.to_be_bytes());
    stream.write_all(&frame(4, 0, 0, &settings)).await?;
    let (mut number, mut open) = (0, BTreeSet::new());
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        match (head[3], head[4]) {
            (1, _) => {}
            (4, 0) => {
                stream.write_all(&frame(4, 1, 0, &[])).await?;
                continue;
            }
            (6, 0) => {
                stream.write_all(&frame(6, 1, 0, &payload)).await?;
                continue;
            }
            // What was on its way has come, so as many as may be are open at once.
            (6, 1) => {
                for id in std::mem::take(&mut open) {
                    stream.write_all(&answer(id)).await?;
                }
                continue;
            }
            _ => continue,
        }
        let mood = moods(connection, number);
        number += 1;
        {
            let mut seen = seen.lock().unwrap();
            seen.requests += 1;
            let processed = !matches!(mood, Mood::Refuse | Mood::Goodbye(_));
            seen.processed += usize::from(processed);
        }
        match mood {
            Mood::Answer => {
                open.insert(id);
                let most = open.len();
                {
                    let mut seen = seen.lock().unwrap();
                    seen.most_at_once = seen.most_at_once.max(most);
                }
                stream.write_all(&frame(6, 0, 0, &[0; 8])).await?;
            }
            Mood::Refuse => stream.write_all(&reset(id, 7)).await?,
            Mood::Reset => stream.write_all(&reset(id, 2)).await?,
            Mood::Goodbye(code) => {
                return goodbye(&mut stream, id.saturating_sub(2), code, &open).await;
            }
            Mood::GoodbyeAfter => return goodbye(&mut stream, id, 0, &open).await,
            Mood::Cut => return Ok(()),
            Mood::Silence => std::future::pending().await,
        }
    }
}

/// Says goodbye, answers what is open, and closes once the other end has.
async fn goodbye(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    last: u32,
    code: u32,
    open: &BTreeSet<u32>,
) -> std::io::Result<()> {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    let text = b"84907089782 is nobody's business";
    stream
        .write_all(&frame(7, 0, 0, &[&payload[..], text].concat()))
        .await?;
    for id in open {
        stream.write_all(&answer(*id)).await?;
    }
    stream.shutdown().await?;
    // To close with something unread would take back what was sent.
    tokio::io::copy(stream, &mut tokio::io::sink()).await?;
    Ok(())
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &id.to_be_bytes(), payload].concat()
}

fn reset(id: u32, code: u32) -> Vec<u8> {
    frame(3, 0, id, &code.to_be_bytes())
}

fn answer(id: u32) -> Vec<u8> {
    // `:status: 200` of HPACK's static table.
    [frame(1, 4, id, &[0x88]), frame(0, 1, id, BODY)].concat()
}

/// Lookups of as many phones, all at once.
async fn lookups(base: &str, keys: &str, count: usize) -> Vec<LookupResult> {
    Asking::new(base, keys).ask(count).await
}

struct Asking(Embedded);

impl Asking {
    fn new(base: &str, keys: &str) -> Self {
        Self::speaking("2", base, keys)
    }

    fn speaking(http: &str, base: &str, keys: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        // Whoever waits for a backoff fails the test.
        write!(
            file,
            "[retry]\nmax_attempts = 3\ninitial_delay = \"10m\"\nmax_delay = \"10m\"\n[providers.antsomi]\nkind = \
             \"antsomi\"\nbase_url = \"{base}\"\ntoken = \"the-secret\"\nhttp = \"{http}\"\nbatch = {{ max_size = 1 }}\n{keys}\n"
        )
        .unwrap();
        Self(Embedded::new(&settings::load(Some(file.path())).unwrap()).unwrap())
    }

    async fn ask(&self, count: usize) -> Vec<LookupResult> {
        self.ask_within(count, "null").await
    }

    async fn ask_within(&self, count: usize, deadline_ms: &str) -> Vec<LookupResult> {
        self.ask_by("antsomi", count, deadline_ms).await
    }

    async fn ask_by(&self, key: &str, count: usize, deadline_ms: &str) -> Vec<LookupResult> {
        let envelope = Envelope {
            routing_key: key.into(),
            ..Envelope::default()
        };
        let asking = (0..count).map(|number| {
            let body = format!(
                r#"{{"query":{{"phone":"84907{number:06}"}},"deadline_ms":{deadline_ms}}}"#
            );
            let job = self.0.read(&envelope, body.as_bytes()).unwrap();
            self.0.answer(job)
        });
        join_all(asking).await
    }
}

const FREE: &str = "quota = \"none\"";

/// How many results there are of each status, with their attempts.
fn tally(results: &[LookupResult]) -> BTreeMap<(String, u32), usize> {
    let mut tally = BTreeMap::new();
    for result in results {
        let kind = result
            .error
            .as_ref()
            .map_or("not_found", |error| error.kind.as_str());
        assert!(result.error.is_some() || result.status == Status::NotFound);
        *tally.entry((kind.to_owned(), result.attempts)).or_default() += 1;
    }
    tally
}

fn all(count: usize, kind: &str, attempts: u32) -> BTreeMap<(String, u32), usize> {
    BTreeMap::from([((kind.to_owned(), attempts), count)])
}

#[tokio::test]
async fn what_the_provider_did_not_process_is_asked_again_at_once_and_counts_as_none() {
    const JOBS: usize = 40;
    for mood in [Mood::Refuse, Mood::Goodbye(0), Mood::Goodbye(11)] {
        for at in [0, 1, JOBS / 2, JOBS - 1] {
            let provider = Provider::start(move |connection, request| {
                let now = connection == 0 && request == at;
                if now { mood } else { Mood::Answer }
            })
            .await;
            let results = lookups(&provider.base, FREE, JOBS).await;
            assert_eq!(
                tally(&results),
                all(JOBS, "not_found", 1),
                "{mood:?} at {at}"
            );
            assert_eq!(provider.seen().processed, JOBS, "{mood:?} at {at}");
        }
    }
}

#[tokio::test]
async fn a_provider_that_refuses_everything_is_not_asked_for_ever() {
    let provider = Provider::start(|_, _| Mood::Refuse).await;
    let once = format!("{FREE}\nretry = {{ max_attempts = 1 }}");
    let results = lookups(&provider.base, &once, 1).await;
    assert_eq!(tally(&results), all(1, "connection", 1));
    assert_eq!(provider.seen().requests, 4);
}

#[tokio::test]
async fn a_used_connection_that_breaks_before_the_answer_is_another_attempt_at_once() {
    for mood in [Mood::Cut, Mood::GoodbyeAfter] {
        let provider = Provider::start(move |connection, request| {
            let now = connection == 0 && request == 1;
            if now { mood } else { Mood::Answer }
        })
        .await;
        let asking = Asking::new(&provider.base, FREE);
        assert_eq!(tally(&asking.ask(1).await), all(1, "not_found", 1));
        let begun = Instant::now();
        assert_eq!(
            tally(&asking.ask(1).await),
            all(1, "not_found", 2),
            "{mood:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(20), "no backoff");
        let seen = provider.seen();
        assert_eq!((seen.processed, seen.connections), (3, 2));
    }
}

#[tokio::test]
async fn so_is_it_for_all_that_waits_on_that_connection() {
    const JOBS: usize = 30;
    let provider = Provider::start(|connection, request| {
        let now = connection == 0 && request == 1 + JOBS / 2;
        if now { Mood::Cut } else { Mood::Answer }
    })
    .await;
    // Were each a failure for the circuit, it would open.
    let keys = format!("{FREE}\nbreaker = {{ failures = 3, cooldown = \"1h\" }}");
    let asking = Asking::new(&provider.base, &keys);
    assert_eq!(tally(&asking.ask(1).await), all(1, "not_found", 1));
    let tally = tally(&asking.ask(JOBS).await);
    let answered = |attempts| {
        tally
            .get(&("not_found".to_owned(), attempts))
            .copied()
            .unwrap_or(0)
    };
    assert_eq!(answered(1) + answered(2), JOBS, "{tally:?}");
    assert!(answered(2) > 0);
    assert_eq!(provider.seen().connections, 2);
}

#[tokio::test]
async fn a_reset_of_another_kind_is_a_failure_of_that_request_alone() {
    let provider = Provider::start(|_, request| {
        if request == 3 {
            Mood::Reset
        } else {
            Mood::Answer
        }
    })
    .await;
    let results = lookups(
        &provider.base,
        &format!("{FREE}\nretry = {{ max_attempts = 1 }}"),
        10,
    )
    .await;
    let mut expected = all(9, "not_found", 1);
    expected.extend(all(1, "connection", 1));
    assert_eq!(tally(&results), expected);
    let failed = results
        .iter()
        .find_map(|result| result.error.as_ref())
        .unwrap();
    assert!(failed.message.contains("HTTP/2"), "{}", failed.message);
    assert_eq!(provider.seen().connections, 1);
}

#[tokio::test]
async fn a_connection_that_fell_silent_is_given_up_within_seconds() {
    let provider = Provider::start(|connection, request| {
        if connection == 0 && request == 1 {
            Mood::Silence
        } else {
            Mood::Answer
        }
    })
    .await;
    let asking = Asking::new(&provider.base, &format!("{FREE}\ntimeout = \"1m\""));
    assert_eq!(tally(&asking.ask(1).await), all(1, "not_found", 1));
    assert_eq!(tally(&asking.ask(1).await), all(1, "not_found", 2));
}

#[tokio::test]
async fn no_more_streams_are_open_than_the_provider_allows() {
    const ROOM: u32 = 3;
    let provider = Provider::with_room(ROOM, |_, _| Mood::Answer).await;
    let asking = Asking::new(&provider.base, FREE);
    // Until its settings have come nobody knows of them.
    assert_eq!(tally(&asking.ask(1).await), all(1, "not_found", 1));
    assert_eq!(tally(&asking.ask(40).await), all(40, "not_found", 1));
    let seen = provider.seen();
    assert!(seen.most_at_once <= ROOM as usize, "{}", seen.most_at_once);
    assert_eq!((seen.connections, seen.processed), (1, 41));
}

#[tokio::test]
async fn no_window_of_a_quota_holds_more_requests_than_it_allows_whatever_breaks() {
    const QUOTA: usize = 12;
    let moods = [
        Mood::Cut,
        Mood::GoodbyeAfter,
        Mood::Refuse,
        Mood::Reset,
        Mood::Goodbye(0),
    ];
    let provider = Provider::start(move |connection, request| match request {
        2 => moods[connection % moods.len()],
        _ => Mood::Answer,
    })
    .await;
    let quota = format!(
        "quota = {{ requests = {QUOTA}, per = \"1h\", scope = \"worker\", reserve = 0.0 }}\n"
    );
    let asking = Asking::new(&provider.base, &quota);
    asking.ask_within(30, "3000").await;
    let processed = provider.seen().processed;
    assert!((1..=QUOTA).contains(&processed), "{processed}");
}

#[tokio::test]
async fn no_error_shows_what_a_goodbye_says() {
    let provider = Provider::start(|_, _| Mood::Goodbye(11)).await;
    let results = lookups(
        &provider.base,
        &format!("{FREE}\nretry = {{ max_attempts = 1 }}"),
        1,
    )
    .await;
    let error = results[0].error.as_ref().unwrap();
    assert_eq!(error.kind.as_str(), "connection");
    assert!(!error.message.contains("84907"), "{}", error.message);
}

/// A server of this authority that offers these, in this order.
fn offering(authority: &Authority, protocols: &[&str]) -> TlsAcceptor {
    let mut server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            authority.certificates("server.pem"),
            authority.key("server.key"),
        )
        .unwrap();
    server.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().into())
        .collect();
    TlsAcceptor::from(Arc::new(server))
}

#[tokio::test]
async fn many_lookups_share_a_connection_where_both_sides_agree_on_http_2() {
    let authority = Authority::new();
    let provider = Provider::behind(offering(&authority, &["h2", "http/1.1"])).await;
    let keys = format!("{FREE}\n{}concurrency = 128", authority.ca());
    let asking = Asking::speaking("auto", &provider.base, &keys);
    for _ in 0..2 {
        assert_eq!(tally(&asking.ask(128).await), all(128, "not_found", 1));
    }
    let seen = provider.seen();
    assert_eq!(seen.processed, 256);
    assert!(seen.connections <= 4, "{} connections", seen.connections);
}

#[tokio::test]
async fn over_http_1_1_there_are_no_more_connections_than_lookups_in_flight() {
    const IN_FLIGHT: usize = 64;
    let authority = Authority::new();
    let provider = Provider::behind(offering(&authority, &["http/1.1"])).await;
    let keys = format!("{FREE}\n{}concurrency = {IN_FLIGHT}", authority.ca());
    let asking = Asking::speaking("auto", &provider.base, &keys);
    // Calls wait for nothing, so all that may be are in flight at once; and bulk comes in where they were.
    for key in ["antsomi.interactive", "antsomi.interactive", "antsomi"] {
        for _ in 0..2 {
            let results = asking.ask_by(key, 4 * IN_FLIGHT, "null").await;
            assert_eq!(tally(&results), all(4 * IN_FLIGHT, "not_found", 1), "{key}");
        }
        // One more is there to agree on the version.
        let connections = provider.seen().connections;
        assert!(connections <= IN_FLIGHT + 1, "{key}: {connections}");
    }
}

#[tokio::test]
async fn so_it_is_in_a_burst_after_connections_were_idle_for_too_long() {
    const IN_FLIGHT: usize = 32;
    let authority = Authority::new();
    let provider = Provider::behind(offering(&authority, &["http/1.1"])).await;
    let keys = format!("{FREE}\n{}concurrency = {IN_FLIGHT}", authority.ca());
    let asking = Asking::speaking("auto", &provider.base, &keys);
    for burst in 1..=2 {
        let calls = asking.ask_by("antsomi.interactive", 4 * IN_FLIGHT, "null");
        assert_eq!(tally(&calls.await), all(4 * IN_FLIGHT, "not_found", 1));
        let connections = provider.seen().connections;
        assert!(
            connections <= burst * IN_FLIGHT + 1,
            "{burst}: {connections}"
        );
        provider.nobody_connected().await;
    }
}

#[tokio::test]
async fn http_1_1_is_spoken_where_it_is_asked_for_or_nothing_else_is_offered_or_a_quota_needs_it() {
    const SHARED: &str = "quota = { requests = 100, per = \"1m\" }";
    let authority = Authority::new();
    let both = &["h2", "http/1.1"][..];
    for (http, offered, quota) in [
        ("1.1", both, FREE),
        ("auto", &["http/1.1"], FREE),
        ("auto", &[], FREE),
        ("auto", both, SHARED),
    ] {
        let provider = Provider::behind(offering(&authority, offered)).await;
        let keys = format!("{quota}\n{}", authority.ca());
        let asking = Asking::speaking(http, &provider.base, &keys);
        assert_eq!(
            tally(&asking.ask(5).await),
            all(5, "not_found", 1),
            "{http} {quota}"
        );
        assert_eq!(provider.seen().agreed, 0, "{http} {offered:?} {quota}");
    }
}

#[test]
fn a_quota_of_all_workers_together_is_kept_over_http_1_1_alone() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(
        file,
        "[providers.antsomi]\nkind = \"antsomi\"\nbase_url = \"https://a.example\"\ntoken = \"x\"\nhttp = \"2\"\n"
    )
    .unwrap();
    let refused = settings::load(Some(file.path())).unwrap_err().to_string();
    assert!(refused.contains("`providers.antsomi.http`"), "{refused}");
}
