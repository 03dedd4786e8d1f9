//! HTTP/1.1: each request in flight is lent a connection, which serves no other meanwhile.
//!
//! Such a connection is a client of `reqwest` with its own pool of one connection. In a pool that all share, each
//! request that finds no idle connection begins one and goes through with it, handshake and all, even where another's
//! has served it by then: many times as many connections as requests in flight. So there are no more connections than
//! were requests in flight at once.

use std::{
    mem,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use reqwest::Client;

/// One for addresses without TLS, and one for those with it; each is made when it is first needed.
#[derive(Debug)]
pub(super) struct Pair<T> {
    plain: OnceLock<T>,
    secure: OnceLock<T>,
}

impl<T> Default for Pair<T> {
    fn default() -> Self {
        Self {
            plain: OnceLock::new(),
            secure: OnceLock::new(),
        }
    }
}

impl<T> Pair<T> {
    pub fn of(&self, secure: bool) -> &OnceLock<T> {
        if secure { &self.secure } else { &self.plain }
    }
}

/// The HTTP/1.1 connections of one provider.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// Those that nobody uses; the last one used is the first to be used again, so that those not needed run dry.
    idle: Mutex<Vec<Pair<Client>>>,
}

/// A connection lent to one request, until dropped.
#[derive(Debug)]
pub(super) struct Connection<'a> {
    connections: &'a Connections,
    pub clients: Pair<Client>,
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        let clients = mem::take(&mut self.clients);
        lock(&self.connections.idle).push(clients);
    }
}

impl Connections {
    /// An idle connection, or a new one.
    pub fn take(&self) -> Connection<'_> {
        let clients = lock(&self.idle).pop();
        Connection {
            connections: self,
            clients: clients.unwrap_or_default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
