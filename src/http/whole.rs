//! A whole answer: read within a bound, and unpacked within it.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};

/// The codings that are asked for and read (RFC 9110 §8.4.1, RFC 7932, RFC 8878).
pub(super) const ACCEPTED: HeaderValue = HeaderValue::from_static("gzip, br, zstd");

/// Those that a server may use unasked.
const UNREADABLE: [&str; 3] = ["deflate", "compress", "x-compress"];

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

impl Coding {
    /// Of an answer; names are compared without case, and an empty one is none.
    ///
    /// # Errors
    /// The name of one that cannot be read. Whatever is not well known is the provider's text, which may hold anything.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, &'static str> {
        let mut coding = None;
        let values = headers.get_all(CONTENT_ENCODING).iter();
        for name in values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
            let name = name.trim_ascii();
            if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            let one = Self::named(name)?;
            if coding.replace(one).is_some() {
                return Err("of more than one name");
            }
        }
        Ok(coding)
    }

    fn named(name: &[u8]) -> Result<Self, &'static str> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name {
            _ if is("gzip") || is("x-gzip") => Ok(Self::Gzip),
            _ if is("br") => Ok(Self::Brotli),
            _ if is("zstd") => Ok(Self::Zstd),
            _ => Err(UNREADABLE
                .into_iter()
                .find(|known| is(known))
                .unwrap_or("of another name")),
        }
    }

    /// What is packed in `body`; none if that is larger than `limit` bytes. No more than that is ever unpacked.
    ///
    /// # Errors
    /// Where it is damaged.
    pub fn unpack(self, body: &[u8], limit: usize) -> io::Result<Option<Bytes>> {
        if body.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        match self {
            Self::Gzip => bounded(flate2::read::MultiGzDecoder::new(body), limit),
            Self::Brotli => bounded(brotli_decompressor::Decompressor::new(body, 4096), limit),
            Self::Zstd => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(body);
                bounded(decoder.map_err(io::Error::other)?, limit)
            }
        }
    }
}

fn bounded(packed: impl Read, limit: usize) -> io::Result<Option<Bytes>> {
    let mut whole = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    packed.take(most).read_to_end(&mut whole)?;
    Ok((whole.len() <= limit).then(|| whole.into()))
}

/// The whole body; none if it is larger than `limit` bytes.
pub(super) async fn read(
    answer: &mut reqwest::Response,
    limit: usize,
) -> reqwest::Result<Option<Bytes>> {
    if answer
        .content_length()
        .is_some_and(|length| length > limit as u64)
    {
        return Ok(None);
    }
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(data) = answer.chunk().await? {
        if first.len() + more.len() + data.len() > limit {
            return Ok(None);
        }
        // Most often one piece is all.
        if first.is_empty() {
            first = data;
        } else {
            more.extend_from_slice(&data);
        }
    }
    if more.is_empty() {
        return Ok(Some(first));
    }
    let mut whole = BytesMut::with_capacity(first.len() + more.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&more);
    Ok(Some(whole.freeze()))
}

#[cfg(test)]
mod tests;
