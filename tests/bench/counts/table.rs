//! The counts that are committed, and how others are held against them.

use std::{collections::BTreeMap, env, fmt::Write, fs, process::Command};

use serde::{Deserialize, Serialize};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/counts.json");
const RENEW: &str = "`cargo bench --bench counts -- --renew` writes it";

/// Instructions by case, and what they were counted with.
#[derive(Serialize, Deserialize)]
pub struct Table {
    /// Compiler and processor: other ones count differently.
    made_with: String,
    instructions: BTreeMap<String, u64>,
}

impl Table {
    /// What was counted now.
    pub fn of(instructions: BTreeMap<String, u64>) -> Result<Self, String> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let version = Command::new(rustc)
            .arg("--version")
            .output()
            .map_err(|error| format!("rustc: {error}"))?;
        let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        Ok(Self {
            made_with: format!("{version}, {}", env::consts::ARCH),
            instructions,
        })
    }

    /// What is committed.
    pub fn read() -> Result<Self, String> {
        let text = fs::read(PATH).map_err(|error| format!("{PATH}: {error}; {RENEW}"))?;
        serde_json::from_slice(&text).map_err(|error| format!("{PATH}: {error}; {RENEW}"))
    }

    /// Commits this.
    pub fn write(&self) -> Result<(), String> {
        let text =
            serde_json::to_string_pretty(self).expect("a table can always be written") + "\n";
        fs::write(PATH, text).map_err(|error| format!("{PATH}: {error}"))?;
        println!("{PATH} is written");
        Ok(())
    }

    /// Both, in Markdown.
    pub fn beside(&self, committed: &Self) -> String {
        let mut text = String::from("| instructions | now | committed | |\n|---|---:|---:|---:|\n");
        for (case, now) in &self.instructions {
            let _ = match committed.instructions.get(case) {
                Some(before) => {
                    writeln!(
                        text,
                        "| {case} | {now} | {before} | {:+.1} % |",
                        100.0 * growth(*before, *now)
                    )
                }
                None => writeln!(text, "| {case} | {now} | – | new |"),
            };
        }
        text
    }

    /// None has grown by more than this share.
    ///
    /// # Errors
    /// Those that have, or that other cases are committed. Where another compiler counted, nothing can be said.
    pub fn hold_against(&self, committed: &Self, tolerance: f64) -> Result<(), String> {
        if self.made_with != committed.made_with {
            let (now, before) = (&self.made_with, &committed.made_with);
            println!(
                "\nNot compared: this was counted with {now}, counts.json with {before}; {RENEW}."
            );
            return Ok(());
        }
        if !self.instructions.keys().eq(committed.instructions.keys()) {
            return Err(format!("{PATH} has other cases; {RENEW}"));
        }
        let grown = self
            .instructions
            .iter()
            .zip(committed.instructions.values());
        let grown: Vec<_> = grown
            .filter(|((_, now), before)| growth(**before, **now) > tolerance)
            .map(|((case, _), _)| case.as_str())
            .collect();
        if grown.is_empty() {
            return Ok(());
        }
        let more = 100.0 * tolerance;
        Err(format!(
            "more than {more} % more instructions: {}; if they are worth it, {RENEW}",
            grown.join(", ")
        ))
    }
}

/// By what share `now` is more than `before`.
fn growth(before: u64, now: u64) -> f64 {
    now as f64 / before as f64 - 1.0
}
