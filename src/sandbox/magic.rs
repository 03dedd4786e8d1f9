//! Numbers that stand for a fault, so that a plain job can ask for one; the same for all kinds.
//!
//! They go wherever the kind takes a number or a text to look for: a phone, a customer's id, an account's id.

use std::{collections::HashMap, fmt::Write, time::Duration};

use super::fault::{Damage, Fault};

/// One number and what it does.
pub(super) struct Magic {
    pub value: &'static str,
    fault: Fault,
    /// How often, until reset; then the number is found like any other.
    times: Option<u32>,
    says: &'static str,
}

/// The number that nobody has.
pub(super) const NOBODY: &str = "84900000404";

const fn always(value: &'static str, fault: Fault, says: &'static str) -> Magic {
    Magic {
        value,
        fault,
        times: None,
        says,
    }
}

const fn first(times: u32, value: &'static str, fault: Fault, says: &'static str) -> Magic {
    Magic {
        value,
        fault,
        times: Some(times),
        says,
    }
}

const SLOW: Fault = Fault {
    latency: Some(Duration::from_secs(1)),
    ..Fault::NONE
};
const LOST: Fault = Fault {
    status: Some(404),
    damage: Some(Damage::Html),
    ..Fault::NONE
};
const WAIT: Fault = Fault {
    status: Some(503),
    retry_after: Some(1),
    ..Fault::NONE
};

/// All of them.
pub(super) const TABLE: &[Magic] = &[
    always(
        NOBODY,
        Fault::NONE,
        "nobody: the kind's own 'no such customer'",
    ),
    always(
        "84900000302",
        Fault::status(302),
        "302 to /redirected, where nothing is",
    ),
    always("84900000400", Fault::status(400), "400 in the kind's shape"),
    always("84900000401", Fault::status(401), "401"),
    always(
        "84900000403",
        Fault::status(403),
        "403 (antsomi: body code 301)",
    ),
    always("84900000408", Fault::status(408), "408"),
    always("84900000422", Fault::status(422), "422"),
    first(
        2,
        "84900000429",
        Fault::status(429),
        "429 twice (antsomi: body code 500 and the HTML page), then found",
    ),
    always("84900000500", Fault::status(500), "500"),
    first(1, "84900000503", Fault::status(503), "503 once, then found"),
    first(
        1,
        "84900000513",
        WAIT,
        "503 with Retry-After: 1 once, then found",
    ),
    first(
        1,
        "84900000601",
        Fault::damage(Damage::Reset),
        "the connection is reset once, then found",
    ),
    first(
        1,
        "84900000602",
        Fault::damage(Damage::Truncate),
        "the body is cut short once, then found",
    ),
    always("84900000603", Fault::damage(Damage::Hang), "no answer ever"),
    always("84900000604", SLOW, "found, after one second"),
    always(
        "84900000605",
        Fault::damage(Damage::Html),
        "200 with an HTML page",
    ),
    always(
        "84900000606",
        LOST,
        "404 with an HTML page, as by a wrong base URL",
    ),
    first(
        1,
        "84900000613",
        Fault::damage(Damage::Hang),
        "no answer once, then found",
    ),
];

/// The number is found though no table lists it: 11 digits or more, beginning with 849.
///
/// Its customer's id is the number itself, so every number has a right answer of its own.
pub(super) fn is_load_number(value: &str) -> bool {
    value.len() >= 11
        && value.starts_with("849")
        && value.bytes().all(|b| b.is_ascii_digit())
        && value != NOBODY
}

/// How often each fault with a count has happened.
#[derive(Debug, Default)]
pub(super) struct Countdowns(HashMap<String, u32>);

impl Countdowns {
    /// Whether it still happens, `times` in all for each key.
    pub fn takes(&mut self, key: &str, times: Option<u32>) -> bool {
        let Some(times) = times else { return true };
        let seen = self.0.entry(key.to_owned()).or_default();
        let left = *seen < times;
        *seen += u32::from(left);
        left
    }

    /// The fault that one of these values stands for; `together` where each is a lookup of its own, and one request
    /// asks for all of them.
    pub fn magic(&mut self, values: &[String], together: bool) -> Option<Fault> {
        let faulty = TABLE.iter().filter(|magic| {
            magic.fault != Fault::NONE && values.iter().any(|value| value == magic.value)
        });
        let fault = faulty
            .into_iter()
            .find(|magic| self.takes(magic.value, magic.times))?
            .fault;
        // Credentials are let in or not, whoever is asked for. So the request is refused, and each may ask alone.
        let is_of_credentials = matches!(fault.status, Some(401 | 403));
        Some(if together && is_of_credentials {
            Fault::status(400)
        } else {
            fault
        })
    }
}

/// The table as text, for `--help`.
pub(super) fn help() -> String {
    TABLE.iter().fold(String::new(), |mut text, magic| {
        let _ = writeln!(text, "  {}  {}", magic.value, magic.says);
        text
    })
}
