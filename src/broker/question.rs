//! Where is this job? Put to all workers at once, by the exchange at which they hear of their ledgers; each answers to
//! whoever asks. No queue of jobs is touched for it: to take a message out and put it back counts as a delivery.

use std::{rc::Rc, time::Duration};

use futures_util::StreamExt;
use lapin::{
    BasicProperties,
    options::{BasicConsumeOptions, BasicPublishOptions},
    types::FieldTable,
};
use tokio::time::{Instant, timeout_at};

use super::{BrokerError, CALL_LIMIT, CLOSE_LIMIT, Message, Route, Session, bounded};
use crate::message::{Account, DIRECT_REPLY_TO, Question};

/// Workers that stop, or wait for an alarm to end, answer and are not counted: so long after the last that is expected
/// others are listened for.
const UNCOUNTED: Duration = Duration::from_millis(200);

/// A question that a frozen worker finds later is nobody's any more.
const QUESTION_LASTS: Duration = Duration::from_secs(10);

/// A question, and where the answer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The question.
    pub question: Question,
    /// By direct reply-to alone: a worker writes nothing into anybody's queue for the asking.
    reply_to: String,
}

impl Asked {
    /// None where nobody could be answered.
    pub(super) fn read(body: &[u8], properties: &BasicProperties) -> Option<Self> {
        let reply_to = properties.reply_to().as_ref()?.as_str();
        reply_to.starts_with(DIRECT_REPLY_TO).then_some(())?;
        Some(Self {
            question: serde_json::from_slice(body).ok()?,
            reply_to: reply_to.to_owned(),
        })
    }
}

impl Session {
    /// What workers know of a job, as far as they answer in time; so many are expected. Those of an earlier version do
    /// not.
    ///
    /// # Errors
    /// Where the question cannot be put.
    pub async fn ask_where(
        self: &Rc<Self>,
        question: &Question,
        workers: u32,
        patience: Duration,
    ) -> Result<Vec<Account>, BrokerError> {
        let channel = self.consuming_channel().await?;
        let options = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let consume = channel.basic_consume(
            DIRECT_REPLY_TO.into(),
            "".into(),
            options,
            FieldTable::default(),
        );
        let mut answers = bounded("wait for direct replies", CALL_LIMIT, consume).await?;
        let body = serde_json::to_vec(question).unwrap_or_default();
        let message = Message::json(body.into())
            .reply_to(DIRECT_REPLY_TO)
            .expiration(QUESTION_LASTS);
        let (body, properties) = message.into_parts();
        // By this very channel, as direct reply-to wants it.
        let publish = channel.basic_publish(
            self.names.room().into(),
            self.names.questions().into(),
            BasicPublishOptions::default(),
            &body,
            properties,
        );
        bounded("ask the workers", CALL_LIMIT, publish).await?;
        let (last, mut accounts) = (Instant::now() + patience, Vec::new());
        loop {
            let end = if accounts.len() < workers as usize {
                last
            } else {
                last.min(Instant::now() + UNCOUNTED)
            };
            let Ok(Some(Ok(answer))) = timeout_at(end, answers.next()).await else {
                break;
            };
            if let Ok(account) = serde_json::from_slice::<Account>(&answer.data) {
                accounts.push(account);
            }
        }
        let _ = tokio::time::timeout(CLOSE_LIMIT, channel.close(200, "heard".into())).await;
        Ok(accounts)
    }

    /// Tells whoever asked. Whether they hear it is their affair.
    pub async fn tell_where(&self, asked: &Asked, account: &Account) {
        let body = serde_json::to_vec(account).unwrap_or_default();
        let message = Message::json(body.into());
        let route = Route::Direct(&asked.reply_to);
        if let Err(error) = self.publisher.publish(route, &|| message.clone()).await {
            tracing::debug!(%error, "a question was not answered");
        }
    }
}
