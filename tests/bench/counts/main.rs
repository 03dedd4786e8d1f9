//! Instructions that one job costs in each kind's own code, counted by valgrind: the same on a loud machine as on a
//! quiet one. From a job's bytes to the request, and from a response's bytes to the result's.
//!
//! ```sh
//! cargo bench --bench counts                # against counts.json; fails where one has grown by more than 5 %
//! cargo bench --bench counts -- --renew     # writes counts.json
//! ```
//!
//! This program runs itself under valgrind, twice for each case: the difference is the repetitions' alone.

mod case;
mod table;
#[path = "../../it/conformance/target.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod target;

use std::{
    env,
    num::NonZeroUsize,
    process::{Command, ExitCode, Stdio},
    thread,
};

use clap::Parser;

use case::Case;
use table::Table;

/// Repetitions that warm up what is made once, and those that are counted.
const WARM_UP: u32 = 10;
const COUNTED: u32 = 1000;

#[derive(Parser)]
#[command(
    name = "counts",
    about = "Counts the instructions of parsing and mapping, for each kind"
)]
struct Arguments {
    /// Write what was counted to tests/bench/counts.json.
    #[arg(long)]
    renew: bool,
    /// A count fails that has grown by more, in percent.
    #[arg(long, default_value_t = 5.0)]
    tolerance: f64,
    /// Run this case and nothing else: what valgrind is told to run.
    #[arg(long, hide = true, requires = "times")]
    case: Option<String>,
    #[arg(long, hide = true)]
    times: Option<u32>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let (Some(name), Some(times)) = (&arguments.case, arguments.times) {
        Case::named(name).repeat(times);
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let counted = count_all()?;
    if arguments.renew {
        return counted.write();
    }
    let committed = Table::read()?;
    print!("{}", counted.beside(&committed));
    counted.hold_against(&committed, arguments.tolerance / 100.0)
}

/// Every case, as many at a time as there are processors.
fn count_all() -> Result<Table, String> {
    let names = Case::names();
    let at_once = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = names.len().div_ceil(at_once);
    let count_share = |names: &[String]| {
        names
            .iter()
            .map(|name| Ok((name.clone(), count(name)?)))
            .collect::<Vec<Result<_, String>>>()
    };
    let counts: Result<_, String> = thread::scope(|scope| {
        let shares: Vec<_> = names
            .chunks(share)
            .map(|names| scope.spawn(move || count_share(names)))
            .collect();
        shares
            .into_iter()
            .flat_map(|share| share.join().expect("a count that does not panic"))
            .collect()
    });
    Table::of(counts?)
}

/// Instructions of one repetition.
fn count(case: &str) -> Result<u64, String> {
    let (few, many) = (total(case, WARM_UP)?, total(case, WARM_UP + COUNTED)?);
    Ok(many.saturating_sub(few) / u64::from(COUNTED))
}

/// Instructions of a process that repeats a case so often.
fn total(case: &str, times: u32) -> Result<u64, String> {
    let program =
        env::current_exe().map_err(|error| format!("this program has no path: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--case", case, "--times", &times.to_string()])
        // What stands in the environment moves the stack, and with it counts by 2 %.
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            format!("valgrind could not be run: {error}; install it (Debian: valgrind)")
        })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said
        .lines()
        .find_map(|line| line.split("Collected : ").nth(1)?.trim().parse().ok());
    collected
        .filter(|_| output.status.success())
        .ok_or_else(|| format!("{case}: valgrind counted nothing:\n{said}"))
}
