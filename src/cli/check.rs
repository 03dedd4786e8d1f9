//! `check`, the doctor: is all well, and if not, what to do? One line each.

mod broker; // all that a session tells: holds, replies, dead letters, backlogs, alarms
mod configuration; // what was read
mod finding; // a line
mod provider; // reach, clock, credentials
mod reach; // of the broker, and its version
mod topology; // what is there, and what the user may do

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::Failed;
use crate::config::Settings;
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
        .max()
        .unwrap_or(0);
    let mut report = Report::new(arguments.json, longest.max("configuration".len()));
    report.add(configuration::findings(&settings, file.as_deref()))?;
    let (met, reached) = reach::reach(&settings.amqp).await;
    report.add(met)?;
    if let Some(reached) = reached {
        report.add(broker::findings(&settings, &reached).await)?;
        reached.session.close().await;
    }
    for provider in settings.providers.values() {
        report.add(provider::findings(provider).await)?;
    }
    Ok(if report.all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
