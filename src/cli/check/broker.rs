//! The broker: topology, how long jobs are held, replies, dead letters, backlogs, rights, alarms.

use std::{convert::Infallible, fmt::Write, time::Duration};

use futures_util::FutureExt;
use jiff::Timestamp;

use super::{finding::Finding, reach::Reached, topology, worker::Status};
use crate::{
    backlog::{self, Backlog},
    broker::{BrokerError, Difference, Found, Session, Version, asks},
    lane::Lane,
    message::{DIRECT_REPLY_TO, Names, next},
    policy::{circuit::Why, pause::By},
    provider::settings::ProviderSettings,
    quota::is_common,
    settings::Settings,
};

/// Takes back what is unacknowledged for longer, unless it is configured otherwise.
const USUAL_CONSUMER_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// The first that can delay what is handed back.
const DELAYS: Version = Version(4, 3, 0);

/// Everything that a session can tell. What ends it comes last.
pub async fn findings(
    settings: &Settings,
    reached: &Reached,
    worker: Option<&Status>,
) -> Vec<Finding> {
    let session = &*reached.session;
    let names = &session.names;
    let differences = topology::differences(settings, reached).await;
    let missing = |name: &str| {
        let differences = differences.as_deref().unwrap_or_default();
        let named = |it: &Difference| it.name == name && it.found == Found::Missing;
        differences.iter().any(named)
    };
    let mut findings = match &differences {
        Ok(differences) => topology::findings(settings, &reached.cures, differences),
        Err(error) => vec![Finding::bad("topology", error.to_string())],
    };
    findings.push(holds(settings, reached));
    let lie = depth(session, names.results(), &missing).await;
    findings.push(replies(settings, names, lie));
    let replays = worker.map(Status::replays).unwrap_or_default();
    findings.push(dead_letters(
        names,
        depth(session, &names.dead(), &missing).await,
        &replays,
    ));
    let providers = settings.providers.values();
    let of_provider = |provider| of_provider(settings, session, provider, &missing, worker);
    findings.extend(together(providers, of_provider).await);
    let of_lookup = |name| of_lookup(settings, session, name, &missing, worker);
    findings.extend(together(settings.lookups.keys(), of_lookup).await);
    let accepted = session.accepts_publishes().await;
    // Publishes are part of it, and while the broker takes none it says nothing of them.
    if matches!(accepted, Ok(true)) && !findings.iter().any(Finding::is_bad) {
        let is_there = |name: &str| !missing(name);
        findings.push(topology::rights(settings, reached, is_there).await);
    }
    findings.push(alarms(accepted));
    findings
}

/// What is found out about each of these. What is away with its node is waited for together.
async fn together<T, F: Future<Output = Vec<Finding>>>(
    each: impl IntoIterator<Item = T>,
    find: impl Fn(T) -> F,
) -> Vec<Finding> {
    let find = |one| find(one).map(Ok::<_, Infallible>);
    let Ok(found) = asks::each(each, find).await;
    found.into_iter().flatten().collect()
}

/// What waits for a provider, and why it is left alone where it is.
async fn of_provider(
    settings: &Settings,
    session: &Session,
    provider: &ProviderSettings,
    missing: &impl Fn(&str) -> bool,
    worker: Option<&Status>,
) -> Vec<Finding> {
    let names = &session.names;
    let is_new = missing(&names.jobs(&provider.name, Lane::Bulk));
    let held = worker.and_then(|worker| worker.held(&provider.name));
    let ledgers = settings.amqp.quota_ledgers;
    let found = backlog(session, provider, ledgers, is_new, held).await;
    let check = format!("backlog {}", provider.name);
    let (text, backlog) = match found {
        Ok(found) => found,
        Err(problem) => return vec![Finding::bad(check, problem)],
    };
    if backlog.paused {
        let pause = pause(session, names, &provider.name).await;
        return vec![Finding::well(check, text), pause];
    }
    let is_left_alone = worker.is_some_and(|worker| worker.leaves_alone(&provider.name));
    if backlog.untaken > 0 && is_left_alone {
        let message = format!("{text}; the worker leaves the provider alone");
        let finding = Finding::bad(check, message);
        return vec![finding.advise("`state` tells why, and what to do")];
    }
    let why = "its /readyz tells why it leaves this provider alone";
    vec![waiting(check, text, &backlog, why)]
}

