//! `lookup` and `pipe`: lookups without a broker.

use std::io::{BufRead, BufReader, Read, Write};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::spawn_blocking,
};

use super::{Call, Guarded, Ran};
use crate::road::{SOON, Served, config};

/// No broker is there, and none is needed.
const NOWHERE: &str = "amqp://127.0.0.1:1";

async fn lookup(sandbox: &Served, provider: &str, query: &str, more: &[&str]) -> Ran {
    let call = Call::new(&["lookup", provider, "--query", query]).arguments(more);
    call.config(&config(NOWHERE, sandbox, "")).run().await
}

async fn pipe(sandbox: &Served, lines: impl Into<Vec<u8>>) -> Ran {
    Call::new(&["pipe"])
        .config(&config(NOWHERE, sandbox, ""))
        .input(lines)
        .run()
        .await
        .expect(0)
}

/// The result of this job id.
fn of<'a>(results: &'a [Value], id: &str) -> &'a Value {
    results
        .iter()
        .find(|result| result["job_id"] == id)
        .unwrap_or_else(|| panic!("{id} in {results:?}"))
}

#[tokio::test]
async fn lookup_prints_the_result_of_each_kind_and_its_exit_code_tells_what_came() {
    let sandbox = Served::start().await;
    let cases = [
        ("antsomi", r#"{"phone":"+84 907 089 782"}"#, 0, "found"),
        ("antsomi", r#"{"phone":"84900000404"}"#, 0, "not_found"),
        ("antsomi", r#"{"phone":"84900000403"}"#, 1, "failed"),
        ("antsomi", r#"{"fax":"1"}"#, 2, "failed"),
        ("omeda", r#"{"customer_id":12345}"#, 0, "found"),
        ("omeda", r#"{"customer_id":84900000404}"#, 0, "not_found"),
        ("omeda", r#"{"customer_id":84900000422}"#, 1, "failed"),
        ("omeda", "[]", 2, "failed"),
        ("kapture", r#"{"email":"sashank@gmail.com"}"#, 0, "found"),
        ("kapture", r#"{"phone":"84900000404"}"#, 0, "not_found"),
        ("kapture", r#"{"customer_id":"191121690"}"#, 1, "failed"),
        ("kapture", "{}", 2, "failed"),
        ("egain", r#"{"phone":"14082343456102"}"#, 0, "found"),
        ("egain", r#"{"phone":"84900000404"}"#, 0, "not_found"),
        ("egain", r#"{"phone":"84900000400"}"#, 1, "failed"),
        ("egain", r#"{"type":"individual"}"#, 2, "failed"),
        ("plume", r#"{"account_id":"b/c?d=1 & e"}"#, 0, "found"),
        ("plume", r#"{"account_id":"84900000404"}"#, 0, "not_found"),
        ("plume", r#"{"account_id":"84900000403"}"#, 1, "failed"),
        ("plume", r#"{"name":"null"}"#, 2, "failed"),
    ];
    for (provider, query, code, status) in cases {
        let ran = lookup(&sandbox, provider, query, &[]).await.expect(code);
        let results = ran.lines();
        let [result] = results.as_slice() else {
            panic!("one line: {ran:?}")
        };
        assert_eq!(
            (&result["provider"], &result["status"]),
            (&json!(provider), &json!(status)),
            "{ran:?}"
        );
        assert_eq!(
            result["error"]["kind"] == "invalid_job",
            code == 2,
            "{ran:?}"
        );
        assert_eq!(result["customers"].is_array(), status == "found", "{ran:?}");
    }
}

#[tokio::test]
async fn lookup_takes_options_and_says_what_is_wrong_with_its_arguments() {
    let sandbox = Served::start().await;
    let query = r#"{"phone":"84907089782"}"#;
    let ran = lookup(
        &sandbox,
        "antsomi",
        query,
        &["--options", r#"{"raw":true}"#],
    )
    .await
    .expect(0);
    assert!(ran.lines()[0]["raw"].is_object(), "{ran:?}");

    let ran = lookup(&sandbox, "nobody", query, &[]).await.expect(2);
    assert!(
        ran.err.contains("nobody") && ran.err.contains("antsomi, egain"),
        "{ran:?}"
    );
    let ran = lookup(&sandbox, "antsomi", "{phone", &[]).await.expect(2);
    assert!(
        ran.err.contains("--query") && ran.err.contains("expected JSON"),
        "{ran:?}"
    );
    let ran = lookup(&sandbox, "antsomi", query, &["--options", "[1"])
        .await
        .expect(2);
    assert!(ran.err.contains("--options"), "{ran:?}");
    let ran = Call::new(&["lookup", "antsomi"])
        .config(&config(NOWHERE, &sandbox, ""))
        .run()
        .await
        .expect(2);
    assert!(ran.err.contains("--query"), "{ran:?}");
}

#[tokio::test]
async fn a_token_that_looks_like_a_number_reaches_the_provider_as_it_was_written() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let mut part = [0; 1024];
            let read = stream.read(&mut part).await.unwrap();
            assert!(read > 0, "a whole request");
            request.extend_from_slice(&part[..read]);
        }
        let _ = stream
            .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\n{}")
            .await;
        String::from_utf8(request).unwrap().to_lowercase()
    });
    let call = Call::new(&["lookup", "k", "--query", r#"{"phone":"1"}"#])
        .config(&format!(
            "[providers.k]\nkind = \"kapture\"\nbase_url = \"{base}\"\ntoken_file = \"secret\"\n"
        ))
        .file("secret", "00700\n");
    call.run().await.expect(1);
    assert!(
        heard
            .await
            .unwrap()
            .contains("authorization: basic 00700\r\n")
    );
}

#[tokio::test]
async fn pipe_answers_each_line_and_a_bad_one_is_not_fatal() {
    let sandbox = Served::start().await;
    let long = format!(
        r#"{{"id":"long","provider":"antsomi","query":{{"phone":"1"}},"context":"{}"}}"#,
        "x".repeat(300_000)
    );
    let lines = [
        r#"{"id":"slow","provider":"antsomi","query":{"phone":"84900000604"},"context":[1.0]}"#,
        "",
        "this is no JSON",
        r#"{"id":"stranger","provider":"nobody","query":{"phone":"1"}}"#,
        r#"{"id":"nameless","query":{"phone":"1"}}"#,
        r#"{"id":"lane","provider":"antsomi","lane":"fast","query":{"phone":"1"}}"#,
        r#"{"id":"field","provider":"antsomi","query":{"phone":"1"},"nope":1}"#,
        &long,
        "   \r",
        r#"{"id":"crlf","provider":"omeda","lane":"interactive","query":{"customer_id":12345}}"#,
        "\r",
        r#"{"id":"last","provider":"plume","query":{"account_id":"acc-1001"}}"#,
    ];
    // The last line has no end.
    let ran = pipe(&sandbox, lines.join("\n")).await;
    let results = ran.lines();
    assert_eq!(results.len(), 9, "{ran:?}");
    let kind = |id| {
        of(&results, id)["error"]["kind"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(of(&results, "slow")["context"], json!([1.0]));
    assert_eq!(
        results.last().unwrap()["job_id"],
        "slow",
        "the order is free"
    );
    for found in ["slow", "crlf", "last"] {
        assert_eq!(of(&results, found)["status"], "found");
    }
    assert_eq!(kind("stranger"), "unknown_provider");
    for (id, name) in [
        ("nameless", "`provider`"),
        ("lane", "`lane`"),
        ("field", "`nope`"),
    ] {
        assert_eq!(kind(id), "invalid_job");
        assert!(
            of(&results, id)["error"]["message"]
                .as_str()
                .unwrap()
                .contains(name),
            "{}",
            of(&results, id)
        );
    }
    let said = |what: &str| {
        results
            .iter()
            .any(|result| result["error"]["message"].to_string().contains(what))
    };
    assert!(said("expected JSON"), "{ran:?}");
    assert!(
        said("at most 262144 bytes"),
        "the line that is too long is told so: {ran:?}"
    );
    assert_eq!(
        results
            .iter()
            .filter(|result| result["status"] == "failed")
            .count(),
        6
    );
}

#[tokio::test]
async fn pipe_serves_more_jobs_than_it_has_slots() {
    let sandbox = Served::start().await;
    let line =
        |n| format!(r#"{{"id":"{n}","provider":"antsomi","query":{{"phone":"8491{n:07}"}}}}"#);
    let toml = config(NOWHERE, &sandbox, "")
        .replace("quota = \"none\"", "quota = \"none\"\nconcurrency = 2");
    let toml = toml.replace("[amqp]", "[worker]\nconcurrency = 1\n[amqp]");
    let lines: String = (0..500).map(|n| line(n) + "\n").collect();
    let results = Call::new(&["pipe"])
        .config(&toml)
        .input(lines)
        .run()
        .await
        .expect(0)
        .lines();
    let ids: std::collections::BTreeSet<_> = results
        .iter()
        .map(|result| result["job_id"].as_str())
        .collect();
    assert_eq!((results.len(), ids.len()), (500, 500));
}

#[tokio::test]
async fn pipe_without_input_answers_nothing() {
    let sandbox = Served::start().await;
    for nothing in ["", "\n", "\n \n\r\n"] {
        assert_eq!(pipe(&sandbox, nothing).await.out, "");
    }
}

#[tokio::test]
async fn pipe_answers_while_its_input_is_still_open() {
    let sandbox = Served::start().await;
    let mut child = Call::new(&["pipe"]).config(&config(NOWHERE, &sandbox, ""));
    // The folder with the configuration must outlast the start.
    let folder = std::mem::replace(&mut child.folder, tempfile::tempdir().unwrap());
    let mut child = child.start();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let running = Guarded::new(child);
    let talk = spawn_blocking(move || {
        let mut output = BufReader::new(output);
        for id in ["one", "two"] {
            writeln!(
                input,
                r#"{{"id":"{id}","provider":"antsomi","query":{{"phone":"84907089782"}}}}"#
            )
            .unwrap();
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            let result: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
            assert_eq!(
                (&result["job_id"], &result["status"]),
                (&json!(id), &json!("found"))
            );
        }
        drop(input);
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    });
    if tokio::time::timeout(SOON, talk).await.is_err() {
        drop(running);
        panic!("no answer while the input is open");
    }
    drop(folder);
}
