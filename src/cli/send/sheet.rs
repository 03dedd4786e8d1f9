//! A table as its rows: opened, recognised, read from the beginning as often as needed.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use csv::{ReaderBuilder, StringRecord};
use encoding_rs_io::{DecodeReaderBytes, DecodeReaderBytesBuilder};

use super::{coding::Coding, quotes, separator};
use crate::cli::Failed;

/// What is looked at for the separator, in bytes of text.
const BEGINNING: u64 = 64 * 1024;

/// What is read at once, in bytes of text.
const PART: u64 = 64 * 1024;

/// How files of spreadsheet programs begin that are no text.
const WORKBOOKS: [&[u8]; 2] = [b"PK\x03\x04", b"\xD0\xCF\x11\xE0"];

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
    /// All of them; of a row whose quotes are not sound those before the flaw.
    pub fields: StringRecord,
    /// The field, counted from 1, whose quotes are not sound.
    pub flaw: Option<usize>,
}

/// The rows that are still to be read.
pub(super) struct Rows {
    input: Decoded,
    separator: u8,
    /// Fields of the header; 0 before it is read.
    width: usize,
    /// Text that was read, and how much of it is taken.
    text: Vec<u8>,
    taken: usize,
    is_all: bool,
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
        if is_workbook(path).map_err(told)? {
            return Err(Failed::misused(format_args!(
                "{}: expected a text with separators, got a spreadsheet program's workbook; save it as CSV",
                path.display()
            )));
        }
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
        let Some(header) = rows.record().map_err(told)? else {
            return Err(Failed::misused(format_args!(
                "{}: expected a table with a header, got nothing",
                path.display()
            )));
        };
        if header.flaw.is_some() {
            return Err(Failed::misused(format_args!(
                "{}: expected a header, got a line whose quotation marks do not fit",
                path.display()
            )));
        }
        sheet.header = header
            .fields
            .iter()
            .map(|name| name.trim().to_owned())
            .collect();
        let mut rows = sheet.read()?;
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
        let mut rows = Rows {
            input: text,
            separator: self.separator,
            width: 0,
            text: Vec::new(),
            taken: 0,
            is_all: false,
            number: 0,
        };
        if !self.header.is_empty() {
            rows.record().map_err(told)?;
            rows.width = self.header.len();
        }
        Ok(rows)
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
}

impl Rows {
    /// The next row that holds anything.
    pub fn next(&mut self, sheet: &Sheet) -> Result<Option<Row>, Failed> {
        loop {
            let row = self.record().map_err(|error| {
                Failed::misused(format_args!("{}: {error}", sheet.path.display()))
            })?;
            let Some(mut row) = row else { return Ok(None) };
            self.number += 1;
            row.number = self.number;
            if row.flaw.is_some() || row.fields.iter().any(|field| !field.trim().is_empty()) {
                return Ok(Some(row));
            }
        }
    }

    /// The next record of any line that is not empty.
    fn record(&mut self) -> io::Result<Option<Row>> {
        loop {
            let rest = &self.text[self.taken..];
            let Some(record) = quotes::first(rest, self.separator, self.is_all) else {
                if self.is_all {
                    return Ok(None);
                }
                self.read_on()?;
                continue;
            };
            let row = self.row(&rest[..record.length], &record)?;
            self.taken += row.as_ref().map_or(record.length, |(_, length)| *length);
            if let Some((row, _)) = row {
                return Ok(Some(row));
            }
        }
    }

    /// The record as a row, and its length. A text of several lines that makes another number of fields than the
    /// header has is no text: a mark was not closed there, and another row's closes it.
    fn row(&self, text: &[u8], record: &quotes::Record) -> io::Result<Option<(Row, usize)>> {
        let Some(fields) = self.fields(text)? else {
            return Ok(None);
        };
        let is_right = record.is_sound && (self.width == 0 || fields.len() == self.width);
        let Some(line) = record.line.filter(|_| !is_right) else {
            let row = Row {
                number: 0,
                fields,
                flaw: None,
            };
            return Ok(Some((row, record.length)));
        };
        let fields = self.fields(&text[..line.length])?.unwrap_or_default();
        let fields = fields.iter().take(line.field).collect();
        let flaw = Some(line.field + 1);
        Ok(Some((
            Row {
                number: 0,
                fields,
                flaw,
            },
            line.length,
        )))
    }

    fn fields(&self, text: &[u8]) -> io::Result<Option<StringRecord>> {
        let mut reader = ReaderBuilder::new()
            .delimiter(self.separator)
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(text.len().max(1))
            .from_reader(text);
        let mut fields = StringRecord::new();
        let is_one = reader.read_record(&mut fields).map_err(io::Error::other)?;
        Ok(is_one.then_some(fields))
    }

    fn read_on(&mut self) -> io::Result<()> {
        self.text.drain(..self.taken);
        self.taken = 0;
        let read = self.input.by_ref().take(PART).read_to_end(&mut self.text)?;
        self.is_all = read == 0;
        Ok(())
    }
}

fn is_workbook(path: &Path) -> io::Result<bool> {
    let mut beginning = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut beginning)?;
    Ok(WORKBOOKS.contains(&&*beginning))
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
    fn no_row_takes_what_is_another_rows() {
        for (text, expected) in [
            (
                "Id,Name,Mobile\n2,\"Bob,84907089782\n3,Eve,84911111111\n4,\"Ada, K\",84922222222\n",
                vec![(1, 1, Some(2)), (2, 3, None), (3, 3, None)],
            ),
            // Another row's mark closes it, and so the fields are too few.
            (
                "Id,Name,Mobile\n2,\"Bob,84907089782\n3,Eve,84911111111,\"\n4,Ada,84922222222\n",
                vec![(1, 1, Some(2)), (2, 3, Some(4)), (3, 3, None)],
            ),
            (
                "Id,Name,Mobile\n2,\"Bob\" Jr,84907089782\n3,Eve,84911111111\n",
                vec![(1, 1, Some(2)), (2, 3, None)],
            ),
            ("Id,Name,Mobile\n2,Eve,\"8491", vec![(1, 2, Some(3))]),
        ] {
            let (_file, sheet) = opened(text.as_bytes());
            let mut rows = sheet.read().unwrap();
            let mut found = Vec::new();
            while let Some(row) = rows.next(&sheet).unwrap() {
                found.push((row.number, row.fields.len(), row.flaw));
            }
            assert_eq!(found, expected, "{text:?}");
            assert_eq!(sheet.rows, expected.len() as u64);
        }
    }

    #[test]
    fn what_is_no_table_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (bytes, words) in [
            (&b"PK\x03\x04\x14\x00"[..], "save it as CSV"),
            (b"\xD0\xCF\x11\xE0\xA1", "save it as CSV"),
            (b"", "got nothing"),
            (b"\n\n", "got nothing"),
            (b"Id,\"Mobile\n1,84\n", "quotation marks"),
        ] {
            std::fs::write(file.path(), bytes).unwrap();
            let failed = Sheet::open(file.path(), None, None).unwrap_err();
            assert!(failed.message.contains(words), "{}", failed.message);
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
