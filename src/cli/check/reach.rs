//! The broker: is it reached, and is it of a version that will do?

use std::rc::Rc;

use super::finding::Finding;
use crate::{
    broker::{Cures, Greeting, Session, Version},
    config::AmqpSettings,
};

/// The first that dead-letters at least once.
const OLDEST: Version = Version(3, 10, 0);
/// From here on dead lettering at least once could get stuck for good,
const SUSPECT: Version = Version(4, 3, 0);
/// and from here on it cannot.
const MENDED: Version = Version(4, 3, 3);

/// Whatever the reason is that came before.
const OUT_OF_REACH: &str = "does it run, and is its address right: host, port (5672, with TLS 5671), user, password, \
                            virtual host? Its own log names what it refused";

/// A broker that is reached.
pub struct Reached {
    /// Open until it is closed.
    pub session: Rc<Session>,
    /// As it greeted.
    pub version: Option<Version>,
    /// What mends things there.
    pub cures: Cures,
}

/// A finding for each address, and a session with the first that answers.
pub async fn reach(amqp: &AmqpSettings) -> (Vec<Finding>, Option<Reached>) {
    let (mut findings, mut reached) = (Vec::new(), None);
    let addresses = amqp.addresses();
    for address in &addresses {
        let alone = AmqpSettings {
            url: Some(address.clone()),
            urls: Vec::new(),
            ..amqp.clone()
        };
        match Session::open(&alone).await {
            Ok(session) => {
                let greeting = greeted(&alone).await;
                findings.push(met(&session.vhost(), greeting.as_ref()));
                match reached {
                    None => reached = Some(Reached::new(session, greeting.as_ref())),
                    Some(_) => session.close().await,
                }
            }
            Err(error) => {
                findings.push(Finding::bad("broker", error.to_string()).advise(OUT_OF_REACH));
            }
        }
    }
    if reached.is_some() {
        // Whichever answers is used.
        findings = findings
            .into_iter()
            .map(|finding| finding.excused("another of amqp.urls answers"))
            .collect();
    }
    (findings, reached)
}

async fn greeted(amqp: &AmqpSettings) -> Option<Greeting> {
    let tls = amqp.tls().read().unwrap_or_default();
    Greeting::of(amqp.addresses().first()?, &tls).await.ok()
}

impl Reached {
    fn new(session: Rc<Session>, greeting: Option<&Greeting>) -> Self {
        let version = greeting.map(Greeting::number);
        let cures = Cures::new(&session.vhost(), version);
        Self {
            session,
            version,
            cures,
        }
    }
}

fn met(vhost: &str, greeting: Option<&Greeting>) -> Finding {
    let Some(greeting) = greeting else {
        return Finding::well("broker", format!("connected, virtual host {vhost}"));
    };
    let Greeting {
        at,
        product,
        version,
    } = greeting;
    let finding = format!("connected to {at}, virtual host {vhost}: {product} {version}");
    if product != "RabbitMQ" {
        return Finding::note(
            "broker",
            finding,
            "this worker is made for RabbitMQ, and tried with no other",
        );
    }
    if greeting.number() < OLDEST {
        return Finding::bad("broker", finding)
            .advise("RabbitMQ 3.10 or later: older ones may lose dead letters");
    }
    if (SUSPECT..MENDED).contains(&greeting.number()) {
        let advice = format!(
            "upgrade it to {MENDED}: before, what it dead-letters at least once may get stuck for good"
        );
        return Finding::note("broker", finding, advice);
    }
    Finding::well("broker", finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_are_too_old_or_have_a_known_fault_are_told() {
        let told = |version: &str| {
            let greeting = Greeting {
                at: "broker:5672".into(),
                product: "RabbitMQ".into(),
                version: version.into(),
            };
            serde_json::to_value(met("/", Some(&greeting))).unwrap()
        };
        for well in ["3.10.8", "3.13.0-rc.1", "4.2.9", "4.3.3", "4.3.6", "5.0.0"] {
            assert_eq!(told(well).get("advice"), None, "{well}");
        }
        for old in ["3.9.29", "2.0"] {
            assert_eq!(told(old)["ok"], false, "{old}");
        }
        for faulty in ["4.3.0", "4.3.2", "4.3.0-beta.1"] {
            assert_eq!(told(faulty)["ok"], true);
            let advice = told(faulty)["advice"].to_string();
            assert!(advice.contains("4.3.3"), "{faulty}: {advice}");
        }
    }
}
