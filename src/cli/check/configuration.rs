//! What was read, and what is allowed there but seldom meant.

use std::{env, path::Path};

use super::finding::Finding;
use crate::settings::Settings;

const CHECK: &str = "configuration";

/// What was read, and what looks as if it were and is not.
pub fn findings(settings: &Settings, file: Option<&Path>) -> Vec<Finding> {
    let names: Vec<String> = env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .collect();
    let read = names
        .iter()
        .filter(|name| name.starts_with("LOOKUP__"))
        .count();
    let file = file.map_or_else(|| "no file".into(), |file| file.display().to_string());
    let mut findings = vec![Finding::well(
        CHECK,
        format!(
            "{file}, {read} variables LOOKUP__SECTION__KEY; {} providers{}",
            settings.providers.len(),
            match settings.lookups.len() {
                0 => String::new(),
                1 => ", 1 lookup".to_owned(),
                many => format!(", {many} lookups"),
            }
        ),
    )];
    for name in names
        .iter()
        .filter(|name| name.starts_with("LOOKUP_") && !name.starts_with("LOOKUP__"))
        .filter(|name| *name != "LOOKUP_CONFIG")
    {
        let advice = "variables are LOOKUP__SECTION__KEY, with two underscores each time";
        findings.push(Finding::note(
            CHECK,
            format!("the variable {name} is not read"),
            advice,
        ));
    }
    for provider in settings.providers.values() {
        // On loopback nothing needs to be allowed.
        let clear = provider.base_url.scheme() == "http" && !is_local(provider.base_url.host_str());
        if clear {
            let message = format!(
                "providers.{}.base_url: the credentials go through the network in clear",
                provider.name
            );
            findings.push(Finding::note(
                CHECK,
                message,
                "https://, unless something else encrypts the way",
            ));
        }
    }
    findings
}

fn is_local(host: Option<&str>) -> bool {
    host.is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]")
}
