//! Blocks that await: their awaits are rewritten so that a budget sees each of their polls.

use super::returned::Returned;
use super::task::{Stretch, Task};
use super::verdict::{BudgetReport, Say};
use crate::{Budget, excluded};
use std::cell::Cell;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::mem::ManuallyDrop;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::{ThreadId, panicking};

/// A block that awaits. Checks as a [`ThreadGuard`](super::thread::ThreadGuard) does.
///
/// Between the awaits the thread works for the budget, and so it does while a future is polled that is
/// awaited by [`InBudget`]. While that is pending, it does not.
#[derive(Debug)]
pub struct TaskGuard {
    block: Block,
    say: Say,
    was_panicking: bool,
}

impl TaskGuard {
    pub fn enter(budget: Budget, process: bool, say: Say) -> Self {
        let block = Block::new(budget, process);
        let guard = TaskGuard {
            block,
            say,
            was_panicking: panicking(),
        };
        guard.block.resume();
        guard
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        let ended = if panicking() && !self.was_panicking {
            None
        } else {
            self.block.end()
        };
        if let Some(report) = ended {
            (self.say)(report);
        }
    }
}

/// The block of a guard, shared with what it awaits: a macro's own future may outlive the block.
#[derive(Clone, Debug)]
struct Block {
    /// `None` only while `drop` runs.
    work: Option<Arc<Mutex<Work>>>,
}

// Whoever finds it after a panic finds its work as it was before the poll that panicked, or at work still,
// which it asks for. So a future in which a budget stands is what its own work is.
impl UnwindSafe for Block {}
impl RefUnwindSafe for Block {}

#[derive(Debug)]
struct Work {
    task: Task,
    stretch: Option<OnThread<Stretch>>,
    /// What the thread of the stretch works for, too, and has longer.
    below: Option<Block>,
    /// Something was done for it on another thread than it was seen on, or while it seemed to wait.
    has_strayed: bool,
    is_over: bool,
}

thread_local! {
    /// The blocks that this thread works for, the latest first. A list that allocates nothing, here and by
    /// a destructor: a budget of the process would count it.
    static AT_WORK: Cell<Option<ManuallyDrop<Block>>> = const { Cell::new(None) };
}

impl Block {
    fn new(budget: Budget, process: bool) -> Self {
        let work = Work {
            task: Task::new(budget, process),
            stretch: None,
            below: None,
            has_strayed: false,
            is_over: false,
        };
        Block {
            work: Some(excluded(|| Arc::new(Mutex::new(work)))),
        }
    }

    /// The latest that this thread works for.
    fn at_work() -> Option<Self> {
        Block::top().filter(|block| block.works_here())
    }

    fn top() -> Option<Self> {
        let top = AT_WORK.take();
        let block = top.as_deref().cloned();
        AT_WORK.set(top);
        block
    }

    fn set_top(block: Option<Self>) {
        drop(
            AT_WORK
                .replace(block.map(ManuallyDrop::new))
                .map(ManuallyDrop::into_inner),
        );
    }

    /// Takes it out of the list, wherever it is in it: budgets nest, and one await suspends them all.
    fn unlink(&self, below: Option<Self>) {
        let is_self = |other: &Self| match (&self.work, &other.work) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let mut above = None::<Self>;
        let mut at = Block::top();
        while let Some(block) = at {
            if is_self(&block) {
                match above.as_ref().and_then(Block::lock) {
                    Some(mut above) => above.below = below,
                    None => Block::set_top(below),
                }
                return;
            }
            at = block.lock().and_then(|work| work.below.clone());
            above = Some(block);
        }
    }

    fn works_here(&self) -> bool {
        let work = self.lock();
        work.is_some_and(|work| work.stretch.as_ref().is_some_and(OnThread::is_this_thread))
    }

