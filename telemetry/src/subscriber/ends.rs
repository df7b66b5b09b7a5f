//! A unit ends: its figures, and whether it is kept in detail.

use super::observer::{Observer, on_its_core};
use crate::cost::{Finished, Outcome};
use crate::exemplars::{Choice, Kept};
use crate::ledger::UnitDrop;
use crate::live::{Ended, LiveUnit, LiveUnits, UnitOfSpan};
use crate::output::Item;
use crate::thread::{self, ThreadState};

impl Observer {
    /// A unit's own span has ended.
    pub(super) fn end(&self, in_unit: UnitOfSpan) {
        let place = self.instance.live_units.place(in_unit.unit());
        thread::with_state(&self.instance, |state| {
            self.end_on(state, in_unit, place);
        });
    }

    /// The same, on a thread with this state, unless it is ending, of a unit that is, or was, at this place.
    pub(super) fn end_on(
        &self,
        state: Option<&mut ThreadState>,
        in_unit: UnitOfSpan,
        place: Option<&'static LiveUnit>,
    ) {
        let Some(place) = place else {
            return;
        };
        match state {
            Some(state) => {
                state.ends(&self.instance, in_unit);
                // Nobody else has it meanwhile.
                if let Some(mut unit) = state.scratch.take() {
                    self.finish(Some(&mut *state), in_unit, place, &mut unit);
                    state.scratch = Some(unit);
                }
            }
            None => self.finish(None, in_unit, place, &mut Finished::empty()),
        }
    }

    fn finish(
        &self,
        state: Option<&mut ThreadState>,
        in_unit: UnitOfSpan,
        place: &'static LiveUnit,
        unit: &mut Finished,
    ) {
        let instance = &self.instance;
        let start = in_unit.timed().then(|| instance.clock.now());
        let now = || instance.clock.now();
        let Some(ended) = LiveUnits::finish_at(place, in_unit.unit(), now, unit) else {
            return;
        };
        if instance.background.is_stopping() {
            thread::ended(instance, state, unit.kind, ended.place);
            instance.drop_unit(UnitDrop::ShutDown);
            return;
        }
        let before = start.map(|_| instance.clock.now());
        unit.exemplar = self.keep(unit, &ended);
        if let (Some(ns), Some(start), Some(before)) = (&mut unit.telemetry_ns, start, before) {
            let was_put_together = matches!(unit.exemplar, Outcome::Queued | Outcome::QueueFull);
            let end = match was_put_together {
                // That is counted apart.
                true => before,
                false => instance.clock.now(),
            };
            *ns += on_its_core(end.saturating_sub(start));
        }
        thread::hand_on(instance, state, unit, ended.place);
    }

    /// Keeps an ended unit in detail, if there is a reason to.
    #[inline]
    fn keep(&self, unit: &Finished, ended: &Ended) -> Outcome {
        let instance = &self.instance;
        if !instance.has_exporters {
            return Outcome::NotChosen;
        }
        let kind = instance.kinds.get(unit.kind);
        let now = || (instance.clock.now(), instance.incidents.end());
        let sample = instance.head_sample;
        match (kind.chooser).choose(
            unit,
            kind.limits(),
            sample,
            (ended.is_drawn, ended.is_in_incident),
            now,
        ) {
            Choice::No => Outcome::NotChosen,
            Choice::RateLimited => Outcome::RateLimited,
            Choice::Keep(kept) => self.capture(unit, ended, kept),
        }
    }

    #[cold]
    fn capture(&self, unit: &Finished, ended: &Ended, kept: Kept) -> Outcome {
        let instance = &self.instance;
        if instance.background.is_forked() {
            // Nobody is there to write it, and the locks may be held by threads that are not.
            return Outcome::NotChosen;
        }
        let put_together = || {
            let captured = instance.capture(unit, ended, kept);
            match instance.queue.push(Item::Exemplar(Box::new(captured))) {
                Ok(()) => Outcome::Queued,
                Err(_) => {
                    instance.kinds.get(unit.kind).chooser.lose(&kept);
                    Outcome::QueueFull
                }
            }
        };
        instance.apart(|| alloc_tracker::raw::for_a_tool(put_together))
    }
}
