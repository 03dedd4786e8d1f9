//! A descriptor to begin with: what can be told of a request, and where the rest is to be filled in.

use std::fmt::Write;

use serde_json::{Map, Value, json, value::to_raw_value};
use url::Url;

use super::{
    curl::Curl,
    record,
    written::{quoted, toml_of},
};
use crate::provider::descriptor::Descriptor;

/// What names of parameters and headers hold that carry a secret.
const SECRETS: [&str; 8] = [
    "key",
    "token",
    "secret",
    "password",
    "passwd",
    "signature",
    "auth",
    "session",
];

/// What a value is, and what stands for it in a test.
struct Guess {
    criterion: &'static str,
    format: &'static str,
    example: &'static str,
}

const PHONE: Guess = Guess {
    criterion: "phone",
    format: "digits",
    example: "14085550100",
};
const EMAIL: Guess = Guess {
    criterion: "email",
    format: "",
    example: "ada@example.com",
};
const ID: Guess = Guess {
    criterion: "id",
    format: "",
    example: "12345",
};

/// What is known of the answers.
pub struct Shown {
    /// Where the customers stand.
    pub customers: String,
    /// Fields and where they stand in one customer.
    pub fields: Vec<(&'static str, String)>,
    /// An answer, and what it is read as.
    pub example: (Value, Value),
    /// `[auth]`, where the request does not show it.
    pub auth: Option<String>,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            customers: "$.results[*]".into(),
            fields: vec![
                ("customer_id", "\"$.id\"".into()),
                ("name", "\"$.name\"".into()),
            ],
            example: (
                json!({"results": [{"id": 7, "name": "Ada"}]}),
                json!({"customer_id": "7", "name": "Ada"}),
            ),
            auth: None,
        }
    }
}

/// Writes the descriptor of a request. No secret and no personal value of it is kept.
///
/// # Errors
/// Where nothing in the request is a value to look for.
pub fn of(curl: &Curl, shown: &Shown) -> Result<String, String> {
    let url = Url::parse(&curl.address).map_err(|error| error.to_string())?;
    let mut draft = Draft::default();
    let path: Vec<String> = url
        .path_segments()
        .into_iter()
        .flatten()
        .map(|segment| draft.value(&decoded(segment)))
        .collect();
    let in_path = draft.guesses.iter().map(|guess| guess.criterion).collect();
    let (mut parameters, mut secret_parameters) = (Vec::new(), Vec::new());
    for (name, value) in url.query_pairs() {
        if is_secret(&name) {
            let auth = format!(
                "kind = \"query\"\nname = {}\nvalue = \"{{token}}\"",
                quoted(&name)
            );
            secret_parameters.push((name.to_string(), auth));
        } else {
            parameters.push((name.to_string(), draft.value(&value)));
        }
    }
    let headers = draft.headers(curl);
    for (name, auth) in secret_parameters {
        draft.lets_in(&format!("parameter {name}"), auth);
    }
    if let Some(auth) = &shown.auth {
        draft.auth.clone_from(auth);
    }
    let body = curl.data.first().map(|data| draft.body(data)).transpose()?;
    if draft.guesses.is_empty() {
        return Err(
            "nothing in the request looks like a telephone number, an email address or an id; \
             write {phone}, {email} or {id} where the value stands"
                .into(),
        );
    }
    let request = Request {
        is_post: curl.is_post,
        in_path,
        path,
        parameters,
        headers,
        body,
    };
    let text = draft.write(&url, &request, shown);
    let test = draft.test(&text, shown);
    Ok(text + &test)
}

/// A request, with placeholders.
struct Request {
    is_post: bool,
    /// The criteria that stand in the path, without which there is no request.
    in_path: Vec<&'static str>,
    path: Vec<String>,
    parameters: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

#[derive(Default)]
struct Draft {
    guesses: Vec<&'static Guess>,
    auth: String,
    /// What seems to be a secret besides the one of `[auth]`.
    left_out: Vec<String>,
}

impl Draft {
    /// The value as it stands in the descriptor: a placeholder, where it looks like one or holds one.
    fn value(&mut self, text: &str) -> String {
        if let Some(guess) = guess(text) {
            return self.placeholder(guess);
        }
        let (mut value, mut rest) = (String::new(), text);
        while let Some((before, guess, after)) = guess_inside(rest) {
            value += &literal(before);
            value += &self.placeholder(guess);
            rest = after;
        }
        value + &literal(rest)
    }

