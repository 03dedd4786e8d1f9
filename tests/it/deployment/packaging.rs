//! Completions, manual pages, health.

use std::{path::PathBuf, process::Command};

use super::file;
use crate::{broker::Broker, commands::Call, road::Road, worker::program};

/// What bash offers behind these words.
fn complete(words: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("completions");
    let script = program().args(["completions", "bash"]).output();
    std::fs::write(&path, script.expect("the program").stdout).expect("a file in our folder");
    let (toml, config) = (
        "[providers.crm]\nkind = \"plume\"\n[providers.cdp]\nkind = \"antsomi\"\n",
        folder.path().join("config.toml"),
    );
    std::fs::write(config, toml).expect("a file in our folder");
    let bash = r#". "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        registered=$(complete -p lookup-worker); registered=${registered#*-F }
        "${registered%% *}" "$1" "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[@]}""#;
    // The script asks the program that is in the path.
    let built = PathBuf::from(program().get_program());
    let built = built.parent().expect("a folder").display().to_string();
    let output = Command::new("bash")
        .args(["-c", bash, "bash"])
        .arg(&path)
        .arg("lookup-worker")
        .args(words)
        .current_dir(folder.path())
        .env("PATH", format!("{built}:/usr/bin:/bin"))
        .output()
        .expect("bash");
    assert!(output.status.success(), "{output:?}");
    let offered = String::from_utf8(output.stdout).expect("text");
    let words: Vec<_> = offered.split_whitespace().collect();
    words.join(" ")
}

#[test]
fn bash_completes_commands_and_what_they_take() {
    assert_eq!(complete(&["sch"]), "schema");
    assert_eq!(complete(&["schema", "async"]), "asyncapi");
    let kinds = complete(&["schema", ""]);
    assert!(kinds.starts_with("job result asyncapi"), "{kinds}");
    assert_eq!(complete(&["dead", "rep"]), "replay");
    assert_eq!(complete(&["health", "--l"]), "--live");
    assert_eq!(complete(&["dead", "drop", "--error", "inv"]), "invalid_job");
}

#[test]
fn bash_completes_the_providers_of_the_configuration() {
    for words in [
        &["--config", "config.toml", "lookup", ""][..],
        &["lookup", "--config=config.toml", ""],
        &[
            "send",
            "--config",
            "config.toml",
            "--csv",
            "x",
            "--provider",
            "",
        ],
        &["dead", "list", "--config", "config.toml", "--provider", ""],
    ] {
        let offered = complete(words);
        assert!(offered.starts_with("cdp crm"), "{words:?}: {offered}");
        assert!(!offered.contains("PROVIDER"), "{words:?}: {offered}");
    }
    assert!(!complete(&["lookup", ""]).contains("PROVIDER"));
}

#[tokio::test]
async fn every_shell_has_a_script_and_every_command_a_page_of_the_release() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Call::new(&["completions", shell]).run().await.expect(0).out;
        assert!(script.contains("LOOKUP_WORKER_COMPLETE"), "{shell}");
    }
    Call::new(&["completions", "tcsh"]).run().await.expect(2);

    let changes = file("CHANGELOG.md");
    let release = changes
        .lines()
        .find_map(|line| line.strip_prefix("## [")?.split_once("] - "));
    let (version, day) = release.expect("a release with its day");
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("man1");
    Call::new(&["man", path.to_str().expect("a plain path")])
        .run()
        .await
        .expect(0);
    for command in COMMANDS {
        let page = std::fs::read_to_string(path.join(format!("lookup-worker-{command}.1")));
        let page = page.unwrap_or_else(|error| panic!("{command}: {error}"));
        assert!(page.contains(".SH SYNOPSIS"), "{command}: {page}");
        assert!(page.contains(day), "{command}: {page}");
    }
    assert!(path.join("lookup-worker.1").is_file());
}

const COMMANDS: [&str; 14] = [
    "run",
    "check",
    "health",
    "lookup",
    "pipe",
    "send",
    "dead",
    "explain",
    "pause",
    "resume",
    "sandbox",
    "schema",
    "completions",
    "man",
];

/// The words of a shell's line, up to what the program does not see: a pipe, a remark behind three spaces.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (part, text) in line
        .split("   ")
        .next()
        .unwrap_or_default()
        .split('\'')
        .enumerate()
    {
        if part % 2 == 1 {
            words.push(text);
        } else {
            words.extend(text.split_whitespace());
        }
    }
    let end = words
        .iter()
        .position(|word| ["|", "<", ">"].contains(word))
        .unwrap_or(words.len());
    words.truncate(end);
    words
}

#[tokio::test]
async fn every_command_shows_examples_that_are_understood() {
    for command in COMMANDS {
        let help = Call::new(&[command, "--help"]).run().await.expect(0).out;
        let lines = help
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.split_once("lookup-worker "));
        let examples: Vec<_> = lines
            .filter(|(before, _)| !before.starts_with(' '))
            .map(|(_, rest)| rest)
            .collect();
        assert!(!examples.is_empty(), "{command}: {help}");
        for example in examples {
            let words: Vec<_> = words(example).into_iter().chain(["--help"]).collect();
            Call::new(&words).run().await.expect(0);
        }
    }
}

#[tokio::test]
async fn health_asks_the_worker_that_runs_here() {
    let vhost = Broker::shared().vhost();
    let road = Road::open(&vhost.url(), "").await;
    let listen = format!("0.0.0.0:{}", road.worker.http_port());
    let health = async |arguments: &[&str]| {
        Call::new(&["health"])
            .arguments(arguments)
            .env("LOOKUP__HTTP__LISTEN", &listen)
            .run()
            .await
    };
    assert_eq!(health(&[]).await.expect(0).out, "ready\n");
    assert_eq!(health(&["--live"]).await.expect(0).out, "live\n");
    // Alive and not ready.
    let broker = Broker::start();
    let road = Road::open(&broker.url(), "").await;
    let listen = format!("127.0.0.1:{}", road.worker.http_port());
    broker.kill();
    let not_ready = async {
        loop {
            let ran = Call::new(&["health"])
                .env("LOOKUP__HTTP__LISTEN", &listen)
                .run()
                .await;
            if ran.code == 1 {
                return ran;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let ran = tokio::time::timeout(crate::road::SOON, not_ready)
        .await
        .expect("an answer");
    assert!(ran.out.starts_with("not ready: "), "{ran:?}");
    Call::new(&["health", "--live"])
        .env("LOOKUP__HTTP__LISTEN", &listen)
        .run()
        .await
        .expect(0);
}
