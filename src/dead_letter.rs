//! What a dead letter is called, and whom it asks for: a person, or nobody any more.

use crate::failure::ErrorKind;

/// `x-lookup-error` of a result that could not be delivered.
pub const UNDELIVERABLE_RESULT: &str = "undeliverable_result";

/// `x-lookup-error` of a result that says that the deadline was over, where nobody waited for it any longer.
pub const TOO_LATE_RESULT: &str = "too_late_result";

/// The command that sends back a provider's letters with these errors.
#[must_use]
pub fn replay<'a>(provider: &str, errors: impl IntoIterator<Item = &'a str>) -> String {
    let mut command = format!("lookup-worker dead replay --provider {provider}");
    for error in errors {
        command.push_str(" --error ");
        command.push_str(error);
    }
    command
}

/// Whom a dead letter asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsksFor {
    /// Something has to be mended, or sent once more.
    Person,
    /// Whoever made the mistake was told, or waits no more.
    Nobody,
}

impl AsksFor {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::Person, Self::Nobody];

    /// By what stands in `x-lookup-error`.
    #[must_use]
    pub fn by(error: &str) -> Self {
        let requesters = |kind: &ErrorKind| kind.is_requesters() && kind.as_str() == error;
        if error == TOO_LATE_RESULT || ErrorKind::ALL.iter().any(requesters) {
            Self::Nobody
        } else {
            Self::Person
        }
    }

    /// In headers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Nobody => "nobody",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_names_provider_and_errors() {
        let command = replay("crm", ["forbidden", "unauthorized"]);
        let expected =
            "lookup-worker dead replay --provider crm --error forbidden --error unauthorized";
        assert_eq!(command, expected);
    }

    #[test]
    fn requesters_mistakes_and_answers_that_nobody_waits_for_ask_for_nobody() {
        for error in ["invalid_job", "unknown_provider", "too_late_result"] {
            assert_eq!(AsksFor::by(error), AsksFor::Nobody, "{error}");
        }
        for error in [
            "timeout",
            "unauthorized",
            "rejected",
            "internal",
            "undeliverable_result",
            "delivery_limit",
            "expired",
            "",
        ] {
            assert_eq!(AsksFor::by(error), AsksFor::Person, "{error}");
        }
    }
}
