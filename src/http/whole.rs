//! A whole answer: read within a bound, and unpacked within it.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
};

use super::broken;
use crate::failure::{ErrorKind, Failure};

/// The codings that are asked for and read (RFC 9110 §8.4.1, RFC 7932, RFC 8878).
pub(super) const ACCEPTED: HeaderValue = HeaderValue::from_static("gzip, br, zstd");

/// Those that a server may use unasked.
const UNREADABLE: [&str; 3] = ["deflate", "compress", "x-compress"];

/// The whole answer, unpacked, of at most `limit` bytes.
///
/// # Errors
/// Where it breaks off, and of a 200 that is too large or packed otherwise than was asked for.
pub(super) async fn answer(
    mut answer: reqwest::Response,
    limit: usize,
) -> Result<Response<Bytes>, Failure> {
    let status = answer.status();
    let body = match Coding::of(answer.headers()) {
        Err(coding) => Err(format!(
            "expected an answer in one of the codings gzip, br, zstd or in none, got Content-Encoding {coding}"
        )),
        Ok(coding) => {
            let body = read(&mut answer, limit)
                .await
                .map_err(|error| broken::broken_off(&error))?;
            unpacked(coding, body, limit)
        }
    };
    let body = match body {
        Ok(body) => body,
        Err(message) if status == StatusCode::OK => {
            return Err(Failure::new(ErrorKind::BadResponse, message).with_status(200));
        }
        // Of another status nothing needs to be read: it decides alone.
        Err(_) => Bytes::new(),
    };
    let mut whole = Response::new(body);
    *whole.status_mut() = status;
    *whole.headers_mut() = std::mem::take(answer.headers_mut());
    for of_the_coding in [CONTENT_ENCODING, CONTENT_LENGTH] {
        whole.headers_mut().remove(of_the_coding);
    }
    Ok(whole)
}

/// What the answer holds.
fn unpacked(coding: Option<Coding>, body: Option<Bytes>, limit: usize) -> Result<Bytes, String> {
    let body = match (coding, body) {
        (Some(coding), Some(body)) => coding.unpack(&body, limit).map_err(|_| {
            format!("expected what Content-Encoding says ({coding:?}), got something else")
        })?,
        (_, body) => body,
    };
    body.ok_or_else(|| {
        format!("expected at most {limit} bytes (max_response_bytes), the answer is larger")
    })
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

impl Coding {
    /// Of an answer; names are compared without case, and an empty one is none.
    ///
    /// # Errors
    /// The name of one that cannot be read. Whatever is not well known is the provider's text, which may hold anything.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, &'static str> {
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
    fn unpack(self, body: &[u8], limit: usize) -> io::Result<Option<Bytes>> {
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
async fn read(answer: &mut reqwest::Response, limit: usize) -> reqwest::Result<Option<Bytes>> {
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
