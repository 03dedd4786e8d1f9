//! One way over the table with one connection: what is not answered yet is asked, and what comes is written down.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
    process::ExitCode,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use jiff::Timestamp;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{
    OUTSTANDING,
    columns::Asked,
    open,
    run::{Interrupted, Run},
    sheet::{Row, Rows},
    table::Arguments,
};
use crate::{
    broker::{BrokerError, Fate, Message, Route, Session, reconnect_delay},
    cli::{Failed, lines::envelope},
    failure::{ErrorKind, Failure},
    message::Names,
    outcome::Outcome,
    result::LookupResult,
    settings::Settings,
};

/// Jobs on their way: enough to keep a provider busy, and few to ask again after a kill.
const WINDOW: usize = 1000;

/// Results are looked for where none came for so long.
const LOOK_AFTER: Duration = Duration::from_secs(10);

/// Passes in a row that reach the broker, are interrupted, and have no result: a queue that has no leader, as after the
/// loss of its nodes, will not get one.
const MUTE_PASSES: u32 = 3;

/// Passes over the table until all of it is answered.
pub(super) async fn passes(
    settings: Settings,
    arguments: &Arguments,
    table: &Path,
    timeout: Duration,
) -> Result<ExitCode, Failed> {
    let mut run = Run::begin(settings, arguments, table, timeout)?;
    let (mut failures, mut mute) = (0, 0);
    loop {
        let before = run.answers.count();
        let ended = Pass::over(&mut run).await;
        mute = run.mute(mute, before);
        if mute == MUTE_PASSES {
            run.tell(
                "the reply queue gives nothing; what is not answered is asked again, by a new one",
            );
            run.bookmark
                .begin_anew(&run.sheet.fingerprint(), run.answers.count())?;
        }
        match ended {
            Ok(()) => break,
            Err(Interrupted::Broker(problem)) if run.may_try_again() => {
                run.tell(&format!("{problem}; trying again"));
                tokio::time::sleep(reconnect_delay(failures)).await;
                failures += 1;
            }
            Err(Interrupted::Broker(problem)) => return Err(run.failed(&problem)),
            Err(Interrupted::Failed(failed)) => return Err(failed),
        }
    }
    run.finish()
}

/// A pass.
pub(super) struct Pass<'a> {
    run: &'a mut Run,
    session: Rc<Session>,
    reply_to: String,
    exchange: String,
    /// Rows whose jobs the broker has from an earlier pass.
    asked_before: u64,
    rows: Rows,
    more: bool,
    /// The ids of this pass's rows so far: a second row of the same id could not be told from the first.
    seen: HashSet<Uuid, RandomState>,
    /// Job id to row, of what is not answered yet.
    waiting: HashMap<String, u64, RandomState>,
    publishes: JoinSet<Result<u64, Interrupted>>,
    unconfirmed: BTreeSet<u64>,
    last_row: u64,
}

impl<'a> Pass<'a> {
    /// From the first row to the last result.
    pub async fn over(run: &'a mut Run) -> Result<(), Interrupted> {
        let rows = run.sheet.read()?;
        let session = open(&run.settings, run.timeout).await.map_err(lost)?;
        run.reached = true;
        let prefix = &run.settings.amqp.prefix;
        let replies = session.kept_replies(prefix, &run.bookmark.token).await;
        let replies = match replies {
            Ok(replies) => replies,
            Err(error) => return Err(Interrupted::Broker(error.to_string())),
        };
        run.connected = true;
        if replies.is_new {
            run.bookmark.forget();
        }
        let mut pass = Self {
            exchange: Names::new(prefix).jobs_exchange(),
            asked_before: run.bookmark.asked,
            run,
            session: Rc::clone(&session),
            reply_to: replies.queue.clone(),
            rows,
            more: true,
            seen: HashSet::default(),
            waiting: HashMap::default(),
            publishes: JoinSet::new(),
            unconfirmed: BTreeSet::new(),
            last_row: 0,
        };
        let ended = pass.go(replies.deliveries).await;
        if ended.is_ok() {
            let _ = session.drop_replies(&replies.queue).await;
        }
        session.close().await;
        ended
    }
}

