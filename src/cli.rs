//! The commands (contract §9), one file each.

mod check;
mod complete;
mod dead;
mod examples;
mod explain;
mod health;
mod lines;
mod lookup;
mod packaging;
mod pause;
mod pipe;
mod progress;
mod provider;
mod run;
mod schema;
mod send;

use std::{
    fmt::{self, Display},
    future::Future,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    config::{self, ConfigError},
    sandbox::{self, SandboxArgs, SandboxError},
    settings::{self, Settings},
    telemetry::logs,
};

/// Consumes customer-lookup jobs from RabbitMQ, asks the provider, publishes the results.
#[derive(Debug, Parser)]
#[command(version, after_help = examples::PROGRAM)]
struct Cli {
    /// Configuration file (TOML), else lookup-worker.toml here, else /etc/lookup-worker/lookup-worker.toml; variables
    /// LOOKUP__SECTION__KEY stand over it.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "LOOKUP_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Work: consume jobs, look them up, publish the results.
    #[command(after_help = examples::RUN)]
    Run,
    /// Is all well? Configuration, broker, topology, providers; one line each, with what to do.
    #[command(after_help = examples::CHECK)]
    Check(check::Arguments),
    /// Ask the worker on this machine whether it is ready.
    #[command(after_help = examples::HEALTH)]
    Health(health::Arguments),
    /// Look one customer up, without a broker.
    #[command(after_help = examples::LOOKUP)]
    Lookup(lookup::Arguments),
    /// Jobs as JSON lines on standard input, results on standard output, without a broker.
    #[command(after_help = examples::PIPE)]
    Pipe,
    /// Publish jobs from JSON lines, wait for their results and print them.
    #[command(after_help = examples::SEND)]
    Send(send::Arguments),
    /// Dead letters: look at them, send them back, throw them away.
    Dead(dead::Arguments),
    /// Where is this job? Asks the workers and the dead letters, and disturbs no queue.
    #[command(after_help = examples::EXPLAIN)]
    Explain(explain::Arguments),
    /// Leave a provider alone, at all workers of the broker.
    #[command(after_help = examples::PAUSE)]
    Pause(pause::Pause),
    /// Ask a provider again that is left alone, by hand or by its own word.
    #[command(after_help = examples::RESUME)]
    Resume(pause::Resume),
    /// Descriptors of providers: test them, try them, begin one.
    Provider(provider::Arguments),
    /// All five providers on one local port each, with faults on request.
    Sandbox(SandboxArgs),
    /// Print a description of the messages.
    #[command(after_help = examples::SCHEMA)]
    Schema(schema::Arguments),
    /// Print a script that completes the command line in a shell.
    #[command(after_help = examples::COMPLETIONS)]
    Completions(packaging::Completions),
    /// Write manual pages into a folder.
    #[command(after_help = examples::MAN)]
    Man(packaging::Man),
}

/// A command failed: what to say, and the exit code.
#[derive(Debug)]
pub(crate) struct Failed {
    message: String,
    code: u8,
}

impl Failed {
    fn new(message: impl Display) -> Self {
        Self {
            message: message.to_string(),
            code: 1,
        }
    }

    fn misused(message: impl Display) -> Self {
        Self {
            message: message.to_string(),
            code: 2,
        }
    }
}

