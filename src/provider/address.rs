//! Values in a request's address: none can leave its place there.

use url::Url;

use crate::json::Malformed;

/// A value inside a path or a query: everything but RFC 3986's unreserved characters is percent-encoded, so
/// that no value can change the path, add a parameter or reach another host.
pub(crate) fn encoded(value: &str) -> percent_encoding::PercentEncode<'_> {
    const RESERVED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(value, RESERVED)
}

/// The configured address without the slash at its end, so that a path can be put behind it.
pub(crate) fn trimmed(base_url: &Url) -> Result<String, Malformed> {
    if base_url.query().is_some()
        || base_url.fragment().is_some()
        || !base_url.username().is_empty()
    {
        let expected = "expected scheme, host and perhaps a path, without user, query or fragment";
        return Err(Malformed::at("base_url", expected));
    }
    Ok(base_url.as_str().trim_end_matches('/').to_owned())
}