    fn placeholder(&mut self, guess: &'static Guess) -> String {
        let mut guesses = self.guesses.iter();
        if !guesses.any(|other| other.criterion == guess.criterion) {
            self.guesses.push(guess);
        }
        format!("{{query.{}}}", guess.criterion)
    }

    /// By what lets the request in; of several the first.
    fn lets_in(&mut self, what: &str, auth: String) {
        if self.auth.is_empty() {
            self.auth = auth;
        } else {
            self.left_out.push(what.to_owned());
        }
    }

    /// The headers that every request has; the one that lets it in becomes `[auth]`.
    fn headers(&mut self, curl: &Curl) -> Vec<(String, String)> {
        if curl.has_user {
            self.auth = "kind = \"basic\"".into();
        }
        let mut headers = Vec::new();
        for (name, value) in &curl.headers {
            let lower = name.to_ascii_lowercase();
            if is_secret(name) && value.starts_with("Basic ") {
                self.lets_in(&format!("header {name}"), "kind = \"basic\"".into());
            } else if is_secret(name) {
                let scheme = value
                    .split_once(' ')
                    .map_or(String::new(), |(scheme, _)| format!("{scheme} "));
                let value = quoted(&format!("{scheme}{{token}}"));
                let auth = format!(
                    "kind = \"header\"\nname = {}\nvalue = {value}",
                    quoted(name)
                );
                self.lets_in(&format!("header {name}"), auth);
            } else if ![
                "content-length",
                "content-type",
                "host",
                "user-agent",
                "cookie",
                "connection",
            ]
            .contains(&lower.as_str())
            {
                headers.push((name.clone(), self.value(value)));
            }
        }
        headers
    }

    fn body(&mut self, data: &str) -> Result<String, String> {
        let body: Value = serde_json::from_str(data).map_err(|_| {
            "the body is not JSON, which is all that a descriptor can send".to_owned()
        })?;
        Ok(self.toml(&body))
    }

    fn toml(&mut self, value: &Value) -> String {
        match value {
            Value::String(text) => quoted(&self.value(text)),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.toml(item)).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Object(members) => {
                let members: Vec<String> = members
                    .iter()
                    .filter(|(_, member)| !member.is_null())
                    .map(|(name, member)| format!("{} = {}", quoted(name), self.toml(member)))
                    .collect();
                format!("{{ {} }}", members.join(", "))
            }
            other => other.to_string(),
        }
    }

