//! One request as it came, and one reply as it goes.

use std::fmt::Display;

use bytes::Bytes;
use http::{HeaderMap, Method, header::CONTENT_TYPE, request::Parts};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use url::form_urlencoded;

/// A whole request.
#[derive(Debug)]
pub(super) struct Ask {
    pub method: Method,
    /// Path and query, as they were sent.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    parameters: Vec<(String, String)>,
}

impl Ask {
    pub fn new(head: Parts, body: Bytes) -> Self {
        let target = head
            .uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str)
            .to_owned();
        let query = head.uri.query().unwrap_or_default();
        let parameters = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        Self {
            method: head.method,
            target,
            headers: head.headers,
            body,
            parameters,
        }
    }

    /// The path, as it was sent.
    pub fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The parts of the path between its slashes, decoded.
    pub fn segments(&self) -> Vec<String> {
        self.path()
            .split('/')
            .skip(1)
            .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect()
    }

    /// The query's parameters in the order of the request, decoded.
    pub fn parameters(&self) -> &[(String, String)] {
        &self.parameters
    }

    /// The first parameter of that name, decoded.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What stands in the Authorization header behind `scheme`, whose case does not matter (RFC 9110 §11.1).
    pub fn credentials(&self, scheme: &str) -> Option<&str> {
        let (given, rest) = self.header("authorization")?.split_once(' ')?;
        given.eq_ignore_ascii_case(scheme).then(|| rest.trim())
    }

    /// The body, where it is a form.
    pub fn form(&self) -> Option<Vec<(String, String)>> {
        let form = self
            .header("content-type")?
            .starts_with("application/x-www-form-urlencoded");
        form.then(|| form_urlencoded::parse(&self.body).into_owned().collect())
    }

    /// Path, query and body as a person reads them: what the `match` of a fault looks through.
    pub fn readable(&self) -> String {
        let target = self.target.replace('+', " ");
        format!(
            "{}\n{}",
            percent_decode_str(&target).decode_utf8_lossy(),
            String::from_utf8_lossy(&self.body)
        )
    }
}

/// A whole reply.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    /// Those that a descriptor's test names.
    pub more: Vec<(String, String)>,
    pub body: Bytes,
}

impl Reply {
    /// No body.
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            more: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub fn text(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![(CONTENT_TYPE.as_str(), kind.to_owned())],
            more: Vec::new(),
            body: body.into(),
        }
    }

    pub fn html(status: u16, body: impl Into<Bytes>) -> Self {
        Self::text(status, "text/html", body)
    }

    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("text keys and finite numbers");
        Self::text(status, "application/json", body)
    }

    pub fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.headers.push((name, format!("{value}")));
        self
    }
}