/// How much lies in a queue; none where it is known to be missing, since each look at what is not there is an error in
/// the broker's log.
async fn depth(
    session: &Session,
    queue: &str,
    missing: &impl Fn(&str) -> bool,
) -> Result<u32, BrokerError> {
    if missing(queue) {
        return Ok(0);
    }
    Ok(session.depth(queue).await?.unwrap_or(0))
}

/// The broker takes back what is held for longer than its `consumer_timeout`. No client can ask for that: what must
/// hold is told.
fn holds(settings: &Settings, reached: &Reached) -> Finding {
    let parked = settings
        .retry
        .delays
        .iter()
        .map(|step| step.wait)
        .max()
        .unwrap_or_default();
    let at_work = |provider: &ProviderSettings| {
        (provider.timeout + provider.retry.in_process_limit)
            .saturating_mul(provider.retry.max_attempts)
    };
    let at_work = settings
        .providers
        .values()
        .map(at_work)
        .max()
        .unwrap_or_default();
    let longest = humantime::format_duration(Duration::from_secs(parked.max(at_work).as_secs()));
    let asked = "rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).'";
    let mut message = format!(
        "jobs are held for up to {longest}, waits for a quota not counted; the broker's consumer_timeout must be longer \
         (30m by default; {asked} tells)"
    );
    if reached.version.is_some_and(|version| version >= DELAYS) {
        let list = reached.cures.list_policies();
        let _ = write!(
            message,
            "; a policy with delayed-retry-type on the job queues delays what a worker hands back ({list} tells)"
        );
    }
    if parked.max(at_work) < USUAL_CONSUMER_TIMEOUT {
        Finding::well("holds", message)
    } else {
        Finding::note(
            "holds",
            message,
            "set consumer_timeout higher, or lower timeout and retry.max_attempts",
        )
    }
}

fn replies(settings: &Settings, names: &Names, lie: Result<u32, BrokerError>) -> Finding {
    let allow = &settings.reply.allow;
    let direct = allow
        .iter()
        .any(|pattern| wildmatch::WildMatch::new(pattern).matches(DIRECT_REPLY_TO));
    let allowed = match allow.as_slice() {
        [] => "reply.allow lets no queue through".to_owned(),
        all if all.iter().any(|pattern| pattern == "*") => {
            "results may go to every queue".to_owned()
        }
        some if direct => format!("results may go to {}", some.join(", ")),
        some => format!(
            "results may go to {}, not to direct reply-to",
            some.join(", ")
        ),
    };
    match lie {
        Ok(count) => Finding::well(
            "replies",
            format!("{allowed}; {count} lie in {}", names.results()),
        ),
        Err(error) => Finding::bad("replies", error.to_string()),
    }
}

/// `replays` send back what was refused before the credentials were mended.
fn dead_letters(names: &Names, lie: Result<u32, BrokerError>, replays: &[String]) -> Finding {
    match lie {
        Ok(0) => Finding::well("dead letters", "none"),
        Ok(count) => {
            let message = format!("{count} in {}", names.dead());
            let mut advice = "`lookup-worker dead list` tells why, and whom each asks for: `dead replay` sends back what goes now, \
                              `dead drop --answered` throws away requesters' mistakes"
                .to_owned();
            for replay in replays {
                let _ = write!(
                    advice,
                    "; `{replay}` sends back what was refused before the credentials were mended, if it lies there still"
                );
            }
            Finding::note("dead letters", message, advice)
        }
        Err(error) => Finding::bad("dead letters", error.to_string()),
    }
}

