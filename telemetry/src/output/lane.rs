//! The thread of an exporter that has one of its own, and its queue.

use super::delivery::Delivery;
use crate::background::Progress;
use crate::export::Exporter;
use crate::instance::Instance;
use crate::tool::panics::caught;
use crate::tool::silence;
use alloc_tracker::raw::for_the_program;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Flushes that wait while the exporter is at work.
const MOST_WAITING: usize = 4;

/// Ends the thread when it is dropped, once it has done what waits.
pub(super) struct Lane {
    /// The exporter's, in the ledger.
    place: usize,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    /// With their numbers.
    waiting: VecDeque<(u64, Arc<Delivery>)>,
    /// The number of the last delivery that was handed over, or dropped as there was no room.
    last: u64,
    is_over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next delivery; `None` at the end.
    fn next(&self) -> Option<Arc<Delivery>> {
        let mut queue = self.lock();
        loop {
            if let Some((_, delivery)) = queue.waiting.pop_front() {
                return Some(delivery);
            }
            if queue.is_over {
                return None;
            }
            let woken = self.changed.wait(queue);
            queue = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// While none is at work: the number of the last delivery before those that wait.
    fn done(&self) -> u64 {
        let queue = self.lock();
        // What was dropped in between is done, too.
        let next = queue.waiting.front();
        next.map_or(queue.last, |(number, _)| number - 1)
    }
}

impl Lane {
    /// Starts the thread of the exporter with this place in the ledger, the `number`th that has one.
    pub(super) fn start(
        instance: &Arc<Instance>,
        place: usize,
        number: usize,
        mut exporter: Box<dyn Exporter>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
        });
        let (instance, own) = (Arc::clone(instance), Arc::clone(&shared));
        let run = move || {
            silence::be_silent();
            alloc_tracker::raw::be_a_tools_own();
            // However this thread ends, nobody waits for it any more.
            let reports = Reports(Arc::clone(&instance), number);
            while let Some(delivery) = own.next() {
                delivery.to(place, &mut *exporter);
                drop(delivery);
                instance.counters.note_cpu_of_exporter(place);
                reports.done(own.done());
            }
            // It may have something to write.
            if caught(|| for_the_program(|| drop(exporter))).is_none() {
                instance.counters.panicked();
            }
            instance.counters.note_cpu_of_exporter(place);
        };
        Ok(Lane {
            place,
            shared,
            thread: Some(
                thread::Builder::new()
                    .name("telemetry-lane".to_owned())
                    .spawn(run)?,
            ),
        })
    }

    /// Hands over a delivery, which is the `number`th, or drops it if too many wait and others may come.
    pub(super) fn hand_over(&self, number: u64, delivery: &Arc<Delivery>, is_last: bool) {
        let mut queue = self.shared.lock();
        queue.last = number;
        let has_room = is_last || queue.waiting.len() < MOST_WAITING;
        if has_room {
            queue.waiting.push_back((number, Arc::clone(delivery)));
        }
        drop(queue);
        match has_room {
            true => self.shared.changed.notify_one(),
            false => delivery.lost(self.place, "queue_full"),
        }
    }

    /// No more deliveries come.
    pub(super) fn close(&self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_one();
    }

    /// Waits until all that waits is done, and the exporter is dropped. False if the thread panicked.
    pub(super) fn wait(&mut self) -> bool {
        self.close();
        self.thread
            .take()
            .is_none_or(|thread| thread.join().is_ok())
    }
}

/// Says how far the lane with this number is.
struct Reports(Arc<Instance>, usize);

impl Reports {
    fn done(&self, last: u64) {
        let Reports(instance, number) = self;
        let report = |progress: &mut Progress| progress.lanes[*number] = last;
        instance.background.report(report);
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.done(u64::MAX);
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.close();
    }
}
