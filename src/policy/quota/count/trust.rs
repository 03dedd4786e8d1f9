//! Whether a window's count is believed: one that serves what it says it has none left for is wrong.

use crate::clock::Moment;

/// So many windows in a row may begin with nothing left before one request is let go to see whether that is so.
const MOST_EMPTY: u32 = 3;

/// Of the time until a window's end, this part is good for a probe: ends are rounded, so that shortly before one a
/// request may be served rightly.
const PROBED_WITHIN: u32 = 2;

/// What a word comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// An answer to this worker, which was served.
    Served,
    /// It was refused for its number (429).
    Refused,
    /// It failed otherwise.
    Failed,
    /// Another worker.
    Told,
}

impl Heard {
    /// Of an answer to this worker.
    pub fn own(served: Option<bool>) -> Self {
        match served {
            Some(true) => Self::Served,
            Some(false) => Self::Refused,
            None => Self::Failed,
        }
    }
}

/// How far a window is believed.
#[derive(Debug)]
pub(super) struct Trust {
    state: State,
    /// Windows in a row that began with nothing left, though the request was served.
    empty: u32,
    /// So many may be. A probe that was refused doubles it: whoever was right is asked less often.
    most_empty: u32,
    /// When the window ends, by its first word, of which an answer to this worker said that none is left.
    empty_to: Option<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Believed,
    /// One request may go until then, though none is left.
    Due(Moment),
    /// It is about to.
    Reserved(Moment),
    /// It went.
    Probed {
        at: Moment,
        until: Moment,
    },
    Disbelieved,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            state: State::Believed,
            empty: 0,
            most_empty: MOST_EMPTY,
            empty_to: None,
        }
    }
}

impl Trust {
    /// A word; whether it says that none is left; when its request went, when it came, when the window ends. Says
    /// whether the window is disbelieved from now on.
    pub fn hear(&mut self, heard: Heard, empty: bool, [sent, now, end]: [Moment; 3]) -> bool {
        match heard {
            Heard::Refused => {
                self.refused(sent);
                self.empty_to = empty.then_some(end);
            }
            _ if !empty => {
                (self.empty, self.empty_to) = (0, None);
                if self.state != State::Disbelieved {
                    self.state = State::Believed;
                }
            }
            Heard::Served => return self.served(sent, now, end),
            Heard::Failed | Heard::Told => {}
        }
        false
    }

    /// A request that went then was served, and none is said to be left.
    fn served(&mut self, sent: Moment, now: Moment, end: Moment) -> bool {
        match self.state {
            State::Disbelieved => return false,
            State::Probed { at, until } if (at..until).contains(&sent) => {
                self.state = State::Disbelieved;
                return true;
            }
            _ => {}
        }
        let Some(before) = self.empty_to else {
            self.empty_to = Some(end);
            return false;
        };
        if sent >= before {
            self.empty_to = Some(end);
            self.empty += 1;
            if self.empty >= self.most_empty {
                self.state = State::Due(now.after(end.since(now) / PROBED_WITHIN));
            }
        }
        false
    }

    /// A request that went then was refused for its number.
    pub fn refused(&mut self, sent: Moment) {
        if matches!(self.state, State::Probed { at, .. } if sent >= at) {
            self.most_empty = self.most_empty.saturating_mul(2);
        }
        (self.state, self.empty) = (State::Believed, 0);
    }

    /// Whether one request may go though none is left.
    pub fn lets_one_go(&self, now: Moment) -> bool {
        matches!(self.state, State::Due(until) if now < until)
    }

    /// One is about to be permitted.
    pub fn reserve(&mut self) {
        if let State::Due(until) = self.state {
            self.state = State::Reserved(until);
        }
    }

    /// It is, or is not after all.
    pub fn settle(&mut self, spent: bool, now: Moment) {
        if let State::Reserved(until) = self.state {
            self.state = if spent {
                State::Probed { at: now, until }
            } else {
                State::Due(until)
            };
        }
    }

    pub fn is_disbelieved(&self) -> bool {
        self.state == State::Disbelieved
    }
}
