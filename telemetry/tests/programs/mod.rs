//! Random programs of spans on three threads, and a model of them that is slow and obvious.
//!
//! The steps are taken one at a time, each on its thread, so that the model knows their order.

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::{Condvar, Mutex};
use tracing::dispatcher::{Dispatch, with_default};
use tracing::{Span, error, info, info_span};

pub(crate) const THREADS: usize = 3;
pub(crate) const BLOCK: usize = 1 << 20;

/// One step. Spans are named by their number, modulo how many there are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Inside what the thread has entered last, if anything.
    New {
        kind: usize,
    },
    /// Inside nothing.
    NewRoot {
        kind: usize,
    },
    /// Inside another span.
    NewInside {
        kind: usize,
        parent: usize,
    },
    /// Nothing at all.
    NewNone,
    Enter(usize),
    /// Any span that the thread has entered.
    Exit(usize),
    Close(usize),
    Call,
    Error,
    Event,
    Allocate,
}

pub(crate) fn step() -> impl Strategy<Value = (usize, Step)> {
    let kind = 0..3usize;
    let step = prop_oneof![
        4 => kind.clone().prop_map(|kind| Step::New { kind }),
        2 => kind.clone().prop_map(|kind| Step::NewRoot { kind }),
        1 => (kind, any::<usize>()).prop_map(|(kind, parent)| Step::NewInside { kind, parent }),
        1 => Just(Step::NewNone),
        8 => any::<usize>().prop_map(Step::Enter),
        6 => any::<usize>().prop_map(Step::Exit),
        2 => any::<usize>().prop_map(Step::Close),
        2 => Just(Step::Call),
        1 => Just(Step::Error),
        2 => Just(Step::Event),
        2 => Just(Step::Allocate),
    ];
    (0..THREADS, step)
}

/// A span by its number, which is its field `n`.
fn make(kind: usize, n: usize, parent: Parent<'_>) -> Span {
    match (kind, parent) {
        (0, Parent::Context) => info_span!("a", n),
        (1, Parent::Context) => info_span!("b", n),
        (_, Parent::Context) => info_span!("c", n),
        (0, Parent::None) => info_span!(parent: None, "a", n),
        (1, Parent::None) => info_span!(parent: None, "b", n),
        (_, Parent::None) => info_span!(parent: None, "c", n),
        (0, Parent::Span(span)) => info_span!(parent: span, "a", n),
        (1, Parent::Span(span)) => info_span!(parent: span, "b", n),
        (_, Parent::Span(span)) => info_span!(parent: span, "c", n),
    }
}

#[derive(Clone, Copy)]
enum Parent<'a> {
    Context,
    None,
    Span(&'a Span),
}

/// What a unit cost, in the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Unit {
    pub(crate) kind: usize,
    pub(crate) failed: bool,
    pub(crate) wakeups: u64,
    pub(crate) calls: u64,
    pub(crate) blocks: u64,
    /// Numbers of its spans, and of their parents.
    pub(crate) spans: BTreeSet<(usize, Option<usize>)>,
    pub(crate) events: usize,
}

/// The obvious account.
#[derive(Default)]
pub(crate) struct Model {
    /// By span: its unit; `None` for `Span::none()`.
    pub(crate) unit_of: Vec<Option<usize>>,
    pub(crate) units: Vec<Unit>,
    /// By thread: the spans that it has entered, the last one last.
    entered: [Vec<usize>; THREADS],
}

impl Model {
    fn current(&self, thread: usize) -> Option<usize> {
        self.entered[thread].last().copied()
    }

    fn current_unit(&mut self, thread: usize) -> Option<&mut Unit> {
        let unit = self.unit_of[self.current(thread)?]?;
        Some(&mut self.units[unit])
    }

    fn new_span(&mut self, kind: usize, parent: Option<usize>) {
        let unit = match parent {
            Some(parent) => self.unit_of[parent].expect("it is a span"),
            None => {
                self.units.push(Unit {
                    kind,
                    ..Unit::default()
                });
                self.units.len() - 1
            }
        };
        self.units[unit].spans.insert((self.unit_of.len(), parent));
        self.unit_of.push(Some(unit));
    }

    fn units_of_thread(&self, thread: usize) -> BTreeSet<usize> {
        let spans = self.entered[thread].iter();
        spans.filter_map(|span| self.unit_of[*span]).collect()
    }
}

/// Takes steps on three threads, one at a time.
struct Stage {
    /// Whose turn it is, and with which step; `None` once it is taken.
    turn: Mutex<Option<(usize, Step)>>,
    changed: Condvar,
    spans: Mutex<Vec<Option<Span>>>,
}

impl Stage {
    /// On the thread whose turn it is. Allocates nothing, so that the units do not.
    fn take(&self, step: Step) {
        let spans = || self.spans.lock().unwrap();
        let span = |n: usize| spans()[n].clone().expect("it is open");
        let add = |span: Span| spans().push(Some(span));
        let next = spans().len();
        match step {
            Step::New { kind } => add(make(kind, next, Parent::Context)),
            Step::NewRoot { kind } => add(make(kind, next, Parent::None)),
            Step::NewInside { kind, parent } => {
                add(make(kind, next, Parent::Span(&span(parent))));
            }
            Step::NewNone => add(Span::none()),
            Step::Enter(n) => drop(span(n).with_subscriber(|(id, dispatch)| dispatch.enter(id))),
            Step::Exit(n) => drop(span(n).with_subscriber(|(id, dispatch)| dispatch.exit(id))),
            Step::Close(n) => {
                let closed = spans()[n].take();
                drop(closed);
            }
            Step::Call => drop(telemetry::call!("outside")),
            Step::Error => error!("failed"),
            Step::Event => info!("said"),
            Step::Allocate => drop(black_box(Vec::<u8>::with_capacity(BLOCK))),
        }
    }

