//! The parts of a unit's wall time, against a model that looks at each nanosecond.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A thread begins to work for the unit, or stops.
    Turn(usize),
    /// A call across this boundary begins, or the oldest ends.
    Call(u32),
    Answer(u32),
    /// It is woken, or polled for that.
    Wake,
    Poll,
    Pass(u64),
}

const THREADS: usize = 3;
const BOUNDARIES: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let boundary = || 0..BOUNDARIES as u32;
    prop_oneof![
        4 => (0..THREADS).prop_map(Step::Turn),
        2 => boundary().prop_map(Step::Call),
        2 => boundary().prop_map(Step::Answer),
        1 => Just(Step::Wake),
        1 => Just(Step::Poll),
        6 => (0..50u64).prop_map(Step::Pass),
    ]
}

/// What is going on, and what each part had so far; of a stretch after the last exit it is not known yet whether it is in
/// the unit's wall time.
#[derive(Clone, Default)]
struct Naive {
    at_work: [Option<u64>; THREADS],
    /// When those calls that go on began, and the last one across the boundary.
    calls: [(u64, u64); BOUNDARIES],
    woken: u64,
    active: u64,
    queued: u64,
    wait: [u64; BOUNDARIES],
    unexplained: u64,
}

impl Naive {
    fn pass(&mut self, nanoseconds: u64) {
        let going_on = self.calls.iter().enumerate();
        let going_on = going_on.filter(|(_, (open, _))| *open > 0);
        let last = going_on.max_by_key(|(_, (_, begun))| *begun);
        for _ in 0..nanoseconds {
            if self.at_work.iter().any(Option::is_some) {
                self.active += 1;
            } else if self.woken > 0 {
                self.queued += 1;
            } else if let Some((boundary, _)) = last {
                self.wait[boundary] += 1;
            } else {
                self.unexplained += 1;
            }
        }
    }

    fn sum(&self) -> u64 {
        self.active + self.queued + self.wait.iter().sum::<u64>() + self.unexplained
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_nanosecond_is_in_one_part(steps in proptest::collection::vec(step(), 1..120)) {
        let unit: &'static LiveUnit = Box::leak(Box::new(LiveUnit::new()));
        let begin = 1_000;
        unit.reset(Start {
            kind: KindId(1),
            timed: false,
            drawn: false,
            sampled: Sampled::No,
            now: begin,
            thread: 1,
            name: UnitName::default(),
        });
        let mut now = begin;
        let mut naive = Naive::default();
        // As it was at the last exit, which ends the wall time.
        let mut at_exit: Option<Naive> = None;
        unit.has_waker();
        for step in steps {
            match step {
                Step::Pass(nanoseconds) => {
                    now += nanoseconds;
                    naive.pass(nanoseconds);
                }
                Step::Turn(thread) => match naive.at_work[thread].take() {
                    None => {
                        naive.at_work[thread] = Some(now);
                        let _ = unit.open(now, thread as u64 + 1);
                    }
                    Some(entered) => {
                        unit.exit(entered, now, thread as u64 + 1);
                        at_exit = Some(naive.clone());
                    }
                },
                Step::Call(boundary) => {
                    // No two begin at once.
                    now += 1;
                    naive.pass(1);
                    let _ = unit.begin_call(
                        BoundaryId(boundary + 1),
                        (now, false),
                        u64::from(boundary),
                    );
                    let (open, begun) = &mut naive.calls[boundary as usize];
                    (*open, *begun) = (*open + 1, now);
                }
                Step::Answer(boundary) => {
                    let (open, _) = &mut naive.calls[boundary as usize];
                    if *open > 0 {
                        *open -= 1;
                        unit.waits_otherwise(now);
                        unit.crossing(BoundaryId(boundary + 1)).end(7, boundary == 1);
                    }
                }
                Step::Wake => {
                    naive.woken += 1;
                    unit.is_woken(now);
                }
                Step::Poll if naive.woken > 0 => {
                    // A poll is an entry before anything else.
                    let _ = unit.open(now, 9);
                    naive.woken -= 1;
                    unit.is_polled(|| now);
                    unit.exit(now, now, 9);
                    at_exit = Some(naive.clone());
                }
                Step::Poll => {}
            }
        }
        // Who is at work for a unit that ends leaves it then.
        for thread in 0..THREADS {
            if let Some(entered) = naive.at_work[thread].take() {
                unit.exit(entered, now, thread as u64 + 1);
                at_exit = Some(naive.clone());
            }
        }
        let mut finished = Finished::empty();
        unit.take(|| now, &mut finished);
        let costs = &finished.costs;
        let wall = costs.value(Metric::Wall);
        let of = |metric| costs.value(metric);
        let parts = of(Metric::Active) + of(Metric::Queued) + of(Metric::Wait) + of(Metric::Unexplained);
        prop_assert_eq!(parts, wall);
        let waits = (finished.boundaries.iter()).map(|b| b.value(BoundaryMetric::Wait));
        prop_assert_eq!(waits.sum::<u64>(), of(Metric::Wait));
        // What came after the last exit is in no part, and takes nothing from one.
        let known = at_exit.unwrap_or(naive);
        prop_assert_eq!(known.sum(), wall);
        prop_assert_eq!(of(Metric::Active), known.active);
        prop_assert_eq!(of(Metric::Queued), known.queued);
        prop_assert_eq!(of(Metric::Unexplained), known.unexplained);
        for crossed in finished.boundaries.iter() {
            let wait = known.wait[crossed.id.0 as usize - 1];
            prop_assert_eq!(crossed.value(BoundaryMetric::Wait), wait);
        }
    }
}
