//! The message that answers a job (contract §4).

use jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    customer::{Customer, Page},
    failure::{ErrorKind, Failure},
    outcome::Outcome,
};

/// `type` of a result's properties.
pub const MESSAGE_TYPE: &str = "lookup.result.v1";

/// RFC 3339 in UTC with milliseconds.
const MILLISECONDS: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// Bytes that hold most results with one customer, context and payload aside.
const USUAL_SIZE: usize = 512;

/// What came of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// One customer or more.
    Found,
    /// The provider said that there is none.
    NotFound,
    /// Neither: `error` tells why.
    Failed,
}

impl Status {
    /// The name in results, headers, routing keys and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::NotFound => "not_found",
            Self::Failed => "failed",
        }
    }
}

/// A result.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "LookupResult")]
pub struct LookupResult {
    /// The job's id.
    pub job_id: String,
    /// The provider's configured name.
    pub provider: String,
    /// What came of the job.
    pub status: Status,
    /// With status `found`, at least one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub customers: Vec<Customer>,
    /// Which part of the whole answer this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<Page>,
    /// With status `failed`, why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ResultError>,
    /// Of a lookup whose answer one provider gives, that provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<String>,
    /// HTTP requests made for the job; of a lookup, for its steps.
    pub attempts: u32,
    /// Milliseconds from the job's first receipt to this result.
    pub duration_ms: u64,
    /// When, RFC 3339 in UTC with milliseconds.
    #[schemars(extend("format" = "date-time"))]
    pub completed_at: String,
    /// Of a lookup, what each step came to, in the order asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<StepResult>>,
    /// Of a lookup that found somebody, that a step failed or was skipped: there may be more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub incomplete: bool,
    /// The job's context, untouched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>", extend("not" = {"type": "null"}))]
    pub context: Option<Box<RawValue>>,
    /// The provider's payload, where the job asked for it; of a lookup, by provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>", extend("not" = {"type": "null"}))]
    pub raw: Option<Box<RawValue>>,
}

/// What a step of a lookup came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepResult {
    /// The provider's configured name.
    pub provider: String,
    /// What came of it.
    pub status: StepStatus,
    /// With status `failed`, the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorKind>,
    /// With status `skipped`, why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<SkipReason>,
    /// HTTP requests made for it.
    pub attempts: u32,
    /// Milliseconds from its beginning to its end, waits included.
    pub duration_ms: u64,
    /// It was answered from memory.
    pub cached: bool,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// One customer or more.
    Found,
    /// The provider said that there is none.
    NotFound,
    /// Neither: `error` tells why.
    Failed,
    /// The provider was not asked: `reason` tells why.
    Skipped,
}

impl StepStatus {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Found, Self::NotFound, Self::Failed, Self::Skipped];

    /// The name in results and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::NotFound => "not_found",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// Why a step's provider was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// It is to be left alone, by its own word or by hand.
    Paused,
    /// It fails, and is left in peace.
    CircuitOpen,
    /// Its quota has no room before the deadline.
    Quota,
    /// The deadline came first.
    Deadline,
    /// The job lacks what the step takes.
    NoValue,
}

impl SkipReason {
    /// For a sentence.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Paused => "it is paused",
            Self::CircuitOpen => "its circuit is open",
            Self::Quota => "its quota has no room before the deadline",
            Self::Deadline => "the deadline came first",
            Self::NoValue => "the job lacks what it is asked by",
        }
    }
}

/// Why a job failed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ResultError {
    /// The class.
    pub kind: ErrorKind,
    /// What was expected, what came, what to do; with the provider's own words, where there were any.
    pub message: String,
    /// HTTP status of the last answer, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Whether the same job may do better later.
    pub retryable: bool,
}

impl From<&Failure> for ResultError {
    fn from(failure: &Failure) -> Self {
        Self {
            kind: failure.kind,
            message: failure.full_message(),
            http_status: failure.http_status,
            retryable: failure.kind.retryable(),
        }
    }
}

impl LookupResult {
    /// The result of a job that was received first at `received`.
    #[must_use]
    pub fn new(
        job_id: String,
        provider: String,
        outcome: Outcome,
        attempts: u32,
        received: Timestamp,
    ) -> Self {
        let now = Timestamp::now();
        let (status, customers, page, error) = match outcome {
            Outcome::Found(customers, page) => (Status::Found, customers, page, None),
            Outcome::NotFound(page) => (Status::NotFound, Vec::new(), page, None),
            Outcome::Failed(failure) => (
                Status::Failed,
                Vec::new(),
                None,
                Some(ResultError::from(&failure)),
            ),
        };
        Self {
            job_id,
            provider,
            status,
            customers,
            page,
            error,
            answered_by: None,
            steps: None,
            incomplete: false,
            attempts,
            duration_ms: now
                .as_millisecond()
                .saturating_sub(received.as_millisecond())
                .try_into()
                .unwrap_or(0),
            completed_at: MILLISECONDS.timestamp_to_string(&now),
            context: None,
            raw: None,
        }
    }

    /// The class of failure, for metrics; empty where there was none.
    #[must_use]
    pub fn error_kind(&self) -> &'static str {
        self.error.as_ref().map_or("", |error| error.kind.as_str())
    }

    /// The result as it is published.
    ///
    /// # Panics
    /// Never: every part of it can be written as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let untouched = [&self.context, &self.raw]
            .into_iter()
            .flatten()
            .map(|json| json.get().len())
            .sum::<usize>();
        let mut json = Vec::with_capacity(USUAL_SIZE + untouched);
        serde_json::to_writer(&mut json, self).expect("a result can always be written");
        json
    }
}

/// The result's `message_id`: the same for the same job, so that a repeated result can be told.
#[must_use]
pub fn message_id(job_id: &str) -> Uuid {
    /// A namespace of our own (RFC 9562 §6.6).
    const NAMESPACE: Uuid = Uuid::from_u128(0x6a1d_5c0e_52f4_4d0b_9b1e_3f2d_7c84_a901);
    Uuid::new_v5(&NAMESPACE, job_id.as_bytes())
}
