//! `send --csv`: a CRM's export, a row a job, its results into a file beside it. However often it is interrupted, the
//! next start goes on where it was.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use serde_json::Value;

use super::{
    answers::{Answers, Format},
    bookmark::Bookmark,
    coding::Coding,
    columns::{Columns, Mapping},
    pass::Pass,
    record::Answer,
    sheet::Sheet,
};
use crate::{
    broker::reconnect_delay,
    cli::{Failed, progress},
    config::Settings,
    job::Lane,
};

/// How often those who have no terminal hear how far it is.
const NEWS: Duration = Duration::from_secs(30);

/// A table of jobs.
#[derive(Debug, clap::Args)]
#[group(id = "table", requires = "csv")]
pub(super) struct Arguments {
    /// A table instead of JSON lines: one job a row. Its coding and separator are recognised.
    #[arg(long, value_name = "FILE", requires_all = ["provider", "map"], conflicts_with_all = ["file", "no_wait"])]
    pub csv: Option<PathBuf>,
    /// Whom to ask about each row.
    #[arg(long, value_name = "NAME", add = crate::cli::complete::providers())]
    provider: Option<String>,
    /// Which column holds which criterion, as phone=Mobile; of several for one criterion the first that is filled counts.
    #[arg(long, value_name = "CRITERION=COLUMN")]
    map: Vec<Mapping>,
    /// The column whose value is the job's id, and so the first column of the results.
    #[arg(long, value_name = "COLUMN")]
    id_column: Option<String>,
    /// Results: a table, or JSON lines where the name ends in .jsonl; default FILE.results.csv beside it. What is in
    /// it already is not asked again.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The lane of every job.
    #[arg(long, value_enum, default_value = "bulk")]
    lane: LaneName,
    /// The options of every job, as JSON.
    #[arg(long, value_name = "JSON")]
    options: Option<String>,
    /// The table's coding, where the recognised one is wrong, as windows-1252.
    #[arg(long, value_name = "NAME", value_parser = coding)]
    encoding: Option<Coding>,
    /// The character between fields, where the recognised one is wrong; "tab" is one.
    #[arg(long, value_name = "CHARACTER", value_parser = separator)]
    separator: Option<u8>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LaneName {
    Interactive,
    Bulk,
}

fn coding(name: &str) -> Result<Coding, String> {
    Coding::named(name)
        .ok_or_else(|| "expected a coding's name, as utf-8, windows-1252 or utf-16".into())
}

fn separator(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !b"\"\r\n".contains(byte) => Ok(*byte),
        _ => Err("expected one character, as ; or tab".into()),
    }
}

impl Arguments {
    fn options(&self) -> Result<Option<Value>, Failed> {
        let Some(text) = &self.options else {
            return Ok(None);
        };
        match serde_json::from_str(text) {
            Ok(options @ Value::Object(_)) => Ok(Some(options)),
            _ => Err(Failed::misused("--options: expected a JSON object")),
        }
    }

    fn output(&self, table: &Path) -> PathBuf {
        self.output
            .clone()
            .unwrap_or_else(|| table.with_extension("results.csv"))
    }
}

/// Passes in a row that reach the broker, are interrupted, and have no result: a queue that has no leader, as after the
/// loss of its nodes, will not get one.
const MUTE_PASSES: u32 = 3;

/// What all passes over the table share.
pub(super) struct Run {
    pub settings: Settings,
    pub sheet: Sheet,
    pub columns: Columns,
    pub provider: String,
    pub answers: Answers,
    pub bookmark: Bookmark,
    pub counts: Counts,
    pub progress: ProgressBar,
    pub timeout: Duration,
    /// The broker was there once.
    pub connected: bool,
    /// The broker was there in this pass, and is asked for the reply queue.
    pub reached: bool,
    /// When the last result came.
    pub heard: Instant,
    output: PathBuf,
    told: Instant,
}

pub(super) async fn run(
    settings: Settings,
    arguments: &Arguments,
    table: &Path,
    timeout: Duration,
) -> Result<ExitCode, Failed> {
    let mut run = Run::begin(settings, arguments, table, timeout)?;
    let (mut failures, mut mute) = (0, 0);
    loop {
        let before = run.answers.count();
        let ended = Pass::over(&mut run).await;
        mute = run.mute(mute, before);
        if mute == MUTE_PASSES {
            run.tell(
                "the reply queue gives nothing; what is not answered is asked again, by a new one",
            );
            run.bookmark
                .begin_anew(&run.sheet.fingerprint(), run.answers.count())?;
        }
        match ended {
            Ok(()) => break,
            Err(Interrupted::Broker(problem)) if run.may_try_again() => {
                run.tell(&format!("{problem}; trying again"));
                tokio::time::sleep(reconnect_delay(failures)).await;
                failures += 1;
            }
            Err(Interrupted::Broker(problem)) => return Err(run.failed(&problem)),
            Err(Interrupted::Failed(failed)) => return Err(failed),
        }
    }
    run.finish()
}

