//! `check`: is all well? One line each.

use std::{fmt::Write, process::ExitCode, time::Duration};

use super::{Failed, print_line};
use crate::{
    backlog::Backlog,
    broker::{BrokerError, Expected, Names, Session},
    config::{ProviderSettings, Settings},
    provider::http::Client,
};

/// Longest wait for a provider.
const REACH_LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn run(settings: Settings) -> Result<ExitCode, Failed> {
    let mut all_well = true;
    let mut line = |what: String, finding: Result<String, String>| -> Result<(), Failed> {
        all_well &= finding.is_ok();
        let (mark, text) = match finding {
            Ok(text) => ("ok  ", text),
            Err(text) => ("FAIL", text),
        };
        Ok(print_line(format!("{mark}  {what}: {text}").as_bytes())?)
    };
    line("configuration".into(), Ok(format!("{} providers", settings.providers.len())))?;
    match Session::open(&settings.amqp.addresses()).await {
        Ok(session) => {
            line("broker".into(), Ok("connected".into()))?;
            let expected = Expected::new(&settings.amqp, &settings.retry.delays, settings.providers.values());
            line("topology".into(), topology(&expected, &session, settings.amqp.declare).await)?;
            let names = Names::new(&settings.amqp.prefix);
            for provider in settings.providers.values() {
                line(format!("backlog {}", provider.name), backlog(&session, &names, provider).await)?;
            }
            session.close().await;
        }
        Err(error) => line("broker".into(), Err(error.to_string()))?,
    }
    for provider in settings.providers.values() {
        line(format!("provider {}", provider.name), reach(provider).await)?;
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn topology(expected: &Expected, session: &Session, declare: bool) -> Result<String, String> {
    let missing = expected.compare(session).await.map_err(|error: BrokerError| error.to_string())?;
    let listed = missing.join(", ");
    match missing.len() {
        0 => Ok(format!("all {} queues are there, as they should be", expected.queues.len())),
        count if declare => Ok(format!("{count} not declared yet; `run` does it: {listed}")),
        count => Err(format!("{count} missing; declare them, or set amqp.declare = true: {listed}")),
    }
}

/// What waits for a provider, what is used of its quota, and how long it will take.
async fn backlog(session: &Session, names: &Names, provider: &ProviderSettings) -> Result<String, String> {
    let backlog = Backlog::look(session, names, provider).await.map_err(|error: BrokerError| error.to_string())?;
    let mut text = format!("{} jobs wait", backlog.jobs());
    if let Some(limit) = &provider.quota {
        let time = humantime::format_duration(Duration::from_secs(backlog.time(limit).as_secs()));
        let per = humantime::format_duration(limit.per);
        let used = backlog.used.map_or("each worker counts for itself".to_owned(), |used| format!("{used} used now"));
        write!(text, ", {time} at one request each; {} requests per {per}, {used}", limit.requests).ok();
    }
    if backlog.paused {
        text += "; paused: the provider answered 429 and asks to be left alone for a while";
    }
    Ok(text)
}

/// Any answer at all shows that the provider is reached; no lookup is spent on it.
async fn reach(provider: &ProviderSettings) -> Result<String, String> {
    let client = Client::new(1, provider.max_response_bytes, provider.ca_file.as_deref(), None)?;
    let status = client.reach(&provider.base_url, REACH_LIMIT).await.map_err(|failure| failure.full_message())?;
    Ok(format!("reached (kind {}; its root answers HTTP {status})", provider.adapter.kind()))
}
