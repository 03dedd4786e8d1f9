//! The first rows of a table, read as a worker would: a mistake of the command is told before a job is sent.

use std::path::Path;

use jiff::Timestamp;

use super::{
    columns::{Asked, Columns},
    sheet::Sheet,
};
use crate::{
    cli::{Failed, lines::envelope},
    job::Job,
    settings::Settings,
};

/// Rows that are looked at.
const ROWS: usize = 50;

/// With fewer, all of them may just be bad rows.
const FEWEST: usize = 3;

/// Refuses a table whose first rows are no jobs, all for the same reason: then it is no row that is wrong, but what the
/// command says of all. What a worker of another configuration makes of them nobody knows here.
pub(super) fn check(
    settings: &Settings,
    sheet: &Sheet,
    columns: &Columns,
    (path, provider): (&Path, &str),
) -> Result<(), Failed> {
    let Some(provider) = settings.providers.get(provider) else {
        return Ok(());
    };
    let (mut rows, mut refused, mut problem) = (sheet.read()?, 0, None);
    for _ in 0..ROWS {
        let Some(row) = rows.next(sheet)? else { break };
        let Asked::Job(job) = columns.asked(&row, &columns.id(&row)) else {
            continue;
        };
        let most = settings.amqp.max_job_bytes;
        let adapter = Some(&provider.adapter);
        let read = Job::read(&envelope(&job), &job, most, adapter, Timestamp::now());
        let Err(not_a_job) = read else { return Ok(()) };
        let said = not_a_job.failure.message;
        if *problem.get_or_insert_with(|| said.clone()) != said {
            return Ok(());
        }
        refused += 1;
    }
    match problem.filter(|_| refused >= FEWEST) {
        None => Ok(()),
        Some(problem) => Err(Failed::misused(format_args!(
            "{}: no job was sent, since {} would take none of the first {refused} rows: {problem}; see --map and --options",
            path.display(),
            provider.name,
        ))),
    }
}
