//! `provider try`: one real request, and what came of it, field by field.

use std::{collections::BTreeMap, fs, io::Write, path::Path, process::ExitCode};

use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, value::RawValue};

use super::{
    super::{Failed, print_line},
    record,
};
use crate::{
    engine::Engine,
    outcome::Outcome,
    provider::{descriptor::testing::paths, settings::ProviderSettings},
    result::LookupResult,
    settings::Settings,
    tokens::Tokens,
};

/// More paths of an answer are not shown.
const MOST_PATHS: usize = 100;

/// What to try.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The provider's configured name.
    #[arg(add = crate::cli::complete::providers())]
    provider: String,
    /// Whom to look for, as `query` in a job: '{"phone":"+84 907 089 782"}'
    #[arg(long, value_name = "JSON")]
    query: String,
    /// How to look, as `options` in a job.
    #[arg(long, value_name = "JSON")]
    options: Option<String>,
    /// Append request, answer and result to the descriptor as a test, with other values in the place of personal ones.
    #[arg(long)]
    save: bool,
}

pub(in crate::cli) async fn run(
    settings: Settings,
    arguments: Arguments,
) -> Result<ExitCode, Failed> {
    let name = &arguments.provider;
    let provider = settings.providers.get(name).ok_or_else(|| {
        let known: Vec<&str> = settings.providers.keys().map(String::as_str).collect();
        let known = known.join(", ");
        Failed::misused(format_args!(
            "no provider {name:?} is configured; expected one of {known}"
        ))
    })?;
    let (descriptor, file) = provider.adapter.described().ok_or_else(|| {
        let kind = provider.adapter.kind();
        Failed::misused(format_args!(
            "the provider {name:?} is of kind {kind}; expected one of kind http, which a descriptor describes"
        ))
    })?;
    let query = json("--query", &arguments.query)?;
    let options = arguments.options.as_deref();
    let options = options.map(|text| json("--options", text)).transpose()?;
    let lookup = provider
        .adapter
        .lookup(&query, options.as_deref())
        .map_err(Failed::misused)?;
    let response = match ask(provider, lookup.request.clone()).await? {
        Ok(response) => response,
        Err(failure) => {
            print_line(format!("failed: {}", failure.full_message()).as_bytes())?;
            return Ok(ExitCode::from(1));
        }
    };
    print_line(format!("answer: HTTP {}", response.status().as_u16()).as_bytes())?;
    let outcome = provider.adapter.read(&lookup, &response, Timestamp::now());
    let failed = matches!(outcome, Outcome::Failed(_));
    let found = matches!(outcome, Outcome::Found(..));
    let doubt = match &outcome {
        Outcome::NotFound(_) => descriptor.doubt(&response),
        _ => None,
    };
    let text = fs::read_to_string(file).map_err(Failed::new)?;
    show(&text, outcome)?;
    if let Some(doubt) = doubt {
        print_line(format!("note: {doubt}").as_bytes())?;
    }
    if !found && let Ok(body) = serde_json::from_slice(response.body()) {
        show_paths(&body)?;
    }
    if arguments.save {
        let test =
            record::test(descriptor, &query, options.as_deref(), &response).map_err(Failed::new)?;
        append(file, &text, &test)?;
    }
    Ok(ExitCode::from(u8::from(failed)))
}

fn json(argument: &str, text: &str) -> Result<Box<RawValue>, Failed> {
    RawValue::from_string(text.to_owned())
        .map_err(|error| Failed::misused(format_args!("{argument}: expected JSON: {error}")))
}

