//! `check`: is all well? One line each.

use std::{process::ExitCode, time::Duration};

use super::{Failed, print_line};
use crate::{
    broker::{BrokerError, Expected, Names, Session},
    config::{ProviderSettings, QuotaLimit, Settings},
    job::Lane,
    policy::quota::Terms,
    provider::http::Client,
    quota::is_common,
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
    match Session::open(&settings.amqp).await {
        Ok(session) => {
            line("broker".into(), Ok("connected".into()))?;
            let expected = Expected::new(&settings.amqp, &settings.retry.delays, settings.providers.values());
            line("topology".into(), topology(&expected, &session, settings.amqp.declare).await)?;
            let names = Names::new(&settings.amqp.prefix);
            for provider in settings.providers.values() {
                if let Some(limit) = provider.quota.as_ref().filter(|limit| is_common(limit)) {
                    line(format!("quota {}", provider.name), quota(&session, &names, &provider.name, limit).await)?;
                }
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

/// What is used of a quota, and how long the jobs that wait will take.
async fn quota(session: &Session, names: &Names, provider: &str, limit: &QuotaLimit) -> Result<String, String> {
    let depth = async |queue: String| {
        let depth = session.depth(&queue).await.map_err(|error: BrokerError| error.to_string())?;
        Ok::<_, String>(depth.unwrap_or(0))
    };
    let used = depth(names.quota(provider)).await?;
    let mut waiting = 0;
    for lane in Lane::ALL {
        waiting += depth(names.jobs(provider, lane)).await?;
    }
    let per = humantime::format_duration(limit.per);
    let time = Duration::from_secs_f64(Terms::of(limit).mean_time().as_secs_f64() * f64::from(waiting)).as_secs();
    let time = humantime::format_duration(Duration::from_secs(time));
    Ok(format!(
        "{used} of {} requests per {per} are used; {waiting} jobs wait in queues: {time} at one request each",
        limit.requests
    ))
}

/// Any answer at all shows that the provider is reached; no lookup is spent on it.
async fn reach(provider: &ProviderSettings) -> Result<String, String> {
    let client = Client::new(1, provider.max_response_bytes, &provider.tls, None)?;
    let head = client.reach(&provider.base_url, REACH_LIMIT).await.map_err(|failure| failure.full_message())?;
    Ok(format!("reached (kind {}; its root answers HTTP {})", provider.adapter.kind(), head.status().as_u16()))
}
