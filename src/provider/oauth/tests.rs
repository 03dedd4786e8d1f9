use std::{collections::VecDeque, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Response, header::AUTHORIZATION};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Notify,
};
use url::Url;

use super::*;
use crate::config::{ClientSecretPlace, OAuthSettings};
use crate::provider::http::Options;

const SECRET: &str = "p&ss w+rd";
const LIMIT: Duration = Duration::from_secs(20);

fn settings(token_url: &str, auth: Option<ClientSecretPlace>) -> OAuthSettings {
    OAuthSettings {
        token_url: Url::parse(token_url).unwrap(),
        client_id: "worker".into(),
        client_secret: SECRET.into(),
        scope: Some("item,event profile".into()),
        auth,
        grant: None,
        refresh_token: None,
        kept: None,
    }
}

fn grant(dialect: Dialect) -> Grant {
    Grant::new(settings("https://login.example.com/token", None), dialect)
}

fn answer(status: u16, body: &str) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .body(Bytes::copy_from_slice(body.as_bytes()))
        .unwrap()
}

#[test]
fn the_secret_stands_in_the_form_or_in_the_header() {
    let request = grant(Dialect::ANTSOMI).request().unwrap();
    assert_eq!(request.method(), "POST");
    assert_eq!(
        request.headers()["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert_eq!(
        request.body(),
        "grant_type=client_credentials&scope=item%2Cevent+profile&client_id=worker&client_secret=p%26ss+w%2Brd"
    );
    assert!(!request.headers().contains_key(AUTHORIZATION));

    let request = grant(Dialect::PLUME).request().unwrap();
    assert_eq!(
        request.body(),
        "grant_type=client_credentials&scope=item%2Cevent+profile"
    );
    let header = request.headers()[AUTHORIZATION].to_str().unwrap();
    let pair = STANDARD
        .decode(header.strip_prefix("Basic ").unwrap())
        .unwrap();
    assert_eq!(pair, b"worker:p%26ss+w%2Brd");
}

#[test]
fn the_configuration_goes_before_the_kinds_own_way() {
    let grant = Grant::new(
        settings(
            "https://login.example.com/token",
            Some(ClientSecretPlace::Post),
        ),
        Dialect::PLUME,
    );
    assert!(
        grant
            .request()
            .unwrap()
            .body()
            .ends_with(b"client_secret=p%26ss+w%2Brd")
    );
}

#[test]
fn each_dialects_reply_is_read() {
    let now: Timestamp = "2023-08-10T11:41:57.643Z".parse().unwrap();
    let hour = Some(Duration::from_secs(3600));
    let rfc = r#"{"access_token":"abc","token_type":"Bearer","expires_in":3600}"#;
    let antsomi =
        r#"{"accessToken":"abc","accessTokenExpiresAt":"2023-08-10T12:41:57.643Z","scope":"item"}"#;
    for (dialect, body, life) in [
        (Dialect::RFC_6749, rfc, hour),
        (
            Dialect::PLUME,
            r#"{"access_token":"abc","expires_in":"3600"}"#,
            hour,
        ),
        (Dialect::RFC_6749, r#"{"access_token":"abc"}"#, None),
        (
            Dialect::RFC_6749,
            r#"{"access_token":"abc","expires_in":0}"#,
            Some(Duration::ZERO),
        ),
        (Dialect::ANTSOMI, antsomi, hour),
    ] {
        let token = grant(dialect).read(&answer(200, body), now).unwrap();
        assert_eq!(
            (token.secret.expose_secret(), token.life),
            ("abc", life),
            "{body}"
        );
    }
}

#[test]
fn an_answer_without_a_token_is_the_endpoints_bad_hour_and_says_what_was_expected() {
    let expected = "missing; expected a string that is not blank";
    let no_access_token = format!("`access_token`: {expected}");
    let no_other = format!("`accessToken`: {expected}");
    let (rfc, antsomi) = (Dialect::RFC_6749, Dialect::ANTSOMI);
    let doubled = r#"{"access_token":"a","access_token":"b"}"#;
    for (dialect, body, problem) in [
        (rfc, "<html>", "expected JSON"),
        (rfc, "", "expected JSON"),
        (rfc, "{}", &*no_access_token),
        (rfc, r#"{"access_token":" "}"#, &no_access_token),
        (rfc, r#"{"error":"Not Found"}"#, &no_access_token),
        (rfc, doubled, "duplicate field `access_token`"),
        (antsomi, r#"{"access_token":"a"}"#, &no_other),
    ] {
        let failure = grant(dialect)
            .read(&answer(200, body), Timestamp::UNIX_EPOCH)
            .unwrap_err();
        assert_eq!(failure.kind, ErrorKind::ProviderError, "{body}");
        let begin = format!("the token endpoint's HTTP 200 holds no token: {problem}");
        assert!(failure.message.starts_with(&begin), "{}", failure.message);
    }
}

#[test]
fn a_token_is_one_under_any_2xx_and_an_expiry_that_cannot_be_read_is_none() {
    let rfc = |expiry: &str| format!(r#"{{"access_token":"a","expires_in":{expiry}}}"#);
    let hour = Some(Duration::from_secs(3600));
    for status in [200, 201, 202, 203, 299] {
        let token = grant(Dialect::RFC_6749)
            .read(&answer(status, &rfc("3600")), Timestamp::UNIX_EPOCH)
            .unwrap();
        assert_eq!((token.secret.expose_secret(), token.life), ("a", hour));
    }
    for expiry in [
        "\"\"",
        "\"soon\"",
        "\"2026-11-29T01:00:00Z\"",
        "null",
        "true",
        "{}",
        "[3600]",
        "-1",
        "1e300",
    ] {
        let token = grant(Dialect::RFC_6749)
            .read(&answer(200, &rfc(expiry)), Timestamp::UNIX_EPOCH)
            .unwrap();
        assert_eq!(
            (token.secret.expose_secret(), token.life),
            ("a", None),
            "{expiry}"
        );
    }
    for expiry in ["3600", "\"3600\"", "3600.0"] {
        let token = grant(Dialect::RFC_6749)
            .read(&answer(200, &rfc(expiry)), Timestamp::UNIX_EPOCH)
            .unwrap();
        assert_eq!(token.life, hour, "{expiry}");
    }
    let antsomi = r#"{"accessToken":"a","accessTokenExpiresAt":"soon"}"#;
    let token = grant(Dialect::ANTSOMI)
        .read(&answer(200, antsomi), Timestamp::UNIX_EPOCH)
        .unwrap();
    assert_eq!(token.life, None);
}

#[test]
fn every_status_of_the_token_endpoint_has_its_class() {
    for (body, refused) in [
        ("{}", &[401, 403][..]),
        ("<html>", &[]),
        ("", &[]),
        (r#"{"error":"Bad Request"}"#, &[401, 403]),
    ] {
        for status in 100..=599 {
            let failure = grant(Dialect::PLUME)
                .read(&answer(status, body), Timestamp::UNIX_EPOCH)
                .unwrap_err();
            let expected = if refused.contains(&status) {
                ErrorKind::Unauthorized
            } else {
                ErrorKind::ProviderError
            };
            assert_eq!(
                (failure.kind, failure.http_status),
                (expected, Some(status)),
                "{body}"
            );
        }
    }
}

#[test]
fn an_oauth_error_object_refuses_the_client_whatever_the_status_but_for_a_servers_own() {
    let invalid = r#"{"error":"invalid_client","error_description":"no such client"}"#;
    let antsomi =
        r#"{"statusCode":400,"code":400,"message":"Invalid scope: x","name":"invalid_scope"}"#;
    let later = r#"{"error":"temporarily_unavailable"}"#;
    for (status, body, kind) in [
        (200, invalid, ErrorKind::Unauthorized),
        (400, invalid, ErrorKind::Unauthorized),
        (401, invalid, ErrorKind::Unauthorized),
        (400, antsomi, ErrorKind::Unauthorized),
        (400, later, ErrorKind::ProviderError),
        (404, invalid, ErrorKind::ProviderError),
        (429, invalid, ErrorKind::ProviderError),
        (503, invalid, ErrorKind::ProviderError),
    ] {
        let failure = grant(Dialect::RFC_6749)
            .read(&answer(status, body), Timestamp::UNIX_EPOCH)
            .unwrap_err();
        assert_eq!(failure.kind, kind, "HTTP {status}, {body}");
    }
}

#[test]
fn the_endpoints_words_are_told_unless_they_repeat_the_secret() {
    let said = |body: &str| {
        grant(Dialect::ANTSOMI)
            .read(&answer(400, body), Timestamp::UNIX_EPOCH)
            .unwrap_err()
            .said
    };
    let antsomi = r#"{"statusCode":400,"status":400,"code":400,"message":"Invalid scope: x","name":"invalid_scope"}"#;
    assert_eq!(
        said(antsomi).as_deref(),
        Some("invalid_scope: Invalid scope: x")
    );
    let rfc = r#"{"error":"invalid_client","error_description":"no such client"}"#;
    assert_eq!(said(rfc).as_deref(), Some("invalid_client: no such client"));
    assert_eq!(said(&format!(r#"{{"error":"wrong: {SECRET}"}}"#)), None);
    assert_eq!(said("<html>"), None);
}

/// A token endpoint that answers as told, one answer a request, and counts.
struct Endpoint {
    tokens: Arc<Tokens>,
    client: Client,
    asked: Arc<AtomicU64>,
    release: Arc<Notify>,
}

impl Endpoint {
    /// Each answer is a status and a body; with `held` none goes out before `release` is notified.
    async fn with(answers: &[(u16, &str)], held: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let token_url = format!("http://{}/token", listener.local_addr().unwrap());
        let mut answers: VecDeque<(u16, String)> = answers
            .iter()
            .map(|(status, body)| (*status, (*body).to_owned()))
            .collect();
        let (asked, release) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let (count, go) = (asked.clone(), release.clone());
        tokio::spawn(async move {
            while let Some((status, body)) = answers.pop_front() {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"client_secret=p%26ss+w%2Brd") {
                    assert_ne!(
                        stream.read_buf(&mut request).await.unwrap(),
                        0,
                        "the request is cut short"
                    );
                }
                count.fetch_add(1, Ordering::SeqCst);
                if held {
                    go.notified().await;
                }
                let head = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                stream
                    .write_all(format!("{head}{body}").as_bytes())
                    .await
                    .unwrap();
            }
        });
        let table = config_table();
        let url = Url::parse("https://example.egain.cloud").unwrap();
        let (configured, _) = Adapter::configure("providers.egain", "egain", &url, table);
        let (adapter, _) = configured.unwrap();
        let tokens = Arc::new(Tokens::new(
            adapter,
            Credentials::OAuth(settings(&token_url, None)),
        ));
        Self {
            tokens,
            client: Client::new(Options::default()).unwrap(),
            asked,
            release,
        }
    }

    async fn authorization(&self) -> Result<HeaderValue, Failure> {
        self.tokens
            .authorization(&self.client, LIMIT)
            .await
            .map(|access| access.value().clone())
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

fn config_table() -> ::config::Value {
    let token = ::config::Value::from("unused");
    ::config::Value::new(
        None,
        ::config::ValueKind::Table(std::iter::once(("token".to_owned(), token)).collect()),
    )
}

const FIRST: (u16, &str) = (200, r#"{"access_token":"first","expires_in":3600}"#);
const SECOND: (u16, &str) = (200, r#"{"access_token":"second","expires_in":3600}"#);

#[tokio::test]
async fn a_token_is_kept_until_it_is_refused() {
    let endpoint = Endpoint::with(&[FIRST, SECOND], false).await;
    for _ in 0..3 {
        assert_eq!(endpoint.authorization().await.unwrap(), "Bearer first");
    }
    assert_eq!(endpoint.asked(), 1);
    assert!(
        endpoint
            .tokens
            .refused(&HeaderValue::from_static("Bearer first"))
    );
    assert_eq!(endpoint.authorization().await.unwrap(), "Bearer second");
    // A second job was refused with the token that the first has already replaced.
    assert!(
        endpoint
            .tokens
            .refused(&HeaderValue::from_static("Bearer first"))
    );
    assert_eq!(endpoint.authorization().await.unwrap(), "Bearer second");
    assert_eq!(endpoint.asked(), 2);
}

#[tokio::test]
async fn a_refused_token_that_is_handed_out_again_is_asked_for_anew_after_a_moment() {
    let endpoint = Endpoint::with(&[FIRST, FIRST, FIRST, SECOND], false).await;
    let first = endpoint.authorization().await.unwrap();
    endpoint.tokens.refused(&first);
    for _ in 0..100 {
        // Each of many jobs is refused with it, and none of them asks before the moment is over.
        assert_eq!(endpoint.authorization().await.unwrap(), first);
        endpoint.tokens.refused(&first);
    }
    assert_eq!(endpoint.asked(), 2);
    let source = endpoint.tokens.source();
    let Source::Fetched(fetched) = &*source else {
        panic!("a token that is fetched")
    };
    let expiry = fetched.memory().token.as_ref().unwrap().1.unwrap();
    assert!(expiry <= Instant::now() + A_MOMENT);
    let over = || fetched.memory().token.as_mut().unwrap().1 = Some(Instant::now());
    over();
    assert_eq!(endpoint.authorization().await.unwrap(), first);
    // Now it is let in, so it is as good as any.
    over();
    assert_eq!(endpoint.authorization().await.unwrap(), "Bearer second");
    assert_eq!(endpoint.asked(), 4);
    assert!(fetched.memory().token.as_ref().unwrap().1 > Some(Instant::now() + 2 * A_MOMENT));
}

#[tokio::test]
async fn a_token_is_given_up_shortly_before_it_expires() {
    let endpoint = Endpoint::with(&[FIRST, SECOND], false).await;
    assert_eq!(endpoint.authorization().await.unwrap(), "Bearer first");
    let source = endpoint.tokens.source();
    let Source::Fetched(fetched) = &*source else {
        panic!("a token that is fetched")
    };
    let expiry = fetched.memory().token.as_ref().unwrap().1.unwrap();
    let left = expiry - Instant::now();
    assert!(
        left <= Duration::from_secs(3540) && left > Duration::from_secs(3500),
        "{left:?}"
    );
    fetched.memory().token.as_mut().unwrap().1 = Some(Instant::now());
    assert_eq!(endpoint.authorization().await.unwrap(), "Bearer second");
}

#[tokio::test]
async fn however_many_wait_one_asks() {
    let endpoint = Endpoint::with(&[FIRST], true).await;
    let release = async { endpoint.release.notify_one() };
    let waiting = futures_util::future::join_all((0..50).map(|_| endpoint.authorization()));
    let (headers, ()) = tokio::join!(waiting, release);
    assert!(
        headers
            .into_iter()
            .all(|header| header.unwrap() == "Bearer first")
    );
    assert_eq!(endpoint.asked(), 1);
}

#[tokio::test]
async fn those_who_waited_share_the_failure_and_the_next_asks_again() {
    let endpoint = Endpoint::with(&[(503, ""), FIRST], true).await;
    let waiting = futures_util::future::join_all((0..50).map(|_| endpoint.authorization()));
    let (failures, ()) = tokio::join!(waiting, async { endpoint.release.notify_one() });
    assert!(
        failures
            .into_iter()
            .all(|failure| failure.unwrap_err().kind == ErrorKind::ProviderError)
    );
    assert_eq!(endpoint.asked(), 1);
    endpoint.release.notify_one();
    assert_eq!(endpoint.authorization().await.unwrap(), "Bearer first");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_a_connection_failure_without_the_secret() {
    let endpoint = Endpoint::with(&[], false).await;
    let failure = endpoint.authorization().await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Connection);
    assert!(!format!("{failure:?} {:?}", endpoint.tokens).contains("p&ss"));
}

#[tokio::test]
async fn whoever_waits_too_long_has_a_timeout() {
    let endpoint = Endpoint::with(&[FIRST, SECOND], true).await;
    let short = Duration::from_millis(50);
    let failure = endpoint
        .tokens
        .authorization(&endpoint.client, short)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Timeout);
}

#[tokio::test]
async fn a_fixed_token_needs_nobody_and_has_no_second() {
    let url = Url::parse("https://example.egain.cloud").unwrap();
    let (configured, _) = Adapter::configure("providers.egain", "egain", &url, config_table());
    let (adapter, credentials) = configured.unwrap();
    let tokens = Tokens::new(adapter, credentials);
    let client = Client::new(Options::default()).unwrap();
    let access = tokens.authorization(&client, Duration::ZERO).await.unwrap();
    let request = access.put(http::Request::new(bytes::Bytes::new())).unwrap();
    assert_eq!(request.headers()["authorization"], "Bearer unused");
    assert!(request.headers()["authorization"].is_sensitive());
    assert!(!tokens.refused(access.value()));
}

#[test]
fn tokens_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Tokens>();
}
