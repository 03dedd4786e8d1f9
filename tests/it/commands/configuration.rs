//! What is wrong with a configuration is said by its key, in one message, without a secret, and with exit code 2.

use super::Call;

/// Stands wherever a secret may stand.
const SECRET: &str = "hunter2";

/// A provider that is as it should be.
const GOOD: &str = "[providers.antsomi]\nkind = \"antsomi\"\nbase_url = \"https://api.example\"\ntoken = \"hunter2\"\n";

/// A provider without credentials.
const BARE: &str = "[providers.antsomi]\nkind = \"antsomi\"\nbase_url = \"https://api.example\"\n";

async fn refused(toml: &str, key: &str, names: &[&str]) {
    // `pipe` without input needs no more than a configuration.
    let ran = Call::new(&["pipe"]).config(toml).run().await.expect(2);
    assert_eq!(
        ran.err.trim_end().lines().count(),
        1,
        "one message: {ran:?}\n{toml}"
    );
    assert!(
        ran.err.contains(&format!("`{key}`")),
        "{key} is named: {ran:?}\n{toml}"
    );
    for name in names {
        assert!(ran.err.contains(name), "{name} in {ran:?}\n{toml}");
    }
    assert!(
        !ran.err.contains(SECRET) && ran.out.is_empty(),
        "{ran:?}\n{toml}"
    );
}

#[tokio::test]
async fn a_bad_value_of_a_section_is_named_with_what_came_and_what_was_expected() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("amqp = 3", "amqp", &["expected a table", "integer"]),
        ("[amqp]\nnope = 1", "amqp.nope", &["unknown key", "prefix"]),
        (
            "[amqp]\nurl = 'amqp://u:hunter2@h:notaport/'",
            "amqp.url",
            &["amqp://user:password@host"],
        ),
        (
            "[amqp]\nurl = 'http://u:hunter2@h/'",
            "amqp.url",
            &["\"http\"", "amqp://user:password@host"],
        ),
        (
            "[amqp]\nurl = ['hunter2']",
            "amqp.url",
            &["expected a string"],
        ),
        ("[amqp]\nurl = ''", "amqp.url", &["expected"]),
        ("[amqp]\nurls = []", "amqp.urls", &["at least one"]),
        (
            "[amqp]\nurls = ['hunter2']",
            "amqp.urls",
            &["amqp://user:password@host"],
        ),
        (
            "[amqp]\nurl = 'amqp://a'\nurls = ['amqp://b']",
            "amqp.urls",
            &["`amqp.url`", "expected one of them"],
        ),
        (
            "[amqp]\nurls = ['amqp://a', 'amqp://b']\nquota_ledgers = 3",
            "amqp.quota_ledgers",
            &["3 ledgers", "no more than there are addresses", "2"],
        ),
        (
            "[amqp]\nquota_ledgers = 0",
            "amqp.quota_ledgers",
            &["at least 1"],
        ),
        (
            "[amqp]\nprefix = ''",
            "amqp.prefix",
            &["expected 1 to 64 letters"],
        ),
        (
            "[amqp]\nprefix = 'amq.x'",
            "amqp.prefix",
            &["amq.x", "not beginning with 'amq.'"],
        ),
        (
            "[amqp]\ndeclare = 'perhaps'",
            "amqp.declare",
            &["perhaps", "expected a boolean"],
        ),
        (
            "[amqp]\ndelivery_limit = 0",
            "amqp.delivery_limit",
            &["0", "at least 1"],
        ),
        (
            "[amqp]\nmax_job_bytes = 0",
            "amqp.max_job_bytes",
            &["0", "at least 1"],
        ),
        (
            "[amqp]\nmax_job_bytes = -1",
            "amqp.max_job_bytes",
            &["-1", "integer"],
        ),
        ("[worker]\nnope = 1", "worker.nope", &["unknown key"]),
        (
            "[worker]\nconcurrency = 0",
            "worker.concurrency",
            &["0", "at least 1"],
        ),
        (
            "[worker]\nconcurrency = 70000",
            "worker.concurrency",
            &["70000"],
        ),
        (
            "[worker]\nshutdown_grace = 'soon'",
            "worker.shutdown_grace",
            &["soon", "250ms"],
        ),
        (
            "[worker]\nshutdown_grace = 25",
            "worker.shutdown_grace",
            &["25", "250ms"],
        ),
        ("[http]\nnope = 1", "http.nope", &["unknown key"]),
        (
            "[http]\nlisten = 'everywhere'",
            "http.listen",
            &["everywhere", "127.0.0.1:9464"],
        ),
        ("[log]\nnope = 1", "log.nope", &["unknown key"]),
        ("[log]\nlevel = 'loud'", "log.level", &["loud", "`info`"]),
        ("[log]\nformat = 'xml'", "log.format", &["xml", "`json`"]),
        ("[retry]\nnope = 1", "retry.nope", &["unknown key"]),
        (
            "[retry]\nmax_attempts = 0",
            "retry.max_attempts",
            &["0", "at least 1"],
        ),
        (
            "[retry]\nmultiplier = 0.5",
            "retry.multiplier",
            &["0.5", "at least 1"],
        ),
        (
            "[retry]\ninitial_delay = 'x'",
            "retry.initial_delay",
            &["\"x\"", "250ms"],
        ),
        (
            "[retry]\ndelays = []",
            "retry.delays",
            &["at least one step"],
        ),
        (
            "[retry]\ndelays = ['1s', 'x']",
            "retry.delays",
            &["\"x\"", "250ms"],
        ),
        (
            "[retry]\ndelays = ['0s']",
            "retry.delays",
            &["0s", "longer than zero"],
        ),
        (
            "[retry]\ndelays = ['1h']",
            "retry.delays",
            &["1h", "25 minutes"],
        ),
        (
            "[retry]\ndelays = ['1s', '1000ms']",
            "retry.delays",
            &["twice"],
        ),
        ("[reply]\nnope = 1", "reply.nope", &["unknown key"]),
        (
            "[reply]\nallow = 3",
            "reply.allow",
            &["3", "list of strings"],
        ),
        (
            "nope = 1",
            "nope",
            &["unknown key", "expected amqp, worker"],
        ),
        (
            "[nope]\na = 1",
            "nope",
            &["unknown key", "expected amqp, worker"],
        ),
    ];
    for (toml, key, names) in cases {
        refused(&format!("{toml}\n{GOOD}"), key, names).await;
    }
}

