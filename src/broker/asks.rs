//! Several questions to the broker, of which one may wait long for its answer: a queue that is away with its node.

use std::{cell::Cell, pin::pin, rc::Rc, time::Duration};

use futures_util::future::{try_join, try_join_all};
use lapin::{Channel, Queue, options::QueueDeclareOptions, types::FieldTable};
use tokio::{task::spawn_local, time::timeout};

use super::{AWAY_LIMIT, Session};

/// A broker that is well answers sooner.
const PROMPT: Duration = Duration::from_millis(250);

/// The answers, in the order of the questions. While each is answered promptly, one is asked after the other, which
/// costs the broker least. Behind the first that is not, all others are asked at once: whatever is away is waited for
/// together.
pub(crate) async fn each<Q, A, E, F>(
    questions: impl IntoIterator<Item = Q>,
    ask: impl Fn(Q) -> F,
) -> Result<Vec<A>, E>
where
    F: Future<Output = Result<A, E>>,
{
    let mut questions = questions.into_iter();
    let mut answers = Vec::new();
    while let Some(question) = questions.next() {
        let mut asking = pin!(ask(question));
        if let Ok(answer) = timeout(PROMPT, &mut asking).await {
            answers.push(answer?);
            continue;
        }
        let others = try_join_all(questions.map(&ask));
        let (answer, others) = try_join(asking, others).await?;
        answers.push(answer);
        answers.extend(others);
        break;
    }
    Ok(answers)
}

/// What comes of it; none if nothing does in time. It goes on all the same.
pub(super) async fn in_time<T: 'static>(
    limit: Duration,
    asking: impl Future<Output = T> + 'static,
) -> Option<T> {
    timeout(limit, spawn_local(asking)).await.ok()?.ok()
}

impl Session {
    /// Declares a queue, or looks at it; none where the broker says nothing in time, as long as it says nothing.
    /// RabbitMQ 4 says only after a minute that a queue is away with its node, and closes the channel then. Who had
    /// closed it meanwhile, as the client library does with a channel that nobody has any more, would lose the whole
    /// connection: the library takes the two closes that cross for an error of the broker's
    /// (`findings/lapin-two-closes-that-cross.sh`). So the channel is kept until its answer comes, and the queue is not
    /// asked for by others meanwhile.
    pub(super) async fn ask_for_queue(
        &self,
        channel: &Channel,
        name: &str,
        options: QueueDeclareOptions,
        arguments: FieldTable,
    ) -> Option<lapin::Result<Queue>> {
        if self.unanswered.borrow().contains(name) {
            return None;
        }
        let (channel, unanswered) = (channel.clone(), Rc::clone(&self.unanswered));
        let (asked, is_over) = (name.to_owned(), Rc::<Cell<bool>>::default());
        let over = Rc::clone(&is_over);
        let ask = async move {
            let declare = channel.queue_declare(asked.as_str().into(), options, arguments);
            let answer = declare.await;
            over.set(true);
            unanswered.borrow_mut().remove(&asked);
            answer
        };
        let answer = in_time(AWAY_LIMIT, ask).await;
        // It may have come at the last moment.
        if answer.is_none() && !is_over.get() {
            self.unanswered.borrow_mut().insert(name.to_owned());
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending};

    use tokio::{sync::Barrier, task::yield_now};

    use super::*;

    /// The bound of what must not hang.
    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn while_answers_are_prompt_none_is_asked_for_beside_another() {
        let (asked, answered) = (Cell::new(0), Cell::new(0));
        let ask = async |question: u32| {
            assert_eq!(asked.replace(asked.get() + 1), answered.get());
            yield_now().await;
            answered.set(answered.get() + 1);
            Ok::<_, Infallible>(question * 10)
        };
        let answers = each(0..4, ask).await;
        assert_eq!(answers, Ok(vec![0, 10, 20, 30]));
    }

    #[tokio::test]
    async fn those_that_are_away_are_waited_for_together_wherever_they_stand() {
        let all_are_asked = Barrier::new(10);
        let ask = async |question: u32| {
            if question % 2 == 1 {
                all_are_asked.wait().await;
            }
            Ok::<_, Infallible>(question)
        };
        let answers = timeout(LONG, each(0..20, ask)).await;
        assert_eq!(
            answers.expect("no wait for one alone"),
            Ok((0..20).collect())
        );
    }

    #[tokio::test]
    async fn one_that_fails_ends_the_wait_for_one_that_is_away() {
        let ask = async |question: u32| match question {
            1 => pending().await,
            2 => Err("lost"),
            other => Ok(other),
        };
        let answers = timeout(LONG, each(0..4, ask)).await;
        assert_eq!(answers.expect("no wait"), Err("lost"));
    }
}
