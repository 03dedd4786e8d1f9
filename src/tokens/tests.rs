use std::{collections::VecDeque, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Notify,
};
use url::Url;

use super::*;
use crate::{
    config::{ClientSecretPlace, OAuthSettings},
    http::Options,
};

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
    let mut headers = http::HeaderMap::new();
    access.put(http::Uri::default(), &mut headers).unwrap();
    assert_eq!(headers["authorization"], "Bearer unused");
    assert!(headers["authorization"].is_sensitive());
    assert!(!tokens.refused(access.value()));
}

#[test]
fn tokens_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Tokens>();
}
