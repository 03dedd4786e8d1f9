//! Bodies that are not the JSON itself: compressed, of another character set, of another language (contract §3).
//!
//! A worker could undo some of them, and would then have to bound what comes out; producers can leave them be.

use super::Envelope;
use crate::json::Malformed;

/// The body without the byte order mark that .NET and PowerShell put before it.
pub(crate) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// What the message says of its body must be that it is UTF-8 as it stands.
pub(super) fn check(envelope: &Envelope) -> Result<(), Malformed> {
    let plain = |coding: &&String| {
        ["identity", "utf-8"]
            .iter()
            .any(|name| coding.eq_ignore_ascii_case(name))
    };
    if let Some(coding) = envelope.content_encoding.as_ref().filter(|it| !plain(it)) {
        let problem = format!(
            "expected none, `identity` or `utf-8`, got `{}`; send the JSON as it is",
            shown(coding)
        );
        return Err(Malformed::at("content_encoding", problem));
    }
    if let Some(coding) = &envelope.compression {
        let problem = format!(
            "expected no such header, got `{}`; send the JSON uncompressed",
            shown(coding)
        );
        return Err(Malformed::at("compression", problem));
    }
    Ok(())
}

/// A name of a coding, if it looks like one: anything may stand there.
fn shown(coding: &str) -> &str {
    let name = |c: char| c.is_ascii_alphanumeric() || "-_.+/".contains(c);
    if coding.len() <= 40 && coding.chars().all(name) {
        coding
    } else {
        "…"
    }
}

/// What a body that is no JSON is instead, as far as its first bytes tell.
pub(super) fn recognised(body: &[u8]) -> Option<Malformed> {
    let (what, advice) = match body {
        [0x1f, 0x8b, ..] => ("gzip", "uncompressed"),
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => ("a zlib stream (deflate)", "uncompressed"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd", "uncompressed"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            ("UTF-16 or UTF-32", "as UTF-8")
        }
        [0x80, 2..=5, ..] => ("a pickle of Python", "as JSON"),
        _ if std::str::from_utf8(body).is_err() => {
            ("bytes of another character set or format", "as UTF-8")
        }
        _ => return None,
    };
    let problem = format!("expected JSON in UTF-8, got {what}; send it {advice}");
    Some(Malformed::at("", problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(content_encoding: Option<&str>, compression: Option<&str>) -> Option<String> {
        let envelope = Envelope {
            content_encoding: content_encoding.map(str::to_owned),
            compression: compression.map(str::to_owned),
            ..Envelope::default()
        };
        check(&envelope).err().map(|problem| problem.to_string())
    }

    #[test]
    fn a_coding_is_named_where_it_is_not_plain_utf_8() {
        for plain in [
            None,
            Some("identity"),
            Some("utf-8"),
            Some("UTF-8"),
            Some("Identity"),
        ] {
            assert_eq!(said(plain, None), None, "{plain:?}");
        }
        for coding in ["gzip", "deflate", "br", "utf-16", "binary", "utf8"] {
            let said = said(Some(coding), None).unwrap();
            assert!(said.contains(&format!("got `{coding}`")), "{said}");
        }
        let kombu = said(Some("utf-8"), Some("application/x-gzip")).unwrap();
        assert!(
            kombu.starts_with("`compression`: ") && kombu.contains("application/x-gzip"),
            "{kombu}"
        );
        assert!(
            said(Some("Ada Lovelace"), None)
                .unwrap()
                .contains("got `…`")
        );
    }

    #[test]
    fn what_is_no_json_is_recognised_by_its_first_bytes() {
        let utf_16: Vec<u8> = "{\"query\":1}"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        for (body, word) in [
            (b"\x1f\x8b\x08".as_slice(), "gzip"),
            (b"\x78\x9c\xab", "zlib"),
            (b"\xff\xfe{\0", "UTF-16"),
            (&utf_16, "UTF-16"),
            (b"\x80\x05\x95", "pickle"),
            (b"{\"a\":\"M\xfcller\"}", "another character set"),
        ] {
            let said = recognised(body).unwrap().to_string();
            assert!(said.contains(word), "{said}");
        }
        assert_eq!(recognised(b"{'a':1}"), None);
        assert_eq!(recognised(b""), None);
    }
}
