//! Providers that answer what no document lists: each becomes a failure of its class, in bounded memory, and the
//! credentials go to nobody else.

use std::{
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use lookup_worker::{
    embedded::Embedded,
    job::Envelope,
    result::{LookupResult, Status},
    sandbox::Kind,
    settings,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::road::Served;

/// A server that answers every request with the same bytes and then closes.
struct Fixed {
    base: String,
    requests: Arc<AtomicU32>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Fixed {
    async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (requests, heads) = (
            Arc::new(AtomicU32::new(0)),
            Arc::new(Mutex::new(Vec::new())),
        );
        let (count, seen) = (Arc::clone(&requests), Arc::clone(&heads));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, count, seen) = (answer.clone(), Arc::clone(&count), Arc::clone(&seen));
                tokio::spawn(async move {
                    let mut head = vec![0; 8192];
                    let length = stream.read(&mut head).await.unwrap_or(0);
                    count.fetch_add(1, Ordering::SeqCst);
                    seen.lock()
                        .unwrap()
                        .push(String::from_utf8_lossy(&head[..length]).into_owned());
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self {
            base,
            requests,
            heads,
        }
    }

    fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// One lookup of kind antsomi at `base`, with more keys for the provider.
async fn lookup(base: &str, keys: &str) -> LookupResult {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(
        file,
        "[retry]\nmax_attempts = 2\ninitial_delay = \"1ms\"\n[providers.antsomi]\nkind = \"antsomi\"\nbase_url = \
         \"{base}\"\nquota = \"none\"\n{keys}\n"
    )
    .unwrap();
    let settings = settings::load(Some(file.path())).unwrap();
    let embedded = Embedded::new(&settings).unwrap();
    let envelope = Envelope {
        routing_key: "antsomi".into(),
        ..Envelope::default()
    };
    let job = embedded
        .read(&envelope, br#"{"query":{"phone":"84907089782"}}"#)
        .unwrap();
    embedded.answer(job).await
}

const TOKEN: &str = "token = \"the-secret\"";

fn kind(result: &LookupResult) -> &'static str {
    result
        .error
        .as_ref()
        .map_or("", |error| error.kind.as_str())
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_credentials_stay_with_the_first_host() {
    let second = Fixed::start(answer("200 OK", br#"{"code":200,"data":{"entries":[]}}"#)).await;
    for status in [
        "301 Moved",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let first = Fixed::start(answer(
            &format!("{status}\r\nLocation: {}/elsewhere", second.base),
            b"",
        ))
        .await;
        let result = lookup(&first.base, TOKEN).await;
        assert_eq!(
            (kind(&result), result.attempts),
            ("bad_response", 1),
            "{status}"
        );
        assert!(first.heads.lock().unwrap()[0].contains("Bearer the-secret"));
    }
    assert_eq!(second.requests(), 0);
}

#[tokio::test]
async fn an_answer_over_the_limit_is_refused_whether_or_not_it_says_how_long_it_is() {
    let body = vec![b' '; 64 * 1024];
    let announced = answer("200 OK", &body);
    let until_close = [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".as_slice(),
        &body,
    ]
    .concat();
    for bytes in [announced, until_close] {
        let server = Fixed::start(bytes).await;
        let result = lookup(&server.base, &format!("{TOKEN}\nmax_response_bytes = 1000")).await;
        assert_eq!((kind(&result), result.attempts), ("bad_response", 1));
        assert!(result.error.unwrap().message.contains("max_response_bytes"));
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(body).unwrap();
    packer.finish().unwrap()
}

#[tokio::test]
async fn a_compressed_answer_is_read_whatever_the_case_of_its_coding() {
    let found = br#"{"code":200,"data":{"entries":[]}}"#;
    for coding in ["gzip", "GZIP", "x-gzip"] {
        let head = format!("200 OK\r\nContent-Encoding: {coding}");
        let server = Fixed::start(answer(&head, &gzip(found))).await;
        let result = lookup(&server.base, TOKEN).await;
        assert_eq!(result.status, Status::NotFound, "{coding}: {result:?}");
        let head = server.heads.lock().unwrap()[0].to_lowercase();
        assert!(
            head.contains("accept-encoding: gzip, br, zstd\r\n"),
            "{head}"
        );
    }
    for none in ["", "identity", "Identity"] {
        let head = format!("200 OK\r\nContent-Encoding: {none}");
        let server = Fixed::start(answer(&head, found)).await;
        assert_eq!(
            lookup(&server.base, TOKEN).await.status,
            Status::NotFound,
            "{none}"
        );
    }
}

#[tokio::test]
async fn of_a_compressed_answer_no_more_is_unpacked_than_an_answer_may_hold() {
    let bomb = gzip(&vec![b' '; 1024 * 1024]);
    assert!(bomb.len() < 10_000);
    let server = Fixed::start(answer("200 OK\r\nContent-Encoding: gzip", &bomb)).await;
    let result = lookup(
        &server.base,
        &format!("{TOKEN}\nmax_response_bytes = 10000"),
    )
    .await;
    assert_eq!(kind(&result), "bad_response");
    assert!(result.error.unwrap().message.contains("max_response_bytes"));
}

#[tokio::test]
async fn an_answer_that_is_packed_otherwise_or_not_as_it_says_is_refused() {
    for (coding, body, told) in [
        ("deflate", &b"x"[..], "Content-Encoding deflate"),
        ("hunter2", b"x", "of another name"),
        ("gzip, br", b"x", "of more than one name"),
        ("gzip", b"\x1f\x8b\x08\x00no", "Content-Encoding"),
    ] {
        let head = format!("200 OK\r\nContent-Encoding: {coding}");
        let server = Fixed::start(answer(&head, body)).await;
        let result = lookup(&server.base, TOKEN).await;
        assert_eq!(kind(&result), "bad_response", "{coding}");
        let message = result.error.unwrap().message;
        assert!(
            message.contains(told) && !message.contains("hunter2"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_coding_that_is_none_is_none_in_any_case_and_also_where_it_is_left_empty() {
    for coding in ["identity", "Identity", "IDENTITY", ""] {
        let head = format!("200 OK\r\nContent-Encoding: {coding}");
        let server = Fixed::start(answer(&head, br#"{"data":{"entries":[]}}"#)).await;
        let result = lookup(&server.base, TOKEN).await;
        assert_eq!(result.status, Status::NotFound, "{coding:?}: {result:?}");
    }
}

#[tokio::test]
async fn what_the_road_answers_in_the_provider_s_place_has_its_own_advice() {
    for (status, advice) in [
        ("304 Not Modified", "most likely a cache"),
        (
            "407 Proxy Authentication Required",
            "a proxy on the way wants credentials",
        ),
        (
            "511 Network Authentication Required",
            "the network wants a login first",
        ),
    ] {
        let server = Fixed::start(answer(status, b"")).await;
        let result = lookup(&server.base, TOKEN).await;
        let message = result.error.as_ref().unwrap().message.clone();
        assert!(message.contains(advice), "{status}: {message}");
    }
    let many: Vec<String> = (0..150).map(|n| format!("\r\nX-{n}: {n}")).collect();
    let many = many.concat();
    let server = Fixed::start(answer(&format!("200 OK{many}"), b"{}")).await;
    let result = lookup(&server.base, TOKEN).await;
    assert_eq!(kind(&result), "connection");
    let message = result.error.unwrap().message;
    assert!(message.contains("more than 100 headers"), "{message}");
}

#[tokio::test]
async fn of_any_status_but_200_the_status_decides_however_its_body_comes() {
    let gzip = answer(
        "503 Service Unavailable\r\nContent-Encoding: gzip",
        b"\x1f\x8b",
    );
    let large = answer("503 Service Unavailable", &vec![b'x'; 2000]);
    for bytes in [gzip, large] {
        let server = Fixed::start(bytes).await;
        let result = lookup(&server.base, &format!("{TOKEN}\nmax_response_bytes = 1000")).await;
        assert_eq!(
            (kind(&result), result.attempts),
            ("provider_error", 2),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_http_and_what_is_cut_short_is_a_matter_of_the_connection() {
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"code\":200".to_vec();
    for bytes in [b"SSH-2.0-OpenSSH\r\n".to_vec(), cut, Vec::new()] {
        let server = Fixed::start(bytes).await;
        let result = lookup(&server.base, TOKEN).await;
        assert_eq!(
            (kind(&result), result.attempts, server.requests()),
            ("connection", 2, 2),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn no_error_shows_the_number_or_the_token() {
    for bytes in [
        answer("500 Oops", b""),
        answer("200 OK", b"<html>"),
        Vec::new(),
    ] {
        let server = Fixed::start(bytes).await;
        let text = String::from_utf8(lookup(&server.base, TOKEN).await.to_json()).unwrap();
        assert!(
            !text.contains("84907089782") && !text.contains("the-secret"),
            "{text}"
        );
    }
    let closed = "http://127.0.0.1:1";
    let text = String::from_utf8(lookup(closed, TOKEN).await.to_json()).unwrap();
    assert!(
        text.contains(r#""kind":"connection""#) && !text.contains("84907089782"),
        "{text}"
    );
}

#[tokio::test]
async fn a_token_that_is_no_longer_let_in_is_renewed_once() {
    let sandbox = Served::start().await;
    for kind in [Kind::Egain, Kind::Plume] {
        let base = sandbox.base(kind);
        let (name, query) = match kind {
            Kind::Egain => ("egain", json!({"query": {"phone": "14082343456102"}})),
            _ => ("plume", json!({"query": {"account_id": "acc-1001"}})),
        };
        let oauth = format!(
            "oauth = {{ token_url = \"{base}{}\", client_id = \"sandbox-client\", client_secret = \"sandbox-secret\", \
             scope = \"{}\" }}",
            kind.token_path().unwrap(),
            kind.scope().unwrap_or_default()
        );
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "[providers.{name}]\nkind = \"{name}\"\nbase_url = \"{base}\"\nquota = \"none\"\n{oauth}\n")
            .unwrap();
        let embedded = Embedded::new(&settings::load(Some(file.path())).unwrap()).unwrap();
        let envelope = Envelope {
            routing_key: name.into(),
            ..Envelope::default()
        };
        let ask = async || {
            let job = embedded
                .read(&envelope, query.to_string().as_bytes())
                .unwrap();
            embedded.answer(job).await
        };
        let first = ask().await;
        assert_eq!(
            (first.status, first.attempts),
            (Status::Found, 1),
            "{name}: {first:?}"
        );
        // The server forgets the token: a 401, a new token, the answer.
        let url = format!("{base}/_sandbox/tokens");
        reqwest::Client::new().delete(url).send().await.unwrap();
        let second = ask().await;
        assert_eq!(
            (second.status, second.attempts),
            (Status::Found, 2),
            "{name}: {second:?}"
        );
        // A 401 to the new one too is final.
        sandbox.fault(kind, "", json!({"status": 401}), None).await;
        let third = ask().await;
        assert_eq!(
            (crate::hostile::kind(&third), third.attempts),
            ("unauthorized", 2),
            "{name}: {third:?}"
        );
        sandbox.clear_faults(kind).await;
    }
}
