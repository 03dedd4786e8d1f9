//! The configurations that the deployment files hold are understood, and their times go with the worker's.

use std::fs;

use super::file;
use crate::{commands::Call, keeper::free_ports};

/// `health` reads the whole configuration, and then finds no worker; a mistake would be exit code 2.
async fn is_understood(toml: &str, environment: &[(&str, &str)]) {
    let [nobody] = free_ports();
    let mut call = Call::new(&["health"])
        .config(toml)
        .env("LOOKUP__HTTP__LISTEN", &format!("127.0.0.1:{nobody}"));
    for (name, value) in environment {
        call = call.env(name, value);
    }
    let ran = call.run().await.expect(1);
    assert!(ran.err.contains("no worker answers"), "{ran:?}");
}

#[tokio::test]
async fn the_compositions_configuration_is_understood() {
    is_understood(&file("deploy/compose/lookup-worker.toml"), &[]).await;
}

#[tokio::test]
async fn the_manifests_configuration_is_understood() {
    let manifest = file("deploy/kubernetes/worker.yaml");
    let (_, rest) = manifest
        .split_once("lookup-worker.toml: |\n")
        .expect("a configuration");
    let lines = rest
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "));
    let folder = tempfile::tempdir().expect("a folder");
    for (name, secret) in [
        ("amqp-url", "amqp://a:b@broker.example/%2f"),
        ("antsomi-token", "t"),
        ("omeda-app-id", "i"),
    ] {
        assert!(manifest.contains(&format!("--from-file={name}")), "{name}");
        fs::write(folder.path().join(name), secret).expect("a file in our folder");
    }
    let toml = lines.map(str::trim_start).collect::<Vec<_>>().join("\n");
    let folder = folder.path().to_str().expect("a plain path");
    is_understood(&toml.replace("/run/secrets/lookup-worker", folder), &[]).await;
}

#[tokio::test]
async fn the_units_configuration_is_understood() {
    let unit = file("deploy/systemd/lookup-worker.service");
    let folder = tempfile::tempdir().expect("a folder");
    let mut variables = Vec::new();
    for line in unit
        .lines()
        .filter_map(|line| line.strip_prefix("Environment="))
    {
        let (name, value) = line.split_once('=').expect("a variable");
        let credential = value.strip_prefix("%d/").expect("a credential");
        assert!(
            unit.contains(&format!(
                "LoadCredential={credential}:/etc/lookup-worker/{credential}"
            )),
            "{credential}"
        );
        let secret = if name.contains("AMQP") {
            "amqp://a:b@broker.example/%2f"
        } else {
            "t"
        };
        let path = folder.path().join(credential);
        fs::write(&path, secret).expect("a file in our folder");
        variables.push((name, path.to_str().expect("a plain path").to_owned()));
    }
    assert!(variables.len() >= 2, "{variables:?}");
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, path)| (*name, path.as_str()))
        .collect();
    is_understood(&file("deploy/systemd/lookup-worker.toml"), &variables).await;
}

#[test]
fn a_stop_is_given_longer_than_the_worker_takes() {
    let grace = 25;
    assert_eq!(
        lookup_worker::config::WorkerSettings::default()
            .shutdown_grace
            .as_secs(),
        grace
    );
    for (path, key) in [
        ("deploy/systemd/lookup-worker.service", "TimeoutStopSec="),
        (
            "deploy/kubernetes/worker.yaml",
            "terminationGracePeriodSeconds: ",
        ),
        ("deploy/compose/compose.yaml", "stop_grace_period: "),
    ] {
        let text = file(path);
        let value = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(key))
            .expect(key);
        let seconds: u64 = value.trim_end_matches('s').parse().expect("seconds");
        // The close of channels and connections is bounded by some seconds more.
        assert!(seconds >= grace + 10, "{path}: {key}{value}");
    }
}
