use url::Url;

use super::*;

const SECRET: &str = "p&ss w+rd";

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
        (rfc, "<html>", "expected JSON, got a page"),
        (rfc, "", "expected JSON"),
        (rfc, "{}", &*no_access_token),
        (rfc, r#"{"access_token":" "}"#, &no_access_token),
        (rfc, r#"{"error":"Not Found"}"#, &no_access_token),
        // Of two nobody knows which is meant.
        (rfc, doubled, &no_access_token),
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