/// Why a pass did not come to its end.
pub(super) enum Interrupted {
    /// Another connection may do better.
    Broker(String),
    Failed(Failed),
}

impl From<Failed> for Interrupted {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl Run {
    fn begin(
        settings: Settings,
        arguments: &Arguments,
        table: &Path,
        timeout: Duration,
    ) -> Result<Self, Failed> {
        let sheet = Sheet::open(table, arguments.encoding, arguments.separator)?;
        print_news(&sheet.description());
        let provider = arguments.provider.clone().unwrap_or_default();
        let lane = match arguments.lane {
            LaneName::Interactive => Lane::Interactive,
            LaneName::Bulk => Lane::Bulk,
        };
        let columns = Columns::find(
            &sheet,
            table,
            &arguments.map,
            arguments.id_column.as_deref(),
            (&provider, lane, arguments.options()?),
        )?;
        let output = arguments.output(table);
        let answers = Answers::open(&output, format_of(&output, &sheet), &provider)?;
        if answers.count() > 0 {
            let count = answers.count();
            print_news(&format!(
                "{}: goes on; {count} rows are answered already",
                output.display()
            ));
        }
        let progress = progress::bar(sheet.rows, "answered");
        progress.set_position(answers.count());
        Ok(Self {
            bookmark: Bookmark::open(&output, &sheet.fingerprint(), answers.count())?,
            settings,
            sheet,
            columns,
            provider,
            answers,
            counts: Counts::default(),
            progress,
            timeout,
            connected: false,
            reached: false,
            heard: Instant::now(),
            output,
            told: Instant::now(),
        })
    }

    /// Takes a result; one that is there already is passed over.
    pub fn add(&mut self, result: &[u8]) -> Result<(), Failed> {
        if let Some(answer) = self.answers.add(result)? {
            self.counts.add(&answer);
            self.heard = Instant::now();
        }
        self.progress.set_position(self.answers.count());
        if self.progress.is_hidden() && self.told.elapsed() > NEWS {
            self.tell(&format!(
                "{} of {} rows are answered",
                self.answers.count(),
                self.sheet.rows
            ));
        }
        Ok(())
    }

    /// How many passes by now reached the broker and had no result of it.
    fn mute(&mut self, before: u32, answered: u64) -> u32 {
        match (std::mem::take(&mut self.reached), self.answers.count()) {
            (true, count) if count == answered => before + 1,
            (true, _) => 0,
            (false, _) => before,
        }
    }

    /// An address that never let us in is a mistake; one that did will again.
    fn may_try_again(&self) -> bool {
        self.connected && self.heard.elapsed() < self.timeout
    }

    /// On standard error, beside the bar.
    fn tell(&mut self, news: &str) {
        self.told = Instant::now();
        self.progress.suspend(|| print_news(news));
    }

    /// It ends before its time.
    pub fn failed(&self, why: &str) -> Failed {
        self.progress.finish_and_clear();
        let (answered, rows) = (self.answers.count(), self.sheet.rows);
        Failed::new(format_args!(
            "{why}; {answered} of {rows} rows are answered, and the same command goes on from here"
        ))
    }

    fn finish(self) -> Result<ExitCode, Failed> {
        self.progress.finish_and_clear();
        self.answers.finish()?;
        let (rows, output) = (self.answers.count(), self.output.display());
        print_news(&format!(
            "{rows} rows are answered in {output}; {}",
            self.counts
        ));
        self.bookmark.remove();
        Ok(ExitCode::SUCCESS)
    }
}

/// On standard error; that nobody reads it ends nothing.
fn print_news(news: &str) {
    let _ = writeln!(io::stderr(), "{news}");
}

fn format_of(output: &Path, sheet: &Sheet) -> Format {
    let extension = output.extension().unwrap_or_default();
    if ["jsonl", "ndjson", "json"]
        .iter()
        .any(|json| extension == *json)
    {
        Format::JsonLines
    } else {
        Format::Csv {
            separator: sheet.separator,
            marked: sheet.coding.marked,
        }
    }
}

/// What came in this run, by status and class.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<String, u64>);

impl Counts {
    fn add(&mut self, answer: &Answer) {
        let word = answer
            .error
            .as_ref()
            .map_or(answer.status.as_str(), |error| error.kind.as_str());
        *self.0.entry(word.to_owned()).or_default() += 1;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let counts: Vec<_> = self
            .0
            .iter()
            .map(|(word, count)| format!("{count} {word}"))
            .collect();
        if counts.is_empty() {
            return f.write_str("nothing was left to ask");
        }
        write!(f, "now came {}", counts.join(", "))
    }
}
