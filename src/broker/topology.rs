//! What the worker needs on the broker, declared at start or checked to be there (contract §2).

use std::time::Duration;

use lapin::{
    Channel, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{BrokerError, CALL_LIMIT, Names, Session};
use crate::{
    config::{AmqpSettings, ProviderSettings, Step},
    job::Lane,
    policy::quota::Terms,
    quota::is_common,
};

/// How often what is no job may be redelivered: looking at a dead letter puts it back, which counts, and from
/// RabbitMQ 4.0 a queue without a limit of its own drops a message after 20 times.
const PRACTICALLY_UNLIMITED: i32 = 1_000_000_000;

/// Longest wait for a ledger that is declared: while its node is down, all other providers wait for this.
const LEDGER_LIMIT: Duration = Duration::from_secs(3);

/// Everything that is expected on the broker.
#[derive(Debug, Clone)]
pub struct Expected {
    names: Names,
    declare: bool,
    /// Every queue, in the order of declaration.
    pub queues: Vec<QueueSpec>,
}

/// A queue.
#[derive(Debug, Clone)]
pub struct QueueSpec {
    /// Its name.
    pub name: String,
    kind: Kind,
    /// Exchange and routing keys that it is bound by.
    bindings: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A quorum queue, for jobs and results.
    Kept { delivery_limit: i32, dead_letters: bool },
    /// A classic queue, whose room is exact: it counts a quota (`policy::quota`).
    Ledger { room: u32, ttl: Duration },
}

impl Expected {
    /// What a worker with these providers needs.
    #[must_use]
    pub fn new<'a>(amqp: &AmqpSettings, steps: &[Step], providers: impl Iterator<Item = &'a ProviderSettings>) -> Self {
        let names = Names::new(&amqp.prefix);
        let limit = amqp.delivery_limit.try_into().unwrap_or(i32::MAX);
        let queue = |name: String, delivery_limit, dead_letters, bindings: &[(String, &str)]| QueueSpec {
            name,
            kind: Kind::Kept { delivery_limit, dead_letters },
            bindings: bindings.iter().map(|(exchange, key)| (exchange.clone(), (*key).to_owned())).collect(),
        };
        let mut queues = vec![
            queue(names.dead(), PRACTICALLY_UNLIMITED, false, &[(names.dead(), "")]),
            queue(names.unrouted(), limit, true, &[(names.unrouted(), "")]),
            queue(names.results(), PRACTICALLY_UNLIMITED, true, &[(names.results(), "#")]),
        ];
        queues.extend(steps.iter().map(|step| queue(names.delay(step), limit, true, &[])));
        for settings in providers {
            let provider = &settings.name;
            for lane in Lane::ALL {
                let mut bindings = vec![(names.jobs_exchange(), format!("{provider}.{lane}"))];
                if lane == Lane::Bulk {
                    bindings.push((names.jobs_exchange(), provider.clone()));
                }
                let kind = Kind::Kept { delivery_limit: limit, dead_letters: true };
                queues.push(QueueSpec { name: names.jobs(provider, lane), kind, bindings });
            }
            let common = settings.quota.as_ref().filter(|limit| is_common(limit));
            queues.extend(common.into_iter().flat_map(|limit| QueueSpec::ledgers(&names, provider, &Terms::of(limit))));
        }
        Self { names, declare: amqp.declare, queues }
    }

    /// Declares it all, or checks that it is there.
    ///
    /// # Errors
    /// [`BrokerError::Foreign`] names what is missing or declared otherwise, and the difference.
    pub async fn establish(&self, session: &Session) -> Result<(), BrokerError> {
        let channel = session.publishing_channel().await?;
        for (name, kind, alternate) in self.exchanges() {
            self.exchange(&channel, &name, kind, alternate).await?;
        }
        for queue in &self.queues {
            if matches!(queue.kind, Kind::Ledger { .. }) {
                queue.establish_ledger(session, self.declare).await?;
            } else {
                self.queue(&channel, queue).await?;
                self.bind(&channel, queue).await?;
            }
        }
        let _ = tokio::time::timeout(super::CLOSE_LIMIT, channel.close(200, "declared".into())).await;
        Ok(())
    }

    /// Each with its alternate exchange, which is declared before it.
    fn exchanges(&self) -> [(String, ExchangeKind, Option<String>); 4] {
        [
            (self.names.dead(), ExchangeKind::Fanout, None),
            (self.names.unrouted(), ExchangeKind::Fanout, None),
            (self.names.jobs_exchange(), ExchangeKind::Topic, Some(self.names.unrouted())),
            (self.names.results(), ExchangeKind::Topic, Some(self.names.dead())),
        ]
    }

    /// The exchanges and queues that are not there yet; declares nothing.
    ///
    /// # Errors
    /// [`BrokerError::Foreign`] names what is declared otherwise, and the difference.
    pub async fn compare(&self, session: &Session) -> Result<Vec<String>, BrokerError> {
        let mut missing = Vec::new();
        for (name, kind, alternate) in self.exchanges() {
            let channel = session.publishing_channel().await?;
            let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
            let there = channel.exchange_declare(name.as_str().into(), kind.clone(), passive, FieldTable::default());
            match answered("exchange", &name, false, there).await {
                Ok(()) => self.exchange(&channel, &name, kind, alternate).await?,
                Err(BrokerError::Foreign(_)) => missing.push(name),
                Err(lost) => return Err(lost),
            }
        }
        for queue in &self.queues {
            // What is not there closes the channel.
            let channel = session.publishing_channel().await?;
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let there = channel.queue_declare(queue.name.as_str().into(), passive, FieldTable::default());
            match answered("queue", &queue.name, false, there).await {
                Ok(()) => self.queue(&channel, queue).await?,
                Err(BrokerError::Foreign(_)) => missing.push(queue.name.clone()),
                Err(lost) => return Err(lost),
            }
        }
        Ok(missing)
    }

    async fn exchange(
        &self,
        channel: &Channel,
        name: &str,
        kind: ExchangeKind,
        alternate: Option<String>,
    ) -> Result<(), BrokerError> {
        let options =
            ExchangeDeclareOptions { durable: true, passive: !self.declare, ..ExchangeDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        if let Some(alternate) = alternate {
            insert(&mut arguments, "alternate-exchange", &alternate);
        }
        answered("exchange", name, self.declare, channel.exchange_declare(name.into(), kind, options, arguments)).await
    }

    async fn queue(&self, channel: &Channel, queue: &QueueSpec) -> Result<(), BrokerError> {
        let options = QueueDeclareOptions { durable: true, passive: !self.declare, ..QueueDeclareOptions::default() };
        let arguments = queue.arguments(&self.names);
        let declare = channel.queue_declare(queue.name.as_str().into(), options, arguments);
        answered("queue", &queue.name, self.declare, declare).await
    }

    async fn bind(&self, channel: &Channel, queue: &QueueSpec) -> Result<(), BrokerError> {
        for (exchange, key) in queue.bindings.iter().filter(|_| self.declare) {
            let bind = channel.queue_bind(
                queue.name.as_str().into(),
                exchange.as_str().into(),
                key.as_str().into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            answered("binding of queue", &queue.name, self.declare, bind).await?;
        }
        Ok(())
    }
}

impl QueueSpec {
    /// The ledgers of one provider's quota, the one for all requests first.
    pub(super) fn ledgers(names: &Names, provider: &str, terms: &Terms) -> Vec<Self> {
        let ledger = |name, room| Self { name, kind: Kind::Ledger { room, ttl: terms.ttl }, bindings: Vec::new() };
        let shares = Lane::ALL.into_iter().filter_map(|lane| {
            let room = terms.own_ledger(lane)?;
            Some(ledger(names.quota_share(provider, lane), room))
        });
        std::iter::once(ledger(names.quota(provider), terms.requests)).chain(shares).collect()
    }

    /// Declares a ledger, or checks that it is there. One that is away for now, with the node that it lives on, is
    /// no error: its quota gives nothing until it is back, and other providers go on.
    ///
    /// # Errors
    /// [`BrokerError::Foreign`] where it counts another quota and is in use.
    pub(super) async fn establish_ledger(&self, session: &Session, declare: bool) -> Result<(), BrokerError> {
        match self.declare_ledger(session, declare).await {
            Err(BrokerError::Foreign(_)) if declare && self.delete_if_empty(session).await? => {
                tracing::info!(queue = self.name, "the quota was changed; its ledger, which was empty, is made anew");
                self.declare_ledger(session, declare).await
            }
            Err(BrokerError::Foreign(problem)) if declare => Err(BrokerError::Foreign(format!(
                "{problem}. The queue counts the requests of another quota, and they are not forgotten yet: stop the \
                 workers that are configured so, and start this one again once the quota's window has passed; it then \
                 replaces the queue by itself"
            ))),
            outcome => outcome,
        }
    }

    async fn declare_ledger(&self, session: &Session, declare: bool) -> Result<(), BrokerError> {
        // What is refused closes the channel.
        let channel = session.publishing_channel().await?;
        let options = QueueDeclareOptions { durable: true, passive: !declare, ..QueueDeclareOptions::default() };
        let declaration = channel.queue_declare(self.name.as_str().into(), options, self.arguments_of_ledger());
        match tokio::time::timeout(LEDGER_LIMIT, declaration).await {
            Ok(Err(error)) if declare && is_soft(&error, AMQPSoftError::NOTFOUND) => {
                tracing::warn!(queue = self.name, %error, "a quota's ledger is away; nothing is sent until it is back");
                return Ok(());
            }
            Ok(outcome) => answered("queue", &self.name, declare, std::future::ready(outcome)).await?,
            // RabbitMQ 4 says nothing at all where 3.x says that the queue's node is down.
            Err(_) if declare => {
                tracing::warn!(queue = self.name, "a quota's ledger does not answer; nothing is sent until it is back");
                return Ok(());
            }
            Err(_) => return Err(BrokerError::Lost(format!("declare the queue {}: no answer in time", self.name))),
        }
        let _ = tokio::time::timeout(super::CLOSE_LIMIT, channel.close(200, "declared".into())).await;
        Ok(())
    }

    /// An empty ledger counts nothing any more, so nothing is forgotten with it.
    async fn delete_if_empty(&self, session: &Session) -> Result<bool, BrokerError> {
        let channel = session.publishing_channel().await?;
        let options = QueueDeleteOptions { if_empty: true, ..QueueDeleteOptions::default() };
        let deletion = channel.queue_delete(self.name.as_str().into(), options);
        let deleted = match tokio::time::timeout(CALL_LIMIT, deletion).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) if error.is_amqp_soft_error() => return Ok(false),
            Ok(Err(error)) => return Err(BrokerError::Lost(format!("delete the queue {}: {error}", self.name))),
            Err(_) => return Err(BrokerError::Lost(format!("delete the queue {}: no answer in time", self.name))),
        };
        let _ = tokio::time::timeout(super::CLOSE_LIMIT, channel.close(200, "deleted".into())).await;
        Ok(deleted)
    }

    fn arguments_of_ledger(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        if let Kind::Ledger { room, ttl } = self.kind {
            insert(&mut arguments, "x-queue-type", "classic");
            insert(&mut arguments, "x-overflow", "reject-publish");
            arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(room.into()));
            let ttl = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
            arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(ttl));
        }
        arguments
    }

    fn arguments(&self, names: &Names) -> FieldTable {
        let Kind::Kept { delivery_limit, dead_letters } = self.kind else { return self.arguments_of_ledger() };
        let mut arguments = FieldTable::default();
        insert(&mut arguments, "x-queue-type", "quorum");
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(delivery_limit));
        if dead_letters {
            insert(&mut arguments, "x-dead-letter-exchange", &names.dead());
            // The broker deletes a dead letter only once its copy was confirmed; that needs reject-publish.
            insert(&mut arguments, "x-dead-letter-strategy", "at-least-once");
            insert(&mut arguments, "x-overflow", "reject-publish");
        }
        arguments
    }
}

