//! `pipe`: jobs in, results out, no broker.

use std::{process::ExitCode, rc::Rc};

use tokio::{io::BufReader, task::JoinSet};

use super::{
    Failed,
    lines::{Lines, envelope},
    print_result,
};
use crate::{embedded::Embedded, settings::Settings};

pub(super) async fn run(settings: Settings) -> Result<ExitCode, Failed> {
    let embedded = Rc::new(Embedded::new(&settings).map_err(Failed::new)?);
    let in_flight: usize = settings
        .providers
        .values()
        .map(|provider| usize::from(provider.concurrency))
        .chain(
            settings
                .lookups
                .values()
                .map(|_| settings.worker.concurrency.into()),
        )
        .sum();
    let mut lines = Lines::new(
        BufReader::new(tokio::io::stdin()),
        "standard input",
        settings.amqp.max_job_bytes,
    );
    let mut jobs = JoinSet::new();
    loop {
        tokio::select! {
            // Results first: whoever reads them may wait for one before writing the next job.
            biased;
            Some(ended) = jobs.join_next() => ended.map_err(Failed::new)??,
            line = lines.next(), if jobs.len() < in_flight => {
                let Some(line) = line? else { break };
                let embedded = Rc::clone(&embedded);
                jobs.spawn_local(async move { answer(&embedded, &line).await });
            }
        }
    }
    while let Some(ended) = jobs.join_next().await {
        ended.map_err(Failed::new)??;
    }
    Ok(ExitCode::SUCCESS)
}

async fn answer(embedded: &Embedded, line: &[u8]) -> Result<(), Failed> {
    let result = match embedded.read(&envelope(line), line) {
        Ok(job) => embedded.answer(job).await,
        Err(not_a_job) => Embedded::refuse(*not_a_job),
    };
    Ok(print_result(&result.to_json())?)
}
