//! A model of a quota in several ledgers, each on a node of its own: nodes that die and return, and workers of both
//! kinds side by side.

use super::*;

const MOST_PARTS: u32 = 5;

/// The ledgers of one part, and when their node is away.
struct Node {
    all: Queue,
    bulk: Queue,
    away: Vec<(u64, u64)>,
}

impl Node {
    fn new(terms: &Terms, away: Vec<(u64, u64)>) -> Self {
        let queue = |room: u32| Queue {
            room: room as usize,
            ttl: terms.ttl,
            expiries: VecDeque::new(),
        };
        Self {
            all: queue(terms.requests),
            bulk: queue(terms.bulk),
            away,
        }
    }

    fn is_away(&self, time: u64) -> bool {
        let away = |(from, long): &(u64, u64)| (*from..from + long).contains(&time);
        self.away.iter().any(away)
    }

    /// What it counted it counts still when it comes back.
    fn store(&mut self, bulk: bool, time: u64) -> bool {
        !self.is_away(time) && (!bulk || self.bulk.store(at(time))) && self.all.store(at(time))
    }
}

/// Times at which the provider sees requests; asks come in the order in which they reach the broker. Each begins with
/// the ledger that it would, and goes on where there is no room.
fn seen_of_parts(terms: &[Terms], nodes: &mut [Node], asks: &[Ask]) -> Vec<(Moment, bool)> {
    let mut seen = Vec::new();
    for (number, ask) in asks.iter().enumerate() {
        let stored = ask.at + ask.to_broker;
        let of = nodes.len();
        let mut order = (0..of).map(|n| (n + number) % of);
        let Some(part) = order.find(|part| nodes[*part].store(ask.bulk, stored)) else {
            continue;
        };
        let written = at(stored + ask.confirm + ask.to_socket);
        if !ask.killed && !terms[part].permission(at(ask.at)).is_void(written) {
            let flight = Duration::from_micros(ask.to_provider).min(terms[part].flight);
            seen.push((written.after(flight), ask.bulk));
        }
    }
    seen.sort_unstable();
    seen
}

fn absences(until: u64) -> impl Strategy<Value = Vec<Vec<(u64, u64)>>> {
    let absence = (0..until, 0..until / 2);
    prop::collection::vec(prop::collection::vec(absence, 0..4), MOST_PARTS as usize)
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    /// A worker that counts in one ledger, or in several, starts.
    Starts { several: bool },
    /// One of those asks.
    Asks { several: bool, part: u32 },
    /// All of a kind stop.
    Stop { several: bool },
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        1 => any::<bool>().prop_map(|several| Deed::Starts { several }),
        20 => (any::<bool>(), 0..MOST_PARTS).prop_map(|(several, part)| Deed::Asks { several, part }),
        1 => any::<bool>().prop_map(|several| Deed::Stop { several }),
    ]
}

/// What has the name of the single ledger.
enum Single {
    Nothing,
    Ledger(Queue),
    Seal,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_nodes_die_and_return_several_ledgers_hold_no_more_than_the_quota(
        mut asks in prop::collection::vec(ask(6_000_000), 1..400),
        requests in 1..30u32,
        per_ms in 200..2_500u64,
        of in 1..=MOST_PARTS,
        absences in absences(6_000_000),
    ) {
        asks.sort_by_key(|ask| ask.at + ask.to_broker);
        let limit = limit(requests, per_ms, 0.2);
        let whole = Terms::of(&limit);
        let terms: Vec<_> = (0..of).map(|number| whole.part(number, of)).collect();
        let mut nodes: Vec<_> = terms.iter().zip(absences).map(|(terms, away)| Node::new(terms, away)).collect();
        let seen = seen_of_parts(&terms, &mut nodes, &asks);
        let all: Vec<_> = seen.iter().map(|(time, _)| *time).collect();
        let bulk: Vec<_> = seen.iter().filter(|(_, bulk)| *bulk).map(|(time, _)| *time).collect();
        prop_assert!(largest_window(&all, limit.per) <= requests as usize);
        prop_assert!(largest_window(&bulk, limit.per) <= whole.bulk as usize);
    }