fn is_soft(error: &lapin::Error, expected: AMQPSoftError) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(protocol)
        if matches!(protocol.kind(), AMQPErrorKind::Soft(kind) if *kind == expected))
}

fn insert(arguments: &mut FieldTable, key: &str, value: &str) {
    arguments.insert(ShortString::from(key), AMQPValue::LongString(value.into()));
}

/// What a person must mend is told apart from what may pass.
async fn answered<T>(
    what: &str,
    name: &str,
    declare: bool,
    declaration: impl Future<Output = lapin::Result<T>>,
) -> Result<(), BrokerError> {
    let lost =
        |problem: &dyn std::fmt::Display| Err(BrokerError::Lost(format!("declare the {what} {name}: {problem}")));
    let error = match tokio::time::timeout(CALL_LIMIT, declaration).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error,
        Err(_) => return lost(&"no answer in time"),
    };
    let advice = match error.kind() {
        ErrorKind::ProtocolError(protocol) => match protocol.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
                "delete it or choose another amqp.prefix, or configure the worker as it was declared"
            }
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) if !declare => {
                "declare it, or let the worker do so with amqp.declare = true"
            }
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => "give the worker's user the right to it",
            _ => return lost(&error),
        },
        _ => return lost(&error),
    };
    Err(BrokerError::Foreign(format!("the {what} {name} is not as this worker needs it: {error}; {advice}")))
}
