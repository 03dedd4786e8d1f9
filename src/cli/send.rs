//! `send`: jobs to the broker, their results back.

mod answers; // the file of results
mod bookmark; // how far an interrupted run had come
mod coding; // what a text was written in
mod columns; // which column is what
mod pass; // one way over a table with one connection
mod quotes; // where a record ends
mod record;
mod run; // a result as a row
mod sample; // a look at the first rows
mod separator; // what stands between fields
mod sheet; // a table as its rows
mod table; // `send --csv`

use std::{
    collections::HashMap,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use indicatif::ProgressBar;
use tokio::{
    fs::File,
    io::{AsyncBufRead, BufReader},
    task::JoinSet,
};
use uuid::Uuid;

use super::{
    Failed,
    lines::{Lines, envelope},
    print_result, progress,
};
use crate::{
    broker::{Deliveries, Delivery, Fate, Message, Route, Session},
    message::Names,
    settings::Settings,
};

/// A worker that has declared the exchange declares its queues soon.
const DECLARED_WITHIN: Duration = Duration::from_secs(10);

/// Publishes that are not confirmed yet.
const OUTSTANDING: usize = 64;

/// Which jobs, and how long to wait.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Jobs as JSON lines: a job's body with `provider`, and perhaps `id` and `lane`; default standard input.
    file: Option<PathBuf>,
    /// Give up when no result has come for this long; default 5m, of a table 65m.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Publish only: results go to the results queue.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten, next_help_heading = "A table")]
    table: table::Arguments,
}

/// How long a line's result may be waited for, and a row's: a provider may ask to be left alone for an hour.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
const PATIENCE_WITH_A_TABLE: Duration = Duration::from_secs(65 * 60);

pub(super) async fn run(settings: Settings, arguments: Arguments) -> Result<ExitCode, Failed> {
    if !arguments.no_wait {
        may_be_answered(&settings)?;
    }
    if let Some(csv) = &arguments.table.csv {
        let timeout = arguments.timeout.unwrap_or(PATIENCE_WITH_A_TABLE);
        return pass::passes(settings, &arguments.table, csv, timeout).await;
    }
    let input: Box<dyn AsyncBufRead + Unpin> = match &arguments.file {
        Some(path) => {
            let file = File::open(path).await;
            let file =
                file.map_err(|error| Failed::misused(format_args!("{}: {error}", path.display())))?;
            Box::new(BufReader::new(file))
        }
        None => Box::new(BufReader::new(tokio::io::stdin())),
    };
    // Longer lines go too: that they are too long is the worker's to say.
    let name = arguments.file.as_ref().map_or_else(
        || "standard input".into(),
        |path| path.display().to_string(),
    );
    let mut lines = Lines::new(input, name, 2 * settings.amqp.max_job_bytes);
    let timeout = arguments.timeout.unwrap_or(PATIENCE);
    let session = open(&settings, timeout).await?;
    let ended = send(&session, &mut lines, arguments.no_wait, timeout).await;
    session.close().await;
    ended
}

/// A worker with this configuration refuses jobs whose results were to go to our queue: nobody would hear of them here.
fn may_be_answered(settings: &Settings) -> Result<(), Failed> {
    let replies = Names::new(&settings.amqp.prefix).replies("send-1");
    if settings.reply.allows(&replies) {
        return Ok(());
    }
    let pattern = Names::new(&settings.amqp.prefix).replies("*");
    Err(Failed::misused(format_args!(
        "`reply.allow`: expected a pattern for send's own queues, such as \"{pattern}\", got none; \
         or send with --no-wait"
    )))
}

/// Nothing is declared but a queue for the results: the rest is the worker's, and takes more rights.
async fn send(
    session: &Rc<Session>,
    lines: &mut Lines<Box<dyn AsyncBufRead + Unpin>>,
    no_wait: bool,
    timeout: Duration,
) -> Result<ExitCode, Failed> {
    let (reply_to, results) = if no_wait {
        (None, None)
    } else {
        let name = session.names.replies(&format!("send-{}", Uuid::new_v4()));
        let results = session.replies(&name).await.map_err(|error| {
            Failed::new(format_args!(
                "{error}; --no-wait needs no queue for replies"
            ))
        })?;
        (Some(name), Some(results))
    };
    let mut sending = Sending {
        exchange: session.names.jobs_exchange(),
        reply_to,
        session: Rc::clone(session),
        waiting: HashMap::new(),
        publishes: JoinSet::new(),
        sent: 0,
        answered: 0,
        progress: progress::bar(0, "answered"),
    };
    let ended = sending.run(lines, results, timeout).await;
    sending.progress.finish_and_clear();
    ended
}

/// A connection to a broker where there is somebody to send jobs to.
async fn open(settings: &Settings, limit: Duration) -> Result<Rc<Session>, Failed> {
    let session = Session::open(&settings.amqp).await.map_err(Failed::new)?;
    until_there(&session, &session.names.jobs_exchange(), limit).await?;
    Ok(session)
}

