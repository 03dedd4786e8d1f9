//! `completions` and `man`: what a package installs beside the program, made from the command line's own definition.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Command, ValueEnum};
use clap_mangen::Man as Page;

use super::{Failed, complete};

/// For which shell.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    #[value(name = "powershell")]
    Power,
    Zsh,
}

/// Where to.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// Folder for the pages, made where it is missing.
    folder: PathBuf,
}

pub(super) fn completions(arguments: &Completions) -> Result<ExitCode, Failed> {
    let shell = arguments.shell.to_possible_value();
    let shell = shell
        .as_ref()
        .map_or("", clap::builder::PossibleValue::get_name);
    let script = complete::script(shell)
        .ok_or_else(|| Failed::new(format_args!("{shell}: no script can be made for it")))?;
    io::Write::write_all(&mut io::stdout(), &script)?;
    Ok(ExitCode::SUCCESS)
}

/// The day of this version, as in CHANGELOG.md.
const RELEASED: &str = "2026-11-29";

/// One page for the program and one for each command.
pub(super) fn man(program: Command, arguments: &Man) -> Result<ExitCode, Failed> {
    let folder = &arguments.folder;
    let failed = |error: io::Error| Failed::new(format_args!("{}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut program = program.disable_help_subcommand(true);
    program.build();
    write_pages(&program, folder).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        write_pages(below, folder)?;
    }
    Page::new(command.clone())
        .date(RELEASED)
        .source(concat!("lookup-worker ", env!("CARGO_PKG_VERSION")))
        .manual("lookup-worker")
        .generate_to(folder)?;
    Ok(())
}
