//! `provider`: descriptors: tested, tried, begun.

mod curl; // a curl command line
mod draft; // a descriptor to begin with
mod openapi; // an operation of an OpenAPI document
mod record; // an answer as a test
mod trial; // one real request
mod written; // values as TOML writes them

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Subcommand;

use super::{Failed, examples, on_one_thread, print_line};
use crate::{
    provider::descriptor::{
        Descriptor,
        testing::{self, Report},
    },
    settings::Settings,
};

/// What to do with descriptors.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run the tests of descriptors, without a network; a line each, and the keys that no test exercises.
    #[command(after_help = examples::PROVIDER_TEST)]
    Test {
        /// The descriptors' files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Make one real request of a configured provider: what is sent, what is answered, and which path gave which field.
    #[command(after_help = examples::PROVIDER_TRY)]
    Try(trial::Arguments),
    /// Print a descriptor to begin with.
    #[command(after_help = examples::PROVIDER_NEW)]
    New {
        /// A curl command line that asks the API for a customer; `{phone}`, `{email}` and `{id}` mark values that do
        /// not look like one.
        #[arg(
            long,
            value_name = "COMMAND",
            required_unless_present = "from_openapi",
            conflicts_with = "from_openapi"
        )]
        from_curl: Option<String>,
        /// An OpenAPI document (3.0 or 3.1, JSON or YAML) that describes the API.
        #[arg(long, value_name = "FILE", requires = "operation")]
        from_openapi: Option<PathBuf>,
        /// The `operationId` of the operation that finds a customer.
        #[arg(long, value_name = "ID", requires = "from_openapi")]
        operation: Option<String>,
    },
}

/// `settings` are read where the action needs them.
pub(super) fn run(
    arguments: Arguments,
    settings: impl FnOnce() -> Result<Settings, Failed>,
) -> Result<ExitCode, Failed> {
    match arguments.action {
        Action::Test { files } => test(&files),
        Action::Try(arguments) => on_one_thread(trial::run(settings()?, arguments)),
        Action::New {
            from_curl,
            from_openapi,
            operation,
        } => {
            let text = match (from_curl, from_openapi, operation) {
                (Some(line), ..) => curl::Curl::parse(&line)
                    .and_then(|curl| draft::of(&curl, &draft::Shown::default())),
                (None, Some(file), Some(operation)) => openapi::draft(&file, &operation),
                _ => Err("expected --from-curl, or --from-openapi with --operation".into()),
            };
            print_line(text.map_err(Failed::misused)?.trim_end().as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn test(files: &[PathBuf]) -> Result<ExitCode, Failed> {
    let (mut mistakes, mut failed) = (Vec::new(), false);
    for file in files {
        let name = file.display().to_string();
        let text = fs::read_to_string(file)
            .map_err(|error| Failed::misused(format_args!("{name} cannot be read: {error}")))?;
        match Descriptor::parse(&text) {
            Ok(descriptor) => {
                let report = testing::run(&descriptor, &text);
                print(&name, &report)?;
                for value in descriptor.loose() {
                    let criterion = value.replacen("query.", "criteria.", 1);
                    let note = format!(
                        "{name}: note: {{{value}}} stands inside other text, which a value may end (a quote, a comma); \
                         give [{criterion}] a `pattern` that keeps such marks out"
                    );
                    print_line(note.as_bytes())?;
                }
                failed |= !report.passed();
            }
            Err(problems) => {
                mistakes.extend(problems.lines().map(|line| format!("{name}: {line}")));
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(Failed::misused(mistakes.join("\n")));
    }
    Ok(ExitCode::from(u8::from(failed)))
}

fn print(file: &str, report: &Report) -> Result<(), Failed> {
    for verdict in &report.verdicts {
        let word = if verdict.differences.is_empty() {
            "ok"
        } else {
            "FAILED"
        };
        print_line(format!("{file}: {}: {word}", verdict.name).as_bytes())?;
        for difference in &verdict.differences {
            print_line(format!("    {difference}").as_bytes())?;
        }
    }
    if report.verdicts.is_empty() {
        print_line(format!("{file}: there are no tests").as_bytes())?;
    }
    if !report.untested.is_empty() {
        let keys = report.untested.join(", ");
        print_line(format!("{file}: no test exercises {keys}").as_bytes())?;
    }
    Ok(())
}