    fn write(&self, url: &Url, request: &Request, shown: &Shown) -> String {
        let Request {
            is_post,
            in_path,
            path,
            parameters,
            headers,
            body,
        } = request;
        let host = url.host_str().unwrap_or_default();
        let path: Vec<String> = path.iter().map(|segment| quoted(segment)).collect();
        let auth = if self.auth.is_empty() {
            "kind = \"none\""
        } else {
            &self.auth
        };
        // What stands in a list is sent also without its value: the request has all that the command line had.
        let in_list = body.as_ref().is_some_and(|body| body.contains('['));
        let needed: Vec<&str> = if in_list {
            self.guesses.iter().map(|guess| guess.criterion).collect()
        } else {
            in_path.clone()
        };
        let need = if needed.is_empty() || self.guesses.len() == 1 {
            String::new()
        } else {
            let names: Vec<String> = needed.iter().map(|name| quoted(name)).collect();
            format!("need = [[{}]]\n", names.join(", "))
        };
        let mut left_out = String::new();
        for what in &self.left_out {
            let why = "it seems to be a second secret, for which there is no place";
            // A String takes whatever is written to it.
            let _ = writeln!(left_out, "# Left out, since {why}: {what}");
        }
        let mut text = format!(
            "# In the configuration: base_url = {}{}\n{left_out}title = {}\n{need}\n[auth]\n{auth}\n",
            quoted(&url.origin().ascii_serialization()),
            secrets(auth),
            quoted(&format!("Customers at {host}"))
        );
        for guess in &self.guesses {
            let _ = write!(
                text,
                "\n[criteria.{}]\ntype = \"string\"\n",
                guess.criterion
            );
            if !guess.format.is_empty() {
                let _ = writeln!(text, "format = {}", quoted(guess.format));
            }
        }
        let method = if *is_post { "POST" } else { "GET" };
        let _ = write!(
            text,
            "\n[request]\nmethod = \"{method}\"\npath = [{}]\n",
            path.join(", ")
        );
        for (section, entries) in [("query", parameters), ("headers", headers)] {
            if !entries.is_empty() {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)))
                    .collect();
                let _ = writeln!(text, "{section} = {{ {} }}", entries.join(", "));
            }
        }
        if let Some(body) = body {
            let _ = writeln!(text, "body = {body}");
        }
        let _ = write!(
            text,
            "\n# Where the customers stand in an answer, and each field in one of them: change these paths.\n\
             [answer]\ncustomers = {}\n[answer.customer]\n",
            quoted(&shown.customers)
        );
        for (field, path) in &shown.fields {
            let _ = writeln!(text, "{field} = {path}");
        }
        text
    }

    /// A test of what is drafted so far: its request, and an answer.
    fn test(&self, text: &str, shown: &Shown) -> String {
        let query: Map<String, Value> = self
            .guesses
            .iter()
            .map(|guess| (guess.criterion.to_owned(), guess.example.into()))
            .collect();
        let query = Value::from(query);
        let asked = Descriptor::parse(text).ok().and_then(|descriptor| {
            let query = to_raw_value(&query).ok()?;
            descriptor
                .request("https://provider.invalid", &query, None)
                .ok()
        });
        let request = asked.map_or(String::new(), |asked| {
            format!(
                "request = {}\n",
                toml_of(&record::asked_for(&asked.request))
            )
        });
        format!(
            "\n# An answer of the API, without anybody's data, and what is to be read in it.\n\
             [[tests]]\nname = \"one customer\"\nquery = {}\n{request}\
             answer = {{ status = 200, body = {} }}\n\
             result = {{ status = \"found\", customers = [{}] }}\n",
            toml_of(&query),
            quoted(&shown.example.0.to_string()),
            toml_of(&shown.example.1),
        )
    }
}

/// What the configuration has for an `[auth]`, as the end of a comment.
fn secrets(auth: &str) -> &'static str {
    if auth.contains("{token}") {
        ", token = \"…\""
    } else if auth.contains("basic") {
        ", username = \"…\", password = \"…\""
    } else if auth.contains("oauth") {
        ", oauth = { … }"
    } else {
        ""
    }
}

/// What a value looks like; none where it belongs to the API.
fn guess(text: &str) -> Option<&'static Guess> {
    match text.trim_matches(['{', '}', '<', '>', ':']) {
        "phone" if text.starts_with(['{', '<', ':']) => return Some(&PHONE),
        "email" if text.starts_with(['{', '<', ':']) => return Some(&EMAIL),
        "id" if text.starts_with(['{', '<', ':']) => return Some(&ID),
        _ => {}
    }
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let phone = text
        .chars()
        .all(|c| c.is_ascii_digit() || "+-() .".contains(c));
    if phone && (text.starts_with('+') || digits >= 10) && digits >= 7 {
        Some(&PHONE)
    } else if is_address(text) {
        Some(&EMAIL)
    } else if digits >= 4 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        Some(&ID)
    } else {
        None
    }
}

/// Whether it looks like an email address and nothing else.
fn is_address(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || "@.+-_%".contains(c);
    text.contains('@') && text.contains('.') && text.chars().all(is_plain)
}