#[tokio::test]
async fn a_bad_value_of_a_provider_is_named_by_its_full_path() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "nope = 1",
            "nope",
            &["unknown key", "antsomi", "timeout", "batch"],
        ),
        ("brand = 'FOO'", "brand", &["unknown key", "antsomi"]),
        ("timeout = 'soon'", "timeout", &["soon", "250ms"]),
        ("timeout = '0s'", "timeout", &["0s", "longer than zero"]),
        ("timeout = 5", "timeout", &["5", "250ms"]),
        ("concurrency = 0", "concurrency", &["0", "at least 1"]),
        ("concurrency = -1", "concurrency", &["-1", "integer"]),
        ("concurrency = 'many'", "concurrency", &["many", "integer"]),
        (
            "allow_insecure_http = 'perhaps'",
            "allow_insecure_http",
            &["perhaps", "boolean"],
        ),
        (
            "auth_failure_limit = 0",
            "auth_failure_limit",
            &["0", "at least 1"],
        ),
        (
            "max_response_bytes = 0",
            "max_response_bytes",
            &["0", "at least 1"],
        ),
        (
            "phone_format = 'roman'",
            "phone_format",
            &["roman", "`as_is`"],
        ),
        ("quota = 'all'", "quota", &["all", "\"none\""]),
        ("quota = 5", "quota", &["5", "\"none\""]),
        (
            "quota = { nope = 1 }",
            "quota.nope",
            &["unknown key", "requests"],
        ),
        (
            "quota = [{ requests = 1, per = '1s' }, { requests = 9 }]",
            "quota[1].per",
            &["missing key"],
        ),
        (
            "quota = [{ requests = 1, per = '1s' }, { requests = 9, per = '1s' }]",
            "quota",
            &["two windows of one length"],
        ),
        (
            "quota = [{ requests = 1, per = '1s', scope = 'worker' }, { requests = 9, per = '1m' }]",
            "quota",
            &["two scopes"],
        ),
        ("quota = []", "quota", &["an empty array"]),
        (
            "quota = { requests = 0, per = '1m' }",
            "quota.requests",
            &["0", "at least 1"],
        ),
        (
            "quota = { requests = 1, per = '0s' }",
            "quota.per",
            &["0s", "longer than zero"],
        ),
        (
            "quota = { reserve = 1.0 }",
            "quota.reserve",
            &["1", "below 1"],
        ),
        (
            "quota = { scope = 'city' }",
            "quota.scope",
            &["city", "`worker`"],
        ),
        ("breaker = 3", "breaker", &["integer", "expected a table"]),
        (
            "breaker = { failures = 0 }",
            "breaker.failures",
            &["0", "at least 1"],
        ),
        (
            "breaker = { cooldown = '0s' }",
            "breaker.cooldown",
            &["0s", "longer than zero"],
        ),
        (
            "breaker = { nope = 1 }",
            "breaker.nope",
            &["unknown key", "cooldown"],
        ),
        (
            "batch = { max_size = 0 }",
            "batch.max_size",
            &["0", "at least 1"],
        ),
        (
            "batch = { nope = 1 }",
            "batch.nope",
            &["unknown key", "max_size"],
        ),
        (
            "cache = { capacity = 0 }",
            "cache.capacity",
            &["0", "at least 1"],
        ),
        ("cache = { ttl = 'x' }", "cache.ttl", &["\"x\"", "250ms"]),
        (
            "cache = { nope = 1 }",
            "cache.nope",
            &["unknown key", "ttl"],
        ),
        ("retry = 3", "retry", &["expected a table"]),
        (
            "retry = { nope = 1 }",
            "retry.nope",
            &["unknown key", "delays"],
        ),
        (
            "retry = { max_attempts = 0 }",
            "retry.max_attempts",
            &["0", "at least 1"],
        ),
        (
            "retry = { delays = [] }",
            "retry.delays",
            &["at least one step"],
        ),
    ];
    for (line, key, names) in cases {
        refused(
            &format!("{GOOD}{line}\n"),
            &format!("providers.antsomi.{key}"),
            names,
        )
        .await;
    }
}

