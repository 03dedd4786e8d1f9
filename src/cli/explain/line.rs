//! One line of `explain`.

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    cli::dead::letter::Letter,
    dead_letter::AsksFor,
    message::{Destination, QueuePosition, ResultSummary, Sighting, Whereabouts},
};

/// What was found out.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Finding {
    /// A worker has it, or had it.
    At {
        worker: String,
        #[serde(flatten)]
        sighting: Sighting,
    },
    /// It is a dead letter.
    Dead(Dead),
    /// What lies in the queue of results.
    Results {
        note: &'static str,
        queue: String,
        ready: u32,
    },
    /// Nobody knows of it.
    Unseen(Unseen),
    /// Not everybody answered.
    Silent {
        note: &'static str,
        silent: u32,
        workers: u32,
    },
}

/// A dead letter, without anything of its own words.
#[derive(Debug, Serialize)]
pub(super) struct Dead {
    #[serde(rename = "where")]
    at: &'static str,
    provider: Option<String>,
    error: String,
    asks_for: &'static str,
    attempts: u64,
    replays: u64,
    died_at: Option<Timestamp>,
}

/// Where it may be all the same.
#[derive(Debug, Serialize)]
pub(super) struct Unseen {
    #[serde(rename = "where")]
    at: &'static str,
    /// Workers that were asked.
    workers: u32,
    /// Jobs that no worker was given, by queue.
    ready: BTreeMap<String, u32>,
}

impl Finding {
    pub fn at(worker: &str, sighting: Sighting) -> Self {
        let worker = worker.to_owned();
        Self::At { worker, sighting }
    }

    pub fn dead(letter: &Letter) -> Self {
        Self::Dead(Dead {
            at: "dead",
            provider: letter.provider.clone(),
            error: letter.error.clone(),
            asks_for: letter.asks_for().as_str(),
            attempts: letter.attempts,
            replays: letter.replays,
            died_at: letter.died,
        })
    }

    pub fn unseen(workers: u32, ready: BTreeMap<String, u32>) -> Self {
        let at = "unseen";
        Self::Unseen(Unseen { at, workers, ready })
    }

    pub fn results(queue: &str, ready: u32) -> Self {
        let queue = queue.to_owned();
        let note = "results";
        Self::Results { note, queue, ready }
    }

    pub fn silent(silent: u32, workers: u32) -> Self {
        let note = "silent_workers";
        Self::Silent {
            note,
            silent,
            workers,
        }
    }

    /// Whether the job is or was there.
    pub fn is_place(&self) -> bool {
        matches!(self, Self::At { .. } | Self::Dead(_))
    }

    /// Whether its result went into the worker's own queue of results.
    pub fn is_in_results(&self) -> bool {
        let result = match self {
            Self::At { sighting, .. } => sighting.result.as_ref(),
            _ => None,
        };
        result.is_some_and(|result| result.to == Destination::Results)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::At { worker, sighting } => write!(f, "{} ({worker})", Told(sighting)),
            Self::Dead(dead) => dead.fmt(f),
            Self::Results { queue, ready, .. } => match ready {
                0 => write!(f, "{queue} is empty: its result was taken out"),
                _ => write!(
                    f,
                    "{ready} results lie in {queue}; its own may be among them"
                ),
            },
            Self::Unseen(unseen) => unseen.fmt(f),
            Self::Silent {
                silent, workers, ..
            } => write!(
                f,
                "{silent} of {workers} workers did not answer: they are frozen or of an earlier version, and what they \
                 hold is not known"
            ),
        }
    }
}

/// A sighting in words.
struct Told<'a>(&'a Sighting);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let it = self.0;
        write!(f, "{}, {}: ", shown(&it.provider), it.lane)?;
        if let Some(step) = &it.step {
            write!(f, "step {step}: ")?;
        }
        f.write_str(match it.at {
            Whereabouts::Queued => "a worker was given it and has not begun it",
            Whereabouts::Begun => "it is being worked on",
            Whereabouts::WaitsForQuota => "it waits for the quota",
            Whereabouts::WaitsForTurn => "it waits for its turn to be asked",
            Whereabouts::InFlight => "its request is on its way",
            Whereabouts::Rests => "it waits in the worker for its next attempt",
            Whereabouts::Delayed => "it waits in a delay queue for its next attempt",
            Whereabouts::Settling => "what replaces it is being published",
            Whereabouts::Answered => "it was answered",
            Whereabouts::Elsewhere => "a worker of a later version has it",
        })?;
        if let Some(QueuePosition { place, of, calls }) = it.position {
            write!(f, ", at place {place} of {of} there")?;
            if calls > 0 {
                write!(f, ", behind {calls} calls")?;
            }
        }
        if let Some(until) = it.until {
            write!(f, ", until about {until:.0}")?;
        }
        if let Some(queue) = &it.queue {
            write!(f, ", in {queue}")?;
        }
        if let Some(ms) = it.for_ms {
            let time = Duration::from_millis(ms - ms % 100);
            write!(f, ", for {}", humantime::format_duration(time))?;
        }
        if let Some(attempts) = it.attempts {
            write!(f, ", {attempts} requests so far")?;
        }
        if let Some(result) = &it.result {
            f.write_str(&answered(result))?;
        }
        match &it.trouble {
            Some(trouble) => write!(
                f,
                "; {}: {}",
                it.step.as_ref().unwrap_or(&it.provider),
                shown(trouble)
            ),
            None => Ok(()),
        }
    }
}

/// What others wrote, without what would steer a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn answered(result: &ResultSummary) -> String {
    let ResultSummary {
        status,
        error,
        at,
        confirmed,
        to,
    } = result;
    let error = error.as_deref().map(|error| format!(" ({error})"));
    let place = match to {
        Destination::Reply => {
            "its requester's queue, and whether it was read there its requester knows alone"
        }
        Destination::Results => "the queue of results",
        Destination::DeadLetters => "the dead letters: its requester's queue did not take it",
        Destination::Elsewhere => "where a later version of the worker alone knows",
    };
    let went = if *confirmed {
        "went to"
    } else {
        "is not confirmed yet by"
    };
    let error = error.unwrap_or_default();
    format!(", {status}{error}, about {at:.0}; the result {went} {place}")
}

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let provider = self.provider.as_deref().unwrap_or("(no provider)");
        write!(
            f,
            "{}: it is a dead letter, {}",
            shown(provider),
            shown(&self.error)
        )?;
        if let Some(died) = self.died_at {
            write!(f, ", since {died:.0}")?;
        }
        let asks_for = if self.asks_for == AsksFor::Nobody.as_str() {
            "nobody: its requester was told"
        } else {
            "a person"
        };
        write!(
            f,
            ", after {} requests, and asks for {asks_for}; `lookup-worker dead show --id JOB` tells more",
            self.attempts
        )
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.workers {
            0 => f.write_str("no worker takes jobs")?,
            workers => write!(f, "no worker has it ({workers} were asked)")?,
        }
        f.write_str(", and it is no dead letter; ")?;
        if self.ready.is_empty() {
            return f.write_str(
                "no queue holds a job that no worker was given. So it was never published here, or was answered longer ago \
                 than workers remember; of a job without the property message_id they remember no answer",
            );
        }
        f.write_str("it may lie among the jobs that no worker was given: ")?;
        let mut ready = self.ready.iter();
        if let Some((queue, count)) = ready.next() {
            write!(f, "{count} in {queue}")?;
        }
        for (queue, count) in ready {
            write!(f, ", {count} in {queue}")?;
        }
        f.write_str(". These are not looked through, since that would count as a delivery of each")
    }
}
