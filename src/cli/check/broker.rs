//! The broker: reach and version, topology, how long jobs are held, replies, dead letters, backlogs, alarms.

use std::{fmt::Write, rc::Rc, time::Duration};

use jiff::Timestamp;

use super::finding::Finding;
use crate::{
    backlog::{Backlog, together},
    broker::{BrokerError, DIRECT_REPLY_TO, Expected, Greeting, Names, Session, next},
    config::{AmqpSettings, ProviderSettings, Settings},
    policy::{circuit::Why, pause::By},
    quota::is_common,
};

/// Takes back what is unacknowledged for longer, unless it is configured otherwise.
const USUAL_CONSUMER_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// The first that dead-letters at least once.
const OLDEST: (u32, u32) = (3, 10);

/// Whatever the reason is that came before.
const OUT_OF_REACH: &str = "does it run, and is its address right: host, port (5672, with TLS 5671), user, password, \
                            virtual host? Its own log names what it refused";
/// Of the names that are missing, so many are told.
const TOLD: usize = 4;

/// A finding for each address, and a session with the first that answers.
pub async fn reach(amqp: &AmqpSettings) -> (Vec<Finding>, Option<Rc<Session>>) {
    let (mut findings, mut session) = (Vec::new(), None);
    let addresses = amqp.addresses();
    for address in &addresses {
        let alone = AmqpSettings {
            url: Some(address.clone()),
            urls: Vec::new(),
            ..amqp.clone()
        };
        match Session::open(&alone).await {
            Ok(opened) => {
                findings.push(greeting(&alone, &opened).await);
                match session {
                    None => session = Some(opened),
                    Some(_) => opened.close().await,
                }
            }
            Err(error) => {
                findings.push(Finding::bad("broker", error.to_string()).advise(OUT_OF_REACH));
            }
        }
    }
    if session.is_some() {
        // Whichever answers is used.
        findings = findings
            .into_iter()
            .map(|finding| finding.excused("another of amqp.urls answers"))
            .collect();
    }
    (findings, session)
}

async fn greeting(amqp: &AmqpSettings, session: &Session) -> Finding {
    let tls = amqp.tls().read().unwrap_or_default();
    let greeted = match amqp.addresses().first() {
        Some(address) => Greeting::of(address, &tls).await.ok(),
        None => None,
    };
    let vhost = session.vhost();
    let Some(Greeting {
        at,
        product,
        version,
    }) = greeted
    else {
        return Finding::well("broker", format!("connected, virtual host {vhost}"));
    };
    let mut parts = version
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    let number = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let finding = format!("connected to {at}, virtual host {vhost}: {product} {version}");
    if product != "RabbitMQ" {
        return Finding::note(
            "broker",
            finding,
            "this worker is made for RabbitMQ, and tried with no other",
        );
    }
    if number < OLDEST {
        return Finding::bad("broker", finding)
            .advise("RabbitMQ 3.10 or later: older ones may lose dead letters");
    }
    Finding::well("broker", finding)
}

/// Everything that a session can tell. What ends it comes last.
pub async fn findings(settings: &Settings, session: &Session) -> Vec<Finding> {
    let names = Names::new(&settings.amqp.prefix);
    let mut findings = topology(settings, session).await;
    findings.push(holds(settings));
    findings.push(replies(settings, session, &names).await);
    findings.push(dead_letters(session, &names).await);
    for provider in settings.providers.values() {
        let found = backlog(session, &names, provider).await;
        let is_paused = found.as_ref().is_ok_and(|(_, is_paused)| *is_paused);
        let found = found.map(|(text, _)| text);
        findings.push(Finding::of(format!("backlog {}", provider.name), found));
        if is_paused {
            findings.push(pause(session, &names, &provider.name).await);
        }
    }
    findings.push(alarms(session).await);
    findings
}

