//! What lets a request in, and where it stands there: in a header, in a parameter of the address, or nowhere.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{AUTHORIZATION, InvalidHeaderValue},
    uri::PathAndQuery,
};

use super::encoded;

/// A secret in its place. Shows nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    place: Place,
    value: HeaderValue,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Header(HeaderName),
    /// The parameter's name, encoded; the value is encoded, too.
    Parameter(Box<str>),
    Nowhere,
}

impl Access {
    /// By a header.
    #[must_use]
    pub fn by_header(name: HeaderName, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        Self {
            place: Place::Header(name),
            value,
        }
    }

    /// By a parameter of the address.
    ///
    /// # Errors
    /// None; a value that is encoded fits everywhere.
    pub fn by_parameter(name: &str, value: &str) -> Result<Self, InvalidHeaderValue> {
        let mut value = HeaderValue::try_from(encoded(value).to_string())?;
        value.set_sensitive(true);
        Ok(Self {
            place: Place::Parameter(encoded(name).to_string().into()),
            value,
        })
    }

    /// By HTTP Basic (RFC 7617), in UTF-8.
    ///
    /// # Errors
    /// None; base64 fits in every header.
    pub fn basic(username: &str, password: &str) -> Result<Self, InvalidHeaderValue> {
        let pair = STANDARD.encode(format!("{username}:{password}"));
        let value = HeaderValue::try_from(format!("Basic {pair}"))?;
        Ok(Self::by_header(AUTHORIZATION, value))
    }

    /// Nothing is asked for.
    #[must_use]
    pub fn free() -> Self {
        Self {
            place: Place::Nowhere,
            value: HeaderValue::from_static(""),
        }
    }

    /// The secret, as it is sent.
    #[must_use]
    pub fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// Where it stands, with a mask for itself; none where there is none.
    #[must_use]
    pub fn masked(&self) -> Option<String> {
        match &self.place {
            Place::Header(name) => Some(format!("{name}: ***")),
            Place::Parameter(name) => Some(format!("?{name}=***")),
            Place::Nowhere => None,
        }
    }

    /// Puts it into the address or the headers of a request. None where the address cannot hold it: it grows too long.
    #[must_use]
    pub fn put(&self, address: Uri, headers: &mut HeaderMap) -> Option<Uri> {
        match &self.place {
            Place::Header(name) => {
                headers.insert(name, self.value.clone());
                Some(address)
            }
            Place::Parameter(name) => with_parameter(&address, name, &self.value),
            Place::Nowhere => Some(address),
        }
    }
}

fn with_parameter(address: &Uri, name: &str, value: &HeaderValue) -> Option<Uri> {
    let mut parts = address.clone().into_parts();
    let sign = if address.query().is_some() { '&' } else { '?' };
    let before = parts
        .path_and_query
        .as_ref()
        .map_or("/", PathAndQuery::as_str);
    let text = format!("{before}{sign}{name}={}", value.to_str().ok()?);
    parts.path_and_query = Some(text.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(access: &Access, address: &'static str) -> (Uri, HeaderMap) {
        let mut headers = HeaderMap::new();
        let address = access.put(Uri::from_static(address), &mut headers);
        (address.unwrap(), headers)
    }

    #[test]
    fn a_parameter_stands_behind_the_others_and_cannot_leave_its_place() {
        let access = Access::by_parameter("api key", "s3c&ret=1#").unwrap();
        for (before, after) in [
            (
                "https://a.test/b",
                "https://a.test/b?api%20key=s3c%26ret%3D1%23",
            ),
            (
                "https://a.test/b?c=d",
                "https://a.test/b?c=d&api%20key=s3c%26ret%3D1%23",
            ),
        ] {
            assert_eq!(put(&access, before).0, after);
        }
    }

    #[test]
    fn a_user_and_a_password_are_a_header_and_nothing_is_nothing() {
        let (_, headers) = put(&Access::basic("ada", "s3cret").unwrap(), "https://a.test/");
        assert_eq!(headers[AUTHORIZATION], "Basic YWRhOnMzY3JldA==");
        assert!(headers[AUTHORIZATION].is_sensitive());
        assert!(put(&Access::free(), "https://a.test/").1.is_empty());
    }

    #[test]
    fn no_secret_is_shown() {
        for access in [
            Access::by_parameter("key", "s3cret").unwrap(),
            Access::basic("ada", "s3cret").unwrap(),
        ] {
            let shown = format!("{access:?}");
            assert!(
                !shown.contains("s3cret") && !shown.contains("YWRh"),
                "{shown}"
            );
        }
    }
}