    fn run(&self, thread: usize) {
        loop {
            let mut turn = self.turn.lock().unwrap();
            let (_, step) = loop {
                match *turn {
                    Some((whose, step)) if whose == thread => break (whose, step),
                    Some((THREADS, _)) => return,
                    _ => turn = self.changed.wait(turn).unwrap(),
                }
            };
            self.take(step);
            *turn = None;
            self.changed.notify_all();
        }
    }

    fn tell(&self, whose: usize, step: Step) {
        *self.turn.lock().unwrap() = Some((whose, step));
        self.changed.notify_all();
        if whose < THREADS {
            let turn = self.turn.lock().unwrap();
            drop(
                self.changed
                    .wait_while(turn, |turn| turn.is_some())
                    .unwrap(),
            );
        }
    }
}

/// Runs a program under a subscriber, to its end: everything that is entered is left, and everything that
/// is open is closed.
pub(crate) fn run(steps: &[(usize, Step)], dispatch: &Dispatch) -> Model {
    let stage = Stage {
        turn: Mutex::new(None),
        changed: Condvar::new(),
        spans: Mutex::new(Vec::with_capacity(steps.len())),
    };
    let mut model = Model::default();
    let mut open = BTreeSet::new();
    std::thread::scope(|threads| {
        for thread in 0..THREADS {
            let stage = &stage;
            threads.spawn(move || with_default(dispatch, || stage.run(thread)));
        }
        for (thread, step) in steps {
            if let Some(step) = adapt(&mut model, &mut open, *thread, *step) {
                stage.tell(*thread, step);
            }
        }
        for thread in 0..THREADS {
            while let Some(span) = model.entered[thread].pop() {
                stage.tell(thread, Step::Exit(span));
            }
        }
        for span in &open {
            stage.tell(span % THREADS, Step::Close(*span));
        }
        stage.tell(THREADS, Step::Call);
    });
    model
}

/// Makes a random step one that can be taken, and takes it in the model.
fn adapt(model: &mut Model, open: &mut BTreeSet<usize>, thread: usize, step: Step) -> Option<Step> {
    let one_of = |of: &[usize], n: usize| (!of.is_empty()).then(|| of[n % of.len()]);
    let open_spans: Vec<usize> = open.iter().copied().collect();
    let is_span = |model: &Model, span: usize| model.unit_of[span].is_some();
    let is_entered =
        |model: &Model, span: usize| model.entered.iter().flatten().any(|e| *e == span);
    match step {
        Step::New { kind } => {
            let parent = model.current(thread);
            open.insert(model.unit_of.len());
            model.new_span(kind, parent);
            Some(step)
        }
        Step::NewRoot { kind } => {
            open.insert(model.unit_of.len());
            model.new_span(kind, None);
            Some(step)
        }
        Step::NewInside { kind, parent } => {
            let parent = one_of(&open_spans, parent).filter(|p| is_span(model, *p))?;
            open.insert(model.unit_of.len());
            model.new_span(kind, Some(parent));
            Some(Step::NewInside { kind, parent })
        }
        Step::NewNone => {
            open.insert(model.unit_of.len());
            model.unit_of.push(None);
            Some(step)
        }
        Step::Enter(n) => {
            let span = one_of(&open_spans, n)?;
            let unit = match model.unit_of[span] {
                // To enter a span twice on a thread is possible, and means nothing.
                Some(_) if model.entered[thread].contains(&span) => return None,
                Some(unit) => unit,
                None => return Some(Step::Enter(span)),
            };
            if !model.units_of_thread(thread).contains(&unit) {
                model.units[unit].wakeups += 1;
            }
            model.entered[thread].push(span);
            Some(Step::Enter(span))
        }
        Step::Exit(n) => {
            let span = one_of(&model.entered[thread], n)?;
            model.entered[thread].retain(|entered| *entered != span);
            Some(Step::Exit(span))
        }
        Step::Close(n) => {
            let span = one_of(&open_spans, n).filter(|span| !is_entered(model, *span))?;
            open.remove(&span);
            Some(Step::Close(span))
        }
        Step::Call => {
            if let Some(unit) = model.current_unit(thread) {
                unit.calls += 1;
            }
            Some(step)
        }
        Step::Error => {
            if let Some(unit) = model.current_unit(thread) {
                unit.failed = true;
                unit.events += 1;
            }
            Some(step)
        }
        Step::Event => {
            if let Some(unit) = model.current_unit(thread) {
                unit.events += 1;
            }
            Some(step)
        }
        Step::Allocate => {
            for unit in model.units_of_thread(thread) {
                model.units[unit].blocks += 1;
            }
            Some(step)
        }
    }
}
