use std::io::Write;

use http::HeaderName;

use super::*;

fn headers(values: &[&'static str]) -> HeaderMap {
    let named = |value: &&'static str| (CONTENT_ENCODING, HeaderValue::from_static(value));
    values.iter().map(named).collect::<HeaderMap<_>>()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(body).unwrap();
    packer.finish().unwrap()
}

#[test]
fn the_coding_is_known_without_case_and_an_empty_one_is_none() {
    for none in [&[][..], &[""], &["identity"], &["Identity"], &[" , "]] {
        assert_eq!(Coding::of(&headers(none)), Ok(None), "{none:?}");
    }
    for (name, coding) in [
        ("gzip", Coding::Gzip),
        ("GZip", Coding::Gzip),
        ("x-gzip", Coding::Gzip),
        ("identity, gzip", Coding::Gzip),
        ("br", Coding::Brotli),
        ("BR", Coding::Brotli),
        ("zstd", Coding::Zstd),
    ] {
        assert_eq!(Coding::of(&headers(&[name])), Ok(Some(coding)), "{name}");
    }
    assert_eq!(Coding::of(&headers(&["Deflate"])), Err("deflate"));
    assert_eq!(Coding::of(&headers(&["hunter2"])), Err("of another name"));
    assert_eq!(
        Coding::of(&headers(&["gzip", "br"])),
        Err("of more than one name")
    );
    let other: HeaderMap = [(
        HeaderName::from_static("x"),
        HeaderValue::from_static("gzip"),
    )]
    .into_iter()
    .collect();
    assert_eq!(Coding::of(&other), Ok(None));
}

#[test]
fn what_is_packed_is_unpacked_and_no_more_of_it_than_the_limit() {
    let body = vec![b'x'; 100_000];
    let brotli = include_bytes!("x100000.br").to_vec();
    let zstd = include_bytes!("x100000.zst").to_vec();
    for (coding, packed) in [
        (Coding::Gzip, gzip(&body)),
        (Coding::Brotli, brotli),
        (Coding::Zstd, zstd),
    ] {
        assert!(packed.len() < 1000, "a bomb: {coding:?}");
        let whole = coding.unpack(&packed, body.len()).unwrap();
        assert_eq!(whole.as_deref(), Some(&body[..]), "{coding:?}");
        assert_eq!(coding.unpack(&packed, body.len() - 1).unwrap(), None);
        assert!(
            coding.unpack(&packed[..packed.len() / 2], 1 << 20).is_err(),
            "{coding:?}"
        );
        assert!(
            coding.unpack(b"<html>no such thing", 1 << 20).is_err(),
            "{coding:?}"
        );
        assert_eq!(coding.unpack(b"", 10).unwrap(), Some(Bytes::new()));
    }
}
