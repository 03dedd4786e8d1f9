//! `completions` and `man`: what a package installs beside the program, made from the command line's own definition.

use std::{fs, io, path::PathBuf, process::ExitCode};

use clap::Command;
use clap_complete::Shell;

use super::Failed;

/// For which shell.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

/// Where to.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// Folder for the pages, made where it is missing.
    folder: PathBuf,
}

pub(super) fn completions(
    mut program: Command,
    arguments: &Completions,
) -> Result<ExitCode, Failed> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut program, "lookup-worker", &mut script);
    io::Write::write_all(&mut io::stdout(), &script)?;
    Ok(ExitCode::SUCCESS)
}

/// One page for the program and one for each command.
pub(super) fn man(program: Command, arguments: &Man) -> Result<ExitCode, Failed> {
    let folder = &arguments.folder;
    let failed = |error: io::Error| Failed::new(format_args!("{}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(program, folder).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}
