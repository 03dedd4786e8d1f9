//! How far an interrupted run had come: the reply queue that its results go to, and up to which row jobs were asked.
//!
//! It lies beside the results while there is something to go on with, and saves asking twice for what is on its way.
//! What it forgets is asked again: nothing is lost by that. Of results that are there no more (the file was removed, or
//! the machine ended before its disk had them) it must not wait for a second delivery: so it counts them, too.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::cli::Failed;

/// A bookmark.
#[derive(Debug)]
pub(super) struct Bookmark {
    path: PathBuf,
    file: File,
    /// The last part of the reply queue's name.
    pub token: String,
    /// Rows up to this one were handed to the broker.
    pub asked: u64,
}

impl Bookmark {
    /// Of the results in `output`; that of an earlier run, where there is one, of the same table.
    /// `answered` is how many results are there.
    pub fn open(output: &Path, fingerprint: &str, answered: u64) -> Result<Self, Failed> {
        let mut path = output.as_os_str().to_owned();
        path.push(".unfinished");
        let path = PathBuf::from(path);
        let told = |error: io::Error| Failed::misused(format_args!("{}: {error}", path.display()));
        let before = fs::read_to_string(&path).unwrap_or_default();
        let (token, asked) = read(&before, fingerprint, answered);
        let token = token.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
        fs::write(&path, text(&token, fingerprint, asked, answered)).map_err(told)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(told)?;
        Ok(Self {
            path,
            file,
            token,
            asked,
        })
    }

    /// The broker has the jobs of all rows up to this one, and so many results are there.
    pub fn asked(&mut self, row: u64, answered: u64) {
        if row > self.asked {
            self.asked = row;
            // Where it cannot be written, some jobs are asked again.
            let _ = writeln!(self.file, "{row} {answered}");
        }
    }

    /// Results that were to come did not: their jobs are to be asked again.
    pub fn forget(&mut self) {
        self.asked = 0;
        let _ = writeln!(self.file, "0 0");
    }

    /// Another reply queue, as if the table were new: of the one there was nothing comes any more.
    pub fn begin_anew(&mut self, fingerprint: &str, answered: u64) -> Result<(), Failed> {
        let told =
            |error: io::Error| Failed::misused(format_args!("{}: {error}", self.path.display()));
        let token = Uuid::new_v4().simple().to_string();
        fs::write(&self.path, text(&token, fingerprint, 0, answered)).map_err(told)?;
        self.token = token;
        self.asked = 0;
        Ok(())
    }

    /// There is nothing to go on with.
    pub fn remove(self) {
        let _ = fs::remove_file(self.path);
    }
}

/// What [`read`] reads.
fn text(token: &str, fingerprint: &str, asked: u64, answered: u64) -> String {
    format!("{token}\n{fingerprint}\n{asked} {answered}\n")
}

/// The token, and the last row that is written whole; of another table, or of results that are gone, none counts.
fn read(text: &str, fingerprint: &str, answered: u64) -> (Option<String>, u64) {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines();
    let Some(token) = lines.next().filter(|token| Uuid::try_parse(token).is_ok()) else {
        return (None, 0);
    };
    let asked = match lines.next() {
        Some(same) if same == fingerprint => lines.last().and_then(|line| {
            let (row, results) = line.split_once(' ')?;
            let are_there = results.parse::<u64>().ok()? <= answered;
            row.parse().ok().filter(|_| are_there)
        }),
        _ => None,
    };
    (Some(token.to_owned()), asked.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_known_at_the_next_start_of_the_same_table() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("results.csv");
        let mut first = Bookmark::open(&output, "one", 0).unwrap();
        first.asked(7, 3);
        first.asked(5, 4);
        // As a kill leaves it, in the middle of a line.
        write!(first.file, "1").unwrap();
        let second = Bookmark::open(&output, "one", 3).unwrap();
        assert_eq!((&second.token, second.asked), (&first.token, 7));
        let gone = Bookmark::open(&output, "one", 2).unwrap();
        assert_eq!((&gone.token, gone.asked), (&first.token, 0));
        let mut anew = gone;
        anew.begin_anew("one", 3).unwrap();
        anew.asked(2, 3);
        assert_ne!(anew.token, first.token);
        let first = anew;
        let second = Bookmark::open(&output, "one", 3).unwrap();
        assert_eq!((&second.token, second.asked), (&first.token, 2));
        let third = Bookmark::open(&output, "another", 3).unwrap();
        assert_eq!((&third.token, third.asked), (&first.token, 0));
        third.remove();
        let fourth = Bookmark::open(&output, "one", 0).unwrap();
        assert_ne!(fourth.token, first.token);
        assert_eq!(fourth.asked, 0);
    }
}