/// The first value inside a text: one that is marked, or an address or a number between quotes, colons and spaces.
fn guess_inside(text: &str) -> Option<(&str, &'static Guess, &str)> {
    if let Some((before, rest)) = text.split_once('{')
        && let Some((name, after)) = rest.split_once('}')
        && let Some(guess) = [&PHONE, &EMAIL, &ID]
            .into_iter()
            .find(|guess| guess.criterion == name)
    {
        return Some((before, guess, after));
    }
    let is_apart = |c: char| "\"':;,=()[]<> ".contains(c);
    let word = text
        .split(is_apart)
        .find(|word| guess(word).is_some_and(|guess| guess.criterion != ID.criterion))?;
    let at = word.as_ptr() as usize - text.as_ptr() as usize;
    Some((&text[..at], guess(word)?, &text[at + word.len()..]))
}

/// Text as it stands in a descriptor.
fn literal(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// Whether a parameter or a header of this name carries a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_another = name.contains("keyword") || name == "author";
    SECRETS.iter().any(|word| name.contains(word)) && !is_another
}

fn decoded(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::descriptor::testing;

    fn draft(line: &str) -> String {
        of(&Curl::parse(line).unwrap(), &Shown::default()).unwrap()
    }

    #[test]
    fn a_draft_is_a_descriptor_whose_test_passes_and_holds_neither_secret_nor_person() {
        for line in [
            "curl -H 'Authorization: Bearer s3cret' 'https://crm.test/v3/contacts/+14085551234?limit=25'",
            "curl -u me:s3cret https://crm.test/users/search.json?query=+14085551234",
            "curl 'https://crm.test/find?api_key=s3cret&email=bob@corp.test'",
            r#"curl -H 'X-Api-Key: s3cret' https://crm.test/search -d '{"filters":[{"value":"+14085551234"}],"limit":1,"x":null}'"#,
            "curl https://crm.test/people/{phone}",
            "curl 'https://crm.test/people/12345?email=bob@corp.test'",
            "curl https://me:s3cret@crm.test/people/{phone}",
            "curl 'https://crm.test/find?query=\"email:%27bob@corp.test%27\"'",
            "curl 'https://crm.test/find?q=SELECT+Id+FROM+Contact+WHERE+Email+=+%27{email}%27'",
            "curl 'https://crm.test/find?term={email}&api_token=s3cret' -H 'X-App-Secret: s3cret' -H 'X-Auth-Token: s3cret'",
        ] {
            let text = draft(line);
            let descriptor =
                Descriptor::parse(&text).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
            let report = testing::run(&descriptor, &text);
            assert!(report.passed(), "{text}");
            assert_eq!(report.untested, Vec::<String>::new(), "{text}");
            assert!(text.starts_with("# In the configuration: base_url = \"https://crm.test\""));
            for private in ["s3cret", "14085551234", "bob@"] {
                assert!(!text.contains(private), "{text}");
            }
        }
    }

    #[test]
    fn a_value_inside_other_text_leaves_that_text_where_it_is() {
        let text = draft("curl 'https://crm.test/find?query=%22email:%27bob@corp.test%27%22'");
        assert!(
            text.contains(r#""query" = "\"email:'{query.email}'\"""#),
            "{text}"
        );
        let text = draft("curl 'https://crm.test/find?q=phone:{phone}'");
        assert!(text.contains(r#""q" = "phone:{query.phone}""#), "{text}");
    }

    #[test]
    fn a_second_secret_is_left_out_and_said_to_be() {
        let text = draft(
            "curl 'https://crm.test/find?term={email}&api_token=s3cret' -H 'X-Api-Key: s3cret' -H 'X-App-Id: 77'",
        );
        assert!(text.contains("name = \"X-Api-Key\""), "{text}");
        assert!(text.contains("no place: parameter api_token"), "{text}");
        assert!(
            !text.contains("s3cret") && text.contains("\"X-App-Id\" = \"77\""),
            "{text}"
        );
    }

    #[test]
    fn a_request_without_a_value_to_look_for_is_told_how_to_mark_one() {
        let problem = of(
            &Curl::parse("curl https://crm.test/contacts").unwrap(),
            &Shown::default(),
        )
        .unwrap_err();
        assert!(problem.contains("write {phone}"), "{problem}");
    }
}
