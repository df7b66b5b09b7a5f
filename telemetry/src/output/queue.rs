//! The bounded queue from the application's threads to the background thread. Whoever finds it
//! full goes on without.

use crate::{events, exemplars};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};

/// The most that wait between two flushes.
pub(crate) const MOST_ITEMS: usize = 4096;
/// The most bytes that they take.
const MOST_BYTES: usize = 2 << 20;

/// What waits to be written.
#[derive(Debug)]
pub(crate) enum Item {
    Event(Box<events::Captured>),
    Exemplar(Box<exemplars::Captured>),
}

impl Item {
    fn is_plain_event(&self) -> bool {
        matches!(self, Item::Event(event) if !event.call_site.is_error())
    }

    fn size(&self) -> usize {
        match self {
            Item::Event(event) => event.size(),
            Item::Exemplar(exemplar) => exemplar.size(),
        }
    }
}

/// The share of the queue that plain events leave for ERROR events and exemplars.
const EVENTS_LEAVE: usize = 4;

/// A push neither waits nor locks.
#[derive(Debug)]
pub(crate) struct Queue {
    items: AtomicUsize,
    sender: SyncSender<Item>,
    /// Read by one process alone: see [`Queue::drain`].
    receiver: Mutex<Receiver<Item>>,
    bytes: AtomicUsize,
}

impl Queue {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = sync_channel(MOST_ITEMS);
        Queue {
            sender,
            receiver: Mutex::new(receiver),
            items: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Gives the item back if there is no room for it.
    pub(crate) fn push(&self, item: Item) -> Result<(), Item> {
        let size = item.size();
        let leave = if item.is_plain_event() {
            EVENTS_LEAVE
        } else {
            usize::MAX
        };
        let (items, bytes) = (self.items.load(Relaxed), self.bytes.load(Relaxed));
        // Relaxed: the bounds are on memory, and may be passed by what threads add at once.
        if bytes + size > MOST_BYTES - MOST_BYTES / leave
            || items >= MOST_ITEMS - MOST_ITEMS / leave
        {
            return Err(item);
        }
        self.items.fetch_add(1, Relaxed);
        self.bytes.fetch_add(size, Relaxed);
        self.sender.try_send(item).map_err(|error| {
            self.items.fetch_sub(1, Relaxed);
            self.bytes.fetch_sub(size, Relaxed);
            match error {
                TrySendError::Full(item) | TrySendError::Disconnected(item) => item,
            }
        })
    }

    /// What waits now. Not in the child of a fork, where another thread's push may never be done.
    pub(crate) fn drain(&self) -> Vec<Item> {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        // No more than fit: an application that adds faster than we take must not hold us here.
        let items: Vec<Item> = receiver.try_iter().take(MOST_ITEMS).collect();
        let size = items.iter().map(Item::size).sum();
        self.items.fetch_sub(items.len(), Relaxed);
        self.bytes.fetch_sub(size, Relaxed);
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callsites::SiteId;
    use crate::cost::Finished;
    use crate::details::{Entry, What};
    use crate::exemplars::Kept;
    use crate::live::UnitRef;
    use crate::record::Level;
    use crate::subscriber::made_up;
    use std::time::SystemTime;

    /// An event with this many bytes of fields.
    fn event(level: Level, bytes: usize) -> Item {
        Item::Event(Box::new(events::Captured {
            at: SystemTime::UNIX_EPOCH,
            now: 0,
            site: SiteId::OTHER,
            call_site: made_up("event", "queue", level),
            fields: vec![7; bytes].into(),
            unit: None,
            weight: 1.0,
            trace: None,
        }))
    }

    /// A kept unit with this many spans, and bytes of fields of each.
    fn exemplar(spans: usize, bytes: usize) -> Item {
        let entry = Entry {
            at: 0,
            unit: UnitRef(1),
            span: 1,
            what: What::Begin {
                site: SiteId::OTHER,
                parent: 0,
                fields: vec![7; bytes],
            },
        };
        Item::Exemplar(Box::new(exemplars::Captured {
            id: 1,
            kept: Kept::drawn(),
            reference: UnitRef(1),
            outer: None,
            trace: None,
            unit: Finished::empty(),
            ended: SystemTime::UNIX_EPOCH,
            started: 0,
            entries: vec![entry; spans],
            whole: true,
        }))
    }

    /// How many fit.
    fn fit(queue: &Queue, item: impl Fn() -> Item) -> usize {
        (0..).take_while(|_| queue.push(item()).is_ok()).count()
    }

    #[test]
    fn only_some_items_wait_and_plain_events_leave_room_for_others() {
        let queue = Queue::new();
        assert_eq!(fit(&queue, || event(Level::Info, 10)), MOST_ITEMS / 4 * 3);
        assert!(queue.push(event(Level::Info, 0)).is_err());
        assert_eq!(fit(&queue, || event(Level::Error, 10)), MOST_ITEMS / 4);
        assert!(queue.push(exemplar(1, 1)).is_err());
        assert_eq!(queue.drain().len(), MOST_ITEMS);
        assert_eq!(fit(&queue, || event(Level::Info, 10)), MOST_ITEMS / 4 * 3);
    }

    #[test]
    fn only_some_bytes_wait_whatever_they_are_of() {
        // What is in the structures themselves is less than half.
        for item in [
            || event(Level::Error, 1000),
            || exemplar(1, 1000),
            || exemplar(20, 10),
        ] {
            let queue = Queue::new();
            let bytes = match item() {
                Item::Event(event) => event.fields.len(),
                Item::Exemplar(exemplar) => {
                    let entries = exemplar.entries.iter();
                    entries.map(|e| size_of::<Entry>() + e.fields().len()).sum()
                }
            };
            let number = fit(&queue, item);
            assert!(number * bytes <= MOST_BYTES, "{number} of {bytes}");
            assert!(number * bytes >= MOST_BYTES / 2, "{number} of {bytes}");
            // What was taken leaves room for as much again.
            assert_eq!(queue.drain().len(), number);
            assert_eq!(fit(&queue, item), number);
        }
        let queue = Queue::new();
        let plain = fit(&queue, || event(Level::Info, 1000));
        let others = fit(&queue, || event(Level::Error, 1000));
        assert!((plain / 3).abs_diff(others) <= 1, "{plain}, {others}");
    }
}
