//! `check`: is all well? One line each.

use std::{process::ExitCode, time::Duration};

use super::{Failed, print_line};
use crate::{
    broker::{BrokerError, Expected, Session},
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
            line("topology".into(), topology(&expected, &session).await)?;
            session.close().await;
        }
        Err(error) => line("broker".into(), Err(error.to_string()))?,
    }
    for provider in settings.providers.values() {
        line(format!("provider {}", provider.name), reach(provider).await)?;
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn topology(expected: &Expected, session: &Session) -> Result<String, String> {
    let missing = expected.compare(session).await.map_err(|error: BrokerError| error.to_string())?;
    Ok(match missing.as_slice() {
        [] => format!("all {} queues are there, as they should be", expected.queues.len()),
        missing => format!("{} not declared yet; `run` does it: {}", missing.len(), missing.join(", ")),
    })
}

/// Any answer at all shows that the provider is reached; no lookup is spent on it.
async fn reach(provider: &ProviderSettings) -> Result<String, String> {
    let client = Client::new(1, provider.max_response_bytes, provider.ca_file.as_deref(), None)?;
    let status = client.reach(&provider.base_url, REACH_LIMIT).await.map_err(|failure| failure.full_message())?;
    Ok(format!("reached (kind {}; its root answers HTTP {status})", provider.adapter.kind()))
}
