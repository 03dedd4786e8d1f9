//! What the worker needs on the broker, declared at start or checked to be there (contract §2).

mod keeping; // for consumers whose node is gone
mod ledgers; // those of a quota

use std::time::Duration;

use futures_util::future::try_join_all;
use lapin::{
    Channel, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{BrokerError, CALL_LIMIT, Session};
use crate::{
    config::{AmqpSettings, Step},
    lane::Lane,
    message::Names,
    policy::{poison::Suspicion, quota::Terms},
    provider::settings::ProviderSettings,
    quota::is_common,
};

pub(super) use keeping::{Keeping, POLICY, WANTED};
pub(super) use ledgers::{Making, OTHER_LEDGERS, is_sealed};

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
        /// Whether workers consume from it, all the time.
        worked_off: bool,
    },
    /// A classic queue, whose room is exact: it counts a quota (`policy::quota`).
    /// What it forgets goes to the exchange `forgets_to`.
    Ledger {
        room: u32,
        ttl: Duration,
        forgets_to: String,
    },
    /// A classic queue with the name of a single ledger, where a quota has so many: full of one message that stays, it
    /// refuses whoever asks there (`policy::quota`). The key says how many, and no message ever bears it.
    Seal { ledgers: u32, forgets_to: String },
    /// A classic queue too, whose depth is known as soon as its node is up; each message in it expires.
    Pause,
}

impl Kind {
    fn of_jobs(delivery_limit: i32) -> Self {
        Self::Kept {
            delivery_limit,
            dead_letters: true,
            worked_off: true,
        }
    }
}

