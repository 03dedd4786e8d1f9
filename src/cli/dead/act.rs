//! `dead replay` and `dead drop`: what takes a letter away.

use std::{collections::BTreeMap, process::ExitCode};

use indicatif::ProgressBar;
use serde_json::json;

use super::{
    clean,
    letter::{Home, Letter},
};
use crate::{
    broker::{Delivery, Fate, Message, Route},
    cli::{Failed, print_line},
    message::{DIRECT_REPLY_TO, Names, header},
};

/// What a letter must not take along: it would go on where it ended, or be taken for a dead one.
const ENDED: [&str; 11] = [
    header::ERROR,
    header::ASKS_FOR,
    header::MESSAGE,
    header::ATTEMPTS,
    header::ROUTING_KEY,
    header::RECEIVED_AT,
    header::HTTP_STATUS,
    header::DUE_AT,
    header::PARKED_AT,
    header::DIED_AT,
    header::SUSPECT,
];

/// What is done with a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Replay {
        /// What is answered goes to the results queue, whatever its `reply_to`.
        to_results: bool,
    },
    Drop,
}

/// Does it, and counts.
pub(super) struct Acting<'a> {
    names: &'a Names,
    progress: &'a ProgressBar,
    as_json: bool,
    /// Letters that were done with, or would be.
    done: u64,
    /// Letters that left the queue.
    pub taken: u32,
    /// Why letters stayed, and how many.
    stayed: BTreeMap<&'static str, u64>,
}

impl<'a> Acting<'a> {
    pub fn new(names: &'a Names, progress: &'a ProgressBar, as_json: bool) -> Self {
        Self {
            names,
            progress,
            as_json,
            done: 0,
            taken: 0,
            stayed: BTreeMap::new(),
        }
    }

    /// Takes the letter away once its replacement is confirmed.
    pub async fn act(
        &mut self,
        act: Act,
        dry_run: bool,
        letter: &Letter,
        delivery: &Delivery,
    ) -> Result<(), Failed> {
        let problem = match act {
            _ if dry_run => None,
            Act::Drop => None,
            Act::Replay { to_results } => self.send_back(letter, delivery, to_results).await?,
        };
        match problem {
            Some(problem) => *self.stayed.entry(problem).or_default() += 1,
            None => self.done += 1,
        }
        if !dry_run && problem.is_none() {
            delivery.ack().await;
            self.taken += 1;
        }
        if self.as_json {
            self.progress
                .suspend(|| print_json(act, dry_run, letter, problem))?;
        }
        Ok(())
    }

    /// Publishes the letter to where it belongs, and waits for the broker's word; else says why it stays.
    async fn send_back(
        &self,
        letter: &Letter,
        delivery: &Delivery,
        to_results: bool,
    ) -> Result<Option<&'static str>, Failed> {
        let (jobs, results) = (self.names.jobs_exchange(), self.names.results());
        let to_results_queue = letter.result_key.as_deref().filter(|_| to_results);
        let route = match &letter.home {
            _ if to_results_queue.is_some() => Route::Exchange {
                exchange: results,
                key: to_results_queue.unwrap_or_default(),
            },
            Home::Jobs(key) => Route::Exchange {
                exchange: &jobs,
                key,
            },
            Home::Reply(name) if name.starts_with(DIRECT_REPLY_TO) => Route::Direct(name),
            Home::Reply(queue) => Route::Queue(queue),
            Home::Results(key) => Route::Exchange {
                exchange: results,
                key,
            },
        };
        let replays = i64::try_from(letter.replays).unwrap_or_default() + 1;
        let mut message: Message = delivery
            .forward_body()
            .without(&ENDED)
            .count_header(header::REPLAYS, replays);
        if to_results {
            message = message.without_reply_to();
        }
        match delivery
            .session
            .publisher
            .publish(route, &|| message.clone())
            .await
            .map_err(Failed::new)?
        {
            Fate::Confirmed => Ok(None),
            Fate::Returned => Ok(Some(
                "their queue is not there (`--to-results` lets results wait in the queue of results)",
            )),
            Fate::Refused => Ok(Some(
                "their queue takes nothing: it is full, or has no leader",
            )),
            Fate::Silent => Ok(Some("their queue confirms nothing: it has no leader")),
            Fate::TooLarge => Ok(Some("they are larger than the broker's max_message_size")),
        }
    }

    /// Tells what was done; not well if something could not be.
    pub fn finish(self, act: Act, dry_run: bool) -> Result<ExitCode, Failed> {
        if !self.as_json {
            let what = match (act, dry_run) {
                (Act::Replay { .. }, false) => "sent back",
                (Act::Replay { .. }, true) => "would be sent back",
                (Act::Drop, false) => "dropped",
                (Act::Drop, true) => "would be dropped",
            };
            print_line(format!("{} dead letters {what}", self.done).as_bytes())?;
        }
        if self.stayed.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let reasons = self
            .stayed
            .iter()
            .map(|(why, count)| format!("{count} dead letters stay: {why}"));
        Err(Failed::new(reasons.collect::<Vec<_>>().join("; ")))
    }
}

fn print_json(
    act: Act,
    dry_run: bool,
    letter: &Letter,
    problem: Option<&str>,
) -> Result<(), Failed> {
    let action = match (act, dry_run, problem) {
        (_, _, Some(_)) => "kept",
        (Act::Replay { .. }, false, _) => "replayed",
        (Act::Replay { .. }, true, _) => "would_replay",
        (Act::Drop, false, _) => "dropped",
        (Act::Drop, true, _) => "would_drop",
    };
    let line = json!({
        "action": action, "id": letter.id, "provider": letter.provider, "error": letter.error,
        "belongs_to": clean(&letter.home.describe(false)), "problem": problem,
    });
    Ok(print_line(line.to_string().as_bytes())?)
}
