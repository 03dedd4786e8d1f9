//! The file of results: one for each job, also over runs that were interrupted.
//!
//! A record is written whole before its result is acknowledged. What a kill cut short is cut off at the next start.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use foldhash::fast::RandomState;
use serde::Deserialize;
use uuid::Uuid;

use super::record::{self, Answer};
use crate::cli::{Failed, lines::one_line};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A table, its fields separated so, perhaps with a byte order mark before it.
    Csv { separator: u8, marked: bool },
    /// As they came, one a line.
    JsonLines,
}

/// The file of results.
#[derive(Debug)]
pub(super) struct Answers {
    path: PathBuf,
    file: File,
    format: Format,
    /// The ids of the jobs that are answered; hashed, since there may be millions.
    ids: HashSet<Uuid, RandomState>,
}

impl Answers {
    /// Opens the file, or makes it, for this run alone.
    pub fn open(path: &Path, format: Format, provider: &str) -> Result<Self, Failed> {
        let told = |error: io::Error| Failed::misused(format_args!("{}: {error}", path.display()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(told)?;
        // A file system may have no locks: then nobody is kept out.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(Failed::misused(format_args!(
                "{}: another `send` writes to it; wait for its end, or name another file by --output",
                path.display()
            )));
        }
        let mut answers = Self {
            path: path.into(),
            file,
            format,
            ids: HashSet::default(),
        };
        let end = match format {
            Format::Csv { separator, .. } => answers.read_table(separator, provider)?,
            Format::JsonLines => answers.read_lines(provider)?,
        };
        answers.file.set_len(end).map_err(told)?;
        answers.file.seek(SeekFrom::End(0)).map_err(told)?;
        if end == 0 {
            answers.begin().map_err(told)?;
        }
        Ok(answers)
    }

    pub fn has(&self, job_id: &str) -> bool {
        self.ids.contains(&hashed(job_id))
    }

    pub fn count(&self) -> u64 {
        self.ids.len() as u64
    }

    /// Writes a result, a JSON text, unless its job has one. Says what it was.
    pub fn add(&mut self, result: &[u8]) -> Result<Option<Answer>, Failed> {
        let answer = serde_json::from_slice::<Answer>(result);
        let answer = answer.map_err(|error| {
            Failed::new(format_args!("a result that cannot be read came: {error}"))
        })?;
        if self.has(&answer.job_id) {
            return Ok(None);
        }
        let record = match self.format {
            Format::Csv { separator, .. } => record::of(&answer, separator),
            Format::JsonLines => one_line(result),
        };
        self.file
            .write_all(&record)
            .map_err(|error| Failed::new(format_args!("{}: {error}", self.path.display())))?;
        self.ids.insert(hashed(&answer.job_id));
        Ok(Some(answer))
    }

    /// Sees to it that all of it outlasts the machine.
    pub fn finish(&self) -> Result<(), Failed> {
        self.file
            .sync_all()
            .map_err(|error| Failed::new(format_args!("{}: {error}", self.path.display())))
    }

    fn begin(&mut self) -> io::Result<()> {
        if let Format::Csv { separator, marked } = self.format {
            if marked {
                self.file.write_all(BYTE_ORDER_MARK)?;
            }
            self.file.write_all(&record::header(separator))?;
        }
        Ok(())
    }

    /// Takes the ids of what is there; returns where the last whole record ends.
    fn read_lines(&mut self, provider: &str) -> Result<u64, Failed> {
        #[derive(Deserialize)]
        struct Known {
            job_id: String,
            provider: String,
        }
        let (mut end, mut line) = (0, Vec::new());
        let mut input = BufReader::new(&self.file);
        loop {
            line.clear();
            let read = input
                .read_until(b'\n', &mut line)
                .map_err(|error| self.foreign(&error.to_string()))?;
            if !line.ends_with(b"\n") {
                return Ok(end);
            }
            let known = serde_json::from_slice::<Known>(&line);
            let known = known.map_err(|_| self.foreign("a line of it is no result"))?;
            self.check(&known.provider, provider)?;
            self.ids.insert(hashed(&known.job_id));
            end += read as u64;
        }
    }

    /// As [`Self::read_lines`]. The last column is never in quotes, so a record that was cut lacks columns or its end.
    fn read_table(&mut self, separator: u8, provider: &str) -> Result<u64, Failed> {
        let mut input = BufReader::new(&self.file);
        let start = input
            .fill_buf()
            .map_err(|error| self.foreign(&error.to_string()))?;
        let mark = if start.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        input.consume(mark);
        let mut table = csv::ReaderBuilder::new()
            .delimiter(separator)
            .flexible(true)
            .has_headers(false)
            .from_reader(input);
        let (mut row, mut end) = (csv::ByteRecord::new(), 0);
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        while table
            .read_byte_record(&mut row)
            .map_err(|error| self.foreign(&error.to_string()))?
        {
            let after = table.position().byte() + mark as u64;
            let is_last = after >= length;
            if row.len() != record::COLUMNS.len() || is_last && !self.ends_with_newline(length) {
                if is_last {
                    break;
                }
                return Err(self.foreign("its columns are not those of results"));
            }
            if end == 0 {
                if !row.iter().eq(record::COLUMNS.map(str::as_bytes)) {
                    return Err(self.foreign("its columns are not those of results"));
                }
            } else {
                self.check(&String::from_utf8_lossy(&row[1]), provider)?;
                self.ids.insert(hashed(record::as_it_came(&row[0])));
            }
            end = after;
        }
        Ok(end)
    }

    fn ends_with_newline(&self, length: u64) -> bool {
        use std::os::unix::fs::FileExt;
        let mut last = [0];
        self.file.read_exact_at(&mut last, length - 1).is_ok() && last == *b"\n"
    }

    fn check(&self, there: &str, provider: &str) -> Result<(), Failed> {
        if there == provider {
            return Ok(());
        }
        Err(self.foreign(&format!("it has results of {there}, not of {provider}")))
    }

    fn foreign(&self, problem: &str) -> Failed {
        Failed::misused(format_args!(
            "{}: {problem}; name another file by --output, or remove this one",
            self.path.display()
        ))
    }
}

