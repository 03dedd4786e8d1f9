use std::{collections::VecDeque, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{Count, HOUR, Lane, Said, Sent, at, go, limit};

/// Seconds of one turn.
const TURN: f64 = 0.005;

/// A provider with fixed windows, a second client on the same token, and a fleet with a backlog and some calls.
#[derive(Debug, Clone, Copy)]
struct Model {
    limit: u32,
    window: f64,
    /// Requests a second of the second client; so many come together.
    others: f64,
    burst: u32,
    /// Calls a second.
    calls: f64,
    workers: usize,
    /// Seconds from a request to its answer, at most.
    answer: f64,
}

#[derive(Debug, Default)]
struct Figures {
    requests: u32,
    refused: u32,
    by_others: u32,
    /// Waits of calls, in seconds.
    waits: Vec<f64>,
}

struct World {
    model: Model,
    rng: StdRng,
    now: f64,
    counts: Vec<Count>,
    /// What each worker has not told the others of yet, and when it told last.
    untold: Vec<(f64, Option<(Said, Sent)>)>,
    /// When the fleet's permissions were given.
    ledger: VecDeque<f64>,
    used: u32,
    /// When, by which worker, how long back.
    arriving: Vec<(f64, usize, Sent, f64)>,
    answering: Vec<(f64, usize, Sent, Said, bool)>,
    figures: Figures,
}

impl Model {
    fn run(self, windows: u32, seed: u64) -> Figures {
        let terms = limit(self.limit, Duration::from_secs_f64(self.window));
        let count = || Count::new(&terms, HOUR);
        let mut world = World {
            model: self,
            rng: StdRng::seed_from_u64(seed),
            now: 0.0,
            counts: (0..self.workers).map(|_| count()).collect(),
            untold: vec![(0.0, None); self.workers],
            ledger: VecDeque::new(),
            used: 0,
            arriving: Vec::new(),
            answering: Vec::new(),
            figures: Figures::default(),
        };
        let (mut next_bulk, mut calls) = (0.0, Vec::new());
        while world.now < self.window * f64::from(windows) {
            world.turn();
            if world.rng.random_bool(self.calls * TURN) {
                calls.push((world.now, world.rng.random_range(0..self.workers)));
            }
            calls.retain(|(since, worker)| {
                let goes = world.goes(Lane::Interactive, *worker);
                if goes {
                    world.figures.waits.push(world.now - since);
                }
                !goes
            });
            let worker = world.rng.random_range(0..self.workers);
            if world.now >= next_bulk && world.goes(Lane::Bulk, worker) {
                next_bulk = world.now + self.window / f64::from(self.limit);
            }
        }
        world.figures
    }
}

impl World {
    fn turn(&mut self) {
        let Model {
            limit,
            window,
            others,
            burst,
            ..
        } = self.model;
        let before = (self.now / window).floor();
        self.now += TURN;
        let begun = (self.now / window).floor();
        if begun > before {
            self.used = 0;
        }
        if self
            .rng
            .random_bool((others * TURN / f64::from(burst)).min(1.0))
        {
            let taken = burst.min(limit - self.used);
            self.used += taken;
            self.figures.by_others += taken;
        }
        let reset = Duration::from_secs_f64(((begun + 1.0) * window - self.now).ceil());
        for (due, worker, sent, back) in std::mem::take(&mut self.arriving) {
            if due > self.now {
                self.arriving.push((due, worker, sent, back));
                continue;
            }
            let served = self.used < limit;
            self.used += u32::from(served);
            self.figures.requests += 1;
            self.figures.refused += u32::from(!served);
            let said = Said {
                window: "w".into(),
                remaining: limit - self.used,
                limit: Some(limit),
                reset: Some(reset),
                length: None,
            };
            let answer = (self.now + back, worker, sent, said, served);
            self.answering.push(answer);
        }
        for (due, worker, sent, said, served) in std::mem::take(&mut self.answering) {
            if due > self.now {
                self.answering.push((due, worker, sent, said, served));
                continue;
            }
            self.counts[worker].hear(&said, sent, Some(served), at(self.now));
            self.untold[worker].1 = Some((said, sent));
        }
        self.tell();
    }

    /// Each tells the others ten times a second.
    fn tell(&mut self) {
        let now = at(self.now);
        for worker in 0..self.counts.len() {
            let (last, untold) = &mut self.untold[worker];
            if self.now - *last < 0.1 {
                continue;
            }
            let Some((said, sent)) = untold.take() else {
                continue;
            };
            *last = self.now;
            let spent = [sent.spent, self.counts[worker].spent()];
            let ago = now.since(sent.at);
            for (other, count) in self.counts.iter_mut().enumerate() {
                if other != worker {
                    count.hear_of(&said, worker as u64, ago, spent, now);
                }
            }
        }
    }

    /// A request goes, where the provider's count and our own quota let it.
    fn goes(&mut self, lane: Lane, worker: usize) -> bool {
        let kept = self.model.window * 1.034;
        while self
            .ledger
            .front()
            .is_some_and(|given| self.now - given >= kept)
        {
            self.ledger.pop_front();
        }
        let (count, now) = (&mut self.counts[worker], at(self.now));
        let is_full = self.ledger.len() >= self.model.limit as usize;
        if is_full || count.held_until(lane, now).is_some() {
            return false;
        }
        self.ledger.push_back(self.now);
        let half = self.rng.random_range(0.002..self.model.answer / 2.0);
        let sent = go(count, now);
        self.arriving.push((self.now + half, worker, sent, half));
        true
    }
}

/// The part of requests that are refused, the part that is used of what the second client leaves, and the 99th
/// percentile of calls' waits, in mean intervals of the limit.
fn figures(model: Model, windows: u32, seeds: u64) -> (f64, f64, f64) {
    let (mut requests, mut refused, mut left, mut waits) = (0, 0, 0, Vec::new());
    for seed in 0..seeds {
        let figures = model.run(windows, seed);
        requests += figures.requests;
        refused += figures.refused;
        left += (model.limit * windows).saturating_sub(figures.by_others);
        waits.extend(figures.waits);
    }
    waits.sort_by(f64::total_cmp);
    let mean = model.window / f64::from(model.limit);
    let p99 = waits.get(waits.len() * 99 / 100).copied();
    (
        f64::from(refused) / f64::from(requests),
        f64::from(requests - refused) / f64::from(left),
        p99.unwrap_or_default() / mean,
    )
}

fn shared(limit: u32, window: f64, part: f64, workers: usize) -> Model {
    let rate = f64::from(limit) / window;
    Model {
        limit,
        window,
        others: part * rate,
        burst: 1,
        calls: 0.1 * rate,
        workers,
        answer: 0.1,
    }
}

#[test]
fn beside_a_second_client_hardly_any_is_refused_and_what_it_leaves_is_used() {
    let (refused, used, _) = figures(shared(50, 10.0, 0.4, 2), 30, 4);
    assert!(refused <= 0.001, "{refused}");
    assert!(used >= 0.9, "{used}");
}

/// The table of the module's documentation.
#[test]
#[ignore = "minutes; it prints"]
fn what_is_refused_and_used_beside_a_second_client() {
    for (limit, window) in [(200, 60.0), (50, 10.0), (1000, 60.0)] {
        for part in [0.0, 0.2, 0.4, 0.7] {
            for (workers, burst) in [(1, 1), (3, 1), (3, 10)] {
                let model = Model {
                    burst,
                    ..shared(limit, window, part, workers)
                };
                let (refused, used, p99) = figures(model, 60, 6);
                println!(
                    "{limit} per {window} s, others {part} by {burst}, {workers} workers: refused {refused:.5}, used \
                     {used:.3}, calls' p99 {p99:.1} intervals"
                );
            }
        }
    }
}