    #[test]
    fn workers_of_one_ledger_and_of_several_side_by_side_hold_no_more_than_the_quota(
        mut deeds in prop::collection::vec((0..20_000_000u64, deed()), 1..600),
        requests in 1..30u32,
        per_ms in 200..2_500u64,
        of in 2..=MOST_PARTS,
        absences in absences(20_000_000),
    ) {
        deeds.sort_by_key(|(time, _)| *time);
        let limit = limit(requests, per_ms, 0.0);
        let whole = Terms::of(&limit);
        let mut nodes: Vec<_> = (0..of).zip(&absences)
            .map(|(number, away)| Node::new(&whole.part(number, of), away.clone())).collect();
        // The single ledger's name is on one of the nodes, where it is at all.
        let home = Node::new(&whole, absences[0].clone());
        let (mut single, mut work, mut parts_are_there) = (Single::Nothing, [false; 2], false);
        let mut seen = Vec::new();
        for (time, deed) in deeds {
            let is_away = home.is_away(time);
            match deed {
                Deed::Stop { several } => work[usize::from(several)] = false,
                Deed::Starts { several } if is_away => work[usize::from(several)] |= several && parts_are_there,
                Deed::Starts { several } => {
                    if let Single::Ledger(queue) = &mut single {
                        queue.expiries.retain(|expiry| *expiry > at(time));
                        if several && queue.expiries.is_empty() {
                            single = Single::Nothing;
                        }
                    }
                    if let Single::Nothing = single {
                        single = if several { Single::Seal } else { Single::Ledger(Node::new(&whole, Vec::new()).all) };
                    }
                    let fits = several == matches!(single, Single::Seal);
                    work[usize::from(several)] |= fits;
                    parts_are_there |= several && fits;
                }
                Deed::Asks { several: false, .. } if work[0] && !is_away => {
                    if let Single::Ledger(queue) = &mut single && queue.store(at(time)) {
                        seen.push(at(time));
                    }
                }
                Deed::Asks { several: true, part } if work[1] => {
                    if nodes[(part % of) as usize].store(false, time) {
                        seen.push(at(time));
                    }
                }
                Deed::Asks { .. } => {}
            }
        }
        prop_assert!(largest_window(&seen, limit.per) <= requests as usize);
    }

    #[test]
    fn a_lower_quota_lowers_every_part_and_a_higher_one_raises_it(
        (one, other) in (1..1_000u32, 1..1_000u32),
        of in 1..=MOST_PARTS,
        reserve in 0.0..0.9f64,
    ) {
        let parts = |requests| -> Vec<Terms> {
            let whole = Terms::of(&limit(requests, 1_000, reserve));
            let parts: Vec<_> = (0..of).map(|number| whole.part(number, of)).collect();
            assert_eq!(parts.iter().map(|part| part.requests).sum::<u32>(), whole.requests);
            assert_eq!(parts.iter().map(|part| part.bulk).sum::<u32>(), whole.bulk);
            assert!(parts.iter().all(|part| part.bulk <= part.requests && part.ttl == whole.ttl));
            parts
        };
        for (low, high) in parts(one.min(other)).iter().zip(parts(one.max(other))) {
            prop_assert!(low.requests <= high.requests);
        }
    }
}

#[test]
fn the_model_would_notice_a_worker_that_counts_in_parts_beside_the_single_ledger() {
    let limit = limit(2, 1_000, 0.0);
    let whole = Terms::of(&limit);
    let mut single = Node::new(&whole, Vec::new());
    let mut part = Node::new(&whole.part(0, 2), Vec::new());
    let stored = [
        single.store(false, 0),
        single.store(false, 1),
        part.store(false, 2),
    ];
    assert_eq!(
        stored, [true; 3],
        "which is why the single ledger's name is sealed"
    );
}

#[test]
fn a_part_of_nothing_holds_everything_back() {
    let terms = Terms::of(&limit(2, 1_000, 0.1)).part(2, 3);
    assert_eq!((terms.requests, terms.bulk), (0, 0));
    assert_eq!(terms.turn(Counts::default(), 1), Turn::Reserved);
    assert!(Log::new(terms.requests, terms.ttl).is_full(at(0)));
    assert!(terms.longest_spacing() > Duration::ZERO);
}

#[test]
fn twenty_jobs_in_bulk_go_at_once_by_several_ledgers_together_and_no_more() {
    let of = 3;
    let parts = [0, 1, 2].map(|number| Terms::of(&limit(90, 10_000, 0.0)).part(number, of));
    let mut counts = [Counts::default(); 3];
    for asked in 0..20usize {
        let part = asked % 3;
        let turn = parts[part].turn(counts[part], 20 - asked);
        assert!(matches!(turn, Turn::AtOnce(_)), "{asked}: {turn:?}");
        counts[part].all += 1;
        counts[part].bulk += 1;
    }
    for (terms, counts) in parts.iter().zip(counts) {
        let turn = terms.turn(counts, 20);
        assert!(matches!(turn, Turn::Spaced(_)), "{turn:?}");
    }
}