#[tokio::test]
async fn a_missing_key_and_a_bad_name_or_address_of_a_provider_are_named() {
    let provider = |lines: &str| format!("[providers.p]\n{lines}\n");
    let cases: &[(String, &str, &[&str])] = &[
        (String::new(), "providers", &["missing", "[providers.NAME]"]),
        (
            "providers = 3".into(),
            "providers",
            &["expected one table for each provider"],
        ),
        (
            "[providers]\np = 3".into(),
            "providers.p",
            &["expected a table"],
        ),
        (
            provider("base_url = 'https://a'\ntoken = 'hunter2'"),
            "providers.p.kind",
            &["missing key"],
        ),
        (
            provider("kind = 'antsomi'\ntoken = 'hunter2'"),
            "providers.p.base_url",
            &["missing key"],
        ),
        (
            provider("kind = 'crm'\nbase_url = 'https://a'"),
            "providers.p.kind",
            &["crm", "antsomi, omeda"],
        ),
        (
            provider("kind = 'omeda'\nbase_url = 'https://a'\napp_id = 'x'"),
            "providers.p.brand",
            &["missing key"],
        ),
        (
            provider("kind = 'omeda'\nbase_url = 'https://a'\nbrand = 'x'"),
            "providers.p.app_id",
            &["missing key"],
        ),
        (
            provider("kind = 'omeda'\nbase_url = 'https://a'\nbrand = 'a/b'\napp_id = 'x'"),
            "providers.p.brand",
            &["a/b"],
        ),
        (
            provider("kind = 'kapture'\nbase_url = 'https://a'"),
            "providers.p.token",
            &["missing key"],
        ),
        (
            provider("kind = 'egain'\nbase_url = 'https://a'\ntoken = 'x'\nlanguage = '/'"),
            "providers.p.language",
            &["expected"],
        ),
        (
            provider("kind = 'plume'\nbase_url = 'https://a'"),
            "providers.p.token",
            &["missing key", "`oauth`"],
        ),
        (
            GOOD.replace("antsomi]", "'a.b']"),
            "providers.a.b",
            &["1 to 64 letters"],
        ),
        (
            GOOD.replace("antsomi]", "'']"),
            "providers.",
            &["1 to 64 letters"],
        ),
        (
            GOOD.replace("antsomi]", "'ü']"),
            "providers.ü",
            &["1 to 64 letters"],
        ),
        (
            GOOD.replace("https:", "http:"),
            "providers.antsomi.base_url",
            &["loopback", "allow_insecure_http"],
        ),
        (
            GOOD.replace("https:", "ftp:"),
            "providers.antsomi.base_url",
            &["\"ftp\"", "https://"],
        ),
        (
            GOOD.replace("https://", ""),
            "providers.antsomi.base_url",
            &["api.example", "https://"],
        ),
        (
            GOOD.replace("https://", "https://u:hunter2@"),
            "providers.antsomi.base_url",
            &["without user"],
        ),
        (
            GOOD.replace("https://api", "https://u:hunter2@:x"),
            "providers.antsomi.base_url",
            &["expected an address"],
        ),
        (
            GOOD.replace(".example", ".example/?a=hunter2"),
            "providers.antsomi.base_url",
            &["without user, query"],
        ),
    ];
    for (toml, key, names) in cases {
        refused(toml, key, names).await;
    }
}

