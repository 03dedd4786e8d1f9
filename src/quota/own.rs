//! The ledger of one worker alone, in memory.

use std::{cell::RefCell, rc::Rc};

use futures_util::future::LocalBoxFuture;

use super::Ledger;
use crate::{
    clock::Moment,
    lane::Lane,
    policy::quota::{Books, Decision, Terms},
};

/// This worker's own ledger.
pub(super) struct Own(RefCell<Books>);

impl Own {
    pub fn new(terms: Terms) -> Self {
        Self(RefCell::new(Books::new(terms)))
    }
}

impl Ledger for Own {
    fn ask(self: Rc<Self>, lane: Lane, waiting: usize) -> LocalBoxFuture<'static, Decision> {
        Box::pin(async move { self.0.borrow_mut().ask(lane, waiting, Moment::now()) })
    }

    fn change(&self, terms: Terms) {
        self.0.borrow_mut().change(terms, Moment::now());
    }

    fn ask_at_once(&self, lane: Lane, waiting: usize) -> Option<Decision> {
        Some(self.0.borrow_mut().ask(lane, waiting, Moment::now()))
    }
}
