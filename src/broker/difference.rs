//! What is on the broker, held against what is expected there; and the command that mends a difference.

use std::future::ready;

use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

use super::{
    BrokerError, Cures, Expected, QueueSpec, Session, asks,
    topology::{Keeping, OTHER_LEDGERS, answered, is_sealed},
};

/// Where none of so many exchanges is there, the broker is taken for a new one: to look for more would only fill its
/// log, which has a line for each that is missing.
const LOOKS: usize = 3;

/// What RabbitMQ 3 says of a classic queue whose node is away; 4 says nothing.
const AWAY: &str = "is down or inaccessible";

const BRING_BACK: &str = "start its node again: what is for these queues waits until then. Where the node is gone for good, \
    docs/operations.md says what to do";

/// One exchange or queue that is not as it should be.
#[derive(Debug, Clone)]
pub struct Difference {
    /// Its name.
    pub name: String,
    /// How it differs.
    pub found: Found,
    /// What to do: a command, where one mends it.
    pub mend: String,
}

/// How something differs from what is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is not there at all.
    Missing,
    /// It says nothing, as a queue does whose node is away.
    Away,
    /// It was declared otherwise, as the broker says.
    Otherwise(String),
    /// It was declared without what lets it give to others at once what a consumer holds whose node is gone.
    KeepsBack,
    /// The user lacks a right to it, as the broker says.
    Refused(String),
}

impl Expected {
    /// Every difference. Declares nothing that is not there.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn compare(
        &self,
        session: &Session,
        cures: &Cures,
    ) -> Result<Vec<Difference>, BrokerError> {
        let mut differences = Vec::new();
        for (number, (name, kind, alternate)) in self.exchanges().into_iter().enumerate() {
            let found = if number >= LOOKS && are_missing(&differences, number) {
                Some(Found::Missing)
            } else {
                self.look_at_exchange(session, &name, &kind, alternate.clone())
                    .await?
            };
            let Some(found) = found else { continue };
            let mend = match &found {
                Found::Otherwise(_) => cures.delete_exchange(&name),
                Found::Refused(problem) => self.permit(session, cures, problem),
                _ => cures.declare_exchange(&name, &kind, alternate.as_deref()),
            };
            differences.push(Difference { name, found, mend });
        }
        if are_missing(&differences, self.exchanges().len()) {
            let missing = self.queues.iter().map(|queue| self.missing(cures, queue));
            differences.extend(missing);
        } else {
            let keeping = Keeping::default();
            let compare = |queue| self.compare_queue(session, cures, queue, &keeping);
            let found = asks::each(&self.queues, compare).await?;
            differences.extend(found.into_iter().flatten());
        }
        let missing = |difference: &&Difference| difference.found == Found::Missing;
        if self.declare && differences.iter().any(|difference| missing(&difference)) {
            differences.extend(self.may_not_declare(session, cures).await?);
        }
        Ok(differences)
    }

    /// None if it is there, and as it should be; or replaced by one that is.
    async fn compare_queue(
        &self,
        session: &Session,
        cures: &Cures,
        queue: &QueueSpec,
        keeping: &Keeping,
    ) -> Result<Option<Difference>, BrokerError> {
        let Some(found) = self.look_at_queue(session, queue, keeping).await? else {
            return Ok(None);
        };
        if found != Found::Away && queue.has_next() && self.is_replaced(session, queue).await? {
            return Ok(None);
        }
        let mend = match &found {
            Found::Missing => return Ok(Some(self.missing(cures, queue))),
            Found::Away => BRING_BACK.to_owned(),
            Found::KeepsBack => cures.hand_on(self.names.prefix()),
            Found::Otherwise(problem) if queue.is_ledger() && is_sealed(problem) => {
                OTHER_LEDGERS.to_owned()
            }
            Found::Otherwise(_) => replace_queue(session, cures, queue).await?,
            Found::Refused(problem) => self.permit(session, cures, problem),
        };
        let name = queue.name.clone();
        Ok(Some(Difference { name, found, mend }))
    }

    fn missing(&self, cures: &Cures, queue: &QueueSpec) -> Difference {
        let arguments = queue.arguments(&self.names);
        Difference {
            name: queue.name.clone(),
            found: Found::Missing,
            mend: cures.declare_queue(&queue.name, &arguments, &queue.bindings),
        }
    }

    /// None if it is there, and as it should be.
    async fn look_at_exchange(
        &self,
        session: &Session,
        name: &str,
        kind: &ExchangeKind,
        alternate: Option<String>,
    ) -> Result<Option<Found>, BrokerError> {
        // What is not there closes the channel.
        let channel = session.publishing_channel().await?;
        let passive = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let there =
            channel.exchange_declare(name.into(), kind.clone(), passive, FieldTable::default());
        if let Some(found) = missing(answered("exchange", name, false, there).await)? {
            return Ok(Some(found));
        }
        let declared = self.exchange(&channel, name, kind.clone(), alternate).await;
        finished(&channel, otherwise(declared)?).await
    }

    /// None if it is there, and as it should be.
    async fn look_at_queue(
        &self,
        session: &Session,
        queue: &QueueSpec,
        keeping: &Keeping,
    ) -> Result<Option<Found>, BrokerError> {
        let mut channel = session.publishing_channel().await?;
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let name = &queue.name;
        let arguments = FieldTable::default();
        let look = session.ask_for_queue(&channel, name, passive, arguments);
        let there = match look.await {
            Some(there) => answered("queue", name, false, ready(there)).await,
            None if session.health.is_well() => return Ok(Some(Found::Away)),
            None => {
                let problem = format!("look at the queue {name}: no answer in time");
                return Err(BrokerError::Lost(problem));
            }
        };
        if let Some(found) = missing(there)? {
            return Ok(Some(found));
        }
        let declared = self.queue(session, &mut channel, queue, keeping).await;
        let keeps_back = matches!(declared, Ok(None)) && queue.is_worked_off();
        let found = otherwise(declared.map(drop))?;
        let found = finished(&channel, found).await?;
        Ok(found.or(keeps_back.then_some(Found::KeepsBack)))
    }

    /// What is missing can be declared only by whom the broker lets. A declaration that is wrong in itself tells: the
    /// broker looks at the right first, and declares nothing either way.
    async fn may_not_declare(
        &self,
        session: &Session,
        cures: &Cures,
    ) -> Result<Option<Difference>, BrokerError> {
        let channel = session.publishing_channel().await?;
        let name = self.names.dead();
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongString("none".into()));
        let options = QueueDeclareOptions::default();
        let declare = channel.queue_declare(name.as_str().into(), options, arguments);
        Ok(match answered("queue", &name, false, declare).await {
            Err(BrokerError::Refused(problem)) => Some(Difference {
                mend: self.permit(session, cures, &problem),
                found: Found::Refused(problem),
                name,
            }),
            Err(lost @ BrokerError::Lost(_)) => return Err(lost),
            _ => None,
        })
    }

    /// The command that gives the user what a worker needs; the broker knows best who that is.
    pub(super) fn permit(&self, session: &Session, cures: &Cures, problem: &str) -> String {
        let named = problem.rsplit_once("refused for user '");
        let user = named.and_then(|(_, rest)| Some(rest.split_once('\'')?.0.to_owned()));
        let user = user.unwrap_or_else(|| session.user());
        cures.permit(&user, self.names.prefix(), self.declare)
    }

    /// Whether the quota was changed, and is counted as it should be by the other of its two ledgers.
    async fn is_replaced(
        &self,
        session: &Session,
        ledger: &QueueSpec,
    ) -> Result<bool, BrokerError> {
        let (next, keeping) = (ledger.next(), Keeping::default());
        let found = self.look_at_queue(session, &next, &keeping).await?;
        Ok(found.is_none())
    }
}

