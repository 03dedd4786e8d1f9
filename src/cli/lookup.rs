//! `lookup`: one lookup, no broker.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Failed, print_result};
use crate::{embedded::Embedded, job::Envelope, result::Status, settings::Settings};

/// What to look up.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configured name of a provider or of a lookup.
    #[arg(add = super::complete::providers())]
    provider: String,
    /// Whom to look for, as `query` in a job: '{"phone":"+84 907 089 782"}'
    #[arg(long, value_name = "JSON")]
    query: String,
    /// How to look, as `options` in a job: '{"raw":true}'
    #[arg(long, value_name = "JSON")]
    options: Option<String>,
}

/// What it is not is told without what it is: that speaks of a customer.
fn json(argument: &str, text: String) -> Result<Box<RawValue>, Failed> {
    RawValue::from_string(text)
        .map_err(|error| Failed::misused(format_args!("{argument}: expected JSON: {error}")))
}

#[derive(Serialize)]
struct Body<'a> {
    query: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<&'a RawValue>,
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> Result<ExitCode, Failed> {
    let Arguments {
        provider,
        query,
        options,
    } = arguments;
    let query = json("--query", query)?;
    let options = options
        .map(|options| json("--options", options))
        .transpose()?;
    let mut names = settings.providers.keys().chain(settings.lookups.keys());
    if !names.any(|name| *name == provider) {
        let known = settings.providers.keys().chain(settings.lookups.keys());
        let known = known.map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(Failed::misused(format_args!(
            "no provider or lookup {provider:?} is configured; expected one of {known}"
        )));
    }
    let body = Body {
        query: &query,
        options: options.as_deref(),
    };
    let body = serde_json::to_vec(&body).map_err(Failed::new)?;
    let envelope = Envelope {
        routing_key: format!("{provider}.interactive"),
        ..Envelope::default()
    };

    let embedded = Embedded::new(&settings).map_err(Failed::new)?;
    let (result, code) = match embedded.read(&envelope, &body) {
        Ok(job) => match embedded.answer(job).await {
            result if result.status == Status::Failed => (result, 1),
            result => (result, 0),
        },
        Err(not_a_job) => (Embedded::refuse(*not_a_job), 2),
    };
    print_result(&result.to_json())?;
    Ok(ExitCode::from(code))
}
