//! One line of `check`: what was looked at, whether it is well, and what to do.

use serde::Serialize;

use super::super::{Failed, print_line};

/// What was found out about one thing.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    check: String,
    ok: bool,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    /// All is well with it.
    pub fn well(check: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            ok: true,
            message: message.into(),
            advice: None,
        }
    }

    /// It works, but somebody should look at it; the exit code stays 0.
    pub fn note(
        check: impl Into<String>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            advice: Some(advice.into()),
            ..Self::well(check, message)
        }
    }

    /// It does not work.
    pub fn bad(check: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            ok: false,
            ..Self::well(check, message)
        }
    }

    /// Whether it does not work.
    pub fn is_bad(&self) -> bool {
        !self.ok
    }

    /// With what to do.
    pub fn advise(self, advice: impl Into<String>) -> Self {
        Self {
            advice: Some(advice.into()),
            ..self
        }
    }

    /// What is bad is a note, for this reason.
    pub fn excused(self, reason: &str) -> Self {
        if self.ok {
            self
        } else {
            Self {
                ok: true,
                advice: Some(reason.into()),
                ..self
            }
        }
    }
}

/// Prints findings as they come.
pub struct Report {
    as_json: bool,
    width: usize,
    /// Whether nothing bad was found.
    pub all_well: bool,
}

impl Report {
    /// For checks whose names have up to `width` characters.
    pub fn new(as_json: bool, width: usize) -> Self {
        Self {
            as_json,
            width,
            all_well: true,
        }
    }

    /// Prints a line for each.
    pub fn add(&mut self, findings: impl IntoIterator<Item = Finding>) -> Result<(), Failed> {
        for finding in findings {
            self.all_well &= finding.ok;
            let line = if self.as_json {
                serde_json::to_string(&finding).map_err(Failed::new)?
            } else {
                self.text(&finding)
            };
            print_line(line.as_bytes())?;
        }
        Ok(())
    }

    fn text(
        &self,
        Finding {
            check,
            ok,
            message,
            advice,
        }: &Finding,
    ) -> String {
        let mark = match (ok, advice) {
            (true, None) => "ok",
            (true, Some(_)) => "note",
            (false, _) => "FAIL",
        };
        let advice = advice
            .as_deref()
            .map(|advice| format!(" -> {advice}"))
            .unwrap_or_default();
        format!(
            "{mark:<4}  {check:<width$}  {message}{advice}",
            width = self.width
        )
    }
}
