//! Why a job was not answered with customers: the classes of contract §5.

use std::{borrow::Cow, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The class of a failure, as `error.kind` in a result.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Not a job: the message names the field and what was expected.
    InvalidJob,
    /// No worker has such a provider.
    UnknownProvider,
    /// The provider refused the request: 400, 406, 422, another 4xx, or so its body says.
    Rejected,
    /// The credentials were not accepted.
    Unauthorized,
    /// The credentials do not allow this lookup.
    Forbidden,
    /// A 404 that does not speak of a customer: most likely a wrong `base_url`.
    EndpointNotFound,
    /// An answer that cannot be read as the provider's document says.
    BadResponse,
    /// Too many requests.
    RateLimited,
    /// The provider failed: a 5xx, or so its body says.
    ProviderError,
    /// No answer in time.
    Timeout,
    /// No connection, or one that broke.
    Connection,
    /// The job's deadline came first.
    DeadlineExceeded,
    /// The worker itself failed at this job.
    Internal,
}

impl ErrorKind {
    /// Every class.
    pub const ALL: [Self; 13] = [
        Self::InvalidJob,
        Self::UnknownProvider,
        Self::Rejected,
        Self::Unauthorized,
        Self::Forbidden,
        Self::EndpointNotFound,
        Self::BadResponse,
        Self::RateLimited,
        Self::ProviderError,
        Self::Timeout,
        Self::Connection,
        Self::DeadlineExceeded,
        Self::Internal,
    ];

    /// Whether another attempt may do better.
    #[must_use]
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited | Self::ProviderError | Self::Timeout | Self::Connection
        )
    }

    /// Whether the requester made a mistake: it was told so, and no other attempt can help.
    #[must_use]
    pub fn is_requesters(self) -> bool {
        matches!(self, Self::InvalidJob | Self::UnknownProvider)
    }

    /// Whether it is the name of a class by which credentials are refused.
    #[must_use]
    pub fn is_of_credentials(name: &str) -> bool {
        [Self::Unauthorized, Self::Forbidden]
            .map(Self::as_str)
            .contains(&name)
    }

    /// The name in results, headers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJob => "invalid_job",
            Self::UnknownProvider => "unknown_provider",
            Self::Rejected => "rejected",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::EndpointNotFound => "endpoint_not_found",
            Self::BadResponse => "bad_response",
            Self::RateLimited => "rate_limited",
            Self::ProviderError => "provider_error",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Internal => "internal",
        }
    }
}

/// A failure, in two voices: one for everybody's eyes and one for the requester's alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its class.
    pub kind: ErrorKind,
    /// Our own words: what was expected, what came, what to do. They hold nothing of the job's values
    /// nor of the provider's text, so they may stand in logs and dead-letter headers.
    pub message: Cow<'static, str>,
    /// The provider's words, which may speak of a person: they go to the requester and nowhere else.
    pub said: Option<String>,
    /// HTTP status of the last answer, where there was one.
    pub http_status: Option<u16>,
    /// The provider asked to be left alone for this long.
    pub retry_after: Option<Duration>,
    /// The provider itself answered, about this customer or this request alone: it is well, and knows us.
    pub about_customer: bool,
}

/// The provider's words are cut after this many characters.
const LONGEST_QUOTE: usize = 500;

impl Failure {
    /// A failure of which nothing but class and message is known.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            said: None,
            http_status: None,
            retry_after: None,
            about_customer: false,
        }
    }

    /// With the provider's words.
    #[must_use]
    pub fn said(mut self, words: &str) -> Self {
        let words = words.trim();
        self.said = (!words.is_empty()).then(|| words.chars().take(LONGEST_QUOTE).collect());
        self
    }

    /// With the status of the answer.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.http_status = Some(status);
        self
    }

    /// As the provider's own word about this customer or this request alone.
    #[must_use]
    pub fn about_customer(mut self) -> Self {
        self.about_customer = true;
        self
    }

    /// Whether it is final and says nothing of the customer: the job is worth another try once its cause is mended.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self.kind {
            ErrorKind::Unauthorized
            | ErrorKind::Forbidden
            | ErrorKind::EndpointNotFound
            | ErrorKind::BadResponse => true,
            ErrorKind::Rejected => !self.about_customer,
            _ => false,
        }
    }

    /// Both voices, for the requester.
    #[must_use]
    pub fn full_message(&self) -> String {
        match &self.said {
            Some(said) => format!("{}: {said}", self.message),
            None => self.message.to_string(),
        }
    }
}
