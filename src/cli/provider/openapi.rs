//! An operation of an OpenAPI document (3.0 or 3.1) as a descriptor to begin with.

use std::{fmt::Write, fs, path::Path};

use serde_json::{Map, Value, json};

use super::{
    curl::Curl,
    draft::{self, Shown},
    written::quoted,
};

/// References that lead to each other end here.
const DEEPEST: usize = 16;

/// Fields of a result, each with the names that APIs have for it.
const FIELDS: [(&str, &[&str]); 4] = [
    ("account_id", &["accountid", "account_id", "organizationid"]),
    (
        "name",
        &[
            "name",
            "fullname",
            "full_name",
            "displayname",
            "display_name",
        ],
    ),
    (
        "phones",
        &[
            "phone",
            "phonenumber",
            "phone_number",
            "mobile",
            "telephone",
        ],
    ),
    (
        "emails",
        &["email", "emailaddress", "email_address", "mail"],
    ),
];

/// The draft of an operation.
///
/// # Errors
/// What was not found in the document.
pub fn draft(file: &Path, operation: &str) -> Result<String, String> {
    let name = file.display();
    let text =
        fs::read_to_string(file).map_err(|error| format!("{name} cannot be read: {error}"))?;
    of(&text, operation).map_err(|problem| format!("{name}: {problem}"))
}

fn of(text: &str, operation: &str) -> Result<String, String> {
    // JSON is YAML, too.
    let root: Value = serde_yaml_ng::from_str(text)
        .map_err(|error| format!("expected an OpenAPI document in JSON or YAML: {error}"))?;
    if !root["openapi"]
        .as_str()
        .is_some_and(|version| version.starts_with("3."))
    {
        return Err("`openapi`: expected a document of OpenAPI 3.0 or 3.1".into());
    }
    let document = Document(&root);
    let found = document.operation(operation)?;
    let curl = document.request(&found)?;
    draft::of(&curl, &document.shown(&found))
}

struct Document<'a>(&'a Value);

struct Operation<'a> {
    path: &'a str,
    is_post: bool,
    shared: &'a Value,
    own: &'a Value,
}