fn hashed(job_id: impl AsRef<[u8]>) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, job_id.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: Format = Format::Csv {
        separator: b';',
        marked: true,
    };

    fn result(id: &str) -> Vec<u8> {
        format!(
            r#"{{"job_id":"{id}","provider":"antsomi","status":"found","customers":[{{"customer_id":"c","name":"A \"B\"\nC"}}],"attempts":1,"duration_ms":1,"completed_at":"2026-11-21T10:15:29.512Z"}}"#
        )
        .into_bytes()
    }

    fn open(path: &Path, format: Format) -> Answers {
        Answers::open(path, format, "antsomi").unwrap_or_else(|failed| panic!("{failed:?}"))
    }

    #[test]
    fn a_kill_at_any_byte_costs_the_record_that_was_being_written_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results");
        for format in [CSV, Format::JsonLines] {
            let _ = std::fs::remove_file(&path);
            let mut answers = open(&path, format);
            let mut ends = vec![std::fs::metadata(&path).unwrap().len()];
            for id in ["=j-1", "j \"2\"", "j-3"] {
                let id = id.replace('"', "\\\"");
                assert!(answers.add(&result(&id)).unwrap().is_some());
                ends.push(std::fs::metadata(&path).unwrap().len());
            }
            drop(answers);
            let whole = std::fs::read(&path).unwrap();
            for cut in 0..=whole.len() {
                std::fs::write(&path, &whole[..cut]).unwrap();
                let answers = open(&path, format);
                let records = ends.iter().filter(|end| **end <= cut as u64).count();
                assert_eq!(
                    answers.count(),
                    records.saturating_sub(1) as u64,
                    "{format:?}, cut at {cut}"
                );
                assert_eq!(answers.has("=j-1"), records > 1);
                assert_eq!(answers.has("j \"2\""), records > 2);
                drop(answers);
                let kept = std::fs::read(&path).unwrap();
                assert!(whole.starts_with(&kept), "{format:?}, cut at {cut}");
            }
        }
    }

    #[test]
    fn a_job_has_one_result_however_often_it_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results");
        let mut answers = open(&path, CSV);
        assert!(answers.add(&result("j-1")).unwrap().is_some());
        assert!(answers.add(&result("j-1")).unwrap().is_none());
        drop(answers);
        let mut answers = open(&path, CSV);
        assert!(answers.add(&result("j-1")).unwrap().is_none());
        assert_eq!(answers.count(), 1);
    }

    #[test]
    fn a_file_that_holds_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results");
        let told = |format, provider| Answers::open(&path, format, provider).unwrap_err().message;
        for (text, words) in [
            ("Id;Name\n1;Ada\n", "not those of results"),
            ("a letter\nto Ada\n", "not those of results"),
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(told(CSV, "antsomi").contains(words), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::remove_file(&path).unwrap();
        open(&path, Format::JsonLines).add(&result("j-1")).unwrap();
        assert!(told(Format::JsonLines, "omeda").contains("results of antsomi"));
        let _held = open(&path, Format::JsonLines);
        assert!(told(Format::JsonLines, "antsomi").contains("another `send`"));
    }
}
