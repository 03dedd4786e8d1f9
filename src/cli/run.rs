//! `run`: the worker.

use std::process::ExitCode;

use super::{Failed, stop_signal};
use crate::{config::Settings, worker};

pub(super) async fn run(settings: Settings) -> Result<ExitCode, Failed> {
    worker::run(settings, stop_signal()?).await.map_err(Failed::new)?;
    Ok(ExitCode::SUCCESS)
}