impl Pass<'_> {
    async fn go(&mut self, mut results: crate::broker::Deliveries) -> Result<(), Interrupted> {
        while self.more || !self.publishes.is_empty() || !self.waiting.is_empty() {
            let quiet = self.run.timeout.saturating_sub(self.run.heard.elapsed());
            tokio::select! {
                biased;
                Some(published) = self.publishes.join_next() => {
                    let row = published.map_err(|error| Interrupted::Failed(Failed::new(error)))??;
                    self.confirmed(row);
                }
                result = results.next() => {
                    let Some(result) = result else {
                        return Err(Interrupted::Broker("the broker is gone".into()));
                    };
                    self.take(&result.body)?;
                    result.ack().await;
                }
                () = std::future::ready(()), if self.may_ask() => self.ask_next()?,
                reason = self.session.health.ended() => return Err(Interrupted::Broker(reason)),
                () = tokio::time::sleep(quiet.min(LOOK_AFTER)) => self.look(quiet).await?,
            }
        }
        Ok(())
    }

    /// Nothing came for a while: the end, or results that lie there and are not delivered, as after a broker's restart.
    async fn look(&mut self, quiet: Duration) -> Result<(), Interrupted> {
        if quiet <= LOOK_AFTER {
            return Err(self.given_up());
        }
        if self.session.ready(&self.reply_to).await == Some(0) {
            return Ok(());
        }
        let queue = &self.reply_to;
        Err(Interrupted::Broker(format!(
            "results lie in {queue} and are not delivered"
        )))
    }

    fn may_ask(&self) -> bool {
        self.more && self.publishes.len() < OUTSTANDING && self.waiting.len() < WINDOW
    }

    /// Writes a result down; only then it may be acknowledged.
    fn take(&mut self, result: &Bytes) -> Result<(), Failed> {
        #[derive(serde::Deserialize)]
        struct Head {
            job_id: String,
        }
        self.run.add(result)?;
        if let Ok(head) = serde_json::from_slice::<Head>(result) {
            self.waiting.remove(&head.job_id);
        }
        Ok(())
    }

    /// Asks for the next row, if it is not answered and not on its way.
    fn ask_next(&mut self) -> Result<(), Failed> {
        let Some(row) = self.rows.next(&self.run.sheet)? else {
            self.more = false;
            return Ok(());
        };
        self.last_row = row.number;
        let (id, asked) = self.asked(&row);
        if self.run.answers.has(&id) {
            return Ok(());
        }
        match asked {
            Asked::Nothing(problem) => self.run.add(&refused(id, &self.run.provider, problem)),
            Asked::Job(job) => {
                self.waiting.insert(id.clone(), row.number);
                if row.number > self.asked_before {
                    self.publish(row.number, &id, job);
                }
                Ok(())
            }
        }
    }

    fn asked(&mut self, row: &Row) -> (String, Asked) {
        let id = self.run.columns.id(row);
        if self
            .seen
            .insert(Uuid::new_v5(&Uuid::NAMESPACE_OID, id.as_bytes()))
        {
            let asked = self.run.columns.asked(row, &id);
            return (id, asked);
        }
        let number = row.number;
        let problem = format!(
            "row {number}: an earlier row has the same id; expected a column of unique ids"
        );
        (format!("{id} (row {number})"), Asked::Nothing(problem))
    }

    fn publish(&mut self, row: u64, id: &str, job: Vec<u8>) {
        self.unconfirmed.insert(row);
        let key = envelope(&job).routing_key;
        let message = Message::json(Bytes::from(job))
            .message_id(id)
            .correlation_id(id)
            .reply_to(&self.reply_to);
        let (session, exchange) = (Rc::clone(&self.session), self.exchange.clone());
        self.publishes.spawn_local(async move {
            let route = Route::Kept {
                exchange: &exchange,
                key: &key,
            };
            match session.publisher.publish(route, &|| message.clone()).await {
                Ok(Fate::Confirmed) => Ok(row),
                Ok(fate) => Err(Interrupted::Broker(format!(
                    "the job of row {row} was not taken by the broker: {fate:?}"
                ))),
                Err(error @ BrokerError::Refused(_)) => Err(Failed::new(error).into()),
                Err(error) => Err(Interrupted::Broker(error.to_string())),
            }
        });
    }

    /// The broker has it. The bookmark follows the first row that it may not have.
    fn confirmed(&mut self, row: u64) {
        self.unconfirmed.remove(&row);
        let before = self.unconfirmed.first().copied();
        let asked = before.map_or(self.last_row, |first| first - 1);
        self.run.bookmark.asked(asked, self.run.answers.count());
    }

    fn given_up(&mut self) -> Interrupted {
        self.run.bookmark.forget();
        let mut rows: Vec<_> = self.waiting.values().copied().collect();
        rows.sort_unstable();
        rows.truncate(10);
        let rows: Vec<_> = rows.iter().map(ToString::to_string).collect();
        let limit = humantime::format_duration(self.run.timeout);
        Interrupted::Failed(self.run.failed(&format!(
            "no result came for {limit}; the rows {} wait first; does a worker run? `lookup-worker check` tells what waits",
            rows.join(", ")
        )))
    }
}

fn lost(failed: Failed) -> Interrupted {
    Interrupted::Broker(failed.to_string())
}

/// The result of a row that asks for nothing.
fn refused(id: String, provider: &str, problem: String) -> Vec<u8> {
    let failure = Failure::new(ErrorKind::InvalidJob, problem);
    let outcome = Outcome::Failed(failure);
    LookupResult::new(id, provider.to_owned(), outcome, 0, Timestamp::now()).to_json()
}