impl Expected {
    /// What a worker with these providers, and lookups of these names, needs.
    #[must_use]
    pub fn new<'a>(
        amqp: &AmqpSettings,
        steps: &[Step],
        providers: impl Iterator<Item = &'a ProviderSettings>,
        lookups: impl Iterator<Item = &'a String>,
    ) -> Self {
        let names = Names::new(&amqp.prefix);
        let limit = amqp.delivery_limit.try_into().unwrap_or(i32::MAX);
        let queue = |name: String, kind, bindings: &[(String, &str)]| QueueSpec {
            name,
            kind,
            bindings: bindings
                .iter()
                .map(|(exchange, key)| (exchange.clone(), (*key).to_owned()))
                .collect(),
        };
        let for_others = |dead_letters| Kind::Kept {
            delivery_limit: PRACTICALLY_UNLIMITED,
            dead_letters,
            worked_off: false,
        };
        let (dead, results) = (names.dead(), names.results().to_owned());
        let unrouted = [(names.unrouted(), "")];
        let mut queues = vec![
            queue(dead.clone(), for_others(false), &[(dead, "")]),
            queue(names.unrouted(), Kind::of_jobs(limit), &unrouted),
            queue(results.clone(), for_others(true), &[(results, "#")]),
        ];
        let delays = steps.iter().map(|step| names.delay(step));
        queues.extend(delays.map(|name| queue(name, Kind::of_jobs(limit), &[])));
        let limit_of_suspects = Suspicion::new(amqp.delivery_limit)
            .limit()
            .try_into()
            .unwrap_or(i32::MAX);
        let jobs_of = |provider: &String| {
            let mut queues = Vec::new();
            for lane in Lane::ALL {
                let suspects = names.suspects(provider, lane);
                queues.push(queue(suspects, Kind::of_jobs(limit_of_suspects), &[]));
                let mut bindings = vec![(names.jobs_exchange(), format!("{provider}.{lane}"))];
                if lane == Lane::Bulk {
                    bindings.push((names.jobs_exchange(), provider.clone()));
                }
                queues.push(QueueSpec {
                    name: names.jobs(provider, lane),
                    kind: Kind::of_jobs(limit),
                    bindings,
                });
            }
            queues
        };
        for settings in providers {
            let provider = &settings.name;
            queues.extend(jobs_of(provider));
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
                    queues.extend(QueueSpec::of_window(
                        &names,
                        &owner,
                        &terms,
                        amqp.quota_ledgers,
                    ));
                }
            }
        }
        queues.extend(lookups.flat_map(jobs_of));
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
        let mut channel = session.publishing_channel().await?;
        let keeping = Keeping::default();
        for (name, kind, alternate) in self.exchanges() {
            self.exchange(&channel, &name, kind, alternate).await?;
        }
        let (kept, classic): (Vec<_>, Vec<_>) = self
            .queues
            .iter()
            .partition(|queue| matches!(queue.kind, Kind::Kept { .. }));
        for queue in kept {
            self.queue(session, &mut channel, queue, &keeping).await?;
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
            Kind::Ledger { .. } | Kind::Seal { .. } => Ok(()),
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

    /// Declares a queue, or checks that it is there. Says what it keeps for consumers whose node is gone, where that
    /// is known.
    pub(super) async fn queue(
        &self,
        session: &Session,
        channel: &mut Channel,
        queue: &QueueSpec,
        keeping: &Keeping,
    ) -> Result<Option<i32>, BrokerError> {
        let options = QueueDeclareOptions {
            durable: true,
            passive: !self.declare,
            ..QueueDeclareOptions::default()
        };
        let declare = async |channel: &Channel, keeps| {
            let arguments = queue.arguments_keeping(&self.names, keeps);
            let declare = channel.queue_declare(queue.name.as_str().into(), options, arguments);
            answered("queue", &queue.name, self.declare, declare).await
        };
        let mut keeps = keeping.get();
        if self.declare && keeps != Some(WANTED) && !self.is_there(channel, queue).await? {
            // What others lack, a new one is to have.
            *channel = session.publishing_channel().await?;
            keeps = Some(WANTED);
        }
        let refusal = match declare(channel, keeps).await {
            Err(BrokerError::Foreign(refusal)) => refusal,
            declared => return declared.map(|()| keeps),
        };
        let Some(there) = keeping.adopt(&refusal) else {
            return Err(BrokerError::Foreign(refusal));
        };
        let keeps = there.value();
        // The broker has closed the other.
        *channel = session.publishing_channel().await?;
        declare(channel, keeps).await.map(|()| keeps)
    }

    /// Where it is not, the broker closes the channel.
    async fn is_there(&self, channel: &Channel, queue: &QueueSpec) -> Result<bool, BrokerError> {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let name = &queue.name;
        let look = channel.queue_declare(name.as_str().into(), passive, FieldTable::default());
        match answered("queue", name, false, look).await {
            Ok(()) => Ok(true),
            Err(BrokerError::Foreign(_)) => Ok(false),
            Err(error) => Err(error),
        }
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
    fn arguments_of_classic(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        insert(&mut arguments, "x-queue-type", "classic");
        if let Kind::Seal {
            ledgers,
            forgets_to,
        } = &self.kind
        {
            insert(&mut arguments, "x-overflow", "reject-publish");
            arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(1));
            insert(&mut arguments, "x-dead-letter-exchange", forgets_to);
            let key = format!("{ledgers} ledgers");
            insert(&mut arguments, "x-dead-letter-routing-key", &key);
        }
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

    /// Those of a declaration.
    pub(super) fn arguments(&self, names: &Names) -> FieldTable {
        self.arguments_keeping(names, Keeping::default().get())
    }

    /// Whether workers consume from it, all the time.
    pub(super) fn is_worked_off(&self) -> bool {
        matches!(
            self.kind,
            Kind::Kept {
                worked_off: true,
                ..
            }
        )
    }

    fn arguments_keeping(&self, names: &Names, keeps: Option<i32>) -> FieldTable {
        let Kind::Kept {
            delivery_limit,
            dead_letters,
            worked_off,
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
        if let Some(keeps) = keeps.filter(|_| worked_off) {
            arguments.insert(keeping::ARGUMENT.into(), AMQPValue::LongInt(keeps));
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