impl<'a> Document<'a> {
    fn operation(&self, id: &str) -> Result<Operation<'a>, String> {
        let mut known = Vec::new();
        for (path, item) in members(&self.0["paths"]) {
            for method in ["get", "post"] {
                let own = &item[method];
                match own["operationId"].as_str() {
                    Some(other) if other == id => {
                        return Ok(Operation {
                            path,
                            is_post: method == "post",
                            shared: &item["parameters"],
                            own,
                        });
                    }
                    Some(other) => known.push(other),
                    None => {}
                }
            }
        }
        let known = known.join(", ");
        Err(format!(
            "there is no operation {id:?} by GET or POST; expected one of {known}"
        ))
    }

    /// What a reference leads to, within the document.
    fn at(&self, mut value: &'a Value) -> &'a Value {
        for _ in 0..DEEPEST {
            let Some(reference) = value["$ref"].as_str() else {
                return value;
            };
            let pointer = reference.trim_start_matches('#');
            value = self.0.pointer(pointer).unwrap_or(&Value::Null);
        }
        &Value::Null
    }

    fn request(&self, operation: &Operation<'a>) -> Result<Curl, String> {
        let server = self.0["servers"][0]["url"].as_str().unwrap_or_default();
        let base = match url::Url::parse(server) {
            Ok(server) => server.origin().ascii_serialization(),
            Err(_) => "https://provider.example.com".to_owned(),
        };
        let mut curl = Curl {
            address: format!("{base}{}", operation.path),
            is_post: operation.is_post,
            headers: vec![("Accept".into(), "application/json".into())],
            ..Curl::default()
        };
        let parameters = [operation.shared, &operation.own["parameters"]];
        let parameters = parameters.into_iter().filter_map(Value::as_array).flatten();
        for parameter in parameters.map(|parameter| self.at(parameter)) {
            let name = parameter["name"].as_str().unwrap_or_default();
            match parameter["in"].as_str() {
                Some("path") => {
                    let mark = criterion(name).unwrap_or("id");
                    let place = format!("{{{name}}}");
                    curl.address = curl.address.replace(&place, &format!("{{{mark}}}"));
                }
                Some("query") => {
                    if let Some(value) = self.value(name, parameter) {
                        let sign = if curl.address.contains('?') { '&' } else { '?' };
                        let pair = [name, &value].map(form);
                        let [name, value] = pair;
                        let _ = write!(curl.address, "{sign}{name}={value}");
                    }
                }
                _ => {}
            }
        }
        if operation.is_post {
            let body = self.at(&operation.own["requestBody"]);
            let schema = self.at(&body["content"]["application/json"]["schema"]);
            if schema.is_null() {
                return Err(
                    "the operation's body is not JSON, which is all that a descriptor can send"
                        .into(),
                );
            }
            curl.data = vec![self.example(schema, "", DEEPEST).to_string()];
        }
        Ok(curl)
    }

    /// A parameter's value: a mark where it is a criterion, its default or example where it must be there.
    fn value(&self, name: &str, parameter: &'a Value) -> Option<String> {
        let schema = self.at(&parameter["schema"]);
        if let Some(mark) = criterion(name) {
            return Some(format!("{{{mark}}}"));
        }
        let given = [
            &schema["default"],
            &parameter["example"],
            &schema["enum"][0],
        ];
        let given = given.into_iter().find(|value| !value.is_null());
        let given = given.map(|value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        });
        (parameter["required"] == true).then(|| given.unwrap_or_default())
    }

    /// JSON of a schema's shape, with marks where criteria stand.
    fn example(&self, schema: &'a Value, name: &str, left: usize) -> Value {
        let schema = self.at(schema);
        if left == 0 {
            return Value::Null;
        }
        match self.kind(schema) {
            "object" => {
                let required = schema["required"].as_array();
                let wanted = |name: &str| {
                    criterion(name).is_some()
                        || required.is_some_and(|names| names.iter().any(|other| other == name))
                };
                let properties = self.properties(schema);
                properties
                    .into_iter()
                    .filter(|(name, _)| wanted(name))
                    .map(|(name, schema)| (name.to_owned(), self.example(schema, name, left - 1)))
                    .collect::<Map<_, _>>()
                    .into()
            }
            "array" => json!([self.example(&schema["items"], name, left - 1)]),
            "integer" | "number" => json!(1),
            "boolean" => json!(true),
            _ => match criterion(name) {
                Some(mark) => json!(format!("{{{mark}}}")),
                None => schema["enum"].get(0).cloned().unwrap_or_else(|| json!("")),
            },
        }
    }

    /// One type, also where 3.1 lists it beside null.
    fn kind(&self, schema: &'a Value) -> &'a str {
        let listed = schema["type"].as_array().into_iter().flatten();
        let listed = listed
            .filter_map(Value::as_str)
            .find(|kind| *kind != "null");
        let kind = schema["type"].as_str().or(listed);
        kind.unwrap_or(if self.properties(schema).is_empty() {
            ""
        } else {
            "object"
        })
    }

    fn properties(&self, schema: &'a Value) -> Vec<(&'a str, &'a Value)> {
        let all = schema["allOf"].as_array().into_iter().flatten();
        let of_all = all.flat_map(|part| members(&self.at(part)["properties"]));
        members(&schema["properties"]).chain(of_all).collect()
    }

    /// What its answers look like.
    fn shown(&self, operation: &Operation<'a>) -> Shown {
        let responses = &operation.own["responses"];
        let response = self.at(responses.get("200").unwrap_or(&responses["default"]));
        let schema = self.at(&response["content"]["application/json"]["schema"]);
        let mut shown = match self.customers(schema, "$", 4) {
            Some((path, customer)) => self.customer(path, customer),
            None => Shown::default(),
        };
        shown.auth = self.auth(operation);
        shown
    }

    /// The first list of objects, else the object itself.
    fn customers(&self, schema: &'a Value, path: &str, left: usize) -> Option<(String, &'a Value)> {
        let schema = self.at(schema);
        match self.kind(schema) {
            _ if left == 0 => None,
            "array" => Some((format!("{path}[*]"), self.at(&schema["items"]))),
            "object" => {
                let properties = self.properties(schema);
                let is_customer = properties.iter().any(|(name, _)| normal(name) == "id");
                let inner = properties.iter().filter(|_| !is_customer);
                let mut inner = inner.filter_map(|(name, schema)| {
                    self.customers(schema, &format!("{path}{}", member(name)), left - 1)
                });
                let inner = inner.next();
                inner.or_else(|| is_customer.then(|| (path.to_owned(), schema)))
            }
            _ => None,
        }
    }

    fn customer(&self, path: String, customer: &'a Value) -> Shown {
        let properties = self.properties(customer);
        let named = |names: &[&str]| {
            let mut all = properties.iter();
            all.find(|(name, _)| names.contains(&normal(name).as_str()))
        };
        let id = named(&["id", "customerid", "contactid", "userid", "uuid"]);
        let id = id.map_or("id", |(name, _)| name);
        let mut fields = vec![("customer_id", quoted(&format!("${}", member(id))))];
        let (mut example, mut expected) = (json!({id: 7}), json!({"customer_id": "7"}));
        for (field, names) in FIELDS {
            let Some((name, schema)) = named(names) else {
                continue;
            };
            if !matches!(
                self.kind(self.at(schema)),
                "string" | "integer" | "number" | ""
            ) {
                continue;
            }
            let at = quoted(&format!("${}", member(name)));
            let (path, value, result) = match field {
                "phones" => {
                    let path = format!("{{ each = {at}, number = \"$\" }}");
                    (path, "14085550100", json!([{"number": "14085550100"}]))
                }
                "emails" => {
                    let path = format!("{{ each = {at}, address = \"$\" }}");
                    (
                        path,
                        "ada@example.com",
                        json!([{"address": "ada@example.com"}]),
                    )
                }
                _ => (at, "Ada", json!("Ada")),
            };
            fields.push((field, path));
            example[*name] = value.into();
            expected[field] = result;
        }
        let example = around(&path, example);
        Shown {
            customers: path,
            fields,
            example: (example, expected),
            auth: None,
        }
    }

    /// The first scheme that the operation, or the whole API, asks for.
    fn auth(&self, operation: &Operation<'a>) -> Option<String> {
        let wanted = operation.own.get("security").unwrap_or(&self.0["security"]);
        let name = members(&wanted[0]).next()?.0;
        let scheme = self.at(&self.0["components"]["securitySchemes"][name]);
        let place = |kind: &str| {
            let name = quoted(scheme["name"].as_str().unwrap_or_default());
            format!("kind = \"{kind}\"\nname = {name}\nvalue = \"{{token}}\"")
        };
        Some(
            match (
                scheme["type"].as_str()?,
                scheme["scheme"].as_str(),
                scheme["in"].as_str(),
            ) {
                ("apiKey", _, Some("header")) => place("header"),
                ("apiKey", _, Some("query")) => place("query"),
                ("http", Some(kind), _) if kind.eq_ignore_ascii_case("basic") => {
                    "kind = \"basic\"".into()
                }
                ("http", ..) => {
                    "kind = \"header\"\nname = \"Authorization\"\nvalue = \"Bearer {token}\"".into()
                }
                ("oauth2", ..) if scheme["flows"]["clientCredentials"].is_object() => {
                    "kind = \"oauth\"".into()
                }
                ("oauth2", ..) => "kind = \"oauth\"\ngrant = \"refresh_token\"".into(),
                _ => return None,
            },
        )
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let members = value.as_object().into_iter().flatten();
    members.map(|(name, value)| (name.as_str(), value))
}

/// The criterion that a parameter is, by its name.
fn criterion(name: &str) -> Option<&'static str> {
    let name = normal(name);
    let holds = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if holds(&["phone", "mobile", "msisdn", "telephone"]) {
        Some("phone")
    } else if holds(&["email", "mail"]) {
        Some("email")
    } else if name == "id" || holds(&["customerid", "contactid", "userid"]) {
        Some("id")
    } else if matches!(name.as_str(), "q" | "query" | "search" | "term" | "number") {
        Some("phone")
    } else {
        None
    }
}

