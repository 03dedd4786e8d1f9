//! What stands between a table's fields: the character that cuts its first rows most evenly.

/// Those that occur; where two do equally well, the first is taken.
const CANDIDATES: [u8; 4] = *b",;\t|";

/// Rows that are looked at.
const ROWS: usize = 50;

/// What tells a spreadsheet program which separator to use: a first line that is no row.
const DIRECTIVE: &str = "sep=";

/// The separator that a first line `sep=;` names, and the length of that line.
pub(super) fn directive(text: &str) -> Option<(u8, usize)> {
    let rest = text.strip_prefix(DIRECTIVE)?;
    let separator = *rest.as_bytes().first().filter(|byte| byte.is_ascii())?;
    let end = rest[1..].strip_prefix("\r\n").map(|_| 3);
    let end = end.or_else(|| rest[1..].strip_prefix('\n').map(|_| 2))?;
    Some((separator, DIRECTIVE.len() + end))
}

/// The separator of a table that begins so; a comma where there is one column.
pub(super) fn recognise(beginning: &str) -> u8 {
    let mut best = (0, CANDIDATES[0]);
    for separator in CANDIDATES {
        let score = evenness(beginning, separator);
        if score > best.0 {
            best = (score, separator);
        }
    }
    best.1
}

/// Rows with as many fields as the first, by that number of fields; 0 where there is one field.
fn evenness(beginning: &str, separator: u8) -> usize {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .flexible(true)
        .has_headers(false)
        .from_reader(beginning.as_bytes());
    let widths: Vec<usize> = reader
        .records()
        .take(ROWS)
        .filter_map(|row| Some(row.ok()?.len()))
        .collect();
    match widths.first() {
        None | Some(1) => 0,
        Some(first) => {
            let even = widths.iter().filter(|width| *width == first).count();
            // Evenness comes first: a comma within names cuts some rows into more pieces.
            1 + 100 * even * even / widths.len() + first
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_separator_is_what_cuts_the_rows_evenly() {
        for (text, expected) in [
            ("Id,Name\n1,Ada\n", b','),
            (
                "Id;Name\n1;\"Lovelace, Ada\"\n2;King, Ada\n3;a, b, c\n",
                b';',
            ),
            ("Id\tName, first\n1\tAda, K\n2\tBob\n", b'\t'),
            ("Id|Name\n1|Ada; King\n", b'|'),
            ("Id,Price\n1,\"1;2;3\"\n2,\"4;5;6\"\n", b','),
            ("Mobile\n84907089782\n", b','),
            ("", b','),
        ] {
            assert_eq!(recognise(text) as char, expected as char, "{text}");
        }
    }

    #[test]
    fn a_first_line_may_name_it() {
        assert_eq!(directive("sep=;\r\nId;Name\r\n"), Some((b';', 7)));
        assert_eq!(directive("sep=\t\nId\tName\n"), Some((b'\t', 6)));
        assert_eq!(directive("sep=a column\n1\n"), None);
        assert_eq!(directive("Id;Name\n"), None);
    }
}
