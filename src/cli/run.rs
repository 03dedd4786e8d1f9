//! `run`: the worker. SIGHUP lets it read its configuration again.

use std::{path::PathBuf, process::ExitCode};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::{spawn_blocking, spawn_local},
};

use super::{Failed, stop_signal, with_providers};
use crate::{
    settings::{self, Settings},
    telemetry::notify,
    worker,
};

pub(super) async fn run(settings: Settings, file: Option<PathBuf>) -> Result<ExitCode, Failed> {
    let renewals = renewals(file)?;
    worker::run(settings, renewals, stop_signal()?)
        .await
        .map_err(Failed::new)?;
    Ok(ExitCode::SUCCESS)
}

/// The configuration as it is at each SIGHUP. One that is wrong is refused as at start, but never a reason to end.
fn renewals(file: Option<PathBuf>) -> Result<mpsc::Receiver<Settings>, Failed> {
    let mut hangup = signal(SignalKind::hangup()).map_err(Failed::new)?;
    let (renewed, renewals) = mpsc::channel(1);
    spawn_local(async move {
        while hangup.recv().await.is_some() {
            notify::reloading();
            let file = file.clone();
            // Off the worker's thread: a file may stand on a disk that does not answer.
            let read = spawn_blocking(move || with_providers(settings::load(file.as_deref())?));
            match read.await {
                Ok(Ok(settings)) => _ = renewed.send(settings).await,
                Ok(Err(Failed {
                    message: problem, ..
                })) => {
                    tracing::error!(
                        problem,
                        "the configuration that was read again is refused; the one before stays"
                    );
                    notify::reloaded();
                }
                Err(_) => {
                    tracing::error!("a bug: the configuration could not be read again");
                    notify::reloaded();
                }
            }
        }
    });
    Ok(renewals)
}
