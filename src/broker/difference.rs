//! What is on the broker, held against what is expected there; and the command that mends a difference.

use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    types::FieldTable,
};

use super::{BrokerError, Expected, QueueSpec, Session, browse::table, topology::answered};

/// One exchange or queue that is not as it should be.
#[derive(Debug, Clone)]
pub struct Difference {
    /// Its name.
    pub name: String,
    /// How it differs; none where it is not there at all.
    pub otherwise: Option<String>,
    /// What to do: a command, where one mends it.
    pub mend: String,
}

impl Expected {
    /// Every difference. Declares nothing that is not there.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn compare(&self, session: &Session) -> Result<Vec<Difference>, BrokerError> {
        let mut differences = Vec::new();
        let admin = format!("rabbitmqadmin --vhost={}", quoted(&session.vhost()));
        for (name, kind, alternate) in self.exchanges() {
            let otherwise = match self
                .compare_exchange(session, &name, &kind, alternate.clone())
                .await
            {
                Ok(true) => continue,
                Ok(false) => None,
                Err(BrokerError::Foreign(otherwise)) => Some(otherwise),
                Err(lost) => return Err(lost),
            };
            let mend = if otherwise.is_some() {
                format!("{admin} delete exchange name={name}")
            } else {
                declare_exchange(&admin, &name, &kind, alternate.as_deref())
            };
            differences.push(Difference {
                name,
                otherwise,
                mend,
            });
        }
        for queue in &self.queues {
            if queue.is_ledger() && self.is_replaced(session, queue).await? {
                continue;
            }
            let (otherwise, mend) = match self.compare_queue(session, queue).await {
                Ok(true) => continue,
                Ok(false) => (None, self.declare_queue(&admin, queue)),
                Err(BrokerError::Foreign(otherwise)) => {
                    (Some(otherwise), replace_queue(session, queue).await?)
                }
                Err(lost) => return Err(lost),
            };
            differences.push(Difference {
                name: queue.name.clone(),
                otherwise,
                mend,
            });
        }
        Ok(differences)
    }

    /// Whether it is there.
    async fn compare_exchange(
        &self,
        session: &Session,
        name: &str,
        kind: &ExchangeKind,
        alternate: Option<String>,
    ) -> Result<bool, BrokerError> {
        // What is not there closes the channel.
        let channel = session.publishing_channel().await?;
        let passive = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let there =
            channel.exchange_declare(name.into(), kind.clone(), passive, FieldTable::default());
        match answered("exchange", name, false, there).await {
            Ok(()) => self
                .exchange(&channel, name, kind.clone(), alternate)
                .await
                .map(|()| true),
            Err(BrokerError::Foreign(_)) => Ok(false),
            Err(lost) => Err(lost),
        }
    }

    /// Whether it is there.
    async fn compare_queue(
        &self,
        session: &Session,
        queue: &QueueSpec,
    ) -> Result<bool, BrokerError> {
        let channel = session.publishing_channel().await?;
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let there =
            channel.queue_declare(queue.name.as_str().into(), passive, FieldTable::default());
        match answered("queue", &queue.name, false, there).await {
            Ok(()) => self.queue(&channel, queue).await.map(|()| true),
            Err(BrokerError::Foreign(_)) => Ok(false),
            Err(lost) => Err(lost),
        }
    }

    /// Whether the quota was changed, and is counted as it should be by the other of its two ledgers.
    async fn is_replaced(
        &self,
        session: &Session,
        ledger: &QueueSpec,
    ) -> Result<bool, BrokerError> {
        match self.compare_queue(session, &ledger.next()).await {
            Ok(there) => Ok(there),
            Err(BrokerError::Foreign(_)) => Ok(false),
            Err(lost) => Err(lost),
        }
    }

    fn declare_queue(&self, admin: &str, queue: &QueueSpec) -> String {
        let QueueSpec { name, bindings, .. } = queue;
        let arguments = json(&queue.arguments(&self.names));
        let mut command =
            format!("{admin} declare queue name={name} durable=true arguments={arguments}");
        for (exchange, key) in bindings {
            let key = quoted(key);
            let binding = format!("source={exchange} destination={name} routing_key={key}");
            command.extend([" && ", admin, " declare binding ", &binding]);
        }
        command
    }
}

fn declare_exchange(
    admin: &str,
    name: &str,
    kind: &ExchangeKind,
    alternate: Option<&str>,
) -> String {
    let kind = match kind {
        ExchangeKind::Topic => "topic",
        ExchangeKind::Direct => "direct",
        _ => "fanout",
    };
    let arguments = alternate
        .map(|alternate| format!(" arguments='{{\"alternate-exchange\":\"{alternate}\"}}'"));
    format!(
        "{admin} declare exchange name={name} type={kind} durable=true{}",
        arguments.unwrap_or_default()
    )
}

/// A queue's arguments cannot be changed: it has to go, but nothing that lies in it may go with it.
async fn replace_queue(session: &Session, queue: &QueueSpec) -> Result<String, BrokerError> {
    if queue.is_ledger() {
        let mend = "start `run` once the quota's window has passed without a request; it then replaces the queue";
        return Ok(mend.into());
    }
    let (name, vhost) = (&queue.name, quoted(&session.vhost()));
    // A quorum queue knows no `--if-empty`. What a worker holds is not counted here, so workers stop first.
    let delete = format!("stop the workers, then: rabbitmqctl --vhost {vhost} delete_queue {name}");
    Ok(match session.depth(name).await?.unwrap_or(0) {
        0 => delete,
        count => {
            format!(
                "{count} messages lie in it; let a worker configured as it was declared work them off; {delete}"
            )
        }
    })
}

fn json(arguments: &FieldTable) -> String {
    quoted(&serde_json::Value::Object(table(arguments)).to_string())
}

/// As a shell reads it back.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
