//! What is counted: a kind's job, read and turned into its request; a kind's answer, read and written as a result.

use std::{fs, hint::black_box, path::Path};

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use lookup_worker::{
    job::{Envelope, Job},
    outcome::Outcome,
    provider::Adapter,
    result::LookupResult,
};
use serde_json::{Map, Value, json};

use crate::target;

/// Kind `http`, described as this kind is: the same jobs and the same answers.
const DESCRIBED: &str = "plume";

/// The answer of each kind's document, of the tests' fixtures.
const ANSWERS: [(&str, &str); 6] = [
    ("http", "the-document-s-answer"),
    ("antsomi", "the-document-s-answer"),
    ("omeda", "the-document-s-answer-with-its-comma-mended"),
    ("kapture", "the-document-s-answer"),
    ("egain", "the-real-customer"),
    ("plume", "the-document-s-answer"),
];

/// A job as they are sent, of about 200 bytes, and the answer to it.
pub struct Case {
    part: Part,
    adapter: Adapter,
    envelope: Envelope,
    body: Vec<u8>,
    response: Response<Bytes>,
}

/// The half of the way that is repeated.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Job,
    Answer,
}

impl Case {
    /// All of them: `job/KIND` and `answer/KIND`.
    pub fn names() -> Vec<String> {
        ANSWERS
            .iter()
            .flat_map(|(kind, _)| [format!("job/{kind}"), format!("answer/{kind}")])
            .collect()
    }

    /// The case of this name.
    pub fn named(name: &str) -> Self {
        let (part, kind) = name.split_once('/').expect("PART/KIND");
        let part = if part == "job" {
            Part::Job
        } else {
            Part::Answer
        };
        let (_, file) = ANSWERS.iter().find(|(of, _)| *of == kind).expect("a kind");
        let of = if kind == "http" { DESCRIBED } else { kind };
        let body = json!({
            "query": target::query(of),
            "deadline_ms": 60_000,
            "context": { "crm": "a-crm", "ticket": 4711, "tags": ["one", "two"], "note": "returned as it is" },
        });
        let envelope = Envelope {
            routing_key: "it.bulk".into(),
            message_id: Some("0b7a1c9e-6f5d-4c3b-8a29-18e7d6c5b4a3".into()),
            correlation_id: Some("call-4711".into()),
            ..Envelope::default()
        };
        let response = Response::new(Bytes::from(answer(of, file)));
        Self {
            part,
            adapter: match kind {
                "http" => target::described(DESCRIBED, &Map::new()).expect("a descriptor"),
                kind => target::plain(kind),
            },
            envelope,
            body: body.to_string().into_bytes(),
            response,
        }
    }

    /// Repeats its part so often.
    pub fn repeat(&self, times: u32) {
        let job = self.read();
        for _ in 0..times {
            match self.part {
                Part::Job => drop(black_box(self.read())),
                Part::Answer => drop(black_box(self.result(&job))),
            }
        }
    }

    fn read(&self) -> Job {
        let now = black_box(Timestamp::UNIX_EPOCH);
        Job::read(
            black_box(&self.envelope),
            black_box(&self.body),
            1 << 20,
            Some(&self.adapter),
            now,
        )
        .unwrap_or_else(|not_a_job| panic!("{}", not_a_job.failure.message))
    }

    fn result(&self, job: &Job) -> Vec<u8> {
        let outcome = self.adapter.read(
            &job.lookup,
            black_box(&self.response),
            Timestamp::UNIX_EPOCH,
        );
        assert!(
            matches!(outcome, Outcome::Found(..)),
            "a customer is found: {outcome:?}"
        );
        let ticket = job.ticket.clone();
        let result = LookupResult::new(ticket.id, ticket.provider, outcome, 1, ticket.received);
        LookupResult {
            context: ticket.context,
            ..result
        }
        .to_json()
    }
}

/// The body of a fixture's response.
fn answer(kind: &str, file: &str) -> Vec<u8> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{kind}/{file}.json"));
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let fixture: Value = serde_json::from_slice(&text).expect("a fixture in JSON");
    fixture["response"]["body"].to_string().into_bytes()
}
