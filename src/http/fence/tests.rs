use std::time::Duration;

use http::{HeaderValue, Request, header::AUTHORIZATION};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    config::{QuotaLimit, QuotaScope},
    failure::{ErrorKind, Failure},
    http::{Client, Options, SendTerms},
    policy::quota::Terms,
    provider::access::Access,
};

/// A permission that is good for this long.
fn good_for(time: Duration) -> Permission {
    let limit = QuotaLimit {
        requests: 1,
        per: Duration::from_secs(1),
        reserve: 0.0,
        scope: QuotaScope::Worker,
    };
    let terms = Terms {
        validity: time,
        ..Terms::of(&limit)
    };
    terms.permission(Moment::now())
}

async fn head(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer).await.unwrap_or(0) {
            0 => break,
            read => seen.extend_from_slice(&buffer[..read]),
        }
    }
    String::from_utf8(seen).unwrap()
}

async fn call(
    listener: &TcpListener,
    method: &str,
    body: &'static [u8],
    permission: Permission,
) -> Option<ErrorKind> {
    let client = Client::new(Options::default()).unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let request = Request::builder()
        .method(method)
        .uri(address)
        .body(Bytes::from_static(body))
        .unwrap();
    let access = Access::by_header(AUTHORIZATION, HeaderValue::from_static("x"));
    let answer = client
        .request(
            &request,
            &access,
            Duration::from_secs(5),
            SendTerms {
                permission,
                fresh: false,
            },
        )
        .await;
    answer
        .err()
        .map(|unanswered| Failure::from(unanswered).kind)
}

#[tokio::test]
async fn a_request_in_time_is_on_the_wire_as_it_would_be_without_a_fence() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (method, body) in [("GET", &b""[..]), ("POST", b""), ("POST", b"a=b")] {
        let mut heads = Vec::new();
        for permission in [Permission::UNLIMITED, good_for(Duration::from_mins(1))] {
            let server = async {
                let mut stream = listener.accept().await.unwrap().0;
                heads.push(head(&mut stream).await);
                stream
                    .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                    .await
                    .unwrap();
            };
            let (error, ()) = tokio::join!(call(&listener, method, body, permission), server);
            assert_eq!(error, None);
        }
        assert_eq!(heads[0], heads[1]);
        assert!(heads[0].starts_with(method));
    }
}

#[tokio::test]
async fn of_a_request_whose_permission_is_void_not_a_byte_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (method, body) in [("GET", &b""[..]), ("POST", b""), ("POST", b"a=b")] {
        let mut sent = String::new();
        let server = async { sent = head(&mut listener.accept().await.unwrap().0).await };
        let (error, ()) = tokio::join!(
            call(&listener, method, body, good_for(Duration::ZERO)),
            server
        );
        assert_eq!(
            (error, sent.as_str()),
            (Some(ErrorKind::RateLimited), ""),
            "{method}"
        );
    }
}
