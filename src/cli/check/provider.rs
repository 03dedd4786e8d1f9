//! Each provider: its reach, its clock, and its credentials as far as they can be tried without a lookup.

use std::time::{Duration, SystemTime};

use http::{
    Response,
    header::{CONTENT_TYPE, DATE},
};

use super::finding::Finding;
use crate::{
    config::Credentials, engine::Engine, http::Client, provider::settings::ProviderSettings,
    tokens::Tokens,
};

/// Longest wait for a provider.
const REACH_LIMIT: Duration = Duration::from_secs(10);
/// Clocks that differ by less do no harm; a `Date` has whole seconds.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// No lookup is spent on it.
pub async fn findings(provider: &ProviderSettings) -> Vec<Finding> {
    let check = format!("provider {}", provider.name);
    let client = match Engine::client(provider) {
        Ok(client) => client,
        Err(problem) => return vec![Finding::bad(check, problem)],
    };
    vec![
        reach(check, provider, &client).await,
        credentials(provider, &client).await,
    ]
}

/// Any answer at all shows that the provider is reached.
async fn reach(check: String, provider: &ProviderSettings, client: &Client) -> Finding {
    let head = match client.reach(&provider.base_url, REACH_LIMIT).await {
        Ok(head) => head,
        Err(failure) => return out_of_reach(check, provider, &failure.message),
    };
    let (kind, status) = (provider.adapter.kind(), head.status().as_u16());
    let reached = format!("reached (kind {kind}; its root answers HTTP {status})");
    let Some((difference, way)) = clock_difference(&head, SystemTime::now()) else {
        return match odd(provider, &head) {
            Some((what, advice)) => Finding::note(check, format!("{reached}; {what}"), advice),
            None => Finding::well(check, reached),
        };
    };
    let difference = humantime::format_duration(Duration::from_secs(difference.as_secs()));
    let message = format!("{reached}; this machine's clock is {difference} {way} its clock");
    let advice =
        "let both be set by NTP: deadlines, Retry-After dates and tokens' lives are read by them";
    Finding::note(check, message, advice)
}

/// What the root's answer may be besides an API's own, and what to do if it is.
fn odd(provider: &ProviderSettings, head: &Response<()>) -> Option<(&'static str, String)> {
    let (name, status) = (&provider.name, head.status().as_u16());
    let content_type = head.headers().get(CONTENT_TYPE);
    let is_page = content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if status == 400 && provider.base_url.scheme() == "https" {
        let advice = match provider.tls.client_cert_file {
            None => format!("if it wants a client certificate: providers.{name}.client_cert_file"),
            Some(_) => format!("does it accept the one in providers.{name}.client_cert_file?"),
        };
        return Some((
            "so answers a server that wants a client certificate",
            advice,
        ));
    }
    let what = "that is a page, as a proxy's, or one of maintenance";
    (is_page && status != 404).then(|| {
        let advice = format!("is providers.{name}.base_url the API's own? `lookup` tries it");
        (what, advice)
    })
}

fn out_of_reach(check: String, provider: &ProviderSettings, problem: &str) -> Finding {
    let (name, url) = (&provider.name, &provider.base_url);
    let (host, port) = (
        url.host_str().unwrap_or_default(),
        url.port_or_known_default().unwrap_or_default(),
    );
    let advice = format!(
        "is providers.{name}.base_url right, and the way from here open: DNS, firewall, certificates?"
    );
    Finding::bad(check, format!("{host}:{port}: {problem}")).advise(advice)
}

/// By how much the clocks differ, where that does harm.
fn clock_difference(head: &Response<()>, now: SystemTime) -> Option<(Duration, &'static str)> {
    let theirs = httpdate::parse_http_date(head.headers().get(DATE)?.to_str().ok()?).ok()?;
    let (difference, way) = match now.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    (difference > CLOCK_TOLERANCE).then_some((difference, way))
}

/// A token endpoint can be asked. A token that never changes is tried by a lookup alone, which would cost quota and
/// ask for a customer whom nobody named.
async fn credentials(provider: &ProviderSettings, client: &Client) -> Finding {
    let check = format!("credentials {}", provider.name);
    let fixed = match provider.credentials {
        Credentials::Token(_) => Some("a fixed token"),
        Credentials::Basic { .. } => Some("a user and a password"),
        Credentials::None => Some("none are sent"),
        Credentials::OAuth(_) => None,
    };
    if let Some(fixed) = fixed {
        let try_it = format!(
            "`lookup-worker lookup {} --query …` tries it",
            provider.name
        );
        return Finding::well(
            check,
            format!("{fixed}; the first lookup shows whether it is let in: {try_it}"),
        );
    }
    let tokens = Tokens::new(provider.adapter.clone(), provider.credentials.clone());
    match tokens.authorization(client, REACH_LIMIT).await {
        Ok(_) => Finding::well(check, "the token endpoint gave a token"),
        // Not its words: they go to nobody but a requester.
        Err(failure) => Finding::bad(check, failure.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_root_says_that_is_no_apis_word_is_told_with_what_it_may_be() {
        let provider = |scheme: &str| {
            let text = format!(
                "[providers.p]\nkind = \"plume\"\nbase_url = \"{scheme}://localhost\"\ntoken = \"t\"\n"
            );
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let mut settings = crate::settings::load(Some(file.path())).unwrap();
            settings.providers.remove("p").unwrap()
        };
        let told = |scheme: &str, status: u16, kind: &str| {
            let head = Response::builder().status(status);
            let head = head.header(CONTENT_TYPE, kind).body(()).unwrap();
            odd(&provider(scheme), &head).map(|(what, advice)| format!("{what} -> {advice}"))
        };
        let certificate = told("https", 400, "text/html").unwrap();
        assert!(certificate.contains("providers.p.client_cert_file"));
        assert_eq!(told("http", 400, "application/json"), None);
        for status in [200, 302, 400, 503] {
            let page = told("http", status, "text/html; charset=utf-8").unwrap();
            assert!(page.contains("a page") && page.contains("providers.p.base_url"));
        }
        assert_eq!(
            told("https", 404, "text/html"),
            None,
            "many an API has no root"
        );
        assert_eq!(told("https", 200, "application/json"), None);
    }

    #[test]
    fn a_clock_is_told_from_a_date_only_where_it_does_harm() {
        let theirs = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let head = Response::builder()
            .header(DATE, httpdate::fmt_http_date(theirs))
            .body(())
            .unwrap();
        assert_eq!(clock_difference(&head, theirs + CLOCK_TOLERANCE), None);
        let minute = Duration::from_secs(60);
        assert_eq!(
            clock_difference(&head, theirs + minute),
            Some((minute, "ahead of"))
        );
        assert_eq!(
            clock_difference(&head, theirs - minute),
            Some((minute, "behind"))
        );
        assert_eq!(
            clock_difference(&Response::new(()), theirs),
            None,
            "no date"
        );
    }
}
