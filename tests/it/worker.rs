//! The built program, running as the worker: started, watched, signalled, and gone when dropped.

use std::{
    env,
    fs::{self, File},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::keeper::free_ports;

/// Bound of a start and of a stop.
const WITHIN: Duration = Duration::from_secs(60);

/// One worker process.
pub struct Worker {
    folder: TempDir,
    http_port: u16,
    http: reqwest::Client,
    /// `None` after its end was awaited.
    process: Option<Process>,
}

impl Worker {
    /// Starts `lookup-worker run` with this configuration, its HTTP server on a port of its own. It is not yet ready.
    pub fn start(config_toml: &str) -> Self {
        Self::start_under(config_toml, &[])
    }

    /// As [`Self::start`], with more variables in its environment.
    pub fn start_under(config_toml: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("lookup-worker-")
            .tempdir()
            .expect("a folder");
        fs::write(folder.path().join("config.toml"), config_toml).expect("a file in our folder");
        let [http_port] = free_ports();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()
            .expect("a client");
        let mut worker = Self {
            folder,
            http_port,
            http,
            process: None,
        };
        worker.start_with(environment);
        worker
    }

    /// Writes its configuration anew; it is read at the next start, or at SIGHUP.
    pub fn configure(&self, config_toml: &str) {
        fs::write(self.folder.path().join("config.toml"), config_toml)
            .expect("a file in our folder");
    }

    /// Returns when it has logged `text` `times` times.
    pub async fn wait_for_log(&self, text: &str, times: usize) {
        let give_up = Instant::now() + WITHIN;
        while self.log().matches(text).count() < times {
            assert!(
                Instant::now() < give_up,
                "{text:?} is not logged {times} times:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts it again after its end, to fail as `FAILPOINT` says.
    pub fn start_to_fail(&mut self, failpoint: &str) {
        self.start_with(&[("FAILPOINT", failpoint)]);
    }

    /// Starts it again after its end, with the same configuration; the log goes on in the same file.
    pub fn start_again(&mut self) {
        self.start_with(&[]);
    }

    /// Starts it again after its end, with these variables in its environment.
    pub fn start_with(&mut self, environment: &[(&str, &str)]) {
        assert!(self.process.is_none(), "the worker still runs");
        let log = || {
            File::options()
                .create(true)
                .append(true)
                .open(self.folder.path().join("log"))
                .expect("a file in our folder")
        };
        let mut command = program();
        command
            .arg("run")
            .arg("--config")
            .arg(self.folder.path().join("config.toml"))
            .env(
                "LOOKUP__HTTP__LISTEN",
                format!("127.0.0.1:{}", self.http_port),
            )
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log());
        self.process = Some(Process::start(&mut command));
    }

    /// Returns when `/readyz` says that it is connected and consuming.
    pub async fn wait_ready(&mut self) {
        let give_up = Instant::now() + WITHIN;
        loop {
            let (status, text) = self.get("/readyz").await.unwrap_or_default();
            if status == 200 {
                return;
            }
            if let Some(end) = self.process.as_mut().and_then(Process::ended) {
                panic!(
                    "the worker ended with {end} before it was ready:\n{}",
                    self.log()
                );
            }
            assert!(
                Instant::now() < give_up,
                "the worker is not ready: {status} {text:?}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// SIGTERM.
    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGINT.
    pub fn sigint(&self) {
        self.signal(Signal::INT);
    }

    /// SIGHUP.
    pub fn sighup(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGSTOP: it holds everything and does nothing.
    pub fn sigstop(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn sigcont(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL. Returns when the process is gone.
    pub fn kill9(&mut self) {
        // Dropped, it is killed.
        self.process = None;
    }

    /// Its exit status; it is expected to end by itself soon.
    pub async fn wait_exit(&mut self) -> ExitStatus {
        let give_up = Instant::now() + WITHIN;
        loop {
            let process = self.process.as_mut().expect("a worker that runs");
            if let Some(status) = process.ended() {
                self.process = None;
                return status;
            }
            assert!(
                Instant::now() < give_up,
                "the worker did not end within {WITHIN:?}:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Status and text of one of its HTTP pages, or `None` if it does not answer.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = self
            .http
            .get(format!("http://127.0.0.1:{}{path}", self.http_port))
            .send()
            .await
            .ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> String {
        let (status, text) = self.get("/metrics").await.expect("an answer from /metrics");
        assert_eq!(status, 200, "/metrics: {text}");
        text
    }

    /// One value of `/metrics`: of the series whose name and labels start with `series`, summed.
    pub async fn metric(&self, series: &str) -> f64 {
        let metrics = self.metrics().await;
        let of_series = metrics.lines().filter(|line| line.starts_with(series));
        of_series
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// What it has logged so far, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The port of its HTTP server.
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// Process id.
    pub fn pid(&self) -> Pid {
        self.process.as_ref().expect("a worker that runs").pid()
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a worker that runs");
    }
}

/// The built program, without any configuration that the machine's environment has for it.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lookup-worker"));
    let inherited = env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_string_lossy().starts_with("LOOKUP__")) {
        command.env_remove(name);
    }
    command
}

/// A child process that is killed when dropped, and also when the test process itself is killed.
pub struct Process {
    child: Child,
    /// A shell that waits for the end of its input, which comes with the end of the test process.
    watcher: Child,
}

impl Process {
    /// Starts the command.
    pub fn start(command: &mut Command) -> Self {
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
        let watcher = Command::new("sh")
            .args([
                "-c",
                "read -r _; kill -9 \"$1\"",
                "watcher",
                &child.id().to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        Self { child, watcher }
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watcher first: afterwards the process id may be another's.
        for process in [&mut self.watcher, &mut self.child] {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
