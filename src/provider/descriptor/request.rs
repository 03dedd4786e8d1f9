//! The request of a job: a value stands in its place and nowhere else, encoded by where it is put.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header::CONTENT_TYPE};

use super::{
    body::Json,
    mistakes::Mistakes,
    shape::{self, ParameterShape, RequestShape},
    template::{Slots, Template, Values},
    value::Rule,
};
use crate::{json::Malformed, provider::encoded};

/// One `[request]`, compiled.
#[derive(Debug)]
pub struct Request {
    method: Method,
    path: Vec<Segment>,
    parameters: Vec<(String, Parameter)>,
    headers: Vec<(HeaderName, Template)>,
    body: Option<Json>,
}

#[derive(Debug)]
struct Segment(Template);

#[derive(Debug)]
enum Parameter {
    Text(Template),
    Json(Json),
}

/// Headers that the client writes itself.
const OF_THE_CLIENT: [&str; 8] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Request {
    /// Compiles the section at `key`.
    pub fn new(
        key: &str,
        shape: &RequestShape,
        slots: &Slots,
        rules: &[Rule],
        mistakes: &mut Mistakes,
    ) -> Self {
        let mut compiler = Compiler {
            slots,
            rules,
            mistakes,
        };
        let method = match shape.method {
            shape::Method::Get => Method::GET,
            shape::Method::Post => Method::POST,
        };
        if shape.body.is_some() && method == Method::GET {
            let expected = "a GET has no body; expected method = \"POST\"";
            compiler.mistakes.add(&format!("{key}.body"), expected);
        }
        Self {
            method,
            path: compiler.path(&format!("{key}.path"), &shape.path),
            parameters: compiler.parameters(&format!("{key}.query"), &shape.query.0),
            headers: compiler.headers(&format!("{key}.headers"), &shape.headers.0),
            body: shape
                .body
                .as_ref()
                .and_then(|body| compiler.json(&format!("{key}.body"), body)),
        }
    }

    /// The slots that its path needs.
    pub fn needs(&self) -> impl Iterator<Item = usize> {
        self.path.iter().flat_map(|segment| segment.0.slots())
    }

    /// All slots that stand in it.
    pub fn uses(&self) -> Vec<usize> {
        let mut slots: Vec<usize> = self.needs().collect();
        for (_, parameter) in &self.parameters {
            match parameter {
                Parameter::Text(template) => slots.extend(template.slots()),
                Parameter::Json(json) => json.slots(&mut slots),
            }
        }
        slots.extend(self.headers.iter().flat_map(|(_, value)| value.slots()));
        self.body.iter().for_each(|body| body.slots(&mut slots));
        slots
    }

    /// The names of its headers.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().map(|(name, _)| name)
    }

    /// The names of its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(name, _)| name.as_str())
    }

    /// The request below `base`; none where its path cannot be filled.
    ///
    /// # Errors
    /// The value that no such place can hold.
    pub fn write(
        &self,
        base: &str,
        values: &Values,
        rules: &[Rule],
    ) -> Result<Option<http::Request<Bytes>>, Malformed> {
        let Some(path) = self.path(values, rules)? else {
            return Ok(None);
        };
        let mut address = format!("{base}{path}");
        for (number, (name, value)) in self.filled(values).enumerate() {
            address.push(if number == 0 { '?' } else { '&' });
            address.extend(encoded(name));
            address.push('=');
            address.extend(encoded(&value));
        }
        let mut request = http::Request::builder()
            .method(&self.method)
            .uri(address)
            .body(Bytes::new())
            .map_err(|_| {
                Malformed::at(
                    "query",
                    "expected shorter values; the request's address grows too long",
                )
            })?;
        for (name, template) in &self.headers {
            if let Some(value) = header(template, values, rules)? {
                request.headers_mut().append(name, value);
            }
        }
        if let Some(body) = &self.body {
            request
                .headers_mut()
                .entry(CONTENT_TYPE)
                .or_insert(HeaderValue::from_static("application/json"));
            let text = body.write(values).unwrap_or_else(|| "null".into());
            *request.body_mut() = text.into();
        }
        Ok(Some(request))
    }

    fn path(&self, values: &Values, rules: &[Rule]) -> Result<Option<String>, Malformed> {
        let mut path = String::new();
        for segment in &self.path {
            let Some(text) = segment
                .0
                .fill(values, |value, text| text.extend(encoded(value)))
            else {
                return Ok(None);
            };
            // Addresses are normalised on their way: these two would walk up the path.
            if matches!(text.as_str(), "." | ".." | "") && segment.0.slots().next().is_some() {
                let expected =
                    "expected another value than \"\", \".\" and \"..\", which no path can hold";
                return Err(Malformed::at(first_of(&segment.0, rules), expected));
            }
            path.push('/');
            path.push_str(&text);
        }
        Ok(Some(path))
    }

    fn filled(&self, values: &Values) -> impl Iterator<Item = (&str, String)> {
        self.parameters.iter().filter_map(|(name, parameter)| {
            let value = match parameter {
                Parameter::Text(template) => {
                    template.fill(values, |value, text| text.push_str(value))
                }
                Parameter::Json(json) => json.write(values),
            };
            Some((name.as_str(), value?))
        })
    }
}

