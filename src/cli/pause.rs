//! `pause` and `resume`: a person stops a provider's requests at all workers of the broker, and lets them go on.

use std::{process::ExitCode, time::Duration};

use jiff::Timestamp;

use super::{Failed, print_line};
use crate::{
    broker::{BrokerError, Session},
    message::Names,
    settings::Settings,
};

#[derive(Debug, clap::Args)]
pub(super) struct Pause {
    /// The provider's name in the configuration.
    provider: String,
    /// For how long, as 90s, 10m or 2h; without it, until `resume`.
    #[arg(long = "for", value_name = "TIME", value_parser = length)]
    wait: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Resume {
    /// The provider's name in the configuration.
    provider: String,
}

fn length(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("expected a time longer than nothing, as 90s, 10m or 2h".into()),
    }
}

pub(super) async fn pause(settings: Settings, arguments: Pause) -> Result<ExitCode, Failed> {
    let Pause { provider, wait } = arguments;
    let (session, names) = reach(&settings, &provider).await?;
    let told = session.pause_by_hand(&names, &provider, wait).await;
    session.close().await;
    told.map_err(unheard)?;
    let end = match wait.map(|wait| Timestamp::now().checked_add(wait)) {
        Some(Ok(end)) => format!("until about {end:.0}"),
        _ => "until it is resumed".to_owned(),
    };
    let text = format!(
        "{provider} is paused {end}; its jobs stay in their queues, `lookup-worker resume {provider}` ends it"
    );
    print_line(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn resume(settings: Settings, arguments: Resume) -> Result<ExitCode, Failed> {
    let provider = arguments.provider;
    let (session, names) = reach(&settings, &provider).await?;
    let told = session.tell_resume(&names, &provider).await;
    session.close().await;
    told.map_err(unheard)?;
    print_line(format!("{provider} is asked again").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// A session, where there is such a provider.
async fn reach(
    settings: &Settings,
    provider: &str,
) -> Result<(std::rc::Rc<Session>, Names), Failed> {
    if let Some(lookup) = settings.lookups.get(provider) {
        let steps = lookup.steps.iter().map(|step| step.provider.as_str());
        let steps = steps.collect::<std::collections::BTreeSet<_>>();
        return Err(Failed::misused(format_args!(
            "{provider} is a lookup; expected a provider that it asks: {}",
            steps.into_iter().collect::<Vec<_>>().join(", ")
        )));
    }
    if !settings.providers.contains_key(provider) {
        let known = settings.providers.keys().cloned().collect::<Vec<_>>();
        return Err(Failed::misused(format_args!(
            "no provider of this name is configured; expected one of {}",
            known.join(", ")
        )));
    }
    let session = Session::open(&settings.amqp).await.map_err(Failed::new)?;
    Ok((session, Names::new(&settings.amqp.prefix)))
}

/// Most often no worker has declared the queue yet.
fn unheard(error: BrokerError) -> Failed {
    Failed::new(format_args!(
        "{error}; has a worker with this provider been started on this broker?"
    ))
}
