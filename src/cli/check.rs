//! `check`, the doctor: is all well, and if not, what to do? One line each.

mod broker; // all that a session tells: holds, replies, dead letters, backlogs, alarms
mod configuration; // what was read
mod finding; // a line
mod lookups; // what a job of each costs
mod provider; // reach, clock, credentials
mod reach; // of the broker, and its version
mod topology; // what is there, and what the user may do
mod worker; // the one that runs here

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use futures_util::future::join_all;

use super::Failed;
use crate::settings::Settings;
use finding::Report;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// One JSON object a line: check, ok, message, and advice where there is something to do.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    settings: Settings,
    file: Option<PathBuf>,
    arguments: Arguments,
) -> Result<ExitCode, Failed> {
    let longest = settings
        .providers
        .keys()
        .map(|name| "credentials ".len() + name.len())
        .chain(
            settings
                .lookups
                .keys()
                .map(|name| "backlog ".len() + name.len()),
        )
        .max()
        .unwrap_or(0);
    let mut report = Report::new(arguments.json, longest.max("configuration".len()));
    report.add(configuration::findings(&settings, file.as_deref()))?;
    let worker = worker::status(&settings).await;
    let (met, reached) = reach::reach(&settings.amqp).await;
    report.add(met)?;
    if let Some(reached) = reached {
        report.add(broker::findings(&settings, &reached, worker.as_ref()).await)?;
        reached.session.close().await;
    }
    report.add(worker::findings(&settings, worker))?;
    // Those that do not answer are waited for together.
    let providers = settings.providers.values().map(provider::findings);
    for found in join_all(providers).await {
        report.add(found)?;
    }
    report.add(lookups::findings(&settings))?;
    Ok(if report.all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
