//! The request of a job: a value stands in its place and nowhere else, encoded by where it is put.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header::CONTENT_TYPE};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

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
    /// The slots without which it is not sent.
    needs: Vec<usize>,
    /// The slots that stand in it.
    uses: Vec<usize>,
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
        let path = compiler.path(&format!("{key}.path"), &shape.path);
        let mut needs = compiler.when(&format!("{key}.when"), &shape.when);
        needs.extend(path.iter().flat_map(|segment| segment.0.slots()));
        let mut request = Self {
            needs,
            uses: Vec::new(),
            method,
            path,
            parameters: compiler.parameters(&format!("{key}.query"), &shape.query.0),
            headers: compiler.headers(&format!("{key}.headers"), &shape.headers.0),
            body: shape
                .body
                .as_ref()
                .and_then(|body| compiler.json(&format!("{key}.body"), body)),
        };
        request.uses = request.slots();
        request
    }

    /// The slots that its path needs, and those that it says.
    pub fn needs(&self) -> &[usize] {
        &self.needs
    }

    /// All slots that stand in it.
    pub fn uses(&self) -> &[usize] {
        &self.uses
    }

    fn slots(&self) -> Vec<usize> {
        let path = self.path.iter();
        let mut slots: Vec<usize> = path.flat_map(|segment| segment.0.slots()).collect();
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

    /// The slots whose values stand inside other text, where the API may read them as a part of that.
    pub fn inside_text(&self) -> impl Iterator<Item = usize> {
        let mut templates: Vec<&Template> = self.headers.iter().map(|(_, value)| value).collect();
        for (_, parameter) in &self.parameters {
            match parameter {
                Parameter::Text(template) => templates.push(template),
                Parameter::Json(json) => json.templates(&mut templates),
            }
        }
        if let Some(body) = &self.body {
            body.templates(&mut templates);
        }
        let mixed = |template: &&Template| template.whole().is_none();
        templates
            .into_iter()
            .filter(mixed)
            .flat_map(Template::slots)
    }

    /// The names of its headers.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().map(|(name, _)| name)
    }

    /// The names of its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(name, _)| name.as_str())
    }

    /// The request below `base`; none where something that it needs is absent.
    ///
    /// # Errors
    /// The value that no such place can hold.
    pub fn write(
        &self,
        base: &str,
        values: &Values,
        rules: &[Rule],
    ) -> Result<Option<http::Request<Bytes>>, Malformed> {
        if self.needs.iter().any(|slot| values[*slot].is_none()) {
            return Ok(None);
        }
        let mut address = String::with_capacity(base.len() + 128);
        address.push_str(base);
        self.path(values, rules, &mut address)?;
        for (number, (name, value)) in self.filled(values).enumerate() {
            address.push(if number == 0 { '?' } else { '&' });
            address.extend(encoded_name(name));
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

    fn path(&self, values: &Values, rules: &[Rule], address: &mut String) -> Result<(), Malformed> {
        for segment in &self.path {
            address.push('/');
            let begun = address.len();
            // Nothing that a segment needs is absent.
            segment.0.fill_into(values, address, |value, text| {
                text.extend(encoded(value));
            });
            if segment.0.slots().next().is_some() && walks(&address[begun..]) {
                let expected =
                    "expected another value than \"\", \".\" and \"..\", which no path can hold";
                return Err(Malformed::at(first_of(&segment.0, rules), expected));
            }
        }
        Ok(())
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

/// Whether a segment would walk up the path, since addresses are normalised on their way; some trim it before.
fn walks(segment: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(segment).decode_utf8_lossy();
    matches!(decoded.trim(), "" | "." | "..")
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

    /// The slots of criteria that are named without braces.
    fn when(&mut self, key: &str, names: &[String]) -> Vec<usize> {
        let mut slots = Vec::new();
        for name in names {
            match self.slots.get(&format!("query.{name}")) {
                Some(slot) => slots.push(slot),
                None => self.mistakes.add(
                    key,
                    format!(
                        "{name:?} is no criterion; expected one of {}",
                        self.slots.criteria()
                    ),
                ),
            }
        }
        slots
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
            if name == CONTENT_TYPE && !speaks_json(text) {
                let problem = format!(
                    "got {text:?}, but a body is JSON; expected application/json, or no such header"
                );
                self.mistakes.add(&key, problem);
            }
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

/// Whether a `Content-Type` is one of JSON, as `application/vnd.api+json`.
fn speaks_json(text: &str) -> bool {
    let kind = text.split(';').next().unwrap_or_default();
    kind.to_ascii_lowercase().contains("json") || text.contains('{')
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

/// A parameter's name as it is written, as `$filter`, where RFC 3986 allows and a form has no other use for it.
fn encoded_name(name: &str) -> impl Iterator<Item = &str> {
    const APART: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~')
        .remove(b'$')
        .remove(b'!')
        .remove(b'*')
        .remove(b'(')
        .remove(b')')
        .remove(b',')
        .remove(b':')
        .remove(b'@');
    utf8_percent_encode(name, APART)
}

/// RFC 3986's pchar; a percent sign begins what is encoded already.
fn stands_in_a_segment(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%".contains(c)
}