/// What waits for a provider, what is used of its quota, and how long it will take.
async fn backlog(
    session: &Session,
    provider: &ProviderSettings,
    ledgers: u32,
    is_new: bool,
    held: Option<[usize; 2]>,
) -> Result<(String, Backlog), String> {
    let names = &session.names;
    let common = provider.quota.as_ref().filter(|limit| is_common(limit));
    let told = |error: BrokerError| error.to_string();
    let mut backlog = Backlog::default();
    if !is_new {
        let owners = common.map_or_else(Vec::new, |_| Names::parts(&provider.name, ledgers));
        let ledgers: Vec<_> = owners.iter().map(|owner| names.quota(owner)).collect();
        backlog = Backlog::look(session, names, provider, &ledgers, held)
            .await
            .map_err(told)?;
        // The other of the two ledgers is asked for only where the first is not there: a name that is missing leaves
        // an error in the broker's log.
        if !ledgers.is_empty() && backlog.used.is_none() {
            let others: Vec<_> = ledgers.iter().map(|ledger| next(ledger)).collect();
            backlog = Backlog::look(session, names, provider, &others, held)
                .await
                .map_err(told)?;
        }
    }
    let mut text = format!("{} jobs wait", backlog.jobs());
    if let Some(limit) = &provider.quota {
        let together = backlog::together(provider);
        let time = humantime::format_duration(Duration::from_secs(
            backlog.time(limit, together).as_secs(),
        ));
        let each = if together > 1 {
            format!("{together} in each request")
        } else {
            "one request each".to_owned()
        };
        let per = humantime::format_duration(limit.per);
        let used = match backlog.used {
            Some(used) => format!("{used} used now"),
            None if is_common(limit) => "its ledger is not there yet".to_owned(),
            None => "each worker counts for itself".to_owned(),
        };
        let _ = write!(
            text,
            ", {time} at {each}; {} requests per {per}, {used}",
            limit.requests
        );
        for longer in &provider.longer_quotas {
            let per = humantime::format_duration(longer.per);
            let _ = write!(text, "; at most {} per {per} besides", longer.requests);
        }
    }
    Ok((text, backlog))
}

/// What waits for a lookup; quota and pauses are those of its steps' providers.
async fn of_lookup(
    settings: &Settings,
    session: &Session,
    name: &String,
    missing: &impl Fn(&str) -> bool,
    worker: Option<&Status>,
) -> Vec<Finding> {
    let names = &session.names;
    let check = format!("backlog {name}");
    let held = worker.and_then(|worker| worker.held(name));
    let prefetch = settings.worker.concurrency;
    let found = if missing(&names.jobs(name, Lane::Bulk)) {
        Ok(Backlog::default())
    } else {
        Backlog::of_lookup(session, names, name, prefetch, held).await
    };
    vec![match found {
        Ok(backlog) => {
            let text = format!("{} jobs wait", backlog.jobs());
            waiting(check, text, &backlog, "was it started with this lookup?")
        }
        Err(error) => Finding::bad(check, error.to_string()),
    }]
}

/// Bad where nobody takes what waits; `why` is what to ask then of a worker that runs.
fn waiting(check: String, text: String, backlog: &Backlog, why: &str) -> Finding {
    if backlog.untaken == 0 {
        return Finding::well(check, text);
    }
    let message = format!("{text}; nobody takes {} of them", backlog.untaken);
    Finding::bad(check, message).advise(format!("does a worker run? If so, {why}"))
}

/// Until when a provider is left alone, and by whose word.
async fn pause(session: &Session, names: &Names, provider: &str) -> Finding {
    let check = format!("pause {provider}");
    let pauses = match session.lying_pauses(names, provider).await {
        Ok(pauses) => pauses,
        Err(error) => return Finding::bad(check, error.to_string()),
    };
    let now = Timestamp::now();
    // Without an end is longer than any.
    let last = pauses.into_iter().max_by_key(|pause| {
        let left = pause.left(now);
        (left.is_none(), left)
    });
    let Some(last) = last else {
        return Finding::well(check, "over just now");
    };
    let why = match last.by {
        By::Hand => Why::ByHand,
        By::Provider => Why::RateLimited,
    };
    let end = match last.left(now).map(|left| now.checked_add(left)) {
        Some(Ok(end)) => format!("until about {end:.0}"),
        _ => "until it is resumed".to_owned(),
    };
    let message = format!("left alone {end}: {why}; its jobs wait in their queues");
    Finding::bad(check, message).advise(format!("`lookup-worker resume {provider}` ends it"))
}

fn alarms(accepted: Result<bool, BrokerError>) -> Finding {
    match accepted {
        Ok(true) => Finding::well("alarms", "none: the broker accepts publishes"),
        Ok(false) => Finding::bad(
            "alarms",
            "the broker accepts no publishes: its memory or disk runs short",
        )
        .advise("`rabbitmq-diagnostics alarms` tells which node and which of the two"),
        Err(error) => Finding::bad("alarms", error.to_string()),
    }
}
