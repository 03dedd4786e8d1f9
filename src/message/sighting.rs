//! What a worker tells of a job that somebody asks for by its id (`lookup-worker explain`): where it has it, and never
//! anything of what the job asks.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::lane::Lane;

/// The question: which job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its id.
    pub job: String,
}

/// One worker's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    /// The worker: its machine and process.
    pub worker: String,
    /// Everywhere that it has a job of this id; nowhere, most often.
    pub sightings: Vec<Sighting>,
}

/// One place where a worker has the job, or had it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sighting {
    /// Where.
    #[serde(rename = "where")]
    pub at: Whereabouts,
    /// The provider or lookup that the job is for.
    pub provider: String,
    /// The job's lane.
    pub lane: Lane,
    /// Of a lookup: the provider that is asked in this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// For how long it has been there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// HTTP requests made for it so far, as far as that is known there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Where it stands among those that wait.
    #[serde(rename = "line", default, skip_serializing_if = "Option::is_none")]
    pub position: Option<QueuePosition>,
    /// When it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The queue at the broker in which it lies meanwhile, one of the worker's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// What is not well with the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What it came to, once it is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ResultSummary>,
}

impl Sighting {
    /// Of a job for this provider, there; more may be known.
    #[must_use]
    pub fn new(at: Whereabouts, provider: &str, lane: Lane) -> Self {
        Self {
            at,
            provider: provider.to_owned(),
            lane,
            step: None,
            for_ms: None,
            attempts: None,
            position: None,
            until: None,
            queue: None,
            trouble: None,
            result: None,
        }
    }
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whereabouts {
    /// A worker was given it and has not begun it.
    Queued,
    /// It is begun, and waits for nothing that has a name here.
    Begun,
    /// It waits for a permission of the quota.
    WaitsForQuota,
    /// It waits for its turn to be asked, where there is no quota.
    WaitsForTurn,
    /// Its request is on its way.
    InFlight,
    /// It waits in the worker for its next attempt.
    Rests,
    /// It waits in a delay queue for its next attempt.
    Delayed,
    /// What replaces it (a result, a dead letter, a copy that waits) is being published.
    Settling,
    /// It is answered.
    Answered,
    /// What a later version of the worker calls otherwise.
    #[serde(other)]
    Elsewhere,
}

/// Where a job stands among those of its lane that wait for the same provider in the same worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePosition {
    /// The first has 1.
    pub place: usize,
    /// How many wait.
    pub of: usize,
    /// Calls that wait there besides, and go before a job in bulk.
    pub calls: usize,
}

/// What a job came to, as far as it is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResultSummary {
    /// The result's status.
    pub status: String,
    /// The class of its failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Whether the broker has confirmed the result.
    pub confirmed: bool,
    /// Where it went, or is to go.
    pub to: Destination,
}

/// Where a result goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// To the queue that its requester named.
    Reply,
    /// To the worker's queue of results: the requester named none, or one that is not answered.
    Results,
    /// To the dead letters: the requester's queue did not take it.
    DeadLetters,
    /// What a later version of the worker calls otherwise.
    #[serde(other)]
    Elsewhere,
}