impl Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ConfigError> for Failed {
    fn from(error: ConfigError) -> Self {
        Self::misused(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        // Whoever read has enough, as `head` has; that is no news.
        let is_news = error.kind() != io::ErrorKind::BrokenPipe;
        Self::new(if is_news {
            format!("standard output: {error}")
        } else {
            String::new()
        })
    }
}

impl From<SandboxError> for Failed {
    fn from(error: SandboxError) -> Self {
        if matches!(error, SandboxError::Options(_)) {
            Self::misused(error)
        } else {
            Self::new(error)
        }
    }
}

/// Runs the command that the command line names.
#[must_use]
pub fn main() -> ExitCode {
    complete::answer();
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(code) => code,
        Err(Failed { message, code }) => {
            if !message.is_empty() {
                let _ = writeln!(io::stderr(), "lookup-worker: {message}");
            }
            ExitCode::from(code)
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failed> {
    let load = |file: Option<&Path>| -> Result<Settings, Failed> {
        let settings = settings::load(file)?;
        logs::begin(&settings.log);
        Ok(settings)
    };
    let file = || config::find(cli.config.clone());
    // Of a broker that was not named, whoever looks on or acts there is to be told.
    let of_broker = || -> Result<Settings, Failed> {
        let file = file()?;
        let settings = load(file.as_deref())?;
        let address_given = settings.amqp.url.is_some() || !settings.amqp.urls.is_empty();
        config::broker_is_meant(file.as_deref(), address_given)?;
        Ok(settings)
    };
    match cli.command {
        Command::Run => {
            let file = file()?;
            let settings = with_providers(load(file.as_deref())?)?;
            on_one_thread(run::run(settings, file))
        }
        Command::Check(arguments) => {
            let file = file()?;
            let settings = with_providers(load(file.as_deref())?)?;
            on_one_thread(check::run(settings, file, arguments))
        }
        // Of a worker that runs by defaults, the address is the default too.
        Command::Health(arguments) => {
            let file = file().unwrap_or_default();
            on_one_thread(health::run(load(file.as_deref())?, arguments))
        }
        Command::Lookup(arguments) => {
            let settings = with_providers(load(file()?.as_deref())?)?;
            on_one_thread(lookup::run(settings, arguments))
        }
        Command::Pipe => {
            let settings = with_providers(load(file()?.as_deref())?)?;
            on_one_thread(pipe::run(settings))
        }
        Command::Send(arguments) => on_one_thread(send::run(of_broker()?, arguments)),
        Command::Dead(arguments) => on_one_thread(dead::run(of_broker()?, arguments)),
        Command::Explain(arguments) => on_one_thread(explain::run(of_broker()?, arguments)),
        Command::Pause(arguments) => {
            on_one_thread(pause::pause(with_providers(of_broker()?)?, arguments))
        }
        Command::Resume(arguments) => {
            on_one_thread(pause::resume(with_providers(of_broker()?)?, arguments))
        }
        Command::Provider(arguments) => {
            provider::run(arguments, || with_providers(load(file()?.as_deref())?))
        }
        Command::Sandbox(arguments) => on_one_thread(async move {
            sandbox::run(&arguments, stop_signal()?).await?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Schema(arguments) => {
            let settings = cli.config.as_deref().map(|file| load(Some(file)));
            schema::run(&arguments, settings.transpose()?.as_ref())
        }
        Command::Completions(arguments) => packaging::completions(&arguments),
        Command::Man(arguments) => packaging::man(Cli::command(), &arguments),
    }
}

fn with_providers(settings: Settings) -> Result<Settings, Failed> {
    if settings.providers.is_empty() {
        return Err(Failed::misused(
            "configuration: `providers`: missing; expected at least one [providers.NAME]",
        ));
    }
    Ok(settings)
}

/// Everything runs on one thread: it is cheaper than several for work that waits, and the broker's client mixes
/// confirms up where threads share a channel (`docs/decisions/0004-one-thread.md`).
fn on_one_thread(
    command: impl Future<Output = Result<ExitCode, Failed>>,
) -> Result<ExitCode, Failed> {
    let options = runtime::LocalOptions::default();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(options)
        .map_err(Failed::new)?;
    let ended = runtime.block_on(command);
    // A read of standard input that nobody waits for any more must not hold the process.
    runtime.shutdown_background();
    ended
}

/// Comes with SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()>, Failed> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failed::new)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failed::new)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// One result on standard output, in a line.
fn print_result(json: &[u8]) -> io::Result<()> {
    print(&lines::one_line(json))
}

/// A JSON text on standard output, and a line end.
fn print_line(json: &[u8]) -> io::Result<()> {
    print(&[json, b"\n"].concat())
}

fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.flush()
}
