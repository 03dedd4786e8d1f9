//! Acknowledgements of one channel.
//!
//! Those of a consumer are joined: the broker takes one for a whole run of deliveries, so what finishes in one turn
//! of the event loop is acknowledged together, up to the oldest delivery that is not finished. What finished beyond
//! that one is held for a moment, in case it follows, and then acknowledged one by one: a slow job does not hold
//! back the others'. An acknowledgement is never of what was not finished.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

use futures_util::FutureExt;
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicNackOptions},
};
use tokio::{sync::Notify, task::spawn_local};

use super::{CALL_LIMIT, bounded};
use crate::lease::Claim;

/// Finished deliveries that wait for an older one, at most.
const MOST_HELD: u16 = 64;

/// So few at once are not worth holding any.
const FEW: u16 = 8;

/// How long they wait for it. If the worker dies meanwhile, their jobs are repeated.
const HELD_FOR: Duration = Duration::from_millis(20);

/// The acknowledgements of one channel.
#[derive(Debug)]
pub(super) struct Acks {
    pub channel: Channel,
    /// To what came by it.
    pub claim: Rc<Claim>,
    /// None where each is sent by itself.
    window: Option<RefCell<Window>>,
    /// How many may be held now.
    most_held: Cell<u16>,
    /// Nothing is with its job any more.
    all_settled: Notify,
    /// They will be sent at the end of this turn.
    due: Cell<bool>,
    /// What is held will be looked at soon.
    watched: Cell<bool>,
}

impl Acks {
    /// Of a consumer, from its channel's first delivery on.
    pub fn joined(channel: Channel) -> Rc<Self> {
        Self::new(channel, Some(RefCell::default()))
    }

    /// Each sent at once.
    pub fn single(channel: Channel) -> Rc<Self> {
        Self::new(channel, None)
    }

    fn new(channel: Channel, window: Option<RefCell<Window>>) -> Rc<Self> {
        let (due, watched) = (Cell::new(false), Cell::new(false));
        let (most_held, all_settled) = (Cell::new(0), Notify::new());
        Rc::new(Self {
            channel,
            claim: Rc::default(),
            window,
            most_held,
            all_settled,
            due,
            watched,
        })
    }

    /// How many are held for a consumer of this prefetch, whose own must have room for them too. Where that is small,
    /// for few jobs or large ones, none are.
    pub fn hold_at_most(&self, prefetch: u16) -> u16 {
        self.most_held.set(if prefetch < 2 * FEW {
            0
        } else {
            MOST_HELD.min(prefetch / 2)
        });
        self.most_held.get()
    }

    /// A delivery came.
    pub fn opened(&self, tag: u64) {
        if let Some(window) = &self.window {
            window.borrow_mut().open(tag);
        }
    }

    /// A delivery is finished with. Whether the broker heard it is not known: if not, it delivers the message again.
    /// `at_once` is for one that came back before: if the worker dies, it must not be counted once more.
    pub async fn ack(self: &Rc<Self>, tag: u64, at_once: bool) {
        if self.claim.is_lost() {
            return;
        }
        let Some(window) = &self.window else {
            return self.write(tag).await;
        };
        if at_once {
            window.borrow_mut().settle(tag);
            self.send(tag, false);
            return self.look_whether_all_is_settled();
        }
        window.borrow_mut().finish(tag);
        self.look_whether_all_is_settled();
        if !self.due.replace(true) {
            spawn_local(Rc::clone(self).send_due());
        }
    }

    /// A delivery goes back to its queue.
    pub async fn hand_back(&self, tag: u64) {
        if self.claim.is_lost() {
            return;
        }
        if let Some(window) = &self.window {
            window.borrow_mut().settle(tag);
        }
        let options = BasicNackOptions {
            requeue: true,
            ..BasicNackOptions::default()
        };
        let _ = bounded(
            "basic.nack",
            CALL_LIMIT,
            self.channel.basic_nack(tag, options),
        )
        .await;
        self.look_whether_all_is_settled();
    }

    /// Waits until no delivery is with its job any more, or none of them is ours.
    pub async fn settled(&self) {
        tokio::select! {
            () = self.claim.lost() => {}
            () = self.all_are_settled() => {}
        }
    }

    async fn all_are_settled(&self) {
        while !self.is_settled() {
            self.all_settled.notified().await;
        }
    }

    fn is_settled(&self) -> bool {
        self.window
            .as_ref()
            .is_none_or(|window| window.borrow().open == 0)
    }

    fn look_whether_all_is_settled(&self) {
        if self.is_settled() {
            self.all_settled.notify_waiters();
        }
    }

