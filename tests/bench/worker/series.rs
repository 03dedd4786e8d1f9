//! Runs that differ in one thing, as a table. In each round they are made in turn, so that a loud minute of the
//! machine falls on all of them.

use crate::{
    Arguments,
    figures::Figure,
    run::{Place, Setup},
};

const USUAL: u16 = 128;
/// Starts of the program in a round.
const STARTS: u32 = 3;

/// What several rounds of a run with a full queue gave.
#[derive(Default)]
struct Throughputs {
    jobs_per_second: Figure,
    cpu: Figure,
    broker_cpu: Figure,
    peak_mib: Figure,
}

const COLUMNS: &str = "jobs/s | CPU s / 1,000 jobs | broker's CPU s / 1,000 jobs | peak MiB";

impl Throughputs {
    async fn add(&mut self, place: &Place, setup: Setup) {
        let run = place.throughput(setup).await;
        self.jobs_per_second.add(run.jobs_per_second);
        run.cpu.into_iter().for_each(|cpu| self.cpu.add(cpu));
        run.broker_cpu
            .into_iter()
            .for_each(|cpu| self.broker_cpu.add(cpu));
        self.peak_mib.add(run.peak_mib);
    }

    fn cells(&self) -> String {
        let Self {
            jobs_per_second,
            cpu,
            broker_cpu,
            peak_mib,
        } = self;
        format!("{jobs_per_second:.0} | {cpu:.3} | {broker_cpu:.3} | {peak_mib:.1}")
    }
}

/// Throughput, latency and start, by lookups in flight.
pub async fn concurrency(place: &Place, arguments: &Arguments) {
    /// What one row is made of.
    #[derive(Default)]
    struct Row {
        full: Throughputs,
        p50: Figure,
        p99: Figure,
        start: Figure,
    }
    let mut rows: Vec<(u16, Row)> = arguments
        .concurrency
        .iter()
        .map(|n| (*n, Row::default()))
        .collect();
    for _ in 0..arguments.rounds {
        for (concurrency, row) in &mut rows {
            let concurrency = *concurrency;
            // One at a time is slow: a quarter of the jobs will do.
            let jobs = if concurrency < 8 {
                arguments.jobs / 4
            } else {
                arguments.jobs
            };
            row.full
                .add(
                    place,
                    Setup {
                        jobs,
                        concurrency,
                        providers: 1,
                        workers: 1,
                    },
                )
                .await;
            let latency = place
                .latency(concurrency, rate(arguments, concurrency), arguments.seconds)
                .await;
            row.p50.add(latency.percentile(50));
            row.p99.add(latency.percentile(99));
            for _ in 0..STARTS {
                row.start.add(place.start(concurrency).await);
            }
        }
    }
    let header =
        format!("in flight | {COLUMNS} | at jobs/s | added latency p50 ms | p99 ms | start ms");
    print_table(
        "lookups in flight",
        &header,
        rows.iter().map(
            |(
                concurrency,
                Row {
                    full,
                    p50,
                    p99,
                    start,
                },
            )| {
                let (full, rate) = (full.cells(), rate(arguments, *concurrency));
                format!("{concurrency} | {full} | {rate} | {p50:.1} | {p99:.1} | {start:.0}")
            },
        ),
    );
}

/// Jobs a second that so many in flight can bear: a quarter of what the provider's delay allows, at most.
fn rate(arguments: &Arguments, concurrency: u16) -> u32 {
    let most = u64::from(concurrency) * 1000 / arguments.delay_ms.max(1) / 4;
    arguments
        .rate
        .min(u32::try_from(most).unwrap_or(u32::MAX))
        .max(1)
}

/// Throughput by the jobs that wait.
pub async fn backlog(place: &Place, arguments: &Arguments) {
    let sizes: &[u32] = match (arguments.quick, arguments.large) {
        (true, _) => &[1000, 10_000],
        (_, false) => &[1000, 10_000, 100_000],
        (_, true) => &[1000, 10_000, 100_000, 1_000_000],
    };
    let setup = |jobs| Setup {
        jobs,
        concurrency: USUAL,
        providers: 1,
        workers: 1,
    };
    full(place, arguments, "jobs waiting", sizes, setup).await;
}

/// Throughput by the providers that the same jobs are for.
pub async fn providers(place: &Place, arguments: &Arguments) {
    let setup = |providers| Setup {
        providers,
        ..usual(arguments)
    };
    full(place, arguments, "providers", &[1, 5, 20], setup).await;
}

/// Throughput by the workers that share the same jobs.
pub async fn workers(place: &Place, arguments: &Arguments) {
    let setup = |workers| Setup {
        workers,
        ..usual(arguments)
    };
    full(place, arguments, "workers", &[1, 2, 4], setup).await;
}

fn usual(arguments: &Arguments) -> Setup {
    Setup {
        jobs: arguments.jobs,
        concurrency: USUAL,
        providers: 1,
        workers: 1,
    }
}

/// One table of throughputs.
async fn full(
    place: &Place,
    arguments: &Arguments,
    what: &str,
    values: &[u32],
    setup: impl Fn(u32) -> Setup,
) {
    let mut rows: Vec<(u32, Throughputs)> = values
        .iter()
        .map(|value| (*value, Throughputs::default()))
        .collect();
    for _ in 0..arguments.rounds {
        for (value, row) in &mut rows {
            row.add(place, setup(*value)).await;
        }
    }
    let header = format!("{what} | {COLUMNS}");
    print_table(
        what,
        &header,
        rows.iter()
            .map(|(value, row)| format!("{value} | {}", row.cells())),
    );
}

fn print_table(what: &str, header: &str, rows: impl Iterator<Item = String>) {
    println!("\n### By {what}\n");
    println!(
        "| {header} |\n|{}",
        "---:|".repeat(header.split('|').count())
    );
    rows.for_each(|row| println!("| {row} |"));
}
