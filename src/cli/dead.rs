//! `dead`: what needs a person. Look at it, send it back to its queue, throw it away.
//!
//! A letter leaves `PREFIX.dead` only once what replaces it was confirmed, so an end in the middle loses none;
//! one that was sent back just then may be sent back twice.

mod act;
pub(super) mod letter;
mod list;
mod mask;
mod show;

use std::process::ExitCode;

use super::{Failed, print_line, progress};
use crate::{
    broker::{Browse, Session},
    dead_letter::AsksFor,
    message::Names,
    settings::Settings,
};
use act::{Act, Acting};
use letter::Letter;

const AFTER_HELP: &str = "\
Examples:
  lookup-worker dead list                                     what is there, by provider and error
  lookup-worker dead show --id j-42                           one letter; values are masked without --reveal
  lookup-worker dead replay --provider crm --error timeout --dry-run
  lookup-worker dead replay --provider crm --error timeout    the provider is well again: once more
  lookup-worker dead replay --id j-42 --to-results            who asked is gone: the answer to the results queue
  lookup-worker dead drop --answered                          requesters' mistakes; they were told

Exit codes: 0 done, 1 failed or not all could be done, 2 a mistake in the command line or the configuration.";

/// What to do with the dead letters.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Count them by provider and error; all of them, unless some are chosen.
    List(Options),
    /// Show each with its reason and its headers; values are masked.
    Show {
        #[command(flatten)]
        options: Options,
        /// Show bodies and headers as they are: names, phone numbers and email addresses too.
        #[arg(long)]
        reveal: bool,
    },
    /// Send them back: jobs to their queue with attempts anew, results to where they could not be delivered.
    Replay {
        #[command(flatten)]
        options: Options,
        /// Let the answers lie in the results queue: whoever asked, as `send`, is gone with their reply queue.
        #[arg(long)]
        to_results: bool,
        /// Only tell what would be sent back.
        #[arg(long)]
        dry_run: bool,
    },
    /// Throw them away, for good.
    Drop {
        #[command(flatten)]
        options: Options,
        /// Only tell what would be thrown away.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Those of this provider; may be given several times.
    #[arg(long, value_name = "NAME", add = super::complete::providers())]
    provider: Vec<String>,
    /// Those with this error, as `list` shows it; may be given several times.
    #[arg(long, value_name = "ERROR", add = super::complete::errors())]
    error: Vec<String>,
    /// The one of the job with this id; may be given several times.
    #[arg(long, value_name = "JOB")]
    id: Vec<String>,
    /// Those that ask for nobody: requesters' mistakes, who were told (invalid_job, unknown_provider), and answers that
    /// nobody waits for any more (too_late_result).
    #[arg(long)]
    answered: bool,
    /// All of them.
    #[arg(long, conflicts_with_all = ["provider", "error", "id", "answered"])]
    all: bool,
    /// JSON lines.
    #[arg(long)]
    json: bool,
}

impl Options {
    fn choose_nothing(&self) -> bool {
        !self.all
            && !self.answered
            && self.provider.is_empty()
            && self.error.is_empty()
            && self.id.is_empty()
    }

    /// What to say where there are none.
    fn none(&self) -> &'static str {
        if self.all || self.choose_nothing() {
            "no dead letters"
        } else {
            "no such dead letters"
        }
    }

    fn chooses(&self, letter: &Letter) -> bool {
        let fits = |chosen: &[String], value: &str| {
            chosen.is_empty() || chosen.iter().any(|one| one == value)
        };
        fits(
            &self.provider,
            letter.provider.as_deref().unwrap_or_default(),
        ) && fits(&self.error, &letter.error)
            && fits(&self.id, &letter.id)
            && (!self.answered || letter.asks_for() == AsksFor::Nobody)
    }
}

impl Command {
    fn options(&self) -> &Options {
        match self {
            Self::List(options)
            | Self::Show { options, .. }
            | Self::Replay { options, .. }
            | Self::Drop { options, .. } => options,
        }
    }
}

pub(super) async fn run(
    settings: Settings,
    Arguments { command }: Arguments,
) -> Result<ExitCode, Failed> {
    if command.options().choose_nothing() && !matches!(command, Command::List(_)) {
        let expected =
            "expected --provider, --error, --id or --answered, or --all for every letter";
        return Err(Failed::misused(format_args!(
            "no dead letters are chosen; {expected}"
        )));
    }
    let names = Names::new(&settings.amqp.prefix);
    let session = Session::open(&settings.amqp).await.map_err(Failed::new)?;
    let ended = match session.browse(&names.dead()).await {
        Ok(browse) => each(&command, &names, browse).await,
        Err(error) => Err(Failed::new(error)),
    };
    session.close().await;
    ended
}

async fn each(command: &Command, names: &Names, mut browse: Browse) -> Result<ExitCode, Failed> {
    let progress = progress::bar(browse.depth().into(), "seen");
    let options = command.options();
    let (mut groups, mut shown) = (list::Groups::default(), 0);
    let mut acting = Acting::new(names, &progress, options.json);
    while let Some(delivery) = browse.next().await.map_err(Failed::new)? {
        progress.inc(1);
        let letter = Letter::of(&delivery);
        if !options.chooses(&letter) {
            continue;
        }
        match command {
            Command::List(_) => groups.add(&letter),
            Command::Show { reveal, .. } => {
                shown += 1;
                progress.suspend(|| show::print(&letter, &delivery.body, *reveal, options.json))?;
            }
            Command::Replay {
                dry_run,
                to_results,
                ..
            } => {
                let to_results = *to_results;
                acting
                    .act(Act::Replay { to_results }, *dry_run, &letter, &delivery)
                    .await?;
            }
            Command::Drop { dry_run, .. } => {
                acting.act(Act::Drop, *dry_run, &letter, &delivery).await?;
            }
        }
    }
    progress.finish_and_clear();
    browse.close(acting.taken).await.map_err(Failed::new)?;
    match command {
        Command::List(_) => groups.print(options.json, options.none())?,
        Command::Show { .. } if shown == 0 && !options.json => {
            print_line(options.none().as_bytes())?;
        }
        Command::Show { .. } => {}
        Command::Replay {
            dry_run,
            to_results,
            ..
        } => {
            let to_results = *to_results;
            return acting.finish(Act::Replay { to_results }, *dry_run);
        }
        Command::Drop { dry_run, .. } => return acting.finish(Act::Drop, *dry_run),
    }
    Ok(ExitCode::SUCCESS)
}

/// A text of somebody else's, safe for a terminal.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
