//! Runs that differ in one thing, as a table. In each round they are made in turn, so that a loud minute of the
//! machine falls on all of them.

use std::fmt::Display;

use crate::{
    Arguments,
    figures::Figure,
    run::{Place, Throughput},
    setup::{Asked, Setup},
    wire::Wire,
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
    fn add(&mut self, run: &Throughput) {
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
            let setup = Setup::new(jobs, concurrency);
            row.full.add(&place.throughput(setup).await);
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

/// Throughput by what is spoken with the provider.
pub async fn wires(place: &Place, arguments: &Arguments) {
    let mut rows = Wire::ALL.map(|wire| (wire, Throughputs::default()));
    for _ in 0..arguments.rounds {
        for (wire, row) in &mut rows {
            row.add(&place.throughput_over(*wire, usual(arguments)).await);
        }
    }
    print_throughputs("what is spoken", &rows);
}

/// Throughput by the jobs that wait.
pub async fn backlog(place: &Place, arguments: &Arguments) {
    let sizes: &[u32] = match (arguments.quick, arguments.large) {
        (true, _) => &[1000, 10_000],
        (_, false) => &[1000, 10_000, 100_000],
        (_, true) => &[1000, 10_000, 100_000, 1_000_000],
    };
    let rows = sizes.iter().map(|jobs| (*jobs, Setup::new(*jobs, USUAL)));
    full(place, arguments, "jobs waiting", rows).await;
}

/// Throughput by the providers that the same jobs are for.
pub async fn providers(place: &Place, arguments: &Arguments) {
    let setup = |providers| Setup {
        providers,
        ..usual(arguments)
    };
    let rows = [1, 5, 20].map(|providers| (providers, setup(providers)));
    full(place, arguments, "providers", rows).await;
}

/// Throughput by the workers that share the same jobs.
pub async fn workers(place: &Place, arguments: &Arguments) {
    let setup = |workers| Setup {
        workers,
        ..usual(arguments)
    };
    let rows = [1, 2, 4].map(|workers| (workers, setup(workers)));
    full(place, arguments, "workers", rows).await;
}

/// Throughput of a kind that is compiled in, and of its descriptor.
pub async fn kinds(place: &Place, arguments: &Arguments) {
    let rows = [
        ("compiled in", Asked::Plume),
        ("by its descriptor", Asked::PlumeByDescriptor),
    ];
    let rows = rows.map(|(name, asked)| (name, of(asked, arguments)));
    full(place, arguments, "Plume", rows).await;
}

/// Throughput of jobs that ask a provider, and of those that ask it as the only step of a lookup.
pub async fn lookups(place: &Place, arguments: &Arguments) {
    let rows = [
        ("by itself", Asked::Antsomi),
        ("as the only step of a lookup", Asked::AntsomiByLookup),
    ];
    let rows = rows.map(|(name, asked)| (name, of(asked, arguments)));
    full(place, arguments, "Antsomi", rows).await;
}

/// How long calls take at an idle worker, and beside jobs in bulk without a quota.
pub async fn calls(place: &Place, arguments: &Arguments) {
    let mut rows = [
        ("alone", [Figure::default(), Figure::default()]),
        ("beside bulk", [Figure::default(), Figure::default()]),
    ];
    let mut ratio = Figure::default();
    for _ in 0..arguments.rounds {
        let taken = place
            .calls(usual(arguments), arguments.rate, arguments.seconds)
            .await;
        let p99 = taken.each_ref().map(|taken| taken.percentile(99));
        ratio.add(p99[1] / p99[0]);
        for ((_, [p50, p99]), taken) in rows.iter_mut().zip(&taken) {
            p50.add(taken.percentile(50));
            p99.add(taken.percentile(99));
        }
    }
    let rows = rows
        .iter()
        .map(|(name, [p50, p99])| format!("{name} | {p50:.1} | {p99:.1}"));
    print_table("calls", "calls | p50 ms | p99 ms", rows);
    println!("\np99 beside bulk is {ratio:.2} of p99 alone (medians of the rounds).");
}

fn of(asked: Asked, arguments: &Arguments) -> Setup {
    Setup {
        asked,
        ..usual(arguments)
    }
}

fn usual(arguments: &Arguments) -> Setup {
    Setup::new(arguments.jobs, USUAL)
}

/// One table of throughputs.
async fn full<T: Display>(
    place: &Place,
    arguments: &Arguments,
    what: &str,
    rows: impl IntoIterator<Item = (T, Setup)>,
) {
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|(name, setup)| (name, setup, Throughputs::default()))
        .collect();
    for _ in 0..arguments.rounds {
        for (_, setup, row) in &mut rows {
            row.add(&place.throughput(*setup).await);
        }
    }
    let rows: Vec<_> = rows.into_iter().map(|(name, _, row)| (name, row)).collect();
    print_throughputs(what, &rows);
}

fn print_throughputs<T: Display>(what: &str, rows: &[(T, Throughputs)]) {
    let header = format!("{what} | {COLUMNS}");
    let rows = rows
        .iter()
        .map(|(name, row)| format!("{name} | {}", row.cells()));
    print_table(what, &header, rows);
}

fn print_table(what: &str, header: &str, rows: impl Iterator<Item = String>) {
    println!("\n### By {what}\n");
    println!(
        "| {header} |\n|{}",
        "---:|".repeat(header.split('|').count())
    );
    rows.for_each(|row| println!("| {row} |"));
}