    /// Nobody waits for it: a block is one task's.
    fn lock(&self) -> Option<MutexGuard<'_, Work>> {
        let work = self.work.as_ref()?;
        Some(work.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this thread works for the block now.
    fn resume(&self) -> bool {
        let unseen = |work: &MutexGuard<'_, Work>| work.is_over || work.has_strayed;
        let Some(mut work) = self.lock().filter(|work| !unseen(work)) else {
            return false;
        };
        if let Some(stretch) = &work.stretch {
            return stretch.is_this_thread();
        }
        work.below = Block::top();
        Block::set_top(Some(self.clone()));
        work.stretch = Some(OnThread::new(work.task.enter()));
        true
    }

    fn suspend(&self) {
        let Some(mut work) = self.lock() else {
            return;
        };
        match work.stretch.take().map(OnThread::into_inner) {
            None => {}
            Some(None) => work.has_strayed = true,
            Some(Some(stretch)) => {
                work.task.leave(stretch);
                let below = work.below.take();
                drop(work);
                self.unlink(below);
            }
        }
    }

    /// By the block itself, which is at work unless it went on unseen.
    fn leave_off(&self) {
        if let Some(mut work) = self.lock() {
            work.has_strayed |= work.stretch.is_none();
        }
        self.suspend();
    }

    /// `None`: it has ended.
    #[track_caller]
    fn end(&self) -> Option<BudgetReport> {
        self.leave_off();
        let (report, has_strayed) = {
            let mut work = self.lock()?;
            work.is_over = true;
            (work.task.end()?, work.has_strayed)
        };
        if has_strayed {
            if panicking() {
                // A second panic would abort.
                eprintln!("{STRAYED}");
                return None;
            }
            panic!("{STRAYED}");
        }
        Some(report)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let work = self.work.take();
        excluded(|| drop(work));
    }
}

/// Rather than a budget that is not checked.
const STRAYED: &str = "alloc_tracker: a budget cannot be checked: its work went to another thread in an \
                       await that a macro hides, or on while a future seemed to be pending that was \
                       polled by hand; write the work as a future of its own: \
                       assert_budget!(.., async { .. })";

/// `x.await` inside of a block, as the block's work.
pub trait InBudget: IntoFuture + Sized {
    #[doc(hidden)]
    fn __in_budget(self, guard: &TaskGuard) -> Awaited<'static, Self::IntoFuture> {
        let future = self.into_future();
        guard.block.leave_off();
        Awaited::alone(future, Some(guard.block.clone()))
    }

    /// In what a macro is given, which may put it into a future of its own and take along what is named:
    /// so it names nothing, and asks which block the thread works for.
    #[doc(hidden)]
    fn __in_budget_at_work(self) -> Awaited<'static, Self::IntoFuture> {
        let future = self.into_future();
        let block = Block::at_work();
        if let Some(block) = &block {
            block.suspend();
        }
        Awaited::alone(future, block)
    }
}

impl<F: IntoFuture> InBudget for F {}

/// A future that is awaited in a block.
#[derive(Debug)]
pub struct Awaited<'together, F> {
    /// `None` only while `drop` runs.
    future: Option<F>,
    /// `None` where a macro's own future is polled, and not by the block.
    block: Option<Block>,
    /// It was not ready yet.
    is_pending: bool,
    together: Option<&'together Together>,
}

impl<F> Awaited<'_, F> {
    fn alone(future: F, block: Option<Block>) -> Self {
        Awaited {
            future: Some(future),
            is_pending: block.is_some(),
            block,
            together: None,
        }
    }
}

