//! Where a table's record ends, and whether its quotation marks are sound (RFC 4180).
//!
//! A mark that is not closed would make one record of many rows, and give one row's id the number of another.

/// A row of many lines is a text with line ends; one of this many bytes is a mark that nobody closed.
pub(super) const LONGEST: usize = 1024 * 1024;

/// The first record of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Its bytes, the line end included; those of its first line where its marks are not sound.
    pub length: usize,
    /// All marks that open a field close it.
    pub is_sound: bool,
    /// Its first line, where it has several or is not sound.
    pub line: Option<Line>,
}

/// A line that ends within a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    /// Its bytes, the line end included.
    pub length: usize,
    /// The field, counted from 0.
    pub field: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Begin,
    Bare,
    Quoted,
    /// Behind a mark that closes the field, unless another follows.
    Closed,
}

/// Reads up to the end of the first record. None where the text has to go on for it; `is_all` says that it does not.
pub(super) fn first(text: &[u8], separator: u8, is_all: bool) -> Option<Record> {
    let (mut state, mut field, mut line) = (State::Begin, 0, None);
    let line_at = |at: usize, field| {
        let length = at + rest_of_line(&text[at..], is_all)?;
        Some(Line { length, field })
    };
    for (at, byte) in text.iter().copied().enumerate() {
        let is_end = matches!(byte, b'\r' | b'\n');
        state = match (state, byte) {
            (State::Begin | State::Closed, b'"') => State::Quoted,
            (State::Quoted, b'"') => State::Closed,
            (State::Quoted, _) => {
                if is_end && line.is_none() {
                    line = Some(line_at(at, field)?);
                }
                State::Quoted
            }
            (_, byte) if byte == separator => {
                field += 1;
                State::Begin
            }
            (_, _) if is_end => return Some(sound(line_at(at, field)?.length, line)),
            (State::Closed, b' ') => State::Closed,
            (State::Closed, _) => return Some(flawed(line.or_else(|| line_at(at, field))?)),
            (State::Begin | State::Bare, _) => State::Bare,
        };
    }
    match state {
        State::Quoted if is_all || text.len() > LONGEST => {
            Some(flawed(line.or_else(|| line_at(text.len(), field))?))
        }
        _ if is_all && !text.is_empty() => Some(sound(text.len(), line)),
        _ => None,
    }
}

fn sound(length: usize, line: Option<Line>) -> Record {
    Record {
        length,
        is_sound: true,
        line,
    }
}

fn flawed(line: Line) -> Record {
    Record {
        length: line.length,
        is_sound: false,
        line: Some(line),
    }
}

/// The length of what is left of this line, its end included; none where the text has to go on for it.
fn rest_of_line(text: &[u8], is_all: bool) -> Option<usize> {
    let end = text.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    match (end, end.and_then(|end| text.get(end..end + 2))) {
        (Some(end), Some(b"\r\n")) => Some(end + 2),
        (Some(end), Some(_)) => Some(end + 1),
        // The second half of a line end may follow.
        (Some(end), None) if is_all || text[end] == b'\n' => Some(end + 1),
        (None, _) if is_all => Some(text.len()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of each record: its text, and the field with a flaw.
    fn records(text: &str) -> Vec<(&str, Option<usize>)> {
        let (mut rest, mut records) = (text, Vec::new());
        while let Some(record) = first(rest.as_bytes(), b',', true) {
            let (one, more) = rest.split_at(record.length);
            let flaw = record.line.filter(|_| !record.is_sound);
            records.push((one, flaw.map(|line| line.field)));
            rest = more;
        }
        assert_eq!(rest, "");
        records
    }

    #[test]
    fn a_record_ends_at_the_first_line_end_outside_of_quotes() {
        for text in [
            "1,Ada\n",
            "1,Ada\r\n",
            "1,Ada\r",
            "1,\"A\"\"d,\n\r\na\" ,x\n",
            "\"\",\"\"\r\n",
            "1,5\" tall\n",
            "\n",
            "1,Ada",
        ] {
            let next = if text.ends_with(['\r', '\n']) {
                "2,Bob\n"
            } else {
                ""
            };
            let whole = format!("{text}{next}");
            let mut expected = vec![(text, None)];
            if !next.is_empty() {
                expected.push((next, None));
            }
            assert_eq!(records(&whole), expected, "{text:?}");
        }
    }

    #[test]
    fn a_mark_that_is_not_sound_costs_its_own_line_and_no_other() {
        for (text, field) in [
            ("2,\"Bob,84907089782\n", 1),
            ("2,\"Bob\" Jr,84907089782\r\n", 1),
            ("\"2\"3,Bob\n", 0),
        ] {
            for next in ["", "3,\"Eve\",84\n", "3,Eve,84\n4,Mallory,85\n"] {
                let whole = format!("{text}{next}");
                let found = records(&whole);
                assert_eq!(found[0], (text, Some(field)), "{whole:?}");
                let flawed = found.iter().filter(|(_, flaw)| flaw.is_some());
                assert_eq!(flawed.count(), 1, "{whole:?}");
                assert_eq!(found.len(), whole.lines().count(), "{whole:?}");
            }
        }
    }

    #[test]
    fn a_text_that_comes_in_pieces_is_cut_as_the_whole_text_is() {
        for text in [
            "1,\"A\r\nb\"\r\n2",
            "1,\"A\"b\r\nc\n",
            "1,a\r\rb",
            "1,\"a\nb,\"c\n",
        ] {
            let whole = first(text.as_bytes(), b',', true);
            for end in 0..text.len() {
                let part = first(&text.as_bytes()[..end], b',', false);
                assert!(part.is_none() || part == whole, "{:?}", &text[..end]);
            }
        }
    }

    #[test]
    fn a_mark_that_nobody_closes_is_looked_after_only_so_far() {
        let text = format!("1,\"Bob\n{}", "2,Ada\n".repeat(LONGEST / 6 + 1));
        let record = first(text.as_bytes(), b',', false).unwrap();
        let line = Line {
            length: 7,
            field: 1,
        };
        assert_eq!(record, flawed(line));
    }
}
