//! What the worker tells systemd, heard on a socket of the test's own.

use std::{process::Command, time::Duration};

use tempfile::TempDir;
use tokio::net::UnixDatagram;

use super::file;
use crate::{
    broker::Broker,
    keeper::free_ports,
    road::{Served, config},
    worker::Worker,
};

/// Generous: a start and a stop, on a machine that has other things to do.
const WITHIN: Duration = Duration::from_secs(60);

/// Where systemd listens.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        Self { folder, socket }
    }

    /// Starts a worker that reports here, and is to show that it is alive five times a second.
    fn start(&self, config: &str) -> Worker {
        let path = self.folder.path().join("notify");
        let path = path.to_str().expect("a plain path");
        Worker::start_under(
            config,
            &[("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "400000")],
        )
    }

    /// The first message that begins so; what comes before it is passed over.
    async fn hears(&self, beginning: &str) -> String {
        let mut heard = Vec::new();
        let listen = async {
            loop {
                let mut buffer = [0; 4096];
                let length = self.socket.recv(&mut buffer).await.expect("a message");
                let message = String::from_utf8_lossy(&buffer[..length])
                    .trim_end()
                    .to_owned();
                if message.starts_with(beginning) {
                    return message;
                }
                heard.push(message);
            }
        };
        let found = tokio::time::timeout(WITHIN, listen).await;
        found.unwrap_or_else(|_| panic!("{beginning} was not heard, but {heard:?}"))
    }
}

#[tokio::test]
async fn a_worker_without_a_broker_has_started_and_says_what_it_waits_for() {
    let (manager, sandbox, [nobody]) = (Manager::new(), Served::start().await, free_ports());
    let mut worker = manager.start(&config(
        &format!("amqp://guest:a-secret@127.0.0.1:{nobody}/%2f"),
        &sandbox,
        "",
    ));
    manager.hears("READY=1").await;
    let status = manager.hears("STATUS=no broker").await;
    assert!(
        !status.contains("a-secret") && !status.contains('\n'),
        "{status}"
    );
    for _ in 0..3 {
        manager.hears("WATCHDOG=1").await;
    }
    worker.sigterm();
    manager.hears("STATUS=stopping").await;
    manager.hears("STOPPING=1").await;
    assert!(worker.wait_exit().await.success());
}

#[tokio::test]
async fn a_worker_that_takes_jobs_says_so() {
    let (manager, sandbox, vhost) = (
        Manager::new(),
        Served::start().await,
        Broker::shared().vhost(),
    );
    let worker = manager.start(&config(&vhost.url(), &sandbox, ""));
    manager.hears("READY=1").await;
    manager.hears("STATUS=connected and consuming").await;
    manager.hears("WATCHDOG=1").await;
    // Held up, it is silent, and systemd starts another.
    worker.sigstop();
    let silent = async {
        while tokio::time::timeout(Duration::from_secs(2), manager.hears("WATCHDOG=1"))
            .await
            .is_ok()
        {}
    };
    tokio::time::timeout(WITHIN, silent).await.expect("silence");
    worker.sigcont();
    manager.hears("WATCHDOG=1").await;
}

/// What `systemctl reload` does, by the unit's own command.
fn reload(worker: &Worker) {
    let unit = file("deploy/systemd/lookup-worker.service");
    let command = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecReload="))
        .expect("a command in the unit");
    let reloaded = Command::new("sh")
        .args(["-c", command])
        .env("MAINPID", worker.pid().as_raw_pid().to_string())
        .status();
    assert!(reloaded.expect("a shell").success(), "{command}");
}

#[tokio::test]
async fn a_reload_begins_and_ends_also_where_the_configuration_is_refused() {
    let (manager, sandbox, vhost) = (
        Manager::new(),
        Served::start().await,
        Broker::shared().vhost(),
    );
    let config = config(&vhost.url(), &sandbox, "");
    let worker = manager.start(&config);
    manager.hears("READY=1").await;
    for (config, told) in [
        (config.clone(), "the configuration was read again"),
        (config + "nonsense", "is refused; the one before stays"),
    ] {
        worker.configure(&config);
        reload(&worker);
        let began = manager.hears("RELOADING=1").await;
        let time: u64 = began
            .split_once("\nMONOTONIC_USEC=")
            .expect(&began)
            .1
            .parse()
            .expect("microseconds");
        assert!(time > 0, "{began}");
        manager.hears("READY=1").await;
        assert!(worker.log().contains(told), "{}", worker.log());
    }
}
