//! What the worker needs on the broker, declared at start or checked to be there (contract §2).

use std::time::Duration;

use futures_util::future::try_join_all;
use lapin::{
    Channel, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{AWAY_LIMIT, BrokerError, CALL_LIMIT, Names, Session, names};
use crate::{
    config::{AmqpSettings, ProviderSettings, Step},
    job::Lane,
    policy::{poison::Suspicion, quota::Terms},
    quota::is_common,
};

/// How often what is no job may be redelivered: looking at a dead letter puts it back, which counts, and from
/// RabbitMQ 4.0 a queue without a limit of its own drops a message after 20 times.
const PRACTICALLY_UNLIMITED: i32 = 1_000_000_000;

/// Everything that is expected on the broker.
#[derive(Debug, Clone)]
pub struct Expected {
    pub(super) names: Names,
    pub(super) declare: bool,
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
    pub(super) bindings: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
enum Kind {
    /// A quorum queue, for jobs and results.
    Kept {
        delivery_limit: i32,
        dead_letters: bool,
    },
    /// A classic queue, whose room is exact: it counts a quota (`policy::quota`).
    /// What it forgets goes to the exchange `forgets_to`.
    Ledger {
        room: u32,
        ttl: Duration,
        forgets_to: String,
    },
    /// A classic queue too, whose depth is known as soon as its node is up; each message in it expires.
    Pause,
}

impl Expected {
    /// What a worker with these providers needs.
    #[must_use]
    pub fn new<'a>(
        amqp: &AmqpSettings,
        steps: &[Step],
        providers: impl Iterator<Item = &'a ProviderSettings>,
    ) -> Self {
        let names = Names::new(&amqp.prefix);
        let limit = amqp.delivery_limit.try_into().unwrap_or(i32::MAX);
        let queue =
            |name: String, delivery_limit, dead_letters, bindings: &[(String, &str)]| QueueSpec {
                name,
                kind: Kind::Kept {
                    delivery_limit,
                    dead_letters,
                },
                bindings: bindings
                    .iter()
                    .map(|(exchange, key)| (exchange.clone(), (*key).to_owned()))
                    .collect(),
            };
        let mut queues = vec![
            queue(
                names.dead(),
                PRACTICALLY_UNLIMITED,
                false,
                &[(names.dead(), "")],
            ),
            queue(names.unrouted(), limit, true, &[(names.unrouted(), "")]),
            queue(
                names.results().to_owned(),
                PRACTICALLY_UNLIMITED,
                true,
                &[(names.results().to_owned(), "#")],
            ),
        ];
        queues.extend(
            steps
                .iter()
                .map(|step| queue(names.delay(step), limit, true, &[])),
        );
        let limit_of_suspects = Suspicion::new(amqp.delivery_limit)
            .limit()
            .try_into()
            .unwrap_or(i32::MAX);
        for settings in providers {
            let provider = &settings.name;
            for lane in Lane::ALL {
                queues.push(queue(
                    names.suspects(provider, lane),
                    limit_of_suspects,
                    true,
                    &[],
                ));
                let mut bindings = vec![(names.jobs_exchange(), format!("{provider}.{lane}"))];
                if lane == Lane::Bulk {
                    bindings.push((names.jobs_exchange(), provider.clone()));
                }
                let kind = Kind::Kept {
                    delivery_limit: limit,
                    dead_letters: true,
                };
                queues.push(QueueSpec {
                    name: names.jobs(provider, lane),
                    kind,
                    bindings,
                });
            }
            let bindings = vec![(names.pauses(), provider.clone())];
            queues.push(QueueSpec {
                name: names.pause(provider),
                kind: Kind::Pause,
                bindings,
            });
            let common = settings.quota.as_ref().filter(|limit| is_common(limit));
            if let Some(limit) = common {
                let mut windows = vec![(provider.clone(), Terms::of(limit))];
                windows.extend(settings.longer_quotas.iter().map(|limit| {
                    let owner = Names::longer(provider, limit.per);
                    (owner, Terms::of_longer(limit))
                }));
                for (owner, terms) in windows {
                    let (ledgers, spread) = QueueSpec::ledgers(&names, &owner, &terms);
                    queues.extend(ledgers.into_iter().chain(spread));
                }
            }
        }
        Self {
            names,
            declare: amqp.declare,
            queues,
        }
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
        let (kept, classic): (Vec<_>, Vec<_>) = self
            .queues
            .iter()
            .partition(|queue| matches!(queue.kind, Kind::Kept { .. }));
        for queue in kept {
            self.queue(&channel, queue).await?;
            self.bind(&channel, queue).await?;
        }
        // Together: each may have to be waited for in vain.
        try_join_all(
            classic
                .into_iter()
                .map(|queue| self.establish_classic(session, &channel, queue)),
        )
        .await?;
        let _ =
            tokio::time::timeout(super::CLOSE_LIMIT, channel.close(200, "declared".into())).await;
        Ok(())
    }

    async fn establish_classic(
        &self,
        session: &Session,
        channel: &Channel,
        queue: &QueueSpec,
    ) -> Result<(), BrokerError> {
        match queue.kind {
            // Which of two is this worker's, whoever counts there finds out.
            Kind::Ledger { .. } => Ok(()),
            _ if queue.declare_classic(session, self.declare).await? => {
                self.bind(channel, queue).await
            }
            _ => Ok(()),
        }
    }

    /// Each with its alternate exchange, which is declared before it.
    pub(super) fn exchanges(&self) -> [(String, ExchangeKind, Option<String>); 6] {
        [
            (self.names.dead(), ExchangeKind::Fanout, None),
            (self.names.unrouted(), ExchangeKind::Fanout, None),
            (
                self.names.jobs_exchange(),
                ExchangeKind::Topic,
                Some(self.names.unrouted()),
            ),
            (
                self.names.results().to_owned(),
                ExchangeKind::Topic,
                Some(self.names.dead()),
            ),
            (self.names.room(), ExchangeKind::Direct, None),
            (self.names.pauses(), ExchangeKind::Direct, None),
        ]
    }

    pub(super) async fn exchange(
        &self,
        channel: &Channel,
        name: &str,
        kind: ExchangeKind,
        alternate: Option<String>,
    ) -> Result<(), BrokerError> {
        let options = ExchangeDeclareOptions {
            durable: true,
            passive: !self.declare,
            ..ExchangeDeclareOptions::default()
        };
        let mut arguments = FieldTable::default();
        if let Some(alternate) = alternate {
            insert(&mut arguments, "alternate-exchange", &alternate);
        }
        answered(
            "exchange",
            name,
            self.declare,
            channel.exchange_declare(name.into(), kind, options, arguments),
        )
        .await
    }

    pub(super) async fn queue(
        &self,
        channel: &Channel,
        queue: &QueueSpec,
    ) -> Result<(), BrokerError> {
        let options = QueueDeclareOptions {
            durable: true,
            passive: !self.declare,
            ..QueueDeclareOptions::default()
        };
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
    /// The ledgers of one window of a provider's quota: that of all requests and that of bulk's; and what keeps these
    /// apart, where it does.
    pub(super) fn ledgers(names: &Names, owner: &str, terms: &Terms) -> ([Self; 2], Option<Self>) {
        let ledger = |name, room, ttl| Self {
            name,
            kind: Kind::Ledger {
                room,
                ttl,
                forgets_to: names.room(),
            },
            bindings: Vec::new(),
        };
        let spread = names.quota_spread(owner);
        let spread = ledger(spread, terms.together(), terms.longest_spacing());
        let counted = [
            ledger(names.quota(owner), terms.requests, terms.ttl),
            ledger(names.quota_share(owner, Lane::Bulk), terms.bulk, terms.ttl),
        ];
        (counted, terms.spreads.then_some(spread))
    }

    /// The one that takes its place where another quota counts.
    pub(super) fn next(&self) -> Self {
        Self {
            name: names::next(&self.name),
            ..self.clone()
        }
    }

    /// Deletes a ledger that counts no more.
    ///
    /// # Errors
    /// Where the broker does not answer in time.
    pub(super) async fn delete_ledger(&self, session: &Session) -> Result<(), BrokerError> {
        let channel = session.publishing_channel().await?;
        let deletion =
            channel.queue_delete(self.name.as_str().into(), QueueDeleteOptions::default());
        super::bounded(
            &format!("delete the queue {}", self.name),
            CALL_LIMIT,
            deletion,
        )
        .await?;
        let _ =
            tokio::time::timeout(super::CLOSE_LIMIT, channel.close(200, "deleted".into())).await;
        Ok(())
    }

    /// Declares a ledger, or checks that it is there, and says whether it is. One that is away for now, with the node
    /// that it lives on, is no error: its quota gives nothing until it is back, and other providers go on.
    ///
    /// # Errors
    /// [`BrokerError::Foreign`] where it counts another quota and is in use.
    pub(super) async fn establish_ledger(
        &self,
        session: &Session,
        declare: bool,
    ) -> Result<bool, BrokerError> {
        match self.declare_classic(session, declare).await {
            Err(BrokerError::Foreign(_)) if declare && self.delete_if_empty(session).await? => {
                tracing::info!(
                    queue = self.name,
                    "the quota was changed; its ledger, which was empty, is made anew"
                );
                self.declare_classic(session, declare).await
            }
            Err(BrokerError::Foreign(problem)) if declare => Err(BrokerError::Foreign(format!(
                "{problem}. The queue counts the requests of another quota, and they are not forgotten yet: give the \
                 workers that run this one's quota and send them SIGHUP, or start this one again once all are stopped \
                 and the quota's window has passed; it then replaces the queue by itself"
            ))),
            outcome => outcome,
        }
    }

    /// Declares a classic queue; says whether it is there. It may be away, with the node that it lives on.
    async fn declare_classic(&self, session: &Session, declare: bool) -> Result<bool, BrokerError> {
        // What is refused closes the channel.
        let channel = session.publishing_channel().await?;
        let options = QueueDeclareOptions {
            durable: true,
            passive: !declare,
            ..QueueDeclareOptions::default()
        };
        let declaration = channel.queue_declare(
            self.name.as_str().into(),
            options,
            self.arguments_of_classic(),
        );
        let away = |reason: &dyn std::fmt::Display| {
            tracing::warn!(queue = self.name, %reason, "a queue is away with its node; a quota gives nothing without");
            Ok(false)
        };
        match tokio::time::timeout(AWAY_LIMIT, declaration).await {
            Ok(Err(error)) if declare && is_soft(&error, AMQPSoftError::NOTFOUND) => {
                return away(&error);
            }
            Ok(outcome) => {
                answered("queue", &self.name, declare, std::future::ready(outcome)).await?;
            }
            Err(_) if session.health.is_well() => return away(&"no answer in time"),
            Err(_) => {
                return Err(BrokerError::Lost(format!(
                    "declare the queue {}: no answer in time",
                    self.name
                )));
            }
        }
        let _ =
            tokio::time::timeout(super::CLOSE_LIMIT, channel.close(200, "declared".into())).await;
        Ok(true)
    }

    /// An empty ledger counts nothing any more, so nothing is forgotten with it.
    pub(super) async fn delete_if_empty(&self, session: &Session) -> Result<bool, BrokerError> {
        let channel = session.publishing_channel().await?;
        let options = QueueDeleteOptions {
            if_empty: true,
            ..QueueDeleteOptions::default()
        };
        let deletion = channel.queue_delete(self.name.as_str().into(), options);
        let deleted = match tokio::time::timeout(CALL_LIMIT, deletion).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) if error.is_amqp_soft_error() => return Ok(false),
            Ok(Err(error)) => {
                return Err(BrokerError::Lost(format!(
                    "delete the queue {}: {error}",
                    self.name
                )));
            }
            Err(_) => {
                return Err(BrokerError::Lost(format!(
                    "delete the queue {}: no answer in time",
                    self.name
                )));
            }
        };
        let _ =
            tokio::time::timeout(super::CLOSE_LIMIT, channel.close(200, "deleted".into())).await;
        Ok(deleted)
    }

    fn arguments_of_classic(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        insert(&mut arguments, "x-queue-type", "classic");
        if let Kind::Ledger {
            room,
            ttl,
            forgets_to,
        } = &self.kind
        {
            insert(&mut arguments, "x-overflow", "reject-publish");
            insert(&mut arguments, "x-dead-letter-exchange", forgets_to);
            arguments.insert(
                "x-max-length".into(),
                AMQPValue::LongLongInt((*room).into()),
            );
            let ttl = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
            arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(ttl));
        }
        arguments
    }

    /// Whether it counts a quota.
    pub(super) fn is_ledger(&self) -> bool {
        matches!(self.kind, Kind::Ledger { .. })
    }

    pub(super) fn arguments(&self, names: &Names) -> FieldTable {
        let Kind::Kept {
            delivery_limit,
            dead_letters,
        } = self.kind
        else {
            return self.arguments_of_classic();
        };
        let mut arguments = FieldTable::default();
        insert(&mut arguments, "x-queue-type", "quorum");
        arguments.insert(
            "x-delivery-limit".into(),
            AMQPValue::LongInt(delivery_limit),
        );
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

/// What a person must mend is told apart from what may pass, and a right that is missing from what is there.
pub(super) async fn answered<T>(
    what: &str,
    name: &str,
    declare: bool,
    declaration: impl Future<Output = lapin::Result<T>>,
) -> Result<(), BrokerError> {
    let lost = |problem: &dyn std::fmt::Display| {
        Err(BrokerError::Lost(format!(
            "declare the {what} {name}: {problem}"
        )))
    };
    let error = match tokio::time::timeout(CALL_LIMIT, declaration).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error,
        Err(_) => return lost(&"no answer in time"),
    };
    let advice = match error.kind() {
        ErrorKind::ProtocolError(protocol) => match protocol.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                let word = protocol.get_message();
                return Err(BrokerError::Refused(format!(
                    "the {what} {name}: {word}; give the worker's user the right to it: `lookup-worker check` \
                     prints the command"
                )));
            }
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
                "delete it or choose another amqp.prefix, or configure the worker as it was declared"
            }
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) if !declare => {
                "declare it, or let the worker do so with amqp.declare = true"
            }
            _ => return lost(&error),
        },
        _ => return lost(&error),
    };
    Err(BrokerError::Foreign(format!(
        "the {what} {name} is not as this worker needs it: {error}; {advice}"
    )))
}