/// Shows the request, without its secret, and makes it once.
async fn ask(
    provider: &ProviderSettings,
    mut request: Request<Bytes>,
) -> Result<Result<Response<Bytes>, crate::failure::Failure>, Failed> {
    let client = Engine::client(provider).map_err(Failed::new)?;
    let tokens = Tokens::new(provider.adapter.clone(), provider.credentials.clone());
    print_line(format!("request: {} {}", request.method(), request.uri()).as_bytes())?;
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        print_line(format!("  {name}: {value}").as_bytes())?;
    }
    let access = match tokens.authorization(&client, provider.timeout).await {
        Ok(access) => access,
        Err(failure) => return Ok(Err(failure)),
    };
    if let Some(shown) = access.masked() {
        print_line(format!("  {shown}").as_bytes())?;
    }
    if !request.body().is_empty() {
        let body = String::from_utf8_lossy(request.body());
        print_line(format!("  {body}").as_bytes())?;
    }
    let address = request.uri().clone();
    *request.uri_mut() = access
        .put(address, request.headers_mut())
        .ok_or_else(|| Failed::new("the request's address grows too long for its secret"))?;
    Ok(client.send(request, provider.timeout).await)
}

/// The result, a line for each field, with the path that gave it.
fn show(descriptor: &str, outcome: Outcome) -> Result<(), Failed> {
    let result = LookupResult::new(String::new(), String::new(), outcome, 1, Timestamp::now());
    let result = serde_json::to_value(&result).map_err(Failed::new)?;
    print_line(format!("result: {}", result["status"].as_str().unwrap_or_default()).as_bytes())?;
    let paths = paths(descriptor);
    let mut lines = Vec::new();
    for part in ["customers", "page", "error"] {
        fields(part, part, &result[part], &mut lines);
    }
    for (place, key, value) in lines {
        let key =
            key.replacen("customers", "answer.customer", 1)
                .replacen("page", "answer.page", 1);
        let path = paths
            .get(&key)
            .map_or(String::new(), |path| format!("   {path}"));
        print_line(format!("  {place} = {value}{path}").as_bytes())?;
    }
    Ok(())
}

/// Where something stands in an answer in which no customer was found, without the values.
fn show_paths(body: &Value) -> Result<(), Failed> {
    let mut paths = BTreeMap::new();
    places("$", body, &mut paths);
    print_line(b"in the answer stand, for the paths of the descriptor:")?;
    for (path, what) in paths.iter().take(MOST_PATHS) {
        print_line(format!("  {path}   {what}").as_bytes())?;
    }
    if paths.len() > MOST_PATHS {
        print_line(format!("  and {} more", paths.len() - MOST_PATHS).as_bytes())?;
    }
    Ok(())
}

/// The path of each value that holds no others, and its type.
fn places(path: &str, value: &Value, paths: &mut BTreeMap<String, &'static str>) {
    let what = match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                places(&format!("{path}{}", step(name)), member, paths);
            }
            return;
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                places(&format!("{path}[*]"), item, paths);
            }
            return;
        }
        Value::Object(_) => "an empty object",
        Value::Array(_) => "an empty array",
        Value::String(_) => "a text",
        Value::Number(_) => "a number",
        Value::Bool(_) => "true or false",
        Value::Null => "null",
    };
    paths.entry(path.to_owned()).or_insert(what);
}

/// A member's name, as JSONPath writes it.
fn step(name: &str) -> String {
    let short = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if short {
        return format!(".{name}");
    }
    format!("[{}]", Value::from(name))
}

/// Each value with its place and, without numbers, the key of its field.
fn fields(place: &str, key: &str, value: &Value, lines: &mut Vec<(String, String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            for (name, value) in members {
                fields(
                    &format!("{place}.{name}"),
                    &format!("{key}.{name}"),
                    value,
                    lines,
                );
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                fields(&format!("{place}[{number}]"), key, item, lines);
            }
        }
        plain => lines.push((place.to_owned(), key.to_owned(), plain.to_string())),
    }
}

fn append(file: &Path, text: &str, test: &str) -> Result<(), Failed> {
    let line_break = if text.ends_with('\n') { "" } else { "\n" };
    let opened = fs::OpenOptions::new().append(true).open(file);
    // What stands there is not written again.
    let test = format!("{line_break}\n{test}");
    let written = opened.and_then(|mut file| file.write_all(test.as_bytes()));
    written.map_err(|error| {
        Failed::new(format_args!(
            "{} cannot be written: {error}",
            file.display()
        ))
    })?;
    print_line(format!("saved as a test in {}", file.display()).as_bytes()).map_err(Failed::from)
}
