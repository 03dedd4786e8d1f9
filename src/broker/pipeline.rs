//! Publishes on one channel, many of them outstanding, none of which can be returned.
//!
//! One task sends and hears for all. The client's own thread is woken once for what is published in one turn of the
//! event loop, and wakes this task once for what is confirmed at the same time: that costs far less than a wake-up
//! for each.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{BasicProperties, Channel, Confirmation, options::BasicPublishOptions};
use tokio::{
    sync::{Notify, oneshot},
    task::{AbortHandle, spawn_local, yield_now},
};

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
    exchange: String,
    key: String,
    body: Bytes,
    properties: BasicProperties,
    heard: oneshot::Sender<lapin::Result<Confirmation>>,
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
        body: Bytes,
        properties: BasicProperties,
    ) -> oneshot::Receiver<lapin::Result<Confirmation>> {
        let (heard, word) = oneshot::channel();
        let (exchange, key) = (exchange.to_owned(), key.to_owned());
        self.outbox.waiting.borrow_mut().push_back(Outgoing { exchange, key, body, properties, heard });
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
                    let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
                    outstanding.extend(waiting.into_iter().map(|outgoing| outgoing.send(&channel)));
                }
            }
        }
    }
}

impl Outgoing {
    async fn send(self, channel: &Channel) {
        let Self { exchange, key, body, properties, heard } = self;
        let options = BasicPublishOptions::default();
        let publish = channel.basic_publish(exchange.into(), key.into(), options, &body, properties);
        let word = publish.then(async |sent| sent?.await).await;
        // Whoever published may have gone.
        let _ = heard.send(word);
    }
}
