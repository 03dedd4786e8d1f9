//! `explain`: where a job is, by its id. The workers are asked what they hold, and the dead letters are looked through,
//! as `dead` does; queues of jobs are left alone.

mod line; // one finding

use std::{collections::BTreeMap, process::ExitCode, rc::Rc, time::Duration};

use super::{Failed, dead::letter::Letter, print_line};
use crate::{
    broker::{BrokerError, Session},
    lane::Lane,
    message::{Account, Names, Question},
    settings::Settings,
};
use line::Finding;

/// How long workers have for their answer. One that works has it in milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// A job may be on its way from one place to the next: whoever saw it nowhere looks again after this.
const ON_ITS_WAY: Duration = Duration::from_millis(300);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The job's id: its message_id, else the id in its body.
    #[arg(long, value_name = "JOB")]
    id: String,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> Result<ExitCode, Failed> {
    if arguments.id.is_empty() {
        return Err(Failed::misused("--id is empty; expected a job's id"));
    }
    let session = Session::open(&settings.amqp).await.map_err(Failed::new)?;
    let looked = look(&session, &settings, &arguments.id).await;
    session.close().await;
    let findings = looked.map_err(Failed::new)?;
    for finding in &findings {
        let line = if arguments.json {
            serde_json::to_string(finding).map_err(Failed::new)?
        } else {
            finding.to_string()
        };
        print_line(line.as_bytes())?;
    }
    let is_known = findings.iter().any(Finding::is_place);
    Ok(if is_known {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn look(
    session: &Rc<Session>,
    settings: &Settings,
    id: &str,
) -> Result<Vec<Finding>, BrokerError> {
    let names = &session.names;
    let question = Question { job: id.to_owned() };
    let (mut workers, mut accounts) = ask(session, &question).await?;
    let mut findings = places(&accounts);
    findings.extend(letters(session, id).await?);
    if findings.is_empty() {
        tokio::time::sleep(ON_ITS_WAY).await;
        (workers, accounts) = ask(session, &question).await?;
        findings = places(&accounts);
    }
    if findings.iter().any(Finding::is_in_results) {
        let lie = session.depth(names.results()).await?.unwrap_or(0);
        findings.push(Finding::results(names.results(), lie));
    }
    let silent = workers.saturating_sub(u32::try_from(accounts.len()).unwrap_or(u32::MAX));
    if !findings.iter().any(Finding::is_place) {
        findings.push(Finding::unseen(workers, ready(session, settings).await?));
    }
    if silent > 0 {
        findings.push(Finding::silent(silent, workers));
    }
    Ok(findings)
}

/// How many workers there are, and what they say.
async fn ask(
    session: &Rc<Session>,
    question: &Question,
) -> Result<(u32, Vec<Account>), BrokerError> {
    // There each worker has one consumer.
    let depths = session.depths(&[session.names.unrouted()]).await?;
    // Where no worker has ever run there is nothing by which to ask.
    let Some(unrouted) = depths[0] else {
        return Ok((0, Vec::new()));
    };
    let workers = unrouted.consumers;
    let accounts = session.ask_where(question, workers, PATIENCE).await?;
    Ok((workers, accounts))
}

fn places(accounts: &[Account]) -> Vec<Finding> {
    let of = |account: &Account| {
        let worker = account.worker.clone();
        let sightings = account.sightings.iter().cloned();
        let place = move |sighting| Finding::at(&worker, sighting);
        sightings.map(place).collect::<Vec<_>>()
    };
    accounts.iter().flat_map(of).collect()
}

/// The dead letters of this job.
async fn letters(session: &Rc<Session>, id: &str) -> Result<Vec<Finding>, BrokerError> {
    let mut browse = match session.browse(&session.names.dead()).await {
        Ok(browse) => browse,
        // No worker has been started on this broker yet.
        Err(BrokerError::Foreign(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut letters = Vec::new();
    while let Some(delivery) = browse.next().await? {
        let letter = Letter::of(&delivery);
        if letter.id == id {
            letters.push(Finding::dead(&letter));
        }
    }
    browse.close(0).await?;
    Ok(letters)
}

/// How many jobs lie in each queue that no worker was given.
async fn ready(
    session: &Rc<Session>,
    settings: &Settings,
) -> Result<BTreeMap<String, u32>, BrokerError> {
    let names: &Names = &session.names;
    let who = settings.providers.keys().chain(settings.lookups.keys());
    let of = |name: &String| {
        Lane::ALL
            .map(|lane| [names.jobs(name, lane), names.suspects(name, lane)])
            .concat()
    };
    let delays = settings.retry.delays.iter().map(|step| names.delay(step));
    let queues: Vec<_> = who
        .flat_map(of)
        .chain(delays)
        .chain([names.unrouted()])
        .collect();
    let depths = session.depths(&queues).await?;
    let ready = depths
        .into_iter()
        .map(|depth| depth.unwrap_or_default().ready);
    let lying = queues.into_iter().zip(ready);
    Ok(lying.filter(|(_, ready)| *ready > 0).collect())
}
