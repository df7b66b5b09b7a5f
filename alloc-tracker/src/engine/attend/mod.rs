//! What a thread does when it looks up: it lets others read what it counts, as long as it lives, and notes what
//! somebody wants to see of each call.

mod thread_exit;

use super::counter::block::{Block, State};
use super::counter::published;
use super::counter::slot::Slot;
use super::counter::{block, registry, tools};
use super::watch::{self, sites};
use std::cell::Cell;

thread_local! {
    // Const-initialised and without a destructor, as everything that a hook touches.
    static WHEN_IT_ENDS: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// Has something given back when the calling thread ends, even if it never allocates.
pub(crate) fn when_the_thread_ends(give_back: fn()) {
    let _ = WHEN_IT_ENDS.try_with(|when| when.set(Some(give_back)));
    block::with(|block| {
        if let State::New = block.state.get() {
            block.attach();
        }
    });
}

/// As the system has it; 0 where it is not asked.
fn number_of_thread() -> u32 {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: it takes nothing, and cannot fail.
        let number = unsafe { libc::syscall(libc::SYS_gettid) };
        u32::try_from(number).unwrap_or(0)
    }
    #[cfg(not(target_os = "linux"))]
    {
        0
    }
}

impl Block {
    /// Attaches a new thread, drains a detached one, notes the call site for an open budget.
    pub(crate) fn attend(&self) {
        let was_alert = self.published.is_alert();
        self.look();
        match self.state.get() {
            State::New => self.attach(),
            State::Detached => self.drain(),
            State::Attached(_) => {}
        }
        sites::note(self.counts());
        watch::stand_down(&self.published);
        // Whoever had this thread look may want its next allocation, which this was not if it was a free.
        if was_alert {
            self.look_at_next();
        }
    }

    fn attach(&self) {
        // Should claiming a slot allocate through the hooks, the inner calls drain.
        self.state.set(State::Detached);
        let Some(slot) = registry::claim() else {
            return self.drain();
        };
        if !thread_exit::register(slot) {
            registry::give_back(slot);
            return self.drain();
        }
        slot.announce(number_of_thread());
        let set_aside = (tools::depth() > 0).then(|| self.set_aside.get());
        slot.publish(&self.published, self.drained.get(), set_aside);
        self.state.set(State::Attached(slot));
        self.published
            .clear(published::UNPUBLISHED, &watch::PLACING);
        watch::join(&self.published);
    }

    /// Ends the publication in `slot`: runs once, at the end of the thread.
    pub(crate) fn detach(&self, slot: &'static Slot) {
        let counts = self.published.counts();
        if tools::depth() > 0 {
            slot.take_back(counts);
            self.set_aside.set(counts);
        }
        registry::overflow_inside(self.published.inside.take());
        slot.retract(counts);
        registry::give_back(slot);
        self.drained.set(counts);
        self.state.set(State::Detached);
        self.published.raise(published::UNPUBLISHED);
        self.look_at_next();
        if let Ok(Some(give_back)) = WHEN_IT_ENDS.try_with(Cell::get) {
            give_back();
        }
    }

    /// Moves what was counted since the last drain into the shared overflow counts.
    fn drain(&self) {
        if tools::depth() > 0 {
            return;
        }
        let counts = self.published.counts();
        registry::overflow(counts.minus(self.drained.replace(counts)));
    }
}
