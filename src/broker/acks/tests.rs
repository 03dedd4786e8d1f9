use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Open,
    PassOver,
    Finish(usize),
    HandBack(usize),
    TakeRun,
    TakeHeld,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Open),
        1 => Just(Step::PassOver),
        6 => any::<usize>().prop_map(Step::Finish),
        1 => any::<usize>().prop_map(Step::HandBack),
        1 => Just(Step::TakeRun),
        1 => Just(Step::TakeHeld),
    ]
}

/// The broker's side: what it still waits for.
#[derive(Default)]
struct Broker {
    unsettled: BTreeSet<u64>,
}

impl Broker {
    fn acked(&mut self, tag: u64, multiple: bool, finished: &BTreeSet<u64>) {
        assert!(
            self.unsettled.contains(&tag),
            "the broker closes the channel at a tag that it does not know"
        );
        let meant: Vec<u64> = self
            .unsettled
            .iter()
            .copied()
            .filter(|one| *one == tag || (multiple && *one < tag))
            .collect();
        for one in meant {
            assert!(finished.contains(&one), "{one} was not finished");
            self.unsettled.remove(&one);
        }
    }
}

proptest! {
    #[test]
    fn what_is_finished_is_acknowledged_once_and_nothing_else_ever(steps in prop::collection::vec(step(), 0..200)) {
        let (mut window, mut broker) = (Window::default(), Broker::default());
        let (mut open, mut finished, mut passed_over) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let mut next = 1;
        for step in steps.into_iter().chain([Step::TakeRun, Step::TakeHeld]) {
            match step {
                Step::Open => {
                    window.open(next);
                    broker.unsettled.insert(next);
                    open.push(next);
                    next += 1;
                }
                Step::PassOver => {
                    broker.unsettled.insert(next);
                    passed_over.insert(next);
                    next += 1;
                }
                Step::Finish(which) if !open.is_empty() => {
                    let tag = open.swap_remove(which % open.len());
                    window.finish(tag);
                    finished.insert(tag);
                }
                Step::HandBack(which) if !open.is_empty() => {
                    let tag = open.swap_remove(which % open.len());
                    window.settle(tag);
                    broker.unsettled.remove(&tag);
                }
                Step::Finish(_) | Step::HandBack(_) => {}
                Step::TakeRun => {
                    if let Some(tag) = window.take_run() {
                        broker.acked(tag, true, &finished);
                    }
                }
                Step::TakeHeld => {
                    for tag in window.take_held() {
                        broker.acked(tag, false, &finished);
                    }
                }
            }
        }
        prop_assert_eq!(broker.unsettled, open.into_iter().chain(passed_over).collect::<BTreeSet<_>>());
    }
}