fn header(
    template: &Template,
    values: &Values,
    rules: &[Rule],
) -> Result<Option<HeaderValue>, Malformed> {
    let Some(text) = template.fill(values, |value, text| text.push_str(value)) else {
        return Ok(None);
    };
    HeaderValue::from_bytes(text.as_bytes())
        .map(Some)
        .map_err(|_| {
            let expected = "expected a value without line breaks and other control characters, which no HTTP header can hold";
            Malformed::at(first_of(template, rules), expected)
        })
}

/// The path of the first value that stands in a template.
fn first_of<'a>(template: &Template, rules: &'a [Rule]) -> &'a str {
    template
        .slots()
        .next()
        .map_or("query", |slot| rules[slot].path.as_str())
}

/// What the compilation of a request needs.
struct Compiler<'a> {
    slots: &'a Slots,
    rules: &'a [Rule],
    mistakes: &'a mut Mistakes,
}

impl Compiler<'_> {
    fn template(&mut self, key: &str, text: &str) -> Option<Template> {
        let template = self.mistakes.note(key, Template::parse(text, self.slots))?;
        if let Some(name) = template.structured(self.rules) {
            let problem = format!(
                "{name} is an array or an object; expected it as a whole member of JSON, or in a parameter with json = true"
            );
            self.mistakes.add(key, problem);
            return None;
        }
        Some(template)
    }

    fn path(&mut self, key: &str, segments: &[String]) -> Vec<Segment> {
        if segments.is_empty() {
            self.mistakes.add(key, "expected at least one segment");
        }
        let mut path = Vec::new();
        for (number, text) in segments.iter().enumerate() {
            let key = format!("{key}[{number}]");
            let Some(template) = self.template(&key, text) else {
                continue;
            };
            let last = number + 1 == segments.len();
            path.extend(self.mistakes.note(&key, segment(template, last)));
        }
        path
    }

    fn parameters(
        &mut self,
        key: &str,
        shapes: &[(String, ParameterShape)],
    ) -> Vec<(String, Parameter)> {
        let mut parameters = Vec::new();
        for (name, shape) in shapes {
            let key = format!("{key}.{name}");
            let parameter = match shape {
                ParameterShape::Text(text) => self.template(&key, text).map(Parameter::Text),
                ParameterShape::Json(json) => self
                    .json(&format!("{key}.value"), &json.value)
                    .map(Parameter::Json),
            };
            parameters.extend(parameter.map(|parameter| (name.clone(), parameter)));
        }
        parameters
    }

    fn headers(&mut self, key: &str, shapes: &[(String, String)]) -> Vec<(HeaderName, Template)> {
        let mut headers: Vec<(HeaderName, Template)> = Vec::new();
        for (name, text) in shapes {
            let key = format!("{key}.{name}");
            let parsed = HeaderName::try_from(name.as_str());
            let parsed = parsed.map_err(|_| "expected the name of an HTTP header");
            let Some(name) = self.mistakes.note(&key, parsed) else {
                continue;
            };
            if OF_THE_CLIENT.contains(&name.as_str()) {
                self.mistakes.add(
                    &key,
                    "the client writes this header itself; expected another",
                );
            }
            if headers.iter().any(|(other, _)| *other == name) {
                self.mistakes
                    .add(&key, "this header stands here already, in other letters");
            }
            if let Some(template) = self.template(&key, text) {
                if text
                    .bytes()
                    .any(|byte| byte < 32 && byte != b'\t' || byte == 127)
                {
                    self.mistakes
                        .add(&key, "expected a text without control characters");
                }
                headers.push((name, template));
            }
        }
        headers
    }

    fn json(&mut self, key: &str, value: &toml::Value) -> Option<Json> {
        Json::parse(key, value, self.slots, self.rules, self.mistakes)
    }
}

/// A segment of the path whose plain text is as RFC 3986 allows.
fn segment(template: Template, last: bool) -> Result<Segment, String> {
    let plain = template.literal();
    if template.slots().next().is_none() {
        if plain.is_empty() && !last {
            return Err("expected a segment that is not empty; only the last may be".into());
        }
        let decoded = percent_encoding::percent_decode_str(&plain).decode_utf8_lossy();
        if matches!(&*decoded, "." | "..") {
            return Err(format!(
                "expected another segment than {plain:?}, which walks through the path"
            ));
        }
    }
    match plain.find(|c| !stands_in_a_segment(c)) {
        Some(at) => {
            let c = plain[at..].chars().next().unwrap_or_default();
            Err(format!(
                "{c:?} cannot stand in a segment; expected one segment for each part of the path, other characters percent-encoded"
            ))
        }
        None => Ok(Segment(template)),
    }
}

/// RFC 3986's pchar; a percent sign begins what is encoded already.
fn stands_in_a_segment(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%".contains(c)
}
