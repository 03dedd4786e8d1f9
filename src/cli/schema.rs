//! `schema`: descriptions of the messages.

use std::process::ExitCode;

use clap::ValueEnum;

use super::{Failed, print_line};
use crate::{schema, settings::Settings};

/// What to describe.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// `job` and `result`: JSON Schema 2020-12, of jobs with `--config` for the providers and lookups that stand there;
    /// `asyncapi`: an AsyncAPI 3.0 document of both and their queues; `provider` and `config`: JSON Schema of a
    /// descriptor and of the configuration, for editors.
    what: What,
    /// First part of names on the broker, for `asyncapi`.
    #[arg(long, default_value = "lookup")]
    prefix: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    Job,
    Result,
    Asyncapi,
    Provider,
    Config,
}

/// `settings` are those of a configuration that was named.
pub(super) fn run(arguments: &Arguments, settings: Option<&Settings>) -> Result<ExitCode, Failed> {
    let document = match arguments.what {
        What::Job => settings.map_or_else(schema::job, schema::job_for),
        What::Result => schema::result(),
        What::Asyncapi => schema::asyncapi(&arguments.prefix),
        What::Provider => schema::provider(),
        What::Config => schema::config(),
    };
    let text = serde_json::to_vec_pretty(&document).map_err(Failed::new)?;
    print_line(&text)?;
    Ok(ExitCode::SUCCESS)
}
