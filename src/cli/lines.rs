//! Jobs as JSON lines: how `pipe` and `send` read them.

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use super::Failed;
use crate::job::Envelope;

/// Reads lines; of one that is longer than `longest` bytes so much that it is seen to be too long.
pub(super) struct Lines<R> {
    input: R,
    longest: usize,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(input: R, longest: usize) -> Self {
        Self { input, longest }
    }

    /// The next line that is not blank, without its end; none at the end of the input.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failed> {
        let read = |error| Failed::new(format_args!("standard input: {error}"));
        loop {
            let mut line = Vec::new();
            let limit = self.longest as u64 + 2;
            if (&mut self.input).take(limit).read_until(b'\n', &mut line).await.map_err(read)? == 0 {
                return Ok(None);
            }
            if line.last() != Some(&b'\n') {
                self.skip_line().await.map_err(read)?;
            }
            if !line.trim_ascii().is_empty() {
                line.truncate(line.trim_ascii_end().len());
                return Ok(Some(line));
            }
        }
    }

    async fn skip_line(&mut self) -> std::io::Result<()> {
        loop {
            let buffer = self.input.fill_buf().await?;
            let (used, ended) = match buffer.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.input.consume(used);
            if ended {
                return Ok(());
            }
        }
    }
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
    let text = |value: Option<&RawValue>| value.and_then(|value| serde_json::from_str::<String>(value.get()).ok());
    let provider = text(head.provider).unwrap_or_default();
    let routing_key = match text(head.lane).as_deref() {
        Some("interactive") => format!("{provider}.interactive"),
        _ => provider,
    };
    Envelope { routing_key, ..Envelope::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_is_cut_and_the_next_is_whole() {
        let text = [b"\n  \n{\"a\":1}\r\n".as_slice(), &[b'x'; 100], b"\n{\"b\":2}"].concat();
        let mut lines = Lines::new(text.as_slice(), 10);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            read.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(read, ["{\"a\":1}", &"x".repeat(12), "{\"b\":2}"]);
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