/// That something is waited for is said after this.
const SAID_AFTER: Duration = Duration::from_secs(3);

/// A worker that was started just now declares it soon.
async fn until_there(session: &Session, exchange: &str, limit: Duration) -> Result<(), Failed> {
    let begun = Instant::now();
    let mut told = false;
    while !session.has_exchange(exchange).await.map_err(Failed::new)? {
        if begun.elapsed() > SAID_AFTER && !std::mem::replace(&mut told, true) {
            // That nobody reads it ends nothing.
            let _ = writeln!(
                io::stderr(),
                "no exchange {exchange} in the virtual host {} yet; a worker declares it when it is started, which is \
                 waited for",
                session.vhost()
            );
        }
        if begun.elapsed() > limit {
            return Err(Failed::new(format_args!(
                "there is no exchange {exchange} in the virtual host {}, which a worker declares when it is started; \
                 has one run here, and with this amqp.prefix?",
                session.vhost()
            )));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

async fn next(results: &mut Option<Deliveries>) -> Option<Box<Delivery>> {
    match results {
        Some(results) => results.next().await,
        None => std::future::pending().await,
    }
}

struct Sending {
    session: Rc<Session>,
    exchange: String,
    reply_to: Option<String>,
    /// Correlation id to the line's number, for what is not answered yet.
    waiting: HashMap<String, u64>,
    publishes: JoinSet<Result<(), Failed>>,
    sent: u64,
    answered: u64,
    progress: ProgressBar,
}

impl Sending {
    async fn run(
        &mut self,
        lines: &mut Lines<Box<dyn AsyncBufRead + Unpin>>,
        mut results: Option<Deliveries>,
        timeout: Duration,
    ) -> Result<ExitCode, Failed> {
        let mut more = true;
        while more || !self.publishes.is_empty() || !self.waiting.is_empty() {
            tokio::select! {
                biased;
                Some(published) = self.publishes.join_next() => published.map_err(Failed::new)??,
                result = next(&mut results) => {
                    let Some(result) = result else { return Err(Failed::new(self.unanswered("the broker is gone"))) };
                    let correlation_id = result.envelope.correlation_id.clone().unwrap_or_default();
                    result.ack().await;
                    // A repeated result is shown once.
                    if self.waiting.remove(&correlation_id).is_some() {
                        self.answered += 1;
                        self.progress.suspend(|| print_result(&result.body))?;
                    }
                }
                line = lines.next(), if more && self.publishes.len() < OUTSTANDING => match line? {
                    Some(line) => self.publish(line),
                    None => more = false,
                },
                () = tokio::time::sleep(timeout), if !more => {
                    let limit = humantime::format_duration(timeout);
                    let unanswered = self.unanswered(&format!("no result came for {limit}"));
                    return Err(Failed::new(unanswered + "; does a worker run? `lookup-worker check` tells what waits"));
                }
            }
            self.progress.set_length(self.sent);
            self.progress.set_position(self.answered);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn unanswered(&self, why: &str) -> String {
        let mut lines: Vec<_> = self.waiting.values().copied().collect();
        lines.sort_unstable();
        let shown = lines
            .iter()
            .take(10)
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let sent = self.sent;
        format!(
            "{why}: {} of {sent} jobs are not answered, of the lines {shown} first",
            lines.len()
        )
    }

    fn publish(&mut self, line: Vec<u8>) {
        self.sent += 1;
        let correlation_id = format!("line-{}", self.sent);
        let key = envelope(&line).routing_key;
        let mut message = Message::json(Bytes::from(line)).correlation_id(&correlation_id);
        if let Some(reply_to) = &self.reply_to {
            message = message.reply_to(reply_to);
            self.waiting.insert(correlation_id, self.sent);
        }
        let (session, exchange, number) =
            (Rc::clone(&self.session), self.exchange.clone(), self.sent);
        self.publishes.spawn_local(async move {
            let route = Route::Exchange {
                exchange: &exchange,
                key: &key,
            };
            let give_up = Instant::now() + DECLARED_WITHIN;
            loop {
                let message = || message.clone();
                let fate = session.publisher.publish(route, &message).await;
                let problem = match fate.map_err(Failed::new)? {
                    Fate::Confirmed => return Ok(()),
                    // The worker that declares its queues is about to.
                    Fate::Returned if Instant::now() < give_up => {
                        tokio::time::sleep(Duration::from_millis(500)).await;
                        continue;
                    }
                    Fate::Returned => {
                        "no queue takes it: a worker declares them when it is started"
                    }
                    Fate::Refused => {
                        "its queue is full, or the user lacks the right to write to the exchange"
                    }
                    Fate::Silent => "the broker does not confirm it",
                    Fate::TooLarge => "it is larger than the broker's max_message_size",
                };
                return Err(Failed::new(format_args!(
                    "line {number} was not taken by {exchange}: {problem}"
                )));
            }
        });
    }
}
