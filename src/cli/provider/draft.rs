//! A descriptor to begin with: what can be told of a request, and where the rest is to be filled in.

use std::fmt::Write;

use serde_json::{Value, json};
use url::Url;

use super::curl::Curl;

/// Names under which APIs take a key as a parameter.
const KEY_PARAMETERS: [&str; 7] = [
    "api_key",
    "apikey",
    "api-key",
    "key",
    "token",
    "access_token",
    "hapikey",
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
    let mut parameters = Vec::new();
    for (name, value) in url.query_pairs() {
        if KEY_PARAMETERS.contains(&name.to_ascii_lowercase().as_str()) {
            draft.auth = format!(
                "kind = \"query\"\nname = {}\nvalue = \"{{token}}\"",
                quoted(&name)
            );
        } else {
            parameters.push((name.to_string(), draft.value(&value)));
        }
    }
    let headers = draft.headers(curl);
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
    Ok(draft.write(&url, &request, shown))
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
}

impl Draft {
    /// The value as it stands in the descriptor: a placeholder, where it looks like one.
    fn value(&mut self, text: &str) -> String {
        let Some(guess) = guess(text) else {
            return text.replace('{', "{{").replace('}', "}}");
        };
        if !self
            .guesses
            .iter()
            .any(|other| other.criterion == guess.criterion)
        {
            self.guesses.push(guess);
        }
        format!("{{query.{}}}", guess.criterion)
    }

    /// The headers that every request has; the one that lets it in becomes `[auth]`.
    fn headers(&mut self, curl: &Curl) -> Vec<(String, String)> {
        if curl.has_user {
            self.auth = "kind = \"basic\"".into();
        }
        let mut headers = Vec::new();
        for (name, value) in &curl.headers {
            let lower = name.to_ascii_lowercase();
            let lets_in = lower == "authorization"
                || ["key", "token", "secret"]
                    .iter()
                    .any(|word| lower.contains(word));
            if lets_in && value.starts_with("Basic ") {
                self.auth = "kind = \"basic\"".into();
            } else if lets_in {
                let scheme = value
                    .split_once(' ')
                    .map_or(String::new(), |(scheme, _)| format!("{scheme} "));
                let value = quoted(&format!("{scheme}{{token}}"));
                self.auth = format!(
                    "kind = \"header\"\nname = {}\nvalue = {value}",
                    quoted(name)
                );
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
        let need = if in_path.is_empty() || self.guesses.len() == 1 {
            String::new()
        } else {
            let names: Vec<String> = in_path.iter().map(|name| quoted(name)).collect();
            format!("need = [[{}]]\n", names.join(", "))
        };
        let mut text = format!(
            "title = {}\n{need}\n[auth]\n{auth}\n",
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
        let query: Vec<String> = self
            .guesses
            .iter()
            .map(|guess| format!("{} = {}", guess.criterion, quoted(guess.example)))
            .collect();
        let _ = write!(
            text,
            "\n# An answer of the API, without anybody's data, and what is to be read in it.\n\
             [[tests]]\nname = \"one customer\"\nquery = {{ {} }}\n\
             answer = {{ status = 200, body = {} }}\n\
             result = {{ status = \"found\", customers = [{}] }}\n",
            query.join(", "),
            quoted(&shown.example.0.to_string()),
            toml_of(&shown.example.1),
        );
        text
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
    } else if text.contains('@') && text.contains('.') && !text.contains(' ') {
        Some(&EMAIL)
    } else if digits >= 4 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        Some(&ID)
    } else {
        None
    }
}

fn decoded(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment)
        .decode_utf8_lossy()
        .into_owned()
}

/// A text as TOML writes it; JSON's escapes are TOML's, but for the one character that JSON does not escape.
pub fn quoted(text: &str) -> String {
    let plain = !text.contains(['\'', '\n', '\r']) && text.contains('"');
    if plain && !text.chars().any(char::is_control) {
        return format!("'{text}'");
    }
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A value as TOML writes it in one line; null has no place there.
pub fn toml_of(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml_of).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .filter(|(_, member)| !member.is_null())
                .map(|(name, member)| format!("{} = {}", key(name), toml_of(member)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => other.to_string(),
    }
}

/// A key as TOML writes it.
fn key(name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if bare {
        name.to_owned()
    } else {
        Value::from(name).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::descriptor::{Descriptor, testing};

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
        ] {
            let text = draft(line);
            let descriptor =
                Descriptor::parse(&text).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
            assert!(testing::run(&descriptor, &text).passed(), "{text}");
            for private in ["s3cret", "14085551234", "bob@"] {
                assert!(!text.contains(private), "{text}");
            }
        }
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
