//! What the worker costs, with a real broker, a provider in a process of its own, and the program as it is released.
//!
//! ```sh
//! cargo bench --bench worker                        # the tables of docs/performance.md; more than a quarter of an hour
//! cargo bench --bench worker -- --quick             # a minute or two: whether it works, no figures to quote
//! cargo bench --bench worker -- --only concurrency --concurrency 512 --jobs 200000
//! ```
//!
//! It starts everything by itself (a RabbitMQ node, the provider, the workers) and ends nothing else. A run counts
//! only if it is right: each job is answered once, with its own customer, and none is left. How it measures is told
//! in docs/performance.md.

mod figures; // medians, and how they are written
mod jobs; // jobs out, results in and checked
mod process; // what a process has used
mod provider; // a provider that answers at once, or after a delay
mod run; // one run of each sort
mod series; // runs that differ in one thing, as a table
mod setup; // in what runs differ
mod wire; // what is spoken with a provider, and its certificate

// The parts that the tests stand on.
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../it/amqp.rs"]
mod amqp;
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../it/broker.rs"]
mod broker;
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../it/keeper.rs"]
mod keeper;
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../it/worker.rs"]
mod worker;

use std::{env, fs, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

use run::Place;
use wire::{Certified, Wire};

/// What can be varied, a table each.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Series {
    Wires,
    Concurrency,
    Backlog,
    Providers,
    Workers,
    Kinds,
    Lookups,
    Calls,
}

#[derive(Parser)]
#[command(
    name = "worker",
    about = "Measures the worker; prints tables in Markdown"
)]
struct Arguments {
    /// Jobs of a run.
    #[arg(long, default_value_t = 20_000)]
    jobs: u32,
    /// How often each run is made; figures are the median of all rounds.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Lookups in flight, of the table by them.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 128, 512])]
    concurrency: Vec<u16>,
    /// Jobs a second, where latency is measured.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// How long latency is measured, after two seconds that do not count.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// How long the provider takes, where latency is measured.
    #[arg(long, default_value_t = 5)]
    delay_ms: u64,
    /// Only these tables.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Series>,
    /// What is spoken with the provider, in all tables but the first.
    #[arg(long, value_enum, default_value_t = Wire::H2)]
    wire: Wire,
    /// Also a backlog of 1,000,000 jobs.
    #[arg(long)]
    large: bool,
    /// One round of few jobs.
    #[arg(long)]
    quick: bool,
    /// Be the provider, on this port; the program starts itself so.
    #[arg(long, hide = true)]
    provider: Option<u16>,
    /// Be a provider that speaks https, with this certificate and its key.
    #[arg(long, hide = true, num_args = 2)]
    certificate: Vec<PathBuf>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    fn wants(&self, series: Series) -> bool {
        self.only.is_empty() || self.only.contains(&series)
    }
}

fn main() {
    let mut arguments = Arguments::parse();
    if arguments.quick {
        (arguments.jobs, arguments.rounds, arguments.seconds) = (2000, 1, 3);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if let Some(port) = arguments.provider {
        let certified = Certified::of(&arguments.certificate, arguments.wire);
        let serve = provider::serve(port, certified, arguments.delay());
        tokio::task::LocalSet::new().block_on(&runtime, serve);
    } else {
        runtime.block_on(measure(&arguments));
    }
}

async fn measure(arguments: &Arguments) {
    let place = Place::open(arguments.wire, arguments.delay());
    println!("{}", conditions(&place));
    if arguments.wants(Series::Wires) {
        series::wires(&place, arguments).await;
    }
    if arguments.wants(Series::Concurrency) {
        series::concurrency(&place, arguments).await;
    }
    if arguments.wants(Series::Backlog) {
        series::backlog(&place, arguments).await;
    }
    if arguments.wants(Series::Providers) {
        series::providers(&place, arguments).await;
    }
    if arguments.wants(Series::Workers) {
        series::workers(&place, arguments).await;
    }
    if arguments.wants(Series::Kinds) {
        series::kinds(&place, arguments).await;
    }
    if arguments.wants(Series::Lookups) {
        series::lookups(&place, arguments).await;
    }
    if arguments.wants(Series::Calls) {
        series::calls(&place, arguments).await;
    }
}

/// The command, and what it ran on.
fn conditions(place: &Place) -> String {
    let given: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let command = ["cargo bench --bench worker".to_owned()]
        .into_iter()
        .chain((!given.is_empty()).then(|| format!(" -- {}", given.join(" "))));
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!(
        "`{}`: {} processors ({}), RabbitMQ {}, worker {}{}.",
        command.collect::<String>(),
        std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        model.map_or("unknown", |(_, model)| model),
        place.broker_version(),
        env!("CARGO_PKG_VERSION"),
        if cfg!(debug_assertions) {
            ", NOT OPTIMISED: no figures to quote"
        } else {
            ""
        },
    )
}
