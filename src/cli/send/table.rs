//! `send --csv`: a CRM's export, a row a job, its results into a file beside it. However often it is interrupted, the
//! next start goes on where it was.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{coding::Coding, columns::Mapping};
use crate::cli::Failed;

/// A table of jobs.
#[derive(Debug, clap::Args)]
#[group(id = "table", requires = "csv")]
pub(super) struct Arguments {
    /// A table instead of JSON lines: one job a row. Its coding and separator are recognised.
    #[arg(long, value_name = "FILE", requires_all = ["provider", "map"], conflicts_with_all = ["file", "no_wait"])]
    pub csv: Option<PathBuf>,
    /// Whom to ask about each row.
    #[arg(long, value_name = "NAME", add = crate::cli::complete::providers())]
    pub provider: Option<String>,
    /// Which column holds which criterion, as phone=Mobile; of several for one criterion the first that is filled
    /// counts.
    #[arg(long, value_name = "CRITERION=COLUMN")]
    pub map: Vec<Mapping>,
    /// The column whose value is the job's id, and so the first column of the results.
    #[arg(long, value_name = "COLUMN")]
    pub id_column: Option<String>,
    /// Results: a table, or JSON lines where the name ends in .jsonl; default FILE.results.csv beside it. What is in
    /// it already is not asked again.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The lane of every job.
    #[arg(long, value_enum, default_value = "bulk")]
    pub lane: LaneName,
    /// The options of every job, as JSON.
    #[arg(long, value_name = "JSON")]
    pub options: Option<String>,
    /// The table's coding, where the recognised one is wrong, as windows-1252.
    #[arg(long, value_name = "NAME", value_parser = coding)]
    pub encoding: Option<Coding>,
    /// The character between fields, where the recognised one is wrong; "tab" is one.
    #[arg(long, value_name = "CHARACTER", value_parser = separator)]
    pub separator: Option<u8>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum LaneName {
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
    pub fn options(&self) -> Result<Option<Value>, Failed> {
        let Some(text) = &self.options else {
            return Ok(None);
        };
        match serde_json::from_str(text) {
            Ok(options @ Value::Object(_)) => Ok(Some(options)),
            _ => Err(Failed::misused("--options: expected a JSON object")),
        }
    }

    pub fn output(&self, table: &Path) -> PathBuf {
        self.output
            .clone()
            .unwrap_or_else(|| table.with_extension("results.csv"))
    }
}
