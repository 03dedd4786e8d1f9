//! Jobs as JSON lines: how `pipe` and `send` read them.

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::Failed;
use crate::job::Envelope;

/// U+FEFF in UTF-8, which stands before the text that .NET and PowerShell write.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads lines; of one that is longer than `longest` bytes so much that it is seen to be too long.
pub(super) struct Lines<R> {
    input: R,
    /// The input's name.
    name: String,
    longest: usize,
    /// The line that is being read. It stays here while nobody waits for it, so that a wait can be given up.
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(input: R, name: impl Into<String>, longest: usize) -> Self {
        Self {
            input,
            name: name.into(),
            longest,
            line: Vec::new(),
        }
    }

    /// The next line that is not blank, without its end; none at the end of the input. Nothing is lost where
    /// this wait is given up for another.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failed> {
        loop {
            let read = self.input.fill_buf().await;
            let part = read.map_err(|error| Failed::new(format_args!("{}: {error}", self.name)))?;
            let (used, over) = (part.len(), part.is_empty());
            let end = part.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(used, |end| end + 1);
            let room = (self.longest + 2).saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..used.min(room)]);
            self.input.consume(used);
            if end.is_none() && !over {
                continue;
            }
            let mut line = std::mem::take(&mut self.line);
            line.truncate(line.trim_ascii_end().len());
            // .NET and PowerShell put it before the first line, and files are put behind each other.
            if line.starts_with(BYTE_ORDER_MARK) {
                line.drain(..BYTE_ORDER_MARK.len());
            }
            if !line.is_empty() {
                return Ok(Some(line));
            }
            if over {
                return Ok(None);
            }
        }
    }
}

/// A JSON text in one line. Within its strings there are no line ends, they are escaped there; a provider's payload
/// may have some between its members.
pub(super) fn one_line(json: &[u8]) -> Vec<u8> {
    let mut line: Vec<u8> = json
        .iter()
        .map(|byte| match byte {
            b'\n' | b'\r' => b' ',
            byte => *byte,
        })
        .collect();
    line.push(b'\n');
    line
}

/// The envelope that a line's `provider` and `lane` stand for; what is wrong with them is found when the line is
/// read as a job.
pub(super) fn envelope(line: &[u8]) -> Envelope {
    #[derive(Deserialize, Default)]
    struct Head<'a> {
        #[serde(borrow, default)]
        provider: Option<&'a RawValue>,
        #[serde(borrow, default)]
        lane: Option<&'a RawValue>,
    }
    let head: Head = serde_json::from_slice(line).unwrap_or_default();
    let text = |value: Option<&RawValue>| {
        value.and_then(|value| serde_json::from_str::<String>(value.get()).ok())
    };
    // Longer than any provider's name, and short enough for a routing key.
    let provider: String = text(head.provider)
        .unwrap_or_default()
        .chars()
        .take(60)
        .collect();
    let routing_key = match text(head.lane).as_deref() {
        Some("interactive") => format!("{provider}.interactive"),
        _ => provider,
    };
    Envelope {
        routing_key,
        ..Envelope::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_is_cut_the_next_is_whole_and_byte_order_marks_go() {
        let text = [
            b"\xef\xbb\xbf\n  \n\xef\xbb\xbf{\"a\":1}\r\n".as_slice(),
            &[b'x'; 100],
            b"\n{\"b\":2}",
        ]
        .concat();
        let mut lines = Lines::new(text.as_slice(), "a text", 10);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            read.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(read, ["{\"a\":1}", &"x".repeat(12), "{\"b\":2}"]);
    }

    #[tokio::test]
    async fn a_byte_order_mark_before_the_first_line_is_no_part_of_it() {
        let text = b"\xEF\xBB\xBF{\"id\":1}\n{\"id\":2}\n".as_slice();
        let mut lines = Lines::new(text, "a text", 100);
        for expected in [br#"{"id":1}"#, br#"{"id":2}"#] {
            assert_eq!(lines.next().await.unwrap().unwrap(), expected);
        }
        let mut nothing = Lines::new(BYTE_ORDER_MARK, "a text", 100);
        assert_eq!(nothing.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_in_the_middle_of_a_line_loses_nothing_of_it() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let mut lines = Lines::new(tokio::io::BufReader::new(reader), "a pipe", 100);
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"first ")
            .await
            .unwrap();
        tokio::select! {
            biased;
            _ = lines.next() => panic!("half a line"),
            () = std::future::ready(()) => {}
        }
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"half\n")
            .await
            .unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap(), b"first half");
    }

    #[test]
    fn a_payload_of_several_lines_stays_in_one() {
        assert_eq!(one_line(b"{\r\n \"a\": 1\n}"), b"{   \"a\": 1 }\n");
    }

    #[test]
    fn the_line_names_provider_and_lane() {
        for (line, key) in [
            (r#"{"provider":"a"}"#, "a"),
            (r#"{"provider":"a","lane":"interactive"}"#, "a.interactive"),
            (r#"{"provider":"a","lane":"bulk"}"#, "a"),
            (r#"{"provider":1}"#, ""),
            ("no JSON", ""),
        ] {
            assert_eq!(envelope(line.as_bytes()).routing_key, key, "{line}");
        }
    }
}