/// Whether nothing was found of all that was looked for.
fn are_missing(differences: &[Difference], looks: usize) -> bool {
    let missing = |difference: &Difference| difference.found == Found::Missing;
    differences.len() == looks && differences.iter().all(missing)
}

fn missing(looked: Result<(), BrokerError>) -> Result<Option<Found>, BrokerError> {
    match looked {
        Ok(()) => Ok(None),
        Err(BrokerError::Foreign(problem)) if problem.contains(AWAY) => Ok(Some(Found::Away)),
        Err(BrokerError::Foreign(_)) => Ok(Some(Found::Missing)),
        Err(BrokerError::Refused(problem)) => Ok(Some(Found::Refused(problem))),
        Err(lost @ BrokerError::Lost(_)) => Err(lost),
    }
}

fn otherwise(declared: Result<(), BrokerError>) -> Result<Option<Found>, BrokerError> {
    match declared {
        Ok(()) => Ok(None),
        Err(BrokerError::Foreign(problem)) => Ok(Some(Found::Otherwise(problem))),
        Err(BrokerError::Refused(problem)) => Ok(Some(Found::Refused(problem))),
        Err(lost @ BrokerError::Lost(_)) => Err(lost),
    }
}

/// What was found; a channel that is still open is closed.
async fn finished(
    channel: &lapin::Channel,
    found: Option<Found>,
) -> Result<Option<Found>, BrokerError> {
    if found.is_none() {
        let close = channel.close(200, "seen".into());
        let _ = tokio::time::timeout(super::CLOSE_LIMIT, close).await;
    }
    Ok(found)
}

/// A queue's arguments cannot be changed: it has to go, but nothing that lies in it may go with it.
async fn replace_queue(
    session: &Session,
    cures: &Cures,
    queue: &QueueSpec,
) -> Result<String, BrokerError> {
    if queue.is_ledger() {
        let mend = "start `run` once the quota's window has passed without a request; it then replaces the queue";
        return Ok(mend.into());
    }
    // A quorum queue knows no `--if-empty`. What a worker holds is not counted here, so workers stop first.
    let delete = format!(
        "stop the workers, then: {}",
        cures.delete_queue(&queue.name)
    );
    Ok(match session.depth(&queue.name).await?.unwrap_or(0) {
        0 => delete,
        count => {
            format!(
                "{count} messages lie in it; let a worker configured as it was declared work them off; {delete}"
            )
        }
    })
}
