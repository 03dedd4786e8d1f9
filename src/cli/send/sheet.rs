//! A table as its rows: opened, recognised, read from the beginning as often as needed.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use csv::{Reader, ReaderBuilder, StringRecord};
use encoding_rs_io::{DecodeReaderBytes, DecodeReaderBytesBuilder};

use super::{coding::Coding, separator};
use crate::cli::Failed;

/// What is looked at for the separator, in bytes of text.
const BEGINNING: u64 = 64 * 1024;

/// A table in a file.
#[derive(Debug)]
pub(super) struct Sheet {
    path: PathBuf,
    pub coding: Coding,
    pub separator: u8,
    /// Bytes of text before the header.
    before_header: u64,
    pub header: Vec<String>,
    /// Rows below the header that hold anything.
    pub rows: u64,
}

/// One row of a table.
#[derive(Debug)]
pub(super) struct Row {
    /// Counted from 1 below the header.
    pub number: u64,
    pub fields: StringRecord,
}

/// The rows that are still to be read.
pub(super) struct Rows {
    reader: Reader<Decoded>,
    number: u64,
}

type Decoded = DecodeReaderBytes<BufReader<File>, Vec<u8>>;

impl Sheet {
    /// Opens a table and recognises what is not given.
    pub fn open(
        path: &Path,
        coding: Option<Coding>,
        separator: Option<u8>,
    ) -> Result<Self, Failed> {
        let told = |error: io::Error| Failed::misused(format_args!("{}: {error}", path.display()));
        let found = Coding::recognise(File::open(path).map_err(told)?).map_err(told)?;
        // A mark is no guess.
        let coding = coding.filter(|_| !found.marked).unwrap_or(found);
        let beginning = beginning(path, coding).map_err(told)?;
        let directive = separator::directive(&beginning);
        let before_header = directive.map_or(0, |(_, length)| length as u64);
        let separator = separator
            .or(directive.map(|(separator, _)| separator))
            .unwrap_or_else(|| separator::recognise(&beginning));
        let mut sheet = Self {
            path: path.into(),
            coding,
            separator,
            before_header,
            header: Vec::new(),
            rows: 0,
        };
        let mut rows = sheet.read()?;
        let header = rows
            .reader
            .headers()
            .map_err(|error| sheet.unread(&error))?;
        sheet.header = header.iter().map(|name| name.trim().to_owned()).collect();
        while rows.next(&sheet)?.is_some() {
            sheet.rows += 1;
        }
        Ok(sheet)
    }

    /// Its rows, from the first.
    pub fn read(&self) -> Result<Rows, Failed> {
        let told =
            |error: io::Error| Failed::misused(format_args!("{}: {error}", self.path.display()));
        let mut text = decoded(&self.path, self.coding).map_err(told)?;
        io::copy(&mut text.by_ref().take(self.before_header), &mut io::sink()).map_err(told)?;
        let reader = ReaderBuilder::new()
            .delimiter(self.separator)
            .flexible(true)
            .from_reader(text);
        Ok(Rows { reader, number: 0 })
    }

    /// What was recognised, in words.
    pub fn description(&self) -> String {
        let separator = match self.separator {
            b'\t' => "a tab".to_owned(),
            other => format!("{:?}", other as char),
        };
        format!(
            "{}: {}{}, separated by {separator}, {} columns, {} rows",
            self.path.display(),
            self.coding.name(),
            if self.coding.marked {
                " with a byte order mark"
            } else {
                ""
            },
            self.header.len(),
            self.rows
        )
    }

    /// Tells whether it is still the same file, without a look at its content.
    pub fn fingerprint(&self) -> String {
        let read = || -> io::Result<String> {
            let metadata = self.path.metadata()?;
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
            let modified = modified.map_or(0, |since| since.as_nanos());
            Ok(format!("{}-{modified}", metadata.len()))
        };
        read().unwrap_or_default()
    }

    fn unread(&self, error: &csv::Error) -> Failed {
        Failed::misused(format_args!("{}: {error}", self.path.display()))
    }
}

impl Rows {
    /// The next row that holds anything.
    pub fn next(&mut self, sheet: &Sheet) -> Result<Option<Row>, Failed> {
        loop {
            let mut fields = StringRecord::new();
            let read = self.reader.read_record(&mut fields);
            if !read.map_err(|error| sheet.unread(&error))? {
                return Ok(None);
            }
            self.number += 1;
            if fields.iter().any(|field| !field.trim().is_empty()) {
                let number = self.number;
                return Ok(Some(Row { number, fields }));
            }
        }
    }
}

fn decoded(path: &Path, coding: Coding) -> io::Result<Decoded> {
    Ok(DecodeReaderBytesBuilder::new()
        .encoding(Some(coding.encoding))
        .bom_override(true)
        .strip_bom(true)
        .build(BufReader::new(File::open(path)?)))
}

fn beginning(path: &Path, coding: Coding) -> io::Result<String> {
    let mut bytes = Vec::new();
    decoded(path, coding)?
        .take(BEGINNING)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(bytes: &[u8]) -> (tempfile::NamedTempFile, Sheet) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let sheet =
            Sheet::open(file.path(), None, None).unwrap_or_else(|error| panic!("{error:?}"));
        (file, sheet)
    }

    fn rows(sheet: &Sheet) -> Vec<(u64, Vec<String>)> {
        let mut rows = sheet.read().unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.next(sheet).unwrap() {
            all.push((row.number, row.fields.iter().map(str::to_owned).collect()));
        }
        all
    }

    #[test]
    fn a_table_reads_alike_whatever_it_was_written_in() {
        let text =
            "Id;Name;Mobile\r\n1;\"Groß; Jürgen\";84907089782\r\n\r\n;;\r\n4;Zoë;\"849\n11\"";
        let utf_16: Vec<u8> = "\u{FEFF}"
            .chars()
            .chain(text.chars())
            .collect::<String>()
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let (windows, _, _) = encoding_rs::WINDOWS_1252.encode(text);
        for bytes in [
            text.as_bytes(),
            &[b"\xEF\xBB\xBF", text.as_bytes()].concat(),
            &[b"sep=;\r\n", text.as_bytes()].concat(),
            &utf_16,
            &windows,
        ] {
            let (_file, sheet) = opened(bytes);
            assert_eq!(sheet.header, ["Id", "Name", "Mobile"], "{sheet:?}");
            assert_eq!(sheet.rows, 2, "{sheet:?}");
            assert_eq!(
                rows(&sheet),
                [
                    (
                        1,
                        vec!["1".into(), "Groß; Jürgen".into(), "84907089782".into()]
                    ),
                    (3, vec!["4".into(), "Zoë".into(), "849\n11".into()])
                ]
            );
        }
    }

    #[test]
    fn what_was_recognised_is_told() {
        let (_file, sheet) = opened(b"\xEF\xBB\xBFId\tMobile\n1\t84\n2\t85\n");
        let told = sheet.description();
        assert!(
            told.ends_with("UTF-8 with a byte order mark, separated by a tab, 2 columns, 2 rows"),
            "{told}"
        );
    }
}
