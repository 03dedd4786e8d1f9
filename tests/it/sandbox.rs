//! The sandbox against the documents' own examples, over real HTTP on free ports.

mod antsomi;
mod control;
mod egain;
mod faults;
mod kapture;
mod omeda;
mod plume;
mod start;

use std::{collections::BTreeMap, time::Duration};

use lookup_worker::sandbox::{Kind, Options, Sandbox};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::sync::oneshot;

/// A sandbox of one's own; it ends with the guard.
struct Local {
    bases: BTreeMap<Kind, String>,
    client: Client,
    _shutdown: oneshot::Sender<()>,
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Local {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let sandbox = Sandbox::bind(&options).await.unwrap();
        let bases = sandbox
            .addresses()
            .into_iter()
            .map(|(kind, address)| (kind, format!("http://{address}")))
            .collect();
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(sandbox.serve(async {
            let _ = receiver.await;
        }));
        // Bounded, so that a test of mine ends with an error instead of not at all.
        let client = Client::builder()
            .timeout(Duration::from_secs(10))
            .no_proxy()
            .build()
            .unwrap();
        Self {
            bases,
            client,
            _shutdown: sender,
        }
    }

    fn request(&self, kind: Kind, method: Method, target: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{target}", self.bases[&kind]))
    }

    /// A lookup with all that lets it in.
    fn lookup(&self, kind: Kind, target: &str) -> RequestBuilder {
        let request = self.request(
            kind,
            if kind == Kind::Kapture {
                Method::POST
            } else {
                Method::GET
            },
            target,
        );
        match kind {
            Kind::Omeda => request.header("x-omeda-appid", kind.token()),
            Kind::Kapture => request.header("authorization", format!("Basic {}", kind.token())),
            Kind::Egain => request
                .bearer_auth(kind.token())
                .header("accept", "application/json")
                .header("accept-language", "en-US"),
            Kind::Antsomi | Kind::Plume | Kind::Http => request.bearer_auth(kind.token()),
        }
    }

    async fn control(&self, kind: Kind, method: Method, route: &str, body: &str) -> Answer {
        let request = self
            .request(kind, method, &format!("/_sandbox/{route}"))
            .body(body.to_owned());
        answer(request).await
    }

    async fn stats(&self, kind: Kind) -> Value {
        self.control(kind, Method::GET, "stats", "").await.json()
    }

    async fn token(&self, kind: Kind, form: &str) -> Answer {
        let request = self.request(kind, Method::POST, kind.token_path().unwrap());
        answer(
            request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form.to_owned()),
        )
        .await
    }
}

async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    Answer {
        status,
        headers,
        text: response.text().await.expect("a whole body"),
    }
}