    /// Sends all that can be sent.
    pub fn flush(&self) {
        if self.claim.is_lost() {
            return;
        }
        self.send_run();
        self.send_held();
    }

    async fn send_due(self: Rc<Self>) {
        self.due.set(false);
        if self.claim.is_lost() {
            return;
        }
        self.send_run();
        if self.held() > self.most_held.get().into() {
            self.send_held();
        }
        if self.held() > 0 && !self.watched.replace(true) {
            tokio::time::sleep(HELD_FOR).await;
            self.watched.set(false);
            self.flush();
        }
    }

    fn send_run(&self) {
        let run = self
            .window
            .as_ref()
            .and_then(|window| window.borrow_mut().take_run());
        if let Some(tag) = run {
            self.send(tag, true);
        }
    }

    fn send_held(&self) {
        let held = self
            .window
            .as_ref()
            .map(|window| window.borrow_mut().take_held())
            .unwrap_or_default();
        for tag in held {
            self.send(tag, false);
        }
    }

    fn held(&self) -> usize {
        self.window
            .as_ref()
            .map_or(0, |window| window.borrow().finished)
    }

    /// Waits until it is written: the channel may be dropped next, and with it what the client has not written.
    async fn write(&self, tag: u64) {
        let ack = self.channel.basic_ack(tag, BasicAckOptions::default());
        if let Err(error) = bounded("basic.ack", CALL_LIMIT, ack).await {
            tracing::debug!(%error, "an acknowledgement is lost; the message will be delivered again");
        }
    }

    /// Gives it to the client's thread, which writes what it is given in that order. When it was written is not
    /// waited for: it proves nothing, and nothing may come between what is taken from the window and its sending,
    /// since an acknowledgement of a run settles all before it, and the broker closes a channel on which one is
    /// settled twice.
    fn send(&self, tag: u64, multiple: bool) {
        let given = self
            .channel
            .basic_ack(tag, BasicAckOptions { multiple })
            .now_or_never();
        if let Some(Err(error)) = given {
            tracing::debug!(%error, "an acknowledgement is lost; the message will be delivered again");
        }
    }
}

/// The deliveries that the broker waits for, oldest first; their tags follow each other.
#[derive(Debug)]
struct Window {
    first: u64,
    deliveries: VecDeque<State>,
    /// How many are in the state of that name.
    open: usize,
    /// Likewise.
    finished: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// With its job.
    Open,
    /// To be acknowledged.
    Finished,
    /// The broker was told.
    Settled,
}

/// Before a channel's first delivery.
impl Default for Window {
    fn default() -> Self {
        Self {
            first: 1,
            deliveries: VecDeque::new(),
            open: 0,
            finished: 0,
        }
    }
}

impl Window {
    /// A delivery that was passed over counts as one that is never finished: no run goes beyond it.
    fn open(&mut self, tag: u64) {
        let (at, before) = (self.at(tag), self.deliveries.len());
        // Tags never go back.
        let Some(end) = at.checked_add(1) else { return };
        self.deliveries.resize(end, State::Open);
        self.open += self.deliveries.len() - before;
    }

    fn finish(&mut self, tag: u64) {
        if self.change(tag, State::Finished) {
            self.finished += 1;
        }
    }

    fn settle(&mut self, tag: u64) {
        self.change(tag, State::Settled);
    }

    /// Whether the delivery was open.
    fn change(&mut self, tag: u64, state: State) -> bool {
        let at = self.at(tag);
        let Some(delivery) = self
            .deliveries
            .get_mut(at)
            .filter(|delivery| **delivery == State::Open)
        else {
            return false;
        };
        *delivery = state;
        self.open -= 1;
        true
    }

    /// The last of the run of finished deliveries: it stands for all before it.
    fn take_run(&mut self) -> Option<u64> {
        let mut last = None;
        while let Some(state) = self
            .deliveries
            .front()
            .filter(|state| **state != State::Open)
        {
            if *state == State::Finished {
                last = Some(self.first);
                self.finished -= 1;
            }
            self.deliveries.pop_front();
            self.first += 1;
        }
        last
    }

    /// Those that are finished behind one that is not.
    fn take_held(&mut self) -> Vec<u64> {
        let mut held = Vec::with_capacity(self.finished);
        for (tag, state) in (self.first..).zip(&mut self.deliveries) {
            if *state == State::Finished {
                *state = State::Settled;
                held.push(tag);
            }
        }
        self.finished = 0;
        held
    }

    /// Where the delivery stands; one from before the window stands nowhere.
    fn at(&self, tag: u64) -> usize {
        tag.checked_sub(self.first)
            .and_then(|at| at.try_into().ok())
            .unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests;
