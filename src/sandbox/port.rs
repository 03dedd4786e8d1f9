//! One kind's port: what it remembers, and one request's way from arrival to how its answer is delivered.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::{
    Options,
    api::Api,
    counted::CountForm,
    fault::{Damage, Dice, Fault, Order},
    journal::Journal,
    kind::Kind,
    limit::Limiter,
    magic::Countdowns,
    pages,
    tokens::{Desk, Tokens},
    wire::{Ask, Reply},
};

/// A fault that the control route was asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// Part of the decoded path and query, or of the body; absent for every request.
    #[serde(rename = "match")]
    pub matches: Option<String>,
    pub fault: Fault,
    /// How many more times; absent for ever.
    pub count: Option<u32>,
}

/// How a reply reaches the client.
#[derive(Debug)]
pub(super) struct Delivery {
    pub reply: Reply,
    pub latency: Duration,
    pub damage: Option<Damage>,
}

/// One kind's port.
pub(super) struct Port {
    pub kind: Kind,
    pub log: bool,
    api: &'static dyn Api,
    retry_after: Option<u64>,
    count: Option<CountForm>,
    window: Duration,
    state: Mutex<State>,
}

/// What a port remembers.
pub(super) struct State {
    pub rules: Vec<Rule>,
    pub journal: Journal,
    pub tokens: Tokens,
    countdowns: Countdowns,
    dice: Dice,
    limiter: Option<Limiter>,
}

impl Port {
    pub fn new(kind: Kind, api: &'static dyn Api, options: &Options, began: Instant) -> Self {
        let limit = options.rate_limit_of(kind);
        let window = options
            .window
            .or(limit.map(|limit| limit.per))
            .unwrap_or(Duration::from_mins(1));
        // Each port draws for itself, so that the traffic of one does not change the faults of another.
        let seed = options.seed.wrapping_add(kind as u64);
        let state = State {
            rules: Vec::new(),
            journal: Journal::new(began, window),
            tokens: Tokens::new(kind.name(), api.token(), options.token_lifetime),
            countdowns: Countdowns::default(),
            dice: Dice::new(options.rates.clone(), seed),
            limiter: limit.map(|limit| {
                if options.fixed_windows {
                    Limiter::fixed(limit, began)
                } else {
                    Limiter::new(limit)
                }
            }),
        };
        let (log, retry_after, count) = (options.log, options.retry_after, options.count);
        Self {
            kind,
            log,
            api,
            retry_after,
            count,
            window,
            state: Mutex::new(state),
        }
    }

    /// The memory; a panic in another request does not spoil it.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As at start, but for tokens, which clients may still hold.
    pub fn reset(&self) {
        let mut state = self.state();
        state.rules.clear();
        state.countdowns = Countdowns::default();
        state.journal.reset(self.window);
        state.limiter = state.limiter.as_ref().map(Limiter::anew);
    }

    /// The whole way of a request; the guard counts it as in flight until it is dropped.
    pub fn take(self: &Arc<Self>, ask: &Ask, arrived: Instant) -> (Delivery, InFlight) {
        let lookup = !self.api.is_token_endpoint(ask.path());
        let mut state = self.state();
        let number = state.journal.enter(ask, arrived, lookup);
        let mut delivery = self.decide(&mut state, ask, arrived, lookup);
        if let (Some(form), Some(limiter), true) = (self.count, &mut state.limiter, lookup) {
            let (left, reset) = limiter.left(arrived);
            delivery.reply = form.tell(delivery.reply, limiter.limit, left, reset);
        }
        let answer = match delivery.damage {
            Some(Damage::Reset) => "reset".to_owned(),
            Some(Damage::Hang) => "hang".to_owned(),
            _ => delivery.reply.status.to_string(),
        };
        state.journal.answered(number, &answer);
        (delivery, InFlight(Arc::clone(self)))
    }

    fn decide(&self, state: &mut State, ask: &Ask, now: Instant, lookup: bool) -> Delivery {
        if let Some(limiter) = state.limiter.as_mut().filter(|_| lookup)
            && let Err(wait) = limiter.admit(now)
        {
            let reply = self.api.over_limit(limiter.limit, wait);
            state.journal.rejected();
            return self.delivery(reply, Fault::NONE);
        }
        let drawn = if lookup {
            state.dice.roll()
        } else {
            Fault::NONE
        };
        let ordered = match state.ordered(ask) {
            Ok(ordered) => ordered,
            Err(problem) => {
                let problem = format!("x-sandbox-fault: {problem}\n");
                return self.delivery(Reply::text(400, "text/plain", problem), Fault::NONE);
            }
        };
        let mut fault = ordered.unwrap_or(drawn);
        fault.latency = fault.latency.or(drawn.latency);
        let reply = if fault.status.is_some() {
            Reply::empty(200)
        } else {
            self.answer(state, ask, now, &mut fault)
        };
        self.delivery(reply, fault)
    }

    /// The kind's own answer; a magic value adds its fault, where none was asked for.
    fn answer(&self, state: &mut State, ask: &Ask, now: Instant, fault: &mut Fault) -> Reply {
        let mut desk = Desk {
            tokens: &mut state.tokens,
            now,
            asked: Vec::new(),
            together: false,
        };
        let reply = self.api.answer(ask, &mut desk);
        if fault.damage.is_none()
            && let Some(magic) = state.countdowns.magic(&desk.asked, desk.together)
        {
            *fault = Fault {
                latency: magic.latency.or(fault.latency),
                ..magic
            };
        }
        reply
    }

    fn delivery(&self, reply: Reply, fault: Fault) -> Delivery {
        let mut reply = match (fault.status, fault.damage) {
            (status, Some(Damage::Html)) => {
                let status = status.unwrap_or(200);
                Reply::html(status, pages::nginx(status))
            }
            (Some(status), _) => self.failure(status),
            (None, _) => reply,
        };
        // The flag goes for what a client is to repeat; a fault's own word goes first.
        let general = self
            .retry_after
            .filter(|_| matches!(reply.status, 429 | 503));
        if let Some(seconds) = fault.retry_after.or(general) {
            reply = reply.with("retry-after", seconds);
        }
        let damage = fault.damage.filter(|damage| *damage != Damage::Html);
        Delivery {
            reply,
            latency: fault.latency.unwrap_or_default(),
            damage,
        }
    }

    fn failure(&self, status: u16) -> Reply {
        match status {
            204 | 205 | 304 => Reply::empty(status),
            // To this port again, so that the journal shows who followed it.
            300..400 => Reply::html(status, pages::nginx(status)).with("location", "/redirected"),
            _ => self.api.refusal(status),
        }
    }
}

impl State {
    /// The fault that the request's header or a rule asks for.
    fn ordered(&mut self, ask: &Ask) -> Result<Option<Fault>, String> {
        if let Some(header) = ask.header("x-sandbox-fault") {
            let order: Order = header.parse()?;
            let key = format!("{header} {} {}", ask.method, ask.target);
            if self.countdowns.takes(&key, order.count) {
                return Ok(Some(order.fault));
            }
        }
        if self.rules.is_empty() {
            return Ok(None);
        }
        let text = ask.readable();
        let fits = |rule: &&mut Rule| {
            rule.count != Some(0)
                && rule
                    .matches
                    .as_deref()
                    .is_none_or(|part| text.contains(part))
        };
        let Some(rule) = self.rules.iter_mut().find(fits) else {
            return Ok(None);
        };
        rule.count = rule.count.map(|count| count - 1);
        Ok(Some(rule.fault))
    }
}

/// A request that is being answered.
pub(super) struct InFlight(Arc<Port>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.state().journal.left();
    }
}