impl<F: Future> Future for Awaited<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned with the whole: it is never moved out of a pinned `Awaited`
        // (`drop` drops it in place), and there is no other way to reach it. The others are not pinned.
        let (future, block, is_pending, together) = unsafe {
            let this = self.get_unchecked_mut();
            let future = this.future.as_mut().map(|f| Pin::new_unchecked(f));
            (future, &this.block, &mut this.is_pending, this.together)
        };
        let Some(future) = future else {
            // Only `drop` takes the future away, and nobody polls after that.
            return Poll::Pending;
        };
        let block = block.as_ref().filter(|block| block.resume());
        let poll = future.poll(cx);
        let was_pending = std::mem::replace(is_pending, poll.is_pending() && block.is_some());
        if let (Some(together), true, Poll::Ready(_)) = (together, was_pending, &poll) {
            together.one_less();
        }
        if let Some(block) = block.filter(|_| *is_pending || together.is_some_and(Together::waits))
        {
            block.suspend();
        }
        poll
    }
}

impl<F> Drop for Awaited<'_, F> {
    fn drop(&mut self) {
        // A block that is cancelled drops all it has as the budget's work.
        let resumes = self.is_pending || self.together.is_some();
        let block = self
            .block
            .as_ref()
            .filter(|block| resumes && block.resume());
        self.future = None;
        if let Some(together) = self.together {
            if self.is_pending {
                together.one_less();
            }
            if let Some(block) = block.filter(|_| together.waits()) {
                block.suspend();
            }
        }
    }
}

/// What `join!` and `select!` are given: they are pending while any of it is. So the thread works for the
/// block again when all are ready, or those that are not are dropped.
#[derive(Debug, Default)]
pub struct Together {
    pending: AtomicUsize,
}

impl Together {
    fn one_less(&self) {
        // ORDERING: a count alone, and one task's.
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }

    fn waits(&self) -> bool {
        self.pending.load(Ordering::Relaxed) > 0
    }
}

/// One of them: a future.
pub trait IsAwaited {
    fn kind(&self) -> AwaitedPart {
        AwaitedPart
    }
}

impl<F: IntoFuture> IsAwaited for &Returned<F> {}

/// Or not, for a macro of that name need not await.
pub trait IsNotAwaited {
    fn kind(&self) -> OtherPart {
        OtherPart
    }
}

impl<T> IsNotAwaited for Returned<T> {}

#[derive(Debug)]
pub struct AwaitedPart;

impl AwaitedPart {
    pub fn part<F: IntoFuture>(self, future: F, together: &Together) -> Awaited<'_, F::IntoFuture> {
        let block = Block::at_work();
        let is_pending = block.is_some();
        together
            .pending
            .fetch_add(usize::from(is_pending), Ordering::Relaxed);
        Awaited {
            future: Some(future.into_future()),
            block,
            is_pending,
            together: Some(together),
        }
    }
}

#[derive(Debug)]
pub struct OtherPart;

impl OtherPart {
    pub fn part<T>(self, value: T, _together: &Together) -> T {
        value
    }
}

/// A value that only its own thread touches, wherever it is moved.
struct OnThread<T> {
    thread: ThreadId,
    value: ManuallyDrop<T>,
}

// SAFETY: the value is reached by `into_inner` and `drop` only, which ask whether this is its thread,
// and else leave it alone for ever. A thread's number is never given twice.
unsafe impl<T> Send for OnThread<T> {}

impl<T> fmt::Debug for OnThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the value, which another thread must not look at.
        f.debug_tuple("OnThread").field(&self.thread).finish()
    }
}

impl<T> OnThread<T> {
    fn new(value: T) -> Self {
        OnThread {
            thread: this_thread(),
            value: ManuallyDrop::new(value),
        }
    }

    fn is_this_thread(&self) -> bool {
        self.thread == this_thread()
    }

    /// `None` on another thread.
    fn into_inner(self) -> Option<T> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so the value is taken once.
        this.is_this_thread()
            .then(|| unsafe { ManuallyDrop::take(&mut this.value) })
    }
}

impl<T> Drop for OnThread<T> {
    fn drop(&mut self) {
        if self.is_this_thread() {
            // SAFETY: this is the value's end.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

fn this_thread() -> ThreadId {
    // A thread that Rust did not start has its handle made here.
    excluded(|| std::thread::current().id())
}
