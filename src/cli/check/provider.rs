//! Each provider: its reach, its clock, and its credentials as far as they can be tried without a lookup.

use std::time::{Duration, SystemTime};

use http::{Response, header::DATE};

use super::finding::Finding;
use crate::{
    config::{Credentials, ProviderSettings},
    engine::Engine,
    provider::{http::Client, oauth::Tokens},
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
        return Finding::well(check, reached);
    };
    let difference = humantime::format_duration(Duration::from_secs(difference.as_secs()));
    let message = format!("{reached}; this machine's clock is {difference} {way} its clock");
    let advice =
        "let both be set by NTP: deadlines, Retry-After dates and tokens' lives are read by them";
    Finding::note(check, message, advice)
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
    if matches!(provider.credentials, Credentials::Token(_)) {
        let try_it = format!(
            "`lookup-worker lookup {} --query …` tries it",
            provider.name
        );
        return Finding::well(
            check,
            format!("a fixed token; the first lookup shows whether it is let in: {try_it}"),
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
