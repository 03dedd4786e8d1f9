//! What all passes over a table share, from the first to the last answer.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;

use super::{
    answers::{Answers, Format},
    bookmark::Bookmark,
    columns::Columns,
    record::Answer,
    sample,
    sheet::Sheet,
    table::{Arguments, LaneName},
};
use crate::{
    cli::{Failed, progress},
    failure::ErrorKind,
    lane::Lane,
    settings::Settings,
};

/// How often those who have no terminal hear how far it is.
const NEWS: Duration = Duration::from_secs(30);

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
    pub fn begin(
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
        sample::check(&settings, &sheet, &columns, (table, &provider))?;
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
    pub fn mute(&mut self, before: u32, answered: u64) -> u32 {
        match (std::mem::take(&mut self.reached), self.answers.count()) {
            (true, count) if count == answered => before + 1,
            (true, _) => 0,
            (false, _) => before,
        }
    }

    /// An address that never let us in is a mistake; one that did will again.
    pub fn may_try_again(&self) -> bool {
        self.connected && self.heard.elapsed() < self.timeout
    }

    /// On standard error, beside the bar.
    pub fn tell(&mut self, news: &str) {
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

    pub fn finish(self) -> Result<ExitCode, Failed> {
        self.progress.finish_and_clear();
        self.answers.finish()?;
        let (rows, output) = (self.answers.count(), self.output.display());
        print_news(&format!(
            "{rows} rows are answered in {output}; {}",
            self.counts
        ));
        if let Some(refused) = self.counts.refused() {
            print_news(&format!(
                "{refused} of them failed for the worker's credentials: mend those, take their lines out of {output}, \
                 and the same command asks them again"
            ));
        }
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

    /// How many failed for no fault of their own, if any did.
    fn refused(&self) -> Option<u64> {
        let of_credentials = self.0.iter();
        let of_credentials = of_credentials.filter(|(word, _)| ErrorKind::is_of_credentials(word));
        Some(of_credentials.map(|(_, count)| count).sum()).filter(|count| *count > 0)
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
