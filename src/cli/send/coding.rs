//! What a text was written in: by its byte order mark, by the zeros of UTF-16, else by all of its bytes.

use std::io::{self, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// Bytes that are looked at together.
const PART: usize = 64 * 1024;

/// A text's coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Coding {
    pub encoding: &'static Encoding,
    /// Whether a byte order mark stands before the text.
    pub marked: bool,
}

impl Coding {
    /// Reads all of `input`, unless its beginning tells: a letter beyond ASCII may come late.
    pub fn recognise(mut input: impl Read) -> io::Result<Self> {
        let mut part = Vec::with_capacity(PART);
        input.by_ref().take(PART as u64).read_to_end(&mut part)?;
        if let Some((encoding, _)) = Encoding::for_bom(&part) {
            return Ok(Self {
                encoding,
                marked: true,
            });
        }
        let encoding = match utf_16(&part) {
            Some(encoding) => encoding,
            None => by_all_bytes(part, input)?,
        };
        Ok(Self {
            encoding,
            marked: false,
        })
    }

    /// The coding of this name, as `windows-1252`, `latin1` or `utf-16`; none where nobody knows it.
    pub fn named(name: &str) -> Option<Self> {
        Encoding::for_label(name.as_bytes()).map(|encoding| Self {
            encoding,
            marked: false,
        })
    }

    pub fn name(&self) -> &'static str {
        self.encoding.name()
    }
}

/// Western text in UTF-16 has a zero in every other byte, and other text has none.
fn utf_16(part: &[u8]) -> Option<&'static Encoding> {
    let zeros = |first: usize| {
        part.iter()
            .skip(first)
            .step_by(2)
            .filter(|byte| **byte == 0)
            .count()
    };
    let (even, odd) = (zeros(0), zeros(1));
    // More than a third of the letters, and the other bytes have nearly none.
    let is_one = |many: usize, few: usize| many > part.len() / 6 && few <= many / 16;
    match (is_one(odd, even), is_one(even, odd)) {
        (true, _) => Some(UTF_16LE),
        (_, true) => Some(UTF_16BE),
        _ => None,
    }
}

fn by_all_bytes(mut part: Vec<u8>, mut input: impl Read) -> io::Result<&'static Encoding> {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    let mut beyond_ascii = false;
    while !part.is_empty() {
        beyond_ascii |= detector.feed(&part, false);
        part.clear();
        input.by_ref().take(PART as u64).read_to_end(&mut part)?;
    }
    detector.feed(&[], true);
    Ok(if beyond_ascii {
        detector.guess(None, Utf8Detection::Allow)
    } else {
        UTF_8
    })
}

#[cfg(test)]
mod tests {
    use encoding_rs::WINDOWS_1252;

    use super::*;

    const TEXT: &str = "Id;Name;Ort\r\n1;Jürgen Groß;Köln\r\n2;Zoë Müller;Weißenfels\r\n";

    fn utf_16_bytes(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    fn recognised(bytes: &[u8]) -> (&'static str, bool) {
        let coding = Coding::recognise(bytes).unwrap();
        (coding.name(), coding.marked)
    }

    #[test]
    fn the_codings_that_spreadsheets_and_crms_write_are_recognised() {
        let (windows, _, _) = WINDOWS_1252.encode(TEXT);
        let with_mark = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
        let little = utf_16_bytes(TEXT, u16::to_le_bytes);
        let big = utf_16_bytes(TEXT, u16::to_be_bytes);
        for (bytes, expected) in [
            (b"Id,Mobile\n1,84\n".to_vec(), ("UTF-8", false)),
            (TEXT.as_bytes().to_vec(), ("UTF-8", false)),
            (with_mark(b"\xEF\xBB\xBF", TEXT.as_bytes()), ("UTF-8", true)),
            (with_mark(b"\xFF\xFE", &little), ("UTF-16LE", true)),
            (with_mark(b"\xFE\xFF", &big), ("UTF-16BE", true)),
            (little, ("UTF-16LE", false)),
            (big, ("UTF-16BE", false)),
            (windows.to_vec(), ("windows-1252", false)),
            (Vec::new(), ("UTF-8", false)),
        ] {
            assert_eq!(recognised(&bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_letter_beyond_ascii_counts_wherever_it_comes() {
        let mut late = b"1;Ada;84907089782\n".repeat(10_000);
        late.extend_from_slice(b"2;J\xFCrgen;84911111111\n");
        assert_eq!(recognised(&late), ("windows-1252", false));
    }

    #[test]
    fn a_coding_has_many_names() {
        for (name, expected) in [
            ("utf8", "UTF-8"),
            ("Latin1", "windows-1252"),
            ("utf-16", "UTF-16LE"),
        ] {
            assert_eq!(Coding::named(name).unwrap().name(), expected);
        }
        assert_eq!(Coding::named("klingon"), None);
    }
}
