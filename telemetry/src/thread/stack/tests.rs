//! The stack says what the registry's says, and stays small.

use super::*;
use crate::live::{Spans, UnitRef};
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug)]
enum Step {
    Enter(u64),
    Leave(u64),
    /// The span is over, wherever it is entered.
    End(u64),
    Ask,
    Tidy,
}

fn step() -> impl Strategy<Value = Step> {
    let span = || 1..12u64;
    prop_oneof![
        6 => span().prop_map(Step::Enter),
        4 => span().prop_map(Step::Leave),
        2 => span().prop_map(Step::End),
        4 => Just(Step::Ask),
        1 => Just(Step::Tidy),
    ]
}

/// The stack of `tracing_subscriber`'s registry, entry by entry.
#[derive(Default)]
struct Naive(Vec<(u64, bool)>);

impl Naive {
    fn enter(&mut self, span: u64) {
        let again = self.0.iter().any(|(other, _)| *other == span);
        self.0.push((span, again));
    }

    fn leave(&mut self, span: u64) {
        if let Some(at) = self.0.iter().rposition(|(other, _)| *other == span) {
            self.0.remove(at);
        }
    }

    fn innermost(&self) -> Option<u64> {
        let mut entries = self.0.iter().rev();
        entries.find(|(_, again)| !again).map(|(span, _)| *span)
    }
}

/// Those above are in no unit.
const LAST_OF_A_UNIT: u64 = 8;

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_says_what_the_registry_says(steps in proptest::collection::vec(step(), 1..200)) {
        let spans = Spans::new(64);
        // Ids are not used again: each span that ended has a new one.
        let mut ids: Vec<u64> = (0..12).collect();
        let mut next = 100;
        let mut live = BTreeSet::new();
        let in_unit = |n: u64| UnitOfSpan::of_root(UnitRef(n % 3 + 1), false);
        for n in 1..=LAST_OF_A_UNIT {
            assert!(spans.insert(n, in_unit(n)).is_some());
        }
        live.extend(ids.iter().copied());
        let (mut naive, mut stack) = (Naive::default(), Stack::new());
        for step in steps {
            match step {
                Step::Enter(n) => {
                    let id = ids[n as usize];
                    match spans.get(id) {
                        Some(known) => {
                            if stack.expected(spans.who_lives(), id).is_none() {
                                stack.expect(id, known);
                            }
                            if stack.enter() != Found::Same {
                                stack.push(false, Work::NONE);
                            }
                        }
                        // With nothing of ours around it, the registry is asked. That one is then entered
                        // again inside a unit, and over there, is not told from one entered once.
                        None if naive.0.iter().any(|(other, _)| *other == id) => continue,
                        None if stack.is_empty() => {}
                        None => {
                            stack.enter_other(id);
                        }
                    }
                    naive.enter(id);
                }
                Step::Leave(n) => {
                    let id = ids[n as usize];
                    let _ = match stack.is_innermost(id) {
                        true => stack.leave(spans.who_lives(), false),
                        false => stack.leave_further_out(spans.who_lives(), id, false),
                    };
                    naive.leave(ids[n as usize]);
                }
                Step::End(n) => {
                    let id = &mut ids[n as usize];
                    spans.remove(*id);
                    live.remove(id);
                    next += 1;
                    *id = next;
                    live.insert(next);
                    if n <= LAST_OF_A_UNIT {
                        assert!(spans.insert(next, in_unit(n)).is_some());
                    }
                }
                Step::Ask => {
                    let innermost = naive.innermost().filter(|id| live.contains(id));
                    match stack.innermost(spans.who_lives()) {
                        Innermost::OfUnit(known) => prop_assert_eq!(Some(known.detail), innermost),
                        // Who hears this asks the registry.
                        Innermost::Other => {}
                        Innermost::Nothing => {
                            let of_unit = innermost.and_then(|id| spans.get(id));
                            prop_assert!(of_unit.is_none());
                        }
                        Innermost::Over => {
                            prop_assert_eq!(innermost, None);
                            while stack.bury(spans.who_lives()).is_some() {}
                        }
                    }
                }
                Step::Tidy => {
                    stack.tidy(spans.who_lives(), |id| live.contains(&id), |_| {});
                    prop_assert!(stack.len <= 2 * live.len() + 1);
                }
            }
        }
    }
}

#[test]
fn what_is_never_left_does_not_pile_up() {
    let spans = Spans::new(64);
    let mut stack = Stack::new();
    for span in 1..100_000u64 {
        let known = spans.insert(span, UnitOfSpan::of_root(UnitRef(span), false));
        stack.expect(span, known.unwrap());
        assert_eq!(stack.enter(), Found::Nothing);
        if stack.push(false, Work::NONE) {
            stack.tidy(spans.who_lives(), |_| false, |_| {});
        }
        spans.remove(span);
    }
    assert!(stack.places.len() <= 4 * FIRST_CAPACITY);
}
