//! `provider`: descriptors, from a file alone.

mod curl; // a curl command line
mod draft; // a descriptor to begin with

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Subcommand;

use super::{Failed, examples, print_line};
use crate::provider::descriptor::{
    Descriptor,
    testing::{self, Report},
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
    /// Print a descriptor to begin with.
    #[command(after_help = examples::PROVIDER_NEW)]
    New {
        /// A curl command line that asks the API for a customer; `{phone}`, `{email}` and `{id}` mark values that do
        /// not look like one.
        #[arg(long, value_name = "COMMAND")]
        from_curl: String,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    match &arguments.action {
        Action::Test { files } => test(files),
        Action::New { from_curl } => {
            let text = curl::Curl::parse(from_curl).and_then(|curl| draft::of(&curl));
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
                failed |= !report.passed();
            }
            Err(problems) => {
                mistakes.extend(problems.lines().map(|line| format!("{name}: {line}")))
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
