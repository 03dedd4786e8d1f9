//! What the README says is so.

use std::process::Stdio;

use lookup_worker::{
    job::{Envelope, Job},
    provider::Adapter,
};

use crate::worker::program;

const README: &str = include_str!("../../README.md");

/// The code blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let opening = format!("```{language}\n");
    README
        .split(opening.as_str())
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

#[test]
fn every_command_line_of_the_readme_is_understood() {
    let lines = blocks("sh").into_iter().flat_map(str::lines);
    let commands: Vec<_> = lines
        .filter_map(|line| line.split_once("lookup-worker ").map(|(_, rest)| rest))
        .collect();
    assert!(commands.len() >= 9, "{commands:?}");
    for command in commands {
        let words = command
            .split_whitespace()
            .take_while(|word| !["#", ">", "&", "|"].contains(word));
        let known = words
            .clone()
            .next()
            .is_some_and(|word| word.chars().all(char::is_alphabetic));
        assert!(known, "a command comes first: {command}");
        let ran = program()
            .args(words)
            .arg("--help")
            .stdin(Stdio::null())
            .output()
            .expect("the program");
        assert!(
            ran.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}

#[test]
fn the_job_of_the_readme_is_a_job() {
    let job = blocks("json")[0];
    let adapter = crate::conformance::target::plain("antsomi");
    let envelope = Envelope {
        routing_key: "it.interactive".into(),
        ..Envelope::default()
    };
    let read = Job::read(
        &envelope,
        job.as_bytes(),
        1 << 18,
        Some(&adapter),
        jiff::Timestamp::now(),
    );
    assert!(read.is_ok(), "{read:?}");
}

#[test]
fn the_configuration_of_the_readme_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let secrets = folder.path().join("secrets");
    std::fs::create_dir(&secrets).expect("a folder in ours");
    let config = blocks("toml")
        .into_iter()
        .find(|block| block.contains("url_file"))
        .expect("an example of a configuration")
        .replace("/run/secrets", &secrets.to_string_lossy());
    for (name, secret) in [
        ("amqp", "amqp://127.0.0.1"),
        ("omeda", "an-id"),
        ("kapture", "dG9rZW4="),
    ] {
        std::fs::write(secrets.join(name), secret).expect("a file in our folder");
    }
    let path = folder.path().join("lookup-worker.toml");
    std::fs::write(&path, config).expect("a file in our folder");
    let ran = program()
        .args(["pipe", "--config"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .expect("the program");
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

#[test]
fn the_readme_names_every_kind() {
    for kind in Adapter::kinds() {
        assert!(README.contains(&format!("| {kind} |")), "{kind}");
    }
}