fn normal(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.collect::<String>().to_ascii_lowercase()
}

/// A member as a path leads to it.
fn member(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain {
        format!(".{name}")
    } else {
        format!("['{}']", name.replace('\\', "\\\\").replace('\'', "\\'"))
    }
}

/// The body whose customer at the path is this one.
fn around(path: &str, customer: Value) -> Value {
    let (path, value) = match path.strip_suffix("[*]") {
        Some(path) => (path, json!([customer])),
        None => (path, customer),
    };
    let names = path
        .trim_start_matches('$')
        .split('.')
        .filter(|name| !name.is_empty());
    let names: Vec<&str> = names.collect();
    names.into_iter().rev().fold(
        value,
        |value, name| json!({name.trim_matches(['[', ']', '\'']): value}),
    )
}

/// Marks stay readable for the draft.
fn form(text: &str) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    encoded.replace("%7B", "{").replace("%7D", "}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::descriptor::{Descriptor, testing};

    const YAML: &str = r##"
openapi: 3.1.0
servers: [{ url: "https://api.crm.test/v2" }]
security: [{ key: [] }]
paths:
  /contacts/search:
    get:
      operationId: searchContacts
      parameters:
        - { name: phone, in: query, schema: { type: string } }
        - { name: limit, in: query, required: true, schema: { type: integer, default: 25 } }
      responses:
        "200":
          content: { application/json: { schema: { $ref: "#/components/schemas/Page" } } }
  /contacts/{contactId}:
    parameters: [{ name: contactId, in: path, required: true, schema: { type: string } }]
    get:
      operationId: getContact
      responses:
        "200":
          content: { application/json: { schema: { $ref: "#/components/schemas/Contact" } } }
    post:
      operationId: findContact
      security: [{ login: [] }]
      requestBody:
        content:
          application/json:
            schema: { type: object, required: [limit], properties: { email: { type: string }, limit: { type: integer }, extra: { type: string } } }
      responses: {}
components:
  securitySchemes:
    key: { type: apiKey, in: header, name: X-Api-Key }
    login: { type: http, scheme: basic }
  schemas:
    Page: { type: object, properties: { total: { type: integer }, items: { type: array, items: { $ref: "#/components/schemas/Contact" } } } }
    Contact: { type: object, properties: { id: { type: [string, "null"] }, full_name: { type: string }, phone: { type: string }, email: { type: string } } }
"##;

    #[test]
    fn an_operation_becomes_a_descriptor_whose_test_passes() {
        for (operation, expected) in [
            (
                "searchContacts",
                &[
                    "customers = \"$.items[*]\"",
                    "name = \"X-Api-Key\"",
                    "\"limit\" = \"25\"",
                    "number = \"$\"",
                ][..],
            ),
            ("getContact", &["customers = \"$\"", "\"{query.id}\"]"]),
            (
                "findContact",
                &["method = \"POST\"", "kind = \"basic\"", "{query.email}"],
            ),
        ] {
            let text = of(YAML, operation).unwrap();
            let descriptor =
                Descriptor::parse(&text).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
            assert!(testing::run(&descriptor, &text).passed(), "{text}");
            for part in expected {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_named_with_what_there_is() {
        let problem = of(YAML, "find").unwrap_err();
        assert!(
            problem.contains("expected one of searchContacts, getContact, findContact"),
            "{problem}"
        );
        assert!(
            of("swagger: \"2.0\"", "find")
                .unwrap_err()
                .starts_with("`openapi`: expected")
        );
        assert!(
            of("{", "find")
                .unwrap_err()
                .starts_with("expected an OpenAPI document")
        );
    }
}
