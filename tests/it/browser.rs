//! Chromium without a window, driven by WebDriver as the standard has it, and by Chromium's own commands for what it
//! has not.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{keeper::free_ports, worker::Process};

/// Bound of a start, and of what a page comes to.
const WITHIN: Duration = Duration::from_secs(60);

/// Looks up no host and reports to nobody.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// One browser with one page, gone when dropped.
pub struct Browser {
    session: String,
    client: reqwest::Client,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// An empty page.
    pub async fn start() -> Self {
        let [port] = free_ports();
        let mut driver = Command::new("chromedriver");
        driver
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let profile = tempfile::tempdir().expect("a folder");
        let arguments = FLAGS.map(str::to_owned).into_iter();
        let arguments: Vec<_> = arguments
            .chain([format!("--user-data-dir={}", profile.path().display())])
            .collect();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(WITHIN)
            .build()
            .expect("a client");
        let mut browser = Self {
            session: String::new(),
            client,
            _driver: Process::start(&mut driver),
            _profile: profile,
        };
        let server = format!("http://127.0.0.1:{port}");
        let give_up = Instant::now() + WITHIN;
        while browser
            .client
            .get(format!("{server}/status"))
            .send()
            .await
            .is_err()
        {
            assert!(Instant::now() < give_up, "chromedriver does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let session = browser.send(&format!("{server}/session"), &wanted).await;
        browser.session = format!(
            "{server}/session/{}",
            session["sessionId"].as_str().expect("a session")
        );
        // What it begins with asks for its own parts.
        browser.open("about:blank").await;
        browser.requested().await;
        browser
    }

    async fn send(&self, url: &str, body: &Value) -> Value {
        let request = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = request
            .send()
            .await
            .expect("chromedriver")
            .text()
            .await
            .expect("its answer");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(answer["value"]["error"].is_null(), "{url} {body}: {answer}");
        answer["value"].clone()
    }

    /// One of the commands that WebDriver has for a session.
    async fn command(&self, command: &str, body: Value) -> Value {
        self.send(&format!("{}/{command}", self.session), &body)
            .await
    }

    /// One of Chromium's own.
    async fn chromium(&self, command: &str, parameters: Value) {
        self.command(
            "goog/cdp/execute",
            json!({"cmd": command, "params": parameters}),
        )
        .await;
    }

    /// Goes there.
    pub async fn open(&self, url: &str) {
        self.command("url", json!({"url": url})).await;
    }

    /// A screen of this size in pixels of CSS, that of a telephone or not, by day (`light`) or by night (`dark`).
    pub async fn screen(&self, (width, height): (u32, u32), mobile: bool, scheme: &str) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 2, "mobile": mobile});
        self.chromium("Emulation.setDeviceMetricsOverride", metrics)
            .await;
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.chromium("Emulation.setEmulatedMedia", json!({"features": [feature]}))
            .await;
    }

    /// What an expression of JavaScript is in the page.
    pub async fn value(&self, expression: &str) -> Value {
        self.command(
            "execute/sync",
            json!({"script": format!("return {expression}"), "args": []}),
        )
        .await
    }

    /// Returns when it is true.
    pub async fn wait_for(&self, expression: &str) {
        let give_up = Instant::now() + WITHIN;
        while self.value(expression).await != true {
            let text = self.value("document.body.innerText").await;
            assert!(
                Instant::now() < give_up,
                "{expression} does not become true:\n{text}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The entries of one of its logs since the last call, each as Chromium wrote it.
    async fn log(&self, kind: &str) -> Vec<Value> {
        self.command("se/log", json!({"type": kind}))
            .await
            .as_array()
            .expect("entries")
            .clone()
    }

    /// What stands in its console.
    pub async fn console(&self) -> Vec<Value> {
        self.log("browser").await
    }

    /// The addresses that the page asked for.
    pub async fn requested(&self) -> Vec<String> {
        let message = |entry: Value| serde_json::from_str::<Value>(entry["message"].as_str()?).ok();
        let messages = self
            .log("performance")
            .await
            .into_iter()
            .filter_map(message);
        let sent =
            messages.filter(|message| message["message"]["method"] == "Network.requestWillBeSent");
        sent.map(|message| {
            message["message"]["params"]["request"]["url"]
                .as_str()
                .expect("an address")
                .to_owned()
        })
        .collect()
    }

    /// The whole page as PNG.
    pub async fn picture(&self, path: &Path) {
        let height = self.value("document.documentElement.scrollHeight").await;
        let clip = json!({"x": 0, "y": 0, "width": self.value("innerWidth").await, "height": height, "scale": 1});
        let parameters = json!({"captureBeyondViewport": true, "clip": clip});
        let body = json!({"cmd": "Page.captureScreenshot", "params": parameters});
        let taken = self.command("goog/cdp/execute", body).await;
        let png = BASE64_STANDARD
            .decode(taken["data"].as_str().expect("a picture"))
            .expect("base64");
        std::fs::write(path, png).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Ends it; dropped, its driver alone would end.
    pub async fn close(self) {
        let _ = self.client.delete(&self.session).send().await;
    }
}