#[tokio::test]
async fn credentials_are_given_once_and_never_shown() {
    let oauth = |rest: &str| format!("{BARE}oauth = {{ {rest} }}\n");
    let full = "token_url = 'https://a/t', client_id = 'c', client_secret = 'hunter2'";
    let cases: &[(String, &str, &[&str])] = &[
        (
            BARE.into(),
            "token",
            &["missing key", "`token_file`", "`oauth`"],
        ),
        (
            format!("{GOOD}oauth = {{ {full} }}\n"),
            "token",
            &["`oauth`", "expected one of them"],
        ),
        (
            format!("{GOOD}token_file = '/x'\n"),
            "token_file",
            &["is given too", "expected one of them"],
        ),
        (
            format!("{BARE}token_file = '/no/such/file'\n"),
            "token_file",
            &["/no/such/file", "cannot be read"],
        ),
        (
            format!("{BARE}token_file = ['hunter2']\n"),
            "token_file",
            &["expected a file's path"],
        ),
        (
            format!("{BARE}token_file = 'empty'\n"),
            "token",
            &["at least one character"],
        ),
        (
            format!("{BARE}token = ''\n"),
            "token",
            &["at least one character"],
        ),
        (
            format!("{BARE}token = \"hunter2\\nhunter2\"\n"),
            "token",
            &["control"],
        ),
        (
            format!("{BARE}token = ['hunter2']\n"),
            "token",
            &["expected a string"],
        ),
        (
            format!("{BARE}oauth = 'hunter2'\n"),
            "oauth",
            &["expected a table"],
        ),
        (
            oauth("token_url = 'https://a/t', client_id = 'c'"),
            "oauth.client_secret",
            &["missing key"],
        ),
        (
            oauth("client_id = 'c', client_secret = 'hunter2'"),
            "oauth.token_url",
            &["missing key"],
        ),
        (
            oauth(&full.replace("https", "http")),
            "oauth.token_url",
            &["loopback"],
        ),
        (
            oauth(&full.replace("https:/", "u:hunter2@")),
            "oauth.token_url",
            &["expected"],
        ),
        (
            oauth(&format!("{full}, nope = 1")),
            "oauth.nope",
            &["unknown key", "token_url"],
        ),
        (
            oauth(&format!("{full}, auth = 'magic'")),
            "oauth.auth",
            &["magic", "`basic`"],
        ),
        (
            oauth(&full.replace("'hunter2'", "['hunter2']")),
            "oauth.client_secret",
            &["expected a string"],
        ),
        (
            oauth(&full.replace(
                "client_secret = 'hunter2'",
                "client_secret_file = '/no/such/file'",
            )),
            "oauth.client_secret_file",
            &["cannot be read"],
        ),
    ];
    for (toml, key, names) in cases {
        let ran = Call::new(&["pipe"])
            .file("empty", "\n")
            .config(toml)
            .run()
            .await
            .expect(2);
        assert!(
            ran.err.contains(&format!("`providers.antsomi.{key}`")),
            "{key}: {ran:?}\n{toml}"
        );
        assert!(
            names.iter().all(|name| ran.err.contains(name)),
            "{names:?} in {ran:?}"
        );
        assert!(!ran.err.contains(SECRET), "{ran:?}");
        assert_eq!(ran.err.trim_end().lines().count(), 1, "{ran:?}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_or_parsed_is_named_and_not_quoted() {
    let ran = Call::new(&["pipe", "--config", "/no/such/file.toml"])
        .run()
        .await
        .expect(2);
    assert!(
        ran.err.contains("/no/such/file.toml") && ran.err.contains("cannot be read"),
        "{ran:?}"
    );

    for broken in [
        "token = \"hunter2\n",
        "token = hunter2\n",
        "token = \"hunter2\"\ntoken = \"hunter2\"\n",
    ] {
        let ran = Call::new(&["pipe"])
            .config(&format!("{BARE}{broken}"))
            .run()
            .await
            .expect(2);
        assert!(
            ran.err.contains("config.toml") && ran.err.contains("line "),
            "{ran:?}"
        );
        assert!(!ran.err.contains(SECRET), "{ran:?}");
        assert_eq!(ran.err.trim_end().lines().count(), 1, "{ran:?}");
    }
}

#[tokio::test]
async fn the_configuration_may_stand_before_the_command_and_behind_it() {
    for arguments in [
        ["--config", "good.toml", "pipe"],
        ["pipe", "--config", "good.toml"],
    ] {
        let ran = Call::new(&arguments)
            .file("good.toml", GOOD)
            .run()
            .await
            .expect(0);
        assert!(ran.out.is_empty() && ran.err.is_empty(), "{ran:?}");
    }
    Call::new(&["pipe", "--config=good.toml"])
        .file("good.toml", GOOD)
        .run()
        .await
        .expect(0);
}

#[tokio::test]
async fn variables_stand_over_the_file_and_may_stand_alone() {
    let bad = format!(
        "[worker]\nconcurrency = 0\n[amqp]\ndeclare = 'perhaps'\n[retry]\ndelays = []\n{GOOD}"
    );
    let over = |call: Call| {
        call.env("LOOKUP__WORKER__CONCURRENCY", "5")
            .env("LOOKUP__AMQP__DECLARE", "false")
            .env("LOOKUP__RETRY__DELAYS", "1s, 5s")
    };
    over(Call::new(&["pipe"]).config(&bad))
        .run()
        .await
        .expect(0);

    let alone = |token: &str| {
        Call::new(&["pipe"])
            .env("LOOKUP__PROVIDERS__ANTSOMI__KIND", "antsomi")
            .env(
                "LOOKUP__PROVIDERS__ANTSOMI__BASE_URL",
                "https://api.example",
            )
            .env("LOOKUP__PROVIDERS__ANTSOMI__TOKEN", token)
    };
    alone("007").run().await.expect(0);
    let ran = alone("x")
        .env("LOOKUP__PROVIDERS__ANTSOMI__TIMEOUT", "never")
        .run()
        .await
        .expect(2);
    assert!(
        ran.err.contains("`providers.antsomi.timeout`") && ran.err.contains("never"),
        "{ran:?}"
    );
    let ran = alone("x")
        .env("LOOKUP__AMQP__NOPE", "1")
        .run()
        .await
        .expect(2);
    assert!(ran.err.contains("`amqp.nope`"), "{ran:?}");
}

#[tokio::test]
async fn a_variable_takes_the_place_of_the_files_other_way_to_say_the_same() {
    let oauth =
        "oauth = { token_url = 'https://api.example/t', client_id = 'c', client_secret = 's' }\n";
    for (toml, name, value) in [
        (
            format!("[amqp]\nurls = ['amqp://a', 'amqp://b']\n{GOOD}"),
            "LOOKUP__AMQP__URL",
            "amqp://c",
        ),
        (
            format!("[amqp]\nurl = 'amqp://a'\n{GOOD}"),
            "LOOKUP__AMQP__URLS",
            "amqp://b,amqp://c",
        ),
        (
            format!("{BARE}{oauth}"),
            "LOOKUP__PROVIDERS__ANTSOMI__TOKEN",
            "t",
        ),
        (
            format!("{BARE}token_file = '/nowhere/token'\n"),
            "LOOKUP__PROVIDERS__ANTSOMI__TOKEN",
            "t",
        ),
    ] {
        let call = Call::new(&["pipe"]).config(&toml).env(name, value);
        call.run().await.expect(0);
    }
    let call = Call::new(&["pipe"]).config(GOOD);
    let call = call
        .env(
            "LOOKUP__PROVIDERS__ANTSOMI__OAUTH__TOKEN_URL",
            "https://api.example/t",
        )
        .env("LOOKUP__PROVIDERS__ANTSOMI__OAUTH__CLIENT_ID", "c")
        .env("LOOKUP__PROVIDERS__ANTSOMI__OAUTH__CLIENT_SECRET", "s");
    call.run().await.expect(0);
}

#[tokio::test]
async fn a_variable_below_a_quotas_windows_is_refused_and_none_of_them_goes() {
    let windows = "[{ requests = 5, per = '1m' }, { requests = 50, per = '1d' }]";
    let ran = Call::new(&["pipe"])
        .config(&format!("{BARE}token = 't'\nquota = {windows}\n"))
        .env("LOOKUP__PROVIDERS__ANTSOMI__QUOTA__REQUESTS", "9")
        .run()
        .await
        .expect(2);
    assert!(
        ran.err.contains("`providers.antsomi.quota`")
            && ran.err.contains("cannot change requests alone"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_variable_that_is_no_text_is_named_and_its_value_is_not_shown() {
    let value = b"amqp://u:hunter2\xff@h/";
    for name in ["LOOKUP__PROVIDERS__ANTSOMI__TOKEN", "LOOKUP__AMQP__URL"] {
        let ran = Call::new(&["pipe"])
            .config(GOOD)
            .env_bytes(name, value)
            .run()
            .await
            .expect(2);
        assert!(
            ran.err.contains(&format!("`{name}`")) && ran.err.contains("UTF-8"),
            "{ran:?}"
        );
        assert!(!ran.err.contains(SECRET), "{ran:?}");
    }
    // Nobody else's variable matters.
    let call = Call::new(&["pipe"]).config(GOOD);
    call.env_bytes("OTHER", value).run().await.expect(0);
}

#[tokio::test]
async fn a_count_is_a_whole_number_and_a_duration_is_none_of_the_calendar() {
    for (toml, key) in [
        (
            "[worker]\nconcurrency = 2.7\n".to_owned() + GOOD,
            "worker.concurrency",
        ),
        (
            "[amqp]\ndelivery_limit = 20.5\n".to_owned() + GOOD,
            "amqp.delivery_limit",
        ),
        (
            "[amqp]\nmax_job_bytes = 1e3\n".to_owned() + GOOD,
            "amqp.max_job_bytes",
        ),
        (
            "[worker]\nconcurrency = '2.7'\n".to_owned() + GOOD,
            "worker.concurrency",
        ),
        (
            format!("{GOOD}concurrency = 2.7\n"),
            "providers.antsomi.concurrency",
        ),
        (
            format!("{GOOD}auth_failure_limit = 2.7\n"),
            "providers.antsomi.auth_failure_limit",
        ),
        (
            format!("{GOOD}max_response_bytes = 2.7\n"),
            "providers.antsomi.max_response_bytes",
        ),
        (
            format!("{GOOD}quota = {{ requests = 2.7 }}\n"),
            "providers.antsomi.quota.requests",
        ),
        (
            format!("{GOOD}breaker = {{ failures = 2.7 }}\n"),
            "providers.antsomi.breaker.failures",
        ),
        (
            format!("{GOOD}cache = {{ capacity = 2.7 }}\n"),
            "providers.antsomi.cache.capacity",
        ),
        (
            format!("{GOOD}batch = {{ max_size = 2.7 }}\n"),
            "providers.antsomi.batch.max_size",
        ),
        (
            format!("{GOOD}retry = {{ max_attempts = 2.7 }}\n"),
            "providers.antsomi.retry.max_attempts",
        ),
    ] {
        refused(&toml, key, &["expected an integer"]).await;
    }
    for duration in ["1M", "1month", "2months", "1y", "1year 2days", "1h 1M"] {
        refused(
            &format!("{GOOD}timeout = '{duration}'\n"),
            "providers.antsomi.timeout",
            &[duration, "30s"],
        )
        .await;
    }
    for duration in ["1m", "1min", "90s", "1h 30m", "2days"] {
        let toml = format!("{GOOD}timeout = '{duration}'\n");
        Call::new(&["pipe"]).config(&toml).run().await.expect(0);
    }
}

#[tokio::test]
async fn a_key_that_stands_twice_is_named() {
    let twice = "[worker]\nconcurrency = 1\nconcurrency = 2\n";
    refused(
        &format!("{twice}{GOOD}"),
        "worker.concurrency",
        &["line 3", "once"],
    )
    .await;
    let token = format!("{GOOD}token = \"hunter2\"\n");
    refused(&token, "providers.antsomi.token", &["line 5"]).await;
    let inline = format!("{GOOD}breaker = {{ failures = 1, failures = 2 }}\n");
    refused(&inline, "providers.antsomi.failures", &["line 5"]).await;
    refused(
        &format!("[worker]\n[worker]\n{GOOD}"),
        "worker",
        &["line 2"],
    )
    .await;
}

#[tokio::test]
async fn a_command_that_finds_no_configuration_says_so_and_asks_no_broker() {
    for command in [
        &["run"][..],
        &["check"],
        &["pipe"],
        &["send"],
        &["dead", "list"],
        &["dead", "drop", "--all"],
    ] {
        let ran = Call::new(command).run().await.expect(2);
        for place in [
            "--config",
            "LOOKUP_CONFIG",
            "lookup-worker.toml",
            "/etc/lookup-worker/",
        ] {
            assert!(ran.err.contains(place), "{place}: {ran:?}");
        }
    }
    // Variables may be all of it; but then they must say which broker is meant.
    for command in [&["send"][..], &["dead", "drop", "--all"]] {
        let call = Call::new(command).env("LOOKUP__LOG__LEVEL", "warn");
        let ran = call.run().await.expect(2);
        assert!(ran.err.contains("`amqp.url`"), "{ran:?}");
    }
}

#[tokio::test]
async fn the_configuration_is_found_where_it_usually_is() {
    let here = || Call::new(&["pipe"]).file("lookup-worker.toml", GOOD);
    here().run().await.expect(0);
    // Whoever names another means it.
    let other = |call: Call| call.file("other.toml", "[worker]\nconcurrency = 0\n");
    let by_variable = other(here()).env("LOOKUP_CONFIG", "other.toml");
    let ran = by_variable.run().await.expect(2);
    assert!(ran.err.contains("`worker.concurrency`"), "{ran:?}");
    let by_flag = other(here()).env("LOOKUP_CONFIG", "other.toml");
    let by_flag = by_flag.arguments(&["--config", "lookup-worker.toml"]);
    by_flag.run().await.expect(0);
    let help = Call::new(&["--help"]).run().await.expect(0);
    assert!(
        help.out.contains("LOOKUP_CONFIG") && help.out.contains("/etc/lookup-worker/"),
        "{help:?}"
    );
}

#[tokio::test]
async fn several_mistakes_are_told_at_once() {
    let toml = "[worker]\nconcurrency = 0\nshutdown_grace = 'never'\n[amqp]\nnope = 1\n[sky]\n\
        [providers.antsomi]\nkind = 'antsomi'\nbase_url = 'https://api.example'\ntokn = 'hunter2'\n\
        timeout = '1M'\n[providers.omeda]\nkind = 'omeda'\nbase_url = 'http://api.example'\nbrand = 'A'\n\
        app_id = 'hunter2'\n[providers.crm]\nkind = 'salesforce'\ntoken = 'hunter2'\n[providers.plume]\nkind = 'plume'\n\
        token_file = '/no/such/file'\n";
    let ran = Call::new(&["pipe"]).config(toml).run().await.expect(2);
    let keys = [
        "worker.concurrency",
        "worker.shutdown_grace",
        "amqp.nope",
        "sky",
        "providers.antsomi.tokn",
        "providers.antsomi.token",
        "providers.antsomi.timeout",
        "providers.omeda.base_url",
        "providers.crm.base_url",
        "providers.crm.kind",
        "providers.plume.base_url",
        "providers.plume.token_file",
    ];
    for key in keys {
        assert!(ran.err.contains(&format!("  `{key}`: ")), "{key}: {ran:?}");
    }
    assert!(ran.err.contains("12 mistakes\n"), "{ran:?}");
    assert_eq!(ran.err.trim_end().lines().count(), 13, "{ran:?}");
    assert!(!ran.err.contains(SECRET), "{ran:?}");
}
