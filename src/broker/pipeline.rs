//! Publishes on one channel, many of them outstanding, none of which can be returned.
//!
//! One task sends and hears for all. The client's own thread is woken once for what is published in one turn of the
//! event loop, and wakes this task once for what is confirmed at the same time: that costs far less than a wake-up
//! for each.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{Channel, options::BasicPublishOptions, types::ShortString};
use tokio::{
    sync::{Notify, oneshot},
    task::{AbortHandle, spawn_local, yield_now},
};

use super::{Message, word::Word};

/// One such channel, until it is dropped.
#[derive(Debug)]
pub(super) struct Pipeline {
    outbox: Rc<Outbox>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Outbox {
    waiting: RefCell<VecDeque<Outgoing>>,
    arrived: Notify,
}

#[derive(Debug)]
struct Outgoing {
    exchange: ShortString,
    key: ShortString,
    /// Boxed, since it is large and goes from hand to hand.
    message: Box<Message>,
    heard: oneshot::Sender<lapin::Result<Word>>,
}

impl Pipeline {
    /// On a channel that confirms.
    pub fn new(channel: Channel) -> Rc<Self> {
        let outbox = Rc::<Outbox>::default();
        let task = spawn_local(Rc::clone(&outbox).work(channel)).abort_handle();
        Rc::new(Self { outbox, task })
    }

    /// Publishes; the broker's word comes by what is returned. None comes once the pipeline is dropped.
    pub fn publish(
        &self,
        exchange: &str,
        key: &str,
        message: Box<Message>,
    ) -> oneshot::Receiver<lapin::Result<Word>> {
        let (heard, word) = oneshot::channel();
        let (exchange, key) = (exchange.into(), key.into());
        self.outbox.waiting.borrow_mut().push_back(Outgoing {
            exchange,
            key,
            message,
            heard,
        });
        self.outbox.arrived.notify_one();
        word
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Outbox {
    async fn work(self: Rc<Self>, channel: Channel) {
        let mut outstanding = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(()) = outstanding.next() => {}
                () = self.arrived.notified() => {
                    // What else is published in this turn goes along.
                    yield_now().await;
                    let mut waiting = self.waiting.borrow_mut();
                    outstanding.extend(waiting.drain(..).map(|outgoing| outgoing.send(&channel)));
                }
            }
        }
    }
}

impl Outgoing {
    async fn send(self, channel: &Channel) {
        let Self {
            exchange,
            key,
            message,
            heard,
        } = self;
        let (body, properties) = message.into_parts();
        let publish = channel.basic_publish(
            exchange,
            key,
            BasicPublishOptions::default(),
            &body,
            properties,
        );
        let word = publish.then(async |sent| sent?.await.map(Word::from)).await;
        // Whoever published may have gone.
        let _ = heard.send(word);
    }
}