async fn topology(settings: &Settings, session: &Session) -> Vec<Finding> {
    const CHECK: &str = "topology";
    let expected = Expected::new(
        &settings.amqp,
        &settings.retry.delays,
        settings.providers.values(),
    );
    let differences = match expected.compare(session).await {
        Ok(differences) => differences,
        Err(error) => return vec![Finding::bad(CHECK, error.to_string())],
    };
    let (missing, otherwise): (Vec<_>, Vec<_>) = differences
        .into_iter()
        .partition(|difference| difference.otherwise.is_none());
    let foreign = otherwise.into_iter().map(|difference| {
        Finding::bad(CHECK, difference.otherwise.unwrap_or_default()).advise(difference.mend)
    });
    let mut findings: Vec<Finding> = foreign.collect();
    if settings.amqp.declare && !missing.is_empty() {
        let mut listed = missing
            .iter()
            .take(TOLD)
            .map(|it| it.name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        if let Some(more) = missing.len().checked_sub(TOLD).filter(|more| *more > 0) {
            let _ = write!(listed, " and {more} more");
        }
        findings.push(Finding::well(
            CHECK,
            format!(
                "{} not declared yet; `run` does it: {listed}",
                missing.len()
            ),
        ));
    } else {
        let lacks = |name: &str| format!("{name} is missing, and amqp.declare = false");
        let absent = missing
            .into_iter()
            .map(|it| Finding::bad(CHECK, lacks(&it.name)).advise(it.mend));
        findings.extend(absent);
    }
    if findings.is_empty() {
        let count = expected.queues.len();
        findings.push(Finding::well(
            CHECK,
            format!("all {count} queues are there, as they should be"),
        ));
    }
    findings
}

/// The broker takes back what is held for longer than its `consumer_timeout`. No client can ask for that: what must
/// hold is told.
fn holds(settings: &Settings) -> Finding {
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
    let message = format!(
        "jobs are held for up to {longest}, waits for a quota not counted; the broker's consumer_timeout must be longer \
         (30m by default; {asked} tells)"
    );
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

async fn replies(settings: &Settings, session: &Session, names: &Names) -> Finding {
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
    match session.depth(names.results()).await {
        Ok(depth) => Finding::well(
            "replies",
            format!(
                "{allowed}; {} lie in {}",
                depth.unwrap_or(0),
                names.results()
            ),
        ),
        Err(error) => Finding::bad("replies", error.to_string()),
    }
}

async fn dead_letters(session: &Session, names: &Names) -> Finding {
    match session.depth(&names.dead()).await {
        Ok(None | Some(0)) => Finding::well("dead letters", "none"),
        Ok(Some(count)) => {
            let message = format!("{count} in {}", names.dead());
            Finding::note(
                "dead letters",
                message,
                "`lookup-worker dead list` tells why, `dead replay` sends them back",
            )
        }
        Err(error) => Finding::bad("dead letters", error.to_string()),
    }
}

/// What waits for a provider, what is used of its quota, and how long it will take.
async fn backlog(
    session: &Session,
    names: &Names,
    provider: &ProviderSettings,
) -> Result<(String, bool), String> {
    let common = provider.quota.as_ref().filter(|limit| is_common(limit));
    let ledger = common.map(|_| names.quota(&provider.name));
    let ledgers: Vec<_> = ledger
        .into_iter()
        .flat_map(|ledger| [next(&ledger), ledger])
        .collect();
    let backlog = Backlog::look(session, names, provider, &ledgers)
        .await
        .map_err(|error: BrokerError| error.to_string())?;
    let mut text = format!("{} jobs wait", backlog.jobs());
    if let Some(limit) = &provider.quota {
        let together = together(provider);
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
    }
    Ok((text, backlog.paused))
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
    Finding::note(
        check,
        format!("left alone {end}: {why}; its jobs wait in their queues"),
        format!("`lookup-worker resume {provider}` ends it"),
    )
}

async fn alarms(session: &Session) -> Finding {
    match session.accepts_publishes().await {
        Ok(true) => Finding::well("alarms", "none: the broker accepts publishes"),
        Ok(false) => Finding::bad(
            "alarms",
            "the broker accepts no publishes: its memory or disk runs short",
        )
        .advise("`rabbitmq-diagnostics alarms` tells which node and which of the two"),
        Err(error) => Finding::bad("alarms", error.to_string()),
    }
}
